"""Tests that need a broker which is not there: told as NOT RUN by pytest, or failed where brokers are required.

The rule: such a test is neither passed nor silently left out. It is deselected, counted by engine, and the last thing
that pytest says before its summary is how many there were and why. With ``MQBRIDGE_REQUIRE_BROKERS=1`` nothing is
deselected: asking for the broker then fails each test.
"""

from __future__ import annotations

import os
from typing import Any, Final

import pytest

__all__ = ["REQUIRE", "NotRun", "left_out", "watch_for_brokers"]

REQUIRE: Final = "MQBRIDGE_REQUIRE_BROKERS"
_NAME: Final = "mqbridge_conformance.not_run"
_FIXTURES: Final = {
    "kafka_url": ("kafka", False),
    "kafka_broker": ("kafka", True),
    "rabbitmq_url": ("rabbitmq", False),
    "rabbitmq_broker": ("rabbitmq", True),
    "secured_kafka_broker": ("kafka", True),
}


def watch_for_brokers(config: pytest.Config) -> None:
    """Have this run tell what it could not run; harmless to ask twice."""
    if not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(NotRun(), _NAME)


class NotRun:
    """What was left out, and why."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._reasons: list[str] = []
        self.left_out: list[tuple[dict[str, Any], str]] = []
        """The parameters of each test, and why it is not run."""

    @pytest.hookimpl(trylast=True)  # after what -k and -m leave out
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if os.environ.get(REQUIRE) == "1":
            return
        left_out = [item for item in items if self._cannot(item)]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]

    def _cannot(self, item: pytest.Item) -> bool:
        from mqbridge_conformance.brokers.provided import unavailable

        found = {engine: reason for engine, own in _needs(item) if (reason := unavailable(engine, own=own))}
        for engine, reason in found.items():
            self._counts[engine] = self._counts.get(engine, 0) + 1
            if reason not in self._reasons:
                self._reasons.append(reason)
        if found:
            self.left_out.append((_params(item), "; ".join(dict.fromkeys(found.values()))))
        return bool(found)

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # the outermost: what it says comes after all other sections
    def pytest_terminal_summary(self, terminalreporter: Any) -> Any:
        result = yield
        if self._counts:
            counts = ", ".join(f"{engine} {count}" for engine, count in sorted(self._counts.items()))
            why = "; ".join([*self._reasons, "see mqbridge doctor"])
            terminalreporter.write_line(f"NOT RUN: {counts} ({why})", yellow=True)
        return result


def left_out(config: pytest.Config) -> list[tuple[dict[str, Any], str]]:
    """The parameters of each test that is not run for want of a broker, and why."""
    found: NotRun | None = config.pluginmanager.get_plugin(_NAME)
    return found.left_out if found is not None else []


def _params(item: pytest.Item) -> dict[str, Any]:
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def _needs(item: pytest.Item) -> list[tuple[str, bool]]:
    """The brokers that a test will ask for: by its fixtures, by a parameter that is the name of one, or by the
    conformance target that it runs on."""
    params = _params(item)
    names = [*getattr(item, "fixturenames", ()), *(value for value in params.values() if isinstance(value, str))]
    needs = [_FIXTURES[name] for name in names if name in _FIXTURES]
    if "mq_target" not in params:
        return needs
    target, scenario = params["mq_target"], params["mq_scenario"]
    if target.container_of is None:
        return needs
    # What the environment names serves none of these: clusters, brokers that may be stopped, and a secured Kafka.
    secured = scenario.users and target.container_of == "kafka"
    return [*needs, (target.container_of, target.own or target.nodes or scenario.own_broker or secured)]
