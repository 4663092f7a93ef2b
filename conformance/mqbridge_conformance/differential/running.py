"""Running a script on two targets and comparing.

The rule: the first target is the reference, and both runs are judged by all checkers too, for two engines can be wrong
alike: a run that is not green is a difference of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import mqbridge as mq
from mqbridge_conformance.differential.comparing import Comparison, Difference, compare
from mqbridge_conformance.differential.performing import Transcript, perform
from mqbridge_conformance.differential.scripts import write_script
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import Target

__all__ = ["differ"]


def differ(
    first: Target,
    second: Target,
    seed: int,
    length: int,
    *,
    patience_s: float = 20.0,
    between: Callable[[], None] = lambda: None,
) -> Comparison:
    """Both are started. What one of them does not claim is left out. `between` is called when the reference is done.
    Errors: `CannotTell` where all of it would be left out."""
    common = _claimed(first) & _claimed(second)
    script = write_script(seed, length)
    if not any(common.issuperset(step.needs) for step in script.steps):
        raise CannotTell(f"{first.name} and {second.name} both have neither topics nor queues: nothing can be compared")
    reference = perform(script, first, can=common.__contains__, patience_s=patience_s)
    between()
    transcript = perform(script, second, can=common.__contains__, reference=reference, patience_s=patience_s)
    found = compare(script, reference, transcript)
    found.differences += [*_not_green(reference), *_not_green(transcript)]
    return found


def _claimed(target: Target) -> set[mq.Capability]:
    with target.connect() as bus:
        return {one for one in mq.Capability if bus.capabilities[one].level is not mq.Level.UNSUPPORTED}


def _not_green(transcript: Transcript) -> list[Difference]:
    result = transcript.result
    if result is None or result.verdict.green:
        return []
    told = f"{result.verdict}: {result.reason} (history: {result.history})"
    return [Difference(len(transcript.seen), "the run as a whole", {transcript.engine: told})]
