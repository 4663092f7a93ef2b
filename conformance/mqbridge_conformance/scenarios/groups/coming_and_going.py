"""Members join, leave and are killed while messages flow; whoever is there does all the work."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.parties import Party
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.groups.traffic import assigned, at_work, joined, sending, stopped_sending, through

PARTITIONS = 4


@scenario(
    "members-come-and-go",
    "Members join, leave and are killed under load: each time the others have all partitions, and nothing is lost",
    needs=(Cap.GROUPS, Cap.REBALANCE_COOPERATIVE, Cap.PARTITION_BY_KEY),
    proves=(Cap.GROUPS, Cap.REBALANCE_COOPERATIVE),
    exercises=("joined", "left", "kills", "sent_meanwhile"),
    level="full",
    fault=True,
)
def members_come_and_go(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    sender = sending(env, topic)
    first = joined(env, topic, group)
    _share(env, [first], "one member")
    second = joined(env, topic, group)
    env.count("joined")
    _share(env, [first, second], "after a second one joined")
    first.command("leave")
    first.expect("left", env.patience_s)
    env.count("left")
    _share(env, [second], "after the first one left")
    third = joined(env, topic, group)
    env.count("joined")
    _share(env, [second, third], "after a third one joined")
    env.kill(second)
    _share(env, [third], "after the second one was killed")
    stopped_sending(env, sender)
    through(env, topic, group, members=1)


def _share(env: Env, members: list[Party], when: str) -> None:
    """Each has its part, and does something."""
    parts = sorted(PARTITIONS // len(members) for _ in members)

    def look() -> tuple[list[int], list[int]]:
        found = [assigned(env, member) for member in members]
        return sorted(map(len, found)), sorted(number for part in found for number in part)

    wanted = (parts, list(range(PARTITIONS)))
    env.eventually(look, wanted, f"how many partitions each member has, and which, {when}", "starvation")
    for member in members:
        at_work(env, member, when)
