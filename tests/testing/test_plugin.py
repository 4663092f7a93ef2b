"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mqbridge

pytest_plugins = ["pytester"]

ROOT = Path(mqbridge.__file__).parent.parent


@pytest.fixture
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytest that loads this plugin by name, and those of the environment not at all."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return pytester


def test_a_test_gets_a_bus_of_its_own_and_a_clock_if_it_asks(alone: pytest.Pytester) -> None:
    """Two tests do not see each other's queues; with the clock asked for, time stands until it is moved."""
    alone.makepyfile(
        """
        import mqbridge as mq

        def test_one(mq_bus):
            mq_bus.admin.ensure(mq.Queue("jobs"))
            assert len(mq_bus.admin.list_queues()) == 2

        def test_two(mq_bus):
            assert mq_bus.admin.list_queues() == []

        def test_three(mq_clock, mq_bus):
            jobs = mq.Queue("jobs", message_ttl_s=1)
            mq_bus.admin.ensure(jobs)
            with mq_bus.producer() as producer:
                producer.send(jobs, b"x").result(5)
            assert mq_bus.admin.depth(jobs) == 1
            mq_clock.advance(1)
            assert mq_bus.admin.depth(jobs) == 0
        """
    )
    alone.runpytest_subprocess("-p", "mqbridge.testing.plugin", "-W", "error").assert_outcomes(passed=3)


def test_the_plugin_is_inert_where_it_is_not_asked_for(alone: pytest.Pytester) -> None:
    """With the plugin loaded, a test that uses no fixture of it finds no engine imported and no thread started."""
    alone.makepyfile(
        """
        import sys, threading

        def test_nothing():
            assert not [name for name in sys.modules if name.startswith("mqbridge.native")]
            assert threading.active_count() == 1
        """
    )
    alone.runpytest_subprocess("-p", "mqbridge.testing.plugin", "-W", "error").assert_outcomes(passed=1)


def test_the_module_needs_nothing_but_pytest_and_this_library() -> None:
    """Importing it brings in no third-party package that pytest does not bring."""
    code = (
        "import sys, pytest; before = set(sys.modules); import mqbridge.testing.plugin\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'mqbridge'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
