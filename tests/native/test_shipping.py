"""The native sender's order: what was refused or lost is sent again before anything newer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from mqbridge import spi
from mqbridge.errors import ConnectionLost, Denied, MqbridgeError
from mqbridge.native.engine import NativeConnection
from mqbridge.native.runtime.links import NoRoom
from mqbridge.native.sending import NativeSender, QueueChannel
from tests.native.scripted import ScriptedConnection, ScriptedLink

GONE = ConnectionLost("gone", outcome="not_applied")
DOUBT = ConnectionLost("gone", outcome="unknown")
FULL = NoRoom("full")


class Ends:
    """What became of each number."""

    def __init__(self) -> None:
        self.ok: list[int] = []
        self.errors: dict[int, MqbridgeError] = {}

    def confirmed(self, first: int, count: int, partition: int | None, base_offset: int | None) -> None:
        self.ok.extend(range(first, first + count))

    def confirmed_at(self, sequence: Sequence[int], partition: int | None, base_offset: int | None) -> None:
        self.ok.extend(sequence)

    def failed(self, sequence: Sequence[int], error: MqbridgeError) -> None:
        for number in sequence:
            assert number not in self.errors
            self.errors[number] = error

    def room(self) -> None:
        """Nobody waits."""


class Shop:
    def __init__(self, on_unknown: Any = "fail") -> None:
        self.connection = ScriptedConnection()
        self.sender = NativeSender(
            cast(NativeConnection, self.connection),
            spi.SenderSpec("all", None, 0.0, 1 << 20, None, 10.0, 1 << 30, on_unknown),
        )
        self.ends = Ends()
        self.channel = QueueChannel(self.sender, "q", self.ends, "enqueue", "queue")
        self.sender._channels.append(self.channel)

    @property
    def link(self) -> ScriptedLink:
        return self.connection.session.link

    def send(self, *values: bytes) -> None:
        for value in values:
            self.channel.append(value, None, None, None, None, None)

    def values(self) -> list[bytes | None]:
        """What is on its way to the present host."""
        return [value for _, _, batches, _ in self.link.asked for value in batches[0].values]

    def new_link(self) -> ScriptedLink:
        old = self.link
        self.connection.session.link = ScriptedLink()
        return old


def test_nothing_passes_what_is_out_at_a_host_that_left() -> None:
    """Messages sent between the end of the old link and the return of what it had not answered come after those."""
    shop = Shop()
    shop.send(b"0", b"1")
    old = shop.new_link()
    shop.send(b"2")
    assert shop.values() == []
    old.fail(GONE)
    shop.send(b"3")
    assert shop.values() == []
    old.fail(GONE)
    assert shop.connection.woken > 0
    shop.sender.restored()
    assert shop.values() == [b"0", b"1", b"2", b"3"]
    shop.send(b"4")
    assert shop.values()[-1] == b"4"


def test_what_is_held_goes_on_when_the_last_answer_was_a_good_one() -> None:
    """A channel that waits for the answers of an old link does not wait for a timer that nobody set."""
    shop = Shop()
    shop.send(b"0")
    old = shop.new_link()
    shop.send(b"1")
    old.answer({})
    assert shop.values() == [b"1"]
    shop.link.answer({})
    assert shop.ends.ok == [0, 1]


def test_a_refusal_is_known_before_it_is_told() -> None:
    """The link refuses one and has room for the next before the mailbox has told the channel: the next one waits."""
    shop = Shop()
    shop.send(b"0")
    shop.link.refusal = FULL
    shop.send(b"1")
    shop.link.refusal = None
    shop.send(b"2")
    assert shop.values() == [b"0"]
    shop.link.tell_refusals()
    shop.link.answer({})
    assert shop.values() == [b"1", b"2"]
    assert shop.ends.errors == {}


def test_a_link_that_stays_full_is_asked_once_a_turn() -> None:
    """A channel with nothing out leaves the next attempt to the timer, and a refused attempt does not try the rest."""
    shop = Shop()
    shop.link.refusal = FULL
    shop.send(b"0", b"1", b"2")
    shop.link.tell_refusals()
    for _ in range(3):
        woken = shop.connection.woken
        shop.sender.restored()
        assert len(shop.link.refused) == 1
        shop.link.tell_refusals()
        assert shop.connection.woken == woken + 1
    shop.link.refusal = None
    shop.sender.restored()
    assert shop.values() == [b"0", b"1", b"2"]


def test_a_refusal_told_at_once_is_not_tried_again_at_once() -> None:
    """With nothing out, a refused attempt ends the turn, though the channel might ship as far as it knows."""
    shop = Shop()
    shop.send(b"0")
    old = shop.new_link()
    shop.send(b"1", b"2")
    shop.link.refusal = FULL
    shop.link.prompt = True
    old.answer({})
    assert len(shop.link.refused) == 1
    assert shop.connection.woken == 1
    shop.link.refusal = None
    shop.sender.restored()
    assert shop.values() == [b"1", b"2"]


@pytest.mark.parametrize(("error", "outcome"), [(GONE, "not_applied"), (DOUBT, "unknown")])
def test_a_backlog_gives_up_before_nobody_knows(error: MqbridgeError, outcome: str) -> None:
    """Without a host, messages end a little before the delivery timeout: not applied, unless one may have been."""
    shop = Shop(on_unknown="resend")
    shop.send(b"0")
    shop.link.fail(error)
    shop.connection.clock.now_s += 7.9
    shop.sender.expire()
    assert shop.ends.errors == {}
    shop.connection.clock.now_s += 0.2
    shop.sender.expire()
    assert shop.ends.errors[0].outcome == outcome
    assert shop.sender.in_flight_bytes == 0


def test_a_backlog_ends_with_the_session() -> None:
    """When there will be no host, what waits fails with the reason, and what comes later as well."""
    shop = Shop()
    shop.send(b"0")
    shop.link.fail(GONE)
    shop.sender.fail(Denied("no"))
    assert isinstance(shop.ends.errors[0], Denied)
    shop.link.refusal = Denied("no")
    shop.send(b"1")
    shop.link.tell_refusals()
    assert isinstance(shop.ends.errors[1], Denied)


def test_an_answer_that_overtakes_the_look_is_not_waited_for() -> None:
    """The last answer comes between the look at what is out and the message's place in the backlog: a timer is set."""
    shop = Shop()
    shop.send(b"0")
    old = shop.new_link()
    may_ship: Callable[[Any], bool] = shop.channel._may_ship

    def look(link: Any) -> bool:
        may = may_ship(link)
        if old.asked:
            old.answer({})
        return may

    shop.channel._may_ship = look  # type: ignore[method-assign]
    shop.send(b"1")
    assert shop.values() == [b"1"] or shop.connection.woken == 1
