"""Saboteurs of what a message carries: its value, key, headers, times, and where it goes.

The rule: each is a channel that changes one thing of a message before the engine sees it.
"""

from __future__ import annotations

import secrets
from typing import Final

from mqbridge_conformance.saboteurs.passing import Message, PassingChannel

__all__ = [
    "DamagesPayloads",
    "EmptiesNull",
    "ExpiresEarly",
    "ForgetsTimestamps",
    "IgnoresDelay",
    "IgnoresExpiry",
    "IgnoresPriority",
    "KeepsOneHeaderAName",
    "LosesHeaders",
    "LosesKeys",
    "Misplaces",
    "WritesAtOpening",
]

LIBRARY: Final = "mqbridge-"
"""How the names of the library's own headers begin."""


class LosesHeaders(PassingChannel):
    """M26: the sender's headers are lost."""

    def take(self, message: Message) -> int:
        kept = tuple(pair for pair in message.headers or () if pair[0].startswith(LIBRARY))
        if len(kept) != len(message.headers or ()) and self.strikes.here(self.destination, value=message.value):
            message = message._replace(headers=kept or None)
        return self.put(message)


class KeepsOneHeaderAName(PassingChannel):
    """S68: of several headers of one name the last one is kept."""

    def take(self, message: Message) -> int:
        kept = tuple(dict(message.headers or ()).items())
        if len(kept) != len(message.headers or ()) and self.strikes.here(self.destination, value=message.value):
            message = message._replace(headers=kept)
        return self.put(message)


class ForgetsTimestamps(PassingChannel):
    """M26b: the sender's timestamp is lost, and the time of arrival stands in its place."""

    def take(self, message: Message) -> int:
        if message.timestamp_ms is not None and self.strikes.here(self.destination, value=message.value):
            message = message._replace(timestamp_ms=None)
        return self.put(message)


class EmptiesNull(PassingChannel):
    """M26c: a null value becomes an empty one."""

    def take(self, message: Message) -> int:
        if message.value is None and self.strikes.here(self.destination, key=message.key):
            message = message._replace(value=b"")
        return self.put(message)


class ExpiresEarly(PassingChannel):
    """M33: a message that is to expire does so after a quarter of its time."""

    def take(self, message: Message) -> int:
        extras = message.extras
        if extras is not None and extras.expires_in_ms and self.strikes.here(self.destination, value=message.value):
            message = message._replace(extras=extras._replace(expires_in_ms=max(1, extras.expires_in_ms // 4)))
        return self.put(message)


class LosesKeys(PassingChannel):
    """S03: a key is lost."""

    def take(self, message: Message) -> int:
        if message.key is not None and self.strikes.here(self.destination, key=message.key):
            message = message._replace(key=None)
        return self.put(message)


class DamagesPayloads(PassingChannel):
    """S01: one bit in the middle of a value is turned."""

    def take(self, message: Message) -> int:
        if message.value and self.strikes.here(self.destination, value=message.value):
            middle = len(message.value) // 2
            turned = bytes((message.value[middle] ^ 1,))
            message = message._replace(value=message.value[:middle] + turned + message.value[middle + 1 :])
        return self.put(message)


class WritesAtOpening(PassingChannel):
    """S54: a topic or queue that is opened to be sent to gets a message that nobody sent."""

    def opened(self) -> None:
        if self.destination.kind != "exchange" and self.strikes.here(self.destination):
            with self.lock:
                self.put_as(None, Message(b"nobody sent this", None, None, None, secrets.token_hex(8), None))
            self.inner.seal()


class Misplaces(PassingChannel):
    """S02: a message goes to another destination of its kind, to which its producer sends too."""

    def take(self, message: Message) -> int:
        here = self.destination
        others = [one for one in self.siblings if one.destination.kind == here.kind and one.destination != here]
        if not others or not self.strikes.draw() or not _appended(others[-1], message):
            return self.put(message)
        number = self.number()
        self.strikes.struck(here, went=str(others[-1].destination), value=message.value)
        self.outer.confirmed(number, 1, None, None)
        return number


def _appended(channel: PassingChannel, message: Message) -> bool:
    if not channel.lock.acquire(blocking=False):  # its own thread may wait for ours
        return False
    try:
        return channel.put_as(None, message)
    finally:
        channel.lock.release()
        channel.inner.seal()


class IgnoresDelay(PassingChannel):
    """S06: a message that is to come later comes now."""

    def take(self, message: Message) -> int:
        extras = message.extras
        if extras is not None and extras.delay_ms and self.strikes.here(self.destination, value=message.value):
            message = message._replace(extras=extras._replace(delay_ms=None))
        return self.put(message)


class IgnoresPriority(PassingChannel):
    """S07: a priority is lost."""

    def take(self, message: Message) -> int:
        extras = message.extras
        if extras is not None and extras.priority and self.strikes.here(self.destination, value=message.value):
            message = message._replace(extras=extras._replace(priority=None))
        return self.put(message)


class IgnoresExpiry(PassingChannel):
    """S08: a message that is to expire stays."""

    def take(self, message: Message) -> int:
        extras = message.extras
        if extras is not None and extras.expires_in_ms and self.strikes.here(self.destination, value=message.value):
            message = message._replace(extras=extras._replace(expires_in_ms=None))
        return self.put(message)
