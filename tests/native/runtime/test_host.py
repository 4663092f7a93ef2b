"""The host's end of the socket: a client can harm nobody but itself, and its end is always noticed."""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.runtime import address, remote, wire
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.runtime.host import HostServer
from mqbridge.native.runtime.local import LocalBroker
from mqbridge.native.runtime.remote import RemoteLink
from tests.native.runtime.fakes import DEADLINE_S, Calls, FakeBroker, HandClock, batch, wait_until


class Hosting:
    """A fake broker behind a real socket, and links to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fake = FakeBroker()
        self.broker = LocalBroker(self.fake, HandClock())
        self.links: list[RemoteLink] = []
        self.server: HostServer | None = None

    def serve(self, **options: Any) -> HostServer:
        self.server = HostServer(
            self.broker, self.folder, epoch=3, version="1.2", settings={"a": 1}, **options
        )
        return self.server

    def link(
        self, notes: list[dict[str, Any]] | None = None, lost: Calls | None = None, **options: Any
    ) -> RemoteLink:
        heard = notes if notes is not None else []

        def on_lost(link: RemoteLink, fail_calls: Any) -> None:
            fail_calls()
            if lost is not None:
                lost.one.set()

        with remote.connect(self.folder, 5.0, "1.2") as (connected, reader, hello):
            link = RemoteLink(connected, reader, hello, Mailbox(), heard.append, on_lost, **options)
        self.links.append(link)
        return link

    def raw(self, protocol: int = wire.PROTOCOL) -> socket.socket:
        """A client without our code; greeted unless the protocol is another."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address.connect(connected, self.folder, DEADLINE_S)
        connected.sendall(wire.encode_frame({"t": "hello", "protocol": protocol, "version": "x"}))
        return connected

    def close(self) -> None:
        for link in self.links:
            link.close()
        if self.server is not None:
            self.server.close()
        self.broker.close()


@pytest.fixture
def hosting(tmp_path: Path) -> Iterator[Hosting]:
    made = Hosting(tmp_path)
    yield made
    made.close()


def read_until_end(connected: socket.socket) -> list[dict[str, Any]]:
    reader, found = wire.FrameReader(), list[dict[str, Any]]()
    with connected:
        while True:
            try:
                data = connected.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return found
            reader.feed(data)
            while (frame := reader.next_frame()) is not None:
                found.append(frame.message)


def test_calls_batches_errors_and_notes_cross(hosting: Hosting) -> None:
    """What a local session sees, a remote one sees: replies, batches, errors as their class, notes before
    replies.
    """
    hosting.serve()
    heard: list[Any] = []
    link = hosting.link(heard)
    assert (link.session_epoch, link.hello.version, link.hello.settings) == (3, "1.2", {"a": 1})
    done, failed, noted = Calls(), Calls(), Calls()
    sent = [batch(b"a", b""), batch(b"\0" * 100_000)]
    link.call("echo", {"x": "é"}, sent, done)
    assert done.reply() == {"x": "é"}
    assert done.ended[0][1] == sent
    link.call("fail", {"thing": [1]}, [], failed)
    error = failed.error()
    assert isinstance(error, errors.NotFound)
    assert error.__dict__ == {"thing": [1]}

    def reply_heard(*outcome: Any) -> None:
        heard.append("reply")
        noted(*outcome)

    link.call("note", {}, [], reply_heard)
    noted.reply()
    assert [item if item == "reply" else item["number"] for item in heard] == [1, "reply"]


def test_answers_come_in_the_order_of_the_calls(hosting: Hosting) -> None:
    """Thousands of calls without waiting are answered in order, exactly once each."""
    hosting.serve()
    link, seen, last = hosting.link(), list[int](), threading.Event()

    def done(number: int) -> None:
        seen.append(number)
        if number == 4999:
            last.set()

    for number in range(5000):
        link.call("echo", {"n": number}, [], lambda reply, batches, error: done((reply or {})["n"]))
    assert last.wait(DEADLINE_S)
    assert seen == list(range(5000))


def test_a_bye_is_a_clean_end_and_anything_else_is_not(hosting: Hosting) -> None:
    """`close` ends the session as clean before it returns; a connection that just ends is unclean."""
    hosting.serve()
    hosting.link().close()
    assert hosting.fake.sessions == {1: True}
    hosting.link().close(clean=False)
    wait_until(lambda: hosting.fake.sessions == {1: True, 2: False}, "the unclean end")


def test_the_last_answers_come_before_a_clean_close_returns(hosting: Hosting) -> None:
    """Calls made before `close` are applied and answered, though nobody waited for them."""
    hosting.serve()
    link, done = hosting.link(), [Calls() for _ in range(100)]
    for each in done:
        link.call("echo", {}, [batch(b"x" * 1000)], each)
    link.close()
    assert [each.reply() for each in done] == [{}] * 100


