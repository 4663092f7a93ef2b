"""A proxy on 127.0.0.1 (or on a socket file): what it is told to do to the connections, it does to the next byte.

The rule: one thread moves all bytes, and whoever orders a fault holds the lock that it moves them under, so a fault is
in force when the order returns. Bytes are delayed, held back, dropped as whole frames, or cut off with their
connection; they are never changed. What each fault met is counted, so that one that met nothing is known.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Final

from mqbridge_conformance.brokers.links.frames import ANSWER, BOTH, REQUEST, Frame, Framer, Plain, Way
from mqbridge_conformance.results import CannotTell

__all__ = ["CONNECT_S", "Dropping", "Proxy"]

CONNECT_S: Final = 5.0
_READ: Final = 256 * 1024
_MOST_WAITING: Final = 16 * 1024 * 1024
"""Bytes of one way of a connection that may wait here; beyond it the sender waits, as it would for a slow network."""
_RESET: Final = struct.pack("ii", 1, 0)


class Dropping:
    """An order to drop frames of some names on one way, and to cut the connection behind each; see `Proxy.drop`."""

    def __init__(self, way: Way, names: Collection[str], times: int, met: Callable[[Dropping, str], None]) -> None:
        self.way = way
        self.names = names
        self.times = times
        self.dropped = 0
        self.met = met


class _Flow:
    """One way of a connection."""

    def __init__(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        self.way = way
        self.source = source
        self.sink = sink
        self.waiting: deque[tuple[float, Frame]] = deque()
        """Frames and when they may go on."""
        self.waiting_bytes = 0
        self.out = bytearray()
        """What the sink has not taken yet."""
        self.ended = False
        """The source will send no more."""

    @property
    def full(self) -> bool:
        return self.waiting_bytes + len(self.out) >= _MOST_WAITING


class _Pair:
    """A connection of a client, and the one that was made for it."""

    def __init__(self, client: socket.socket, broker: socket.socket, framer: Framer) -> None:
        self.framer = framer
        self.sockets = (client, broker)
        self.flows = (_Flow(REQUEST, client, broker), _Flow(ANSWER, broker, client))
        self.closed = False


class Proxy:
    """Passes on what comes at `listener` to where `connect` leads; `framer` names the frames in between.

    Until `close`; the listener is the proxy's from then on.
    """

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], socket.socket] | None = None,
        framer: type[Framer] = Plain,
    ) -> None:
        self._listener = listener
        self._connect = connect
        self.framer = framer
        self._lock = threading.RLock()
        self._pairs: list[_Pair] = []
        self._refusing = False
        self._stalled: Collection[Way] = ()
        self._delay_s = 0.0
        self._droppings: list[Dropping] = []
        self._counts = {"cut": 0, "held": 0, "late": 0}
        self._failures: list[str] = []
        self._ending = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for waiting in (listener, self._woken):
            waiting.setblocking(False)
            self._selector.register(waiting, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="conformance-proxy", daemon=True)
        self._thread.start()

    @classmethod
    def listen(cls, framer: type[Framer] = Plain) -> Proxy:
        """One at a free port of 127.0.0.1; `lead_to` says where to."""
        return cls(socket.create_server(("127.0.0.1", 0)), None, framer)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def lead_to(self, host: str, port: int) -> None:
        """Where new connections lead."""
        with self._lock:
            self._connect = lambda: socket.create_connection((host, port), CONNECT_S)

    def check(self) -> None:
        """`CannotTell` if clients do not go this way any more."""

    @property
    def refusing(self) -> bool:
        """Is it cut?"""
        return self._refusing

    # --- faults: each is in force when the method returns

    def cut(self) -> None:
        """Reset all connections, and each new one as it comes."""
        with self._changing():
            self._refusing = True
            self._counts["cut"] = 0
            for pair in list(self._pairs):
                self._counts["cut"] += 1
                self._close(pair, reset=True)

    def mend(self) -> dict[str, int]:
        """Let new connections through again; how many were cut or refused."""
        with self._changing():
            self._refusing = False
            return {"cut": self._counts["cut"]}

    def stall(self, ways: Collection[Way] = BOTH) -> None:
        """Pass nothing on that way: the connections stay open, and new ones can be made."""
        with self._changing():
            self._stalled = ways
            self._counts["held"] = sum(
                flow.waiting_bytes + len(flow.out) for pair in self._pairs for flow in pair.flows if flow.way in ways
            )

    def go_on(self) -> dict[str, int]:
        """Pass on what was held back, and all that follows; how many bytes it was."""
        with self._changing():
            self._stalled = ()
            return {"held": self._counts["held"]}

    def delay(self, seconds: float) -> None:
        """Pass every byte on that much later, in order, on both ways."""
        with self._changing():
            self._delay_s = seconds
            self._counts["late"] = 0

    def hurry(self) -> dict[str, int]:
        """Delay nothing that comes from now on; how many bytes were."""
        with self._changing():
            self._delay_s = 0.0
            return {"late": self._counts["late"]}

    def drop(self, way: Way, names: Collection[str], times: int, met: Callable[[Dropping, str], None]) -> Dropping:
        """Drop the next frame of one of these names on that way, and close its connection on both sides behind what
        went before it; `times` times. `met` is told of each, with its name, before anybody can notice."""
        with self._changing():
            dropping = Dropping(way, names, times, met)
            self._droppings.append(dropping)
            return dropping

    def leave(self, dropping: Dropping) -> None:
        """Drop no more for that order."""
        with self._changing():
            if dropping in self._droppings:
                self._droppings.remove(dropping)

    def close(self) -> None:
        """Close all connections and listen no more. `CannotTell` if bytes went through that were no frames."""
        with self._changing():
            self._ending = True
        self._thread.join()
        if self._failures:
            raise CannotTell(f"a proxy could not read what went through it: {'; '.join(self._failures)}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            yield
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake already; closed: it needs no waking
            self._wake.send(b"\0")

    # --- the thread that moves the bytes

    def _run(self) -> None:
        while True:
            events = self._selector.select(self._next_due_s())
            with self._lock:
                if self._ending:
                    break
                for key, _ in events:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._woken:
                        self._woken.recv(4096)
                    elif not key.data.closed:
                        self._read(key.data, key.fileobj)
                for pair in list(self._pairs):
                    self._move(pair)
        self._finish()

    def _next_due_s(self) -> float | None:
        with self._lock:
            due = [
                flow.waiting[0][0]
                for pair in self._pairs
                for flow in pair.flows
                if flow.waiting and flow.way not in self._stalled
            ]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = self._listener.accept()
            if self._refusing or self._connect is None:
                self._counts["cut"] += 1
                _reset(client)
                return
            try:
                broker = self._connect()
            except OSError:  # nobody is there: as it would be without a proxy, as far as a proxy can
                _reset(client)
                return
            pair = _Pair(client, broker, self.framer())
            for end in pair.sockets:
                end.setblocking(False)
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(end, selectors.EVENT_READ, pair)
            self._pairs.append(pair)

    def _read(self, pair: _Pair, end: object) -> None:
        flow = next(flow for flow in pair.flows if flow.source is end)
        if flow.ended or flow.full:
            return
        try:
            data = flow.source.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            flow.ended = True
            return
        if flow.way in self._stalled:
            self._counts["held"] += len(data)
        if self._delay_s:
            self._counts["late"] += len(data)
        try:
            frames = pair.framer.feed(flow.way, data)
        except (ValueError, LookupError, struct.error) as error:
            self._failures.append(str(error))
            self._close(pair)
            return
        due_s = time.monotonic() + self._delay_s
        flow.waiting.extend((due_s, frame) for frame in frames)
        flow.waiting_bytes += sum(len(frame.data) for frame in frames)

    def _move(self, pair: _Pair) -> None:
        """Pass on what may go on, and say what is waited for next."""
        for flow in pair.flows:
            if pair.closed:
                return
            if flow.way not in self._stalled:
                self._pass_on(pair, flow)
        if pair.closed:
            return
        if any(self._over(flow) for flow in pair.flows):
            self._close(pair)
            return
        for end in pair.sockets:
            inward, outward = self._flows_of(pair, end)
            wanted = 0 if inward.ended or inward.full else selectors.EVENT_READ
            if outward.out and outward.way not in self._stalled:
                wanted |= selectors.EVENT_WRITE
            self._watch(end, wanted, pair)

    def _pass_on(self, pair: _Pair, flow: _Flow) -> None:
        now_s = time.monotonic()
        while flow.waiting and flow.waiting[0][0] <= now_s:
            _, frame = flow.waiting.popleft()
            flow.waiting_bytes -= len(frame.data)
            dropping = next((d for d in self._droppings if d.way == flow.way and frame.name in d.names), None)
            if dropping is not None:
                self._drop(dropping, frame.name)
                self._send(flow)
                self._close(pair)
                return
            flow.out += frame.data
        if not self._send(flow):
            self._close(pair)

    def _drop(self, dropping: Dropping, name: str) -> None:
        dropping.dropped += 1
        if dropping.dropped == dropping.times:
            self._droppings.remove(dropping)
        dropping.met(dropping, name)

    @staticmethod
    def _send(flow: _Flow) -> bool:
        """As much as the sink takes; False if it takes no more at all."""
        try:
            while flow.out:
                del flow.out[: flow.sink.send(flow.out)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _over(self, flow: _Flow) -> bool:
        """Its source has ended, and all of it was passed on; on a stalled way even the end is not passed on."""
        return flow.ended and not flow.waiting and not flow.out and flow.way not in self._stalled

    @staticmethod
    def _flows_of(pair: _Pair, end: socket.socket) -> tuple[_Flow, _Flow]:
        """The flow that comes from this end, and the one that goes to it."""
        first, second = pair.flows
        return (first, second) if first.source is end else (second, first)

    def _watch(self, end: socket.socket, wanted: int, pair: _Pair) -> None:
        known = self._selector.get_map().get(end)
        if known is None:
            if wanted:
                self._selector.register(end, wanted, pair)
        elif not wanted:
            self._selector.unregister(end)
        elif known.events != wanted:
            self._selector.modify(end, wanted, pair)

    def _close(self, pair: _Pair, *, reset: bool = False) -> None:
        pair.closed = True
        self._pairs.remove(pair)
        for end in pair.sockets:
            if end in self._selector.get_map():
                self._selector.unregister(end)
            if reset:
                _reset(end)
            else:
                end.close()

    def _finish(self) -> None:
        with self._lock:
            for pair in list(self._pairs):
                self._close(pair)
            self._selector.close()
            for owned in (self._listener, self._wake, self._woken):
                owned.close()


def _reset(end: socket.socket) -> None:
    """Close it so that the other side hears of a reset, not of an orderly end."""
    if end.family != socket.AF_UNIX:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    end.close()
