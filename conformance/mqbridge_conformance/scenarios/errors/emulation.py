"""Who wants nothing emulated is told what is, before anything happens, and has all the rest."""

from __future__ import annotations

import copy
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.refusals import prove_refusals
from mqbridge_conformance.scenario import scenario


@scenario(
    "emulation-forbidden",
    "With emulation='forbid' what is emulated is refused by name, nothing has changed, and what is direct works",
    needs=(Cap.CONFIRMED_SEND,),
    proves=(),
    exercises=("sent_and_received",),
)
def emulation_forbidden(env: Env) -> None:
    strict = copy.copy(env)  # the same run, by another connection
    strict.bus = env.connect(emulation="forbid")
    claims = env.bus.capabilities
    emulated = [capability for capability, support in claims.items() if support.level is mq.Level.EMULATED]
    direct = {capability for capability, support in claims.items() if support.level is mq.Level.DIRECT}
    prove_refusals(strict, emulated)
    if not emulated:
        env.evidence.note("nothing is emulated here")
    strict.bus.require(*direct)
    if {Cap.WORK_SHARING, Cap.PREFETCH, Cap.ACK} <= direct:
        queue = env.queue("direct", dead_letter=None)
        _round(strict, queue, strict.bus.consumer(queue))
    if {Cap.GROUPS, Cap.PARTITION_BY_KEY} <= direct:
        topic, group = env.topic("direct"), env.group()
        _round(strict, topic, strict.bus.consumer(topic, group=group, start=mq.EARLIEST))


def _round(env: Env, destination: Any, consumer: Any) -> None:
    (sent,) = env.send(destination, [0])
    with consumer:
        got = env.receive(consumer, 1, f"what was sent to {destination}, with nothing emulated")
        env.equal([delivery.raw for delivery in got], [sent], f"what was sent to {destination}")
        env.ack(consumer, got)
    env.count("sent_and_received")
