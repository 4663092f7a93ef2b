"""The demo on real brokers: the same program and the same outcome, and nothing left behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import mqbridge as mq
from tests.demo.running import demo, finished


def _left(bus: mq.Bus) -> list[str]:
    found = [*bus.admin.list_topics(), *bus.admin.list_queues(), *bus.admin.list_exchanges()]
    names = [item.name for item in found] + [group.group for group in bus.admin.list_groups()]
    return [name for name in names if name.startswith("demo-")]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("engine", "shape", "checks"), [("kafka", "topic", 7), ("rabbitmq", "queue", 6)])
def test_the_story_is_true_on_a_broker(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, shape: str, checks: int
) -> None:
    """Each in the shape that it has of its own: a worker killed, a poison order, each good order charged once."""
    url: str = request.getfixturevalue(f"{engine}_url")
    status, out, err = finished(demo(tmp_path, url, "--scale", "0.6", "--json"), timeout_s=150)
    assert status == 0, err + out
    report = json.loads(out)
    assert report["ok"]
    assert report["shape"] == shape
    assert len(report["checks"]) == checks
    assert report["orders"] == {"sent": 41, "good": 40, "poison": 1}
    assert report["takeover"]["exit_status"] == -signal.SIGKILL
    assert report["services"]["payment"]["handled"] == 40
    assert [letter["key"] for letter in report["dead_letters"]] == ["order-poison"]
    with mq.connect(url) as bus:
        assert _left(bus) == []
    assert list(tmp_path.iterdir()) == []
