"""The client's end of the socket, against a host that misbehaves on purpose: each call ends exactly once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.runtime import address, remote, wire
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.links import NoRoom
from mqbridge.native.runtime.remote import RemoteLink
from tests.native.runtime.fakes import DEADLINE_S, Calls, batch, wait_until

HELLO = {"t": "hello", "protocol": wire.PROTOCOL, "version": "9", "epoch": 4, "pid": 123, "settings": {}}


class Scripted:
    """A listening socket whose only connection is played by the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listener = address.listen(folder)
        self.listener.settimeout(DEADLINE_S)
        self.links: list[RemoteLink] = []
        self.ends: list[socket.socket] = []
        self.order: list[str] = []
        self.lost = threading.Event()

    def greet(self) -> socket.socket:
        connected, _ = self.listener.accept()
        connected.settimeout(DEADLINE_S)
        reader = wire.FrameReader()
        while reader.next_frame() is None:
            reader.feed(connected.recv(1))
        connected.sendall(wire.encode_frame(HELLO) + wire.encode_frame({"t": "welcome"}))
        return connected

    def pair(self, **options: Any) -> tuple[RemoteLink, socket.socket]:
        greeter = threading.Thread(target=lambda: self.ends.append(self.greet()))
        greeter.start()
        with remote.connect(self.folder, DEADLINE_S, "9") as (connected, reader, hello):
            greeter.join()
            link = RemoteLink(connected, reader, hello, Mailbox(), self._note, self._on_lost, **options)
        self.links.append(link)
        return link, self.ends[-1]

    def _note(self, note: dict[str, Any]) -> None:
        self.order.append(f"note {note['n']}")

    def _on_lost(self, link: RemoteLink, fail_calls: Callable[[], None]) -> None:
        self.order.append("lost")
        fail_calls()
        self.lost.set()

    def close(self) -> None:
        for link in self.links:
            link.close(clean=False)
        for end in self.ends:
            end.close()
        self.listener.close()


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    made = Scripted(tmp_path)
    yield made
    made.close()


def read_call(end: socket.socket) -> wire.Frame:
    reader = wire.FrameReader()
    while (frame := reader.next_frame()) is None:
        reader.feed(end.recv(1))
    return frame


def fill(link: RemoteLink) -> list[Calls]:
    """Calls until one is refused; the last one is."""
    calls: list[Calls] = []
    big = batch(b"x" * 50_000)
    while len(calls) < 2000:
        calls.append(Calls())
        link.call("append", {}, [big], calls[-1])
        if calls[-1].ended:
            return calls
    pytest.fail("the buffer has no bound")


def test_a_call_that_left_is_unknown_exactly_once(scripted: Scripted) -> None:
    """The host dies with a request in hand: the session hears of the loss, then the call ends as unknown,
    once.
    """
    link, end = scripted.pair()
    done = Calls()
    link.call("append", {}, [], done)
    read_call(end)
    end.close()
    error = done.error()
    assert isinstance(error, errors.ConnectionLost)
    assert (error.outcome, error.retryable) == ("unknown", True)
    assert scripted.lost.wait(DEADLINE_S)
    later = Calls()
    link.call("append", {}, [], later)
    assert later.error().outcome == "not_applied"
    assert scripted.order == ["lost"]
    assert len(done.ended) == 1


def test_bytes_handed_over_decide_between_unknown_and_not_applied(scripted: Scripted) -> None:
    """Of calls queued behind a socket that takes nothing, only those of which a byte had left are unknown."""
    link, end = scripted.pair(max_outgoing_bytes=1 << 20)
    calls = fill(link)[:-1]
    sent_bytes = link._outlet.sent_bytes
    end.close()
    outcomes = [done.error().outcome for done in calls]
    frame_bytes = len(
        wire.encode_frame(
            {"t": "call", "id": 10, "op": "append", "args": {}}, [batch(b"x" * 50_000).encode()]
        )
    )
    left = outcomes.count("unknown")
    assert outcomes == ["unknown"] * left + ["not_applied"] * (len(outcomes) - left)
    assert abs(left - sent_bytes / frame_bytes) <= 1
    assert 0 < left < len(outcomes)


def test_a_bye_says_that_the_rest_was_not_applied(scripted: Scripted) -> None:
    """A host that says bye has answered all it applied: what has no answer can be sent again without a
    duplicate.
    """
    link, end = scripted.pair()
    answered, open_ = Calls(), Calls()
    link.call("append", {}, [], answered)
    link.call("append", {}, [], open_)
    number = read_call(end).message["id"]
    read_call(end)
    end.sendall(
        wire.encode_frame({"t": "reply", "id": number, "reply": {}}) + wire.encode_frame({"t": "bye"})
    )
    end.close()
    assert answered.reply() == {}
    assert open_.error().outcome == "not_applied"


def test_an_answer_sent_before_the_end_counts(scripted: Scripted) -> None:
    """A reset of the connection, which unread requests cause, does not cost the answers before it."""
    link, end = scripted.pair()
    done, unread = Calls(), Calls()
    link.call("append", {}, [], done)
    number = read_call(end).message["id"]
    link.call("append", {}, [], unread)
    end.sendall(wire.encode_frame({"t": "reply", "id": number, "reply": {"ok": 1}}))
    end.close()
    assert done.reply() == {"ok": 1}
    assert unread.error().outcome == "unknown"


