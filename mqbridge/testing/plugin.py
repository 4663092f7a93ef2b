"""Fixtures for an application's tests, found by pytest through the entry point ``pytest11``.

The rule: a test run that asks for none of these fixtures notices nothing: no option, no hook, and no import but
pytest's and mqbridge's, which needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mqbridge import Bus
    from mqbridge.testing import VirtualClock


@pytest.fixture
def mq_clock() -> VirtualClock:
    """A `VirtualClock`; a test that asks for it and for `mq_bus` has a bus on this clock."""
    from mqbridge.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def mq_bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A private bus in memory, closed after the test; on `mq_clock` if the test asks for that too."""
    from mqbridge.testing import embedded

    clock = request.getfixturevalue("mq_clock") if "mq_clock" in request.fixturenames else None
    with embedded(clock) as bus:
        yield bus
