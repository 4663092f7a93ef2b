"""Containers, and networks between them, that end with the run that started them.

The rule: a container is published on 127.0.0.1 alone, keeps its ports over a restart, carries the run's token as a
label, and is removed when the run ends in whatever way: a watcher process sees the run's end even after SIGKILL, and
the next run removes what a killed watcher left.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import SplitResult, urlsplit

from mqbridge_conformance.results import CannotTell

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

__all__ = ["RUN_LABEL", "Container", "Network", "docker_client", "ensure_image", "remove_run", "run_token"]

RUN_LABEL: Final = "mqbridge.run"
_OWNER_LABEL: Final = "mqbridge.owner"
_PORTS: Final = range(20_000, 32_000)
"""Below the range from which systems choose the ports of outgoing connections (RFC 6056, 32768 and up on Linux): while
a broker is down a client that tries again and again would otherwise in the end be given the broker's port as its own
and be connected to itself, and the broker could not come back."""
_USUAL_ENGINE: Final = "unix:///var/run/docker.sock"
_REACH_S: Final = 5.0
_START_TRIES: Final = 5
_STOP_S: Final = 20
_WATCHER_END_S: Final = 30.0

_chance = random.SystemRandom()


def run_token() -> str:
    """What marks the containers of this process."""
    return _RUN.token


def docker_client() -> Any:
    """A client of the Docker engine, which answers; `CannotTell` without one."""
    _settle_testcontainers()
    import docker.errors
    from testcontainers.core.docker_client import DockerClient, get_docker_host

    try:
        _reach(urlsplit(get_docker_host() or _USUAL_ENGINE))
        client: Any = DockerClient().client
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise CannotTell(f"no Docker engine answers: {error}") from error
    return client


def _reach(engine: SplitResult) -> None:
    """Connect and hang up: docker's client leaves sockets open when it finds no engine, so then it is not asked."""
    if engine.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(_REACH_S)
            talk.connect(engine.path)
    elif engine.hostname is not None and engine.scheme != "ssh":
        socket.create_connection((engine.hostname, engine.port or 2375), _REACH_S).close()


def ensure_image(client: Any, image: str) -> None:
    """The image is there, or is pulled now; `CannotTell` if it cannot be."""
    import docker.errors

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)
        except docker.errors.DockerException as error:
            raise CannotTell(f"there is no image {image}, and it cannot be pulled: {error}") from error


def remove_run(token: str) -> int:
    """Remove the containers of a run, with their volumes, and then its networks; how many containers."""
    with contextlib.closing(docker_client()) as client:
        mine = {"label": f"{RUN_LABEL}={token}"}
        removed = _remove(client, client.containers.list(all=True, filters=mine))
        _remove_networks(client.networks.list(filters=mine))
        return removed