def test_a_full_buffer_is_back_pressure(scripted: Scripted) -> None:
    """When the host takes nothing, `call` does not block: above the bound it is Rejected, retryable, not
    applied.
    """
    link, end = scripted.pair(max_outgoing_bytes=1 << 20)
    before = time.monotonic()
    calls = fill(link)
    assert time.monotonic() - before < 5
    error = calls[-1].error()
    assert isinstance(error, errors.Rejected)
    assert (error.outcome, error.retryable) == ("not_applied", True)
    assert link._outlet.waiting_bytes <= 1 << 20
    reader, numbers = wire.FrameReader(), list[int]()
    while len(numbers) < len(calls) - 1:
        reader.feed(end.recv(65536))
        while (frame := reader.next_frame()) is not None:
            numbers.append(frame.message["id"])
            end.sendall(wire.encode_frame({"t": "reply", "id": numbers[-1], "reply": {}}))
    assert all(done.reply() == {} for done in calls[:-1])
    assert numbers == list(range(len(calls) - 1))
    again = Calls()
    link.call("append", {}, [], again)
    read_call(end)
    assert again.ended == []


def test_waiting_messages_do_not_shut_out_what_carries_none(scripted: Scripted) -> None:
    """With the buffer full of messages a heartbeat is still accepted, and `call` says at once what is refused."""
    link, _ = scripted.pair(max_outgoing_bytes=1 << 20)
    fill(link)
    beat = Calls()
    assert link.call("heartbeat", {}, [], beat)
    assert beat.ended == []
    refused = Calls()
    assert not link.call("append", {}, [batch(b"x" * 50_000)], refused)
    assert isinstance(refused.error(), NoRoom)


def test_a_refused_call_may_call_again_without_end(scripted: Scripted) -> None:
    """A sender that answers each refusal with the same call at once does not grow the stack."""
    link, _ = scripted.pair(max_outgoing_bytes=1 << 20)
    fill(link)
    left = [3000]
    big = [batch(b"x" * 50_000)]

    def done(*_: object) -> None:
        left[0] -= 1
        if left[0]:
            link.call("append", {}, big, done)

    link.call("append", {}, big, done)
    assert left == [0]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 100,
        wire.encode_frame({"t": "reply", "id": 77, "reply": {}}),
        wire.encode_frame({"t": "reply", "id": 0, "reply": {}}, [b"junk"]),
        wire.encode_frame({"t": "error", "id": 0, "error": {"class": "Evil"}}),
        wire.encode_frame({"t": "sing"}),
    ],
)
def test_a_host_that_breaks_the_protocol_is_left(scripted: Scripted, garbage: bytes) -> None:
    """Nothing that a host sends raises anywhere or leaves a call open: the connection ends, as lost."""
    link, end = scripted.pair()
    done = Calls()
    link.call("append", {}, [], done)
    read_call(end)
    end.sendall(garbage)
    assert done.error().outcome == "unknown"
    assert scripted.lost.wait(DEADLINE_S)
    end.close()


def test_notes_and_answers_keep_the_order_of_the_stream(scripted: Scripted) -> None:
    """Notes and replies are delivered as they were sent."""
    link, end = scripted.pair()
    last = threading.Event()
    link.call("x", {}, [], lambda *_: scripted.order.append("reply"))
    number = read_call(end).message["id"]
    for n in range(3):
        end.sendall(wire.encode_frame({"t": "note", "note": {"n": n}}))
    end.sendall(wire.encode_frame({"t": "reply", "id": number, "reply": {}}))
    link.call("y", {}, [], lambda *_: last.set())
    end.sendall(wire.encode_frame({"t": "reply", "id": read_call(end).message["id"], "reply": {}}))
    assert last.wait(DEADLINE_S)
    assert scripted.order == ["note 0", "note 1", "note 2", "reply"]
    end.close()


def test_greeting_has_a_deadline(scripted: Scripted) -> None:
    """A host that takes the connection and says nothing, being stopped, does not hold the client for ever."""
    before = time.monotonic()
    with (
        pytest.raises(errors.ConnectionLost, match="does not answer") as caught,
        remote.connect(scripted.folder, 0.3, "9"),
    ):
        pytest.fail("it was greeted")
    assert caught.value.outcome == "not_applied"
    assert 0.3 <= time.monotonic() - before < 5


def test_closing_is_bounded_when_the_host_is_stopped(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean close waits for the host for a bounded time, then ends open calls as unknown."""
    monkeypatch.setattr(remote, "_CLOSE_WAIT_S", 0.2)
    link, end = scripted.pair()
    done = Calls()
    link.call("append", {}, [], done)
    before = time.monotonic()
    link.close()
    assert time.monotonic() - before < 5
    assert done.error().outcome == "unknown"
    assert not scripted.lost.is_set()
    end.close()


def test_closing_inside_a_callback_does_not_deadlock(scripted: Scripted) -> None:
    """`close` on the reader thread returns and the link ends right after."""
    link, end = scripted.pair()
    closed = threading.Event()

    def close(*_: object) -> None:
        link.close(clean=False)
        closed.set()

    link.call("x", {}, [], close)
    end.sendall(wire.encode_frame({"t": "reply", "id": read_call(end).message["id"], "reply": {}}))
    assert closed.wait(DEADLINE_S)
    wait_until(lambda: link.ended, "the link ends")
    end.close()
