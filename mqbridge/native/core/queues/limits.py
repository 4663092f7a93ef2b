"""How much a queue may hold: which records of a batch fit.

The rule: pure arithmetic over counts and bytes of values; what happens to a record that does not fit is decided by the
queue. As on RabbitMQ, what is at a consumer does not count. Unlike there, no record is let in that
would exceed `max_bytes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mqbridge.native.core.ports import Batch, MakeBatch
from mqbridge.native.core.queues.deadletter import Refusal
from mqbridge.native.core.queues.spec import QueueSpec

_UNLIMITED = 1 << 62


def full(queue: str, spec: QueueSpec) -> Refusal:
    """The refusal of a record for which there is no room."""
    said = [
        f"{name}={value}"
        for name, value in (("max_length", spec.max_length), ("max_bytes", spec.max_bytes))
        if value is not None
    ]
    return Refusal(
        "rejected",
        f"queue {queue!r} is full ({', '.join(said)}, overflow={spec.overflow}); this message was not enqueued: "
        "consume some, then send it again",
    )


def fitting(batch: Batch, spec: QueueSpec, held: int, held_bytes: int) -> tuple[Sequence[int], list[int]]:
    """Indices that fit one after another, and those that do not. A small record may fit after a large one did not."""
    count_left, bytes_left = _room(spec, held, held_bytes)
    if batch.count <= count_left and (spec.max_bytes is None or _bytes(batch) <= bytes_left):
        return range(batch.count), []
    fits: list[int] = []
    refused: list[int] = []
    for index, value in enumerate(batch.values):
        size = len(value) if value else 0
        if count_left > 0 and size <= bytes_left:
            fits.append(index)
            count_left -= 1
            bytes_left -= size
        else:
            refused.append(index)
    return fits, refused


def over(batch: Batch, spec: QueueSpec, held: int, held_bytes: int) -> tuple[int, int]:
    """By how many messages and bytes the queue would be above its limits with this batch; negative is room."""
    count_left, bytes_left = _room(spec, held, held_bytes)
    return batch.count - count_left, _bytes(batch) - bytes_left


def portions(batch: Batch, spec: QueueSpec) -> Iterator[tuple[int, int]]:
    """The batch in runs, each of which an empty queue could hold; a record above `max_bytes` is a run of its own."""
    most, most_bytes = _room(spec, 0, 0)
    lo = size = 0
    for index, value in enumerate(batch.values):
        length = len(value) if value else 0
        if index > lo and (index - lo >= most or size + length > most_bytes):
            yield lo, index
            lo, size = index, 0
        size += length
    yield lo, batch.count


def picked(batch: Batch, indices: Sequence[int], make_batch: MakeBatch) -> Batch:
    """These records of the batch, in order."""
    if len(indices) == batch.count:
        return batch
    if indices and indices[-1] - indices[0] == len(indices) - 1:
        return batch.slice(indices[0], indices[-1] + 1)
    headers = batch.headers
    return make_batch(
        [batch.keys[index] for index in indices],
        [batch.values[index] for index in indices],
        None if headers is None else [headers[index] for index in indices],
        [batch.timestamps_ms[index] for index in indices],
    )


def _room(spec: QueueSpec, held: int, held_bytes: int) -> tuple[int, int]:
    return (
        _UNLIMITED if spec.max_length is None else spec.max_length - held,
        _UNLIMITED if spec.max_bytes is None else spec.max_bytes - held_bytes,
    )


def _bytes(batch: Batch) -> int:
    return sum(len(value) for value in batch.values if value)
