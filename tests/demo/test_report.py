"""The report, made of a run that never was."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from mqbridge.demo.checks import Check, Tally
from mqbridge.demo.orders import SERVICES
from mqbridge.demo.record import Moment, Record, Sent, Takeover
from mqbridge.demo.report import as_json, percentile, render
from mqbridge.demo.scenario import Result
from mqbridge.demo.screen import Glyphs
from mqbridge.demo.shapes import Dead


def _stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def _result(*, ok: bool = True, kept: Path | None = None) -> Result:
    record = Record(
        "native", "topic", "", 1.0, 0.5, source="\x1b[31mfile", synchronous_ms=[1000.0], response_ms=[55.0] * 60
    )
    record.sent = [Sent(f"line-{n}", 100, "", 0, n) for n in range(60)]
    record.takeover = Takeover("payment-1", "payment-2", -9, "line-1", (0, 1), 2.0, 2.1)
    record.moments = [Moment(0.1, "one \x1b moment " * 12)]
    record.duration_s = 9.0
    check = Check("a check " * 15, ok, "what should be " * 10, "what was \x1b " * 10)
    dead = [
        Dead(f"line-{n}", "payment", "rejected", 3, f"topic:orders/0/{n}", "ValueError: " + "x" * 200) for n in range(5)
    ]
    return Result(record, [check], [Tally(service, 60, 3, 2, 1) for service in SERVICES], dead, kept)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """Nearest rank: the 95th of a hundred, the last of few."""
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert percentile([1.0], 0.5) == 1.0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("ok", [True, False])
def test_it_fits_and_can_be_encoded_and_holds_no_escape(encoding: str, ok: bool) -> None:
    """80 columns whatever the texts are, in the encoding of the stream, and control characters only as escapes."""
    text = render(_result(ok=ok), Glyphs(_stream(encoding)), colour=False)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    text.encode(encoding)


def test_a_failed_check_says_what_was_expected_and_what_was_found() -> None:
    """And only a failed one does."""
    good, bad = (render(_result(ok=ok), Glyphs(_stream("utf-8")), colour=False) for ok in (True, False))
    assert "expected what should be" not in good
    assert "expected what should be" in bad
    assert "found what was" in bad
    assert "✘" in bad


def test_what_was_scaled_is_said() -> None:
    """A reader must not take a scaled service time for a stated one."""
    assert "scaled by 0.5" in render(_result(), Glyphs(_stream("utf-8")), colour=False)


def test_the_json_report_is_ok_only_if_the_checks_are() -> None:
    """A script decides by one key."""
    assert json.loads(as_json(_result()))["ok"] is True
    report = json.loads(as_json(_result(ok=False)))
    assert report["ok"] is False
    assert report["checks"][0]["ok"] is False


def test_a_run_without_checks_is_not_ok() -> None:
    """Nothing looked at is nothing shown."""
    result = _result()
    assert not Result(result.record, [], result.tallies, result.dead, None).ok


def test_a_kept_run_says_how_to_look_at_it(tmp_path: Path) -> None:
    """The commands are whole, however long the folder's name, so that they can be copied."""
    (tmp_path / "broker").mkdir()
    text = render(_result(kept=tmp_path), Glyphs(_stream("utf-8")), colour=False)
    assert f"--check {tmp_path}\n" in text
    assert f"--url native:{tmp_path}/broker group describe payment\n" in text
