"""serve and doctor."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import serving
from mqbridge.cli import doctor
from tests.cli.running import done, finish, invoke, start


def test_a_served_folder_is_used_by_others_and_ends_cleanly(tmp_path: Path) -> None:
    """The process says who hosts, others reach it, SIGTERM ends it with 0, and what was stored is still there."""
    url = f"native:{tmp_path}/data"
    serving_process = start(None, "serve", tmp_path / "data", "--output", "jsonl")
    assert serving_process.stdout is not None
    facts = json.loads(serving_process.stdout.readline())
    assert facts["role"] == "host"
    with mq.connect(url) as bus:
        assert bus.admin.health()["role"] == "client"
        bus.admin.ensure(mq.Topic("t"))
    serving_process.send_signal(signal.SIGTERM)
    assert finish(serving_process)[0] == 0
    assert [row["topic"] for row in done(url, "topic", "list")] == ["t"]


def test_serving_from_a_program(tmp_path: Path) -> None:
    """`mqbridge.serving.serve` returns when it is told to stop, and calls `on_ready` once."""
    stop, ready = threading.Event(), threading.Event()
    facts: list[Mapping[str, Any]] = []

    def on_ready(found: Mapping[str, Any]) -> None:
        facts.append(found)
        ready.set()

    thread = threading.Thread(target=serving.serve, args=(f"native:{tmp_path}/x", stop, on_ready))
    thread.start()
    assert ready.wait(15)
    stop.set()
    thread.join(15)
    assert not thread.is_alive()
    assert [found["role"] for found in facts] == ["host"]


def test_memory_is_not_served() -> None:
    """Nobody could reach it: refused, rather than a server without a door."""
    with pytest.raises(mq.ConfigurationError, match="folder"):
        serving.serve("native:", threading.Event(), lambda facts: None)
    assert invoke(None, "serve", "native:").exit_code == 2


def test_an_engine_that_is_a_server_is_not_hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Unsupported`, exit code 5."""

    class Remote:
        name = "remote"

    monkeypatch.setattr(serving, "open_url", lambda text, options: (Remote(), None, {}))
    with pytest.raises(mq.Unsupported, match="server of its own"):
        serving.serve("remote://h", threading.Event(), lambda facts: None)


def _statuses(*words: str | Path) -> dict[str, str]:
    result = invoke(None, "doctor", *words, form="json")
    found = {row["check"]: row["status"] for row in json.loads(result.stdout)}
    assert result.exit_code == (1 if "FAILED" in found.values() else 0)
    return found


def test_doctor_on_a_healthy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All checks are made, and none fails; a folder that is not there yet stays so."""
    monkeypatch.delenv("MQBRIDGE_URL", raising=False)
    url = f"native:{tmp_path}/data"
    assert _statuses(url)["folder"] == "ok"
    assert not (tmp_path / "data").exists()
    invoke(url, "topic", "create", "t")
    found = _statuses(url)
    assert found["engine"] == "ok"
    assert found["python"] == "ok"
    assert _statuses()["engine"] == "NOT RUN"


@pytest.mark.parametrize("kind", ["nfs4", "cifs"])
def test_doctor_fails_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Locks of two machines could both be granted: FAILED, with what to do."""
    monkeypatch.setattr(doctor, "file_system", lambda place: kind)
    result = invoke(None, "doctor", f"native:{tmp_path}", form="json")
    assert result.exit_code == 1
    (row,) = [row for row in json.loads(result.stdout) if row["check"] == "file system"]
    assert row["status"] == "FAILED"
    assert "local disk" in row["what_to_do"]


def test_doctor_says_what_to_do_about_an_engine_that_does_not_answer() -> None:
    """A URL that cannot work is a failed check, not a crash."""
    result = invoke(None, "doctor", "nosuch://host", form="json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[-1]["what_to_do"]


def test_doctor_offers_no_package_for_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka and RabbitMQ are one note, in no hint to install something; a package of the CLI has one that works."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    result = invoke(None, "doctor", "kafka://localhost:9092", form="json")
    rows = {row["check"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert rows["Kafka and RabbitMQ"]["status"] == "note"
    assert rows["click"]["what_to_do"] == "pip install '.[cli]' in mqbridge's tree"
    for word in ("[kafka]", "[rabbitmq]", "confluent", "pika"):
        assert word not in result.stdout


def test_doctor_fails_on_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder below a file can be made by nobody, root included."""
    (tmp_path / "file").touch()
    assert _statuses(f"native:{tmp_path}/file/folder")["folder"] == "FAILED"


def test_doctor_lists_capabilities() -> None:
    """One row a capability: what an error of exit code 5 points to."""
    rows = done("native:", "doctor", "--capabilities")
    assert {row["capability"] for row in rows} == {str(name) for name in mq.Capability}
    assert {row["level"] for row in rows} <= {"direct", "emulated", "unsupported", "later"}


def test_doctor_fails_on_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is named before an engine fails in it; root may write anywhere, so the answer is played."""
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert _statuses(f"native:{tmp_path}")["folder"] == "FAILED"
