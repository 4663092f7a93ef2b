"""Offsets that the log has lost: what is decided for which place, and when, with a scripted client."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from confluent_kafka import TopicPartition as Place

import mqbridge as mq
from mqbridge.spi import Gap, Start
from mqbridge.spi import TopicPartition as Partition
from mqbridge.testing import wait_until
from mqbridge_kafka import lost_offsets
from mqbridge_kafka.holding import Holding, Holdings
from mqbridge_kafka.lost_offsets import LostOffsets
from mqbridge_kafka.starting import Starting

PLACE = ("t", 0)
POLICIES: list[Literal["fail", "earliest", "latest"]] = ["fail", "earliest", "latest"]


class Scripted:
    """The client, and the brokers that say where its log begins and ends."""

    def __init__(self) -> None:
        self.log = (20, 30)
        self.away = False
        self.asked: list[list[Partition]] = []
        self.skipped: list[tuple[Partition, int]] = []

    def physical(self, place: Partition) -> str:
        return place[0]

    def skip(self, place: Partition, offset: int) -> None:
        self.skipped.append((place, offset))

    def edges(self, places: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        self.asked.append(list(places))
        if self.away:
            raise mq.ConnectionLost("away")
        return dict.fromkeys(places, self.log)


class Member:
    """A member that holds one partition, at offset 5, under lease 1."""

    def __init__(self, on_gap: Literal["fail", "earliest", "latest"]) -> None:
        self.client = Scripted()
        self.holdings = Holdings(1 << 20)
        self.gaps: list[Gap] = []
        starting: Any = self.client
        self.lost = LostOffsets("g", on_gap, self.holdings, starting, self.gaps.append)
        self.begin(1, 5)

    def begin(self, lease: int, offset: int, place: Partition = PLACE) -> None:
        self.holdings.begin(place, Holding(mq.Topic("t"), lease, offset))

    def pending(self) -> None:
        """The offset is lost, and nobody says what the log has instead."""
        self.client.away = True
        self.lost.found(PLACE)
        self.look()
        self.client.away = False
        self.lost._again_at_s = 0.0

    def look(self) -> None:
        self.lost.look(self.client)  # type: ignore[arg-type]

    @property
    def decided(self) -> tuple[list[Any], int]:
        return [*self.client.skipped, *self.gaps], self.holdings.positions()[PLACE]


@pytest.mark.parametrize(("on_gap", "target"), [("earliest", 20), ("latest", 30)])
def test_a_lost_offset_waits_for_the_brokers(on_gap: Literal["earliest", "latest"], target: int) -> None:
    """Brokers that are away delay the decision, and do not lose it."""
    member = Member(on_gap)
    member.pending()
    assert member.decided == ([], 5)
    member.look()
    assert member.decided == ([(PLACE, target)], target)


def test_a_lost_offset_stops_who_wants_to_be_told() -> None:
    """on_gap='fail' says it once, with what was wanted."""
    member = Member("fail")
    member.pending()
    member.look()
    member.look()
    [gap] = member.gaps
    assert isinstance(gap.error, mq.OffsetLost)
    assert "offset 5 of topic:t/0 is not there any more; the log has 20 to 30" in str(gap.error)
    assert member.client.skipped == []


@pytest.mark.parametrize("on_gap", POLICIES)
def test_a_lost_offset_is_not_applied_to_a_place_that_was_sought(on_gap: Literal["fail", "earliest", "latest"]) -> None:
    """The application chose another place meanwhile: nothing is decided for that, though it may be lost as well."""
    member = Member(on_gap)
    member.pending()
    assert member.holdings.seek(PLACE, 7) == 1
    member.holdings.moved(PLACE, 1)
    member.look()
    assert member.decided == ([], 7)


@pytest.mark.parametrize("on_gap", POLICIES)
def test_a_lost_offset_is_not_applied_under_another_lease(on_gap: Literal["fail", "earliest", "latest"]) -> None:
    """The partition went and came back, to the same offset: what was known of it is not known any more."""
    member = Member(on_gap)
    member.pending()
    member.begin(2, 5)
    member.look()
    assert member.decided == ([], 5)


@pytest.mark.parametrize("on_gap", POLICIES)
def test_what_is_left_is_forgotten(on_gap: Literal["fail", "earliest", "latest"]) -> None:
    """A place that was left or sought is asked for no more."""
    member = Member(on_gap)
    member.pending()
    member.lost.drop([PLACE])
    member.look()
    assert member.decided == ([], 5)


@pytest.mark.parametrize("on_gap", POLICIES)
@pytest.mark.parametrize("log", [(5, 30), (0, 30), (0, 5)])
def test_an_offset_that_is_there_is_read(on_gap: Literal["fail", "earliest", "latest"], log: tuple[int, int]) -> None:
    """The client was told of a place before a seek, or by a broker behind: it goes on where it was."""
    member = Member(on_gap)
    member.pending()
    member.client.log = log
    member.look()
    assert member.decided == ([(PLACE, 5)], 5)


@pytest.mark.parametrize(("on_gap", "target"), [("fail", 5), ("earliest", 0), ("latest", 30)])
def test_a_log_that_was_cut_and_written_anew_is_a_gap(
    on_gap: Literal["fail", "earliest", "latest"], target: int
) -> None:
    """The offset is there, and what is before it is not what was read: `on_gap` decides."""
    member = Member(on_gap)
    member.client.log = (0, 30)
    member.lost.found(PLACE, cut=True)
    member.look()
    assert member.holdings.positions() == {PLACE: target}
    assert len(member.gaps) == (on_gap == "fail")


def test_a_seek_during_the_question_goes_before_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application seeks while the brokers are asked: it is not told that what it left is lost."""
    member = Member("fail")

    def edges(places: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        member.holdings.seek(PLACE, 7)
        return dict.fromkeys(places, (20, 30))

    monkeypatch.setattr(member.client, "edges", edges)
    member.lost.found(PLACE)
    member.look()
    assert member.decided == ([], 7)


def test_all_are_asked_for_at_once_and_not_again_at_once() -> None:
    """However many have lost their offsets, a try is one; after one that failed, the member has as long for others."""
    member = Member("latest")
    other = ("t", 1)
    member.begin(3, 6, other)
    member.client.away = True
    for place in (PLACE, other):
        member.lost.found(place)
    for _ in range(3):
        member.look()
    assert member.client.asked == [[PLACE, other]]
    member.client.away = False

    def decided() -> bool:
        member.look()
        return bool(member.client.skipped)

    wait_until(decided, 2.0)
    assert member.client.skipped == [(PLACE, 30), (other, 30)]
    assert member.client.asked == [[PLACE, other]] * 2


@pytest.mark.parametrize("took_s", [0.0, 1.0])
def test_a_try_that_took_long_is_followed_by_as_long_a_pause(took_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time at most goes into questions that nobody answers."""
    now_s = 100.0

    def edges(_places: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        nonlocal now_s
        now_s += took_s
        member.client.asked.append([])
        raise mq.OperationTimeout("silence")

    member = Member("latest")
    monkeypatch.setattr(lost_offsets, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(member.client, "edges", edges)
    member.lost.found(PLACE)
    member.look()
    now_s += max(took_s, lost_offsets.AGAIN_S) - 0.01
    member.look()
    assert len(member.client.asked) == 1
    now_s += 0.02
    member.look()
    assert len(member.client.asked) == 2


def test_the_edges_of_many_partitions_are_two_questions() -> None:
    """Those of all beginnings, and of all ends."""
    asked: list[list[int]] = []

    def offsets_for_times(places: list[Place], timeout: float) -> list[Place]:
        asked.append([place.offset for place in places])
        return [Place(place.topic, place.partition, 9 + place.offset) for place in places]

    topics = {"t": SimpleNamespace(error=None, partitions=range(2))}
    reader: Any = SimpleNamespace(
        list_topics=lambda *_, **__: SimpleNamespace(topics=topics), offsets_for_times=offsets_for_times
    )
    starting = Starting("g", ("t",), Start("latest"), lambda: False, lambda: reader)
    assert starting.edges([PLACE, ("t", 1)]) == {PLACE: (7, 8), ("t", 1): (7, 8)}
    assert asked == [[-2, -2], [-1, -1]]
