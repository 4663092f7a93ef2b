"""A proxy passes all bytes on, and does to them what it was told from the moment when it was told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mqbridge.testing import wait_until
from mqbridge_conformance.brokers.links import ANSWER, REQUEST, Dropping, Framer, Plain, Proxy, Way
from mqbridge_conformance.results import CannotTell

WAIT_S = 10.0


class Words(Framer):
    """u8 length and a word, which is its name."""

    def size(self, way: Way, buffer: bytearray, at: int) -> int:
        return 1 + buffer[at] if len(buffer) > at else 0

    def name(self, way: Way, frame: bytes) -> str:
        return frame[1:].decode()


def word(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


class Echo:
    """A server that keeps what it was sent, and sends it back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.got = bytearray()
        self.ended: list[bool] = []
        """How connections ended: orderly or not."""
        self.talks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:
                return
            self.talks.append(talk)
            threading.Thread(target=self._serve, args=(talk,), daemon=True).start()

    def _serve(self, talk: socket.socket) -> None:
        with talk:
            try:
                while data := talk.recv(65536):
                    self.got += data
                    talk.sendall(data)
                self.ended.append(True)
            except OSError:
                self.ended.append(False)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    found = Echo()
    yield found
    found.close()


@pytest.fixture
def make(echo: Echo) -> Iterator[Callable[[type[Framer]], Proxy]]:
    made: list[Proxy] = []

    def begin(framer: type[Framer]) -> Proxy:
        made.append(Proxy.listen(framer))
        made[-1].lead_to("127.0.0.1", echo.port)
        return made[-1]

    yield begin
    for proxy in made:
        proxy.close()


@pytest.fixture
def proxy(make: Callable[[type[Framer]], Proxy]) -> Proxy:
    return make(Words)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with talk(proxy) as found:
        found.sendall(word("hello"))
        assert read(found, 6) == word("hello")
        yield found


def talk(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), WAIT_S)


def read(talk: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := talk.recv(size - len(data))):
        data += more
    return data


def refused(proxy: Proxy) -> bool:
    try:
        with talk(proxy) as other:
            other.recv(1)
    except ConnectionError:
        return True
    return False


def pour(talk: socket.socket, most: int) -> int:
    """Send until nothing is taken any more, or so much was; how much."""
    talk.settimeout(0.3)
    data = word("x" * 200) * 5000
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            sent += talk.send(data)
    return sent


def silent(talk: socket.socket, seconds: float = 0.1) -> bool:
    talk.settimeout(seconds)
    try:
        talk.recv(1)
    except TimeoutError:
        return True
    finally:
        talk.settimeout(WAIT_S)
    return False


