"""Several processes on one folder: kills, stops, hand-overs and forks, with real processes and signals."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.runtime import address, rooms
from mqbridge.native.runtime.clock import RealClock
from mqbridge.native.runtime.rooms import InForce, Settings
from mqbridge.native.runtime.serve import serve
from mqbridge.native.runtime.session import Folder, Session, SessionOptions
from mqbridge.native.storage.lock import FolderLock
from mqbridge.native.storage.store import CLEAN
from tests.native.runtime.fakes import DEADLINE_S, Calls, batch, wait_until
from tests.native.runtime.peer import Peer
from tests.native.runtime.test_session import TOPIC, ask, open_fds, topics

QUEUE = {"name": "q", "spec": {}}
APPEND = {"topic": "t", "partition": 0}

StartPeer = Callable[..., Peer]


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    started: list[Peer] = []
    yield started
    for peer in started:
        peer.end()


@pytest.fixture
def start(peers: list[Peer], tmp_path: Path) -> StartPeer:
    def starter(**options: Any) -> Peer:
        peers.append(Peer(tmp_path / "f", **options))
        return peers[-1]

    return starter


class Own:
    """This process's session and what it was told."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.states: list[tuple[str, int]] = []
        self.notes: list[dict[str, Any]] = []
        self.session = Session.open(
            Folder(folder),
            RealClock(),
            self.notes.append,
            lambda state, epoch: self.states.append((state, epoch)),
            SessionOptions(**options),
        )

    def wait(self, state: str) -> int:
        wait_until(lambda: any(each[0] == state for each in self.states), f"state {state}")
        return next(epoch for each, epoch in self.states if each == state)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Own]]:
    made: list[Own] = []

    def make(**options: Any) -> Own:
        made.append(Own(tmp_path / "f", **options))
        return made[-1]

    yield make
    for each in made:
        each.session.close()


def end_offset(session: Session) -> int:
    return int(ask(session, "offsets", {"topic": "t"})["partitions"]["0"]["end"])


def test_a_killed_client_gives_its_messages_back(own: Callable[..., Own], start: StartPeer) -> None:
    """SIGKILL of a client ends its session as unclean: its message comes back, marked, the attempt counted."""
    host = own()
    ask(host.session, "create_queue", QUEUE)
    done = Calls()
    host.session.call("enqueue", {"queue": "q"}, [batch(b"m")], done)
    assert done.reply() == {"errors": {}}
    client = start()
    assert client.wait_for("open") == ["open", "client", 1]
    client.call(1, "consume", {"queue": "q", "prefetch": 10, "priority": 0})
    consumer = client.wait_for("done", 1)[2]["consumer"]
    client.call(2, "take", {"consumer": consumer, "max": 10, "settle": [], "watch": False})
    assert len(client.wait_for("done", 2)[2]["tags"]) == 1
    mine = ask(host.session, "consume", {"queue": "q", "prefetch": 10, "priority": 0})["consumer"]
    take = {"consumer": mine, "max": 10, "settle": [], "watch": True}
    assert ask(host.session, "take", take)["tags"] == []
    client.signal(signal.SIGKILL)
    wait_until(lambda: host.notes, "the note that something can be taken")
    taken = ask(host.session, "take", take)
    assert (taken["attempts"], taken["redelivered"]) == ([2], [True])


def test_a_killed_host_is_followed_by_exactly_one(start: StartPeer) -> None:
    """Of three clients one becomes the host, with a higher epoch, and the others reach it; what had no answer
    is unknown, once; what was confirmed is there.
    """
    host = start()
    host.wait_for("open", "host", 1)
    host.call(1, "create_topic", TOPIC)
    host.wait_for("done", 1)
    clients = [start() for _ in range(3)]
    for client in clients:
        client.wait_for("open", "client", 1)
        client.call(1, "append", APPEND, "confirmed")
        assert client.wait_for("done", 1)[3] is None
    host.stop()
    for client in clients:
        client.call(2, "append", APPEND, "without an answer")
        client.call(3, "list_topics", {})
        client.tell("sync")
    for client in clients:
        client.wait_for("synced")
    host.signal(signal.SIGKILL)
    for client in clients:
        assert client.wait_for("state", "lost")[2] == 1
        assert client.wait_for("done", 2)[3:] == ["connection_lost", "unknown"]
        assert client.wait_for("state", "restored")[2] == 2
    assert sorted(client.wait_for("state", "restored")[3] for client in clients) == [
        "client",
        "client",
        "host",
    ]
    for client in clients:
        client.call(5, "offsets", {"topic": "t"})
        assert client.wait_for("done", 5)[2]["partitions"]["0"]["end"] == 3
        assert len(client.all("done", 2)) == 1
        assert [line[1] for line in client.all("state")] == ["lost", "restored"]


