"""A cluster as a target: whoever leads a destination can be killed, and the library's own clients go on.

Long, for a cluster takes the better part of a minute to start: run with ``-m soak``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.brokers import provided
from mqbridge_conformance.faults import Faults
from mqbridge_conformance.history import Event, Recorder
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import NativeMemory, RealCluster

WAIT_S = 120.0
TOPIC = mq.Topic("led", partitions=1)


@pytest.fixture(params=["kafka", "rabbitmq"])
def target(request: pytest.FixtureRequest) -> Iterator[RealCluster]:
    request.getfixturevalue(f"{request.param}_broker")  # not run where there is no engine for containers
    with RealCluster(request.param) as found:
        yield found
        provided.cluster(request.param).wait_ready()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_leader_dies_and_what_was_confirmed_is_there(
    target: RealCluster, recorder: Recorder, told: Callable[[], list[Event]]
) -> None:
    """Sent before, while and after it is dead, through the same producer."""
    faults = Faults(target, recorder)
    with target.connect() as bus, bus.producer(delivery_timeout_s=WAIT_S) as producer:
        bus.admin.ensure(TOPIC)
        confirmed: set[bytes] = set()

        def send(begin: int, end: int) -> None:
            values = [b"%d" % number for number in range(begin, end)]
            receipts = [producer.send(TOPIC, value) for value in values]
            for value, receipt in zip(values, receipts, strict=True):
                if receipt.exception(WAIT_S) is None:
                    confirmed.add(value)

        def known() -> bool:
            # A node of Kafka that has not heard yet of what another one made says that there is no such topic.
            try:
                return producer.send(TOPIC, b"first").result(WAIT_S) is not None
            except mq.NotFound:
                return False

        wait_until(known, WAIT_S)
        send(0, 200)
        with faults.leader(str(TOPIC)).kill() as fault:
            assert fault.at in ("broker-1", "broker-2", "broker-3")
            send(200, 400)
        send(400, 600)
        assert len(confirmed) >= 400
        assert confirmed <= {record.value for record in target.observer.records(TOPIC.name)}
        bus.admin.delete(TOPIC)
    assert [event.more["what"] for event in told() if event.kind == "ok"] == ["kill", "kill"]


def test_what_has_no_nodes_is_refused(recorder: Recorder) -> None:
    """One broker is no cluster, and has no peers to be cut off from."""
    faults = Faults(NativeMemory(), recorder)
    asks: list[Callable[[], object]] = [lambda: faults.node(1), lambda: faults.leader("topic:t")]
    for ask in asks:
        with pytest.raises(CannotTell, match="has no nodes"):
            ask()
