"""What a history says of topics, gathered once for all checkers of logs.

The rule: facts, no verdicts. A value that was sent to a destination once is an identity: whoever wrote it and whoever
saw it are found by it. One that was sent more often is none, and is left out of everything that asks who wrote what.
What was written in a transaction is as its transaction is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias

from mqbridge_conformance.checkers.log_lives import born_as
from mqbridge_conformance.history import Damaged, Event, History, Payload

__all__ = [
    "SHOWN",
    "Client",
    "Log",
    "Logs",
    "Look",
    "Part",
    "Place",
    "Sent",
    "Transaction",
    "evidence",
    "in_order",
    "place",
    "told",
]

SHOWN: Final = 3
"""So many of a kind are shown."""

Place: TypeAlias = tuple[str, int]
"""A destination and a partition."""


def place(event: Event) -> Place:
    """Where an event of a partition is."""
    return event.dest or "", event.part or 0


def in_order(*events: Event) -> list[Event]:
    """Each of them once, in the order of the history: a witness."""
    found = {(event.proc, event.seq): event for event in events}
    return sorted(found.values(), key=lambda event: (event.t, event.proc, event.seq))


def told(offsets: Sequence[int]) -> str:
    """Offsets as a person reads them."""
    shown = ", ".join(str(off) for off in offsets[:SHOWN])
    more = f" and {len(offsets) - SHOWN} more" if len(offsets) > SHOWN else ""
    return f"offset{'s' if len(offsets) > 1 else ''} {shown}{more}"


@dataclass(slots=True, eq=False)
class Sent:
    """One message on its way into a log. `outcome` is that of its transaction too; `part` and `off` are what its end
    says."""

    invoke: Event
    end: Event | None
    outcome: str
    part: int | None
    off: int | None

    @property
    def val(self) -> str:
        return self.invoke.val or ""

    @property
    def known_t(self) -> float:
        """From when on its outcome is known; never, if it is not."""
        return math.inf if self.end is None else self.end.t

    @property
    def witness(self) -> tuple[Event, ...]:
        return (self.invoke,) if self.end is None else (self.invoke, self.end)


class Client(NamedTuple):
    """A producer, consumer or replay, as it was opened."""

    who: str
    role: str
    group: str | None
    sources: tuple[str, ...]
    options: Mapping[str, Any]
    opened: Event


class Look(NamedTuple):
    """All that an observer saw in a log; it lay there at one time after `began_t`."""

    began_t: int
    end: Event
    values: Mapping[str, Event]
    offsets: Mapping[int, Mapping[int, Event]]


@dataclass(slots=True)
class Transaction:
    """What became of one: `ok` committed, `fail` never to be seen, `info` nobody knows. `commit` is the first invoke
    that asks for it."""

    outcome: str = "fail"
    commit: Event | None = None
    end: Event | None = None


@dataclass(slots=True, eq=False)
class Part:
    """A partition: the first sighting of each offset, and what confirmations say lies there."""

    seen: dict[int, Event] = field(default_factory=dict)
    acked: dict[int, Sent] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)
    """What nobody is known to have sent once, and a reader of committed records was given."""


def evidence(log: Log, part: int, off: int) -> tuple[Event, ...]:
    """The events that show that a record lies there: its confirmation, else the first who saw it."""
    at = log.parts[part]
    sent = at.acked.get(off)
    return sent.witness if sent is not None else (at.seen[off],)


class Log:
    """A topic and what is known of it."""

    def __init__(self, dest: str, history: History) -> None:
        self.dest = dest
        self.spec = history.spec(dest)
        self.sends: list[Sent] = []
        self.written: dict[str, Sent] = {}
        self.repeated: set[str] = set()
        self.sighted: dict[str, Event] = {}
        self.reads: list[Event] = []
        self.parts: dict[int, Part] = defaultdict(Part)
        self.looks: list[Look] = []
        self.removed: dict[int, float] = {}
        self.grown = False

    @property
    def name(self) -> str:
        """What messages say that belong here: the same in all lives of the topic."""
        return born_as(self.dest)

    @property
    def compacted(self) -> bool:
        return "compact" in str(self.spec.get("cleanup") or "")

    @property
    def retained(self) -> bool:
        """May its oldest records go by themselves?"""
        limits = self.spec.get("retention")
        return any(value is not None for value in limits.values()) if isinstance(limits, Mapping) else bool(limits)

    @property
    def shrinks(self) -> bool:
        """May records that were there go without anybody's asking?"""
        return self.compacted or self.retained

    @property
    def look(self) -> Look | None:
        """The last word on what is there."""
        return self.looks[-1] if self.looks else None

    def add(self, sent: Sent) -> None:
        self.sends.append(sent)
        value = sent.invoke.val
        if value is None:
            return
        if value in self.written or value in self.repeated:
            self.written.pop(value, None)
            self.repeated.add(value)
        else:
            self.written[value] = sent
        if sent.part is not None and sent.off is not None and sent.outcome == "ok":
            self.parts[sent.part].acked.setdefault(sent.off, sent)

    def saw(self, event: Event, committed: bool) -> None:
        """`committed`: is it known that this reader is given committed records alone?"""
        self.reads.append(event)
        if event.val is not None:
            self.sighted.setdefault(event.val, event)
        if event.part is not None and event.off is not None:
            part = self.parts[event.part]
            part.seen.setdefault(event.off, event)
            if committed and event.val not in self.written:
                part.given.add(event.off)

    def found_at(self, sent: Sent) -> tuple[int, int] | None:
        """Partition and offset of a message, from its confirmation or from whoever saw it."""
        if sent.part is not None and sent.off is not None:
            return sent.part, sent.off
        seen = self.sighted.get(sent.val)
        return None if seen is None or seen.part is None or seen.off is None else (seen.part, seen.off)

    def may_be_gone(self, sent: Sent) -> str:
        """Why a message that was confirmed need not be there any more; empty if it has to be."""
        at = self.found_at(sent)
        if self.compacted and self._superseded(sent):
            return "a later record of its key replaces it in a compacted topic"
        if self.removed and (at is None or at[1] < self.removed.get(at[0], -1)):
            return "records were deleted up to a place above it, or nobody knows where it lay"
        if self.retained and not self._kept_below(at):
            return "the topic keeps its oldest records for a limited time only"
        return ""

    def _kept_below(self, at: tuple[int, int] | None) -> bool:
        """Is a record still there that is older, in its partition? Retention takes the oldest first."""
        if at is None or self.look is None:
            return False
        return min(self.look.offsets.get(at[0], ()), default=at[1]) < at[1]

    def _superseded(self, sent: Sent) -> bool:
        """May another message of its key have come after it?"""
        if sent.invoke.key is None:
            return True
        others = [other for other in self._by_key[sent.invoke.key] if other is not sent and other.outcome != "fail"]
        return any(other.known_t > sent.invoke.t for other in others)

    @cached_property
    def _by_key(self) -> Mapping[str | None, list[Sent]]:
        found: dict[str | None, list[Sent]] = defaultdict(list)
        for sent in self.sends:
            found[sent.invoke.key].append(sent)
        return found

    @cached_property
    def transactional(self) -> list[Sent]:
        """Those that are part of a transaction."""
        return [sent for sent in self.sends if sent.invoke.txn is not None]

    @cached_property
    def missing(self) -> list[Sent]:
        """Confirmed before the last look, and not in it, nor given to anybody who asked later; not those that may be
        gone."""
        look = self.look
        if look is None:
            return []
        later = {event.val for event in self.reads if event.t > look.end.t}
        return [
            sent
            for value, sent in self.written.items()
            if sent.outcome == "ok"
            and sent.known_t < look.began_t
            and value not in look.values
            and value not in later
            and not self.may_be_gone(sent)
        ]

    @cached_property
    def present(self) -> Mapping[int, list[int]]:
        """Partition -> offsets, ascending, of the records that a reader who passes there has to be given."""
        lost = {sent.val for sent in self.missing}
        found: dict[int, list[int]] = {}
        for number, part in self.parts.items():
            below = self.removed.get(number, -1)
            offsets = {off for off, event in part.seen.items() if off >= below and self._is_given(part, off, event)}
            offsets.update(off for off, sent in part.acked.items() if off >= below and sent.val not in lost)
            found[number] = sorted(offsets)
        if self.shrinks:
            kept = self.look.offsets if self.look is not None else {}
            found = {part: [off for off in offsets if off in kept.get(part, {})] for part, offsets in found.items()}
        return found

    def _is_given(self, part: Part, off: int, event: Event) -> bool:
        """Is what was seen there to be seen by everybody: neither part of a transaction that may not have been
        committed nor said to have failed?"""
        sent = self.written.get(event.val or "")
        if sent is None:
            return off in part.given
        return sent.outcome == "ok" or (sent.outcome == "info" and sent.invoke.txn is None)


