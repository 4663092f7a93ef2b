"""A member that stops polling loses what it had; another one goes on, and what the first settles then is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

RECORDS, DONE, SUCCESSOR_DONE = 8, 2, 3
MAX_POLL_S = 1.0
SESSION_S = 6.0
"""Longer than the poll interval: what is found out is that the application is silent, not that its client is dead."""


@scenario(
    "stalled-member-fenced",
    "A member that is not polled for max_poll_interval_s loses its partitions; what it settles afterwards is refused",
    needs=(Cap.GROUPS, Cap.COMMIT_FENCING, Cap.PARTITION_CUSTOM),
    proves=(Cap.COMMIT_FENCING, Cap.GROUPS),
    exercises=("taken_over", "refused_settlements", "came_back"),
)
def stalled_member_fenced(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    options: dict[str, Any] = {"session_timeout_s": SESSION_S, "max_poll_interval_s": MAX_POLL_S}
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, **options) as stalled:
        held = env.receive(stalled, RECORDS, "all of it, by the member that will stall")
        acked(env, stalled, held[:DONE])
        with env.bus.consumer(topic, group=group, start=mq.EARLIEST, **options) as successor:
            taken = env.receive(successor, RECORDS - DONE, "what the stalled one had not settled", due_in_s=MAX_POLL_S)
            env.equal(numbers(taken), list(range(DONE, RECORDS)), "where the successor begins", "handover-gap")
            env.count("taken_over", len(taken))
            acked(env, successor, taken[:SUCCESSOR_DONE])
            refused = sum(_refused(one.ack) for one in held[DONE:]) + _refused(lambda: stalled.commit(env.patience_s))
            env.check(refused, "the stalled member settled a message after its lease was lost", "zombie-commit")
            env.count("refused_settlements", refused)
            place = {f"{topic.name}/0": (taken[SUCCESSOR_DONE - 1].offset or 0) + 1}
            env.committed(group, place, "the offset, after the stalled member tried to settle")
            kept = {(topic.name, 0): place[f"{topic.name}/0"]}
            env.eventually(successor.committed, kept, "the offset as the successor sees it", "commit-regression")
        again = env.receive(stalled, RECORDS - DONE - SUCCESSOR_DONE, "the rest, by the stalled member come back")
        due = list(range(DONE + SUCCESSOR_DONE, RECORDS))
        env.equal(numbers(again), due, "where the stalled member goes on when it has come back", "handover-gap")
        env.count("came_back")
        acked(env, stalled, again)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _refused(settle: Callable[[], None]) -> int:
    """Was it refused, whether by the verb at once or by the commit?"""
    with contextlib.suppress(mq.LeaseLost):
        settle()
        return 0
    return 1
