"""Whatever a right engine may do, the checkers of queues are silent; and of each thing that none may do they speak."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mqbridge_conformance.checkers import Finding, Profile
from mqbridge_conformance.checkers.queue_catalogue import QUEUE_CHECKERS
from mqbridge_conformance.history import Event, History
from tests.conformance.checkers.queue_model import Broker, Dice, Spec
from tests.conformance.checkers.queue_mutants import BREAKING, HARMLESS
from tests.conformance.checkers.queue_tale import COPYING

SLOW = list(HealthCheck)
"""What Hypothesis would complain of: histories without a place for a change are many, and cost little."""
MANY = settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
SOME = settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
NUMBERS = st.integers(0, 1 << 24)


def _random_script(seed: int) -> list[tuple[int, int]]:
    chance = random.Random(seed)
    return [(chance.randrange(17), chance.randrange(1 << 24)) for _ in range(chance.randrange(20, 90))]


SCRIPTS = st.lists(st.tuples(st.integers(0, 16), NUMBERS), max_size=40) | st.builds(_random_script, NUMBERS)
"""Short ones that shrink well, and long ones that are wild."""


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    letters = draw(st.booleans())
    return Spec(
        max_attempts=draw(st.sampled_from([None, 1, 2, 3])) if letters else None,
        letters=letters,
        ttl=draw(st.booleans()),
        max_length=draw(st.sampled_from([None, 2])),
        drops=draw(st.booleans()),
        max_priority=draw(st.sampled_from([None, 2])),
        consumers=draw(st.integers(1, 3)),
        producers=draw(st.integers(1, 2)),
        before=draw(st.sampled_from([False, False, True])),
        calm=draw(st.sampled_from([False, False, True])),
        alone=draw(st.sampled_from([False, False, True])),
    )


def found(events: Iterable[Event], claims: dict[str, str] | None = None) -> list[Finding]:
    history = History(events)
    profile = Profile.of(history)
    if claims is not None:
        profile = replace(profile, claims=claims)
    return [finding for checker in QUEUE_CHECKERS for finding in checker(history, profile).findings]


def errors(events: Iterable[Event], claims: dict[str, str] | None = None) -> list[str]:
    """What is wrong, with the reason."""
    return [f"{one.anomaly} at {one.where}: {one.text}" for one in found(events, claims) if not one.legal]


@MANY
@given(spec=specs(), script=SCRIPTS, patient=st.booleans())
def test_what_a_right_engine_does_is_right(spec: Spec, script: list[tuple[int, int]], patient: bool) -> None:
    """Under the strictest claims, and under those of an engine that promises less."""
    events = Broker(spec).play(script).finish(patient).events
    assert errors(events) == []
    assert errors(events, COPYING) == []


@MANY
@given(spec=specs(), script=SCRIPTS, cut=st.floats(0, 1))
def test_a_history_cut_short_is_right(spec: Spec, script: list[tuple[int, int]], cut: float) -> None:
    """What has not happened yet is held against nobody."""
    events = Broker(spec).play(script).finish().events
    assert errors(events[: int(len(events) * cut)]) == []


@pytest.mark.parametrize("name", HARMLESS)
@SOME
@given(spec=specs(), script=SCRIPTS, choice=NUMBERS)
def test_what_changes_nothing_is_right(name: str, spec: Spec, script: list[tuple[int, int]], choice: int) -> None:
    """The same history told otherwise, or less of it."""
    events = HARMLESS[name](Broker(spec).play(script).finish().events, Dice(choice))
    if events is None:
        reject()
    assert errors(events) == []


@pytest.mark.parametrize("name", BREAKING)
@SOME
@given(script=SCRIPTS, choice=NUMBERS)
def test_what_no_engine_may_do_is_found(name: str, script: list[tuple[int, int]], choice: int) -> None:
    """By the name of what was done to the history, and with something to show for it."""
    anomaly, spec, change = BREAKING[name]
    events = change(Broker(spec).play(script).finish().events, Dice(choice))
    if events is None:
        reject()
    wrong = [finding for finding in found(events) if not finding.legal]
    assert anomaly in [finding.anomaly for finding in wrong]
    assert all(finding.witness and finding.text and finding.where for finding in wrong)


@SOME
@given(script=SCRIPTS, choice=NUMBERS)
def test_what_was_applied_after_all_is_counted(script: list[tuple[int, int]], choice: int) -> None:
    """A send of unknown outcome whose message came."""
    events = HARMLESS["wonder"](Broker(Spec(calm=True)).play(script).finish().events, Dice(choice))
    if events is None:
        reject()
    counted: list[Any] = [finding for finding in found(events) if finding.anomaly == "recovered"]
    assert len(counted) == 1
    assert counted[0].legal
