"""A function on a thread of its own, whose result is a completion.

The rule of this room: whatever has to wait for a broker step by step (administering, opening a queue) is written as
plain steps and waits here, so that the caller's thread never does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from confluent_kafka import KafkaException

from mqbridge.errors import MqbridgeError, OperationTimeout
from mqbridge.spi import Completion
from mqbridge_kafka.errors import ENGINE, translate

T = TypeVar("T")


def aside(what: str, done: Completion[T], fn: Callable[[], T | None]) -> None:
    """Run `fn` on a thread of its own; complete with its result, or with what it raised, translated as `what`."""

    def run() -> None:
        try:
            result = fn()
        except FutureTimeout as error:
            late = OperationTimeout(
                f"{what}: the brokers did not answer in time. It may have been applied; look before you repeat it.",
                outcome="unknown",
                engine=ENGINE,
            )
            late.__cause__ = error
            done(None, error if isinstance(error, MqbridgeError) else late)
        except (MqbridgeError, KafkaException, RuntimeError) as error:  # the last is a client's, about its state
            done(None, translate(error, what))
        else:
            done(result, None)

    threading.Thread(target=run, name="mqbridge-kafka-aside", daemon=True).start()
