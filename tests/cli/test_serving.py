"""serve and doctor."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import serving
from mqbridge.cli import containers, doctor
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


@pytest.mark.parametrize("found", [None, "0.9.9"])
def test_doctor_asks_only_for_the_extra_that_the_url_needs(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    """A package that is missing or too old fails where the URL needs it and is a note elsewhere, each with its pip."""

    def installed(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    def refuses(*_: Any, **__: Any) -> Any:
        raise mq.Unreachable("nobody is there")

    monkeypatch.setattr(doctor, "version", installed)
    monkeypatch.setattr(mq, "connect", refuses)
    for url, needed, other in (("kafka://h", "confluent-kafka", "pika"), ("amqps://h", "pika", "confluent-kafka")):
        result = invoke(None, "doctor", url, form="json")
        rows = {row["check"]: row for row in json.loads(result.stdout)}
        assert result.exit_code == 1
        assert rows[needed]["status"] == "FAILED"
        assert rows[other]["status"] == "note"
        assert rows["pika"]["what_to_do"] == "pip install '.[rabbitmq]' in mqbridge's tree"
        assert rows["click"]["what_to_do"] == "pip install '.[cli]' in mqbridge's tree"


class _Answering:
    """A bus of which only the health is asked."""

    engine = "kafka"

    def __init__(self, health: Mapping[str, Any] | mq.MqbridgeError) -> None:
        self._health = health
        self.admin = self
        self.capabilities = mq.Capabilities("kafka", dict.fromkeys(mq.Capability, mq.Support(mq.Level.DIRECT)))

    def __enter__(self) -> _Answering:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def health(self) -> Mapping[str, Any]:
        if isinstance(self._health, mq.MqbridgeError):
            raise self._health
        return self._health


def _doctor(monkeypatch: pytest.MonkeyPatch, health: Mapping[str, Any] | mq.MqbridgeError) -> Any:
    monkeypatch.setattr(mq, "connect", lambda url: _Answering(health))
    result = invoke(None, "doctor", "kafka://user:geheim@h:9092", form="json")
    assert "geheim" not in result.output
    return result.exit_code, json.loads(result.stdout)


def test_doctor_tells_every_fact_and_every_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine says about itself is shown whatever it is; what it calls a problem has its advice, and no exit
    code of a failure: the broker works."""
    facts = {"engine": "kafka", "version": "4.3", "brokers": [{"id": 1, "host": "h"}], "rack": None, "problems": []}
    code, rows = _doctor(monkeypatch, facts)
    told = {row["check"]: row["finding"] for row in rows}
    assert code == 0
    assert told["engine"] == "kafka 4.3"
    assert told["engine brokers"] == "id 1, host h"
    assert told["engine rack"] == "unknown"
    assert "direct" in told["capabilities"]
    problem = {"what": "no plugin", "advice": "enable it"}
    code, rows = _doctor(monkeypatch, {**facts, "problems": [problem]})
    assert code == 0
    assert [(row["status"], row["finding"], row["what_to_do"]) for row in rows if row["check"] == "problem"] == [
        ("PROBLEM", "no plugin", "enable it")
    ]


@pytest.mark.parametrize("error", [mq.Denied("not you"), mq.OperationTimeout("too late")])
def test_doctor_survives_a_broker_that_does_not_answer_for_its_health(
    monkeypatch: pytest.MonkeyPatch, error: mq.MqbridgeError
) -> None:
    """Connected is one check and its health another: a refusal of the second is a sentence."""
    code, rows = _doctor(monkeypatch, error)
    assert code == 1
    assert [(row["check"], row["status"]) for row in rows[-2:]] == [("engine", "ok"), ("health", "FAILED")]
    assert rows[-1]["what_to_do"]


def test_doctor_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person: a check a line, what to do below it, and no control character of a broker's answer obeyed."""
    problem = {"what": "no \x1b plugin", "advice": "enable it"}
    monkeypatch.setattr(mq, "connect", lambda url: _Answering({"problems": [problem]}))
    result = invoke(None, "doctor", "kafka://h")
    assert result.exit_code == 0
    found, advice = result.stdout.splitlines()[-2:]
    assert found.split(None, 2) == ["PROBLEM", "problem", "no \\x1b plugin"]
    assert advice.strip() == "-> enable it"
    assert "1 problem to look at" in result.stderr


def test_doctor_works_without_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine, no such socket, or an address that is not looked into: a note, and no failure."""
    for host in (f"unix://{tmp_path}/none.sock", "tcp://127.0.0.1:1", "ssh://somewhere"):
        monkeypatch.setenv("DOCKER_HOST", host)
        found = _statuses()
        assert found["Docker"] == "note"
        assert "image" not in found


def test_doctor_asks_the_docker_engine_for_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's HTTP interface, on a TCP port: the image that is there is ok, the one that is not has its pull."""
    answers = {"/version": {"Version": "28.0"}, "/images/json": [{"RepoTags": [containers.IMAGES[0]]}, {}]}

    class Docker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Not on stderr."""

    with HTTPServer(("127.0.0.1", 0), Docker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        rows = json.loads(invoke(None, "doctor", form="json").stdout)
        server.shutdown()
        thread.join()
    assert [row["finding"] for row in rows if row["check"] == "Docker"] == ["28.0"]
    there, missing = [row for row in rows if row["check"] == "image"]
    assert (there["status"], missing["status"]) == ("ok", "note")
    assert missing["what_to_do"].startswith(f"docker pull {containers.IMAGES[1]}")


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