def test_processes_that_start_at_once_have_one_host(start: StartPeer) -> None:
    """Of four processes that open a new folder at the same moment one is the host, and all work."""
    peers = [start() for _ in range(4)]
    assert sorted(peer.wait_for("open")[1] for peer in peers) == ["client", "client", "client", "host"]
    for peer in peers:
        peer.call(1, "create_topic", TOPIC)
    assert sorted(peer.wait_for("done", 1)[2]["created"] for peer in peers) == [False, False, False, True]


def test_a_stopped_host_delays_and_nothing_else(own: Callable[..., Own], start: StartPeer) -> None:
    """While the host is stopped calls wait, opening fails in time and names it; when it goes on, all are
    answered once.
    """
    host = start()
    host.wait_for("open")
    client = own()
    ask(client.session, "create_topic", TOPIC)
    host.stop()
    calls = [Calls() for _ in range(20)]
    for done in calls:
        client.session.call("append", APPEND, [batch(b"x")], done)
    before = time.monotonic()
    with pytest.raises(errors.Unreachable, match=f"process {host.pid}.*stopped"):
        own(connect_timeout_s=0.5)
    assert time.monotonic() - before < 5
    assert [done.ended for done in calls] == [[]] * 20
    host.signal(signal.SIGCONT)
    assert [done.reply()["base_offset"] for done in calls] == list(range(20))
    assert client.states == []
    assert end_offset(client.session) == 20


def test_closing_while_the_host_is_stopped_is_bounded(own: Callable[..., Own], start: StartPeer) -> None:
    """A client of a stopped host closes within seconds and leaves no thread."""
    host = start()
    host.wait_for("open")
    threads = set(threading.enumerate())
    client = own()
    host.stop()
    before = time.monotonic()
    client.session.close()
    assert time.monotonic() - before < 6
    assert set(threading.enumerate()) <= threads


def test_a_closing_host_hands_over(own: Callable[..., Own], start: StartPeer) -> None:
    """A clean close loses nothing and leaves nothing in doubt: every append of the clients is applied once or
    said to be not applied, and the folder has a new host.
    """
    host = start()
    host.wait_for("open")
    client, other = own(), start()
    other.wait_for("open", "client", 1)
    ask(client.session, "create_topic", TOPIC)
    calls: list[Calls] = []
    closing = False
    while not client.states:
        calls.append(Calls())
        client.session.call("append", APPEND, [batch(b"x")], calls[-1])
        if len(calls) == 200 and not closing:
            host.tell("close")
            closing = True
        if len(calls) % 50 == 0:
            calls[-1].one.wait(DEADLINE_S)
    assert client.wait("restored") == 2
    host.wait_for("closed")
    for done in calls:
        assert done.one.wait(DEADLINE_S)
    applied = sum(1 for done in calls if done.ended[0][2] is None)
    assert {done.error().outcome for done in calls if done.ended[0][2]} <= {"not_applied"}
    assert end_offset(client.session) == applied > 0
    assert {client.session.role, other.wait_for("state", "restored")[3]} == {"client", "host"}
    assert host.process.wait(DEADLINE_S) == 0


def test_a_hand_over_counts_no_attempt(start: StartPeer) -> None:
    """A message that a client holds when the host closes cleanly comes back from the next host uncounted."""
    host = start()
    host.wait_for("open")
    client = start()
    client.wait_for("open", "client", 1)
    client.call(1, "create_queue", QUEUE)
    client.call(2, "enqueue", {"queue": "q"}, "m")
    client.call(3, "consume", {"queue": "q", "prefetch": 10, "priority": 0})
    take = {"max": 10, "settle": [], "watch": False}
    client.call(4, "take", take | {"consumer": client.wait_for("done", 3)[2]["consumer"]})
    assert client.wait_for("done", 4)[2]["attempts"] == [1]
    host.tell("close")
    client.wait_for("state", "restored", 2)
    client.call(5, "consume", {"queue": "q", "prefetch": 10, "priority": 0})
    client.call(6, "take", take | {"consumer": client.wait_for("done", 5)[2]["consumer"]})
    assert client.wait_for("done", 6)[2]["attempts"] == [1]


