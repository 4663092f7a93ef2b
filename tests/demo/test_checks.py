"""The checks: a right outcome passes all of them, and each way in which it could be wrong fails the check that is
meant."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.demo.checks import tally, verify
from mqbridge.demo.orders import KEY_HEADER, SERVICE_BY_NAME, SERVICES, generate, with_poison
from mqbridge.demo.record import Record, Sent, Takeover
from mqbridge.demo.shapes import Dead, TopicShape
from mqbridge.demo.store import Store, make_store, store_path

POISON = Dead("order-poison", "payment", "rejected", 3, "topic:orders/3/0", "ValueError: amount 'NaN' is not a price")
FASTER, KEPT, CHARGED, HANDLED, FINISHED, TAKEN_OVER, DEAD = range(7)


@dataclass
class Run:
    """A finished run, as the demo leaves it, made without processes."""

    record: Record
    folder: Path
    bus: mq.Bus
    shape: TopicShape
    dead: list[Dead]

    def failed(self) -> list[int]:
        checks = verify(self.record, self.folder, self.bus, self.shape, self.dead)
        assert len(checks) == 7
        return [number for number, check in enumerate(checks) if not check.ok]

    def change(self, service: str, statement: str) -> None:
        with closing(sqlite3.connect(store_path(self.folder, service))) as database, database:
            assert database.execute(statement).rowcount > 0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    events = with_poison(generate(6))
    shape = TopicShape()
    record = Record("native", "topic", "", 1.0, 1.0, synchronous_ms=[1000.0], response_ms=[55.0])
    with mq.connect("native:") as bus:
        bus.admin.ensure(*shape.specs())
        with bus.producer() as producer:
            for event in events:
                receipt = producer.send(shape.destination, event.body, key=event.lane, headers={KEY_HEADER: event.key})
                done = receipt.result(5)
                record.sent.append(Sent(event.key, event.cents, event.digest, done.partition, done.offset))
        for service in SERVICES:
            make_store(store_path(tmp_path, service.name))
            with closing(Store(store_path(tmp_path, service.name), f"{service.name}-1")) as store:
                for event in events:
                    row = store.begin(event.key, 1)
                    poison = service.name == "payment" and event.cents is None
                    store.end(row, "failed" if poison else "ok")
                    if service.name == "payment" and event.cents is not None:
                        store.charge(event.key, event.cents)
            bus.admin.reset_offsets(shape.group(service), shape.destination, mq.LATEST, dry_run=False)
        with closing(Store(store_path(tmp_path, "payment"), "payment-2")) as store:
            store.end(store.begin("order-0002", 1), "duplicate")
        record.takeover = Takeover("payment-1", "payment-2", -9, "order-0002", (0, 1, 2), 2.0, 2.1)
        yield Run(record, tmp_path, bus, shape, [POISON])


def test_a_right_outcome_passes(run: Run) -> None:
    """Nothing is found where nothing is wrong; the deliveries of the survivor are counted."""
    assert run.failed() == []
    row = tally(run.folder, SERVICE_BY_NAME["payment"])
    assert (row.handled, row.failed_attempts, row.again, row.suppressed) == (6, 1, 1, 1)


def test_a_kept_run_can_be_loaded_and_checked(run: Run) -> None:
    """What is written down is what was meant: the checks come out the same."""
    run.record.save(run.folder)
    loaded = Record.load(run.folder)
    assert loaded == run.record
    assert replace(run, record=loaded).failed() == []


@pytest.mark.parametrize(
    ("statement", "failing"),
    [
        ("DELETE FROM ledger WHERE idempotency_key = 'order-0003'", [CHARGED]),
        ("UPDATE ledger SET cents = cents + 1 WHERE idempotency_key = 'order-0003'", [CHARGED]),
        ("INSERT INTO ledger VALUES ('order-0003-again', 100, 'payment-2')", [CHARGED]),
        ("INSERT INTO ledger VALUES ('order-poison', 100, 'payment-2')", [CHARGED]),
        ("UPDATE ledger SET charged_by = 'payment-2' WHERE idempotency_key = 'order-0002'", [TAKEN_OVER]),
        ("DELETE FROM deliveries WHERE outcome = 'duplicate'", [TAKEN_OVER]),
        ("UPDATE deliveries SET outcome = NULL WHERE idempotency_key = 'order-0004'", [HANDLED]),
        ("UPDATE deliveries SET outcome = 'ok' WHERE idempotency_key = 'order-poison'", [HANDLED]),
    ],
)
def test_a_wrong_store_of_payment_fails(run: Run, statement: str, failing: list[int]) -> None:
    """A charge that is missing, changed, or too many, and an order that was not handled, each fail their check."""
    run.change("payment", statement)
    assert run.failed() == failing


@pytest.mark.parametrize("service", ["inventory", "email", "sms", "analytics"])
def test_an_order_that_one_service_missed_fails(run: Run, service: str) -> None:
    """It is enough that one of five services did not see one order."""
    run.change(service, "DELETE FROM deliveries WHERE idempotency_key = 'order-0005'")
    assert run.failed() == [HANDLED]


def _lose_one(run: Run) -> None:
    gone = next(sent for sent in run.record.sent if sent.offset == 0)
    run.bus.admin.delete_records(run.shape.destination, {gone.partition or 0: 1})


def _send(run: Run, body: bytes, key: str) -> None:
    with run.bus.producer() as producer:
        producer.send(run.shape.destination, body, headers={KEY_HEADER: key}).result(5)


def _swap_places(run: Run) -> None:
    first, second = run.record.sent[:2]
    run.record.sent[0] = replace(first, partition=second.partition, offset=second.offset)


@pytest.mark.parametrize(
    ("break_it", "failing"),
    [
        (_lose_one, [KEPT]),
        (lambda run: _send(run, generate(1)[0].body, "order-0001"), [KEPT, FINISHED]),
        (lambda run: _send(run, b"{}", "stranger"), [KEPT, FINISHED]),
        (_swap_places, [KEPT]),
    ],
)
def test_a_log_that_is_not_what_was_confirmed_fails(
    run: Run, break_it: Callable[[Run], None], failing: list[int]
) -> None:
    """A record lost, doubled, added, or elsewhere than its receipt says."""
    break_it(run)
    assert run.failed() == failing


@pytest.mark.parametrize(
    "dead",
    [
        [],
        [replace(POISON, attempts=2)],
        [replace(POISON, error="")],
        [replace(POISON, service="email")],
        [replace(POISON, key="order-0001")],
        [POISON, replace(POISON, key="order-0001")],
    ],
)
def test_wrong_dead_letters_fail(run: Run, dead: list[Dead]) -> None:
    """The poison order and no other, in payment's dead letters, after three attempts, with a reason."""
    run.dead[:] = dead
    assert run.failed() == [DEAD]


def test_a_slow_front_and_a_worker_that_was_not_killed_fail(run: Run) -> None:
    """The response must be a fraction of the synchronous one, and the exit status that of SIGKILL."""
    run.record.response_ms = [900.0]
    assert run.record.takeover is not None
    run.record.takeover = replace(run.record.takeover, exit_status=0)
    assert run.failed() == [FASTER, TAKEN_OVER]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """It says what to do instead of a traceback."""
    with pytest.raises(mq.ConfigurationError, match="--keep"):
        Record.load(tmp_path)
