"""A finding as a timeline in plain text: who did what, in order, and which of it proves it.

The rule: one line an act, in the order in which they began; a star marks those of the witness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqbridge_conformance.history import Event, History
from mqbridge_conformance.timelines.acts import Act, acts_of, lane_of, outcome_words, words

__all__ = ["MS", "timeline", "took"]

MS: Final = 1_000_000
"""In nanoseconds."""


def timeline(witness: Sequence[Event], around: Sequence[Event] = ()) -> str:
    """The lines, without an end of line after the last. Times are milliseconds from the first act on."""
    proof = {(event.proc, event.seq) for event in witness}
    acts = acts_of(History([*witness, *around]))
    if not acts:
        return ""
    width = max(len(lane_of(act)) for act in acts)
    zero = acts[0].began_t
    lines: list[str] = []
    for act in acts:
        star = "*" if proof & {(event.proc, event.seq) for event in act.events} else " "
        end = outcome_words(act)
        at = f"{(act.began_t - zero) / MS:10.3f} ms"
        ended = f" -> {end}" if end else ""
        lines.append(f"{star} {at}  {lane_of(act).ljust(width)}  {words(act)}{ended}{took(act)}")
    return "\n".join(lines)


def took(act: Act) -> str:
    """How long, where that is long enough to be seen."""
    ns = act.fact.t - act.began_t
    return "" if act.open or ns < MS else f" ({ns / MS:.0f} ms)"