@pytest.mark.parametrize("framer", [Plain, Words])
def test_everything_goes_through(make: Callable[[type[Framer]], Proxy], framer: type[Framer]) -> None:
    """Megabytes, both ways at once, from a client that reads only later; and the end too."""
    with talk(make(framer)) as client:
        data = word("x" * 200) * 50_000
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert read(client, len(data)) == data
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_server_that_ends_is_an_end_for_the_client(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    """And one that is not there is no connection."""
    echo.talks[0].shutdown(socket.SHUT_RDWR)
    assert client.recv(1) == b""
    echo.close()
    proxy.lead_to("127.0.0.1", 1)
    assert refused(proxy)


def test_a_cut_resets_what_is_open_and_what_comes(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    """In force when ordered; the server hears of it too; mended, new connections go through, and all is counted."""
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_until(lambda: echo.ended == [False], WAIT_S)
    assert refused(proxy)
    assert proxy.mend() == {"cut": 2}
    with talk(proxy) as again:
        again.sendall(word("again"))
        assert read(again, 6) == word("again")


@pytest.mark.parametrize(("ways", "arrived"), [((REQUEST, ANSWER), False), ((REQUEST,), False), ((ANSWER,), True)])
def test_a_stall_holds_back_one_way_or_both(
    proxy: Proxy, client: socket.socket, echo: Echo, ways: tuple[Way, ...], arrived: bool
) -> None:
    """Nothing is lost, the connection stays, and a request may have arrived though no answer comes."""
    proxy.stall(ways)
    client.sendall(word("late"))
    assert silent(client)
    if arrived:
        wait_until(lambda: echo.got.endswith(word("late")), WAIT_S)
    assert echo.got.endswith(word("late")) == arrived
    assert proxy.go_on() == {"held": 5}
    assert read(client, 5) == word("late")


def test_on_a_stalled_way_nobody_hears_of_an_end(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    """Half open: the client is gone, and the server learns of it only when it goes on."""
    proxy.stall()
    client.close()
    assert not threading.Event().wait(0.1)
    assert echo.ended == []
    proxy.go_on()
    wait_until(lambda: echo.ended == [True], WAIT_S)


def test_a_delay_makes_every_byte_late_and_changes_no_order(proxy: Proxy, client: socket.socket) -> None:
    """Both ways, so an answer takes twice as long; without waiting for one another, and no longer afterwards."""
    proxy.delay(0.1)
    began_s = time.monotonic()
    for text in ("one", "two", "three"):
        client.sendall(word(text))
        threading.Event().wait(0.01)
    assert read(client, 14) == word("one") + word("two") + word("three")
    assert 0.2 <= time.monotonic() - began_s
    assert proxy.hurry() == {"late": 28}
    client.sendall(word("four"))
    assert read(client, 5) == word("four")
    assert proxy.hurry() == {"late": 28}, "what came after that was not late"


def drop(proxy: Proxy, way: Way, *names: str, times: int = 1) -> tuple[Dropping, list[str]]:
    met: list[str] = []
    return proxy.drop(way, names, times, lambda _, name: met.append(name)), met


def test_a_dropped_answer_was_asked_for_and_done(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    """What went before it arrives, the answer does not, and the connection ends on both sides."""
    dropping, met = drop(proxy, ANSWER, "second")
    client.sendall(word("first") + word("second") + word("third"))
    assert read(client, 100) == word("first")
    assert echo.got.endswith(word("first") + word("second") + word("third"))
    wait_until(lambda: len(echo.ended) == 1, WAIT_S)
    assert (dropping.dropped, met) == (1, ["second"])


def test_a_dropped_request_never_arrives(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    """Nor does what was sent behind it on that connection; what went before it does."""
    drop(proxy, REQUEST, "second")
    client.sendall(word("first") + word("second") + word("third"))
    assert read(client, 100) in (b"", word("first"))
    wait_until(lambda: len(echo.ended) == 1, WAIT_S)
    assert echo.got.endswith(word("first"))


def test_as_many_are_dropped_as_were_ordered(proxy: Proxy) -> None:
    """The next one goes through; and none is dropped for an order that was taken back."""
    dropping, met = drop(proxy, ANSWER, "x", "y", times=2)
    for text, comes in (("x", False), ("y", False), ("x", True)):
        with talk(proxy) as client:
            client.sendall(word(text))
            assert read(client, 2) == (word(text) if comes else b"")
    assert met == ["x", "y"]
    dropping, met = drop(proxy, ANSWER, "x")
    proxy.leave(dropping)
    with talk(proxy) as client:
        client.sendall(word("x"))
        assert read(client, 2) == word("x")
    assert met == []


def test_a_sender_waits_when_too_much_waits(proxy: Proxy, client: socket.socket) -> None:
    """What is held back is bounded: then the sender's own socket is full, as for a network that stands still."""
    proxy.stall()
    assert pour(client, 100_000_000) < 60_000_000


def test_bytes_that_are_no_frames_are_told_at_the_end(echo: Echo) -> None:
    """A proxy that could not read what went through it could not have dropped what it was told to."""

    class Never(Words):
        def name(self, way: Way, frame: bytes) -> str:
            raise ValueError("no such word")

    proxy = Proxy.listen(Never)
    proxy.lead_to("127.0.0.1", echo.port)
    with talk(proxy) as client:
        client.sendall(word("hello"))
        assert client.recv(1) == b""
    with pytest.raises(CannotTell, match="no such word"):
        proxy.close()


def test_a_closed_proxy_leaves_nothing_open(make: Callable[[type[Framer]], Proxy], echo: Echo) -> None:
    """Neither its port nor the connections; closing again is harmless."""
    proxy = make(Plain)
    port = proxy.port
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        proxy.close()
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), WAIT_S)
    proxy.close()
