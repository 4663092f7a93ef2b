"""Sending is pipelined, and bounded: many are under way at once, and never more than there is room for."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.scenario import scenario

LIMIT_BYTES, PAD = 50_000, 900
LINGER_S = 5.0
"""Long enough that nothing is sent by itself while the buffer fills."""
MANY = 20
PIPELINED = 300


@scenario(
    "back-pressure",
    "What waits to be sent is bounded: try_send says None and send waits, and all that was taken is sent",
    needs=(Cap.CONFIRMED_SEND, Cap.ORDER_PER_PARTITION),
    proves=(Cap.CONFIRMED_SEND,),
    exercises=("taken", "refused"),
)
def back_pressure(env: Env) -> None:
    topic = env.topic()
    most = LIMIT_BYTES // PAD
    producer = env.bus.producer(
        linger_s=LINGER_S, batch_bytes=1 << 20, max_in_flight_bytes=LIMIT_BYTES, max_block_s=env.patience_s
    )
    with producer:
        receipts: list[mq.Receipt] = []
        while True:
            receipt = producer.try_send(topic, env.payload(topic, "one", len(receipts), pad=PAD))
            if receipt is None:
                break
            receipts.append(receipt)
            waiting = sum(not one.done for one in receipts)
            # Room may be given back a moment before the receipts say why.
            bound = most if waiting == len(receipts) else 2 * most
            env.check(waiting <= bound, f"more than {most} messages wait in {LIMIT_BYTES} bytes", anomaly="unbounded")
            if len(receipts) > MANY * most:
                raise CannotTell("messages are confirmed as fast as they are sent, so that none has to wait")
        env.check(len(receipts) > 1, "no two messages wait in a buffer that has room for them")
        env.count("refused")
        # The same again waits until there is room, for which it sees to itself.
        receipts.append(producer.send(topic, env.payload(topic, "one", len(receipts), pad=PAD)))
        producer.flush(env.patience_s)
        again = producer.try_send(topic, env.payload(topic, "one", len(receipts), pad=PAD))
        env.check(again is not None, "there is no room after all was sent", anomaly="starvation")
        receipts += [again] if again is not None else []
    env.equal([one.exception(0.0) for one in receipts], [None] * len(receipts), "the ends of what was taken", "lost")
    env.count("taken", len(receipts))
    wanted = [env.payload(topic, "one", number, pad=PAD) for number in range(len(receipts))]
    env.equal([record.value for record in env.observer.records(topic.name)], wanted, "the topic", anomaly="lost")


@scenario(
    "confirmed-in-a-pipeline",
    "Sends do not wait for each other's confirmation: many are under way, each is confirmed, and in order",
    needs=(Cap.CONFIRMED_SEND, Cap.ORDER_PER_PARTITION),
    proves=(Cap.CONFIRMED_SEND,),
    exercises=("under_way", "confirmed"),
)
def confirmed_in_a_pipeline(env: Env) -> None:
    topic = env.topic()
    values = [env.payload(topic, "one", number) for number in range(PIPELINED)]
    with env.bus.producer() as producer:
        receipts: list[mq.Receipt] = []
        most = 0
        for value in values:
            receipts.append(producer.send(topic, value))
            most = max(most, sum(not receipt.done for receipt in receipts[-10:]))
        env.check(most > 1, "each send waits for the one before", anomaly="not-pipelined")
        env.count("under_way", most)
        places = [receipt.result(env.patience_s) for receipt in receipts]
    env.count("confirmed", len(places))
    if env.can(Cap.SEND_OFFSET):
        offsets = [place.offset or 0 for place in places]
        env.equal(offsets, sorted(set(offsets)), "the offsets in the order of sending", anomaly="nonmonotonic-send")
    stored = [record.value for record in env.observer.records(topic.name)]
    env.equal(stored, values, "the topic, in the order of sending", anomaly="nonmonotonic-send")
