"""Of several nodes the first that can tell is believed, and nobody else is asked."""

from __future__ import annotations

import pytest

import mqbridge as mq
from mqbridge_conformance.observers import FirstToTell, Observer, PublicObserver
from mqbridge_conformance.results import CannotTell

WAYS = {
    "names": (),
    "records": ("t",),
    "counts": ("q",),
    "committed": ("g",),
    "letters": ("q",),
    "messages": ("q",),
    "held": ("q",),
    "snapshot": (),
    "versions": (),
}


class Down(PublicObserver):
    """A node that cannot tell."""

    asked = 0

    def __getattribute__(self, name: str) -> object:
        if name in WAYS:
            Down.asked += 1
            raise CannotTell("it is down")
        return super().__getattribute__(name)


@pytest.fixture
def one(bus: mq.Bus) -> Observer:
    bus.admin.ensure(mq.Topic("t", partitions=1), mq.Queue("q"))
    with bus.producer() as producer:
        producer.send(mq.Topic("t"), b"x").result(5)
    return PublicObserver(bus)


@pytest.mark.parametrize("way", WAYS)
def test_who_can_tell_is_believed(one: Observer, bus: mq.Bus, way: str) -> None:
    """A node that is down is passed over; with none left, nobody can tell."""
    down = Down(bus)
    wanted = getattr(one, way)(*WAYS[way])
    Down.asked = 0
    assert getattr(FirstToTell([one, down]), way)(*WAYS[way]) == wanted
    assert Down.asked == 0
    assert getattr(FirstToTell([down, down, one]), way)(*WAYS[way]) == wanted
    assert Down.asked == 2
    with pytest.raises(CannotTell, match="it is down"):
        getattr(FirstToTell([down, down]), way)(*WAYS[way])
