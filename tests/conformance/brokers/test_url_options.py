"""What a URL says of TLS, for clients that are not the library."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from mqbridge_conformance.brokers.certificates import make_certificates
from mqbridge_conformance.brokers.url_options import tls_of


def test_the_password_of_a_key_opens_it(tmp_path: Path) -> None:
    """The right one alone, as in the engine."""
    made = make_certificates()
    (tmp_path / "plain.key").write_text(made.key)
    (tmp_path / "client.pem").write_text(made.certificate)
    encrypt = ["openssl", "pkcs8", "-topk8", "-in", "plain.key", "-out", "client.key", "-passout", "pass:opens"]
    subprocess.run(encrypt, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    options = {"cert": str(tmp_path / "client.pem"), "key": str(tmp_path / "client.key")}
    assert isinstance(tls_of({**options, "key_password": "opens"}), ssl.SSLContext)
    with pytest.raises(OSError):
        tls_of({**options, "key_password": "does not"})
