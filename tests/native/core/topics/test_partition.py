"""One partition: what a reader may ask for, and who is told of more."""

from __future__ import annotations

import pytest

from mqbridge import errors
from mqbridge.native.core.topics.partition import Partition
from mqbridge.native.storage.logs import MemoryPartitionLog
from tests.native.core.world import batch


@pytest.fixture
def partition() -> Partition:
    made = Partition("t", 0, MemoryPartitionLog(), None)
    made.append(batch(*[b"x"] * 5))
    return made


@pytest.mark.parametrize(
    ("offset", "error"), [(1, errors.OffsetLost), (2, None), (5, None), (6, errors.ConfigurationError)]
)
def test_only_offsets_from_start_to_end_can_be_read(
    partition: Partition, offset: int, error: type[errors.MqbridgeError] | None
) -> None:
    """Below lies what was lost, beyond what never was; the two are told apart."""
    partition.delete_before(2)
    if error is None:
        assert len(partition.fetch(offset, 1000)) == (offset < 5)
    else:
        with pytest.raises(error):
            partition.fetch(offset, 1000)


def test_the_start_never_goes_back(partition: Partition) -> None:
    """Deleting before an offset that is gone already changes nothing."""
    partition.delete_before(4)
    partition.delete_before(1)
    assert (partition.start, partition.end) == (4, 5)


def test_watchers_are_kept_once_and_in_order(partition: Partition) -> None:
    """A session is told once however often it watches; who stops watching is forgotten."""
    for session in (3, 1, 3, 2):
        partition.watch(session)
    partition.unwatch(1)
    partition.unwatch(9)
    assert partition.take_watchers() == [3, 2]
    assert partition.take_watchers() == []
