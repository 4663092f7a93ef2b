"""The programs that keep a destination busy do what they are told, and all of it is in the history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqbridge_conformance.env import Env
from mqbridge_conformance.history import History, Payload, load
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.targets import targets_for

PATIENCE_S = 20.0


@contextlib.contextmanager
def arranged(where: str, folder: Path) -> Iterator[Env]:
    """What a scenario has, without one."""
    (target,) = targets_for(where)
    with target:
        env = Env(target, scenario("toy", "A toy")(lambda _: None), folder, PATIENCE_S, seed=1)
        with contextlib.closing(env):
            yield env


def values(history: History, f: str) -> list[str]:
    return [event.val or "" for event in history.said(f)]


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("kind", ["topic", "queue"])
def test_what_is_sent_is_consumed_and_both_are_in_the_history(where: str, kind: str, tmp_path: Path) -> None:
    """Each payload is invoked, confirmed, delivered and acked, by the process that did it."""
    with arranged(where, tmp_path) as env:
        destination = env.topic(partitions=2) if kind == "topic" else env.queue()
        options = {"group": env.group(), "start": "earliest"} if kind == "topic" else {}
        wait_s = 5.0 if kind == "topic" else 0.0
        sender = env.spawn("send", destination=str(destination), producer="p", keys=["a", "b", None])
        consumer = env.spawn("consume", sources=[str(destination)], options=options, seconds_to_assign=wait_s)
        for party in (sender, consumer):
            party.expect("ready", PATIENCE_S)
        sender.command("go", count=30)
        assert sender.expect("sent", PATIENCE_S)["confirmed"] == 30

        def handled() -> int:
            consumer.command("progress")
            return int(consumer.expect("progress", PATIENCE_S)["handled"])

        env.eventually(handled, 30, "what was handled")
        consumer.command("commit")
        assert consumer.expect("committed", PATIENCE_S)["failed"] is None
        consumer.command("leave")
        consumer.expect("left", PATIENCE_S)
    history = load(tmp_path)
    sent = {event.val for event in history.of("send") if event.kind == "invoke"}
    assert len(sent) == 30
    assert len(values(history, "send")) == 30, "each send has an end"
    assert set(values(history, "deliver")) == sent
    assert set(values(history, "ack")) == sent
    payloads = [Payload.decode(value) for value in values(history, "deliver")]
    assert {payload.dest for payload in payloads if payload} == {str(destination)}
    assert {event.proc for event in history.said("deliver")} == {"consume-1"}
    assert {event.proc for event in history.said("send")} == {"send-1"}
    assert [event.kind for event in history.of("commit")] == ["invoke", "ok"]


def test_traffic_flows_until_it_is_halted(tmp_path: Path) -> None:
    """Bursts are sent one after another, and a consumer that stalls takes nothing until it is told to go on."""
    with arranged("memory", tmp_path) as env:
        queue = env.queue()
        sender = env.spawn("send", destination=str(queue), producer="p")
        consumer = env.spawn("consume", sources=[str(queue)], max_messages=5, options={"prefetch": 5})
        for party in (sender, consumer):
            party.expect("ready", PATIENCE_S)
        consumer.command("stall")
        stalled = consumer.expect("stalled", PATIENCE_S)["handled"]
        sender.command("flow", burst=10)
        env.wait_for(lambda: len(values(load(tmp_path), "send")) >= 50, True, "sends of a flow")
        consumer.command("progress")
        assert consumer.events.take("progress", timeout_s=0.3) is None, "it is stalled, and says so"
        consumer.command("go")
        assert consumer.expect("progress", PATIENCE_S)["handled"] - stalled <= 5, "what it held at most"
        sender.command("halt")
        confirmed = sender.expect("sent", PATIENCE_S)["confirmed"]
    assert confirmed >= 50
    assert confirmed % 10 == 0
