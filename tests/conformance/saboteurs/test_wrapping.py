"""What is broken is what was asked to be, in this process and in others, and what does not strike changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge_conformance.history import Recorder, load
from mqbridge_conformance.saboteurs import SABOTEURS, Plan, catalogue, in_force, open_bus, strikes_told
from mqbridge_conformance.saboteurs.strikes import EVERY, Draws
from mqbridge_conformance.targets import targets_for
from tests.conformance.saboteurs.broken import PATIENCE_S, Pair, pair, receive

QUEUE = mq.Queue("q", max_attempts=2)
TOPIC = mq.Topic("t", partitions=2)


def work(bus: Pair) -> dict[str, Any]:
    """A little of everything, and what is seen of it by the program and from outside."""
    broken = bus.broken
    broken.admin.ensure(TOPIC, QUEUE)
    seen: dict[str, Any] = {}
    with broken.producer() as producer:
        sent = [producer.send(TOPIC, b"%d" % n, key=b"k%d" % (n % 7), headers={"h": b"1"}) for n in range(20)]
        sent += [producer.send(TOPIC, None, key=b"null")]
        producer.send_many(QUEUE, [mq.Message(b"%d" % n, expires_in_s=600) for n in range(4)])
        seen["sent"] = [(at.partition, at.offset) for at in (receipt.result(PATIENCE_S) for receipt in sent)]
    with broken.consumer(TOPIC, group="g", start=mq.EARLIEST) as consumer:
        got = receive(consumer, 21)
        seen["got"] = sorted((d.partition or 0, d.offset or 0, d.raw or b"-", d.key or b"") for d in got)
        for delivery in got:
            delivery.ack()
        consumer.commit(PATIENCE_S)
        seen["next"] = sorted(consumer.next_offsets().items())
        consumer.seek(TOPIC, 0, 1)
    seen["committed"] = dict(bus.clean.admin.describe_group("g").committed)
    with broken.consumer(QUEUE, prefetch=4) as items:
        one, two, three, four = receive(items, 4)
        one.ack()
        two.release()
        three.retry()
        four.reject("no")
        again = receive(items, 2)
        seen["again"] = sorted((d.raw or b"", d.attempt, d.redelivered) for d in again)
        for delivery in again:
            delivery.ack()
    seen["letters"] = [letter.value for letter in bus.clean.admin.dead_letters(QUEUE)]
    seen["replayed"] = [(d.partition, d.offset) for d in broken.replay(TOPIC, mq.EARLIEST)]
    seen["stored"] = [(d.partition, d.offset, d.raw, d.key, d.headers.pairs) for d in bus.stored(TOPIC)]
    return seen


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pair("M02", tmp_path_factory.mktemp("unbroken")) as bus:
        bus.broken = bus.clean
        return work(bus)


@pytest.mark.parametrize("code", SABOTEURS)
def test_a_saboteur_that_does_not_strike_changes_nothing(
    code: str, unbroken: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every opportunity left, a program and an observer see what they see without a saboteur."""
    monkeypatch.setattr(Draws, "draw", lambda self: False)
    with pair(code, tmp_path) as bus:
        assert work(bus) == unbroken
        assert not bus.strikes


def test_all_of_them_together_change_nothing_and_tell_who_could_strike(
    unbroken: dict[str, Any], tmp_path: Path
) -> None:
    """What finds out who has an opportunity is no saboteur itself."""
    with pair(EVERY, tmp_path) as bus:
        assert work(bus) == unbroken
        told = {strike["code"] for strike in bus.strikes}
        assert {"M02", "M15", "M21", "M23", "M27", "M28", "M31"} <= told
        assert not {"M18", "M19", "S43", "S50"} & told
        assert len(bus.strikes) == len(told)


@pytest.mark.parametrize("code", SABOTEURS)
def test_every_saboteur_has_a_code_a_name_and_an_anomaly(code: str) -> None:
    """What the matrix shows of it is there, and one name means one thing."""
    saboteur = SABOTEURS[code]
    assert saboteur.code == code
    assert saboteur.anomalies
    assert [other.code for other in SABOTEURS.values() if other.name == saboteur.name] == [code]


def test_no_code_is_used_twice() -> None:
    """The second one of a code would hide the first."""
    assert len(catalogue.ROWS) == len(SABOTEURS)


def test_without_a_saboteur_a_bus_is_what_connect_gives() -> None:
    """Nothing lies between a program and its engine then."""
    with open_bus("native:") as bus, mq.connect("native:") as plain:
        assert type(bus._connection) is type(plain._connection)


def test_a_saboteur_in_force_reaches_other_processes_and_ends(tmp_path: Path) -> None:
    """A process that is started meanwhile is broken too and tells its strikes; afterwards nobody is."""
    program = (
        "import mqbridge as mq; from mqbridge_conformance.saboteurs import open_bus\n"
        "with open_bus('native:') as bus, bus.producer() as producer:\n"
        "    bus.admin.ensure(mq.Topic('t')); producer.send(mq.Topic('t'), b'x').result(10)\n"
        "    assert not list(bus.replay(mq.Topic('t'), mq.EARLIEST))\n"
    )
    plan = Plan("M02", told=tmp_path / "told")
    with in_force(plan):
        path = os.pathsep.join(sys.path)
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={**os.environ, "PYTHONPATH": path})
        assert len(strikes_told(tmp_path / "told")) == 1
    assert not {name for name in os.environ if name.startswith("MQBRIDGE_SABOTEUR")}


def test_with_a_saboteur_in_force_a_target_is_broken_and_its_observer_is_not(tmp_path: Path) -> None:
    """Connections under test drop what they confirm, in this process and in parties of the run; the observer sees
    that nothing is there, and a party that is none of the run's writes what it says."""
    topic = mq.Topic("t")
    (folder,) = targets_for("folder")
    plan = Plan("M02", told=tmp_path / "told")
    recorder = Recorder(tmp_path, "main")
    with folder as target, in_force(plan):
        with target.connect(recorder) as bus, bus.producer() as producer:
            bus.admin.ensure(topic)
            producer.send(topic, b"x").result(10)
            assert target.observer.records("t") == []
        for count, facts in enumerate(({"history": str(tmp_path), "proc": "p", "run": "r"}, {}), 2):
            party = target.spawn("produce", topic="t", producer="p", keys=["k"], per_key=1, **facts)
            party.expect("ready", 20)
            party.command("go")
            party.expect("sent", 20)
            party.stop(20)
            assert len(strikes_told(tmp_path / "told")) == 2
            assert len(target.observer.records("t")) == count - 2
    recorder.close()
    assert len(load(tmp_path / "main.jsonl").of("sabotage")) == 1
    assert len(load(tmp_path / "p.jsonl").of("sabotage")) == 1
