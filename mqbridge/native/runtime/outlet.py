"""Bytes on their way into a non-blocking socket: written at once while there is room, else kept in order, up
to a bound.

The rule: it never waits and never takes a lock; its owner serialises the calls and flushes when the socket is
writable.
"""

from __future__ import annotations

import os
import socket
from collections import deque


class Outlet:
    """The outgoing half of a connection.

    `accepted_bytes` and `sent_bytes` are positions in the stream: what was accepted at position p has touched
    the socket if and only if `sent_bytes > p`. `broken` is the OSError of a write that failed; from then on
    nothing leaves.
    """

    __slots__ = ("_held", "_limit_bytes", "_parts", "_socket", "accepted_bytes", "broken", "sent_bytes")

    def __init__(self, connected: socket.socket, limit_bytes: int) -> None:
        self._socket = connected
        self._limit_bytes = limit_bytes
        self._parts: deque[memoryview] = deque()
        self._held = False
        self.accepted_bytes = 0
        self.sent_bytes = 0
        self.broken: OSError | None = None

    @property
    def waiting_bytes(self) -> int:
        """Accepted, and not in the socket yet."""
        return self.accepted_bytes - self.sent_bytes

    def put(self, data: bytes, reserve_bytes: int = 0) -> bool:
        """Write or keep `data`. False, and nothing is kept, when what waits already leaves no room for it, not even
        with `reserve_bytes` on top of the bound.

        One piece is accepted into an empty buffer whatever its size: the frame's own bound holds there.
        """
        waiting_bytes = self.accepted_bytes - self.sent_bytes
        if waiting_bytes and waiting_bytes + len(data) > self._limit_bytes + reserve_bytes:
            return False
        self.accepted_bytes += len(data)
        self._parts.append(memoryview(data))
        if not waiting_bytes and not self._held:
            self.flush()
        return True

    def hold(self) -> None:
        """Keep what comes until `release`, so that many small answers leave in one write."""
        self._held = True

    def release(self) -> None:
        """Undo `hold` and write."""
        self._held = False
        self.flush()

    def flush(self) -> None:
        """Write as much as the socket takes."""
        parts = self._parts
        while parts and self.broken is None:
            if len(parts) > 1 and len(parts[0]) < 65536:
                _join_small(parts)
            try:
                written = self._socket.send(parts[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.broken = error
                return
            self.sent_bytes += written
            if written == len(parts[0]):
                parts.popleft()
            else:
                parts[0] = parts[0][written:]


def _join_small(parts: deque[memoryview]) -> None:
    joined: list[memoryview] = []
    size_bytes = 0
    while parts and size_bytes + len(parts[0]) <= 262144:
        size_bytes += len(parts[0])
        joined.append(parts.popleft())
    if joined:
        parts.appendleft(memoryview(b"".join(joined)))


class Waker:
    """Wakes a thread that waits in a selector. Wakes that were not seen yet count once."""

    __slots__ = ("_reader", "_writer")

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """What the selector watches for reading."""
        return self._reader.fileno()

    def wake(self) -> None:
        """From any thread. A full pipe means that the waker has been pulled already; a closed one, that
        nobody waits.
        """
        try:
            self._writer.send(b"\0")
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            return

    def clear(self) -> None:
        """Take the wakes; by the waiting thread, before it looks at what it was woken for."""
        try:
            while len(self._reader.recv(4096)) == 4096:
                pass
        except (BlockingIOError, InterruptedError):
            return

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()

    def abandon_in_child(self) -> None:
        """See `forks`."""
        for end in (self._reader, self._writer):
            fd = end.detach()
            if fd >= 0:
                os.close(fd)
