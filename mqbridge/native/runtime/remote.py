"""A session on the broker of another process: the client's end of the socket.

The rule: a call writes its frame in the caller's thread and never waits for room; what the socket does not
take is kept, up to a bound, and flushed by the reader thread. Each call ends exactly once: with its answer,
or with a ConnectionLost that says whether any byte of it had left. What does not belong here: finding a new
host when this one is gone.
"""

from __future__ import annotations

import itertools
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mqbridge import errors
from mqbridge.native.runtime import address, forks, wire
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.links import Args, Done, NoRoom, NoteHandler
from mqbridge.native.runtime.outlet import Outlet, Waker
from mqbridge.native.storage.batches import RecordBatch

_logger = logging.getLogger("mqbridge.native")

MAX_OUTGOING_BYTES = 32 * 1024 * 1024
# Beyond the bound, for calls without batches: messages that wait do not shut out heartbeats, fetches and settlements.
_RESERVE_BYTES = 4 * 1024 * 1024
_RECEIVE_BYTES = 262144
_CLOSE_WAIT_S = 2.0
_LOOK_UP_S = 0.2  # how often a wait for the greeting looks whether it is still wanted


class Hello:
    """What the host said about itself."""

    __slots__ = ("epoch", "pid", "settings", "version")

    def __init__(self, message: dict[str, Any]) -> None:
        self.epoch: int = wire.expect(message, "epoch", int)
        self.pid: int = wire.expect(message, "pid", int)
        self.version: str = wire.expect(message, "version", str)
        self.settings: dict[str, Any] = wire.expect(message, "settings", dict)


