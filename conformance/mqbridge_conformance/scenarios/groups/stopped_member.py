"""A process that stands still is taken for dead; when it wakes up it believes that it still owns what it had."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, places

RECORDS, FIRST, AFTER = 300, 20, 10
SESSION_S = 4.0


@scenario(
    "stopped-member-fenced",
    "A member whose process stood still past its session wakes up fenced: nothing that it settles then counts",
    needs=(Cap.GROUPS, Cap.COMMIT_FENCING, Cap.PARTITION_CUSTOM, Cap.SEVERAL_PROCESSES),
    proves=(Cap.COMMIT_FENCING,),
    exercises=("taken_over", "refused_settlements"),
    fault=True,
    level="full",
    processes=True,
)
def stopped_member_fenced(env: Env) -> None:
    topic, group = env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    victim = env.spawn(
        "consume",
        sources=[str(topic)],
        options={"group": group, "start": "earliest", "session_timeout_s": SESSION_S},
        work_s=0.02,
        seconds_to_assign=env.patience_s,
    )
    victim.expect("ready", env.patience_s)
    env.wait_for(lambda: _handled(env, victim) >= FIRST, True, "the member is at work", "unseen")
    stopped = env.faults.stop(victim)
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, session_timeout_s=SESSION_S) as heir:
        got = env.receive(heir, AFTER, "what the stopped member had not settled", due_in_s=SESSION_S)
        env.count("taken_over", len(got))
        acked(env, heir, got)
        before = heir.committed()
        stopped.heal()
        refused = _refused_of(env, victim)
        env.check(refused, "a member that was taken for dead settled messages afterwards", "zombie-commit")
        env.count("refused_settlements", refused)
        env.eventually(heir.committed, before, "the offset, after the stopped member woke up", "commit-regression")
        env.kill(victim)  # it would go on as a member, and take turns with its heir
        rest = env.receive(heir, RECORDS - 1 - (got[-1].offset or 0), "the rest")
        found = places([*got, *rest])
        first = got[0].offset or 0
        env.equal(found, [(0, offset) for offset in range(first, RECORDS)], "what the heir got", "poll-skip")
        acked(env, heir, rest)
    env.drained(topic, group)
    env.observer.records(topic.name)


def _handled(env: Env, party: Party) -> int:
    party.command("progress")
    told: int = party.expect("progress", env.patience_s)["handled"]
    return told


def _refused_of(env: Env, party: Party) -> int:
    """Verbs and commits that were refused, until one was."""
    refused: int = 0

    def look() -> bool:
        nonlocal refused
        party.command("commit")
        failed = party.expect("committed", env.patience_s)["failed"]
        party.command("progress")
        late = party.expect("progress", env.patience_s)["late"]
        refused = int(late) + (failed == "lease_lost")
        return refused > 0

    env.wait_for(look, True, "a verb or a commit of the member that woke up is refused", "zombie-commit")
    return refused