class Logs:
    """The topics of a history, their clients and transactions. See the module."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.logs: dict[str, Log] = {}
        self.deleted = _deleted(history)
        self.clients = {client.who: client for client in _clients(history)}
        self.transactions = _transactions(history)
        self._payloads: dict[str, Payload | None] = {}
        for sent in self._sends():
            self._log(sent.invoke.dest or "").add(sent)
        for event in history.of("deliver", "stored"):
            if event.dest is not None and event.kind == "ok" and self.judged(event.dest):
                self._log(event.dest).saw(event, self._is_committed(event))
        for event in history.said("declare"):
            if event.dest is not None and self.judged(event.dest):
                self._log(event.dest)
        self._look()
        self._admin()

    def __iter__(self) -> Iterator[Log]:
        return iter(self.logs.values())

    def _is_committed(self, event: Event) -> bool:
        client = self.clients.get(event.who) if event.f == "deliver" else None
        return client is not None and client.options.get("isolation") != "read_uncommitted"

    def judged(self, dest: str) -> bool:
        return dest.startswith("topic:")

    def _log(self, dest: str) -> Log:
        found = self.logs.get(dest)
        if found is None:
            found = self.logs[dest] = Log(dest, self.history)
        return found

    def _sends(self) -> Iterator[Sent]:
        for operation in self.history.operations("send"):
            invoke, end = operation
            if invoke.dest is None or not self.judged(invoke.dest):
                continue
            outcome: str = operation.outcome
            if invoke.txn is not None and outcome != "fail":
                whole = self.transaction(invoke)
                if whole.outcome != "ok":
                    outcome = whole.outcome
            known = end is not None and end.kind == "ok" and end.off is not None and end.off >= 0
            yield Sent(invoke, end, outcome, end.part if end else None, end.off if end is not None and known else None)

    def transaction(self, event: Event) -> Transaction:
        """The transaction that an event is part of; one that nobody began is unknown."""
        return self.transactions.get((event.proc, event.txn or ""), Transaction("info"))

    def payload(self, value: str | None) -> Payload | None:
        """The payload of a value; None if it has none, or a damaged one."""
        if value is None:
            return None
        try:
            return self._payloads[value]
        except KeyError:
            try:
                found = Payload.decode(value)
            except Damaged:
                found = None
            self._payloads[value] = found
            return found

    @property
    def run(self) -> str:
        """What payloads of this run say that they are from."""
        return str(self.history.header.get("run", ""))

    @cached_property
    def burial_grounds(self) -> frozenset[str]:
        """Topics that consumers were told to copy their dead letters to."""
        targets = (client.options.get("dead_letter") for client in self.clients.values())
        return frozenset(target for target in targets if isinstance(target, str))

    def client(self, event: Event) -> Client | None:
        return self.clients.get(event.who)

    def may_jump(self, who: str, dest: str) -> bool:
        """May a reader go on at the end of a topic, because its place was removed and it was told to do so?"""
        client, log = self.clients.get(who), self.logs.get(dest)
        told = client is not None and client.options.get("on_gap") == "latest"
        return told and log is not None and (bool(log.removed) or log.shrinks)

    def options(self, event: Event) -> Mapping[str, Any] | None:
        """The options of the client of an event; None if nothing is known of it."""
        client = self.clients.get(event.who)
        return None if client is None else client.options

    def _look(self) -> None:
        within: dict[tuple[str, int], list[Event]] = defaultdict(list)
        for event in self.history.said("stored"):
            if event.op is not None:
                within[event.proc, event.op].append(event)
        for operation in self.history.operations("looked"):
            invoke, end = operation
            if end is None or end.kind != "ok" or invoke.dest is None or not self.judged(invoke.dest):
                continue
            if end.t > self.deleted.get(invoke.dest, math.inf):
                continue
            offsets: dict[int, dict[int, Event]] = defaultdict(dict)
            values: dict[str, Event] = {}
            for event in within[invoke.proc, invoke.seq]:
                if event.val is not None:
                    values.setdefault(event.val, event)
                if event.part is not None and event.off is not None:
                    offsets[event.part][event.off] = event
            self._log(invoke.dest).looks.append(Look(invoke.t, end, values, offsets))

    def _admin(self) -> None:
        for event in self.history.of("delete_records", "add_partitions"):
            log = self.logs.get(event.dest or "")
            end = self.history.end_of(event) if event.kind == "invoke" else event
            if log is None or (end is not None and end.kind == "fail"):
                continue
            if event.f == "add_partitions":
                log.grown = True
            else:
                for number, below in (event.more.get("before") or {}).items():
                    log.removed[int(number)] = max(log.removed.get(int(number), -1), below)


def _deleted(history: History) -> dict[str, int]:
    """Destination -> when somebody began to delete it."""
    found: dict[str, int] = {}
    for operation in history.operations("delete"):
        if operation.invoke.dest is not None and operation.outcome != "fail":
            found.setdefault(operation.invoke.dest, operation.invoke.t)
    return found


def _clients(history: History) -> Iterator[Client]:
    for event in history.said("open"):
        options = {**event.more, **(event.more.get("options") or {})}
        sources = tuple(str(source) for source in options.get("sources") or () if source) or (event.dest or "",)
        group = event.group or options.get("group")
        yield Client(event.who, str(options.get("role", "")), group, sources, options, event)


def _transactions(history: History) -> dict[tuple[str, str], Transaction]:
    """(process, transaction) -> what became of it. One whose commit nobody asked for is never to be seen."""
    found: dict[tuple[str, str], Transaction] = {}
    for event in history.of("begin", "send"):
        if event.kind == "invoke" and event.txn is not None:
            found.setdefault((event.proc, event.txn), Transaction())
    for operation in history.operations("end"):
        invoke, end = operation
        whole = found.setdefault((invoke.proc, invoke.txn or ""), Transaction())
        if not invoke.more.get("commit"):
            whole.end = whole.end or end
            continue
        whole.commit = whole.commit or invoke
        whole.end = end or whole.end
        if operation.outcome == "ok" or whole.outcome == "fail":
            whole.outcome = operation.outcome
    return found