class RemoteLink:
    """A session over a connection that was greeted; made by `connect`. See `Link`.

    `on_lost(link, fail_calls)` is called once, on the reader thread, when the connection ends other than by
    `close`: it is to point the session elsewhere and then call `fail_calls`, which ends the calls without an
    answer. When the host said bye these were not applied, for a bye comes after the last answer; otherwise
    they are unknown if a byte had left.
    """

    def __init__(
        self,
        connected: socket.socket,
        reader: wire.FrameReader,
        hello: Hello,
        mailbox: Mailbox,
        on_note: NoteHandler,
        on_lost: Callable[[RemoteLink, Callable[[], None]], None],
        *,
        max_outgoing_bytes: int = MAX_OUTGOING_BYTES,
    ) -> None:
        self.session_epoch = hello.epoch
        self.hello = hello
        self._socket = connected
        self._frames = reader
        self._mailbox = mailbox
        self._on_note = on_note
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._outlet = Outlet(connected, max_outgoing_bytes)
        # Calls without an answer: number -> (operation, position in the stream, completion).
        self._pending: dict[int, tuple[str, int, Done]] = {}
        self._numbers = itertools.count()
        self._closing = False
        self._ended = False
        self._host_left = False
        self._close_by_s: float | None = None
        connected.setblocking(False)
        with forks.guard:
            self._waker = Waker()
            self._selector = selectors.DefaultSelector()
            forks.register(self)
        self._selector.register(connected, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="mqbridge-reader", daemon=True)
        self._thread.start()

    def call(self, op: str, args: Args, batches: Sequence[RecordBatch], done: Done) -> bool:
        """See `Link`. `NoRoom` when the host reads too slowly and the buffer is full."""
        refusal: errors.MqbridgeError | None = None
        wake = False
        number = next(self._numbers)
        try:
            data = wire.encode_frame(
                {"t": "call", "id": number, "op": op, "args": args}, [batch.encode() for batch in batches]
            )
            with self._lock:
                if self._ended or self._closing:
                    refusal = self._lost_error(op, touched=False)
                else:
                    # Before the write: the answer may be there before `put` returns.
                    self._pending[number] = (op, self._outlet.accepted_bytes, done)
                    if self._outlet.put(data, 0 if batches else _RESERVE_BYTES):
                        wake = self._outlet.waiting_bytes > 0
                    else:
                        del self._pending[number]
                        refusal = self._full_error(op)
        except errors.MqbridgeError as error:
            refusal = error
        if refusal is not None:
            self._mailbox.put(done, None, [], refusal)
            self._mailbox.deliver()
        elif wake:
            self._waker.wake()
        return refusal is None

    def close(self, clean: bool = True) -> None:
        """See `Link`. Clean: says bye, then waits up to 2 s for the last answers and the end."""
        with self._lock:
            if self._closing or self._ended:
                clean = False
            self._closing = True
            if clean:
                self._outlet.put(wire.encode_frame({"t": "bye"}), _RESERVE_BYTES)
        self._close_by_s = time.monotonic() + (_CLOSE_WAIT_S if clean else 0.0)
        self._waker.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def ended(self) -> bool:
        """Whether the connection is over."""
        return self._ended

    def abandon_in_child(self) -> None:
        """See `forks`."""
        forks.close_inherited(self._socket.detach())
        self._waker.abandon_in_child()
        forks.close_selector(self._selector)

    def _full_error(self, op: str) -> errors.MqbridgeError:
        return NoRoom(
            f"{self._outlet.waiting_bytes} bytes wait for the host process {self.hello.pid}, which does not take "
            f"them; {op} was not applied: wait for earlier calls to end, then call again"
        )

    def _lost_error(self, op: str, *, touched: bool) -> errors.MqbridgeError:
        happened = "said goodbye" if self._host_left else "was closed" if self._closing else "broke off"
        outcome: errors.Outcome = "unknown" if touched and not self._host_left else "not_applied"
        result = "it may have been applied" if outcome == "unknown" else "it was not applied"
        return errors.ConnectionLost(
            f"the connection to the host process {self.hello.pid} {happened} before {op} had an answer; "
            f"{result}",
            outcome=outcome,
        )

    # What follows runs on the reader thread.

    def _run(self) -> None:
        try:
            # The greeting may have brought more than the greeting.
            going_on = self._take_frames()
            while going_on:
                going_on = self._turn()
        finally:
            self._end()

    def _turn(self) -> bool:
        """One wait and what came of it. False: the connection is over."""
        timeout_s: float | None = None
        with self._lock:
            if self._outlet.broken is None and self._outlet.waiting_bytes:
                interest = selectors.EVENT_READ | selectors.EVENT_WRITE
            else:
                interest = selectors.EVENT_READ
        if self._selector.get_key(self._socket).events != interest:
            self._selector.modify(self._socket, interest)
        if self._close_by_s is not None:
            timeout_s = self._close_by_s - time.monotonic()
            if timeout_s <= 0:
                return False
        for key, mask in self._selector.select(timeout_s):
            if key.fileobj is self._waker:
                self._waker.clear()
                continue
            if mask & selectors.EVENT_WRITE:
                with self._lock:
                    self._outlet.flush()
            if mask & selectors.EVENT_READ and not self._receive():
                return False
        return True

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            # ECONNRESET: the host closed with requests unread. What it sent before was received before.
            return False
        if not data:
            return False
        self._frames.feed(data)
        return self._take_frames()

    def _take_frames(self) -> bool:
        """Deliver the frames that are whole. False when the peer broke the protocol, which ends the
        connection.
        """
        try:
            while (frame := self._frames.next_frame()) is not None:
                self._handle(frame)
        except errors.ConnectionLost as error:
            _logger.warning("the connection to the host is given up: %s", error)
            return False
        return True

    def _handle(self, frame: wire.Frame) -> None:
        message = frame.message
        kind = message["t"]
        if kind in ("reply", "error"):
            number = wire.expect(message, "id", int)
            if kind == "reply":
                reply = wire.expect(message, "reply", dict)
                try:
                    batches = [RecordBatch.decode(batch) for batch in frame.batches]
                except ValueError as error:
                    raise errors.ConnectionLost(f"a batch from the host cannot be read: {error}") from error
                outcome: tuple[Any, ...] = (reply, batches, None)
            else:
                outcome = (None, [], wire.error_from_wire(message.get("error")))
            with self._lock:
                found = self._pending.pop(number, None)
            if found is None:
                raise errors.ConnectionLost(f"the host answered call {number}, which nobody made")
            self._mailbox.put(found[2], *outcome)
        elif kind == "note":
            self._mailbox.put(self._on_note, wire.expect(message, "note", dict))
        elif kind == "bye":
            self._host_left = True
        else:
            raise errors.ConnectionLost(f"the host sent {kind!r}, which a client does not know")
        self._mailbox.deliver()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            sent_bytes = self._outlet.sent_bytes
            pending, self._pending = self._pending, {}
        with forks.guard:
            self._selector.close()
            self._socket.close()
            self._waker.close()
            forks.forget(self)

        def fail_calls() -> None:
            for op, position, done in pending.values():
                self._mailbox.put(done, None, [], self._lost_error(op, touched=sent_bytes > position))
            self._mailbox.deliver()

        if self._closing:
            fail_calls()
        else:
            self._on_lost(self, fail_calls)


