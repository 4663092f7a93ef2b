"""Headers exchanges go by the headers of a message: all of the binding's, or any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.routing.tables import Sent, Table


class Rule(NamedTuple):
    """A binding's headers; None asks that the header is there."""

    match: Literal["all", "any", "all-with-x", "any-with-x"]
    headers: Mapping[str, str | None]


RULES: dict[str, Sequence[Rule]] = {
    "both": [Rule("all", {"kind": "a", "size": "1"})],
    "either": [Rule("any", {"kind": "a", "size": "1"})],
    "there": [Rule("all", {"kind": None})],
    "there-or": [Rule("any", {"kind": None, "size": "2"})],
    "no-all": [Rule("all", {})],
    "no-any": [Rule("any", {})],
    "x-passed-over": [Rule("all", {"kind": "a", "x-tag": "t"})],
    "x-counted": [Rule("all-with-x", {"kind": "a", "x-tag": "t"})],
    "x-any": [Rule("any-with-x", {"kind": "b", "x-tag": "t"})],
    "only-x": [Rule("any", {"x-tag": "t"})],
    "two-ways": [Rule("all", {"kind": "a"}), Rule("all", {"size": "1"})],
}
MESSAGES: Sequence[Mapping[str, bytes]] = (
    {},
    {"kind": b"a"},
    {"kind": b"A"},
    {"kind": b""},
    {"kind": b"b", "size": b"1"},
    {"kind": b"a", "size": b"1"},
    {"size": b"2"},
    {"x-tag": b"t"},
    {"kind": b"a", "x-tag": b"t"},
    {"kind": b"a", "x-tag": b"u"},
    {"Kind": b"a", "other": b"\x00\xff"},
)


@scenario(
    "route-headers",
    "A headers exchange matches all or any of a binding's headers, by presence or bytes; x- names only if asked to",
    needs=(Cap.ROUTE_HEADERS, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING),
    proves=(Cap.ROUTE_HEADERS,),
    exercises=("routed", "unroutable"),
)
def route_headers(env: Env) -> None:
    exchange = env.exchange(type="headers")
    table = Table(env, exchange, RULES)
    for name, rules in RULES.items():
        for rule in rules:
            env.bus.admin.bind(mq.Binding(exchange, table.queues[name], headers=rule.headers, match=rule.match))
    table.send(*(Sent(f"m{n}", {"headers": dict(headers)}, _due(headers)) for n, headers in enumerate(MESSAGES)))
    env.bus.admin.unbind(mq.Binding(exchange, table.queues["no-all"], headers={}, match="all"))
    table.send(Sent("nobody", {"headers": {"other": b"1"}}, ()))
    table.check()


def _due(headers: Mapping[str, bytes]) -> list[str]:
    return [name for name, rules in RULES.items() if any(matches(rule, headers) for rule in rules)]


def matches(rule: Rule, headers: Mapping[str, bytes]) -> bool:
    """The rule of AMQP 0-9-1 (3.1.3.4), with RabbitMQ's word on names that begin with x-."""
    with_x = rule.match.endswith("-with-x")
    asked = {name: value for name, value in rule.headers.items() if with_x or not name.startswith("x-")}
    met = [
        name in headers and (value is None or headers[name] == value.encode()) for name, value in asked.items()
    ]
    return all(met) if rule.match.startswith("all") else any(met)
