"""Sessions within one process: memory, names, folders, faults, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.runtime import address, rooms, wire
from mqbridge.native.runtime.clock import Clock, RealClock
from mqbridge.native.runtime.local import LocalLink
from mqbridge.native.runtime.remote import RemoteLink
from mqbridge.native.runtime.rooms import InForce, Settings
from mqbridge.native.runtime.serve import serve
from mqbridge.native.runtime.session import Folder, Memory, Session, SessionOptions
from mqbridge.native.storage.lock import FolderLock
from mqbridge.native.storage.store import CLEAN
from tests.native.runtime.fakes import DEADLINE_S, Calls, HandClock, wait_until

TOPIC = {
    "name": "t",
    "spec": {"partitions": 1, "retention": {"max_age_s": None, "max_bytes": None}, "cleanup": "delete"},
}


class Opener:
    """Opens sessions and closes them at the end; `states` is what they were told."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.states: list[tuple[str, int]] = []

    def __call__(
        self,
        target: Memory | Folder,
        *,
        clock: Clock | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> Session:
        session = Session.open(
            target,
            clock or RealClock(),
            lambda note: None,
            lambda state, epoch: self.states.append((state, epoch)),
            SessionOptions(settings=settings or Settings(), **options),
        )
        self.sessions.append(session)
        return session


@pytest.fixture
def opener() -> Iterator[Opener]:
    made = Opener()
    yield made
    for session in made.sessions:
        session.close()


def ask(session: Session, op: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
    done = Calls()
    session.call(op, args or {}, [], done)
    return done.reply()


def topics(session: Session) -> list[str]:
    return [topic["name"] for topic in ask(session, "list_topics")["topics"]]


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_private_memory_is_private(opener: Opener) -> None:
    """Two sessions without a name share nothing."""
    one, two = opener(Memory()), opener(Memory())
    ask(one, "create_topic", TOPIC)
    assert (topics(one), topics(two)) == (["t"], [])
    assert one.role == "memory"


def test_named_memory_is_shared_until_the_last_leaves(opener: Opener) -> None:
    """Sessions of one name share a broker, which lives as long as one of them and no longer."""
    one, two = opener(Memory("x")), opener(Memory("x"))
    ask(one, "create_topic", TOPIC)
    one.close()
    assert topics(two) == ["t"]
    assert topics(opener(Memory("y"))) == []
    two.close()
    assert topics(opener(Memory("x"))) == []


def test_other_options_for_a_name_are_refused(opener: Opener, tmp_path: Path) -> None:
    """A second session cannot quietly get other settings or another clock than it asked for."""
    for target in (Memory("x"), Folder(tmp_path)):
        one = opener(target)
        with pytest.raises(errors.ConfigurationError, match=r"in this process, is open with segment_bytes=67108864,"):
            opener(target, settings=Settings(segment_bytes=1 << 20))
        with pytest.raises(errors.ConfigurationError, match="another clock"):
            opener(target, clock=HandClock())
        one.close()
        opener(target, settings=Settings(segment_bytes=1 << 20))


def test_options_that_were_not_given_are_those_of_the_broker(opener: Opener, tmp_path: Path) -> None:
    """Asking for nothing conflicts with nothing, and of several options only the one that differs is named."""
    for target in (Memory("x"), Folder(tmp_path)):
        one = opener(target, settings=Settings(durability="disk", segment_bytes=1 << 20))
        two = opener(target)
        assert two.settings == one.settings == InForce("disk", 1 << 20)
        opener(target, settings=Settings(segment_bytes=1 << 20))
        with pytest.raises(errors.ConfigurationError, match="durability=disk") as caught:
            opener(target, settings=Settings(durability="os", segment_bytes=1 << 20))
        assert "segment_bytes" not in str(caught.value)


def test_a_folder_opened_anew_keeps_what_was_in_force(opener: Opener, tmp_path: Path) -> None:
    """A broker that stopped itself comes back with the durability it had, whichever session opens it."""
    one, two = opener(Folder(tmp_path), settings=Settings(durability="disk")), opener(Folder(tmp_path))
    one.close()
    break_broker(two)
    wait_until(lambda: ("restored", 2) in opener.states, "the folder is opened anew")
    assert two.settings.durability == "disk"
    with pytest.raises(errors.ConfigurationError, match="durability=disk"):
        opener(Folder(tmp_path), settings=Settings(durability="os"))


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*")}


def test_a_folder_that_is_removed_ends_its_sessions(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker stops by itself, all its sessions end with the reason, and nothing is made where the folder was."""
    monkeypatch.setattr(rooms, "_FOLDER_CHECK_S", 0.02)
    threads, fds = set(threading.enumerate()), open_fds()
    folder = tmp_path / "f"
    sessions = [opener(Folder(folder)), opener(Folder(folder))]
    ask(sessions[0], "create_topic", TOPIC)
    shutil.rmtree(folder)
    wait_until(lambda: opener.states.count(("failed", 1)) == 2, "both have failed")
    assert sorted(opener.states) == [("failed", 1), ("failed", 1), ("lost", 1), ("lost", 1)]
    for session in sessions:
        done = Calls()
        session.call("list_topics", {}, [], done)
        error = done.error()
        assert isinstance(error, errors.Unreachable)
        assert (error.outcome, error.retryable) == ("not_applied", False)
        assert "was removed, moved or replaced while it was open" in str(error)
        session.close()
    assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= threads
    assert open_fds() == fds


def test_closing_leaves_alone_what_stands_in_the_folders_place(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A close that comes before the check says that the folder is gone, and writes and unlinks nothing there."""
    monkeypatch.setattr(rooms, "_FOLDER_CHECK_S", 3600.0)
    folder, other = tmp_path / "f", tmp_path / "other"
    opener(Folder(other)).close()
    (other / CLEAN).unlink()
    (other / address.SOCKET_NAME).touch()
    session = opener(Folder(folder))
    ask(session, "create_topic", TOPIC)
    folder.rename(tmp_path / "moved")
    other.rename(folder)
    before = tree(folder)
    done = Calls()
    session.call("create_topic", {**TOPIC, "name": "u"}, [], done)
    assert "was removed, moved or replaced" in str(done.error())
    with pytest.raises(errors.Unreachable, match="was removed, moved or replaced"):
        session.close()
    assert tree(folder) == before
    assert (tmp_path / "moved" / address.SOCKET_NAME).exists()


def test_whoever_opens_a_replaced_folder_gets_the_new_one(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new session of the same process does not join the broker of the folder that was; the old session fails."""
    monkeypatch.setattr(rooms, "_FOLDER_CHECK_S", 3600.0)
    folder = tmp_path / "f"
    old = opener(Folder(folder))
    ask(old, "create_topic", TOPIC)
    shutil.rmtree(folder)
    new = opener(Folder(folder))
    assert (topics(new), new.role) == ([], "host")
    wait_until(lambda: ("failed", 1) in opener.states, "the old session has failed")
    assert "was removed, moved or replaced" in str(old.failure)


def test_a_folder_opened_twice_in_a_process_is_shared(opener: Opener, tmp_path: Path) -> None:
    """By whatever path it is named, one process has one host for a folder; the last session closes it."""
    folder = tmp_path / "real"
    (tmp_path / "link").symlink_to(folder)
    one = opener(Folder(folder))
    two = opener(Folder(tmp_path / "link"))
    assert (one.role, two.role, one.session_epoch, two.session_epoch) == ("host", "host", 1, 1)
    ask(one, "create_topic", TOPIC)
    one.close()
    assert topics(two) == ["t"]
    two.close()
    three = opener(Folder(folder))
    assert topics(three) == ["t"]
    assert three.session_epoch == 2


def test_threads_that_open_one_folder_at_once_share_it(opener: Opener, tmp_path: Path) -> None:
    """Eight threads that race to open a new folder end up with one host."""
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        opener(Folder(tmp_path / "f"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(session.role, session.session_epoch) for session in opener.sessions] == [("host", 1)] * 8


@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_left_behind(opener: Opener, tmp_path: Path, named: bool) -> None:
    """After `close` there is no thread, descriptor or socket file more than before, and the lock is free."""
    threads, fds = set(threading.enumerate()), open_fds()
    session = opener(Folder(tmp_path / "f") if named else Memory("x"))
    ask(session, "create_topic", TOPIC)
    session.close()
    session.close()
    assert set(threading.enumerate()) == threads
    assert open_fds() == fds
    assert not (tmp_path / "f" / address.SOCKET_NAME).exists()
    lock = FolderLock(tmp_path / "f")
    assert lock.try_acquire()
    lock.release()
    assert rooms._registry.rooms == {}
    done = Calls()
    session.call("list_topics", {}, [], done)
    assert isinstance(done.error(), errors.Closed)
    assert session.role == "down"


def test_the_lock_goes_last(opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets the lock finds the socket gone and the store closed; also when closing the store fails."""
    order: list[str] = []
    session = opener(Folder(tmp_path))
    room = session._room
    assert room is not None
    assert room.lock is not None
    release, close = room.lock.release, room.store.close

    def closing() -> None:
        order.append(
            f"store, socket {(tmp_path / address.SOCKET_NAME).exists()}, broker {room.broker.stopped}"
        )
        close()
        raise errors.Unreachable("flush failed")

    monkeypatch.setattr(room.store, "close", closing)

    def releasing() -> None:
        order.append("lock")
        release()

    monkeypatch.setattr(room.lock, "release", releasing)
    with pytest.raises(errors.Unreachable, match="flush failed"):
        session.close()
    assert len(order) == 2
    assert order[0].startswith("store, socket False, broker the native broker of this process is closed")
    assert order[1] == "lock"
    opener(Folder(tmp_path))


def test_an_opening_that_fails_leaves_nothing(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign folder, or one where no socket can be made, raises at once and keeps no lock, thread or
    descriptor.
    """
    threads, fds = set(threading.enumerate()), open_fds()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "holiday.jpg").touch()
    with pytest.raises(errors.ConfigurationError, match="not made by mqbridge"):
        opener(Folder(tmp_path / "foreign"))

    def refuse(folder: Path) -> None:
        raise errors.Unreachable("no sockets here")

    with monkeypatch.context() as patch:
        patch.setattr(address, "listen", refuse)
        with pytest.raises(errors.Unreachable, match="no sockets here"):
            opener(Folder(tmp_path / "f"))
    assert set(threading.enumerate()) == threads
    assert open_fds() == fds
    assert opener(Folder(tmp_path / "f")).role == "host"


def test_a_stepped_clock_needs_no_ticker(opener: Opener, tmp_path: Path) -> None:
    """On a clock moved by hand neither memory nor a folder has a ticker thread."""
    clock = HandClock()
    opener(Memory(), clock=clock)
    opener(Folder(tmp_path), clock=clock)
    assert [thread.name for thread in threading.enumerate() if thread.name == "mqbridge-ticker"] == []
    assert len(clock.listeners) == 2
    clock.advance(100)


def break_broker(session: Session) -> Calls:
    """An internal fault in the session's own broker."""
    link = session._link
    assert isinstance(link, LocalLink)

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    link._broker._broker.call = fail  # type: ignore[method-assign,assignment]
    done = Calls()
    session.call("list_topics", {}, [], done)
    return done


def test_a_fault_in_a_folder_is_recovered_from(opener: Opener, tmp_path: Path) -> None:
    """The folder is opened anew from its journals: lost, restored with a higher epoch, in each session of the
    process.
    """
    one, two = opener(Folder(tmp_path)), opener(Folder(tmp_path))
    ask(one, "create_topic", TOPIC)
    assert break_broker(one).error().outcome == "unknown"
    wait_until(lambda: opener.states.count(("restored", 2)) == 2, "both are restored")
    assert sorted(opener.states) == [("lost", 1), ("lost", 1), ("restored", 2), ("restored", 2)]
    assert topics(one) == topics(two) == ["t"]
    assert (one.role, two.role) == ("host", "host")


def test_a_host_whose_server_fails_is_replaced(opener: Opener, tmp_path: Path) -> None:
    """A fault of the thread that serves other processes does not leave a folder that nobody else can reach."""
    session = opener(Folder(tmp_path))
    ask(session, "create_topic", TOPIC)
    room = session._room
    assert room is not None
    assert room.server is not None

    def fail() -> None:
        raise OSError("a bug")

    room.server._turn = fail  # type: ignore[method-assign]
    room.server._waker.wake()
    wait_until(lambda: ("restored", 2) in opener.states, "the folder is opened anew")
    assert topics(session) == ["t"]
    assert (tmp_path / address.SOCKET_NAME).is_socket()


def test_a_fault_in_memory_is_the_end_of_it(opener: Opener) -> None:
    """Memory cannot be recovered: lost, failed, and every later call says so; the name can be used anew."""
    session = opener(Memory("x"))
    break_broker(session)
    wait_until(lambda: len(opener.states) == 2, "two states")
    assert opener.states == [("lost", 1), ("failed", 1)]
    done = Calls()
    session.call("list_topics", {}, [], done)
    assert isinstance(done.error(), errors.Unreachable)
    assert topics(opener(Memory("x"))) == []


def test_a_host_that_goes_away_at_once_is_not_installed(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that has ended before it became the session's is replaced quietly: nobody hears of a loss."""
    lock = FolderLock(tmp_path)
    assert lock.try_acquire()
    listener = address.listen(tmp_path)
    listener.settimeout(DEADLINE_S)

    def host_briefly() -> None:
        connected, _ = listener.accept()
        with connected:
            connected.settimeout(DEADLINE_S)
            connected.recv(4096)
            hello = {"t": "hello", "protocol": wire.PROTOCOL, "version": "", "epoch": 9, "pid": 1}
            hello["settings"] = vars(InForce())
            connected.sendall(wire.encode_frame(hello) + wire.encode_frame({"t": "welcome"}))
        listener.close()
        lock.release()

    install = Session._install
    installed: list[Any] = []

    def install_late(self: Session, link: Any, *, restored: bool) -> bool:
        if isinstance(link, RemoteLink):
            link._thread.join(DEADLINE_S)
        installed.append(install(self, link, restored=restored))
        return bool(installed[-1])

    monkeypatch.setattr(Session, "_install", install_late)
    brief = threading.Thread(target=host_briefly)
    brief.start()
    session = opener(Folder(tmp_path))
    brief.join()
    assert installed == [False, True]
    assert (session.role, opener.states) == ("host", [])


def test_serve_hosts_until_it_is_stopped(tmp_path: Path) -> None:
    """`serve` is ready as host, serves, and leaves nothing when its event is set."""
    stop, ready, roles = threading.Event(), threading.Event(), list[str]()

    def on_ready(session: Session) -> None:
        roles.append(session.role)
        ready.set()

    thread = threading.Thread(target=serve, args=(tmp_path, stop, on_ready))
    thread.start()
    assert ready.wait(DEADLINE_S)
    assert roles == ["host"]
    stop.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert not (tmp_path / address.SOCKET_NAME).exists()
