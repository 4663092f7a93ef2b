"""A native bus in memory for a test, whose sends, commits and settlements can be made to fail; and any bus whose engine
is decorated.

The rule: the bus is the real one and so is the engine; the one thing added is a decorator, of which that of failing.py
does nothing until it is asked to. What does not belong here: a fake of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from mqbridge.bus import Bus
from mqbridge.capabilities import EmulationMode
from mqbridge.engines import open_url
from mqbridge.errors import ConfigurationError, InvalidSpec, MqbridgeError
from mqbridge.hooks import HookSet
from mqbridge.spi import Clock, Engine
from mqbridge.testing.failing import FailableEngine, Failures

__all__ = ["embedded", "fail_next"]

CONNECT_TIMEOUT_S = 10.0
OPERATION_TIMEOUT_S = 30.0


def embedded(
    clock: Clock | None = None,
    *,
    name: str | None = None,
    hooks: Iterable[Any] = (),
    emulation: EmulationMode = "allow",
    **options: Any,
) -> Bus:
    """A bus on a native broker in memory: private, or shared within the process by those that give the same `name`.

    `clock` is a `VirtualClock` or nothing (real time); buses that share a broker share its clock. `options` are the
    native engine's, for instance ``segment_bytes=1024``. Close it, or use it as a context manager.
    """
    if clock is not None:
        options["clock"] = clock
    if name is not None:
        options["name"] = name
    return decorated(FailableEngine, "native:", options=options, emulation=emulation, hooks=hooks)


def decorated(
    decorate: Callable[[Engine], Engine],
    url: str,
    *,
    options: Mapping[str, Any] | None = None,
    emulation: EmulationMode = "allow",
    hooks: Iterable[Any] = (),
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    operation_timeout_s: float = OPERATION_TIMEOUT_S,
) -> Bus:
    """What `mqbridge.connect` gives, with the engine of the URL wrapped in a decorator: a recorder, a broken one."""
    engine, parsed, merged = open_url(url, options)
    return Bus(
        decorate(engine), parsed, merged, emulation, HookSet(hooks), connect_timeout_s, operation_timeout_s
    )


def fail_next(
    bus: Bus, n: int, error: MqbridgeError, what: Literal["send", "commit", "settle"] = "send"
) -> None:
    """Make the next `n` operations of this `embedded` bus fail with `error`; nothing of them reaches the broker.

    ``send``: messages, each one that `send` or `send_many` takes; its receipt ends with the error. ``commit``:
    commits of topic offsets, each of which may carry many. ``settle``: batches of verbs on queue deliveries; the
    deliveries stay with their consumer at the broker until it closes. Each failure is a copy of `error`, whose
    `outcome` is told as it is: give it ``outcome="unknown"`` to see what a program does then.
    """
    if n < 1:
        raise ConfigurationError(f"fail_next() takes a count of 1 or more, not {n!r}")
    if not isinstance(error, MqbridgeError):
        raise ConfigurationError(
            f"fail_next() takes an error of mqbridge.errors, which is all an engine ever reports, not {error!r}"
        )
    try:
        failures = bus.unwrap(Failures)
    except InvalidSpec as refusal:
        raise ConfigurationError(
            f"{bus!r} cannot be made to fail: only a bus made by mqbridge.testing.embedded() can"
        ) from refusal
    failures.arm(what, n, error)
