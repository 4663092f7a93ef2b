"""A plan carries its steps out at their events, in order, and one that was not carried out is no plan."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

import mqbridge as mq
from mqbridge_conformance.faults import Fault, Faults, Plan, Watch, When, effects
from mqbridge_conformance.faults.fault import inject
from mqbridge_conformance.history import Event, Recorder, load
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import NativeFolder

WAIT_S = 20.0
QUEUE = mq.Queue("q")


@pytest.fixture
def watch(recorder: Recorder) -> Watch:
    return Watch(recorder.folder)


def test_steps_come_in_order_and_count_from_the_one_before(
    recorder: Recorder, watch: Watch, told: Callable[[], list[Event]]
) -> None:
    """What was before the plan, or before the last step, does not count; healing heals the last fault in force."""

    def fault(what: str) -> Fault:
        return inject(recorder, what, "broker", lambda: None)

    recorder.write("ok", "send")
    steps = [
        When("send", count=2).do(lambda: fault("kill")),
        When("send", count=1).do(lambda: fault("cut")),
        When("deliver").heal(),
        When("deliver").heal(),
    ]
    with Plan(watch, steps, WAIT_S):
        for f, done in (("send", 0), ("send", 1), ("send", 2), ("deliver", 3), ("deliver", 4)):
            recorder.write("ok", f)
            if done:
                watch.until(When("fault", count=min(done, 2)), WAIT_S)
                watch.until(When("heal", count=max(0, done - 2)), WAIT_S)
    order = [event.more.get("what", event.f) for event in told() if event.kind == "ok"]
    assert order == ["send", "send", "send", "kill", "send", "cut", "deliver", "cut", "deliver", "kill"]


def test_a_plan_that_did_not_happen_is_no_verdict(watch: Watch) -> None:
    """The end waits for its steps, as long as it was told to."""
    with pytest.raises(CannotTell, match="only 0 of 5 send ok"), Plan(watch, [When("send", count=5).heal()], 0.05):
        pass


def test_what_a_step_raises_is_raised_at_the_end(watch: Watch, recorder: Recorder) -> None:
    """Also that there was nothing to heal, which is a mistake in the plan."""

    def cannot() -> None:
        raise CannotTell("no such broker")

    recorder.write("ok", "send")
    for step, error in ((When("run").do(cannot), CannotTell), (When("run").heal(), IndexError)):
        with pytest.raises(error), Plan(watch, [step], WAIT_S):
            recorder.write("ok", "run")


def test_what_the_body_raises_is_not_waited_upon(watch: Watch) -> None:
    """The scenario has failed already: its plan ends, and its own error is told."""
    with pytest.raises(ZeroDivisionError), Plan(watch, [When("send").heal()], 600.0):
        raise ZeroDivisionError


def test_a_consumer_is_stopped_in_the_middle_of_its_work(recorder: Recorder) -> None:
    """On real processes: stopped after 20 deliveries, continued when the other has sent 20 more; it stood still."""
    with NativeFolder() as target, target.connect() as bus, contextlib.ExitStack() as at_the_end:
        bus.admin.ensure(QUEUE)
        faults = Faults(target, recorder)
        common = {"history": str(recorder.folder), "run": "r"}
        sender = target.spawn("send", destination="queue:q", producer="p", proc="send-1", **common)
        consumer = target.spawn("consume", sources=["queue:q"], proc="consume-1", **common)
        for party in (sender, consumer):
            at_the_end.callback(party.stop, WAIT_S)
            party.expect("ready", WAIT_S)
        at_the_end.callback(faults.close)
        steps = [
            When("deliver", count=20, each=["consume-1"]).do(lambda: faults.stop(consumer)),
            When("send", count=20, each=["send-1"]).heal(),
            When("ack", count=20, each=["consume-1"]).do(lambda: None),
        ]
        with faults.plan(steps, WAIT_S):
            sender.command("flow", burst=10)
        sender.command("halt")
        sender.expect("sent", WAIT_S)
    history = load(recorder.folder)
    stopped, healing = history.operations("fault")[0].ended_t, history.operations("heal")[0].invoke.t
    assert stopped is not None
    mine = [event.t for event in history if event.proc == "consume-1"]
    assert not any(stopped < t < healing for t in mine)
    assert sum(t < stopped for t in mine) >= 20
    assert [effect.what for effect in effects(history)] == ["stop"]
