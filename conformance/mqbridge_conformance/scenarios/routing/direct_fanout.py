"""Direct exchanges go by the key, letter for letter; fanout exchanges go by nothing."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.routing.tables import Sent, Table

KEYS = {"a": ("red", "green"), "b": ("green",), "c": ("",), "d": ("Red", "r.*", "#")}


@scenario(
    "route-direct",
    "A direct exchange gives a message to each queue that is bound with its very routing key, one copy each",
    needs=(Cap.ROUTE_DIRECT, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING),
    proves=(Cap.ROUTE_DIRECT, Cap.UNROUTABLE_REPORTED),
    exercises=("routed", "unroutable"),
)
def route_direct(env: Env) -> None:
    exchange = env.exchange(type="direct")
    table = Table(env, exchange, KEYS)
    for name, keys in KEYS.items():
        for key in keys:
            env.bus.admin.bind(mq.Binding(exchange, table.queues[name], key=key))
    # The same binding again is the same binding, and gives no second copy.
    env.bus.admin.bind(mq.Binding(exchange, table.queues["a"], key="red"))
    sent = ("red", "green", "", "Red", "RED", "r.x", "r.*", "#", "red ", "greenish")
    due = {key: [name for name, keys in KEYS.items() if key in keys] for key in sent}
    table.send(*(Sent(f"m{number}", {"routing_key": key}, due[key]) for number, key in enumerate(sent)))
    table.check()


@scenario(
    "route-fanout",
    "A fanout exchange gives a message to every queue that is bound, once, whatever the keys; unbound, it stops",
    needs=(Cap.ROUTE_FANOUT, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING),
    proves=(Cap.ROUTE_FANOUT, Cap.UNROUTABLE_REPORTED),
    exercises=("routed", "unroutable", "unbound"),
)
def route_fanout(env: Env) -> None:
    exchange = env.exchange(type="fanout")
    table = Table(env, exchange, "abc")
    bindings = [mq.Binding(exchange, queue) for queue in table.queues.values()]
    another = mq.Binding(exchange, table.queues["a"], key="another")
    env.bus.admin.ensure(*bindings, another)
    table.send(*(Sent(f"all-{n}", {"routing_key": key}, "abc") for n, key in enumerate(("", "a", "another", "#"))))
    env.bus.admin.unbind(bindings[1])
    env.bus.admin.unbind(bindings[1])  # it is not there, and that is no error
    env.count("unbound")
    table.send(Sent("without-b", {}, "ac"))
    # One of two bindings of a queue goes: the other is enough.
    env.bus.admin.unbind(bindings[0])
    env.count("unbound")
    table.send(Sent("by-another", {}, "ac"))
    env.bus.admin.unbind(another)
    env.bus.admin.unbind(bindings[2])
    table.send(Sent("nobody", {}, ()))
    table.check()
