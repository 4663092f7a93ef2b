"""A party that dies, and one that stands still: real signals to the real process.

The rule: only processes have these faults. A party on a thread cannot be killed or stopped alone, and nothing is
pretended of it: `CannotTell`. A fault is in force when the process has it, not when the signal was sent.
"""

from __future__ import annotations

from mqbridge_conformance.brokers.signals import continue_process, stop_process
from mqbridge_conformance.faults.fault import Fault, inject
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.parties import Party, ProcessParty
from mqbridge_conformance.results import CannotTell

__all__ = ["kill_party", "stop_party"]


def kill_party(recorder: Recorder, party: Party) -> Fault:
    """SIGKILL: it is dead when this returns. Heal it when another one has taken its place, if one does."""
    process = _process(party, "killed")
    return inject(recorder, "kill", party.proc, process.kill, pid=process.pid)


def stop_party(recorder: Recorder, party: Party) -> Fault:
    """SIGSTOP: it stands still and its connections stay open. Healed, it goes on where it was (SIGCONT)."""
    pid = _process(party, "stopped").pid
    return inject(recorder, "stop", party.proc, lambda: stop_process(pid), lambda: continue_process(pid), pid=pid)


def _process(party: Party, how: str) -> ProcessParty:
    if not isinstance(party, ProcessParty):
        raise CannotTell(
            f"the {party.kind} {party.program!r} is no process of its own and cannot be {how} alone; this fault needs "
            "a target whose parties are processes"
        )
    return party
