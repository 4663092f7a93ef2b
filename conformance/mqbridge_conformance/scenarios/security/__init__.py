"""Who may: passwords, permissions, and TLS."""

from mqbridge_conformance.scenarios.security.passwords import passwords
from mqbridge_conformance.scenarios.security.permissions import permissions
from mqbridge_conformance.scenarios.security.tls import tls

__all__ = ["ALL"]

ALL = (passwords, permissions, tls)
