"""Which shape a run takes on an engine, and what is left of it afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.demo import shapes
from mqbridge.demo.orders import SERVICES
from mqbridge.demo.shapes import QueueShape, TopicShape, choose_shape

Cap = mq.Capability


class _Engine:
    """A bus of which only the capabilities are asked."""

    engine = "made-up"

    def __init__(self, *, emulated: Iterable[Cap] = (), missing: Iterable[Cap] = ()) -> None:
        rows = dict.fromkeys(Cap, mq.Support(mq.Level.DIRECT))
        rows |= dict.fromkeys(emulated, mq.Support(mq.Level.EMULATED))
        rows |= dict.fromkeys(missing, mq.Support(mq.Level.UNSUPPORTED))
        self.capabilities = mq.Capabilities("made-up", rows)

    require = mq.Bus.require


def _chosen(wanted: str | None = None, *, emulated: Iterable[Cap] = (), missing: Iterable[Cap] = ()) -> str:
    return choose_shape(_Engine(emulated=emulated, missing=missing), wanted, "").name  # type: ignore[arg-type]


def test_an_engine_is_shown_in_the_shape_that_it_has_of_its_own() -> None:
    """Groups of its own: a topic. Emulated groups and queues of its own: queues. Asked for: what was asked for."""
    assert _chosen() == "topic"
    assert _chosen(emulated=[Cap.GROUPS]) == "queue"
    assert _chosen(emulated=[Cap.GROUPS, Cap.WORK_SHARING]) == "topic"
    assert _chosen(emulated=[Cap.WORK_SHARING], missing=[Cap.PRIORITY]) == "topic"
    assert _chosen(missing=[Cap.GROUPS]) == "queue"
    assert _chosen(emulated=[Cap.GROUPS], missing=[Cap.DEAD_LETTER]) == "topic"
    assert _chosen("topic", emulated=[Cap.GROUPS]) == "topic"
    assert _chosen("queue") == "queue"


def test_what_an_engine_cannot_play_is_refused_by_name() -> None:
    """All that is missing is said before anything is made."""
    with pytest.raises(mq.Unsupported, match="ROUTE_FANOUT"):
        _chosen("queue", missing=[Cap.ROUTE_FANOUT])
    with pytest.raises(mq.Unsupported, match="neither"):
        _chosen(missing=[Cap.GROUPS, Cap.ROUTE_FANOUT])


@pytest.mark.parametrize("kind", [TopicShape, QueueShape])
def test_nothing_of_a_run_is_left(tmp_path: Path, kind: type[TopicShape] | type[QueueShape]) -> None:
    """Destinations, dead letters and groups go, those that were never made are no error, and those of others stay."""
    shape = kind("run.")
    with mq.connect(f"native:{tmp_path}/a") as bus:
        bus.admin.ensure(mq.Topic("mine"), mq.Queue("mine"), *shape.specs()[:-1])
        with bus.consumer(mq.Topic("mine"), group="mine", start=mq.EARLIEST) as consumer:
            consumer.wait_assigned(10)
        bus.admin.reset_offsets("mine", mq.Topic("mine"), mq.LATEST, dry_run=False)
        for group in shape.groups():
            bus.admin.reset_offsets(group, mq.Topic("mine"), mq.LATEST, dry_run=False)
        shape.remove(bus)
        assert [topic.name for topic in bus.admin.list_topics()] == ["mine"]
        assert sorted(queue.name for queue in bus.admin.list_queues()) == ["mine", "mine.dlq"]
        assert bus.admin.list_exchanges() == []
        assert [group.group for group in bus.admin.list_groups()] == ["mine"]


def test_a_group_is_deleted_once_its_dead_member_is_forgotten(bus: mq.Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that was killed stays one until its session expires: the removal waits for that, and not for ever."""
    monkeypatch.setattr(shapes, "FORGET_S", 1.0)
    refused: list[str] = []

    def refuse(_admin: mq.Admin, group: str) -> None:
        refused.append(group)
        if group.endswith("payment") or refused.count(group) < 2:
            raise mq.Rejected(f"group {group} has members")

    monkeypatch.setattr(mq.Admin, "delete_group", refuse)
    shape = TopicShape("run.")
    bus.admin.ensure(*shape.specs())
    with pytest.raises(mq.Rejected, match="payment"):
        shape.remove(bus)
    assert refused.count("run.email") == 2
    assert bus.admin.list_topics() == []


def test_what_is_unfinished_is_found_without_a_count(bus: mq.Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an engine counts nothing, a message that a new consumer is given was not finished, and it is given back."""
    monkeypatch.setattr(shapes, "UNTOLD_S", 0.3)
    shape = QueueShape("run.")
    bus.admin.ensure(*shape.specs())
    blind = mq.Capabilities("native", dict(bus.capabilities) | {Cap.DEPTH: mq.Support(mq.Level.UNSUPPORTED)})
    with bus.producer() as producer:
        producer.send(shape.queue(SERVICES[0]), {"id": 1})
    monkeypatch.setattr(mq.Bus, "capabilities", blind)
    assert shape.unfinished(bus, SERVICES[0]) == 1
    assert shape.unfinished(bus, SERVICES[0]) == 1
    assert shape.unfinished(bus, SERVICES[1]) == 0
