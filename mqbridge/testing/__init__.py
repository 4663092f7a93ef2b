"""Testing an application without a broker beside it: time that a test moves, failures that a test orders.

Everything here is the public API on the native engine in memory; nothing of it pretends to be a broker. Standard
library alone; the pytest plugin is in `mqbridge.testing.plugin` and is found by pytest itself.
"""

from mqbridge.testing.clock import VirtualClock
from mqbridge.testing.conditions import wait_until
from mqbridge.testing.embedding import embedded, fail_next
from mqbridge.testing.recorder import HookEvent, Recorder

__all__ = ["HookEvent", "Recorder", "VirtualClock", "embedded", "fail_next", "wait_until"]
