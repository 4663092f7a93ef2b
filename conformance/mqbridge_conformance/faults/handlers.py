"""A handler that hangs: its consumer holds what it took and does not poll, and its process is well.

The rule: it is the program ``consume`` that hangs, on command, between two deliveries; its connection lives on, with
all that clients do by themselves meanwhile. How long is too long is for the scenario and the engine to say. What it
does is told by the handler alone: how many deliveries it hangs over, whatever anybody makes of that.
"""

from __future__ import annotations

from mqbridge_conformance.faults.fault import Fault, inject
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.parties import Party

__all__ = ["hang_handler"]


def hang_handler(recorder: Recorder, party: Party, patience_s: float) -> Fault:
    """The party's handler hangs when this returns, and goes on when it is healed. A party on a thread can do so too."""

    hung = 0

    def hang() -> None:
        nonlocal hung
        party.command("stall")
        hung = party.expect("stalled", patience_s)["in_hand"]

    def go_on() -> dict[str, int]:
        party.command("go")
        return {"hung": hung}

    return inject(recorder, "hang", party.proc, hang, go_on)
