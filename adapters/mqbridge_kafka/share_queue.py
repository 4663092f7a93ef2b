"""A consumer of a queue: several members of its share group, and one face.

The rules of this room:

- Messages are acquired when the application asks and has room, never far ahead of it: a record's lock runs from the
  moment it is acquired, and no client can prolong it yet (KIP-1222).
- Never more than `prefetch` deliveries are out, and fewer while they are settled slowly: the window grows while
  messages are settled within a third of the lock and shrinks when that takes more than half of it, so that what is
  shown is settled in time. It grows too when the application asks for more while it holds all that it was shown, for
  then it wants them together. What was acquired and does not fit is held unseen for `GIVE_BACK_S`, then given back.
- A token is given out once, and is good until it is settled, or its lock has ended, or the connection has.

One lock guards all of it; the members (`pulling.Puller`) wait on it, and no client is called under it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import Message, ShareConsumer

from mqbridge import spi
from mqbridge.errors import InvalidSpec, MqbridgeError
from mqbridge.messages import Delivery, RawHeaders
from mqbridge.topology import Destination
from mqbridge_kafka.errors import ENGINE
from mqbridge_kafka.letters import Arrived
from mqbridge_kafka.naming import QUEUE_SUFFIX, share_group_of
from mqbridge_kafka.pulling import CLOSING_S, Held, Order, Puller, Settlement
from mqbridge_kafka.queue_records import not_there
from mqbridge_kafka.queue_sending import stored
from mqbridge_kafka.records import decode_headers, message_id_of
from mqbridge_kafka.settings import log
from mqbridge_kafka.share_client import group_limits
from mqbridge_kafka.verdicts import Terms, judge

if TYPE_CHECKING:
    from mqbridge.ledger import Page
    from mqbridge_kafka.engine import KafkaConnection

T = TypeVar("T")

MEMBERS: Final = 4
"""At most so many members make one consumer. One that holds a batch cannot fetch; the others can."""
FIRST_WINDOW: Final = 8
MARGIN_S: Final = 0.5
"""So long before its end a lock counts as ended: an answer needs time too."""


class ShareBlock(spi.Block):
    """Messages of a queue, as the portable layer sees them."""

    __slots__ = ("_held", "count", "destination", "lease", "next_offset", "partition")

    def __init__(self, destination: Destination, held: Sequence[Held]) -> None:
        self.destination = destination
        self.partition: int | None = None
        self.lease = 0
        self.count = len(held)
        self.next_offset = 0
        self._held = held

    def key(self, index: int) -> bytes | None:
        return self._held[index].arrival.key

    def raw(self, index: int) -> bytes | None:
        return self._held[index].arrival.value

    def headers(self, index: int) -> RawHeaders | None:
        return decode_headers(self._held[index].arrival.headers)

    def timestamp_ms(self, index: int) -> int:
        return self._held[index].arrival.timestamp_ms

    def message_id(self, index: int) -> str | None:
        return message_id_of(self._held[index].arrival.headers)

    def offset(self, index: int) -> int:
        return self._held[index].token

    def attempt(self, index: int) -> int:
        return self._held[index].arrival.attempt

    def redelivered(self, index: int) -> bool:
        return self._held[index].arrival.redelivered

    def deliveries(self, lo: int, hi: int, page: Page) -> list[Delivery[Any]]:
        held = self._held
        return [Delivery(self, index, page, held[index].arrival.value) for index in range(lo, hi)]


class ShareQueue:
    """The SPI's QueueSubscription."""

    def __init__(self, connection: KafkaConnection, spec: spi.QueueSubscriptionSpec, ready: Callable[[], None]) -> None:
        self.connection = connection
        self.spec = spec
        self.group = share_group_of(spec.queue)
        self.lock = threading.RLock()
        self.members = min(MEMBERS, spec.prefetch)
        self.max_records = -(-spec.prefetch // self.members)
        self.terms: Terms | None = None
        self.lock_s = 0.0
        self.closing = False
        self.away = False
        self.hungry = True
        """The application wants more than there is."""
        self.waiting: deque[Held] = deque()
        self.room = threading.Condition(self.lock)
        """Something changed that lets a member fetch."""
        self._ready = ready
        self._born = ""
        self._out: dict[int, Held] = {}
        self._window = min(FIRST_WINDOW, spec.prefetch)
        self._tokens = itertools.count(1)
        self._pullers: list[Puller] = []
        self._numbers = itertools.count(1)
        self._events: deque[spi.Event] = deque()
        self._closed: spi.Completion[None] | None = None
        connection.parts[self] = None
        connection.watch.listeners.append(self._on_away)
        self._spawn()

    # --- the SPI

    def events(self) -> list[spi.Event]:
        with self.lock:
            found = list(self._events)
            self._events.clear()
        return found

    def take(self, max_records: int) -> spi.Block | None:
        if max_records <= 0:
            return None
        with self.lock:
            count = len(self.waiting)
            if not self.spec.before:
                self._widen()
                count = min(count, self._window - len(self._out))
            held = [self.waiting.popleft() for _ in range(min(count, max_records))]
            for one in held:
                one.shown = True
                if not self.spec.before:
                    self._out[one.token] = one
            if not self.waiting:
                self.hungry = True
                self._grow()
            self.room.notify_all()
        return ShareBlock(self.spec.queue, held) if held else None

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        settlement = Settlement(done)
        now_s = time.monotonic()
        with self.lock:
            for verb in verbs:
                for token in verb.tokens:
                    held = self._out.pop(token, None)
                    if held is None or now_s >= held.until_s:
                        settlement.refused.append(token)  # its member notices by itself
                        continue
                    settlement.open += 1
                    self._adapt(now_s - held.acquired_s)
                    held.puller.orders.append(Order(held, verb.verb, verb.text, settlement))
                    held.puller.woken.notify()
            self.room.notify_all()
            nothing, more = not settlement.open, bool(self.waiting)
        if nothing:
            done(tuple(settlement.refused), None)
        if more:
            self._ready()

    def close(self, done: spi.Completion[None]) -> None:
        with self.lock:
            if self.closing:
                done(None, None)
                return
            self._closed = done
            self._end()
            idle = not self._pullers
        if idle:
            self._finish()

    def call(self, kind: type[T], fn: Callable[[T], Any], done: spi.Completion[Any]) -> None:
        with self.lock:
            if issubclass(ShareConsumer, kind) and not self.closing:
                if not self._pullers:
                    self._spawn()
                self._pullers[0].calls.append((fn, done))
                self._pullers[0].woken.notify()
                self.room.notify_all()
                return
        done(
            None,
            InvalidSpec(
                f"the consumer of {self.spec.queue} has no {kind.__name__} inside; it has ShareConsumer",
                field="kind",
                engine=ENGINE,
            ),
        )

    def abandon(self) -> None:
        """After a fork: the threads are the parent's."""
        self.closing = True
        for puller in self._pullers:
            puller.abandon()

    # --- for the members

    def begin(self) -> None:
        """Read the queue's terms, once; raises where there is no such queue. On a member's thread."""
        if self.terms is not None:
            return
        connection, queue = self.connection, self.spec.queue
        catalogue = connection.registry.fresh()
        record = stored(connection, queue, catalogue)
        target = record["dead_letter"]
        dead_topic: str | None = None
        if target is not None:
            known = catalogue.queue(target)
            dead_topic = target + QUEUE_SUFFIX if known is None else known["topic"]
        ttl_s = record["message_ttl_s"]
        limits = group_limits(connection.watch.client, self.group)
        with self.lock:
            self._born = record["born"]
            self.lock_s = limits.lock_s
            self.terms = Terms(
                queue.name,
                record["topic"],
                record["max_attempts"],
                dead_topic,
                None if ttl_s is None else round(ttl_s * 1000),
                limits.deliveries,
                connection.watch.max_message_bytes,
            )

    def is_gone(self) -> bool:
        """Was the queue deleted since?"""
        record = self.connection.registry.catalogue.queue(self.spec.queue.name)
        return record is None or record["born"] != self._born

    def wants(self) -> bool:
        """May a member acquire more? Under the lock."""
        if self.spec.before:
            return self.hungry and len(self.waiting) < self.spec.prefetch
        return self.hungry and len(self._out) + len(self.waiting) < self._window

    def hold(self, puller: Puller, message: Message, arrival: Arrived, acquired_s: float) -> Held:
        until_s = acquired_s + max(self.lock_s - MARGIN_S, self.lock_s / 2)
        return Held(next(self._tokens), puller, message, arrival, acquired_s, until_s)

    def offer(self, held: Sequence[Held]) -> None:
        """Messages that can be shown."""
        with self.lock:
            self.waiting.extend(held)
        if held:
            self._ready()

    def withdraw(self, held: Sequence[Held]) -> None:
        """Take back what is out or waiting; under the lock. No more is acquired until the application asks again: it
        is busy, and whatever came would go the same way."""
        if not held:
            return
        gone = {one.token for one in held}
        for token in gone:
            self._out.pop(token, None)
        self.waiting = deque(one for one in self.waiting if one.token not in gone)
        self.hungry = False

    def say(self, event: spi.Event) -> None:
        with self.lock:
            self._events.append(event)
        self._ready()

    def fail(self, error: MqbridgeError) -> None:
        """This subscription will not work again."""
        with self.lock:
            if self.closing:
                return
            self._end()
            self._events.append(spi.Fatal(error))
        self._ready()

    def interrupted(self, reason: str) -> None:
        """The broker does not know our acquisitions any more: what is out is lost, and we go on."""
        self._lose(reason)
        self.say(spi.Reconnected())

    def left(self, puller: Puller) -> None:
        """A member has ended, its client too."""
        with self.lock:
            if puller in self._pullers:
                self._pullers.remove(puller)
            last = self.closing and not self._pullers
            if not self.closing and puller.calls:
                self._spawn().calls.extend(puller.calls)
            else:
                self._grow()
        if last:
            self._finish()

    def gone_error(self) -> MqbridgeError:
        return not_there(self.spec.queue)

    # --- inside

    def _widen(self) -> None:
        """The application asks for more: if it holds all that may be out, and the first of it not for long, it is to
        have more together. Under the lock."""
        if len(self._out) >= self._window and self._window < self.spec.prefetch:
            oldest_s = next(iter(self._out.values())).acquired_s
            if time.monotonic() - oldest_s < self.lock_s / 3:
                self._window = min(self.spec.prefetch, 2 * self._window)

    def _adapt(self, age_s: float) -> None:
        """One message was settled at that age."""
        if age_s < self.lock_s / 3:
            self._window = min(self.spec.prefetch, self._window + 1)
        elif age_s > self.lock_s / 2:
            self._window = max(1, self._window - 1)

    def _grow(self) -> None:
        """Another member, if all that there are hold something. Under the lock."""
        if self.closing or self.away or not self.wants():
            return
        if len(self._pullers) < self.members and all(puller.holding for puller in self._pullers):
            self._spawn()

    def _spawn(self) -> Puller:
        puller = Puller(self, next(self._numbers))
        self._pullers.append(puller)
        puller.start()
        return puller

    def _on_away(self, away: bool, reason: str) -> None:
        with self.lock:
            if self.closing or away == self.away:
                return
            self.away = away
        if away:
            self._lose(reason)
        else:
            self.say(spi.Reconnected())
            with self.lock:
                self._grow()

    def _lose(self, reason: str) -> None:
        with self.lock:
            self._out.clear()
            if not self.spec.before:  # what is settled before it is shown stays ours
                self.waiting.clear()
            self.hungry = True
            for puller in self._pullers:
                puller.lose()
            self._events.append(spi.Disconnected(reason))
            self.room.notify_all()
        self._ready()

    def _end(self) -> None:
        """Everybody out. Under the lock."""
        self.closing = True
        for puller in self._pullers:
            puller.woken.notify()
        self.room.notify_all()

    def _finish(self) -> None:
        """After the last member: what was settled before it was shown, and was not shown, goes back."""
        self.connection.parts.pop(self, None)
        if self._on_away in self.connection.watch.listeners:
            self.connection.watch.listeners.remove(self._on_away)
        if self.spec.before and self.waiting and self.terms is not None and not self.away:
            wall_ms = self.connection.clock.wall_ms()
            verdicts = [judge("return", None, one.arrival, self.terms, wall_ms) for one in self.waiting]
            letters = [verdict.letter for verdict in verdicts if verdict.letter is not None]
            what = f"giving back what {self.spec.queue} did not show"
            for error in self.connection.courier.deliver(letters, what, CLOSING_S):
                if error is not None:
                    log.warning("%s It was acknowledged before it was shown, as its consumer asked: it is gone.", error)
        self.waiting.clear()
        self._out.clear()
        done, self._closed = self._closed, None
        if done is not None:
            done(None, None)