def test_another_protocol_is_refused_by_both_sides(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of another protocol gets the host's hello and no session; ours names both versions."""
    hosting.serve()
    found = read_until_end(hosting.raw(protocol=99))
    assert [message["t"] for message in found] == ["hello"]
    assert hosting.fake.sessions == {}
    monkeypatch.setattr(wire, "PROTOCOL", 99)
    with pytest.raises(
        errors.ConfigurationError, match=r"mqbridge 1\.2 with protocol 1, .* 1\.2 with protocol 99"
    ):
        hosting.link()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        wire.encode_frame({"t": "call", "id": "1", "op": "echo", "args": {}}),
        wire.encode_frame({"t": "call", "id": 1, "op": "echo"}),
        wire.encode_frame({"t": "reply", "id": 1, "reply": {}}),
    ],
)
def test_garbage_costs_only_its_sender(hosting: Hosting, garbage: bytes) -> None:
    """A client that breaks the protocol is cut off as unclean; another one's calls go on."""
    hosting.serve()
    link, done = hosting.link(), Calls()
    bad = hosting.raw()
    bad.sendall(garbage)
    assert [message["t"] for message in read_until_end(bad)] == ["hello", "welcome"]
    wait_until(lambda: hosting.fake.sessions == {1: None, 2: False}, "the session's end")
    link.call("echo", {}, [], done)
    done.reply()


def test_a_batch_that_cannot_be_read_is_an_answer(hosting: Hosting) -> None:
    """A frame that is right with a batch that is not ends that call, not the connection."""
    hosting.serve()
    bad = hosting.raw()
    bad.sendall(wire.encode_frame({"t": "call", "id": 5, "op": "echo", "args": {}}, [b"junk"]))
    bad.sendall(wire.encode_frame({"t": "bye"}))
    answer = read_until_end(bad)[2]
    assert (answer["t"], answer["id"], answer["error"]["class"]) == ("error", 5, "Rejected")
    assert hosting.fake.calls == []


def test_a_client_that_does_not_read_is_cut_off(hosting: Hosting, caplog: pytest.LogCaptureFixture) -> None:
    """Above the bound of its output a client loses its connection, logged; the host keeps no more than the
    bound.
    """
    hosting.serve(max_output_bytes=1 << 20)
    link = hosting.link()
    deaf = hosting.raw()
    wait_until(lambda: len(hosting.fake.sessions) == 2, "two sessions")
    with caplog.at_level(logging.ERROR):
        for _ in range(40):
            done = Calls()
            link.call("note", {"to": 2, "filler": "x" * 100_000}, [], done)
            done.reply()
        wait_until(lambda: hosting.fake.sessions[2] is False, "the deaf client's session ends")
    assert "it does not read" in caplog.text
    assert hosting.fake.sessions[1] is None
    deaf.close()


def test_a_client_is_not_read_while_its_answers_wait(hosting: Hosting) -> None:
    """A client that asks and does not read is stopped by its own back-pressure before it reaches the bound."""
    hosting.serve()
    greedy = hosting.raw()
    greedy.settimeout(0.3)
    ask = wire.encode_frame({"t": "call", "id": 1, "op": "echo", "args": {"x": "y" * 60_000}})
    try:
        for _ in range(1000):
            greedy.sendall(ask)
    except TimeoutError:
        # It would have sent 60 MB; the host stopped taking them.
        assert len(hosting.fake.calls) < 300
    else:
        pytest.fail("the host took all requests of a client that reads no answers")
    assert hosting.fake.sessions == {1: None}
    greedy.close()


