"""The ledger and the deliveries of a service."""

from __future__ import annotations

import threading
from pathlib import Path

from mqbridge.demo.store import LedgerRow, Store, make_store, read_deliveries, read_handled, read_ledger


def test_a_key_is_charged_once_by_whoever_is_first(tmp_path: Path) -> None:
    """Two connections, as of two processes: the second one is told that it came late, and changes nothing."""
    path = tmp_path / "payment.db"
    make_store(path)
    one, two = Store(path, "one"), Store(path, "two")
    assert one.charge("order-1", 500) == 1
    assert two.charge("order-1", 900) is None
    assert two.charge("order-2", 100) == 2
    assert read_ledger(path) == [LedgerRow("order-1", 500, "one"), LedgerRow("order-2", 100, "two")]
    one.close()
    two.close()


def test_many_threads_charge_each_key_once(tmp_path: Path) -> None:
    """Every thread tries every key: as many successes as keys."""
    path = tmp_path / "payment.db"
    make_store(path)
    stores = [Store(path, str(number)) for number in range(4)]
    won: list[str] = []

    def charge(store: Store) -> None:
        won.extend(key for key in map(str, range(50)) if store.charge(key, 1) is not None)

    threads = [threading.Thread(target=charge, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(won, key=int) == [str(number) for number in range(50)]
    for store in stores:
        store.close()


def test_what_was_begun_and_not_ended_is_seen_as_in_hand(tmp_path: Path) -> None:
    """A killed worker leaves its row without an outcome, and the order does not count as handled."""
    path = tmp_path / "sms.db"
    make_store(path)
    store = Store(path, "sms")
    first = store.begin("order-1", 1)
    store.begin("order-2", 1)
    store.end(first, "ok")
    assert [(row.key, row.outcome) for row in read_deliveries(path)] == [("order-1", "ok"), ("order-2", None)]
    assert read_handled(path) == 1
    store.close()
