"""How a run is judged: each verdict, by a scenario made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts, PublicObserver
from mqbridge_conformance.results import CannotTell, Report, ScenarioResult, Verdict, worst
from mqbridge_conformance.runner import run, run_scenario
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.targets import NativeMemory, Target


@pytest.fixture
def target() -> Iterator[Target]:
    with NativeMemory() as found:
        yield found


def toy(body: Callable[[Env], None], *needs: Cap, exercises: tuple[str, ...] = ()) -> Scenario:
    """A scenario of one line."""
    return scenario("toy", "A toy", needs=needs, exercises=exercises)(body)


def judged(target: Target, toy: Scenario) -> ScenarioResult:
    return run_scenario(toy, target, patience_s=2.0)[0]


def checked(env: Env) -> None:
    env.check(True, "never false")


def test_what_holds_passes_with_its_evidence(target: Target) -> None:
    """PASS, with the counters of what was exercised."""

    def body(env: Env) -> None:
        env.queue()
        checked(env)
        env.count("widgets", 3)

    found = judged(target, toy(body, Cap.WORK_SHARING, exercises=("widgets",)))
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    evidence = dict(found.evidence)
    assert evidence.pop("events") > 0, "what was done is in the history"
    assert evidence == {"checks": 1, "widgets": 3}
    assert found.proves == (Cap.WORK_SHARING,)


def test_what_is_emulated_is_never_a_plain_pass(target: Target) -> None:
    """One emulated need makes the whole of it emulated."""
    assert judged(target, toy(checked, Cap.GROUPS, Cap.TOPIC_RETRY)).verdict is Verdict.PASS_EMULATED


@pytest.mark.parametrize("exercises", [(), ("widgets",)])
def test_what_exercised_nothing_is_unknown(target: Target, exercises: tuple[str, ...]) -> None:
    """A body without a check, or without what it is about, ends well and is not green."""

    def body(env: Env) -> None:
        if exercises:
            checked(env)

    found = judged(target, toy(body, exercises=exercises))
    assert found.verdict is Verdict.UNKNOWN
    assert found.reason == f"nothing was exercised of: {exercises[0] if exercises else 'checks'}"


def test_what_is_about_processes_is_not_asked_where_there_are_none() -> None:
    """It has no result there, green or not, and the report says why."""
    about = scenario("about", "A process", processes=True)(checked)
    report = run([NativeMemory()], [about, toy(checked)])
    assert [result.scenario for result in report.results] == ["toy"]
    assert report.unasked == {("about", "native, memory"): "needs processes"}


def test_what_stops_the_broker_is_not_asked_where_others_use_it() -> None:
    """It has no result there either, and the report says why."""
    about = scenario("about", "A broker", own_broker=True)(checked)
    report = run([NativeMemory()], [about])
    assert not report.results
    assert report.unasked == {("about", "native, memory"): "needs a broker of its own"}


class _Shared(NativeMemory):
    """One that others use too, beside which another can be started; both say where a scenario ran."""

    def __init__(self, beside: Target) -> None:
        super().__init__()
        self._beside = beside

    def alone(self) -> Target:
        return self._beside


class _Unstartable(NativeMemory):
    def start(self) -> None:
        raise CannotTell("no Docker")


def test_a_scenario_that_stops_its_broker_runs_beside_the_one_that_others_use() -> None:
    """On one like it, which is started and stopped for it; UNKNOWN where that cannot be started."""
    met: list[Target] = []

    def body(env: Env) -> None:
        met.append(env.target)
        checked(env)

    about = scenario("about", "A broker", own_broker=True)(body)
    beside = NativeMemory()
    with _Shared(beside) as shared:
        result, _ = run_scenario(about, shared, patience_s=2.0)
        assert (result.verdict, met) == (Verdict.PASS, [beside])
        plain, _ = run_scenario(toy(body), shared, patience_s=2.0)
        assert (plain.verdict, met) == (Verdict.PASS, [beside, shared])
    with _Shared(_Unstartable()) as shared:
        result, _ = run_scenario(about, shared, patience_s=2.0)
    assert (result.verdict, result.reason) == (
        Verdict.UNKNOWN,
        "the target could not be used: CannotTell: no Docker",
    )


def test_an_arrangement_that_cannot_be_made_is_unknown(target: Target) -> None:
    """The engine is not blamed for it, and nobody takes it for a pass."""

    def body(env: Env) -> None:
        checked(env)
        raise CannotTell("no second machine")

    assert judged(target, toy(body)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("error", [AssertionError("a"), ValueError("b"), mq.ConnectionLost("c"), KeyError("d")])
def test_an_error_that_was_not_expected_is_a_failure(target: Target, error: Exception) -> None:
    """Whatever comes out of the body, of the engine or of the scenario, and with the place it came from."""

    def body(env: Env) -> None:
        raise error

    found = judged(target, toy(body))
    assert found.verdict is Verdict.FAIL
    assert type(error).__name__ in found.reason
    assert "test_runner.py" in found.reason


def test_a_wait_ends_at_its_deadline_with_what_was_seen(target: Target) -> None:
    """What does not come to be so fails, and says what was there instead."""
    found = judged(target, toy(lambda env: env.eventually(lambda: 1, 2, "the number")))
    assert found.verdict is Verdict.FAIL
    assert found.reason == "the number: still 1 after 2 s, where 2 is due"


class Blurred(PublicObserver):
    """Sees of a queue what is not settled, and cannot tell what of it is ready."""

    def __init__(self, bus: mq.Bus, held: int | None) -> None:
        super().__init__(bus)
        self._held = held

    def counts(self, queue: str) -> Counts:
        return Counts(None, None, None)

    def held(self, queue: str) -> int | None:
        return self._held


@pytest.mark.parametrize(
    ("held", "verdict", "counted"), [(3, Verdict.PASS, 1), (2, Verdict.FAIL, 0), (None, Verdict.PASS, 0)]
)
def test_counts_that_cannot_be_told_apart_are_compared_together(
    target: Target, held: int | None, verdict: Verdict, counted: int
) -> None:
    """Ready and unsettled added up where that is all that can be told; nothing is compared where nothing can."""

    def body(env: Env) -> None:
        checked(env)
        env.counts("jobs", Counts(2, 1, 0), "the queue")

    with target.connect() as bus:
        target.observer = Blurred(bus, held)
        found = judged(target, toy(body))
    assert found.verdict is verdict
    assert found.evidence.get("counts_seen", 0) == counted
    assert any("cannot tell ready, unsettled, delayed" in note for note in found.notes)


def test_a_refusal_is_proven_and_is_pending_if_it_is_not_final(target: Target) -> None:
    """The body does not run; the capability's refusal is asked for instead."""

    def body(env: Env) -> None:
        raise AssertionError("it must not run")

    final = judged(target, toy(body, Cap.GROUPS, Cap.TLS))
    assert final.verdict is Verdict.REFUSED_PROVEN
    assert final.evidence["refusals"] == 1
    later = judged(target, toy(body, Cap.COMPACTION, Cap.TLS))
    assert later.verdict is Verdict.PENDING
    assert later.evidence["refusals_by_operation"] == 1
    assert later.reason.startswith("refused: COMPACTION: ")


