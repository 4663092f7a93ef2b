"""Which partition a record goes to: equal to Kafka's Java client, spread without a key, checked when foreign."""

from __future__ import annotations

from collections import Counter
from threading import Thread

import pytest

from mqbridge.semantics.partitioners import (
    MEMO_KEY_BYTES,
    MEMO_KEYS,
    ByKey,
    RoundRobin,
    Sticky,
    check_partition,
    murmur2,
    partition_for_key,
)

# Signed results, as Java prints them: the first six from UtilsTest.testMurmur2 of Apache Kafka, the others
# published by ports of it, one for each length modulo four and the empty key.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
    b"": 275646681,
    b"string-f-24-chars-length": 124730809,
    b"string-fo-25-chars-length": 1269511650,
    b"string-foo-26-chars-length": 119165628,
}


@pytest.mark.parametrize(("key", "signed"), JAVA.items())
def test_murmur2_has_the_bits_of_the_java_client(key: bytes, signed: int) -> None:
    """The unsigned result is Java's signed one modulo 2**32."""
    assert murmur2(key) == signed % 2**32


def test_murmur2_reads_bytes_above_127_as_unsigned() -> None:
    """Java masks each tail byte with 0xff; sign extension would give the key 0xff the bits of another one."""
    assert len({murmur2(bytes([byte]) * length) for byte in (0x7F, 0x80, 0xFF) for length in (1, 2, 3, 4, 5)}) == 15


@pytest.mark.parametrize(("key", "signed"), JAVA.items())
@pytest.mark.parametrize("partitions", [1, 2, 7, 12, 1000])
def test_partition_drops_the_sign_bit_and_is_no_absolute_value(key: bytes, signed: int, partitions: int) -> None:
    """toPositive masks the sign bit; abs() would place half of all keys elsewhere."""
    assert partition_for_key(key, partitions) == (signed & 0x7FFFFFFF) % partitions


def test_partition_for_key_refuses_a_topic_without_partitions() -> None:
    """No partition count below one is taken."""
    with pytest.raises(ValueError, match="at least one partition"):
        partition_for_key(b"k", 0)


def test_by_key_gives_the_java_partition_from_the_memo_too() -> None:
    """A remembered key goes where it went first, in a topic of another partition count as well."""
    partitioner = ByKey()
    for _ in range(2):
        for key in JAVA:
            assert partitioner("orders", key, b"v", 7) == partition_for_key(key, 7)
            assert partitioner("bills", key, None, 12) == partition_for_key(key, 12)


def test_by_key_memo_is_bounded_and_changes_no_result() -> None:
    """More keys than the memo takes, and a key too long for it, are placed all the same."""
    partitioner = ByKey()
    for number in range(MEMO_KEYS + 10):
        partitioner("t", b"%d" % number, None, 6)
    assert len(partitioner._memo) == 10
    long_key = b"k" * (MEMO_KEY_BYTES + 1)
    assert partitioner("t", long_key, None, 6) == partition_for_key(long_key, 6)
    assert long_key not in partitioner._memo
    assert partitioner("t", b"0", None, 6) == partition_for_key(b"0", 6)


def test_by_key_takes_the_empty_key_for_a_key() -> None:
    """The empty key has one partition, murmur2's, where records without a key wander."""
    partitioner = ByKey()
    assert {partitioner("t", b"", b"v", 12) for _ in range(500)} == {partition_for_key(b"", 12)}
    assert len({partitioner("t", None, b"v", 12) for _ in range(500)}) == 5


def test_keyless_records_go_in_runs_of_the_stated_length() -> None:
    """After `run_records` records, and not before, the next partition has its turn; after the last the first."""
    sticky = Sticky(run_records=3)
    assert [sticky("t", None, b"v", 2) for _ in range(10)] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]


def test_a_run_ends_by_bytes_too() -> None:
    """Large records do not stay on one partition for a hundred records: keys and values count."""
    sticky = Sticky(run_records=100, run_bytes=10)
    assert [sticky("t", b"key", b"1234567", 3) for _ in range(4)] == [0, 1, 2, 0]
    assert [sticky("u", None, b"12345", 3) for _ in range(4)] == [0, 0, 1, 1]


@pytest.mark.parametrize("partitioner", [RoundRobin(), Sticky(run_records=1)])
def test_topics_written_in_turns_are_both_spread_evenly(partitioner: RoundRobin | Sticky) -> None:
    """Each topic has its own counter: with one for both, each topic would use one of its two partitions."""
    spread = Counter((topic, partitioner(topic, b"k", b"v", 2)) for _ in range(10) for topic in ("a", "b"))
    assert spread == {("a", 0): 5, ("a", 1): 5, ("b", 0): 5, ("b", 1): 5}


def test_start_moves_the_first_partition() -> None:
    """Producers of few records can begin at different partitions."""
    assert RoundRobin(5)("t", None, None, 3) == 2
    assert Sticky(4)("t", None, None, 3) == 1
    assert ByKey(4)("t", None, None, 3) == 1


def test_added_partitions_are_used_at_once() -> None:
    """The count is asked for each record and is not remembered."""
    partitioner = RoundRobin()
    assert [partitioner("t", None, None, 1) for _ in range(3)] == [0, 0, 0]
    assert {partitioner("t", None, None, 4) for _ in range(4)} == {0, 1, 2, 3}


def test_round_robin_loses_no_turn_between_threads() -> None:
    """Four threads that share a producer still fill all partitions exactly equally."""
    partitioner = RoundRobin()
    results: list[list[int]] = [[] for _ in range(4)]

    def send(mine: list[int]) -> None:
        mine.extend(partitioner("t", None, None, 4) for _ in range(5_000))

    threads = [Thread(target=send, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Counter(partition for mine in results for partition in mine) == dict.fromkeys(range(4), 5_000)


@pytest.mark.parametrize("result", [-1, 3, True, 1.0, "1", None])
def test_what_is_no_partition_number_is_refused(result: object) -> None:
    """A negative, too large, boolean, float or missing result never becomes a partition by accident."""
    with pytest.raises(ValueError, match="partitioner return"):
        check_partition(result, 3)


def test_a_partition_number_passes() -> None:
    """The first and the last partition are partitions."""
    assert [check_partition(number, 3) for number in (0, 2)] == [0, 2]


@pytest.mark.parametrize("make", [ByKey, RoundRobin, Sticky])
def test_each_producer_has_state_of_its_own(make: type[ByKey] | type[RoundRobin] | type[Sticky]) -> None:
    """Two objects share no counter: the second begins where the first began."""
    one, other = make(), make()
    first = [one("t", None, b"v", 5) for _ in range(150)]
    assert first == [other("t", None, b"v", 5) for _ in range(150)]


@pytest.mark.parametrize("make", [lambda: RoundRobin(-1), lambda: Sticky(run_records=0), lambda: Sticky(run_bytes=0)])
def test_impossible_settings_are_refused(make: type[Sticky]) -> None:
    """A run of nothing would never end and a negative start has no meaning."""
    with pytest.raises(ValueError, match="partition|run"):
        make()
