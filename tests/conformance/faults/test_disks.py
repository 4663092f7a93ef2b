"""A native host without room refuses what it cannot store, loses nothing, and goes on when there is room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mqbridge as mq
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.faults import Faults
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import NativeClient, RealBroker

WAIT_S = 20.0
TOPIC = mq.Topic("t", partitions=1)


@pytest.fixture
def client() -> Iterator[NativeClient]:
    with NativeClient() as found:
        yield found


def test_a_full_disk_refuses_and_with_room_it_goes_on(client: NativeClient, recorder: Recorder) -> None:
    """Rejected and not applied, as the files themselves show; the history of this process is written all the same."""
    faults = Faults(client, recorder)
    with client.connect() as bus, bus.producer() as producer:
        bus.admin.ensure(TOPIC)
        producer.send(TOPIC, b"before").result(WAIT_S)
        with faults.disk_full():
            error = producer.send(TOPIC, b"no room").exception(WAIT_S)
            assert isinstance(error, mq.Rejected)
            assert error.outcome == "not_applied"
            assert [record.value for record in client.observer.records("t")] == [b"before"]
        producer.send(TOPIC, b"after").result(WAIT_S)
    assert [record.value for record in client.observer.records("t")] == [b"before", b"after"]


def test_the_disk_of_a_container_is_left_alone(rabbitmq_broker: Broker, recorder: Recorder) -> None:
    """Filling it would fill the machine's."""
    with RealBroker("rabbitmq", own=True) as target, pytest.raises(CannotTell, match="not the suite's to fill"):
        Faults(target, recorder).disk_full()
    assert rabbitmq_broker is target.broker
