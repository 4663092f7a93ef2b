"""What is different between two engines is told, and hidden only where a claim explains it."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import Capability as Cap
from mqbridge import Level, Support
from mqbridge_conformance.differential import Script, Step, Transcript, compare, write_script

CLAIMS = {capability: Support(Level.DIRECT) for capability in Cap}


def transcript(engine: str, *seen: Any, without: Cap | None = None) -> Transcript:
    claims = {**CLAIMS, **({without: Support(Level.UNSUPPORTED)} if without else {})}
    return Transcript(engine, claims, list(seen))


def script(*do: str) -> Script:
    return Script(0, len(do), tuple(Step(name) for name in do))


SENT = {"ends": [["confirmed", 0, 5], ["not_found", "not_applied"]]}
SENT_WITHOUT = {"ends": [["confirmed", 0, None], ["not_found", "not_applied"]]}


def test_the_same_is_no_difference() -> None:
    """Steps that both saw alike, and steps that both left out."""
    found = compare(script("send", "purge"), transcript("a", SENT, None), transcript("b", SENT, None))
    assert (found.differences, found.compared, found.left_out) == ([], 1, 1)
    assert not found.legitimate


@pytest.mark.parametrize(
    "seen", [{"ends": [["confirmed", 1, 5]]}, {"error": "not_found", "outcome": "not_applied"}, None]
)
def test_what_is_different_is_told_with_both_sides(seen: Any) -> None:
    """Another partition, an error, a step that only one of them left out."""
    found = compare(script("send"), transcript("a", SENT), transcript("b", seen))
    (difference,) = found.differences
    assert difference.seen == {"a": SENT, "b": seen}
    assert str(difference).startswith("step 0, send(): a: ")


def test_an_offset_is_hidden_only_where_it_is_not_claimed() -> None:
    """With the claim it is a difference; without, it is counted; and what is beside it stays seen."""
    first, second = transcript("a", SENT), transcript("b", SENT_WITHOUT)
    assert len(compare(script("send"), first, second).differences) == 1
    second = transcript("b", SENT_WITHOUT, without=Cap.SEND_OFFSET)
    found = compare(script("send"), first, second)
    assert (found.differences, dict(found.legitimate)) == ([], {"offsets of sends": 1})
    moved = {"ends": [["confirmed", 1, None], ["not_found", "not_applied"]]}
    assert compare(script("send"), first, transcript("b", moved, without=Cap.SEND_OFFSET)).differences


def test_the_order_of_a_queue_is_hidden_only_where_it_is_not_claimed() -> None:
    """What was delivered, and how often, is compared all the same."""
    first = transcript("a", {"count": 2, "shown": [[1, None], [2, None]]})
    swapped = {"count": 2, "shown": [[2, None], [1, None]]}
    assert compare(script("drain"), first, transcript("b", swapped)).differences
    found = compare(script("drain"), first, transcript("b", swapped, without=Cap.ORDER_IN_QUEUE))
    assert (found.differences, dict(found.legitimate)) == ([], {"order of a queue": 1})
    lost = {"count": 1, "shown": [[2, None]]}
    assert compare(script("drain"), first, transcript("b", lost, without=Cap.ORDER_IN_QUEUE)).differences


def test_a_run_that_ended_early_is_one_difference() -> None:
    """At the step that it did not come to; nothing behind it is compared."""
    found = compare(script("send", "drain", "drain"), transcript("a", SENT, {}, {}), transcript("b", SENT))
    assert [difference.number for difference in found.differences] == [1]
    assert found.differences[0].seen["b"] == "ended"


def test_a_script_is_made_by_its_seed_alone() -> None:
    """The same seed makes the same, another one another, and over some seeds every step there is."""
    assert write_script(7, 30) == write_script(7, 30)
    assert write_script(7, 30) != write_script(8, 30)
    done = {step.do for seed in range(40) for step in write_script(seed, 40).steps}
    assert done == {
        "make_topic", "make_queue", "make_exchange", "send", "read", "replay", "look_topic", "take", "hold", "drain",
        "look_queue", "reset", "trim", "purge", "redrive", "wrong",
    }  # fmt: skip
