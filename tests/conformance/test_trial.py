"""What a history adds to a result: errors fail it, what cannot be told is never green, and nothing is hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mqbridge_conformance.checkers import Checker, Judge, Judgement, Profile, catalogue
from mqbridge_conformance.env import Env
from mqbridge_conformance.faults.fault import inject
from mqbridge_conformance.history import History, load
from mqbridge_conformance.observers import PublicObserver, Record
from mqbridge_conformance.results import CannotTell, CheckFailed, ScenarioResult, Verdict
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.targets import NativeMemory, Target


@pytest.fixture
def target() -> Iterator[Target]:
    with NativeMemory() as found:
        yield found


def checked(env: Env) -> None:
    env.check(True, "never false")


def toy(body: Callable[[Env], None] = checked, *, fault: bool = False, legal: dict[str, str] | None = None) -> Scenario:
    return scenario("toy", "A toy", fault=fault, legal=legal)(body)


def finding(anomaly: str, legal: str = "") -> Checker:
    """A checker that finds one thing in every history."""

    def check(history: History, profile: Profile) -> Judgement:
        judge = Judge("toy-checker", profile)
        judge.find(anomaly, "topic:t/0", "it was seen", history.events[:1], legal)
        return judge.judgement()

    return check


def unable(history: History, profile: Profile) -> Judgement:
    judge = Judge("toy-checker", profile)
    judge.cannot_tell("an event is missing")
    return judge.judgement()


def judged(
    target: Target, monkeypatch: pytest.MonkeyPatch, toy: Scenario, *checkers: Checker, keep: Path | None = None
) -> ScenarioResult:
    monkeypatch.setattr(catalogue, "ALL", checkers)
    return run_scenario(toy, target, patience_s=2.0, seed=7, keep=keep)[0]


def test_what_a_checker_finds_fails_a_body_that_saw_nothing(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names it, its place and its sentence."""
    found = judged(target, monkeypatch, toy(), finding("lost-write"))
    assert found.verdict is Verdict.FAIL
    assert found.reason == "lost-write at topic:t/0: it was seen"
    assert found.anomalies == ("lost-write",)


def test_what_several_checkers_cannot_tell_is_told_once(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names of all of them."""
    found = judged(target, monkeypatch, toy(), unable, unable)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "toy-checker, toy-checker: an event is missing")


def test_a_checkers_error_outweighs_an_arrangement_that_failed(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """UNKNOWN of the body does not hide it, and both reasons are told."""

    def body(env: Env) -> None:
        raise CannotTell("no second machine")

    found = judged(target, monkeypatch, toy(body), finding("lost-write"))
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith("no second machine; lost-write")


def test_what_a_checker_cannot_tell_is_not_green(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """UNKNOWN, with its reason."""
    found = judged(target, monkeypatch, toy(), unable)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, "toy-checker: an event is missing")


@pytest.mark.parametrize("by", ["claims", "scenario"])
def test_what_is_legal_is_counted_and_passes(target: Target, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Never an error, and never left out."""
    allowed = {"duplicate": "it was sent twice"} if by == "scenario" else None
    legal = "the claims allow it" if by == "claims" else ""
    found = judged(target, monkeypatch, toy(legal=allowed), finding("duplicate", legal))
    assert found.verdict is Verdict.PASS
    assert (found.counted, found.anomalies) == ({"duplicate": 1}, ())


def test_the_anomaly_that_the_body_names_is_told(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the body can have a name of the catalogue."""

    def body(env: Env) -> None:
        env.equal(1, 2, "the sum", anomaly="handover-gap")

    assert judged(target, monkeypatch, toy(body)).anomalies == ("handover-gap",)


def test_a_fault_that_did_nothing_is_no_pass(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a scenario about a fault in which there was none; one that kills somebody with work has its effect."""
    none = judged(target, monkeypatch, toy(fault=True))
    assert (none.verdict, none.reason) == (Verdict.UNKNOWN, "it is about a fault, and there was none")

    def idle(env: Env) -> None:
        checked(env)
        party = env.spawn("host")
        party.expect("ready", env.patience_s)
        env.kill(party)

    vain = judged(target, monkeypatch, toy(idle, fault=True))
    assert vain.verdict is Verdict.UNKNOWN
    assert "nothing came of it" in vain.reason

    def busy(env: Env) -> None:
        checked(env)
        queue = env.queue()
        with env.bus.producer() as producer:
            producer.send(queue, b"1").result(env.patience_s)
        party = env.spawn("hold", queue=queue.name, take=1, ack=0)
        party.expect("held", env.patience_s)
        env.kill(party)
        with env.bus.consumer(queue) as heir:
            env.receive(heir, 1, "what the killed one held")[0].ack()

    real = judged(target, monkeypatch, toy(busy, fault=True))
    assert real.verdict is Verdict.PASS, real.reason
    assert "1 came again" in real.faults[0]


def test_nobody_can_pass_before_an_observer_that_sees_nothing(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in a topic in the end is the proof of most; where it could not be looked at, nothing is green."""

    def body(env: Env) -> None:
        env.topic()
        checked(env)

    def blind(self: PublicObserver, topic: str) -> list[Record]:
        raise OSError("no such socket")

    assert judged(target, monkeypatch, toy(body)).verdict is Verdict.PASS
    monkeypatch.setattr(PublicObserver, "records", blind)
    found = judged(target, monkeypatch, toy(body))
    assert found.verdict is Verdict.UNKNOWN
    assert "OSError: no such socket" in found.reason


def test_a_client_that_is_open_in_the_end_is_told_to_have_ended(
    target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is closed with the run's own connection; else what it held would be thought to be held still."""

    def body(env: Env) -> None:
        checked(env)
        env.bus.consumer(env.queue())

    found = judged(target, monkeypatch, toy(body), keep=tmp_path)
    closed = load(Path(found.history)).operations("close")
    assert [(end.invoke.client, end.outcome) for end in closed] == [("queue-consumer-1", "ok")]


def test_the_history_of_what_is_not_green_is_kept(
    target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It can be loaded again and says the same; of what is green it is kept where that is asked for."""
    failed = judged(target, monkeypatch, toy(), finding("lost-write"))
    again = load(Path(failed.history))
    assert again.header["scenario"] == "toy"
    assert again.header["seed"] == failed.seed == 7
    Path(failed.history).unlink()
    assert not judged(target, monkeypatch, toy()).history
    assert Path(judged(target, monkeypatch, toy(), keep=tmp_path).history).parent == tmp_path


def test_what_a_body_missed_under_a_fault_without_effect_proves_nothing(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNKNOWN, with both reasons; without any fault, and for what a checker finds, it stays FAIL."""

    def body(env: Env) -> None:
        inject(env.recorder, "cut", "link", lambda: None)
        raise CheckFailed("nothing came again", "missing-redelivery")

    def before_it(env: Env) -> None:
        raise CheckFailed("nothing came at all", "unseen")

    found = judged(target, monkeypatch, toy(body, fault=True))
    assert found.verdict is Verdict.UNKNOWN
    assert found.reason.endswith("nothing came of it; and then: nothing came again")
    assert judged(target, monkeypatch, toy(before_it, fault=True)).verdict is Verdict.FAIL
    assert judged(target, monkeypatch, toy(body)).verdict is Verdict.FAIL
    assert judged(target, monkeypatch, toy(body, fault=True), finding("lost-write")).verdict is Verdict.FAIL
