"""Consuming topics in a group: leases, the settled prefix, redelivery inside the consumer.

The rule of this room: what is committed is the settled prefix in delivery order, never past an unsettled delivery. A
log cannot take one message back, so `release` and `retry` deliver it again from here, with the prefix held below it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.capabilities import Capability as Cap
from mqbridge.consumer import AckMode, BaseConsumer, check_delay, raise_first
from mqbridge.errors import ConfigurationError, InvalidSpec, LeaseLost, MqbridgeError, OperationTimeout
from mqbridge.ledger import DONE, HELD, LOST, Ledger, Page
from mqbridge.messages import Delivery
from mqbridge.redelivery import DeadLetters, Redelivery
from mqbridge.semantics.backoff import RetryPolicy
from mqbridge.spi import (
    Assigned,
    Disconnected,
    Fatal,
    Gap,
    GroupDescription,
    Lost,
    Reconnected,
    Revoking,
    TopicPartition,
    TopicSubscription,
    TopicSubscriptionSpec,
)
from mqbridge.topology import Topic
from mqbridge.waiting import Deadline, Turnstile, now_s, wait

if TYPE_CHECKING:
    from mqbridge.bus import Bus
    from mqbridge.receipts import Receipt

T = TypeVar("T")
log = logging.getLogger("mqbridge.consumer")

__all__ = ["TopicConsumer"]

MAX_UNSETTLED = 200_000
"""Deliveries that may be out and not settled before no more are fetched: memory is bounded, whatever a handler
forgets."""
BURY_AGAIN_S = 1.0
"""After a dead letter that was not taken, its record is delivered again after this time."""


class TopicConsumer(BaseConsumer[T]):
    """A member of a group; made by `Bus.consumer`.

    Each assignment of a partition is a lease with a number. A partition that is to move is drained: no more of it is
    handed out, deliveries that are out may be settled for `drain_timeout_s`, the prefix is committed, then the lease
    ends and later verbs raise `LeaseLost`. Partitions that stay in a cooperative rebalance keep their leases.
    `attempt` counts in this consumer only.
    """

    def __init__(
        self,
        bus: Bus,
        topics: tuple[Topic[T], ...],
        spec: TopicSubscriptionSpec,
        *,
        ack: AckMode,
        settle_interval_s: float,
        drain_timeout_s: float,
        dead_letter: bool | Topic[Any] | None,
        retry: RetryPolicy | None,
    ) -> None:
        super().__init__(bus, ack, settle_interval_s)
        self.topics = topics
        self.group = spec.group
        self._codecs = {t.name: None if t.codec.name == "bytes" else t.codec for t in topics}
        self._policy = retry or RetryPolicy(max_attempts=None)
        self._given_policy = retry
        self._drain_timeout_s = drain_timeout_s
        self._ledgers: dict[TopicPartition, Ledger] = {}
        self._draining: dict[TopicPartition, tuple[float, Revoking]] = {}
        self._heap: list[tuple[float, int, Redelivery]] = []
        self._tie = itertools.count()
        self._settling = threading.RLock()
        self._turnstile = Turnstile()
        self._sent: dict[TopicPartition, tuple[int, int]] = {}
        self._in_flight = 0
        self._failures: dict[TopicPartition, MqbridgeError] = {}
        self._gated = False
        self._burials: list[tuple[Receipt, Redelivery]] = []
        self._paused: set[TopicPartition] = set()
        self._kept: list[Delivery[T]] = []
        self._pausing = False
        self._gaps: dict[TopicPartition, MqbridgeError] = {}
        self._callbacks: dict[str, Callable[..., Any] | None] = {}
        for topic in topics:
            wait(
                partial(bus._connection.admin.describe_topic, topic),
                bus._operation_timeout_s,
                f"looking at {topic}",
                "not_applied",
            )
        self._dead_letters = DeadLetters.open(bus, topics, spec.group, dead_letter)
        self._subscription: TopicSubscription = bus._connection.subscribe(spec, self._ready.set)
        bus._guard.on_fork(self._forget)
        self._start()

    def _forget(self) -> None:
        """In a forked child: what is out is the parent's. No lock, for its holder may be a thread that is not here."""
        for ledger in list(self._ledgers.values()):
            ledger.lose("this process was forked from the one that consumes")

    # --- events

    def _handle_events(self) -> None:
        if self._pausing:
            self._sort_paused()
        for event in self._subscription.events():
            match event:
                case Assigned(partitions):
                    self._on_assigned(partitions)
                case Revoking():
                    self._on_revoking(event)
                case Lost(partitions, reason):
                    self._on_lost(partitions, reason)
                case Gap(error):
                    self._gaps[error.__dict__["topic"], error.__dict__["partition"]] = error
                case Fatal(error):
                    self._fatal = error
                case Disconnected(reason):
                    log.info("group %s: disconnected: %s", self.group, reason)
                case Reconnected():
                    log.info("group %s: connected again", self.group)
                case _:
                    log.debug("event %r", event)
        if self._draining:
            self._check_drained()

    def _on_assigned(self, partitions: Mapping[TopicPartition, tuple[int, int]]) -> None:
        with self._settling:
            for partition, (lease, position) in partitions.items():
                self._draining.pop(partition, None)  # what was to be drained is gone with the lease that was
                old = self._ledgers.pop(partition, None)
                if old is not None:
                    self._end_lease(partition, old, "the partition was assigned anew")
                self._ledgers[partition] = Ledger(partition[0], partition[1], lease, position)
                self._sent[partition] = (lease, position)
                self._gaps.pop(partition, None)
        self._turnstile.progress()
        self._tell("assigned", tuple(partitions))

    def _on_revoking(self, event: Revoking) -> None:
        until_s = now_s() + min(self._drain_timeout_s, event.deadline_s)
        withdrawn = set(event.partitions)
        self._withdraw(lambda delivery: self._is_going(delivery, withdrawn))
        for partition in event.partitions:
            self._draining[partition] = (until_s, event)
        self._tell("revoked", event.partitions)

    def _is_going(self, delivery: Delivery[T], partitions: set[TopicPartition]) -> bool:
        """Is it of a partition that is to move? Then, not having been shown, it is not ours to show any more."""
        if _place(delivery) not in partitions or delivery._page.marks[delivery._index] == DONE:
            return False  # with ack="before" it is settled in our name, so nobody else will show it
        if not delivery._page.marks[delivery._index]:
            delivery._page.marks[delivery._index] = LOST
        return True

    def _on_lost(self, partitions: Iterable[TopicPartition], reason: str) -> None:
        partitions = tuple(partitions)
        with self._settling:
            for partition in partitions:
                self._draining.pop(partition, None)
                self._gaps.pop(partition, None)
                ledger = self._ledgers.pop(partition, None)
                if ledger is not None:
                    if self._sent.get(partition) != (ledger.lease, ledger.settled()):
                        self._late.append(self._too_late((partition,), reason))
                    self._end_lease(partition, ledger, reason)
        gone = set(partitions)
        self._withdraw(lambda delivery: self._is_going(delivery, gone))
        self._turnstile.progress()
        self._tell("lost", partitions)

    def _withdraw(self, gone: Callable[[Delivery[T]], bool]) -> None:
        super()._withdraw(gone)
        self._kept = [delivery for delivery in self._kept if not gone(delivery)]

    def _end_lease(self, partition: TopicPartition, ledger: Ledger, reason: str) -> None:
        ledger.lose(reason)
        self._sent.pop(partition, None)
        self._failures.pop(partition, None)
        self._burials = [item for item in self._burials if item[1].ledger is not ledger]
        self._heap = [item for item in self._heap if item[2].ledger is not ledger]
        heapq.heapify(self._heap)

    def _check_drained(self) -> None:
        """Give up the partitions whose deliveries are settled, or whose time is over; commit first."""
        finished: list[TopicPartition] = []
        with self._settling:
            for partition, (until_s, _) in self._draining.items():
                ledger = self._ledgers.get(partition)
                if ledger is None or not self._is_busy(ledger) or now_s() >= until_s:
                    finished.append(partition)
        if not finished:
            return
        self._settle_now()
        with self._settling:
            released: dict[int, Revoking] = {}
            for partition in finished:
                _, event = self._draining.pop(partition)
                released[id(event)] = event
                ledger = self._ledgers.pop(partition, None)
                if ledger is not None:
                    if self._sent.get(partition) != (ledger.lease, ledger.settled()):
                        self._late.append(self._too_late((partition,), "the partition was revoked"))
                    self._end_lease(partition, ledger, "the partition was revoked")
            waiting = {id(event) for _, event in self._draining.values()}
        for number, event in released.items():
            if number not in waiting:
                # Submitted after the commit, on the same connection: the engine sees the commit first.
                event.done()

    def _is_busy(self, ledger: Ledger) -> bool:
        """Does the application hold a delivery of it, or is one on its way to the dead-letter topic?"""
        return ledger.has_unsettled() or any(redelivery.ledger is ledger for _, redelivery in self._burials)

    def _tell(self, what: str, partitions: tuple[TopicPartition, ...]) -> None:
        hooks = self._bus._hooks
        if hooks.assignment is not None:
            facts: dict[str, Any] = {"assigned": (), "revoked": (), "lost": (), what: partitions}
            hooks.assignment(group=self.group, **facts)
        callback = self._callbacks.get(what)
        if callback is not None:
            self._bus._callbacks.submit(lambda: callback(partitions))

    def on_assigned(self, fn: Callable[[tuple[TopicPartition, ...]], Any]) -> None:
        """Call `fn` with the partitions, on the bus's callback thread, when some are assigned."""
        self._callbacks["assigned"] = fn

    def on_revoked(self, fn: Callable[[tuple[TopicPartition, ...]], Any]) -> None:
        """Likewise when some are to be given up; they are being drained."""
        self._callbacks["revoked"] = fn

    def on_lost(self, fn: Callable[[tuple[TopicPartition, ...]], Any]) -> None:
        """Likewise when some are another's already: their deliveries can no longer be settled."""
        self._callbacks["lost"] = fn

    # --- fetching

    def _fetch(self, max_messages: int) -> list[Delivery[T]]:
        for error in self._gaps.values():
            raise error
        again = self._redeliver_due(max_messages)
        if again:
            return again
        gated, self._gated = self._gated, sum(ledger.out for ledger in self._ledgers.values()) >= MAX_UNSETTLED
        if self._gated:
            if not gated:
                log.warning(
                    "group %s: %d deliveries are out and not settled; no more is fetched until some are. The settled "
                    "prefixes end at %s",
                    self.group,
                    MAX_UNSETTLED,
                    self.next_offsets(),
                )
            self._subscription.take(0)
            return []
        block = self._subscription.take(max_messages)
        while block is not None:
            partition = (block.destination.name, block.partition or 0)
            ledger = self._ledgers.get(partition)
            if ledger is None or ledger.lease != block.lease:
                # Assigned since the events were looked at; dropped, it would never come again.
                self._handle_events()
                ledger = self._ledgers.get(partition)
            if ledger is not None and ledger.lease == block.lease and partition not in self._draining:
                return self._hand_out(ledger, block, max_messages)
            block = self._subscription.take(max_messages)
        return []

    def _hand_out(self, ledger: Ledger, block: Any, max_messages: int) -> list[Delivery[T]]:
        page = Page(block, self, self._codecs[ledger.topic])
        count = block.count
        page.shown = count
        deliveries: list[Delivery[T]] = block.deliveries(0, count, page)
        with self._settling:  # the settling thread walks the pages
            ledger.open(page)
        if self._ack == "before":
            page.marks[:] = bytes((DONE,)) * count
            self.commit()
        if self._bus._hooks.received is not None:
            self._bus._hooks.received(destination=block.destination, partition=block.partition, count=count)
        if count > max_messages:
            return list(islice(self._hand(deliveries), max_messages))
        return deliveries

    def _redeliver_due(self, max_messages: int) -> list[Delivery[T]]:
        if not self._heap:
            return []
        now = self._bus._connection.clock.mono_s()
        got: list[Delivery[T]] = []
        waiting: list[tuple[float, int, Redelivery]] = []
        with self._settling:
            while self._heap and self._heap[0][0] <= now and len(got) < max_messages:
                item = heapq.heappop(self._heap)
                if self._is_shut(item[2].place):
                    waiting.append(item)
                else:
                    got.append(self._deliver_again(item[2]))
            for item in waiting:
                heapq.heappush(self._heap, item)
        return got

    def _is_shut(self, place: TopicPartition) -> bool:
        """Is nothing to be handed out of this partition now, though it is ours?"""
        return place in self._paused or place in self._draining

    def _deliver_again(self, redelivery: Redelivery) -> Delivery[T]:
        page = Page(redelivery, self, self._codecs[redelivery.ledger.topic])
        page.shown = 1
        redelivery.ledger.again(page, redelivery.origin, redelivery.origin_index)
        return Delivery(redelivery, 0, page, redelivery.raw(0))

    def _next_due_s(self) -> float | None:
        due: list[float] = []
        open_due = [at for at, _, redelivery in self._heap if not self._is_shut(redelivery.place)]
        if open_due:
            due.append(max(0.0, min(open_due) - self._bus._connection.clock.mono_s()))
        if self._draining or self._gated:
            due.append(self._settle_interval_s)  # marks made by other threads wake nobody
        return min(due) if due else None

    # --- verbs (ledger.Owner)

    def _ledger_of(self, delivery: Delivery[Any]) -> Ledger:
        ledger = self._ledgers.get(_place(delivery))
        if ledger is None or ledger.lease != delivery._block.lease:
            delivery._page.refuse(delivery._index)
        return ledger

    def _hold(self, delivery: Delivery[Any]) -> Redelivery:
        """Settle this delivery by holding its record back; what comes next is decided by the caller."""
        self._bus._guard.check()
        with self._settling:
            if delivery._page.marks[delivery._index]:
                delivery._page.refuse(delivery._index)
            ledger = self._ledger_of(delivery)
            delivery._page.take(delivery._index, HELD)
            return Redelivery.of(delivery, ledger)

    def _schedule(self, redelivery: Redelivery, delay_s: float) -> None:
        with self._settling:
            if redelivery.ledger.lost is not None:
                return  # it is another's by now
            due = self._bus._connection.clock.mono_s() + delay_s
            heapq.heappush(self._heap, (due, next(self._tie), redelivery))
        self._ready.set()

    def _release(self, delivery: Delivery[Any], delay_s: float) -> None:
        self._bus.capabilities.need(Cap.TOPIC_RETRY, "release() on a topic")
        check_delay(delay_s)
        self._schedule(self._hold(delivery), delay_s)

    def _retry(self, delivery: Delivery[Any], delay_s: float, error: BaseException | str | None) -> None:
        self._bus.capabilities.need(Cap.TOPIC_RETRY, "retry() on a topic")
        check_delay(delay_s)
        if self._policy.exhausted(delivery.attempt):
            self._die(delivery, "max-attempts", error)
            return
        self._schedule(
            self._hold(delivery).failed(), delay_s or self._policy.delay_s(delivery.attempt, random.random())
        )

    def _reject(self, delivery: Delivery[Any], reason: str) -> None:
        self._die(delivery, "rejected", reason)

    def _die(self, delivery: Delivery[Any], reason: str, error: BaseException | str | None) -> None:
        """Copy it to the dead-letter topic, await the confirmation, then count it settled; never blocks."""
        if self._dead_letters is None:
            raise ConfigurationError(
                f"{delivery}: there is no dead-letter topic, so it cannot be given up. Nothing was settled; make the "
                "consumer with dead_letter=True or a Topic, or ack() what may be dropped."
            )
        if delivery.settled:
            delivery._page.refuse(delivery._index)
        redelivery = self._hold(delivery)
        try:
            receipt = self._dead_letters.bury(delivery, reason, error)
        except MqbridgeError:
            self._schedule(redelivery, 0.0)
            raise
        if receipt is None:
            log.warning("%s could not be dead-lettered: the buffer is full; it is delivered again", delivery)
            self._schedule(redelivery, BURY_AGAIN_S)
            return
        with self._settling:
            self._burials.append((receipt, redelivery))

    def _finish_burials(self) -> list[tuple[Redelivery, MqbridgeError]]:
        """Settle the records whose copy is confirmed; those that were not taken are delivered again, and returned."""
        failed: list[tuple[Redelivery, MqbridgeError]] = []
        waiting: list[tuple[Receipt, Redelivery]] = []
        for receipt, redelivery in self._burials:
            if not receipt.done:
                waiting.append((receipt, redelivery))
                continue
            failure = receipt.exception(0)
            if failure is None:
                redelivery.finish()
            else:
                self._schedule(redelivery, BURY_AGAIN_S)
                failed.append((redelivery, failure))
        self._burials = waiting
        return failed

    # --- settling

    def _settle_now(self) -> None:
        with self._settling:
            failed = self._finish_burials() if self._burials else ()
            offsets: dict[TopicPartition, tuple[int, int]] = {}
            counts: dict[str, int] = {}
            for partition, ledger in self._ledgers.items():
                position = (ledger.lease, ledger.settled())
                counts[partition[0]] = counts.get(partition[0], 0) + ledger.untold()
                if self._sent.get(partition) != position:
                    offsets[partition] = position
            if offsets:
                self._sent.update(offsets)
                self._in_flight += 1
                self._subscription.commit(offsets, lambda refused, error: self._committed(offsets, refused, error))
        self._report(counts, failed)

    def _report(self, settled: Mapping[str, int], failed: Iterable[tuple[Redelivery, MqbridgeError]]) -> None:
        """Outside the lock: hooks are the application's code."""
        hooks = self._bus._hooks
        for redelivery, failure in failed:
            what = redelivery.describe(0)
            log.warning("%s could not be dead-lettered (%s); it is delivered again", what, failure)
            if hooks.error is not None:
                hooks.error(error=failure, where=f"dead-lettering {what}")
        if hooks.settled is not None:
            for topic, count in settled.items():
                if count:
                    hooks.settled(destination=Topic(topic), count=count)

    def _committed(
        self,
        offsets: Mapping[TopicPartition, tuple[int, int]],
        refused: tuple[TopicPartition, ...] | None,
        error: MqbridgeError | None,
    ) -> None:
        with self._settling:
            self._in_flight -= 1
            for partition, position in offsets.items():
                if error is None:
                    self._failures.pop(partition, None)
                elif self._sent.get(partition) == position:
                    del self._sent[partition]  # so that it is tried again; what then succeeds is no failure any more
                    self._failures[partition] = error
                elif not self._is_current(partition, position[0]):
                    # Its lease ended while it was under way, so nobody tries it again.
                    self._late.append(self._too_late((partition,), str(error)))
            if refused:
                self._late.append(self._too_late(refused, "they belong to another member"))
        self._turnstile.progress()

    def _is_current(self, partition: TopicPartition, lease: int) -> bool:
        ledger = self._ledgers.get(partition)
        return ledger is not None and ledger.lease == lease

    def _too_late(self, partitions: Iterable[TopicPartition], reason: str) -> LeaseLost:
        partitions = tuple(partitions)
        return LeaseLost(
            f"group {self.group}: settlements of {_list(partitions)} came too late: {reason}. They were not committed; "
            "the messages are delivered again, to whom the partitions belong.",
            partitions=partitions,
            engine=self._bus.engine,
        )

    def commit(self, timeout: float = 30.0) -> None:
        """Wait until the engine has every settlement marked so far; raise `LeaseLost` for those that came too late."""
        self._bus._guard.check()
        deadline = Deadline(timeout)
        for receipt, _ in list(self._burials):
            receipt.exception(deadline.left_s())
        for _ in range(2):  # once more for what was under way when this was called, and failed
            self._settle_now()
            if not self._turnstile.wait_for(lambda: self._in_flight == 0, deadline.left_s()):
                raise OperationTimeout(
                    f"group {self.group}: the commit was not answered within {timeout:g} s. It may have been applied; "
                    "what was not will be delivered again.",
                    outcome="unknown",
                )
            if not self._failures:
                break
        with self._settling:
            late = [*self._late, *dict.fromkeys(self._failures.values())]
            self._late.clear()
        raise_first(late)

    # --- place

    def assignment(self) -> tuple[TopicPartition, ...]:
        """The partitions that are ours now."""
        return tuple(sorted(self._ledgers))

    def wait_assigned(self, timeout: float = 30.0) -> tuple[TopicPartition, ...]:
        """Wait until something is assigned; handles events, takes no message. `OperationTimeout` if nothing is."""
        deadline = Deadline(timeout)
        while not self._ledgers:
            self._ready.clear()
            self._keep_alive()
            if self._ledgers:
                break
            if deadline.passed():
                raise OperationTimeout(
                    f"group {self.group} assigned nothing within {timeout:g} s: it may have more members than "
                    "partitions, or "
                    "wait for another member to give some up.",
                    outcome="not_applied",
                )
            self._ready.wait(deadline.left_s(0.5))
        return self.assignment()

    def next_offsets(self) -> dict[TopicPartition, int]:
        """The offset after the settled prefix of each partition that is ours: what the next commit will hold."""
        self._bus._guard.check()
        with self._settling:
            return {partition: ledger.settled() for partition, ledger in self._ledgers.items()}

    def committed(self) -> dict[TopicPartition, int]:
        """What the engine holds as committed for this group, all its partitions."""
        return dict(self._described().committed)

    def lag(self) -> dict[TopicPartition, int | None]:
        """Messages between committed and end, for the partitions that are ours; None is unknown, not zero."""
        self._bus.capabilities.need(Cap.LAG, "lag()")
        lags = self._described().lag_messages
        return {partition: lags.get(partition) for partition in self.assignment()}

    def _described(self) -> GroupDescription:
        self._bus._guard.check()
        found: GroupDescription = wait(
            partial(self._bus._connection.admin.describe_group, self.group),
            self._bus._operation_timeout_s,
            f"describing group {self.group}",
            "not_applied",
        )
        return found

    def seek(self, topic: Topic[Any], partition: int, offset: int) -> None:
        """Go on from `offset`. What was delivered before and is not settled can no longer be: its lease ends."""
        self._bus.capabilities.need(Cap.SEEK, "seek()")
        if offset < 0:
            raise InvalidSpec(f"an offset is 0 or more, not {offset}", field="offset")
        place = (topic.name, partition)
        self._enter()
        try:
            self._handle_events()
            self._settle_now()
            with self._settling:
                old = self._ledgers.get(place)
                if old is None:
                    raise LeaseLost(f"{topic}/{partition} is not assigned to this consumer; nothing was changed")
                self._end_lease(place, old, "seek() moved away from it")
                self._ledgers[place] = Ledger(topic.name, partition, old.lease, offset)
                self._sent[place] = (old.lease, -1)  # so that the new place is committed, backwards too
                self._subscription.seek(place, offset)
                self._gaps.pop(place, None)
            self._withdraw(lambda delivery: _place(delivery) == place)
        finally:
            self._polling.release()

    def pause(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Take no more of these partitions (None: all); membership stays."""
        self._bus.capabilities.need(Cap.PAUSE_RESUME, "pause()")
        chosen = self.assignment() if partitions is None else tuple(partitions)
        self._paused.update(chosen)
        self._subscription.pause(chosen)
        self._sort_paused_now()

    def resume(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Go on with these partitions (None: all)."""
        self._bus.capabilities.need(Cap.PAUSE_RESUME, "resume()")
        chosen = tuple(self._paused) if partitions is None else tuple(partitions)
        self._paused.difference_update(chosen)
        self._subscription.resume(chosen)
        self._sort_paused_now()
        self._ready.set()

    def _sort_paused_now(self) -> None:
        """Now if nobody polls, else by the thread that does."""
        self._pausing = True
        if self._polling.acquire(blocking=False):
            try:
                self._sort_paused()
            finally:
                self._polling.release()

    def _sort_paused(self) -> None:
        """Keep back what was fetched and not shown of paused partitions; give back what is not paused any more."""
        self._pausing = False
        paused = self._paused
        back = [delivery for delivery in self._kept if _place(delivery) not in paused]
        kept = [delivery for delivery in self._kept if _place(delivery) in paused]
        if back:
            self._hand([*back, *self._pending])
        self._kept = []
        self._withdraw(lambda delivery: _place(delivery) in paused and not kept.append(delivery))  # type: ignore[func-returns-value]
        self._kept = kept

    # --- ending

    def close(self, timeout: float = 30.0) -> None:
        """Commit the settled prefix, leave the group, end; twice is harmless. What is not settled is delivered
        again."""
        if self._closed:
            return
        if self._bus._guard.forked:
            self._closed = True
            return
        deadline = Deadline(timeout)
        try:
            self._forget_late()
            self.commit(timeout)
        finally:
            self._finish()
            with self._settling:
                for partition, ledger in list(self._ledgers.items()):
                    self._end_lease(partition, ledger, "its consumer was closed")
                self._ledgers.clear()
            wait(self._subscription.close, deadline.left_s(), f"leaving group {self.group}")
            if self._dead_letters is not None:
                self._dead_letters.close(deadline.left_s())

    def _run_policy(self) -> RetryPolicy:
        return self._given_policy or super()._run_policy()

    def _give_up(self, delivery: Delivery[Any], error: BaseException) -> None:
        self._die(delivery, "max-attempts", error)

    def _again_now(self, delivery: Delivery[T]) -> Delivery[T]:
        """For ordered workers: the next attempt of this delivery, at once, in place of it."""
        with self._settling:
            return self._deliver_again(self._hold(delivery).failed())


def _place(delivery: Delivery[Any]) -> TopicPartition:
    return delivery._block.destination.name, delivery._block.partition or 0


def _list(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in partitions)
