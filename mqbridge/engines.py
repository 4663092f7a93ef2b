"""Which engine serves which URL scheme. The rule of this room: an engine is found, never imported by name.

Entry points of the group ``mqbridge.engines`` name engines; the native one is also known here by one lazy line, so
that a tree that is not installed runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from mqbridge import spi
from mqbridge.errors import ConfigurationError, UnsupportedOption
from mqbridge.semantics.naming import nearest
from mqbridge.urls import parse_url

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
                f"the engine for {scheme!r} is not installed: install mqbridge with its extra {extra!r}, for instance "
                f"pip install '.[{extra}]' in its tree. A tree that is not installed runs native: alone."
            )
        close = nearest(scheme, sorted({*found, *_EXTRAS}))
        hint = f"; did you mean {close!r}?" if close else "."
        raise ConfigurationError(f"unknown engine {scheme!r}{hint} Known: {', '.join(sorted(found))}.")
    module, _, attribute = found[scheme].partition(":")
    try:
        engine = cast(spi.Engine, getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as error:
        if extra is None:
            raise
        raise ConfigurationError(
            f"the engine for {scheme!r} needs {error.name!r}, which is not installed: install mqbridge with its extra "
            f"{extra!r}, for instance pip install '.[{extra}]' in its tree"
        ) from error
    if engine.spi_version != spi.VERSION:
        raise ConfigurationError(
            f"the engine for {scheme!r} speaks version {engine.spi_version} of the engine contract, this "
            "mqbridge speaks "
            f"{spi.VERSION}: upgrade the older of the two"
        )
    return engine


def open_url(text: str, options: Mapping[str, Any] | None) -> tuple[spi.Engine, spi.Url, dict[str, Any]]:
    """The engine of a URL, the URL in parts, and its options joined with `options`: all of them known to the engine."""
    parsed = parse_url(text)
    engine = find_engine(parsed.scheme)
    merged: dict[str, Any] = dict(parsed.query)
    for name, value in (options or {}).items():
        if name in merged and merged[name] != value:
            raise ConfigurationError(f"option {name!r} is given in the URL and in options=, with different values")
        merged[name] = value
    for name in merged:
        if name not in engine.options:
            close = nearest(name, sorted(engine.options))
            hint = f" Did you mean {close!r}?" if close else ""
            known = ", ".join(sorted(engine.options)) or "none"
            raise UnsupportedOption(
                f"engine {engine.name!r} has no option {name!r}.{hint} Known: {known}",
                engine=engine.name,
                option=name,
                nearest=close,
            )
    return engine, parsed, merged
