"""Exactly once, by its three means: effects of messages, transactions, outboxes.

The rule: an effect counts when it is certain; one whose end nobody knows may be there and may not, and is held against
nobody. What was asked for decides what is an error: duplicates are lawful at least once, losses at most once.

Anomalies: ``EOS-dup`` and ``EOS-lost`` (the effects in one place against the messages that were sent);
``torn-transaction`` (of a transaction, sends and offsets are all there or none); ``outbox-lost``, ``outbox-phantom``,
``outbox-reorder`` and, as a count, ``outbox-dup`` (a row is a message if and only if it was committed).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from mqbridge_conformance.checkers.judging import Checker, Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, Transaction, in_order
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.queue_clients import NEVER, SECOND
from mqbridge_conformance.checkers.queue_facts import Facts
from mqbridge_conformance.history import Event, History, Operation

__all__ = ["EXACTLY_ONCE_CHECKERS", "check_effects", "check_outbox", "check_transactions"]

_TWICE: Final = "at least once: it may be handled again"
_NEVER: Final = "at most once: it need not be handled"
GRACE_NS: Final = SECOND
"""A transaction that was committed may need so long to show in all its places."""


class _Told:
    """What a history says of one kind of event, by value: what is certain, what is not, and what was undone."""

    def __init__(self) -> None:
        self.sure: dict[str | None, list[Event]] = defaultdict(list)
        self.maybe: dict[str | None, list[Event]] = defaultdict(list)
        self.undone: dict[str | None, list[Event]] = defaultdict(list)

    def add(self, operation: Operation) -> None:
        by_outcome = {"ok": self.sure, "fail": self.undone, "info": self.maybe}[operation.outcome]
        by_outcome[operation.invoke.val].append(operation.end or operation.invoke)


def _operations(history: History, f: str) -> list[Operation]:
    """Those with an invoke, and those that were only observed."""
    bare = [event for event in history.of(f) if event.kind != "invoke" and history.invoke_of(event) is None]
    return [*history.operations(f), *(Operation(event, event) for event in bare)]


# --- effects


@each_life
def check_effects(history: History, profile: Profile) -> Judgement:
    """EOS-dup and EOS-lost, for each place that effects are written to."""
    judge = Judge("exactly-once-effects", profile)
    places: dict[str, _Told] = defaultdict(_Told)
    for operation in _operations(history, "effect"):
        places[operation.invoke.dest or ""].add(operation)
    if places:
        inputs = _Inputs(history)
        for place, effects in places.items():
            judge.count("effects", sum(map(len, effects.sure.values())))
            _doubled(judge, profile, inputs, place, effects)
            _missing(judge, profile, inputs, place, effects)
    return judge.judgement()


class _Inputs:
    """The messages that effects come from."""

    def __init__(self, history: History) -> None:
        self.facts = history.derived(Facts)
        self.sends: dict[str | None, list[Operation]] = defaultdict(list)
        self._queues = Counter(val for (_, val), story in self.facts.stories.items() if story.sends)
        self._groups: dict[tuple[str | None, str | None], set[str | None]] = defaultdict(set)
        self._last: dict[tuple[str | None, str | None], Event] = {}
        for operation in history.operations("send"):
            self.sends[operation.invoke.val].append(operation)
        for event in history.said("deliver"):
            self._groups[event.dest, event.val].add(event.group)
            self._last[event.dest, event.val] = event
        verbs = history.of("ack", "reject", "release", "retry")
        self._verbs = {(event.who, event.dest, event.val): event for event in verbs}
        self._drained = {event.dest: event for event in history.said("drained")}
        self._ended = {event.who: event.t for event in history.said("close")}
        self._shrunk = {event.dest for event in history.of("delete_records", "reset", "seek", "delete", "purge")}
        self._dead = {event.val for event in history.of("letter", "deliver") if event.f == "letter" or _death(event)}

    def number(self, value: str | None) -> int:
        """How often it can have been handled, if each message is handled once in each group that it came to."""
        return sum(self._ways(send.invoke) for send in self.sends[value] if send.outcome != "fail")

    def _ways(self, send: Event) -> int:
        if send.dest is not None and send.dest.startswith("exchange:"):
            return max(1, self._queues[send.val])
        return max(1, len(self._groups.get((send.dest, send.val), ())))

    def feeds(self, values: Iterable[str | None]) -> set[str]:
        """The topics and queues that messages with these values were sent to."""
        found = {send.invoke.dest or "" for value in values for send in self.sends[value]}
        return {dest for dest in found if dest.startswith(("topic:", "queue:"))}

    def unhandled(self, send: Operation) -> Event | None:
        """What shows that its message will not be handled any more: it was confirmed, its destination was drained
        afterwards, it did not die, nobody holds it or gave it back, and nothing was taken away there."""
        dest, value = send.invoke.dest, send.invoke.val
        drained = self._drained.get(dest)
        if send.end is None or send.outcome != "ok" or drained is None or drained.t < send.end.t:
            return None
        if value in self._dead or dest in self._shrunk or not self._keeps(dest or ""):
            return None
        last = self._last.get((dest, value))
        verb = None if last is None else self._verbs.get((last.who, dest, value))
        if verb is not None:
            return drained if verb.f == "ack" else None
        return drained if last is None or self._gone(last, drained.t) else None

    def _gone(self, delivery: Event, t: int) -> bool:
        """Had the client that it was given to certainly ended by then?"""
        killed = self.facts.trouble.killed.get(delivery.proc, NEVER)
        return min(self._ended.get(delivery.who, NEVER), killed) <= t

    def _keeps(self, dest: str) -> bool:
        if dest.startswith("queue:"):
            return self.facts.policy(dest).keeps
        log = self.facts.history.derived(Logs).logs.get(dest)
        return log is not None and not log.shrinks


def _death(delivery: Event) -> bool:
    return bool(delivery.more.get("death"))


def _doubled(judge: Judge, profile: Profile, inputs: _Inputs, place: str, effects: _Told) -> None:
    legal = _TWICE if profile.guarantee == "at-least-once" else ""
    for value, events in effects.sure.items():
        due = inputs.number(value)
        if len(events) <= due:
            continue
        causes = [send.invoke for send in inputs.sends[value]]
        text = f"{value!r} was sent {due} times and had {len(events)} effects"
        judge.find("EOS-dup", place, text, in_order(*causes, *events), legal)


def _missing(judge: Judge, profile: Profile, inputs: _Inputs, place: str, effects: _Told) -> None:
    legal = _NEVER if profile.guarantee == "at-most-once" else ""
    feeds = inputs.feeds(effects.sure)
    for value, sends in list(inputs.sends.items()):
        if value in effects.sure or value in effects.maybe:
            continue
        for send in sends:
            if send.invoke.dest in feeds and (shown := inputs.unhandled(send)) is not None:
                assert send.end is not None
                text = f"{value!r} was confirmed in {send.invoke.dest} and had no effect"
                judge.find("EOS-lost", place, text, [send.invoke, send.end, shown], legal)
                break


# --- transactions


@each_life
def check_transactions(history: History, profile: Profile) -> Judgement:
    """torn-transaction: of the sends and offsets of one transaction some are there and some are not."""
    judge = Judge("exactly-once-transactions", profile)
    logs = history.derived(Logs)
    legal = "" if profile.has("TRANSACTIONS") else "this engine claims no transactions"
    members: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in history.of("send", "ack"):
        if event.kind == "invoke" and event.txn is not None:
            members[event.proc, event.txn].append(event)
    again = _given_again(history)
    for (proc, txn), events in members.items():
        judge.count("transactions")
        whole = logs.transactions.get((proc, txn), Transaction("info"))
        there, gone = _parts(history, logs, again, whole, events)
        if whole.outcome == "ok" and whole.end is not None:
            there = there or [whole.end]
        if there and gone:
            text = f"of transaction {txn} of {proc} one part was applied and another was not"
            judge.find("torn-transaction", txn, text, in_order(events[0], *there[:2], *gone[:2]), legal)
    return judge.judgement()


def _given_again(history: History) -> Mapping[tuple[str | None, str | None, int | None, int | None], list[Event]]:
    """(group, topic, partition, offset) -> its deliveries; what was sought or reset is left out."""
    moved = {(event.group, event.dest) for event in history.of("seek", "reset")}
    given: dict[tuple[str | None, str | None, int | None, int | None], list[Event]] = defaultdict(list)
    for event in history.said("deliver"):
        if event.group is not None and (event.group, event.dest) not in moved:
            given[event.group, event.dest, event.part, event.off].append(event)
    return given


def _parts(
    history: History,
    logs: Logs,
    again: Mapping[tuple[str | None, str | None, int | None, int | None], list[Event]],
    whole: Transaction,
    events: list[Event],
) -> tuple[list[Event], list[Event]]:
    """Proofs that parts of it were applied, and proofs that others were not."""
    there: list[Event] = []
    gone: list[Event] = []
    for event in events:
        if event.f == "ack":
            if whole.end is not None and whole.outcome != "fail":
                given = again.get((event.group, event.dest, event.part, event.off), ())
                polls = ((later, history.invoke_of(later)) for later in given)
                gone += [later for later, poll in polls if poll is not None and poll.t > whole.end.t][:1]
            continue
        end_of_send = history.end_of(event)
        log = logs.logs.get(event.dest or "")
        if log is None or event.val in log.repeated or (end_of_send is not None and end_of_send.kind == "fail"):
            continue
        seen = log.sighted.get(event.val or "")
        if seen is not None:
            there.append(seen)
        elif (look := _not_there(log, event, whole)) is not None:
            gone.append(look)
    return there, gone


def _not_there(log: Log, send: Event, whole: Transaction) -> Event | None:
    """A look at everything, some time after the transaction was over, that did not see it."""
    if log.look is None or whole.end is None or log.shrinks or log.removed:
        return None
    late = log.look.began_t > whole.end.t + GRACE_NS
    return log.look.end if late and send.val not in log.look.values else None


# --- outbox


def check_outbox(history: History, profile: Profile) -> Judgement:
    """outbox-lost, outbox-phantom, outbox-reorder, outbox-dup."""
    judge = Judge("exactly-once-outbox", profile)
    operations = _operations(history, "row")
    if not operations:
        return judge.judgement()
    rows, seen = _Told(), _Published(history)
    for operation in operations:
        rows.add(operation)
    judge.count("rows", sum(map(len, rows.sure.values())))
    for value, events in rows.undone.items():
        if value not in rows.sure and value not in rows.maybe and value in seen.first:
            text = f"{value!r} was published, and its row was rolled back"
            judge.find("outbox-phantom", seen.where(value), text, in_order(*events, seen.first[value]))
    for value, events in rows.sure.items():
        number = seen.number(value)
        if number > len(events) + len(rows.maybe.get(value, ())):
            text = f"{value!r} is one row and {number} messages"
            witness = in_order(*events, *seen.copies[value].values())
            judge.find("outbox-dup", seen.where(value), text, witness, "an outbox publishes at least once")
    if rows.sure and not seen.first and not seen.drained:
        judge.cannot_tell(f"{len(rows.sure)} rows were committed, and nobody looked at what came of them")
    _unpublished(judge, seen, operations)
    _reordered(judge, seen, operations)
    return judge.judgement()


class _Published:
    """What came out of outboxes: the first sighting of each value, and every message with it that is one by itself."""

    def __init__(self, history: History) -> None:
        self.first: dict[str | None, Event] = {}
        self.copies: dict[str | None, dict[tuple[str | None, int | None, int | None], Event]] = defaultdict(dict)
        self.sends: dict[str | None, Event] = {}
        self.drained = {event.dest: event for event in history.said("drained")}
        self._confirmed: Counter[str | None] = Counter()
        for event in history.of("deliver", "stored", "letter"):
            self.first.setdefault(event.val, event)
            if event.off is not None:
                self.copies[event.val].setdefault((event.dest, event.part, event.off), event)
        for operation in history.operations("send"):
            self.sends.setdefault(operation.invoke.val, operation.invoke)
            if (operation.invoke.dest or "").startswith("queue:") and operation.outcome == "ok":
                self._confirmed[operation.invoke.val] += 1

    def where(self, value: str | None) -> str:
        found = self.first.get(value) or self.sends.get(value)
        return "" if found is None else found.dest or ""

    def number(self, value: str | None) -> int:
        return max(len(self.copies.get(value, ())), self._confirmed[value])


def _unpublished(judge: Judge, seen: _Published, rows: list[Operation]) -> None:
    """Committed, and in none of the destinations that rows go to, all of which were drained afterwards."""
    published = {seen.where(row.invoke.val) for row in rows if row.invoke.val in seen.first}
    for row in rows:
        if row.outcome != "ok" or row.end is None or row.invoke.val in seen.first:
            continue
        dests = sorted(published if row.invoke.dest is None else {row.invoke.dest})
        drained = [seen.drained[dest] for dest in dests if dest in seen.drained and seen.drained[dest].t > row.end.t]
        if dests and len(drained) == len(dests):
            text = f"the row of {row.invoke.val!r} was committed, and no message came of it"
            judge.find("outbox-lost", ", ".join(dests), text, in_order(row.invoke, row.end, *drained))


def _reordered(judge: Judge, seen: _Published, rows: list[Operation]) -> None:
    """Rows of one aggregate are published in the order in which they were committed: by the offsets of one partition,
    and by when their sends began, where a relay's sends are told."""
    lines: dict[str, list[Operation]] = defaultdict(list)
    numbers = Counter(row.invoke.val for row in rows)
    for row in rows:
        if row.outcome == "ok" and row.invoke.key is not None and numbers[row.invoke.val] == 1:
            lines[row.invoke.key].append(row)
    for key, line in lines.items():
        line.sort(key=lambda row: row.invoke.t)
        for before, after in zip(line, line[1:], strict=False):
            if before.end is None or before.end.t >= after.invoke.t:
                continue
            witness = _inverted(seen, before, after)
            if witness:
                older, newer = before.invoke.val, after.invoke.val
                text = f"of {key!r}, {newer!r} was published before {older!r}, whose row is older"
                judge.find("outbox-reorder", str(witness[-1].dest), text, in_order(before.end, after.invoke, *witness))


def _inverted(seen: _Published, before: Operation, after: Operation) -> tuple[Event, ...]:
    sends = seen.sends.get(before.invoke.val), seen.sends.get(after.invoke.val)
    if sends[0] is not None and sends[1] is not None and sends[1].t < sends[0].t:
        return sends[1], sends[0]
    places = (_first_place(seen, row.invoke.val) for row in (before, after))
    old, new = places
    if old is None or new is None or (old.dest, old.part) != (new.dest, new.part):
        return ()
    return (new, old) if (new.off or 0) < (old.off or 0) else ()


def _first_place(seen: _Published, value: str | None) -> Event | None:
    copies = seen.copies.get(value)
    return min(copies.values(), key=lambda event: event.off or 0) if copies else None


EXACTLY_ONCE_CHECKERS: Final[tuple[Checker, ...]] = (check_effects, check_transactions, check_outbox)
