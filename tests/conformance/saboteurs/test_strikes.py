"""When saboteurs strike: every time or rarely, by a seed, and always told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqbridge_conformance.history import Recorder, load
from mqbridge_conformance.saboteurs import Plan, strikes_told
from mqbridge_conformance.saboteurs.strikes import EARLY, Draws, Strikes


def test_at_probability_one_every_opportunity_is_taken() -> None:
    """A saboteur that is always at it misses none."""
    draws = Draws(Plan("M02"))
    assert [draws.draw() for _ in range(50)] == [True] * 50
    assert draws.opportunities == 50


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_one_strikes_early_and_then_rarely(seed: int) -> None:
    """One in a hundred, and the first of them among the first few opportunities."""
    draws = Draws(Plan("M02", 0.01, seed))
    taken = [number for number in range(10_000) if draws.draw()]
    assert taken[0] < EARLY
    assert 50 < len(taken) < 160


def test_the_same_seed_strikes_the_same_and_another_one_others() -> None:
    """Chance is the seed's alone."""

    def taken(seed: int) -> list[int]:
        draws = Draws(Plan("M02", 0.1, seed))
        return [number for number in range(500) if draws.draw()]

    assert taken(7) == taken(7)
    assert taken(7) != taken(8)


def test_strikes_are_told_in_the_file_and_in_the_history(tmp_path: Path) -> None:
    """What was drawn and not taken is told nowhere; what was, in both places."""
    recorder = Recorder(tmp_path, "c0")
    strikes = Strikes(Draws(Plan("M02", 0.5, 3, tmp_path / "told")), recorder)
    taken = [number for number in range(20) if strikes.here("topic:t", number=number)]
    recorder.close()
    assert 0 < len(taken) < 20
    assert [told["number"] for told in strikes_told(tmp_path / "told")] == taken
    events = load(tmp_path / "c0.jsonl").of("sabotage")
    assert [event.more["number"] for event in events] == taken
    assert {event.more["code"] for event in events} == {"M02"}


def test_a_plan_is_read_as_it_is_written() -> None:
    """The text in the environment is the plan."""
    plan = Plan("M02", 0.01, 7)
    assert Plan.parse(str(plan)) == plan
    assert Plan.parse("M31") == Plan("M31")


@pytest.mark.parametrize("text", ["", "M02:q=1", "M02:p=0", "M02:p=2", "M02:p=x", ":p=1"])
def test_a_plan_that_makes_no_sense_is_refused(text: str) -> None:
    """A wrong word must not become a saboteur that never strikes."""
    with pytest.raises(ValueError, match=r".+"):
        Plan.parse(text)