def test_a_search_that_takes_long_is_reported_and_goes_on(
    own: Callable[..., Own], start: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a host is sought calls end at once, retryable; after the deadline they say who is in the way, and when that
    is over the session is restored.
    """
    host = start()
    host.wait_for("open")
    client = own(takeover_timeout_s=0.5)
    with monkeypatch.context() as held:
        held.setattr(rooms, "enter_folder", lambda *_: None)
        host.signal(signal.SIGKILL)
        assert client.wait("lost") == 1
        for state in ("lost", "unreachable"):
            client.wait(state)
            done = Calls()
            client.session.call("list_topics", {}, [], done)
            error = done.error()
            assert isinstance(error, errors.ConnectionLost)
            assert (error.outcome, error.retryable) == ("not_applied", True)
        assert str(host.pid) in str(error)
        assert isinstance(client.session.trouble, errors.Unreachable)
    client.wait("restored")
    assert topics(client.session) == []


def test_a_search_that_no_waiting_mends_fails(
    own: Callable[..., Own], start: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder found damaged at the take-over ends the session, and every later call says so."""
    host = start()
    host.wait_for("open")
    client = own()

    def recover(*_: object) -> None:
        raise errors.CorruptLog("damaged", file="f", offset_bytes=1)

    monkeypatch.setattr(rooms, "enter_folder", recover)
    host.signal(signal.SIGKILL)
    client.wait("failed")
    done = Calls()
    client.session.call("list_topics", {}, [], done)
    assert isinstance(done.error(), errors.CorruptLog)
    assert isinstance(client.session.failure, errors.CorruptLog)


def test_closing_during_the_search_ends_it(
    own: Callable[..., Own], start: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session closed while it looks for a host returns soon, tells nothing more and leaves no thread."""
    host = start()
    host.wait_for("open")
    threads, fds = set(threading.enumerate()), open_fds()
    client = own(takeover_timeout_s=60.0)
    monkeypatch.setattr(rooms, "enter_folder", lambda *_: None)
    host.signal(signal.SIGKILL)
    client.wait("lost")
    before = time.monotonic()
    client.session.close()
    assert time.monotonic() - before < 5
    assert client.states == [("lost", 1)]
    assert set(threading.enumerate()) <= threads
    assert open_fds() == fds


def test_a_client_leaves_nothing_behind(own: Callable[..., Own], start: StartPeer) -> None:
    """A client's close leaves no thread and no descriptor, and the host serves on."""
    host = start()
    host.wait_for("open")
    threads, fds = set(threading.enumerate()), open_fds()
    client = own()
    ask(client.session, "create_topic", TOPIC)
    client.session.close()
    assert set(threading.enumerate()) <= threads
    assert open_fds() == fds
    host.call(1, "list_topics", {})
    assert len(host.wait_for("done", 1)[2]["topics"]) == 1


def test_a_host_with_other_settings_is_refused(own: Callable[..., Own], start: StartPeer) -> None:
    """A durability that the host does not have is not quietly given up."""
    host = start()
    host.wait_for("open")
    with pytest.raises(errors.ConfigurationError, match=f"process {host.pid}, is open with durability=os,") as caught:
        own(settings=Settings(durability="disk"))
    assert "segment_bytes" not in str(caught.value)
    host.call(1, "list_topics", {})
    host.wait_for("done", 1)


def test_a_client_takes_over_with_the_settings_it_found(own: Callable[..., Own], start: StartPeer) -> None:
    """A session that asked for nothing is let in, and as the next host it does not weaken what was confirmed before."""
    host = start(settings={"durability": "disk", "segment_bytes": 1 << 20})
    host.wait_for("open")
    client = own()
    assert (client.session.role, client.session.settings) == ("client", InForce("disk", 1 << 20))
    host.signal(signal.SIGKILL)
    client.wait("restored")
    assert (client.session.role, client.session.settings) == ("host", InForce("disk", 1 << 20))
    late = start(settings={"durability": "os"})
    assert "is open with durability=disk" in late.wait_for("refused", "configuration")[2]


def test_a_replaced_folder_has_one_host(own: Callable[..., Own], start: StartPeer, tmp_path: Path) -> None:
    """The host of a folder that was removed lets go of it and of the next host's files; its client does not wander over
    to the next host, which has nothing of what was confirmed.
    """
    folder = tmp_path / "f"
    old = start()
    old.wait_for("open", "host")
    client = own()
    ask(client.session, "create_topic", TOPIC)
    shutil.rmtree(folder)
    new = start()
    assert new.wait_for("open") == ["open", "host", 1]
    assert old.wait_for("state", "failed") == ["state", "failed", 1, "down"]
    client.wait("failed")
    assert [state for state, _ in client.states] == ["lost", "failed"]
    assert "was removed, moved or replaced" in str(client.session.failure)
    old.tell("close")
    old.wait_for("closed")
    assert (folder / address.SOCKET_NAME).is_socket()
    assert not (folder / CLEAN).exists()
    assert FolderLock(folder).holder_pid() == new.pid
    late = own()
    assert (late.session.role, topics(late.session)) == ("client", [])


def test_a_client_does_not_make_its_folder_anew(own: Callable[..., Own], start: StartPeer, tmp_path: Path) -> None:
    """Whose host was killed and folder removed has nothing to take over, and leaves nothing behind."""
    host = start()
    host.wait_for("open")
    client = own()
    host.stop()
    shutil.rmtree(tmp_path / "f")
    host.signal(signal.SIGKILL)
    client.wait("failed")
    assert client.states == [("lost", 1), ("failed", 1)]
    assert not (tmp_path / "f").exists()


def test_a_host_of_another_user_is_denied_at_once(
    own: Callable[..., Own], start: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Denied reaches the caller as it was raised and without waiting for the deadline, though it is an OSError too."""
    host = start()
    host.wait_for("open")
    real = os.geteuid
    monkeypatch.setattr(os, "geteuid", lambda: real() + 1)
    before = time.monotonic()
    with pytest.raises(errors.Denied, match="^the socket in the folder belongs to a process of another user"):
        own()
    assert time.monotonic() - before < 5


def inherited(pid: int) -> list[str]:
    """The descriptors of a process that only a host should have."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [link for link in links if "socket:" in link or link.endswith(".lock") or "eventpoll" in link]


def test_a_forked_child_of_the_host_keeps_nothing(own: Callable[..., Own], start: StartPeer) -> None:
    """When the host dies its forked child, alive, holds neither the lock nor connections: the client takes
    over.
    """
    host = start()
    host.wait_for("open")
    client = own()
    ask(client.session, "create_topic", TOPIC)
    host.tell("fork")
    child = host.wait_for("forked")[1]
    try:
        wait_until(lambda: inherited(child) == [], "the child let go")
        assert topics(client.session) == ["t"]
        host.signal(signal.SIGKILL)
        assert client.wait("restored") == 2
        assert client.session.role == "host"
        assert topics(client.session) == ["t"]
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_exits_without_harm(own: Callable[..., Own], start: StartPeer) -> None:
    """A child that uses and closes its copy of a session gets ForkedProcess; lock, socket and clients are
    untouched.
    """
    host = own()
    ask(host.session, "create_topic", TOPIC)
    client = start()
    client.wait_for("open", "client", 1)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            done = Calls()
            host.session.call("list_topics", {}, [], done)
            host.session.close()
            status = 0 if isinstance(done.error(), errors.ForkedProcess) else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert (host.session._target.path / address.SOCKET_NAME).is_socket()  # type: ignore[union-attr]
    client.call(1, "list_topics", {})
    assert len(client.wait_for("done", 1)[2]["topics"]) == 1
    assert client.all("state") == []
    assert topics(host.session) == ["t"]


def test_a_forked_child_can_open_the_folder_anew(own: Callable[..., Own]) -> None:
    """The child's own session reaches the parent's host through the socket, as any process does."""
    host = own()
    ask(host.session, "create_topic", TOPIC)
    folder = host.session._target.path  # type: ignore[union-attr]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            session = Session.open(Folder(folder), RealClock(), lambda note: None, lambda state, epoch: None)
            found = topics(session)
            status = 0 if (session.role, found) == ("client", ["t"]) else 2
            session.close()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert topics(host.session) == ["t"]


def test_serve_stands_by_and_takes_over(start: StartPeer, tmp_path: Path) -> None:
    """`serve` on a folder that has a host stands by, and hosts when that one is killed."""
    host = start()
    host.wait_for("open")
    stop, ready, roles, states = threading.Event(), threading.Event(), list[str](), list[tuple[str, int]]()
    served: list[Session] = []

    def on_ready(session: Session) -> None:
        served.append(session)
        roles.append(session.role)
        ready.set()

    thread = threading.Thread(
        target=serve, args=(tmp_path / "f", stop, on_ready, None, lambda *state: states.append(state))
    )
    thread.start()
    assert ready.wait(DEADLINE_S)
    host.signal(signal.SIGKILL)
    wait_until(lambda: ("restored", 2) in states, "the take-over")
    assert (roles, served[0].role) == (["client"], "host")
    stop.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
