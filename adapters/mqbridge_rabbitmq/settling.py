"""Settling deliveries on one channel. The rules: acks are cumulative where they can be, and a settlement is reported
once the broker has read it, which the answer to a synchronous method behind it on the same channel tells: AMQP has no
answer to an ack. One such barrier is out at a time; what comes meanwhile shares the next.

What dies by a verb is copied to the dead-letter queue first, and the ack follows the copy's confirm: AMQP's reject
carries no text, and has no answer that tells whether the letter could be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mqbridge import spi
from mqbridge.errors import ConnectionLost, LeaseLost, MqbridgeError
from mqbridge.topology import Queue
from mqbridge_rabbitmq import errors, naming, records
from mqbridge_rabbitmq.tags import Tags

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

Done = spi.Completion[tuple[int, ...]]


class _Batch:
    """One `settle`: it is done when its copies are confirmed and the barrier behind its frames was answered."""

    __slots__ = ("copies", "done", "failed", "refused")

    def __init__(self, done: Done) -> None:
        self.done = done
        self.refused: list[int] = []
        self.failed: dict[int, MqbridgeError] = {}
        """Those whose copy was not stored."""
        self.copies = 0


class Settling:
    """The settling of one consumer, on whatever channel it has at the time. Loop thread."""

    def __init__(self, connection: RabbitConnection, queue: Queue[Any], say: Callable[[spi.Event], None]) -> None:
        self._connection = connection
        self._queue = queue
        self._say = say
        self._channel: Any = None
        self._tags = Tags(0)
        self._prefetch = 1
        self._waiting: list[_Batch] = []
        self._under_way: list[_Batch] = []
        self._copying: list[_Batch] = []
        self._idle: Callable[[], None] | None = None

    # --- the channel

    def begin(self, channel: Any, tags: Tags, prefetch: int) -> None:
        self._channel, self._tags, self._prefetch = channel, tags, prefetch

    def lost(self, native: BaseException | None) -> None:
        """The channel is gone: what was not answered may have been applied."""
        self._channel = None
        batches = [*self._under_way, *self._waiting, *self._copying]
        self._under_way, self._waiting, self._copying = [], [], []
        if batches:
            error = errors.caused(
                ConnectionLost(
                    f"the channel was lost while deliveries of {self._queue} were settled. Their settlement may have "
                    "been "
                    "applied; what was not will be delivered again.",
                    engine=errors.ENGINE,
                    outcome="unknown",
                ),
                native,
            )
            for batch in batches:
                batch.done(None, error)
        self._run_idle()

    def when_idle(self, job: Callable[[], None]) -> None:
        """Run `job` once nothing is under way any more."""
        self._idle = job
        self._run_idle()

    def _run_idle(self) -> None:
        if self._idle is not None and not (self._under_way or self._waiting or self._copying):
            job, self._idle = self._idle, None
            job()

    # --- settling

    def settle(self, verbs: Sequence[spi.SettleVerb], done: Done) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            done(tuple(token for verb in verbs for token in verb.tokens), None)
            return
        batch = _Batch(done)
        acked: list[int] = []
        for verb in verbs:
            tags, refused = self._tags.claim(verb.tokens)
            batch.refused += refused
            if verb.verb == "ack":
                acked += tags
                continue
            for tag in tags:
                self._settle_one(channel, batch, verb, tag)
        self._ack(channel, acked)
        if batch.copies:
            self._copying.append(batch)
        else:
            self._await(batch)

    def _settle_one(self, channel: Any, batch: _Batch, verb: spi.SettleVerb, tag: int) -> None:
        if verb.verb in ("release", "return"):
            channel.basic_nack(tag, requeue=True)  # uncounted on a quorum queue of 4.3
            self._tags.settle(tag)
            return
        reason = self._death(verb, tag)
        target = self._known().dead_letter
        if reason is not None and target is not None:
            self._copy(batch, tag, naming.queue_name(target), reason, verb.text)
            return
        channel.basic_reject(tag, requeue=verb.verb == "retry")  # counted
        self._tags.settle(tag)

    def _death(self, verb: spi.SettleVerb, tag: int) -> str | None:
        """Why the message dies by this verb, or None if it does not."""
        if verb.verb == "reject":
            return "rejected"
        most = self._known().max_attempts
        return "max-attempts" if most is not None and self._attempt(tag) >= most else None

    def _known(self) -> Queue[Any]:
        """The queue as it was described last, or as the program specifies it."""
        return self._connection.known_queues.get(naming.queue_name(self._queue), self._queue)

    def _attempt(self, tag: int) -> int:
        method, properties, _ = self._tags.arrived(tag)
        return records.attempt_of(properties, method.redelivered)

    def _ack(self, channel: Any, tags: list[int]) -> None:
        for tag, multiple in self._tags.ack(tags) if tags else ():
            channel.basic_ack(tag, multiple=multiple)

    # --- copies

    def _copy(self, batch: _Batch, tag: int, target: str, reason: str, text: str | None) -> None:
        _, properties, body = self._tags.arrived(tag)
        facts = records.death_table(reason, self._queue.name, self._attempt(tag), records.now_ms(), text)
        self._tags.hold(tag)
        batch.copies += 1
        tags = self._tags
        self._connection.courier.carry(
            target, records.copied(properties, facts), body, lambda error: self._copied(batch, tags, tag, error)
        )

    def _copied(self, batch: _Batch, tags: Tags, tag: int, error: MqbridgeError | None) -> None:
        channel = self._channel
        if tags is not self._tags or channel is None or not channel.is_open:
            return  # the batch has ended with the channel; the message comes again, and may be dead-lettered twice
        if error is None:
            self._ack(channel, [tag])
        else:
            # It stays in the queue, uncounted, rather than be dropped by a reject that nobody takes.
            channel.basic_nack(tag, requeue=True)
            tags.settle(tag)
            batch.failed[tags.base + tag] = error
        batch.copies -= 1
        if batch.copies == 0:
            self._copying.remove(batch)
            self._await(batch)

    # --- the barrier

    def _await(self, batch: _Batch) -> None:
        self._waiting.append(batch)
        if not self._under_way:
            self._send_barrier()

    def _send_barrier(self) -> None:
        channel = self._channel
        self._under_way, self._waiting = self._waiting, []
        # The window again, which changes nothing: a quorum queue reads it when a consumer begins.
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _frame: self._answered(channel))

    def _answered(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        ended, self._under_way = self._under_way, []
        if self._waiting and channel.is_open:
            self._send_barrier()
        for batch in ended:
            self._complete(batch)
        self._run_idle()

    def _complete(self, batch: _Batch) -> None:
        """A copy that failed fails the call, as unknown: the rest was applied, and nobody must submit it again."""
        if not batch.failed:
            batch.done(tuple(batch.refused), None)
            return
        first = next(iter(batch.failed.values()))
        error = type(first)(
            f"{len(batch.failed)} messages of {self._queue} could not be dead-lettered: {first} They stay in their "
            "queue, uncounted, and come again.",
            outcome="unknown",
            retryable=False,
            engine=errors.ENGINE,
            tokens=tuple(batch.failed),
        )
        error.__cause__ = first
        if batch.refused:
            refused = tuple(batch.refused)
            late = LeaseLost(f"{len(refused)} deliveries of {self._queue} were settled too late", engine=errors.ENGINE)
            self._say(spi.SettleFailed(refused, late))
        batch.done(None, error)
