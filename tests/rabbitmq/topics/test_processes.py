"""Members in processes of their own: killed, stopped and resumed, and one too many."""

from __future__ import annotations

import json
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until

MakeTopic = Callable[..., mq.Topic[bytes]]
PROGRAM = Path(__file__).with_name("member.py")


class Member:
    """A process that obeys; `ask` gives its answer, and fails after a deadline."""

    def __init__(self, url: str, topic: str, group: str, session_timeout_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), url, topic, group, str(session_timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(json.loads(line))

    def hear(self, within_s: float = 30.0) -> dict[str, Any]:
        return self._answers.get(timeout=within_s)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str, within_s: float = 30.0) -> dict[str, Any]:
        self.tell(line)
        return self.hear(within_s)

    def signal(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_member(rabbitmq_url: str) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def begin(topic: mq.Topic[bytes], group: str, session_timeout_s: float = 3.0) -> Member:
        members.append(Member(rabbitmq_url, topic.name, group, session_timeout_s))
        return members[-1]

    yield begin
    for member in members:
        member.end()


def send(bus: mq.Bus, topic: mq.Topic[bytes], count: int) -> None:
    with bus.producer(partitioner=lambda *_: 0) as producer:
        producer.send_many(topic, [b"%d" % number for number in range(count)])


def test_the_successor_of_one_that_was_killed_begins_at_its_commit(
    rabbit: mq.Bus, make_topic: MakeTopic, group: str, start_member: Callable[..., Member]
) -> None:
    """SIGKILL: a standby has the partition within a second, at what was committed, and misses nothing."""
    topic = make_topic(partitions=2)
    send(rabbit, topic, 20)
    victim = start_member(topic, group)
    assert victim.hear() == {"assigned": [0, 1]}
    assert victim.ask("poll 7")["got"] == [[0, n] for n in range(7)]
    assert victim.ask("commit") == {"committed": True}
    victim.ask("poll 5")  # acked, never committed
    described = rabbit.admin.describe_group(group)
    assert (described.state, len(described.members)) == ("Stable", 1)
    assert described.committed[topic.name, 0] == 7
    with rabbit.consumer(topic, group=group, start=mq.LATEST, session_timeout_s=10) as heir:
        assert heir.poll(timeout=0.3) == []
        victim.signal(signal.SIGKILL)
        killed_s = time.monotonic()
        heir.wait_assigned(10)
        took_s = time.monotonic() - killed_s
        got: list[int | None] = []
        while len(got) < 13:
            got += [d.offset for d in heir.poll(timeout=5)]
        assert got == list(range(7, 20))
        assert took_s < 3


def test_a_stopped_member_cannot_commit_when_it_goes_on(
    rabbit: mq.Bus, make_topic: MakeTopic, group: str, start_member: Callable[..., Member]
) -> None:
    """SIGSTOP beyond the session timeout: another one takes over; resumed, the stale commit is refused, and what the
    successor committed stands."""
    topic = make_topic()
    send(rabbit, topic, 20)
    stale = start_member(topic, group, 3.0)
    assert stale.hear() == {"assigned": [0]}
    assert stale.ask("poll 3")["got"] == [[0, n] for n in range(3)]
    assert stale.ask("commit") == {"committed": True}
    stale.ask("poll 10")
    stale.signal(signal.SIGSTOP)
    with rabbit.consumer(topic, group=group, start=mq.LATEST, session_timeout_s=10) as heir:
        heir.wait_assigned(15)
        got: list[mq.Delivery[bytes]] = []
        while len(got) < 2:
            got += heir.poll(2 - len(got), timeout=5)
        assert [d.offset for d in got] == [3, 4]
        for delivery in got:
            delivery.ack()
        heir.commit(10)
        stale.tell("commit")
        stale.signal(signal.SIGCONT)
        assert stale.hear() == {"failed": "LeaseLost"}
        assert heir.committed() == {(topic.name, 0): 5}
        more = heir.poll(1, timeout=5)
        more[0].ack()
        heir.commit(10)
        assert heir.committed() == {(topic.name, 0): 6}


def test_of_two_that_begin_at_once_one_gets_everything(
    rabbit: mq.Bus, make_topic: MakeTopic, group: str, start_member: Callable[..., Member]
) -> None:
    """Never half of the partitions each: the other one receives nothing and is refused."""
    topic = make_topic(partitions=4)
    members = [start_member(topic, group, 2.0) for _ in range(2)]
    answers = [member.hear() for member in members]
    assert sorted(answers, key=str) == sorted(
        [{"assigned": [0, 1, 2, 3]}, next(answer for answer in answers if "error" in answer)], key=str
    )
    assert next(answer for answer in answers if "error" in answer)["error"] == "Unsupported"


def test_it_looks_empty_when_its_member_is_gone(
    rabbit: mq.Bus, make_topic: MakeTopic, group: str, start_member: Callable[..., Member]
) -> None:
    """Seen from another process: offsets while it consumes, and no members soon after it was killed."""
    topic = make_topic()
    member = start_member(topic, group)
    member.hear()
    assert rabbit.admin.describe_group(group).committed == {(topic.name, 0): 0}
    with pytest.raises(mq.Rejected):
        rabbit.admin.delete_group(group)
    member.signal(signal.SIGKILL)
    wait_until(lambda: not rabbit.admin.describe_group(group).members, 10)
    assert rabbit.admin.describe_group(group).committed == {(topic.name, 0): 0}


@pytest.mark.soak
def test_a_line_of_members_that_are_killed(
    rabbit: mq.Bus, make_topic: MakeTopic, group: str, start_member: Callable[..., Member]
) -> None:
    """Each begins exactly where the one before it was told that it committed, whatever it had received beyond."""
    topic = make_topic()
    send(rabbit, topic, 1000)
    chance = random.Random(7)
    committed = 0
    standby = start_member(topic, group, 5.0)
    for _ in range(25):
        member = standby
        assert member.hear() == {"assigned": [0]}
        standby = start_member(topic, group, 5.0)
        for _ in range(chance.randrange(1, 4)):
            count = chance.randrange(1, 9)
            got = member.ask(f"poll {count}")["got"]
            assert got[0][1] >= committed
            if chance.random() < 0.6:
                assert member.ask("commit") == {"committed": True}
                committed = got[-1][1] + 1
        first_unsettled = got[-1][1] + 1
        assert first_unsettled >= committed
        member.signal(signal.SIGKILL)
        wait_until(partial(_is_committed, rabbit, group, (topic.name, 0), committed), 20)


def _is_committed(bus: mq.Bus, group: str, place: tuple[str, int], offset: int) -> bool:
    return bus.admin.describe_group(group).committed.get(place) == offset
