"""Exchanges that lead to exchanges: by bindings, also in circles, and by the alternate for what nobody else takes."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.routing.tables import Sent, Table


@scenario(
    "exchange-to-exchange",
    "Exchanges bound to exchanges: a queue gets one copy however many ways lead to it, and circles end",
    needs=(Cap.BIND_EXCHANGES, Cap.ROUTE_DIRECT, Cap.ROUTE_FANOUT, Cap.ROUTE_TOPIC, Cap.WORK_SHARING),
    proves=(Cap.BIND_EXCHANGES,),
    exercises=("routed", "unroutable"),
)
def exchange_to_exchange(env: Env) -> None:
    front = env.exchange("front", type="topic")
    middle, side = env.exchange("middle", type="fanout"), env.exchange("side", type="direct")
    table = Table(env, front, ("near", "far", "both"))
    queues = table.queues
    env.bus.admin.ensure(
        mq.Binding(front, queues["near"], key="near.#"),
        mq.Binding(front, middle, key="far.*"),
        mq.Binding(front, side, key="#"),
        mq.Binding(middle, queues["far"]),
        mq.Binding(middle, queues["both"]),
        mq.Binding(side, queues["both"], key="far.away"),
        mq.Binding(middle, front, key="ignored"),  # and back again
        mq.Binding(side, side, key="far.away"),  # and to itself
    )
    table.send(
        Sent("near", {"routing_key": "near"}, ["near"]),
        Sent("far", {"routing_key": "far.x"}, ["far", "both"]),
        Sent("twice", {"routing_key": "far.away"}, ["far", "both"]),
        Sent("nowhere", {"routing_key": "else"}, []),
    )
    table.check()


@scenario(
    "alternate-exchange",
    "What no binding of an exchange takes goes to its alternate, and on from there; what one takes does not",
    needs=(Cap.ALTERNATE_EXCHANGE, Cap.ROUTE_DIRECT, Cap.ROUTE_FANOUT, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING),
    proves=(Cap.ALTERNATE_EXCHANGE,),
    exercises=("routed", "unroutable"),
)
def alternate_exchange(env: Env) -> None:
    last = env.exchange("last", type="direct")
    between = env.exchange("between", type="direct", alternate=last)
    first = env.exchange("first", type="direct", alternate=between)
    table = Table(env, first, ("of-first", "of-between", "of-last"))
    queues = table.queues
    env.bus.admin.ensure(
        mq.Binding(first, queues["of-first"], key="one"),
        mq.Binding(between, queues["of-between"], key="one"),
        mq.Binding(between, queues["of-between"], key="two"),
        mq.Binding(last, queues["of-last"], key="three"),
    )
    table.send(
        Sent("one", {"routing_key": "one"}, ["of-first"]),
        Sent("two", {"routing_key": "two"}, ["of-between"]),
        Sent("three", {"routing_key": "three"}, ["of-last"]),
        Sent("four", {"routing_key": "four"}, []),
    )
    table.check()
