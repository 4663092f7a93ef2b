"""How many replicas must have a message before who asks for all of them is told that it is there."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.scenario import scenario

EVERY = {1, 2, 3}
PATIENT_S = 2.0
"""How long a producer tries that may try again."""
LONG_S = 15.0


@scenario(
    "min-insync",
    "While fewer replicas are in sync than min_insync, who asks for all is refused; who asks for the leader is not",
    needs=(Cap.MIN_INSYNC, Cap.ACKS_LEADER),
    exercises=("confirmed_by_all", "out_of_sync", "refused", "confirmed_by_the_leader"),
    level="full",
    cluster=True,
)
def min_insync(env: Env) -> None:
    cluster = env.target.cluster
    if cluster is None:
        raise CannotTell(f"{env.target.name!r} has no nodes of which one could be missing")
    topic = env.topic(replication=len(EVERY), min_insync=len(EVERY))
    place = str(topic)
    cluster.until(lambda: cluster.in_sync_of(place), EVERY, "the replicas in sync")
    leader = cluster.leader_of(place)
    assert leader is not None, "a partition with all replicas in sync has a leader"
    follower = cluster.others(leader.number)[0].number
    kept: list[bytes] = []

    def sent(number: int, **options: object) -> mq.MqbridgeError | None:
        value = env.payload(topic, "one", number)
        with env.bus.producer(**options) as producer:  # type: ignore[arg-type]
            error = producer.send(topic, value).exception(env.patience_s)
        if error is None:
            kept.append(value)
        return error

    env.equal(sent(0), None, "a send when all are in sync")
    env.count("confirmed_by_all")
    with env.faults.node(follower).kill():
        # That is the effect of the fault: before it, who asks for all waits for the dead node.
        cluster.until(lambda: follower in cluster.in_sync_of(place), False, "whether the dead node is in sync")
        env.count("out_of_sync")
        # Once a producer that asks once, and once one that goes on asking until its time is over.
        for number, options in ((1, {"idempotent": False}), (2, {"delivery_timeout_s": PATIENT_S})):
            error = sent(number, **options)
            env.check(error is not None, f"{topic} has a node less than min_insync, and confirms", "confirmed-early")
            env.count("refused")
            if "idempotent" in options:
                env.check(isinstance(error, mq.Rejected), f"{error!r} where Rejected is due")
                env.equal(getattr(error, "outcome", None), "not_applied", "the outcome of what was refused")
        error = sent(3, acks="leader", delivery_timeout_s=LONG_S)
        env.equal(error, None, "a send for which the leader is enough", "acks-ignored")
        env.count("confirmed_by_the_leader")
    cluster.until(lambda: cluster.in_sync_of(place), EVERY, "the replicas in sync, all nodes back")
    env.equal(sent(4), None, "a send when all are in sync again")
    env.count("confirmed_by_all")
    env.equal([record.value for record in env.observer.records(topic.name)], kept, "what is there", "phantom")
