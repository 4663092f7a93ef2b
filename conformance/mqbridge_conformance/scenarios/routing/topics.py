"""Topic exchanges go by words: ``*`` is one, ``#`` is any number, and an empty word is a word."""

from __future__ import annotations

from collections.abc import Sequence

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.routing.tables import Sent, Table

PATTERNS = {
    "word": ("a",),
    "words": ("a.b.c", "a.*.c"),
    "star": ("*",),
    "stars": ("*.*",),
    "behind": ("a.#",),
    "before": ("#.c",),
    "between": ("a.#.c",),
    "around": ("#.x.#",),
    "last": ("#.*", "*.b.#"),
    "all": ("#",),
    "none": ("",),
    "empty": ("a.", ".b"),
}
KEYS = (
    *("", "a", "b", "c", "a.b", "a.c", "a.b.c", "a.b.b.c", "x", "a.x", "x.c", "a.x.c", "a.b.x.c.c"),
    *("a.", ".b", ".", "..", "a..c", "ab", "A", "a.*", "#", "a.#.c", "a b.c"),
)


@scenario(
    "route-topic",
    "A topic exchange matches words: * is one, # is none or more, empty words count, and a queue gets one copy",
    needs=(Cap.ROUTE_TOPIC, Cap.UNROUTABLE_REPORTED, Cap.WORK_SHARING),
    proves=(Cap.ROUTE_TOPIC,),
    exercises=("routed",),
)
def route_topic(env: Env) -> None:
    exchange = env.exchange(type="topic")
    table = Table(env, exchange, PATTERNS)
    for name, patterns in PATTERNS.items():
        for pattern in patterns:
            env.bus.admin.bind(mq.Binding(exchange, table.queues[name], key=pattern))
    table.send(*(Sent(f"m{n}", {"routing_key": key}, _due(key)) for n, key in enumerate(KEYS)))
    env.bus.admin.unbind(mq.Binding(exchange, table.queues["all"], key="#"))
    table.send(Sent("unbound", {"routing_key": "q.q"}, [name for name in _due("q.q") if name != "all"]))
    table.check()


def _due(key: str) -> list[str]:
    return [name for name, patterns in PATTERNS.items() if any(matches(pattern, key) for pattern in patterns)]


def matches(pattern: str, key: str) -> bool:
    """The rule of AMQP 0-9-1 (3.1.3.3) as RabbitMQ has it: the empty key has no word."""
    return _match(pattern.split(".") if pattern else [], key.split(".") if key else [])


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