def test_a_claimed_refusal_that_does_not_happen_is_a_failure(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that says it cannot, and does it, is not honest either."""
    monkeypatch.setattr(mq.Capabilities, "need", lambda *_: None)
    assert judged(target, toy(checked, Cap.COMPACTION)).verdict is Verdict.FAIL


def test_what_is_left_behind_is_a_failure(target: Target) -> None:
    """A scenario that passed and left a topic would be the evidence of the next one."""

    def body(env: Env) -> None:
        checked(env)
        env.bus.admin.ensure(mq.Topic("left-over"))

    found = judged(target, toy(body))
    assert found.verdict is Verdict.FAIL
    assert "left-over" in found.reason


def test_a_group_of_others_that_goes_meanwhile_is_nobodys_fault(target: Target) -> None:
    """A broker may let go of one that was there before; a group that is new and stays is left behind all the same."""
    topic: mq.Topic[bytes] = mq.Topic("of-others", partitions=1)
    with mq.connect(target.url) as others:
        others.admin.ensure(topic)
        for group in ("goes", "stays"):
            with others.consumer(topic, group=group, start=mq.EARLIEST) as consumer:
                consumer.wait_assigned(2)
                consumer.commit()

        def letting_go(env: Env) -> None:
            checked(env)
            others.admin.delete_group("goes")

        def making_one(env: Env) -> None:
            checked(env)
            others.admin.reset_offsets("made", topic, mq.EARLIEST, dry_run=False)

        assert target.observer.names().groups == ["goes", "stays"]
        found = judged(target, toy(letting_go))
        assert (found.verdict, found.reason) == (Verdict.PASS, "")
        assert target.observer.names().groups == ["stays"]
        found = judged(target, toy(making_one))
        assert found.verdict is Verdict.FAIL
        assert "made" in found.reason


def test_everything_an_environment_makes_is_removed(target: Target) -> None:
    """Topics, queues with their dead-letter queues, exchanges and groups, also when the body fails."""

    def body(env: Env) -> None:
        topic = env.topic()
        env.queue()
        env.exchange()
        env.bus.consumer(topic, group=env.group(), start=mq.EARLIEST).wait_assigned(2)
        env.connect().consumer(topic, group=env.group("two"), start=mq.EARLIEST).wait_assigned(2)
        env.check(False, "on purpose")

    before = target.observer.names()
    found = judged(target, toy(body))
    assert (found.verdict, found.reason) == (Verdict.FAIL, "on purpose")
    assert found.notes == ()
    assert target.observer.names() == before


def test_a_target_that_cannot_start_gives_unknown_for_every_scenario() -> None:
    """Not an empty report, which would look like nothing to complain of."""

    class Absent(NativeMemory):
        def start(self) -> None:
            raise CannotTell("it is not installed")

    toys = [toy(checked)]
    report = run([Absent()], toys)
    assert [result.verdict for result in report.results] == [Verdict.UNKNOWN]
    assert "not installed" in report.results[0].reason
    assert not report.green


def test_every_repetition_counts_and_the_worst_is_shown(target: Target) -> None:
    """A scenario that fails the second time of three is not green: repeating is no rerun."""
    runs: list[int] = []

    def body(env: Env) -> None:
        runs.append(len(runs))
        env.check(len(runs) != 2, "the second time")

    report = run([NativeMemory()], [toy(body)], repeat=3)
    assert [result.verdict for result in report.results] == [Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    assert not report.green


def test_the_worst_of_nothing_is_unknown_and_an_empty_report_is_not_green() -> None:
    """What did not run was not shown."""
    assert worst([]) is Verdict.UNKNOWN
    assert worst([Verdict.PASS, Verdict.PENDING, Verdict.PASS_EMULATED]) is Verdict.PENDING
    assert not Report().green
