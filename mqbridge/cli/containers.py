"""Asking the Docker engine what it is and which images it has. The rule: it is only looked at, by its HTTP interface.

Needs no package and no ``docker`` command. What it is for: the conformance suite starts brokers in containers; nothing
else here needs Docker.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

USUAL_SOCKET = "unix:///var/run/docker.sock"
IMAGES = ("apache/kafka:4.3.1", "rabbitmq:4-management")
"""What the conformance suite starts."""
ANSWER_S = 5.0


class Engine(NamedTuple):
    """A Docker engine that answered."""

    version: str
    images: frozenset[str]


class NoEngineError(Exception):
    """Why none answered."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(environment: Mapping[str, str] = os.environ) -> Engine:
    """The engine at DOCKER_HOST, or at the usual socket; `NoEngineError` says why there is none."""
    where = environment.get("DOCKER_HOST") or USUAL_SOCKET
    try:
        version = _get(where, "/version")
        images = _get(where, "/images/json")
    except PermissionError as error:
        raise NoEngineError(f"{where}: {error.strerror}: this user may not use it") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoEngineError(f"nothing answers at {where}: {error}") from None
    tags: Sequence[str] = [tag for image in images for tag in image.get("RepoTags") or ()]
    return Engine(str(version.get("Version", "unknown")), frozenset(tags))


def _get(where: str, path: str) -> Any:
    parts = urlsplit(where)
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = _UnixConnection(parts.path)
    elif parts.scheme in ("tcp", "http") and parts.hostname is not None:
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=ANSWER_S)
    else:
        raise ValueError(f"a {parts.scheme or 'relative'} address is not looked into")
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != http.client.OK:
            raise ValueError(f"{path} is answered with status {answer.status}")
        return json.loads(data)
    finally:
        connection.close()
