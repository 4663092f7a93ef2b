"""All checkers of logs, on histories that nobody wrote by hand.

A world that keeps its promises makes histories on which every checker is silent; one change to such a history, and the
anomaly that the change is named for appears; a change that means nothing leaves them silent. Hypothesis draws the steps
of the world, so that a history on which this fails shrinks to a few of them. The search is derandomised: CI sees the
same worlds each time, and a longer search is a matter of taking that setting away.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqbridge_conformance.checkers.log_catalogue import LOG_CHECKERS
from mqbridge_conformance.history import History
from tests.conformance.checkers.log_model import STEPS, Step, World
from tests.conformance.checkers.log_mutations import HARMLESS, MUTATIONS, edited
from tests.conformance.checkers.stories import findings

Script: TypeAlias = list[tuple[Step, int, int]]
SITES = 50

steps = st.tuples(st.sampled_from(STEPS), st.integers(0, 7), st.integers(0, 9))
scripts = st.one_of(st.lists(steps, max_size=30), st.lists(steps, min_size=40, max_size=120))


def lived(partitions: int, offsets: bool, script: Script) -> History:
    """What a world leaves that has gone through those steps."""
    world = World(partitions, offsets)
    for step, one, other in script:
        step(world, one, other)
    return world.drain()


histories = st.builds(lived, st.integers(1, 3), st.booleans(), scripts)


def errors(history: History) -> dict[str, str]:
    """Anomaly -> the sentence of one of its findings."""
    return {found.anomaly: found.text for found in findings(history, LOG_CHECKERS) if not found.legal}


def searched(check: Callable[[History, int], None], examples: int) -> None:
    """Over so many worlds, each with a number to choose a place by."""
    quick = settings(
        deadline=None, max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    quick(given(histories, st.integers(0, SITES - 1))(check))()


def test_a_world_that_keeps_its_promises_is_found_innocent() -> None:
    """No checker finds an error in what it leaves."""

    def check(history: History, _: int) -> None:
        assert errors(history) == {}

    searched(check, 150)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_promise_broken_is_found_by_its_name(name: str) -> None:
    """Wherever the change strikes; and it does strike, in one world of three at least."""
    mutation, wanted = MUTATIONS[name]
    struck = 0

    def check(history: History, site: int) -> None:
        nonlocal struck
        edits = list(islice(mutation(history), SITES))
        if edits:
            struck += 1
            found = errors(edited(history, edits[site % len(edits)]))
            assert wanted & set(found), found

    searched(check, 12)
    assert struck >= 4


@pytest.mark.parametrize("name", HARMLESS)
def test_what_means_nothing_changes_nothing(name: str) -> None:
    """What is known less well, or told later, is no error."""
    struck = 0

    def check(history: History, site: int) -> None:
        nonlocal struck
        edits = list(islice(HARMLESS[name](history), SITES))
        if edits:
            struck += 1
            assert errors(edited(history, edits[site % len(edits)])) == {}

    searched(check, 20)
    assert struck >= 5
