"""Scripts: what a program does, made up by a seed, the same for every engine.

The rule: a script names no engine and no time, and what it does is decided by what it has sent, never by what arrives
first: verbs are chosen by a message's number, and what is read is read whole. So two engines that keep the same
promises show the same, step by step. A step that needs a capability says so; it is left out where one of the two
engines has not got it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mqbridge import Capability as Cap

__all__ = ["Script", "Step", "write_script"]

KEYS: Final = ("a", "b", "customer-7", "")
WORDS: Final = ("order", "email", "created", "eu", "")
PATTERNS: Final = ("#", "*.created", "order.#", "*.*", "#.eu", "order.*.eu", "email", "")
HEADER_VALUES: Final = ("x", "y")
TOPICS: Final = (Cap.ORDER_PER_PARTITION, Cap.GROUPS)
"""What an engine has that has topics at all."""
QUEUES: Final = (Cap.WORK_SHARING, Cap.RELEASE_UNCOUNTED, Cap.RETRY_COUNTED, Cap.MAX_ATTEMPTS, Cap.DEAD_LETTER)
"""What the steps about queues make use of."""
WRONG: Final[Mapping[str, tuple[Cap, ...]]] = {
    "send_to_missing_topic": TOPICS,
    "send_to_missing_queue": QUEUES,
    "read_missing_topic": TOPICS,
    "take_missing_queue": QUEUES,
    "routing_key_on_topic": TOPICS,
    "other_partitions": TOPICS,
    "other_attempts": QUEUES,
    "ack_twice": QUEUES,
    "delete_missing": QUEUES,
    "empty_group": TOPICS,
}
"""What is refused, and what an engine needs that has an opinion of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call or a few: `do` names a method of `performing`, `args` are its arguments."""

    do: str
    args: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[Cap, ...] = ()

    def __str__(self) -> str:
        return f"{self.do}({', '.join(f'{name}={value!r}' for name, value in self.args.items())})"


@dataclass(frozen=True, slots=True)
class Script:
    """`steps` in order; the same `seed` and `length` make the same."""

    seed: int
    length: int
    steps: tuple[Step, ...]


def write_script(seed: int, length: int) -> Script:
    """`length` steps, after those that make destinations."""
    return Script(seed, length, tuple(_Author(seed).write(length)))


class _Author:
    """Knows what exists and what was sent, so that most steps have something to do."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._number = 0
        self._topics: dict[str, int] = {}
        self._queues: list[str] = []
        self._exchange = ""

    def write(self, length: int) -> list[Step]:
        chance = self._chance
        steps = [
            self._make_topic("log"),
            self._make_topic("single", 1),
            self._make_queue("work"),
            self._make_queue("other"),
        ]
        steps += self._make_exchange()
        acts = [self._send_topic, self._read, self._replay, self._look_topic, self._send_queue, self._take, self._hold]
        acts += [
            self._look_queue,
            self._publish,
            self._drain,
            self._reset,
            self._trim,
            self._purge,
            self._redrive,
            self._wrong,
        ]
        weights = [6, 6, 2, 2, 5, 4, 2, 2, 4, 3, 1, 1, 1, 1, 3]
        steps += [chance.choices(acts, weights)[0]() for _ in range(length)]
        return [
            *steps,
            *(self._read_all(topic) for topic in self._topics),
            *(Step("drain", {"queue": q}, QUEUES) for q in self._queues),
        ]

    # --- what is there

    def _make_topic(self, name: str, partitions: int = 0) -> Step:
        self._topics[name] = partitions or self._chance.randint(2, 4)
        return Step("make_topic", {"name": name, "partitions": self._topics[name]}, TOPICS)

    def _make_queue(self, name: str) -> Step:
        self._queues.append(name)
        return Step("make_queue", {"name": name, "max_attempts": self._chance.randint(2, 4)}, QUEUES)

    def _make_exchange(self) -> list[Step]:
        kind = self._chance.choice(("direct", "fanout", "topic", "headers"))
        self._exchange = kind
        bindings = []
        for queue in self._queues:
            for _ in range(self._chance.randint(1, 2)):
                if kind == "headers":
                    match = self._chance.choice(("all", "any"))
                    headers = {word: self._chance.choice(HEADER_VALUES) for word in self._chance.sample(("p", "q"), 2)}
                    bindings.append({"queue": queue, "headers": headers, "match": match})
                else:
                    bindings.append(
                        {"queue": queue, "key": self._chance.choice(PATTERNS if kind == "topic" else WORDS)}
                    )
        needs = (*QUEUES, Cap[f"ROUTE_{kind.upper()}"])
        return [Step("make_exchange", {"type": kind, "bindings": bindings}, needs)]

    # --- topics

    def _messages(self, count: int, *, placed: bool = False) -> list[dict[str, Any]]:
        """`placed`: the key decides the partition, and where a message without one goes is nobody's promise."""
        made = []
        for _ in range(count):
            self._number += 1
            keys: tuple[str | None, ...] = KEYS if placed else (*KEYS, None)
            message: dict[str, Any] = {"number": self._number, "key": self._chance.choice(keys)}
            if self._chance.random() < 0.3:
                message["headers"] = {
                    word: self._chance.choice(HEADER_VALUES) for word in self._chance.sample(("p", "q"), 1)
                }
            made.append(message)
        return made

    def _send_topic(self) -> Step:
        topic = self._chance.choice(list(self._topics))
        messages = self._messages(self._chance.randint(1, 12), placed=self._topics[topic] > 1)
        return Step("send", {"kind": "topic", "name": topic, "messages": messages}, TOPICS)

    def _group(self) -> str:
        return self._chance.choice(("first", "second"))

    def _read(self) -> Step:
        """`leave_out`: messages with a number divisible by it are not acked, so the prefix ends before them."""
        args = {
            "topic": self._chance.choice(list(self._topics)),
            "group": self._group(),
            "start": self._chance.choice(("earliest", "latest")),
            "leave_out": self._chance.choice((0, 0, 3, 5)),
            "release": self._chance.choice((0, 4)),
        }
        return Step("read", args, TOPICS)

    def _read_all(self, topic: str) -> Step:
        args = {"topic": topic, "group": "last", "start": "earliest", "leave_out": 0, "release": 0}
        return Step("read", args, TOPICS)

    def _replay(self) -> Step:
        args = {"topic": self._chance.choice(list(self._topics)), "skip": self._chance.randint(0, 5)}
        return Step("replay", args, (*TOPICS, Cap.REPLAY_BY_OFFSET))

    def _look_topic(self) -> Step:
        args = {"topic": self._chance.choice(list(self._topics)), "group": self._group()}
        return Step("look_topic", args, (*TOPICS, Cap.END_OFFSETS))

    def _reset(self) -> Step:
        args = {"topic": self._chance.choice(list(self._topics)), "group": self._group()}
        return Step("reset", {**args, "to": self._chance.choice(("earliest", "latest"))}, (*TOPICS, Cap.RESET_OFFSETS))

    def _trim(self) -> Step:
        return Step("trim", {"topic": "single", "records": self._chance.randint(1, 3)}, (*TOPICS, Cap.DELETE_RECORDS))

    # --- queues

    def _send_queue(self) -> Step:
        queue = self._chance.choice(self._queues)
        return Step(
            "send", {"kind": "queue", "name": queue, "messages": self._messages(self._chance.randint(1, 8))}, QUEUES
        )

    def _take(self) -> Step:
        """Everything, each message settled by its number: see `performing`."""
        return Step(
            "take", {"queue": self._chance.choice(self._queues), "prefetch": self._chance.choice((1, 5, 50))}, QUEUES
        )

    def _hold(self) -> Step:
        return Step("hold", {"queue": self._chance.choice(self._queues)}, QUEUES)

    def _drain(self) -> Step:
        return Step("drain", {"queue": self._chance.choice(self._queues)}, QUEUES)

    def _look_queue(self) -> Step:
        return Step("look_queue", {"queue": self._chance.choice(self._queues)}, (*QUEUES, Cap.DEPTH))

    def _purge(self) -> Step:
        return Step("purge", {"queue": self._chance.choice(self._queues)}, (*QUEUES, Cap.PURGE, Cap.DEPTH))

    def _redrive(self) -> Step:
        return Step("redrive", {"queue": self._chance.choice(self._queues)}, (*QUEUES, Cap.REDRIVE))

    # --- exchanges

    def _publish(self) -> Step:
        messages = self._messages(self._chance.randint(1, 6))
        for message in messages:
            message["routing_key"] = ".".join(self._chance.choices(WORDS, k=self._chance.randint(1, 3)))
            if self._exchange == "direct":
                message["routing_key"] = self._chance.choice(WORDS)
        needs = (*QUEUES, Cap[f"ROUTE_{self._exchange.upper()}"])
        return Step("send", {"kind": "exchange", "name": "events", "messages": messages}, needs)

    # --- what is refused

    def _wrong(self) -> Step:
        what = self._chance.choice(tuple(WRONG))
        return Step("wrong", {"what": what}, WRONG[what])
