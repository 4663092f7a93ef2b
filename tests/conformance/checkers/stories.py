"""Histories told event by event: what happened, in the order in which it happened, a millisecond apart.

The rule: a story says what clients and observers saw and nothing else; it is right or wrong only to a checker. What is
not said is as in a run without faults: one process, one topic of one partition, one group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mqbridge import Capability
from mqbridge_conformance.checkers import Checker, Finding, Profile
from mqbridge_conformance.history import Error, Event, History, Kind, Payload

__all__ = ["ALL_CLAIMED", "TOPIC", "Story", "anomalies", "findings", "value"]

TOPIC = "topic:t"
ALL_CLAIMED = Profile(engine="story", claims={str(capability): "direct" for capability in Capability})
MS = 1_000_000


def value(number: int, key: str = "k", producer: str = "p", dest: str = TOPIC) -> str:
    """The payload with that number."""
    return Payload("run", dest, key, producer, number).encode().decode()


class Story:
    """See the module. Clients are named ``PROC/CLIENT``; a name without a process is of the process ``main``."""

    def __init__(self, **spec: Any) -> None:
        self.events: list[Event] = []
        self.t = 0
        self.records: dict[tuple[str, int, int], tuple[str | None, str]] = {}
        self.ops: dict[tuple[str, int], Event] = {}
        self._seq: dict[str, int] = {}
        self._groups: dict[str, str | None] = {}
        self.leases: dict[str, int] = {}
        self.say("ok", "run", more={"run": "run"})
        self.declare(TOPIC, **{"partitions": 1, **spec})

    def history(self) -> History:
        return History(self.events)

    # --- events

    def wait(self, ms: float) -> Story:
        self.t += int(ms * MS)
        return self

    def say(self, kind: Kind, f: str, proc: str = "main", **fields: Any) -> int:
        """One event, a millisecond after the last one."""
        self.t += MS
        seq = self._seq[proc] = self._seq.get(proc, 0) + 1
        self.events.append(Event(seq, self.t, proc, kind, f, **fields))
        return seq

    def did(self, f: str, who: str = "main/", *, outcome: Kind = "ok", ms: float = 0, **fields: Any) -> None:
        """An operation with its end."""
        proc, client = _named(who)
        facts = {"client": client or None, "group": self._groups.get(who), **fields}
        op = self.say("invoke", f, proc, **facts)
        self.wait(ms)
        err = None if outcome == "ok" else Error("x", "not_applied" if outcome == "fail" else "maybe_applied", "")
        self.say(outcome, f, proc, op=op, err=err, **facts)

    def declare(self, dest: str, **spec: Any) -> None:
        self.say("ok", "declare", dest=dest, more=spec)

    # --- clients

    def producer(self, who: str = "p", **options: Any) -> str:
        told = {"role": "producer", "acks": "all", "idempotent": None, "partitioner": "by_key", "on_unknown": "fail"}
        proc, client = _named(who)
        self.say("ok", "open", proc, client=client, more={**told, **options})
        return who

    def consumer(self, who: str = "c", group: str = "g", dest: str = TOPIC, **options: Any) -> str:
        told: dict[str, Any] = {"role": "topic-consumer", "start": {"name": "EARLIEST"}, "ack": "explicit"}
        told |= {"isolation": "read_committed", "session_timeout_s": 10.0, "max_poll_interval_s": 300.0}
        proc, client = _named(who)
        self._groups[who] = group
        self.say("ok", "open", proc, client=client, group=group, dest=dest, more={**told, "sources": [dest], **options})
        return who

    def replay(self, who: str = "r", start: int | None = None, dest: str = TOPIC, **options: Any) -> str:
        at: dict[str, Any] = {"name": "EARLIEST"} if start is None else {"offsets": {"0": start}}
        told = {"role": "replay", "start": at, "end": {"name": "NOW"}, "asked_t": self.t + 1, **options}
        proc, client = _named(who)
        self.say("ok", "open", proc, client=client, dest=dest, more=told)
        return who

    def read_out(self, who: str = "r", dest: str = TOPIC) -> None:
        """A replay has given all that it will give."""
        proc, client = _named(who)
        self.say("ok", "read_out", proc, client=client, dest=dest)

    # --- writing

    def begin(
        self, val: str, who: str = "p", *, key: str | None = "k", dest: str = TOPIC, txn: str | None = None
    ) -> int:
        """A send is on its way."""
        proc, client = _named(who)
        return self.say("invoke", "send", proc, client=client, dest=dest, key=key, val=val, txn=txn)

    def end(self, op: int, off: int | None, who: str = "p", *, part: int = 0, outcome: Kind = "ok") -> None:
        """And it has ended."""
        proc, _ = _named(who)
        place = {"part": part, "off": off} if outcome == "ok" else {}
        self.say(outcome, "send", proc, op=op, **place)

    def send(
        self,
        val: str,
        off: int | None,
        who: str = "p",
        *,
        key: str | None = "k",
        dest: str = TOPIC,
        part: int = 0,
        outcome: Kind = "ok",
        txn: str | None = None,
        told: bool = True,
    ) -> None:
        """A send and its end; what is at an offset is there to be read. `told`: does the end say where?"""
        op = self.begin(val, who, key=key, dest=dest, txn=txn)
        if off is not None:
            self.put(off, val, key=key, dest=dest, part=part)
        self.end(op, off if told else None, who, part=part, outcome=outcome)

    def put(self, off: int, val: str, *, key: str | None = "k", dest: str = TOPIC, part: int = 0) -> None:
        """It lies there, whoever was told so."""
        self.records[dest, part, off] = (key, val)

    def filled(self, count: int = 6, **options: Any) -> Story:
        """A producer, and as many records from offset 0 on."""
        self.producer()
        for number in range(count):
            self.send(value(number), number, **options)
        return self

    # --- reading

    def poll(
        self,
        who: str = "c",
        *offs: int,
        lease: int | None = 1,
        dest: str = TOPIC,
        part: int = 0,
        ms: float = 0,
        vals: dict[int, str] | None = None,
        **fields: Any,
    ) -> None:
        """A poll that gives those offsets; `vals` are other values than those that lie there."""
        proc, client = _named(who)
        facts: dict[str, Any] = {"client": client, "group": self._groups.get(who)}
        op = self.say("invoke", "poll", proc, **facts, dest=dest)
        self.wait(ms)
        if lease is not None and who in self._groups and self.leases.get(f"{who}/{dest}/{part}") != lease and offs:
            self.leases[f"{who}/{dest}/{part}"] = lease
            self.say("ok", "assigned", proc, **facts, dest=dest, part=part, lease=lease)
        for off in offs:
            key, val = self.records[dest, part, off]
            told = {"key": key, "val": (vals or {}).get(off, val), "lease": lease, "attempt": 1, "redelivered": False}
            self.say("ok", "deliver", proc, op=op, **facts, dest=dest, part=part, off=off, **{**told, **fields})
        self.say("ok", "poll", proc, op=op, **facts, more={"count": len(offs)})

    def settle(self, who: str, *offs: int, verb: str = "ack", lease: int = 1, dest: str = TOPIC, part: int = 0) -> None:
        for off in offs:
            self.did(verb, who, dest=dest, part=part, off=off, lease=lease)

    def commit(self, who: str = "c", outcome: Kind = "ok") -> None:
        self.did("commit", who, outcome=outcome)

    # --- observers, faults and the end

    def look(self, dest: str = TOPIC, without: Iterable[int] = ()) -> None:
        """All that lies there is told, without some."""
        op = self.say("invoke", "looked", dest=dest)
        for (where, part, off), (key, val) in sorted(self.records.items(), key=lambda item: item[0]):
            if where == dest and off not in without:
                self.say("ok", "stored", op=op, dest=dest, part=part, off=off, key=key, val=val)
        self.say("ok", "looked", op=op, dest=dest)

    def committed(self, off: int, group: str = "g", dest: str = TOPIC, part: int = 0) -> None:
        """An observer sees the place of the group."""
        op = self.say("invoke", "committed", group=group)
        self.say("ok", "committed", op=op, group=group, dest=dest, part=part, off=off)

    def drained(self, group: str | None = "g", dest: str = TOPIC) -> None:
        self.say("ok", "drained", dest=dest, group=group)

    def fault(self, at: str, what: str = "pause") -> None:
        self.say("ok", "fault", more={"what": what, "at": at})

    def heal(self, at: str, what: str = "pause") -> None:
        self.say("ok", "heal", more={"what": what, "at": at})


def _named(who: str) -> tuple[str, str]:
    proc, _, client = who.rpartition("/")
    return proc or "main", client


def findings(history: History, checkers: Iterable[Checker], profile: Profile = ALL_CLAIMED) -> list[Finding]:
    return [finding for checker in checkers for finding in checker(history, profile).findings]


def anomalies(history: History, checkers: Iterable[Checker], profile: Profile = ALL_CLAIMED) -> set[str]:
    """The names of what is an error."""
    return {finding.anomaly for finding in findings(history, checkers, profile) if not finding.legal}
