"""The demo, run as a person runs it: processes, signals, files, and its exit status."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.demo.running import demo, finished


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def kept(temporary: Path) -> Any:
    """The report of a run whose folder is kept."""
    status, out, err = finished(demo(temporary, "--scale", "0.2", "--json", "--keep"))
    assert status == 0, err + out
    return json.loads(out)


def test_the_story_is_true(kept: dict[str, Any]) -> None:
    """Forty orders and one poison order, five services, one killed worker: all of it happened, and was measured."""
    assert kept["ok"]
    assert kept["shape"] == "topic"
    assert len(kept["checks"]) == 7
    assert kept["orders"] == {"sent": 41, "good": 40, "poison": 1}
    assert kept["synchronous_ms"]["p50"] >= 200
    assert 10 <= kept["asynchronous_ms"]["p50"] <= kept["synchronous_ms"]["p50"] / 4
    assert kept["takeover"]["exit_status"] == -signal.SIGKILL
    assert len(kept["takeover"]["partitions"]) == 3
    # Nothing but the session timeout tells the group of a death.
    assert 1.0 < kept["takeover"]["owned_after_s"] < 10
    assert kept["services"]["payment"]["handled"] == 40
    assert kept["services"]["payment"]["suppressed"] >= 1
    assert kept["services"]["email"]["handled"] == 41
    (letter,) = kept["dead_letters"]
    assert (letter["key"], letter["attempts"]) == ("order-poison", 3)
    assert letter["origin"].startswith("topic:orders/")
    assert "NaN" in letter["error"]
    assert kept["duration_s"] < 20


def test_a_tampered_ledger_is_found(kept: dict[str, Any], temporary: Path) -> None:
    """A kept run checks out again; after one charge is removed the exit status is 1, and the order is named."""
    status, out, _ = finished(demo(temporary, "--check", kept["folder"]))
    assert status == 0, out
    with closing(sqlite3.connect(Path(kept["folder"], "payment.db"))) as database, database:
        database.execute("DELETE FROM ledger WHERE idempotency_key = 'order-0017'")
    status, out, _ = finished(demo(temporary, "--check", kept["folder"]))
    assert status == 1
    assert "missing order-0017" in out


def test_any_file_runs_through_queues_as_well(tmp_path: Path) -> None:
    """JSON lines, text and rubbish in one file, on a given folder: the report is for a person, and nothing is left."""
    file = tmp_path / "events"
    file.write_bytes(b'{"customer":"ada","amount":"3.50"}\nhello\n\n{"amount":"free"}\n' + os.urandom(3000) + b"\nend")
    broker = tmp_path / "broker"
    arguments = ("--scale", "0.2", "--shape", "queue", "--input", str(file), f"native:{broker}")
    status, out, err = finished(demo(tmp_path, *arguments))
    assert status == 0, err + out
    assert "line-4 (queue:demo-" in out
    assert "order-poison (queue:demo-" in out
    assert out.count("✔") == 6
    assert max(len(line) for line in out.splitlines()) <= 80
    assert not list(tmp_path.glob("mqbridge-demo-*"))


def _started(temporary: Path) -> subprocess.Popen[str]:
    """A demo whose last worker is started."""
    process = demo(temporary)
    deadline_s = time.monotonic() + 30
    while not list(temporary.glob("mqbridge-demo-*/analytics.log")):
        assert time.monotonic() < deadline_s
        assert process.poll() is None
        time.sleep(0.01)
    return process


def _workers(temporary: Path) -> list[str]:
    listing = subprocess.run(["ps", "-axww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "mqbridge.demo.worker" in line and str(temporary) in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_workers_and_removes_the_folder(tmp_path: Path, number: signal.Signals) -> None:
    """Ended in the middle: status 128 + N, no traceback, no process and no file left."""
    process = _started(tmp_path)
    process.send_signal(number)
    status, out, err = finished(process)
    assert status == 128 + number
    assert "Traceback" not in err + out
    assert list(tmp_path.iterdir()) == []
    assert _workers(tmp_path) == []


def test_workers_do_not_outlive_a_demo_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the demo no moment to clean up: its workers end because their standard input does."""
    process = _started(tmp_path)
    process.kill()
    finished(process)
    deadline_s = time.monotonic() + 30
    while (left := _workers(tmp_path)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for line in left:
        os.kill(int(line.split()[0]), signal.SIGKILL)
    assert left == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["native:"], "workers are processes"),
        (["native:?name=x"], "workers are processes"),
        (["nowhere://host"], "nowhere"),
        (["--input", "no-such-file"], "no-such-file"),
        (["--input", os.devnull], "no event that can be charged"),
        (["--check", "."], "--keep"),
        (["--orders", "0"], "--orders"),
        (["--scale", "7"], "--scale"),
    ],
)
def test_a_wrong_call_is_refused_with_a_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Status 2, what is wrong, no traceback, nothing begun."""
    status, out, err = finished(demo(tmp_path, *arguments))
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
