"""Who asks for less than all replicas is told less, and what is told is true."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

MESSAGES = 100


@scenario(
    "acks-leader",
    "With acks='leader' each send is confirmed with its place, where it lies, once and in order",
    needs=(Cap.ACKS_LEADER,),
    exercises=("confirmed",),
)
def acks_leader(env: Env) -> None:
    topic = env.topic()
    values = [env.payload(topic, "one", number) for number in range(MESSAGES)]
    with env.bus.producer(acks="leader") as producer:
        receipts = [producer.send(topic, value) for value in values]
        told = [receipt.result(env.patience_s) for receipt in receipts]
    env.count("confirmed", len(told))
    stored = _stored(env, topic)
    lost = [value for value in values if value not in stored]
    env.equal(lost, [], "what was confirmed and is not there", "lost-write")
    env.equal(stored, values, "what was confirmed, as it lies there", "nonmonotonic-send")
    if env.can(Cap.SEND_OFFSET):
        env.equal([one.offset for one in told], list(range(MESSAGES)), "the offsets that were told", "untrue-answer")
    env.raises(
        mq.ConfigurationError,
        lambda: env.bus.producer(acks="leader", idempotent=True),
        "asking for sends that are certainly written once, of a leader that may lose them",
    )


@scenario(
    "acks-none",
    "With acks='none' a send is confirmed when it is on its way, without a place; nobody is told what a broker refuses",
    needs=(Cap.ACKS_NONE,),
    exercises=("confirmed", "refused_unseen"),
)
def acks_none(env: Env) -> None:
    topic = env.topic()
    values = [env.payload(topic, "one", number) for number in range(MESSAGES)]
    with env.bus.producer(acks="none") as producer:
        receipts = [producer.send(topic, value) for value in values]
        told = [receipt.result(env.patience_s) for receipt in receipts]
    env.equal({one.offset for one in told}, {None}, "the offsets that are told where nobody is asked", "acks-ignored")
    env.count("confirmed", len(told))
    sent: list[bytes | None] = [*values]
    env.eventually(lambda: _stored(env, topic), sent, "what was sent, once and in order, with nothing in its way")
    if not env.can(Cap.COMPACTION):
        env.evidence.note("there is nothing that this engine alone would refuse")
        return
    # It wants a key, which the broker alone knows.
    compacted = env.topic("compacted", cleanup="compact")
    with env.bus.producer(acks="none") as producer:
        refused = producer.send(compacted, env.payload(compacted, "none", 0))
        told_of = refused.result(env.patience_s)
        env.equal(told_of.offset, None, "the offset of what was refused unseen", "acks-ignored")
    with env.bus.producer(acks="leader") as producer:
        error = env.raises(
            mq.Rejected,
            lambda: producer.send(compacted, env.payload(compacted, "leader", 0)).result(env.patience_s),
            "the same with an answer",
        )
        env.equal(error.outcome, "not_applied", "the outcome of the same with an answer")
    env.equal(_stored(env, compacted), [], "what there is of what was refused unseen")
    env.count("refused_unseen")


def _stored(env: Env, topic: mq.Topic[bytes]) -> list[bytes | None]:
    return [record.value for record in env.observer.records(topic.name)]
