"""Checker of what payloads say of themselves: where they belong, whether they are whole, and which came first.

The rule: a payload (`history.payload`) is believed only as far as the history bears it out: its producer did send it,
once, and in the order of its numbers. A message that the application itself sent elsewhere, or that was copied to a
dead-letter topic, is in no wrong place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, in_order
from mqbridge_conformance.checkers.log_lives import born_as, each_life
from mqbridge_conformance.checkers.log_promises import may_reorder, not_claimed, unconfirmed
from mqbridge_conformance.history import Damaged, Event, History, Payload

__all__ = ["buries", "is_damaged", "log_payloads"]


@each_life
def log_payloads(history: History, profile: Profile) -> Judgement:
    """See the module."""
    judge = Judge("log-payloads", profile)
    logs = history.derived(Logs)
    _whole(logs, judge)
    for log in logs:
        if not buries(logs, log.dest):
            _destination(logs, log, judge)
        _key_of(log, judge)
        _order(logs, log, profile, judge)
        _moved(logs, log, profile, judge)
    return judge.judgement()


def _whole(logs: Logs, judge: Judge) -> None:
    """payload-corruption: a checksum that is wrong, of something that nobody sent so."""
    damaged: list[tuple[Event, str]] = []
    for event in (event for log in logs for event in log.reads):
        if event.val is None:
            continue
        text = _plain(event.val)
        if logs.payload(text) is not None:
            judge.count("payloads")
            continue
        try:
            Payload.decode(text)
        except Damaged:
            damaged.append((event, text))
    if damaged:
        sent = {_plain(event.val or "") for event in logs.history.of("send")}
        for event, text in damaged:
            if text not in sent:
                judge.find("payload-corruption", _where(event), f"{text[:100]!r} has a wrong checksum", [event])


def is_damaged(value: str | None) -> bool:
    """Does it begin as a payload, and is none?"""
    if value is None:
        return False
    try:
        Payload.decode(_plain(value))
    except Damaged:
        return True
    return False


def _plain(value: str) -> str:
    """A value as text, also if a damaged byte made it to be told in hex."""
    if not value.startswith("hex:"):
        return value
    try:
        return bytes.fromhex(value[4:]).decode("latin-1")
    except ValueError:
        return value


def _key_of(log: Log, judge: Judge) -> None:
    """payload-corruption, too: a message that comes back under another key, or without the one that it had."""
    for event in log.reads:
        sent = log.written.get(event.val or "")
        if sent is None or event.key == sent.invoke.key:
            continue
        text = f"it was sent under key {sent.invoke.key!r} and came back under {event.key!r}"
        judge.find("payload-corruption", _where(event), text, in_order(*sent.witness, event))


def buries(logs: Logs, dest: str) -> bool:
    """Is it a topic of dead letters? One that consumers were told of, or that has its name from a group."""
    return born_as(dest).endswith(".dlq") or born_as(dest) in logs.burial_grounds


def _destination(logs: Logs, log: Log, judge: Judge) -> None:
    """wrong-destination: it says that it belongs elsewhere, and nobody sent it here."""
    told: set[str] = set()
    for event in log.reads:
        payload = logs.payload(event.val)
        if payload is None or payload.dest == log.name or event.val in told:
            continue
        if event.val in log.written or event.val in log.repeated or event.more.get("death"):
            continue
        told.add(event.val or "")
        elsewhere = logs.logs.get(payload.dest)
        sent = elsewhere.written.get(event.val or "") if elsewhere is not None else None
        text = f"number {payload.number} of {payload.producer} belongs to {payload.dest}"
        witness = in_order(*(sent.witness if sent is not None else ()), event)
        judge.find("wrong-destination", _where(event), text, witness)


def _lying(log: Log, part: int) -> Iterator[tuple[int, Event]]:
    """Offset and what was seen there, upwards."""
    return ((off, event) for off, event in sorted(log.parts[part].seen.items()))


def _order(logs: Logs, log: Log, profile: Profile, judge: Judge) -> None:
    """key-order, as the log has it."""
    for part in list(log.parts):
        last: dict[tuple[str | None, str, str], tuple[int, Event]] = {}
        done: set[str] = set()
        for off, event in _lying(log, part):
            sent = log.written.get(event.val or "")
            payload = logs.payload(event.val)
            if sent is None or payload is None or sent.val in done:
                continue
            done.add(sent.val)
            stream = (sent.invoke.key, payload.producer, sent.invoke.who)
            before = last.get(stream)
            last[stream] = (payload.number, event)
            if before is None or payload.number >= before[0] or sent.outcome != "ok":
                continue
            other = log.written[before[1].val or ""]
            if sent.invoke.t < other.invoke.t:
                text = (
                    f"number {before[0]} of {payload.producer} for key {sent.invoke.key!r} lies at offset "
                    f"{before[1].off}, before number {payload.number} at {off}"
                )
                legal = may_reorder(logs, profile, sent) or not_claimed(profile, "ORDER_PER_KEY")
                witness = in_order(sent.invoke, other.invoke, before[1], event)
                judge.find("key-order", f"{log.dest}/{part}", text, witness, legal)


def _moved(logs: Logs, log: Log, profile: Profile, judge: Judge) -> None:
    """key-moved: one key in two partitions, by producers that go by the key."""
    if log.grown:
        return
    homes: dict[str, dict[int, Event]] = defaultdict(dict)
    for sent in log.written.values():
        key = sent.invoke.key
        options = logs.options(sent.invoke)
        if not key or options is None or options.get("partitioner", "by_key") != "by_key":
            continue
        seen = log.sighted.get(sent.val)
        if seen is not None and seen.part is not None:
            homes[key].setdefault(seen.part, seen)
        elif sent.part is not None and sent.end is not None and not unconfirmed(logs, sent):
            homes[key].setdefault(sent.part, sent.end)
    judge.count("keys", len(homes))
    for key, parts in homes.items():
        if len(parts) > 1:
            text = f"key {key!r} is in partitions {', '.join(str(part) for part in sorted(parts))}"
            legal = not_claimed(profile, "PARTITION_BY_KEY")
            judge.find("key-moved", log.dest, text, in_order(*parts.values()), legal)


def _where(event: Event) -> str:
    place = event.dest or ""
    return place if event.part is None else f"{place}/{event.part}"
