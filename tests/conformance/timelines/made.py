"""Histories made by hand: what a recorder would have written, without an engine."""

from __future__ import annotations

from typing import Any

from mqbridge_conformance.history import Error, Event, History, Payload
from mqbridge_conformance.history.events import Kind

__all__ = ["Story", "lost", "twice"]

MS = 1_000_000
TOPIC, QUEUE = "topic:mqc-0123abcd-orders", "queue:mqc-0123abcd-mails"


def value(dest: str, number: int, producer: str = "p1") -> str:
    return Payload("0123abcd", dest, "-", producer, number).encode().decode()


class Story:
    """Events one after another, each of a process, `after_ms` after the one before."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._t = 1_000_000_000_000
        self._seqs: dict[str, int] = {}

    def say(self, proc: str, kind: Kind, f: str, after_ms: float = 0.2, **fields: Any) -> Event:
        self._t += int(after_ms * MS)
        seq = self._seqs[proc] = self._seqs.get(proc, 0) + 1
        event = Event(seq, self._t, proc, kind, f, **fields)
        self.events.append(event)
        return event

    def end(self, invoke: Event, kind: Kind = "ok", after_ms: float = 0.4, **fields: Any) -> Event:
        """Of an operation; it leaves out what the invoke has said, as recorders do."""
        return self.say(invoke.proc, kind, invoke.f, after_ms, op=invoke.seq, **fields)

    @property
    def history(self) -> History:
        return History(self.events)


def lost() -> tuple[History, tuple[Event, ...]]:
    """A broker is killed with a send under way; what it had confirmed before is not there afterwards. With the events
    that prove it: the confirmation, and the look at the log."""
    story = Story()
    story.say("main", "ok", "run", more={"engine": "kafka", "seed": 7})
    story.say("main", "ok", "open", client="producer-1", more={"role": "producer", "acks": "all"})
    story.say("reader", "ok", "open", client="consumer-1", group="billing", more={"role": "topic-consumer"})
    story.say("reader", "ok", "assigned", client="consumer-1", group="billing", dest=TOPIC, part=2, lease=3, off=0)
    confirmed: Event | None = None
    for number in range(6):
        facts: dict[str, Any] = {"client": "producer-1", "dest": TOPIC, "val": value(TOPIC, number)}
        facts["key"] = f"customer-{number % 2}"
        invoke = story.say("main", "invoke", "send", **facts)
        if number < 4:
            ended = story.end(invoke, part=2, off=number)
            confirmed = ended if number == 3 else confirmed
        if number < 3:
            at: dict[str, Any] = {"client": "consumer-1", "group": "billing", "dest": TOPIC, "part": 2, "off": number}
            story.say("reader", "ok", "deliver", val=facts["val"], lease=3, **at)
            acked = story.say("reader", "invoke", "ack", val=facts["val"], lease=3, **at)
            story.end(acked, after_ms=0.02)
    committed = story.say("reader", "invoke", "commit", client="consumer-1", group="billing")
    story.end(committed, after_ms=3)
    more = {"what": "kill -9", "at": "broker"}
    killed = story.say("main", "invoke", "fault", more=more)
    story.end(killed, after_ms=40, more=more)
    sends = [event for event in story.events if event.f == "send" and event.kind == "invoke"]
    gone = Error("connection_lost", "maybe_applied", "the broker went away")
    story.end(sends[4], "info", 1200, err=gone)
    healed = story.say("main", "invoke", "heal", 800, more=more)
    story.end(healed, after_ms=900, more=more)
    last = value(TOPIC, 6)
    refused = story.say("main", "invoke", "send", client="producer-1", dest=TOPIC, key="customer-0", val=last)
    story.end(refused, "fail", 2, err=Error("rejected", "not_applied", "not enough replicas"))
    looked = story.say("main", "invoke", "looked", 30, dest=TOPIC)
    for number in (0, 1, 2, 4):
        place: dict[str, Any] = {"dest": TOPIC, "part": 2, "off": min(number, 3)}
        story.say("main", "ok", "stored", op=looked.seq, val=value(TOPIC, number), **place)
    end = story.end(looked, dest=TOPIC)
    assert confirmed is not None
    return story.history, (confirmed, end)


def twice() -> tuple[History, tuple[Event, ...]]:
    """A message of a queue that was settled for certain is delivered to another consumer."""
    story = Story()
    story.say("main", "ok", "run", more={"engine": "rabbitmq", "seed": 7})
    val = value(QUEUE, 0)
    story.end(story.say("main", "invoke", "send", client="producer-1", dest=QUEUE, key="-", val=val))
    first = story.say("share-1", "ok", "deliver", 5, client="queue-consumer-1", dest=QUEUE, tag=1, val=val, attempt=1)
    acked = story.say("share-1", "invoke", "ack", client="queue-consumer-1", dest=QUEUE, tag=1, val=val)
    story.end(acked, after_ms=0.02)
    committed = story.say("share-1", "invoke", "commit", client="queue-consumer-1")
    done = story.end(committed, after_ms=4)
    again = {"attempt": 2, "redelivered": True}
    second = story.say("share-2", "ok", "deliver", 70, client="queue-consumer-1", dest=QUEUE, tag=1, val=val, **again)
    return story.history, (first, done, second)