def _remove(client: Any, containers: Sequence[Any]) -> int:
    import docker.errors

    for container in containers:
        with contextlib.suppress(docker.errors.NotFound):  # somebody else removes it too
            try:
                container.remove(force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # 409: its removal is under way
                    raise
    return len(containers)


def _remove_networks(networks: Sequence[Any]) -> None:
    import docker.errors

    for network in networks:
        with contextlib.suppress(docker.errors.NotFound):  # somebody else removes it too
            network.remove()


def _remove_orphans(client: Any) -> None:
    """Those of runs of this machine whose process is gone."""
    owned = {"label": _OWNER_LABEL}
    _remove(client, [found for found in client.containers.list(all=True, filters=owned) if _orphaned(found.labels)])
    _remove_networks([found for found in client.networks.list(filters=owned) if _orphaned(found.attrs["Labels"])])


def _orphaned(labels: Mapping[str, str]) -> bool:
    return _Owner.parse(labels[_OWNER_LABEL]).gone()


class _Owner:
    """A process, told apart from a later one of the same number by when it began."""

    def __init__(self, host: str, pid: int, began: str) -> None:
        self._host, self._pid, self._began = host, pid, began

    @classmethod
    def this(cls) -> _Owner:
        return cls(socket.gethostname(), os.getpid(), _began(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> _Owner:
        host, pid, began = text.rsplit("/", 2)
        return cls(host, int(pid), began)

    def __str__(self) -> str:
        return f"{self._host}/{self._pid}/{self._began}"

    def gone(self) -> bool:
        """It has ended. Of another machine's nobody can tell, so it counts as alive."""
        if self._host != socket.gethostname():
            return False
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _began(self._pid) != self._began


def _began(pid: int) -> str:
    """When a process began, in ticks since the boot; "" where there is no /proc."""
    with contextlib.suppress(OSError):
        # Field 22 of proc_pid_stat(5); the second, a name in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


class _Run:
    """The containers of this process and their watcher."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(6)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._watcher: subprocess.Popen[bytes] | None = None

    def begin(self, client: Any) -> None:
        """Before the first container: have a watcher, and tidy up after others."""
        with self._lock:
            if self._watcher is not None:
                return
            _remove_orphans(client)
            # A session of its own: an interrupt at the terminal is not for it.
            self._watcher = subprocess.Popen(
                [sys.executable, "-m", "mqbridge_conformance.brokers.watcher", self.token],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
            atexit.register(self.end)

    def end(self) -> None:
        """Closing its standard input tells the watcher to remove what is left."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is None or os.getpid() != self._pid:
            return
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait(_WATCHER_END_S)


_RUN: Final = _Run()


def _settle_testcontainers() -> None:
    """Its own reaper is a container that would have to be pulled; ours is a process. Read at its first import."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")


def _labels() -> dict[str, str]:
    return {RUN_LABEL: _RUN.token, _OWNER_LABEL: str(_Owner.this())}


class Network:
    """A network of this run's own, which leads nowhere: containers find each other on it by name, and can be taken off
    it. Their ports are published by the engine's own bridge, on which nobody has a name."""

    def __init__(self, client: Any, inner: Any) -> None:
        self._client = client
        self._inner = inner

    @classmethod
    def create(cls) -> Network:
        """A new one, with nobody on it."""
        client = docker_client()
        _RUN.begin(client)
        name = f"mqbridge-{_RUN.token}-{secrets.token_hex(3)}"
        return cls(client, client.networks.create(name, driver="bridge", internal=True, labels=_labels()))

    def join(self, container: Container, name: str) -> None:
        """The container is on it, and is found by that name."""
        self._inner.connect(container.id, aliases=[name])

    def leave(self, container: Container) -> None:
        """It is not any more: those who are hear nothing of it, and its connections stand still."""
        self._inner.disconnect(container.id)

    def remove(self) -> None:
        _remove_networks([self._inner])
        self._client.close()


class Container:
    """A started container: what docker says on its command line, as methods; removed at the end."""

    def __init__(self, described: DockerContainer, ports: Mapping[str, int]) -> None:
        self._inner: Any = described.get_wrapped_container()
        self._client: Any = described.get_docker_client().client
        self.ports = ports
        """Name -> port on 127.0.0.1."""

    @classmethod
    def start(
        cls,
        image: str,
        *,
        ports: Mapping[str, int | None],
        environment: Callable[[Mapping[str, int]], Mapping[str, str]],
        files: Mapping[str, str],
        user: str | None = None,
        hostname: str | None = None,
    ) -> Container:
        """Start one. `ports`: name -> port inside, None for the same inside as outside; `environment` is told those
        outside. A port that somebody else took meanwhile is chosen again."""
        others = {"user": user, "hostname": hostname}
        with contextlib.closing(docker_client()) as client:
            ensure_image(client, image)
            _RUN.begin(client)
        taken = ""
        for _ in range(_START_TRIES):
            chosen = dict(zip(ports, _free_ports(), strict=False))
            try:
                return cls(_create(image, ports, chosen, environment(chosen), files, others), chosen)
            except _PortTaken as error:
                taken = str(error)
        raise CannotTell(f"no free port was found for {image} in {_START_TRIES} tries: {taken}")

    @property
    def id(self) -> str:
        return cast(str, self._inner.id)

    @property
    def running(self) -> bool:
        self._inner.reload()
        return bool(self._inner.status == "running")

    def run(self) -> None:
        """Start it again after `kill` or `halt`."""
        self._inner.start()

    def halt(self) -> None:
        """SIGTERM, and SIGKILL for who does not end by it."""
        self._inner.stop(timeout=_STOP_S)

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self._inner.kill()
        self._inner.wait()

    def pause(self) -> None:
        """Freeze it: its connections stay open and nothing answers."""
        self._inner.pause()

    def unpause(self) -> None:
        self._inner.unpause()

    def exec(self, *command: str) -> str:
        """Run a command inside; its output. `CannotTell` if it fails."""
        code, output = self._inner.exec_run(list(command))
        text = cast(bytes, output).decode(errors="replace")
        if code != 0:
            raise CannotTell(f"{' '.join(command)} ended with {code} in the container: {text.strip()[-1000:]}")
        return text

    def last_words(self) -> str:
        return cast(bytes, self._inner.logs(tail=15)).decode(errors="replace").strip()

    def remove(self) -> None:
        _remove(self._client, [self._inner])
        self._client.close()


class _PortTaken(Exception):
    """Between the choice of a port and its use somebody else took it."""


def _create(
    image: str, ports: Mapping[str, int | None], chosen: Mapping[str, int], environment: Mapping[str, str],
    files: Mapping[str, str], others: Mapping[str, Any],
) -> DockerContainer:  # fmt: skip
    import docker.errors
    from testcontainers.core.container import DockerContainer

    described = DockerContainer(image).with_envs(**environment)
    described.with_kwargs(labels=_labels(), **{name: value for name, value in others.items() if value is not None})
    for path, text in files.items():
        described.with_copy_into_container(text.encode(), path)
    # testcontainers has no method for an address to publish at; without one it would be every address of the machine.
    published = cast(dict[str, tuple[str, int]], described.ports)
    for name, inside in ports.items():
        published[f"{inside or chosen[name]}/tcp"] = ("127.0.0.1", chosen[name])
    try:
        described.start()
    except docker.errors.APIError as error:
        described.stop()
        if "already allocated" in str(error) or "address already in use" in str(error):
            raise _PortTaken(str(error)) from error
        raise CannotTell(f"a container of {image} could not be started: {error}") from error
    return described


def _free_ports() -> Iterator[int]:
    seen: set[int] = set()
    give_up_s = time.monotonic() + 10.0
    while time.monotonic() < give_up_s:
        port = _chance.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in seen:
            seen.add(port)
            yield port
    raise CannotTell(f"no free port was found between {_PORTS.start} and {_PORTS.stop}")
