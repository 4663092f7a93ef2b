"""A host that stays: what `mqbridge serve FOLDER` runs.

The rule: it is an ordinary session that does nothing of its own; so it becomes the host when it gets the
folder's lock, and stands by while another process has it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from mqbridge.native.runtime.clock import RealClock
from mqbridge.native.runtime.session import Folder, Session, SessionOptions, State


def serve(
    folder: Path,
    stop: threading.Event,
    on_ready: Callable[[Session], None],
    options: SessionOptions | None = None,
    on_state: Callable[[State, int], None] = lambda state, epoch: None,
) -> None:
    """Host `folder` until `stop` is set, then close cleanly: other processes take over and lose nothing.

    `on_ready` is called once with the session (its `role` is "host", or "client" while standing by). Raises
    what `Session.open` raises; and the session's error when a broker was lost for good.
    """

    def watch(state: State, epoch: int) -> None:
        on_state(state, epoch)
        if state == "failed":
            stop.set()

    session = Session.open(Folder(folder), RealClock(), lambda note: None, watch, options)
    try:
        on_ready(session)
        stop.wait()
    finally:
        session.close()
    if session.failure is not None:
        raise session.failure
