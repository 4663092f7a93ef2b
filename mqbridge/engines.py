"""Which engine serves which URL scheme. The rule of this room: an engine is found, never imported by name.

Entry points of the group ``mqbridge.engines`` name engines; the native one is also known here by one lazy line, so
that a
tree that is not installed runs.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import cast

from mqbridge import spi
from mqbridge.errors import ConfigurationError
from mqbridge.semantics.naming import nearest

GROUP = "mqbridge.engines"

_BUILT_IN = {"native": "mqbridge.native.engine:ENGINE"}
_EXTRAS = {"kafka": "kafka", "kafkas": "kafka", "amqp": "rabbitmq", "amqps": "rabbitmq"}


def find_engine(scheme: str) -> spi.Engine:
    """The engine of a scheme; the error names the missing extra, or the nearest known scheme."""
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    found.update(_BUILT_IN)
    extra = _EXTRAS.get(scheme)
    if scheme not in found:
        if extra is not None:
            raise ConfigurationError(
                f"no engine for {scheme!r} is installed: it comes with the extra {extra!r} (pip install "
                f"'mqbridge[{extra}]')"
            )
        close = nearest(scheme, sorted({*found, *_EXTRAS}))
        hint = f"; did you mean {close!r}?" if close else ""
        raise ConfigurationError(f"unknown engine {scheme!r}{hint} Known: {', '.join(sorted({*found, *_EXTRAS}))}")
    module, _, attribute = found[scheme].partition(":")
    try:
        engine = cast(spi.Engine, getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as error:
        if extra is None:
            raise
        raise ConfigurationError(
            f"the engine for {scheme!r} needs {error.name!r}, which is not installed: pip install 'mqbridge[{extra}]'"
        ) from error
    if engine.spi_version != spi.VERSION:
        raise ConfigurationError(
            f"the engine for {scheme!r} speaks version {engine.spi_version} of the engine contract, this "
            "mqbridge speaks "
            f"{spi.VERSION}: upgrade the older of the two"
        )
    return engine
