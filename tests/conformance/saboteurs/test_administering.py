"""Each saboteur of administration does what its name says, and nothing else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge import spi
from mqbridge_conformance.saboteurs import SABOTEURS, Plan, open_bus, strikes_told
from mqbridge_conformance.saboteurs.strikes import Draws, Strikes
from tests.conformance.saboteurs.broken import TOPIC, Pair, fill, member, pair, receive

QUEUE = mq.Queue("q", max_attempts=2)
EXCHANGE = mq.Exchange("x", type="topic")


def dead(bus: Pair, count: int) -> None:
    """So many dead letters."""
    bus.clean.admin.ensure(QUEUE)
    with bus.clean.producer() as producer:
        producer.send_many(QUEUE, [b"%d" % n for n in range(count)])
    with bus.clean.consumer(QUEUE) as consumer:
        for delivery in receive(consumer, count):
            delivery.reject("no")


def test_s35_makes_what_it_looks_at(tmp_path: Path) -> None:
    """The topic is there afterwards; a queue is not."""
    with pair("S35", tmp_path) as bus:
        bus.broken.admin.describe(TOPIC)
        with pytest.raises(mq.NotFound):
            bus.broken.admin.describe(QUEUE)
        assert bus.clean.admin.list_topics() == [TOPIC]
        assert len(bus.strikes) == 1


def test_s36_makes_what_it_sends_to(tmp_path: Path) -> None:
    """The topic is there afterwards, with the record."""
    with pair("S36", tmp_path) as bus, bus.broken.producer() as producer:
        producer.send(TOPIC, b"x").result(10)
        producer.send(mq.Topic("t"), b"y").result(10)
        assert bus.values(TOPIC) == [b"x", b"y"]
        assert len(bus.strikes) == 1


def test_s37_hides_that_what_exists_is_another(tmp_path: Path) -> None:
    """`ensure` is content, and nothing was changed."""
    with pair("S37", tmp_path) as bus:
        bus.clean.admin.ensure(mq.Topic("t", partitions=3), QUEUE)
        bus.broken.admin.ensure(mq.Topic("t", partitions=5), mq.Queue("q", max_attempts=9))
        assert len(bus.clean.admin.offsets(TOPIC)) == 3


def test_s38_tries_what_the_engine_does_not_have(tmp_path: Path) -> None:
    """Nothing is refused for want of a capability."""
    with pair("S38", tmp_path) as bus:
        assert bus.broken.capabilities[mq.Capability.TRANSACTIONS].level is mq.Level.UNSUPPORTED
        bus.broken.require(mq.Capability.TRANSACTIONS)
        with pytest.raises(mq.Unsupported):
            bus.clean.require(mq.Capability.TRANSACTIONS)


def test_s52_lets_in_who_is_not_the_first(tmp_path: Path) -> None:
    """Whoever comes second is taken for the first; who comes elsewhere is who he is."""
    engine = SABOTEURS["S52"].pieces.request
    assert engine is not None
    strikes = Strikes(Draws(Plan("S52")))

    def asked(host: str, user: str, path: str = "") -> spi.ConnectRequest:
        url = spi.Url("s52", ((host, 1),), user, "secret", path)
        return spi.ConnectRequest(url, {}, "allow", 1.0, lambda _state, _reason: None)

    assert engine(asked("a", "first"), strikes).url.username == "first"
    second = engine(asked("a", "second", "path"), strikes).url
    assert (second.username, second.path) == ("first", "path")
    assert engine(asked("b", "second"), strikes).url.username == "second"


def test_s53_has_nothing_native_to_show(tmp_path: Path) -> None:
    """What the clean bus shows cannot be had."""
    with pair("S53", tmp_path) as bus:
        assert bus.clean.unwrap(object)
        with pytest.raises(mq.InvalidSpec):
            bus.broken.unwrap(object)
        bus.clean.admin.ensure(TOPIC, QUEUE)
        with member(bus.broken) as of_topic, bus.broken.consumer(QUEUE) as of_queue:
            for consumer in (of_topic, of_queue):
                with pytest.raises(mq.InvalidSpec):
                    consumer.run_on_client(object, repr)


def test_s56_emulates_what_is_forbidden(tmp_path: Path) -> None:
    """A bus that is to refuse emulations does not; one that allows them is left alone."""
    plan = Plan("S56", told=tmp_path / "strikes.jsonl")
    for emulation, told in (("allow", 0), ("forbid", 1)):
        with open_bus("native:", plan=plan, emulation=emulation) as bus:
            bus.require(mq.Capability.TOPIC_RETRY)
        assert len(strikes_told(tmp_path / "strikes.jsonl")) == told
    with mq.connect("native:", emulation="forbid") as bus, pytest.raises(mq.Unsupported):
        bus.require(mq.Capability.TOPIC_RETRY)


def test_s39_and_s40_lie_about_a_queue(tmp_path: Path) -> None:
    """A purge tells a figure and purges nothing; a depth is one too many."""
    for code in ("S39", "S40"):
        (tmp_path / code).mkdir()
        with pair(code, tmp_path / code) as bus:
            bus.clean.admin.ensure(QUEUE)
            with bus.clean.producer() as producer:
                producer.send_many(QUEUE, [b"1", b"2"])
            if code == "S39":
                assert bus.broken.admin.purge(QUEUE) == 2
            else:
                assert bus.broken.admin.depth(QUEUE) == 3
            assert bus.clean.admin.depth(QUEUE) == 2


def test_s41_redrives_nothing(tmp_path: Path) -> None:
    """It says how many it moved, and they lie where they lay."""
    with pair("S41", tmp_path) as bus:
        dead(bus, 2)
        assert bus.broken.admin.redrive(QUEUE) == 2
        token = bus.clean.admin.dead_letters(QUEUE)[0].token
        assert bus.broken.admin.redrive(QUEUE, tokens=[token]) == 1
        assert len(bus.clean.admin.dead_letters(QUEUE)) == 2


def test_s42_says_something_else_of_what_is_missing(tmp_path: Path) -> None:
    """What is not there is refused by the wrong error."""
    with pair("S42", tmp_path) as bus:
        for missing in (TOPIC, QUEUE):
            with pytest.raises(mq.Rejected):
                bus.broken.admin.describe(missing)


def test_s75_keeps_groups_that_are_deleted(tmp_path: Path) -> None:
    """Deleting one is answered, and it is still there."""
    with pair("S75", tmp_path) as bus:
        fill(bus)
        with member(bus.clean) as consumer:
            consumer.wait_assigned(10)
        bus.broken.admin.delete_group("g")
        assert [one.group for one in bus.clean.admin.list_groups()] == ["g"]
        assert len(bus.strikes) == 1


def test_s43_s44_s46_and_s47_change_nothing(tmp_path: Path) -> None:
    """Each answers as if it had, and what is there is what was."""
    with pair("S43", tmp_path) as bus:
        fill(bus)
        bus.broken.admin.delete(TOPIC)
        assert len(bus.values(TOPIC)) == 6
    with pair("S44", tmp_path) as bus:
        fill(bus)
        bus.broken.admin.add_partitions(TOPIC, 4)
        assert len(bus.clean.admin.offsets(TOPIC)) == 1
    with pair("S46", tmp_path) as bus:
        fill(bus)
        with member(bus.clean) as consumer:
            consumer.wait_assigned(10)
        assert bus.broken.admin.reset_offsets("g", TOPIC, mq.LATEST, dry_run=False).applied
        assert bus.clean.admin.describe_group("g").committed == {("t", 0): 0}
    with pair("S47", tmp_path) as bus:
        fill(bus)
        bus.broken.admin.delete_records(TOPIC, {0: 3})
        assert len(bus.values(TOPIC)) == 6


def test_s45_says_that_a_group_is_less_behind(tmp_path: Path) -> None:
    """Of six it says five, of none none; the committed offset it tells truly."""
    with pair("S45", tmp_path) as bus:
        fill(bus)
        with member(bus.clean) as consumer:
            consumer.wait_assigned(10)
        told = bus.broken.admin.describe_group("g")
        assert (told.lag_messages, told.committed) == ({("t", 0): 5}, {("t", 0): 0})


def test_s48_s49_and_s50_bind_otherwise(tmp_path: Path) -> None:
    """A binding takes more than one word, is not made, or stays."""
    found = {}
    for code in ("S48", "S49", "S50"):
        (tmp_path / code).mkdir()
        with pair(code, tmp_path / code) as bus, bus.clean.producer() as producer:
            bus.clean.admin.ensure(QUEUE, EXCHANGE)
            binding = mq.Binding(EXCHANGE, QUEUE, key="a.*")
            (bus.clean if code == "S50" else bus.broken).admin.bind(binding)
            if code == "S50":
                bus.broken.admin.unbind(binding)
            for key in ("a.b", "a.b.c"):
                producer.send(EXCHANGE, b"x", routing_key=key).exception(10)
            found[code] = bus.clean.admin.depth(QUEUE)
            assert len(bus.strikes) == 1
    assert found == {"S48": 2, "S49": 0, "S50": 1}


def test_s51_finds_the_offset_after_the_one_of_a_time(tmp_path: Path) -> None:
    """One more than it should be, and no offset where there is none."""
    with pair("S51", tmp_path) as bus:
        fill(bus)
        past, future = dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
        assert bus.broken.admin.offset_at(TOPIC, past) == {0: 1}
        assert bus.broken.admin.offset_at(TOPIC, future) == {0: None}


def test_s69_deletes_one_record_more(tmp_path: Path) -> None:
    """Where there is one more."""
    with pair("S69", tmp_path) as bus:
        fill(bus)
        bus.broken.admin.delete_records(TOPIC, {0: 2})
        assert bus.clean.admin.offsets(TOPIC)[0].start == 3
        bus.broken.admin.delete_records(TOPIC, {0: 6})
        assert bus.clean.admin.offsets(TOPIC)[0].start == 6
        assert len(bus.strikes) == 1