@contextmanager
def connect(
    folder: Path, timeout_s: float, version: str, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[tuple[socket.socket, wire.FrameReader, Hello]]:
    """Connect to the host of a folder and greet it; gives what `RemoteLink` takes, to be made inside the
    block.

    The socket is closed if the block raises, and is the link's otherwise. OSError: nobody listens.
    ConfigurationError: the host speaks another protocol. Denied: it belongs to another user. ConnectionLost,
    not applied: it ended while greeting, or took the connection and did not answer in time.
    """
    give_up_s = time.monotonic() + timeout_s
    with forks.guard:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        held = _Held(connected)
    try:
        address.connect(connected, folder, timeout_s)
        yield (connected, *_greet(connected, give_up_s, version, cancelled))
    except BaseException:
        connected.close()
        raise
    finally:
        forks.forget(held)


class _Held:
    """A socket on its way to being a link, for the eyes of a fork."""

    def __init__(self, owned: socket.socket) -> None:
        self.owned = owned
        forks.register(self)

    def abandon_in_child(self) -> None:
        forks.close_inherited(self.owned.detach())


def _greet(
    connected: socket.socket, give_up_s: float, version: str, cancelled: Callable[[], bool]
) -> tuple[wire.FrameReader, Hello]:
    _, uid = address.peer_of(connected)
    if uid is not None and uid != os.geteuid():
        raise errors.Denied(
            "the socket in the folder belongs to a process of another user; nothing was sent to it"
        )
    reader = wire.FrameReader()
    hello: Hello | None = None
    try:
        connected.sendall(wire.encode_frame({"t": "hello", "protocol": wire.PROTOCOL, "version": version}))
    except (BrokenPipeError, ConnectionResetError):
        # It may have refused us before we spoke: what it said is still to be read.
        pass
    while True:
        message = _next_message(connected, reader, give_up_s, cancelled)
        kind = message["t"]
        if kind == "hello":
            theirs = wire.expect(message, "protocol", int)
            if theirs != wire.PROTOCOL:
                raise errors.ConfigurationError(
                    f"the host of this folder is mqbridge {message.get('version')} with protocol {theirs}, this "
                    f"process is mqbridge {version} with protocol {wire.PROTOCOL}; nothing was done: run one version "
                    "on a folder"
                )
            hello = Hello(message)
        elif kind == "welcome" and hello is not None:
            return reader, hello
        elif kind == "refused":
            raise wire.error_from_wire(message.get("error"))
        else:
            raise errors.ConnectionLost(f"the host greeted with {kind!r}", outcome="not_applied")


def _next_message(
    connected: socket.socket, reader: wire.FrameReader, give_up_s: float, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    while (frame := reader.next_frame()) is None:
        left_s = give_up_s - time.monotonic()
        if left_s <= 0:
            raise errors.ConnectionLost(
                "the host took the connection and does not answer", outcome="not_applied"
            )
        if cancelled():
            raise errors.ConnectionLost("closed while waiting for the host's greeting", outcome="not_applied")
        connected.settimeout(min(left_s, _LOOK_UP_S))
        try:
            data = connected.recv(_RECEIVE_BYTES)
        except TimeoutError:
            continue
        except OSError as error:
            raise errors.ConnectionLost(
                f"the host went away while greeting: {error}", outcome="not_applied"
            ) from error
        if not data:
            raise errors.ConnectionLost("the host went away while greeting", outcome="not_applied")
        reader.feed(data)
    return frame.message
