"""All members are replaced, one after another, while messages flow: as a deployment does it."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.groups.traffic import at_work, handled, joined, sending, stopped_sending, through

PARTITIONS, MEMBERS = 6, 3


@scenario(
    "rolling-restart",
    "All members of a group are restarted one after another under load, and every message is handled",
    needs=(Cap.GROUPS, Cap.REBALANCE_COOPERATIVE, Cap.PARTITION_BY_KEY),
    proves=(Cap.GROUPS, Cap.REBALANCE_COOPERATIVE),
    exercises=("restarted", "sent_meanwhile", "handled_by_the_new"),
    level="full",
)
def rolling_restart(env: Env) -> None:
    topic, group = env.topic(partitions=PARTITIONS), env.group()
    sender = sending(env, topic)
    members = [joined(env, topic, group) for _ in range(MEMBERS)]
    for place, old in enumerate(members):
        at_work(env, old, "before it is restarted")
        old.command("leave")
        old.expect("left", env.patience_s)
        new = members[place] = joined(env, topic, group)
        at_work(env, new, "in the place of another")
        env.count("restarted")
    stopped_sending(env, sender)
    through(env, topic, group, members=MEMBERS)
    env.count("handled_by_the_new", sum(handled(env, member) for member in members))
