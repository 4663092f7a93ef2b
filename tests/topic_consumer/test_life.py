"""Signs of life, and an engine that goes and comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.errors import LeaseLost
from mqbridge.spi import Assigned, Disconnected, Fatal, Lost, Reconnected
from mqbridge.testing import VirtualClock, embedded, wait_until
from tests.fakes import FakeBlock
from tests.topic_consumer.shared import ONE, P0, drain, join, raws, send

# --- signs of life ------------------------------------------------------------------------------------------------


def test_who_does_not_poll_loses_its_partitions_and_comes_back() -> None:
    """Past max_poll_interval_s without a poll: verbs are LeaseLost, nothing is lost, and the next poll joins again."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 3)
        with join(bus, max_poll_interval_s=60.0, settle_interval_s=1000.0) as consumer:
            first, second, third = consumer.poll()
            first.ack()
            consumer.commit()
            second.ack()
            clock.advance(61, step_s=1)
            again = consumer.poll(timeout=5)
            with pytest.raises(LeaseLost, match="max_poll_interval_s"):
                third.ack()
            with pytest.raises(LeaseLost, match="max_poll_interval_s"):
                consumer.commit()
            assert raws(again) == [b"1", b"2"]
            for delivery in again:
                delivery.ack()
            consumer.commit()
            assert consumer.committed() == {P0: 3}


def test_small_polls_of_a_large_block_are_signs_of_life() -> None:
    """Polling one record a minute out of one block keeps the membership, for that is what polling is for."""
    clock = VirtualClock()
    with embedded(clock) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 20)
        with join(bus, max_poll_interval_s=60.0) as consumer:
            for number in range(20):
                (delivery,) = consumer.poll(1)
                assert delivery.raw == b"%d" % number
                delivery.ack()
                clock.advance(40, step_s=1)
            consumer.commit()
            assert consumer.committed() == {P0: 20}


def test_a_slow_stream_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a stream whose body takes long over each record of one block."""
    from mqbridge import consumer as module

    clock = VirtualClock()
    monkeypatch.setattr(module, "now_s", clock.mono_s)
    with embedded(clock) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 20)
        with join(bus, max_poll_interval_s=60.0) as consumer:
            for delivery in consumer.stream(idle_timeout_s=0.05):
                delivery.ack()
                clock.advance(40, step_s=1)
            consumer.commit()
            assert consumer.committed() == {P0: 20}


MEMBER = """
import sys, mqbridge as mq
topic = mq.Topic("one", partitions=1)
with mq.connect(sys.argv[1]) as bus:
    consumer = bus.consumer(topic, group="g", start=mq.EARLIEST, session_timeout_s=1.5)
    first, second, third = consumer.poll(3, timeout=10)
    first.ack()
    consumer.commit()
    second.ack()  # marked, and perhaps not committed when the signal comes
    print("out", flush=True)
    sys.stdin.readline()
    lost = 0
    while not lost:
        consumer.poll(timeout=0.05)
        try:
            third.ack()
        except mq.LeaseLost:
            lost = 1
        except mq.AlreadySettled:
            break
    print("lost" if lost else "settled", flush=True)
    try:
        consumer.close()
    except mq.LeaseLost:
        pass
"""


def test_a_stopped_member_loses_its_lease_and_knows_it(tmp_path: Path) -> None:
    """A process that is stopped past its session timeout has lost its partition: another one gets what it had not
    committed, and when it goes on its verbs are LeaseLost."""
    url = f"native:{tmp_path / 'db'}"
    with mq.connect(url) as bus:
        bus.admin.ensure(ONE)
        send(bus, ONE, 3)
        here = Path(mq.__file__).parent.parent
        member = subprocess.Popen(
            [sys.executable, "-c", MEMBER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(here)},
        )
        assert member.stdin is not None
        assert member.stdout is not None
        with member:
            try:
                assert member.stdout.readline() == "out\n"
                member.send_signal(signal.SIGSTOP)
                with join(bus) as consumer:
                    got: list[bytes] = []
                    while b"2" not in got:
                        got += drain(consumer, 0.2)
                    assert got in ([b"1", b"2"], [b"2"])
                    consumer.commit()
                    member.send_signal(signal.SIGCONT)
                    print("go", file=member.stdin, flush=True)
                    assert member.stdout.readline() == "lost\n"
                    assert consumer.committed() == {P0: 3}
                    assert member.wait(20) == 0
            finally:
                member.kill()


# --- the engine goes and comes ------------------------------------------------------------------------------------


def test_fatal_ends_it_for_good(fake: Any) -> None:
    """What the engine calls fatal is raised by this poll and every later one, leftovers or not."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b"]))
    consumer.poll(1)
    subscription.say(Fatal(mq.Fenced("another took over")))
    for _ in range(2):
        with pytest.raises(mq.Fenced):
            consumer.poll(1)


def test_disconnected_and_back(fake: Any) -> None:
    """Leases end with the connection; after the reconnection records come under the new one."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a"]))
    (old,) = consumer.poll()
    subscription.say(Disconnected("host gone"), Lost((P0,), "host gone"), Reconnected(), Assigned({P0: (9, 0)}))
    subscription.give(FakeBlock(ONE, [b"a"], lease=9))
    (new,) = consumer.poll()
    with pytest.raises(LeaseLost):
        old.ack()
    new.ack()
    consumer.commit()
    assert subscription.commits[-1] == {P0: (9, 1)}


def test_callbacks_of_a_rebalance_come_on_the_callback_thread(bus: mq.Bus) -> None:
    """on_assigned, on_revoked: with the partitions, in order, on the one callback thread; they may use the consumer."""
    heard: list[tuple[str, Any, str]] = []
    consumer = join(bus, drain_timeout_s=0.1, instance_id="a", rebalance="eager")

    def hear(what: str, partitions: Any) -> None:
        consumer.commit()
        heard.append((what, partitions, threading.current_thread().name))

    consumer.on_assigned(lambda partitions: hear("assigned", partitions))
    consumer.on_revoked(lambda partitions: hear("revoked", partitions))
    consumer.wait_assigned(5)
    with join(bus, instance_id="0", rebalance="eager"):
        wait_until(lambda: (consumer.poll(timeout=0.01), len(heard) == 2)[1])
    assert [(what, partitions) for what, partitions, _ in heard] == [("assigned", (P0,)), ("revoked", (P0,))]
    assert {name for _, _, name in heard} == {"mqbridge-callbacks"}
    consumer.close()


def test_in_a_forked_child_deliveries_are_not_ours(fake: Any) -> None:
    """In the child every verb says so at once, whatever locks other threads held at the moment of the fork."""
    consumer, subscription = fake
    subscription.give(FakeBlock(ONE, [b"a", b"b", b"c"]))
    acked, released, rejected = consumer.poll()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with consumer._settling:
            held.set()
            go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        for call in (acked.ack, released.release, rejected.retry, consumer.next_offsets, consumer.commit):
            try:
                call()
            except (LeaseLost, mq.ForkedProcess):
                continue
            os._exit(1)
        consumer.close()
        os._exit(0)
    go.set()
    holder.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    acked.ack()