def test_the_socket_is_for_this_user_alone(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has mode 0600, and a peer of another user is refused with Denied though it got through."""
    hosting.serve()
    mode = (hosting.folder / address.SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    real = os.geteuid
    host_thread = "mqbridge-host"
    monkeypatch.setattr(
        os, "geteuid", lambda: real() + (1 if threading.current_thread().name == host_thread else 0)
    )
    with pytest.raises(errors.Denied, match="another user"):
        hosting.link()


def test_a_host_of_another_user_is_not_spoken_to(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client does not greet a process of another user that put a socket into the folder."""
    hosting.serve()
    real = os.geteuid
    main = threading.current_thread()
    monkeypatch.setattr(os, "geteuid", lambda: real() + (1 if threading.current_thread() is main else 0))
    with pytest.raises(errors.Denied):
        hosting.link()


def test_long_folder_paths_work(tmp_path: Path) -> None:
    """A folder whose path is longer than a socket address is served and reached, the socket being inside it."""
    folder = tmp_path / ("a" * 120) / ("b" * 120)
    folder.mkdir(parents=True)
    hosting = Hosting(folder)
    try:
        hosting.serve()
        done = Calls()
        hosting.link().call("echo", {}, [], done)
        done.reply()
        assert (folder / address.SOCKET_NAME).is_socket()
    finally:
        hosting.close()


def test_long_folder_paths_work_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is not there, a temporary link serves, and is gone afterwards."""
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    links = tmp_path / "t"
    links.mkdir()
    real = os.path.isdir
    monkeypatch.setattr("os.path.isdir", lambda path: path != "/proc/self/fd" and real(path))
    monkeypatch.setattr("tempfile.tempdir", str(links))
    hosting = Hosting(folder)
    try:
        if len(str(links)) > 80:
            pytest.fail("the temporary folder of this test run is too long itself")
        hosting.serve()
        hosting.link()
        assert list(links.iterdir()) == []
        assert (folder / address.SOCKET_NAME).is_socket()
    finally:
        hosting.close()


def test_a_stale_socket_is_replaced(hosting: Hosting) -> None:
    """The socket file of a host that was killed does not keep the next one from listening."""
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(hosting.folder / address.SOCKET_NAME))
    dead.close()
    with pytest.raises(ConnectionRefusedError):
        hosting.link()
    hosting.serve()
    hosting.link()


def test_a_folder_that_cannot_have_a_socket_is_a_clear_error(tmp_path: Path) -> None:
    """Listening where it is impossible raises Unreachable that names the folder, and leaves no descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.Unreachable, match="cannot listen in"):
        address.listen(tmp_path / "missing")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_clean_close_answers_what_it_applied_and_says_bye(hosting: Hosting) -> None:
    """A call under way gets its answer; one that came too late is not applied; sessions end as clean."""
    server = hosting.serve()
    lost = Calls()
    link = hosting.link(lost=lost)
    under_way, late = Calls(), Calls()
    link.call("hang", {"n": 1}, [], under_way)
    assert hosting.fake.hanging.wait(DEADLINE_S)
    link.call("echo", {}, [], late)
    closing = threading.Thread(target=server.close)
    closing.start()
    wait_until(lambda: server._ending == "close", "closing has begun")
    hosting.fake.go_on.set()
    closing.join()
    assert under_way.reply() == {"n": 1}
    error = late.error()
    assert isinstance(error, errors.ConnectionLost)
    assert error.outcome == "not_applied"
    assert hosting.fake.calls == [(1, "hang")]
    assert hosting.fake.sessions == {1: True}
    assert lost.one.wait(DEADLINE_S)


def test_the_bye_waits_for_an_answer_in_other_hands(hosting: Hosting) -> None:
    """An answer that another thread is about to deliver precedes the bye: applied is never called not
    applied.
    """
    server = hosting.serve()
    link, done = hosting.link(), Calls()
    client = next(iter(server._clients.values()))
    entered, go_on = threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        assert go_on.wait(DEADLINE_S)

    client.mailbox.put(busy)
    other = threading.Thread(target=client.mailbox.deliver)
    other.start()
    assert entered.wait(DEADLINE_S)
    link.call("echo", {"n": 1}, [], done)
    wait_until(lambda: hosting.fake.calls, "the call is applied")
    closing = threading.Thread(target=server.close)
    closing.start()
    closing.join(0.2)
    go_on.set()
    closing.join()
    other.join()
    assert done.reply() == {"n": 1}


def test_a_kill_says_nothing(hosting: Hosting) -> None:
    """Cut off without a bye, a call that had left ends as unknown."""
    server = hosting.serve()
    link = hosting.link()
    done = Calls()
    link.call("hang", {}, [], done)
    assert hosting.fake.hanging.wait(DEADLINE_S)
    hosting.broker.call = lambda *args: None  # type: ignore[method-assign]
    hosting.fake.go_on.set()
    done.reply()
    silent = Calls()
    link.call("echo", {}, [], silent)
    server.kill()
    assert silent.error().outcome == "unknown"


def test_an_answer_that_cannot_be_told_ends_the_connection(
    hosting: Hosting, caplog: pytest.LogCaptureFixture
) -> None:
    """A reply that JSON cannot carry leaves no call waiting for ever: it ends as unknown."""
    hosting.serve()
    link, done = hosting.link(), Calls()
    link.call("unsayable", {}, [], done)
    assert done.error().outcome == "unknown"
    assert "cannot be encoded" in caplog.text


def test_nothing_is_left_behind(hosting: Hosting) -> None:
    """After closing there is no socket file, no thread and no descriptor more than before."""
    threads, fds = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    server = hosting.serve()
    link, done = hosting.link(), Calls()
    link.call("echo", {}, [], done)
    done.reply()
    link.close()
    server.close()
    assert set(threading.enumerate()) == threads
    assert len(os.listdir("/proc/self/fd")) == fds
    assert not (hosting.folder / address.SOCKET_NAME).exists()
