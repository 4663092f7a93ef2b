"""Running a script on two targets and comparing: ``python -m mqbridge_conformance.differential A B``.

The rule: the first target is the reference, and both runs are judged by all checkers too, for two engines can be wrong
alike: a run that is not green is a difference of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import mqbridge as mq
from mqbridge_conformance.differential.comparing import Comparison, Difference, compare
from mqbridge_conformance.differential.performing import Transcript, perform
from mqbridge_conformance.differential.scripts import write_script
from mqbridge_conformance.targets import Target, targets_for

__all__ = ["differ", "main"]


def differ(
    first: Target,
    second: Target,
    seed: int,
    length: int,
    *,
    patience_s: float = 20.0,
    between: Callable[[], None] = lambda: None,
) -> Comparison:
    """Both are started. `between` is called when the reference is done."""
    common = _claimed(first) & _claimed(second)
    script = write_script(seed, length)
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


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 when nothing was different."""
    parser = argparse.ArgumentParser(prog="python -m mqbridge_conformance.differential", description=__doc__)
    parser.add_argument("first", help="the reference: a target's name or URL, for instance memory")
    parser.add_argument("second", help="the target that is compared with it")
    parser.add_argument("--seed", type=int, default=1, help="of the first script")
    parser.add_argument("--scripts", type=int, default=1, help="how many, each with the next seed")
    parser.add_argument("--length", type=int, default=25, help="steps of a script")
    chosen = parser.parse_args(arguments)
    (first, *_), (second, *_) = targets_for(chosen.first), targets_for(chosen.second)
    differences = 0
    with first, second:
        for seed in range(chosen.seed, chosen.seed + chosen.scripts):
            found = differ(first, second, seed, chosen.length)
            differences += len(found.differences)
            sys.stdout.write(
                f"seed {seed}: {found.compared} steps compared, {found.left_out} left out, legitimate "
                f"{dict(found.legitimate)}, different {len(found.differences)}\n"
                + "".join(f"  {difference}\n" for difference in found.differences)
            )
            sys.stdout.flush()
    return 1 if differences else 0
