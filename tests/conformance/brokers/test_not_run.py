"""Tests without a broker: told as NOT RUN, or failed where brokers are required."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import ANY

import pytest

import mqbridge
import mqbridge_conformance
from mqbridge_conformance.report import read_document

pytest_plugins = ["pytester"]

ROOTS = os.pathsep.join(str(Path(package.__file__ or "").parent.parent) for package in (mqbridge, mqbridge_conformance))
FIXTURES = ("-p", "mqbridge_conformance.brokers.fixtures")
TESTS = """
    def test_topic(kafka_url): ...
    def test_stop(kafka_broker): ...
    def test_queue(rabbitmq_url): ...
    def test_both(kafka_url, rabbitmq_url): ...
    def test_alone(): ...
    """


@pytest.fixture
def without_docker(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytest on a machine where no Docker engine answers."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ROOTS)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for name in ("MQBRIDGE_REQUIRE_BROKERS", "MQBRIDGE_KAFKA_URL", "MQBRIDGE_RABBITMQ_URL"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(TESTS)
    return pytester


def test_what_needs_a_broker_is_told_as_not_run(without_docker: pytest.Pytester) -> None:
    """Not passed, not lost: counted by engine and by reason on the line before the last."""
    done = without_docker.runpytest_subprocess(*FIXTURES)
    assert done.ret == 0
    done.assert_outcomes(passed=1, deselected=4)
    assert done.outlines[-2] == "NOT RUN: kafka 3, rabbitmq 2 (no Docker; see mqbridge doctor)"


def test_what_failed_does_not_come_after_what_was_not_run(without_docker: pytest.Pytester) -> None:
    """The line stays the last but one when there is a section about failures."""
    without_docker.makepyfile(TESTS + "def test_failing(): assert False")
    done = without_docker.runpytest_subprocess(*FIXTURES)
    assert done.ret == 1
    assert done.outlines[-2].startswith("NOT RUN: kafka 3")


def test_what_nobody_asked_for_is_not_counted(without_docker: pytest.Pytester) -> None:
    """Tests that -k leaves out would not have run with a broker either."""
    done = without_docker.runpytest_subprocess(*FIXTURES, "-k", "queue or alone")
    assert done.outlines[-2] == "NOT RUN: rabbitmq 1 (no Docker; see mqbridge doctor)"


def test_required_brokers_that_are_not_there_fail(
    without_docker: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With MQBRIDGE_REQUIRE_BROKERS=1 each such test is an error that says why, and the exit status tells."""
    monkeypatch.setenv("MQBRIDGE_REQUIRE_BROKERS", "1")
    done = without_docker.runpytest_subprocess(*FIXTURES)
    assert done.ret == 1
    done.assert_outcomes(passed=1, errors=4)
    done.stdout.fnmatch_lines(["*CannotTell: no kafka broker: no Docker*"])
    assert "NOT RUN" not in done.stdout.str()


def test_a_broker_of_the_environment_needs_no_docker(
    without_docker: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used as it is, but for tests that would stop it."""
    monkeypatch.setenv("MQBRIDGE_KAFKA_URL", "kafka://somewhere:9092")
    without_docker.makepyfile(TESTS + "def test_given(kafka_url): assert kafka_url == 'kafka://somewhere:9092'")
    done = without_docker.runpytest_subprocess(*FIXTURES)
    done.assert_outcomes(passed=3, deselected=3)
    assert done.outlines[-2] == "NOT RUN: kafka 1, rabbitmq 2 (no Docker; see mqbridge doctor)"


@pytest.mark.parametrize("required", [False, True])
def test_a_conformance_target_without_its_broker(
    without_docker: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: bool
) -> None:
    """The scenarios of a container are counted in the same way, and fail where brokers are required."""
    if required:
        monkeypatch.setenv("MQBRIDGE_REQUIRE_BROKERS", "1")
    suite = ("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance", "--mq-target=kafka")
    done = without_docker.runpytest_subprocess(*suite, "-k", "round-trip or verbs or two-groups")
    if required:
        done.assert_outcomes(failed=2)
        done.stdout.fnmatch_lines(["*the target could not be used: CannotTell: no kafka broker: no Docker*"])
    else:
        done.assert_outcomes()
        assert done.outlines[-2] == "NOT RUN: kafka 2 (no Docker; see mqbridge doctor)"


@pytest.mark.parametrize(
    ("target", "scenario"),
    [("kafka-cluster", "round-trip"), ("kafka", "resumes-after-restart"), ("kafka", "passwords")],
)
def test_what_a_broker_of_the_environment_does_not_serve_is_not_run(
    target: str, scenario: str, without_docker: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes, a broker that is stopped and one with users need containers; all left out, pytest ends with 5."""
    monkeypatch.setenv("MQBRIDGE_KAFKA_URL", "kafka://127.0.0.1:1")
    suite = ("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance", "--mq-level=full")
    done = without_docker.runpytest_subprocess(*suite, f"--mq-target={target}", "-k", scenario)
    done.assert_outcomes(deselected=ANY)
    assert done.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert done.outlines[-2] == "NOT RUN: kafka 1 (no Docker; see mqbridge doctor)"


def test_the_reports_tell_what_was_not_run(without_docker: pytest.Pytester) -> None:
    """Though pytest ends with 0: nobody who reads the files later takes them for those of a green run."""
    suite = ("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance", "-k", "round-trip")
    done = without_docker.runpytest_subprocess(
        *suite, "--mq-target=kafka", "--mq-target=memory", "--mq-json=run.json", "--mq-html=run.html"
    )
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        ["round-trip*PASS*NOT RUN", "NOT RUN on kafka: 1 of them (no Docker)", "1 NOT RUN, 1 PASS"]
    )
    found = read_document(without_docker.path / "run.json")
    assert [(row["scenario"], row["target"], row["reason"]) for row in found["not_run"]] == [
        ("round-trip", "kafka", "no Docker")
    ]
    assert not found["run"]["green"]
    assert [row["name"] for row in found["targets"]] == ["native, memory", "kafka"]
    assert "1 scenario on kafka: no Docker" in (without_docker.path / "run.html").read_text(encoding="utf-8")
