"""One stop of each broker under traffic; five, and kills, are for the command line."""

from __future__ import annotations

import pytest

from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.restarts import MOVED, run

pytestmark = pytest.mark.timeout(240)  # a broker's restart takes seconds, and the machine may be slow


@pytest.mark.parametrize("fixture", ["kafka_broker", "rabbitmq_broker"])
def test_traffic_survives_a_restart(fixture: str, request: pytest.FixtureRequest) -> None:
    """Consumers resume by themselves, and what was confirmed is in the log and was handled."""
    broker: Broker = request.getfixturevalue(fixture)
    report = run(fixture.removesuffix("_broker"), 1, broker=broker)
    assert report.violations == []
    assert report.times == 1
    assert all(number >= MOVED for number in report.confirmed.values()), report
