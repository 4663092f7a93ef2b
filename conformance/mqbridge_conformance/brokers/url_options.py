"""What the URL of a broker says, for clients that are not the library.

The rule: the options are those of the engines' URLs, written down a second time.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

__all__ = ["first_host", "options_of", "tls_of", "verifies"]


def options_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def first_host(url: str) -> SplitResult:
    """The parts of the URL, with the first of its hosts."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{hosts.partition(',')[0]}")


def verifies(options: Mapping[str, str]) -> bool:
    return options.get("verify", "yes").lower() in ("yes", "true", "1")


def tls_of(options: Mapping[str, str]) -> ssl.SSLContext:
    """By ``ca``, ``cert``, ``key``, ``key_password`` and ``verify``. Errors: `OSError` for files that cannot
    be used."""
    context = ssl.create_default_context(cafile=options.get("ca"))
    if not verifies(options):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if "cert" in options:
        context.load_cert_chain(options["cert"], options.get("key"), options.get("key_password"))
    return context
