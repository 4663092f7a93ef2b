"""A certificate authority of the run's own, for brokers that speak TLS.

The rule: made anew by the openssl program for each run, for 127.0.0.1 alone, and valid for two days: no key is kept
anywhere, and none is worth stealing.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mqbridge_conformance.results import CannotTell

__all__ = ["Certificates", "make_certificates"]

_DAYS: Final = "2"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")
_OPENSSL_S: Final = 30.0


@dataclass(frozen=True)
class Certificates:
    """PEM texts: the authority's certificate, and a server's key and certificate that it signed."""

    authority: str
    certificate: str
    key: str = field(repr=False)


def make_certificates() -> Certificates:
    """A new authority and a server certificate for 127.0.0.1; `CannotTell` without an openssl that can."""
    with tempfile.TemporaryDirectory() as folder:
        _openssl(folder, *_request("authority", "basicConstraints=critical,CA:TRUE"))
        _openssl(
            folder,
            *_request("server", "subjectAltName=IP:127.0.0.1"),
            *("-CA", "authority.pem", "-CAkey", "authority.key"),
        )
        texts = [(Path(folder) / name).read_text() for name in ("authority.pem", "server.pem", "server.key")]
    return Certificates(*texts)


def _request(name: str, extension: str) -> tuple[str, ...]:
    files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
    return ("req", "-x509", *_KEY, "-days", _DAYS, "-subj", f"/CN=mqbridge {name}", "-addext", extension, *files)


def _openssl(folder: str, *words: str) -> None:
    try:
        done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, timeout=_OPENSSL_S)
    except OSError as error:
        raise CannotTell(f"no certificates can be made for a broker with TLS: {error}; install openssl") from error
    if done.returncode != 0:
        raise CannotTell(f"openssl could not make certificates for a broker with TLS: {done.stderr.strip()[-500:]}")
