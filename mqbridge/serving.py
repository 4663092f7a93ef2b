"""Hosting an engine that lives in a folder: what ``mqbridge serve`` runs, for programs too.

The rule of this room: the engine is found by the URL, and asked; one that is a server of its own has nothing to host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from mqbridge import spi
from mqbridge.engines import open_url
from mqbridge.errors import Unsupported

__all__ = ["serve"]


def serve(
    url: str,
    stop: threading.Event,
    on_ready: Callable[[Mapping[str, Any]], None],
    *,
    on_state: Callable[[str, str], None] = lambda state, reason: None,
    connect_timeout_s: float = 10.0,
) -> None:
    """Host the broker of `url` until `stop` is set, then close cleanly: other processes take over and lose nothing.

    `on_ready` is called once with facts for a person (role, epoch, folder): the role is "host", or "client" while
    another process hosts and this one stands by. `on_state(state, reason)` hears of changes, on any thread. Raises what
    `connect` raises; `Unsupported` for an engine that is a server of its own.
    """
    engine, parsed, options = open_url(url, None)
    host = getattr(engine, "serve", None)
    if host is None:
        raise Unsupported(
            f"the engine {engine.name!r} is a server of its own, so there is nothing to host. Nothing was started; "
            "serve native:FOLDER, or connect to the running server.",
            capability="serve",
            engine=engine.name,
            instead="native:FOLDER",
        )
    host(spi.ConnectRequest(parsed, options, "allow", connect_timeout_s, on_state), stop, on_ready)
