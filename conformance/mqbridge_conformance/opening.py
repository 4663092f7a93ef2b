"""Opening a bus under test: the one door through which a broken engine may come in.

The rule: whoever is under test opens its bus here; an observer never does. Which saboteur is in force stands in the
environment, so that spawned processes have the same; where none is, this is `mqbridge.connect`, and what breaks engines
is not even imported: a program of the suite begins in a third of a second, hundreds of times a run.
"""

from __future__ import annotations

import os
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.history import Recorder

__all__ = ["VARIABLE", "check_environment", "open_bus"]

VARIABLE: Final = "MQBRIDGE_SABOTEUR"


def check_environment() -> None:
    """`ValueError`, as a sentence, if a saboteur is to be in force and what says which one is wrong."""
    if os.environ.get(VARIABLE):
        from mqbridge_conformance.saboteurs import wrapping

        wrapping.check_environment()


def open_bus(url: str, *, recorder: Recorder | None = None, **options: Any) -> mq.Bus:
    """What `mqbridge.connect` gives, broken if a saboteur is in force, whose strikes `recorder` hears of; `options` are
    those of `connect`."""
    if not os.environ.get(VARIABLE):
        return mq.connect(url, **options)
    from mqbridge_conformance import saboteurs

    return saboteurs.open_bus(url, recorder=recorder, **options)
