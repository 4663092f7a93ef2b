"""How a table of bindings and messages is tried out: each queue gets exactly the messages that the rule gives it.

The rule: what is due comes from the scenario, by a rule written down there from AMQP 0-9-1. What came is told by an
observer that can tell what lies in a queue, else by a consumer of it. A message that no queue is due to get must be
refused as unroutable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import mqbridge as mq
from mqbridge_conformance.env import Env

__all__ = ["Sent", "Table"]


class Sent(NamedTuple):
    """One message of a table: its name, how it is sent, and the queues that are due to get it, each once."""

    name: str
    options: Mapping[str, Any]
    due: Sequence[str]


class Table:
    """Queues by name, what was sent to an exchange, and what each of them is due to have."""

    def __init__(self, env: Env, exchange: mq.Exchange, queues: Iterable[str]) -> None:
        self._env = env
        self._exchange = exchange
        self.queues: dict[str, mq.Queue[bytes]] = {name: env.queue(name, dead_letter=None) for name in queues}
        self._due: dict[str, list[str]] = defaultdict(list)
        self._names: dict[bytes, str] = {}

    def send(self, *messages: Sent) -> None:
        """Send them, and see that what no queue is due to get is unroutable, and nothing else."""
        env = self._env
        values = [env.payload(self._exchange, sent.name, 0) for sent in messages]
        with env.bus.producer() as producer:
            receipts = [
                producer.send(self._exchange, value, **sent.options)
                for value, sent in zip(values, messages, strict=True)
            ]
            for value, sent, receipt in zip(values, messages, receipts, strict=True):
                self._names[value] = sent.name
                for name in sent.due:
                    self._due[name].append(sent.name)
                self._ended(sent, receipt.exception(env.patience_s))

    def _ended(self, sent: Sent, error: mq.MqbridgeError | None) -> None:
        told = f"{sent.name} {dict(sent.options)}"
        if sent.due:
            self._env.equal(error, None, f"the end of sending {told}", anomaly="misrouted")
            self._env.count("routed")
            return
        found = f"{told}: {error!r} where Unroutable is due"
        self._env.check(isinstance(error, mq.Unroutable), found, anomaly="unroutable-confirmed")
        self._env.equal(getattr(error, "outcome", None), "not_applied", f"the outcome of {told}")
        self._env.count("unroutable")

    def check(self) -> None:
        """Each queue has what it is due to have, and nothing else."""
        for name, queue in self.queues.items():
            found = sorted(self._names.get(value, repr(value)) for value in self._had(queue, len(self._due[name])))
            self._env.equal(found, sorted(self._due[name]), f"what {name} gets", anomaly="misrouted")

    def _had(self, queue: mq.Queue[bytes], number: int) -> list[bytes]:
        seen = self._env.observer.messages(queue.name)
        if seen is not None:
            return [message.value or b"" for message in seen]
        with self._env.bus.consumer(queue) as consumer:
            got = self._env.receive(consumer, number, f"what is due to {queue}", "misrouted") if number else []
            got += consumer.poll(timeout=0.05)
            self._env.ack(consumer, got)
            self._env.drained(queue)
        return [delivery.raw or b"" for delivery in got]
