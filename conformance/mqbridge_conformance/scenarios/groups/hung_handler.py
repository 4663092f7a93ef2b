"""A handler that hangs, or is too slow for its poll interval: another member gets its messages, and it is told so."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

RECORDS, FIRST = 300, 3
SESSION_S = 10.0
"""What is found out is that the application is silent: its client is well, and its session far from over."""
QUICK_S, LONG_POLL_S = 0.01, 4.0
"""Work on one message, and a poll interval that has room for a block of all of them."""
SLOW_S, SHORT_POLL_S = 0.2, 1.0
"""And one that has not."""


@scenario(
    "hung-handler",
    "A handler hangs past the poll interval: another member goes on where it was, and what it settles is LeaseLost",
    needs=(Cap.GROUPS, Cap.COMMIT_FENCING, Cap.PARTITION_CUSTOM),
    proves=(Cap.COMMIT_FENCING,),
    exercises=("taken_over", "lease_lost"),
    fault=True,
    level="full",
)
def hung_handler(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    victim = _begun(env, topic, group, QUICK_S, LONG_POLL_S)
    env.wait_for(lambda: _told(env, victim, "handled") >= FIRST, True, "the member is at work", "unseen")
    with env.faults.hang(victim, env.patience_s):
        _taken_over(env, topic, group, LONG_POLL_S)
    _lease_lost(env, victim)
    env.drained(topic, group)
    env.observer.records(topic.name)


@scenario(
    "slow-handler",
    "A handler too slow for its poll interval loses its partition within a block; what it settles then is LeaseLost",
    needs=(Cap.GROUPS, Cap.COMMIT_FENCING, Cap.PARTITION_CUSTOM),
    proves=(Cap.COMMIT_FENCING,),
    exercises=("taken_over", "lease_lost"),
    level="full",
)
def slow_handler(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    victim = _begun(env, topic, group, SLOW_S, SHORT_POLL_S)
    _taken_over(env, topic, group, SHORT_POLL_S)
    _lease_lost(env, victim)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _begun(env: Env, topic: mq.Topic[bytes], group: str, work_s: float, max_poll_s: float) -> Party:
    """A member that handles all there is as one block; it has the partition."""
    limits = {"session_timeout_s": SESSION_S, "max_poll_interval_s": max_poll_s}
    victim = env.spawn(
        "consume",
        sources=[str(topic)],
        options={"group": group, "start": "earliest", **limits},
        max_messages=RECORDS,
        work_s=work_s,
        seconds_to_assign=env.patience_s,
    )
    victim.expect("ready", env.patience_s)
    return victim


def _taken_over(env: Env, topic: mq.Topic[bytes], group: str, max_poll_s: float) -> None:
    """Another member gets all that is not settled, without a gap, and settles it."""
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=SESSION_S) as heir:
        got = env.receive(heir, 1, "what another member gets", due_in_s=max_poll_s)
        first = got[0].offset or 0
        got += env.receive(heir, RECORDS - 1 - first, "the rest")
        env.equal(numbers(got), list(range(first, RECORDS)), "what another member gets, in order", "poll-skip")
        env.count("taken_over", len(got))
        acked(env, heir, got)
        env.committed(group, {f"{topic.name}/0": RECORDS}, "what is committed by the one that took over")


def _lease_lost(env: Env, victim: Party) -> None:
    """The rest of its block is not its own any more, and each verb on it, or the commit, says so."""

    def refused() -> bool:
        victim.command("commit")
        failed = victim.expect("committed", env.patience_s)["failed"]
        late = _told(env, victim, "late")
        env.count("lease_lost", late + (failed == "lease_lost"))
        return late > 0 or failed == "lease_lost"

    env.eventually(refused, True, "whether what it settles too late is LeaseLost", "zombie-commit")


def _told(env: Env, party: Party, what: str) -> int:
    party.command("progress")
    return int(party.expect("progress", env.patience_s)[what])
