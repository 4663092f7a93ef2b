"""The process that has the broker, as seen by the others: a socket in the folder, one selector thread for all
of them.

The rule: a client can harm nobody but itself. What it sends is bounded and checked; what it does not read is
bounded too and then costs it the connection; its end, however it comes, ends its session: `bye` first is a
clean end.

A client that is stopped (SIGSTOP), not dead, keeps its connection: the kernel takes bytes for it until a
buffer is full. Group members are found by the heartbeats that groups have; a stopped queue consumer keeps its
unsettled messages until its process goes on or ends, as it would on a broker without heartbeats. There is no
ping on this socket.

What does not belong here: what an operation means, who owns the folder, taking over.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mqbridge import errors
from mqbridge.native.runtime import address, forks, wire
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.local import LocalBroker
from mqbridge.native.runtime.outlet import Outlet, Waker
from mqbridge.native.storage.batches import RecordBatch

_logger = logging.getLogger("mqbridge.native")

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
# Above this much unread output a client's further requests wait in its socket: its own back-pressure.
_PAUSE_READING_BYTES = 4 * 1024 * 1024
_RECEIVE_BYTES = 262144
_ACCEPT_PAUSE_S = 0.5
_CLOSE_FLUSH_S = 2.0


class _Client:
    """One connection. Written to by any thread under `lock`; all else belongs to the selector thread."""

    __slots__ = (
        "closed",
        "cut",
        "interest",
        "left",
        "lock",
        "mailbox",
        "outlet",
        "queued",
        "reader",
        "session",
        "socket",
    )

    def __init__(self, connected: socket.socket, max_frame_bytes: int, max_output_bytes: int) -> None:
        self.socket = connected
        self.reader = wire.FrameReader(max_frame_bytes)
        self.outlet = Outlet(connected, max_output_bytes)
        self.lock = threading.Lock()
        self.mailbox = Mailbox()
        self.session: int | None = None
        self.interest = selectors.EVENT_READ
        self.closed = False
        self.cut: str | None = None  # why the selector thread is to end it
        self.queued = False  # for the selector thread's attention
        self.left = False  # said bye

    def send(self, data: bytes) -> bool:
        """Write or keep. True when the selector thread has to be told to look at this client."""
        with self.lock:
            if self.closed:
                return False
            if self.cut is None and not self.outlet.put(data):
                self.cut = f"it does not read: {self.outlet.waiting_bytes} bytes wait for it"
            if self.queued or not (self.cut or self.outlet.waiting_bytes):
                return False
            self.queued = True
            return True


class HostServer:
    """Serves a LocalBroker to other processes of the same user through the socket in `folder`.

    The caller holds the folder's lock for as long as the server lives; `still_ours` says whether the path leads to what
    it locked: if not, the socket there is another host's. `close` says bye to the clients, so
    that they know what was not applied and take over at once; `kill` cuts them off, as the death of the
    process would.
    """

    def __init__(
        self,
        broker: LocalBroker,
        folder: Path,
        *,
        epoch: int,
        version: str,
        settings: dict[str, Any] | None = None,
        on_failure: Callable[[BaseException], None] = lambda failure: None,
        still_ours: Callable[[], bool] = lambda: True,
        max_frame_bytes: int = wire.MAX_FRAME_BYTES,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> None:
        self._broker = broker
        self._on_failure = on_failure
        self._still_ours = still_ours
        self._folder = folder
        self._max_frame_bytes = max_frame_bytes
        self._max_output_bytes = max_output_bytes
        self._hello = wire.encode_frame(
            {
                "t": "hello",
                "protocol": wire.PROTOCOL,
                "version": version,
                "epoch": epoch,
                "pid": os.getpid(),
                "settings": settings or {},
            }
        )
        self._version = version
        self._clients: dict[int, _Client] = {}
        self._attention: deque[_Client] = deque()
        self._ending: str | None = None  # None, "close" or "kill"
        self._accept_again_s: float | None = None
        with forks.guard:
            self._listener = address.listen(folder)
            self._waker = Waker()
            self._selector = selectors.DefaultSelector()
            forks.register(self)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="mqbridge-host", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting, answer nothing more, say bye, give what is written a moment to leave, remove the
        socket.
        """
        self._end("close")

    def kill(self) -> None:
        """Cut all connections off without a bye and remove the socket."""
        self._end("kill")

    def abandon_in_child(self) -> None:
        """See `forks`."""
        for owned in (self._listener, *(client.socket for client in self._clients.values())):
            forks.close_inherited(owned.detach())
        self._waker.abandon_in_child()
        forks.close_selector(self._selector)

    def _end(self, how: str) -> None:
        if self._ending is None:
            self._ending = how
        self._waker.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # What follows runs on the selector thread.

    def _run(self) -> None:
        try:
            while self._ending is None:
                self._turn()
        except Exception as failure:
            # Clients must see an end and the folder get another host, though this process lives on.
            _logger.critical("the thread of the native host failed", exc_info=failure)
            self._ending = "kill"
            self._finish()
            self._on_failure(failure)
        else:
            self._finish()

    def _turn(self) -> None:
        for key, mask in self._selector.select(self._accept_pause_s()):
            owner = key.fileobj
            if owner is self._waker:
                self._waker.clear()
            elif owner is self._listener:
                self._accept()
            else:
                client: _Client = key.data
                if mask & selectors.EVENT_WRITE and not client.closed:
                    self._flush(client)
                if mask & selectors.EVENT_READ and not client.closed:
                    self._receive(client)
        self._attend()

    def _accept_pause_s(self) -> float | None:
        if self._accept_again_s is None:
            return None
        left_s = self._accept_again_s - time.monotonic()
        if left_s <= 0:
            self._accept_again_s = None
            self._selector.register(self._listener, selectors.EVENT_READ)
            return None
        return left_s

    def _accept(self) -> None:
        try:
            with forks.guard:
                connected, _ = self._listener.accept()
                connected.setblocking(False)
                client = _Client(connected, self._max_frame_bytes, self._max_output_bytes)
                self._clients[connected.fileno()] = client
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors, most likely. The listener stays readable, so look away for a moment.
            _logger.warning("the native host cannot accept a connection: %s", error)
            self._selector.unregister(self._listener)
            self._accept_again_s = time.monotonic() + _ACCEPT_PAUSE_S
            return
        self._selector.register(connected, client.interest, client)
        pid, uid = address.peer_of(connected)
        if uid is not None and uid != os.geteuid():
            _logger.warning("process %s of user %s was refused by the native host", pid, uid)
            denied = errors.Denied(f"the native host belongs to another user; process {pid} was refused")
            client.send(wire.encode_frame({"t": "refused", "error": wire.error_to_wire(denied)}))
            self._drop(client, "another user")

    def _receive(self, client: _Client) -> None:
        try:
            data = client.socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._drop(client, str(error))
            return
        if not data:
            self._drop(client, "the connection ended")
            return
        client.reader.feed(data)
        with client.lock:
            client.outlet.hold()
        try:
            while not client.closed and (frame := client.reader.next_frame()) is not None:
                self._handle(client, frame)
        except errors.MqbridgeError as error:
            _logger.warning("a client of the native host is cut off: %s", error)
            self._drop(client, "it broke the protocol")
        except Exception:
            _logger.exception("the native host failed over what a client sent, which is cut off")
            self._drop(client, "a fault of the host")
        if not client.closed:
            with client.lock:
                client.outlet.release()
            self._attention.append(client)

    def _handle(self, client: _Client, frame: wire.Frame) -> None:
        message = frame.message
        kind = message["t"]
        if client.session is None:
            self._greet(client, message)
        elif kind == "call":
            number = wire.expect(message, "id", int)
            op, args = wire.expect(message, "op", str), wire.expect(message, "args", dict)
            done = partial(self._answer, client, number)
            try:
                batches = [RecordBatch.decode(batch) for batch in frame.batches]
            except ValueError as error:
                refusal = errors.Rejected(f"a batch of {op} cannot be read: {error}; nothing was applied")
                client.mailbox.put(done, None, [], refusal)
                client.mailbox.deliver()
                return
            self._broker.call(client.session, op, args, batches, client.mailbox, done)
        elif kind == "bye":
            client.left = True
            self._drop(client, "bye")
        else:
            raise errors.ConnectionLost(f"a client sent {kind!r}, which a host does not know")

    def _greet(self, client: _Client, message: dict[str, Any]) -> None:
        if message["t"] != "hello":
            raise errors.ConnectionLost(f"a client began with {message['t']!r} instead of hello")
        # The hello comes first in any case: it tells the other side which protocol to complain about.
        client.send(self._hello)
        theirs = wire.expect(message, "protocol", int)
        if theirs != wire.PROTOCOL:
            _logger.warning(
                "a client with protocol %d was refused, this host speaks %d", theirs, wire.PROTOCOL
            )
            self._drop(client, "another protocol")
            return
        try:
            client.session = self._broker.open_session(client.mailbox, partial(self._note, client))
        except errors.MqbridgeError as error:
            client.send(wire.encode_frame({"t": "refused", "error": wire.error_to_wire(error)}))
            self._drop(client, "no session")
            return
        client.send(wire.encode_frame({"t": "welcome"}))

    def _flush(self, client: _Client) -> None:
        with client.lock:
            client.outlet.flush()
        self._attention.append(client)

    def _attend(self) -> None:
        """Bring the selector into line with the clients that were written to."""
        while self._attention:
            client = self._attention.popleft()
            if client.closed:
                continue
            with client.lock:
                client.queued = False
                cut, broken = client.cut, client.outlet.broken
                waiting_bytes = client.outlet.waiting_bytes
            if cut is not None:
                _logger.error("a client of the native host is cut off: %s", cut)
                self._drop(client, cut)
            else:
                self._watch(client, waiting_bytes if broken is None else 0)

    def _watch(self, client: _Client, waiting_bytes: int) -> None:
        # After a failed write reading goes on until the end: what the client sent before, its bye perhaps,
        # counts.
        interest = 0 if waiting_bytes > _PAUSE_READING_BYTES else selectors.EVENT_READ
        if waiting_bytes:
            interest |= selectors.EVENT_WRITE
        if interest != client.interest:
            self._selector.modify(client.socket, interest, client)
            client.interest = interest

    def _drop(self, client: _Client, reason: str) -> None:
        """End a connection and its session."""
        if client.closed:
            return
        _logger.debug("connection to the native host ended: %s", reason)
        with client.lock:
            client.outlet.release()
            client.closed = True
            self._selector.unregister(client.socket)
            with forks.guard:
                del self._clients[client.socket.fileno()]
                client.socket.close()
        if client.session is not None:
            try:
                self._broker.close_session(client.session, client.left)
            except errors.MqbridgeError as error:
                _logger.warning("what a client of the native host held could not be given back: %s", error)

    def _finish(self) -> None:
        with forks.guard:
            self._selector.close()
            self._listener.close()
        if self._ending == "close":
            self._say_bye()
        for client in list(self._clients.values()):
            with client.lock:
                client.closed = True
                client.socket.close()
            if self._ending == "close" and client.session is not None:
                try:
                    # Handed over, not failed: what the client holds is not counted as an attempt.
                    self._broker.close_session(client.session, True)
                except errors.MqbridgeError as error:
                    _logger.warning(
                        "what a client of the native host held could not be given back: %s", error
                    )
        self._clients.clear()
        if self._still_ours():
            (self._folder / address.SOCKET_NAME).unlink(missing_ok=True)
        self._waker.close()
        forks.forget(self)

    def _say_bye(self) -> None:
        """Every answer given so far precedes the bye; so what has none by then was not applied."""
        waiting = [(client, threading.Event()) for client in self._clients.values()]
        for client, said in waiting:
            # Through the mailbox: another thread may be about to deliver an answer of this client.
            client.mailbox.put(self._bye, client, said)
            client.mailbox.deliver()
        give_up_s = time.monotonic() + _CLOSE_FLUSH_S
        with selectors.DefaultSelector() as selector:
            for client, said in waiting:
                if said.wait(max(0.0, give_up_s - time.monotonic())):
                    selector.register(client.socket, selectors.EVENT_WRITE, client)
            while selector.get_map() and (left_s := give_up_s - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    client = key.data
                    with client.lock:
                        client.outlet.flush()
                        if client.outlet.broken is not None or not client.outlet.waiting_bytes:
                            selector.unregister(client.socket)

    # What follows runs on whichever thread delivers to a client's mailbox.

    def _answer(
        self,
        client: _Client,
        number: int,
        reply: dict[str, Any] | None,
        batches: list[RecordBatch],
        error: errors.MqbridgeError | None,
    ) -> None:
        try:
            if error is None:
                try:
                    encoded = [batch.encode() for batch in batches]
                    message = {"t": "reply", "id": number, "reply": reply}
                    data = wire.encode_frame(message, encoded, self._max_frame_bytes)
                except errors.Rejected as too_large:
                    error = too_large
            if error is not None:
                data = wire.encode_frame({"t": "error", "id": number, "error": wire.error_to_wire(error)})
        except Exception:
            # An answer that cannot be told must not become a call that waits for ever: the connection says
            # "unknown".
            _logger.exception("an answer of the native host cannot be encoded; its client is cut off")
            with client.lock:
                client.cut, client.queued = "an answer for it cannot be encoded", True
            self._call_attention(client)
            return
        self._send(client, data)

    def _note(self, client: _Client, note: dict[str, Any]) -> None:
        self._send(client, wire.encode_frame({"t": "note", "note": note}))

    def _bye(self, client: _Client, said: threading.Event) -> None:
        client.send(wire.encode_frame({"t": "bye"}))
        said.set()

    def _send(self, client: _Client, data: bytes) -> None:
        if client.send(data):
            self._call_attention(client)

    def _call_attention(self, client: _Client) -> None:
        self._attention.append(client)
        if threading.current_thread() is not self._thread:
            self._waker.wake()
