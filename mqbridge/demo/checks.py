"""Did it come out right? Looked at from outside the workers: their stores, and the engine, against what was sent.

The rule of this room: nothing here listens to a worker. A check says what was expected and what was found, and is worth
having only if a wrong outcome fails it.
"""

from __future__ import annotations

import hashlib
import signal
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mqbridge as mq
from mqbridge.demo.orders import MAX_ATTEMPTS, SERVICES, Service
from mqbridge.demo.record import Record
from mqbridge.demo.screen import counted
from mqbridge.demo.shapes import Dead, Shape
from mqbridge.demo.store import DeliveryRow, read_deliveries, read_ledger, store_path

__all__ = ["Check", "Tally", "tally", "verify"]


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What a service did. `again`: deliveries of an order that some process had been given before, its own retries
    apart; `suppressed`: those of them whose effect was there already and was not repeated."""

    service: Service
    handled: int
    failed_attempts: int
    again: int
    suppressed: int


def tally(folder: Path, service: Service) -> Tally:
    rows = read_deliveries(store_path(folder, service.name))
    previous: dict[str, DeliveryRow] = {}
    again = 0
    for row in rows:
        before = previous.get(row.key)
        retried = before is not None and before.outcome == "failed" and before.worker == row.worker
        again += before is not None and not retried
        previous[row.key] = row
    return Tally(
        service,
        handled=len({row.key for row in rows if row.outcome in ("ok", "duplicate")}),
        failed_attempts=sum(row.outcome == "failed" for row in rows),
        again=again,
        suppressed=sum(row.outcome == "duplicate" for row in rows),
    )


def verify(record: Record, folder: Path, bus: mq.Bus, shape: Shape, dead: list[Dead]) -> list[Check]:
    """All checks of a run, in the order of the story."""
    checks = [_faster(record)]
    checks += _kept(record, bus, shape)
    checks += [_charged_once(record, folder), _handled_by_all(record, folder), _finished(bus, shape)]
    if record.takeover is not None:
        checks.append(_taken_over(record, folder))
    checks.append(_dead_lettered(record, dead))
    return checks


def _faster(record: Record) -> Check:
    before, after = statistics.median(record.synchronous_ms), statistics.median(record.response_ms)
    # Stated: 1000 against 55. A loaded machine is slower; that it is not a fraction any more would be another matter.
    return Check(
        "the customer waits for the save and the publish, not for five services",
        after * 4 <= before,
        f"a median of at most {before / 4:.0f} ms, a quarter of the synchronous {before:.0f} ms",
        f"{after:.0f} ms",
    )


def _kept(record: Record, bus: mq.Bus, shape: Shape) -> list[Check]:
    """The log, read again, is what was confirmed: nothing missing, nothing twice, no byte changed, each in its
    place."""
    log = shape.log(bus)
    if log is None:
        return []
    receipts = Counter((sent.key, sent.digest, sent.partition, sent.offset) for sent in record.sent)
    placed = all(sent.offset is not None for sent in record.sent)
    found: Counter[tuple[str, str, int | None, int | None]] = Counter()
    for logged in log:
        digest = hashlib.sha256(logged.body).hexdigest()
        place = (logged.partition, logged.offset) if placed else (None, None)
        found[(logged.key, digest, *place)] += 1
    if not placed:
        receipts = Counter((key, digest, None, None) for key, digest, _, _ in receipts.elements())
    missing, more = receipts - found, found - receipts
    return [
        Check(
            "the log, read again, holds each confirmed order once, where its receipt says",
            receipts == found,
            f"{receipts.total()} records",
            f"{found.total()}; {_difference((row[0] for row in missing), (row[0] for row in more))}",
        )
    ]


def _charged_once(record: Record, folder: Path) -> Check:
    charges = Counter((row.key, row.cents) for row in read_ledger(store_path(folder, "payment")))
    due = Counter(record.good.items())
    difference = _difference((key for key, _ in due - charges), (key for key, _ in charges - due))
    return Check(
        "each good order is charged once, to the cent; nothing else is",
        charges == due,
        f"{due.total()} charges, {_money(due)}",
        f"{charges.total()}, {_money(charges)}; {difference}",
    )


def _money(charges: Counter[tuple[str, int]]) -> str:
    return f"{sum(cents for _, cents in charges.elements()) / 100:,.2f}"


def _handled_by_all(record: Record, folder: Path) -> Check:
    everything = {sent.key for sent in record.sent}
    wrong: list[str] = []
    for service in SERVICES:
        rows = read_deliveries(store_path(folder, service.name))
        handled = {row.key for row in rows if row.outcome in ("ok", "duplicate")}
        due = set(record.good) if service.name == "payment" else everything
        if handled != due:
            wrong.append(f"{service.label}: {_difference(due - handled, handled - due)}")
    return Check(
        "all five services handled every order they should",
        not wrong,
        f"{len(record.good)} good orders in each"
        + (f", {len(record.poison)} poison in all but payment" if record.poison else ""),
        "; ".join(wrong) or "just these",
    )


def _finished(bus: mq.Bus, shape: Shape) -> Check:
    left = {service.label: shape.unfinished(bus, service) for service in SERVICES}
    return Check(
        "nothing waits any more"
        + (": the lag of each group is 0" if shape.name == "topic" else ": each queue is empty"),
        all(count == 0 for count in left.values()),
        "0 in each service",
        ", ".join(f"{name} {'unknown' if count is None else count}" for name, count in left.items()),
    )


def _taken_over(record: Record, folder: Path) -> Check:
    takeover = record.takeover
    assert takeover is not None
    rows = [row for row in read_deliveries(store_path(folder, "payment")) if row.key == takeover.key]
    seen = [(row.worker, row.outcome) for row in rows]
    charges = [row.charged_by for row in read_ledger(store_path(folder, "payment")) if row.key == takeover.key]
    return Check(
        f"{takeover.key} came to the killed worker's sibling and was not charged again",
        takeover.exit_status == -signal.SIGKILL
        and charges == [takeover.victim]
        and (takeover.victim, "ok") in seen
        and any(worker != takeover.victim and outcome == "duplicate" for worker, outcome in seen),
        f"one charge by {takeover.victim}, ended by signal 9; a suppressed duplicate elsewhere",
        f"charged by {', '.join(charges) or 'nobody'}, exit status {takeover.exit_status}; "
        + ", ".join(f"{worker}: {outcome or 'in hand when killed'}" for worker, outcome in seen),
    )


def _dead_lettered(record: Record, dead: list[Dead]) -> Check:
    letters = {letter.key for letter in dead}
    difference = _difference(record.poison - letters, letters - record.poison)
    strange = [
        letter for letter in dead if letter.service != "payment" or letter.attempts != MAX_ATTEMPTS or not letter.error
    ]
    return Check(
        f"what payment cannot process is a dead letter after {MAX_ATTEMPTS} attempts, with a reason",
        # A worker killed between the copy and the ack leaves two copies: at least once, here as everywhere.
        letters == record.poison and not strange,
        f"{len(record.poison)} in payment's dead letters, {MAX_ATTEMPTS} attempts each",
        f"{counted(len(letters), 'order')} in {counted(len(dead), 'letter')}; {difference}"
        + "".join(f"; {letter.key} in {letter.service} after {letter.attempts}" for letter in strange[:3]),
    )


def _difference(missing: Iterable[str], more: Iterable[str]) -> str:
    both = (("missing", sorted(set(missing))), ("not expected", sorted(set(more))))
    return ", ".join(f"{word} {_some(keys)}" for word, keys in both if keys) or "no difference"


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
