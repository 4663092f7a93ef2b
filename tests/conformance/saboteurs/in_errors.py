"""A broken portable layer: errors that are not raised, promises of closing that are not kept.

The rule: see `in_engine`.
"""

from __future__ import annotations

from typing import Any

from mqbridge import admin, hooks
from mqbridge.bus import Bus
from mqbridge.capabilities import Capabilities
from mqbridge.consumer import BaseConsumer
from mqbridge.producer import Producer
from tests.conformance.saboteurs.breaking import Row, around
from tests.conformance.saboteurs.in_engine import nothing_refused


def _nothing(original: Any, *args: Any, **options: Any) -> None:
    return


def _waits_its_turn(enter: Any, self: BaseConsumer[Any]) -> None:
    self._polling.acquire()


def _routing_key_dropped(extras: Any, self: Producer, route: Any, routing_key: str, *rest: Any) -> Any:
    return extras(self, route, routing_key if route.destination.kind == "exchange" else "", *rest)


def _no_limit(init: Any, self: Producer, *args: Any) -> None:
    init(self, *args)
    self._max_bytes = 1 << 40


def _nothing_given_back(run: Any, self: BaseConsumer[Any], kind: Any, fn: Any, timeout: float = 30.0) -> None:
    run(self, kind, fn, timeout)


def _deaf_for_settled(fan_out: Any, listeners: Any, name: str) -> Any:
    return None if name == "settled" else fan_out(listeners, name)


SABOTEURS: list[Row] = [
    *(
        (name, "does not refuse what it has not", around(Bus, "require", _nothing), "memory", "no error, but None")
        for name in ("passwords", "permissions", "tls", "acks-leader", "acks-none", "read-committed")
    ),
    (
        "emulation-forbidden",
        "emulates anyway",
        around(Capabilities, "need", nothing_refused),
        "memory",
        "asked for by require.*no error",
    ),
    ("closed-objects", "works when closed", around(Bus, "_check_open", _nothing), "memory", "by a closed bus"),
    (
        "concurrent-use",
        "lets a second thread wait",
        around(BaseConsumer, "_enter", _waits_its_turn),
        "memory",
        "what a second thread is told",
    ),
    (
        "bad-specifications",
        "drops a routing key",
        around(Producer, "_extras", _routing_key_dropped),
        "memory",
        "a routing key for a queue: no error",
    ),
    ("too-large", "has no limit", around(Producer, "__init__", _no_limit), "memory", "whose value is too large"),
    ("mismatch", "sees no difference", around(admin, "diff", lambda *_: ()), "memory", "ensuring .*: no error"),
    (
        "escape-hatch",
        "gives nothing back",
        around(BaseConsumer, "run_on_client", _nothing_given_back),
        "memory",
        "gives back None",
    ),
    ("hooks", "tells nobody of settling", around(hooks, "_fan_out", _deaf_for_settled), "memory", "the hook heard"),
]
