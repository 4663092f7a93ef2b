"""One member of a queue's share group, with its thread.

The rule of this room: fetch, hold, carry out, and only then fetch again, since the client refuses to fetch while a
record of the last batch is unacknowledged. So the thread is never inside the client while somebody waits for a
settlement, and needs no way to be woken from there. A member that has nothing to fetch for leaves its group, because a
fetch that is under way acquires records that nobody sees.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import AcknowledgeType, KafkaError, KafkaException, Message

from mqbridge.errors import ConnectionLost, LeaseLost, MqbridgeError, NotFound, OperationTimeout
from mqbridge.spi import Completion, SettleFailed
from mqbridge_kafka.courier import DELIVERY_S
from mqbridge_kafka.cut_off import REPLACED
from mqbridge_kafka.errors import ENGINE, translate
from mqbridge_kafka.letters import Arrived, Letter
from mqbridge_kafka.settings import log
from mqbridge_kafka.share_client import ShareClient, arrived
from mqbridge_kafka.verdicts import Terms, Verb, judge, least_left_s, on_arrival, pause_s, saved, what_next
from mqbridge_kafka.watching import never_destroy

if TYPE_CHECKING:
    from mqbridge_kafka.share_queue import ShareQueue

POLL_S: Final = 0.1
"""So long a close may wait for the client."""
IDLE_S: Final = 1.0
"""A member that nobody needed for so long leaves the group; the next one joins within some 40 ms."""
AGAIN_S: Final = 0.25
GIVE_BACK_S: Final = 5.0
"""So long a message may be held unseen; then other consumers get it, uncounted, from the tail."""
CLOSING_S: Final = 5.0
"""For giving back when a consumer is closed; what takes longer is given back by the broker, counted."""
NOT_OURS: Final = KafkaError.INVALID_RECORD_STATE


@dataclass(slots=True, eq=False)
class Held:
    """One acquired record. `until_s` is when its lock ends for us.

    Once a letter for it could not be written it is `stuck`: at `again_s` it is handed on, or `rescue` is written.
    """

    token: int
    puller: Puller
    message: Message
    arrival: Arrived
    acquired_s: float
    until_s: float
    shown: bool = False
    again_s: float | None = None
    rescue: Letter | None = None
    failures: int = 0


@dataclass(slots=True, eq=False)
class Settlement:
    """One call of `settle`: how many of its orders are open, what was refused, and what failed."""

    done: Completion[tuple[int, ...]]
    open: int = 0
    refused: list[int] = field(default_factory=list)
    failed: dict[int, MqbridgeError] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Order:
    """What a puller is told to do with one record, and how far it has come."""

    held: Held
    verb: Verb
    text: str | None = None
    settlement: Settlement | None = None
    accept: bool = False
    letter: Letter | None = None
    written: bool = False
    failure: MqbridgeError | None = None


class Puller:
    """A member, its batch and its orders. `orders`, `calls`, `holding` and `lost` are guarded by the queue's lock."""

    def __init__(self, queue: ShareQueue, number: int) -> None:
        self.woken = threading.Condition(queue.lock)
        self.orders: deque[Order] = deque()
        self.calls: deque[tuple[Callable[[Any], Any], Completion[Any]]] = deque()
        self.holding = False
        self._queue = queue
        self._number = number
        self._lot: dict[int, Held] = {}
        self._carrying: Sequence[Order] = ()
        self._lost = False
        self._client: ShareClient | None = None

    def start(self) -> None:
        name = f"mqbridge-kafka-share-{self._number}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def lose(self) -> None:
        """What is held is not ours any more. Under the queue's lock."""
        self._lost = self.holding
        self.woken.notify()

    def abandon(self) -> None:
        if self._client is not None:
            never_destroy(self._client.native)

    # --- the thread

    def _run(self) -> None:
        queue = self._queue
        try:
            self._begin()
            self._serve()
        except (MqbridgeError, KafkaException, RuntimeError) as error:  # the last is the client's, about its state
            queue.fail(translate(error, f"consuming {queue.spec.queue}", outcome="not_applied"))
        finally:
            self._leave()

    def _begin(self) -> None:
        """Learn what holds for the queue; with the brokers away, as soon as they are back."""
        queue = self._queue
        while not queue.closing:
            try:
                queue.begin()
            except (ConnectionLost, OperationTimeout) as error:
                log.info("consuming %s waits: %s", queue.spec.queue, error)
                with queue.lock:
                    queue.room.wait(AGAIN_S)
            else:
                return

    def _serve(self) -> None:
        queue = self._queue
        while self._may_fetch():
            if queue.is_gone():
                raise queue.gone_error()
            if self._client is None:
                terms = self._terms()
                watch = queue.connection.watch
                self._client = ShareClient(queue.connection, terms.topic, queue.group, queue.max_records, watch.trouble)
            self._answer_calls(self._client)
            asked_s = time.monotonic()
            messages = self._fetch(self._client)
            if messages:
                self._hold(self._client, messages, asked_s)
            elif self._client.is_cut_off:
                self._replace(self._client)

    def _replace(self, client: ShareClient) -> None:
        """The next look makes a new client. Nothing is held now: what was is lost, at the end of its lock at the
        latest."""
        log.warning("consuming %s: %s", self._queue.spec.queue, REPLACED)
        client.drop()
        self._client = None

    def _may_fetch(self) -> bool:
        """Wait until there is something to fetch for; False to leave."""
        queue = self._queue
        idle_until_s = time.monotonic() + IDLE_S
        with queue.lock:
            while not queue.closing:
                if (queue.wants() or self.calls) and not (queue.away and self._client is None):
                    return True
                left_s = idle_until_s - time.monotonic()
                if left_s <= 0:
                    return False
                queue.room.wait(left_s)
        return False

    def _terms(self) -> Terms:
        terms = self._queue.terms
        assert terms is not None, "read by `begin`"
        return terms

    def _fetch(self, client: ShareClient) -> list[Message]:
        queue = self._queue
        try:
            messages = client.poll(POLL_S)
        except KafkaException as error:
            self._look_at(error)
            return []
        good: list[Message] = []
        for message in messages:
            failure = message.error()
            if failure is None:
                good.append(message)
            else:
                self._look_at(KafkaException(failure))
        if messages and not good:
            with queue.lock:
                queue.room.wait(AGAIN_S)
        return good

    def _look_at(self, error: KafkaException) -> None:
        """What cannot pass ends the subscription; the rest is the client's to mend."""
        made = translate(error, f"consuming {self._queue.spec.queue}", outcome="not_applied")
        if made.retryable or isinstance(made, ConnectionLost | NotFound):
            log.info("%s", made)
            with self._queue.lock:
                self._queue.room.wait(AGAIN_S)
            return
        raise made

    def _answer_calls(self, client: ShareClient) -> None:
        while self.calls:
            fn, done = self.calls.popleft()
            done(fn(client.native), None)

    # --- a batch

    def _hold(self, client: ShareClient, messages: Sequence[Message], acquired_s: float) -> None:
        """Show what can be shown, and carry out orders until nothing of the batch is left."""
        queue, terms = self._queue, self._terms()
        wall_ms = queue.connection.clock.wall_ms()
        offered: list[Held] = []
        orders: list[Order] = []
        for message in messages:
            held = queue.hold(self, message, arrived(message), acquired_s)
            self._lot[held.token] = held
            verb = on_arrival(held.arrival, terms, wall_ms)
            if verb is None:
                offered.append(held)
            else:
                orders.append(Order(held, verb))
        with queue.lock:
            self.holding = True
        if queue.spec.before:
            orders += [Order(held, "ack") for held in offered]
            refused = self._carry_out(client, orders)
            queue.offer([held for held in offered if held.token not in refused])
        else:
            queue.offer(offered)
            self._carry_out(client, orders)
        while self._lot:
            self._carry_out(client, self._next_orders())
            self._answer_calls(client)
        with queue.lock:
            self.holding = self._lost = False
            queue.room.notify_all()

    def _next_orders(self) -> list[Order]:
        """Wait for orders, or for the moment when something must be done without any."""
        with self._queue.lock:
            while True:
                orders = list(self.orders)
                self.orders.clear()
                ordered = {order.held.token for order in orders}
                free = [held for held in self._lot.values() if held.token not in ordered]
                now_s = time.monotonic()
                orders += self._due(free, now_s)
                if orders or self.calls or not self._lot:
                    return orders
                self.woken.wait(max(0.001, min(self._moment_s(one) for one in free) - now_s))

    def _due(self, free: list[Held], now_s: float) -> list[Order]:
        """What nobody gave an order for and must go now. Under the queue's lock."""
        queue = self._queue
        if self._lost or (queue.closing and (queue.away or queue.is_gone())):
            due, verb = free, "drop"
        else:
            due = [one for one in free if queue.closing or now_s >= self._moment_s(one)]
            verb = "return"
        queue.withdraw([one for one in due if one.again_s is None])
        return [Order(one, "drop" if verb == "drop" else self._verb_due(one, now_s)) for one in due]

    def _verb_due(self, held: Held, now_s: float) -> Verb:
        if now_s >= held.until_s:
            return "drop"
        if held.again_s is None:
            # What an application holds when its consumer closes is given back by it: the next one must be told.
            return "release" if held.shown else "return"
        return "hand on" if held.rescue is None else "save"

    def _moment_s(self, held: Held) -> float:
        """When a record must go that nobody orders anything for."""
        if held.again_s is not None:
            return min(held.again_s, held.until_s)
        return held.until_s if held.shown else self._given_back_s(held)

    def _given_back_s(self, held: Held) -> float:
        """When a message that nobody was shown goes to others: well before its lock ends, for that would be counted."""
        return held.acquired_s + min(GIVE_BACK_S, self._queue.lock_s / 4)

    def _carry_out(self, client: ShareClient, orders: Sequence[Order]) -> set[int]:
        """Write what must be written, tell the broker, tell who waits; the tokens that were not ours any more."""
        if not orders:
            return set()
        self._carrying = orders
        self._decide(orders)
        self._write([order for order in orders if order.letter is not None])
        going = [order for order in orders if not self._keep(order)]
        told = [(one.held.message, AcknowledgeType.ACCEPT if one.accept else AcknowledgeType.RELEASE) for one in going]
        refusals = client.settle(told) if told else {}
        refused = self._conclude(orders, going, refusals)
        self._carrying = ()
        return refused

    def _decide(self, orders: Sequence[Order]) -> None:
        """What each order means now. One that comes too late for its letter is dropped: what the broker gives to
        others by then must not be written as well."""
        queue, terms = self._queue, self._terms()
        wall_ms, now_s = queue.connection.clock.wall_ms(), time.monotonic()
        for order in orders:
            held = order.held
            if self._lost:
                order.verb = "drop"
            if order.verb == "save":
                order.accept, order.letter = True, held.rescue
            else:
                order.accept, order.letter = judge(order.verb, order.text, held.arrival, terms, wall_ms)
            if order.letter is not None and held.until_s - now_s < least_left_s(queue.lock_s):
                order.verb, order.accept, order.letter = "drop", False, None

    def _write(self, orders: Sequence[Order]) -> None:
        """Write the letters; for one that cannot be, the message itself where the broker would soon drop it."""
        terms = self._terms()
        pressed = any(order.held.arrival.deliveries >= terms.rewrite_at for order in orders)
        self._deliver(orders, [order.letter for order in orders if order.letter is not None], 2 if pressed else 1)
        failed = [order for order in orders if order.failure is not None]
        for order in failed:
            order.held.rescue = order.held.rescue or saved(order.verb, order.held.arrival, terms)
        second = [order for order in failed if order.held.rescue is not None and order.verb != "save"]
        first = [order.failure for order in second]
        self._deliver(second, [order.held.rescue for order in second if order.held.rescue is not None], 1)
        for order, failure in zip(second, first, strict=True):
            order.failure = failure
        for order in failed:
            assert order.failure is not None
            after = what_next(order.verb, order.held.arrival, terms, is_saved=order.written)
            order.failure = _about(order.failure, f"{order.failure} {after}")

    def _deliver(self, orders: Sequence[Order], letters: Sequence[Letter], share: int) -> None:
        """Give the letters to the courier, for that share of what the locks leave; a closing consumer waits less."""
        if not orders:
            return
        queue = self._queue
        most_s = CLOSING_S if queue.closing else DELIVERY_S
        left_s = (min(order.held.until_s for order in orders) - time.monotonic()) / share
        what = f"writing {len(letters)} dead letters or copies for {queue.spec.queue}"
        errors = queue.connection.courier.deliver(letters, what, max(0.0, min(most_s, left_s)))
        for order, error in zip(orders, errors, strict=True):
            order.failure, order.written, order.accept = error, error is None, error is None

    def _keep(self, order: Order) -> bool:
        """Does the record stay, for a while, because what had to be written could not be?"""
        if order.failure is None or order.accept or self._lost or self._queue.closing:
            return False
        held = order.held
        held.failures += 1
        held.again_s = time.monotonic() + pause_s(held.arrival.attempt - 1 + held.failures)
        return True

    def _conclude(
        self, orders: Sequence[Order], going: Sequence[Order], refusals: dict[int, KafkaError | None]
    ) -> set[int]:
        queue = self._queue
        refused: set[int] = set()
        failed = {order.held.token: order.failure for order in orders if order.failure is not None}
        unsure: dict[int, MqbridgeError] = {}
        broken: KafkaError | None = None
        for order in going:
            token = order.held.token
            self._lot.pop(token, None)
            refusal = refusals.get(order.held.message.partition() or 0)
            if order.verb == "drop":
                refused.add(token)
                if order.held.rescue is not None and order.held.arrival.deliveries >= self._terms().limit:
                    log.error("a message of %s could not be written anew, and the broker drops it", queue.spec.queue)
                continue
            if refusal is None:
                continue
            if refusal.code() != NOT_OURS:
                broken = refusal
            made = translate(refusal, f"settling {len(going)} messages of {queue.spec.queue}")
            if order.written:
                unsure[token] = self._twice(made)
            elif made.outcome == "not_applied" or refusal.code() == NOT_OURS:
                refused.add(token)
            else:
                unsure[token] = _about(made, f"{made} What was not settled will be delivered again.")
        self._tell(orders, refused, unsure | failed)
        if broken is not None and not self._lost:
            queue.interrupted(f"the broker does not know what was acquired: {broken.str()}")
        return refused | set(unsure)

    def _twice(self, cause: MqbridgeError | None) -> LeaseLost:
        """What was written counts, though the message may go to others as well."""
        made = LeaseLost(
            f"the dead letter or copy for {self._queue.spec.queue} is written, but the message may not be ours any more"
            + (f" ({cause})" if cause is not None else "")
            + ". It may be delivered again as well: it may be there twice.",
            outcome="unknown",
            engine=ENGINE,
        )
        made.__cause__ = cause
        return made

    def _tell(self, orders: Sequence[Order], refused: set[int], failed: dict[int, MqbridgeError]) -> None:
        """Complete the settlements whose last order this was."""
        ended: dict[int, Settlement] = {}
        with self._queue.lock:
            for order in orders:
                token, settlement = order.held.token, order.settlement
                if settlement is None:
                    if token in failed:
                        log.warning("%s", failed[token])
                    continue
                settlement.open -= 1
                if token in failed:
                    settlement.failed[token] = failed[token]
                elif token in refused:
                    settlement.refused.append(token)
                if not settlement.open:
                    ended[id(settlement)] = settlement
        for settlement in ended.values():
            self._complete(settlement)

    def _complete(self, settlement: Settlement) -> None:
        """What failed fails the call, as unknown, for the rest of it was applied: nobody must submit it again."""
        refused, queue = tuple(settlement.refused), self._queue.spec.queue
        if not settlement.failed:
            settlement.done(refused, None)
            return
        first = next(iter(settlement.failed.values()))
        error = type(first)(
            f"{len(settlement.failed)} messages of {queue} could not be settled, or not certainly: {first}",
            outcome="unknown",
            retryable=False,
            engine=ENGINE,
            tokens=tuple(settlement.failed),
        )
        error.__cause__ = first
        if refused:
            late = LeaseLost(f"{len(refused)} deliveries of {queue} were settled too late", engine=ENGINE)
            self._queue.say(SettleFailed(refused, late))
        settlement.done(None, error)

    def _give_up(self) -> None:
        """Ended in the middle of a batch: nobody may wait for what this member was told."""
        with self._queue.lock:
            orders = [*self._carrying, *self.orders]
            self.orders.clear()
            self._queue.withdraw(list(self._lot.values()))
            self._lot.clear()
        written: dict[int, MqbridgeError] = {order.held.token: self._twice(None) for order in orders if order.written}
        self._tell(orders, {order.held.token for order in orders}, written)

    def _leave(self) -> None:
        """Leave the group. With the brokers away that may take long, and nobody need wait for it."""
        client, self._client = self._client, None
        queue = self._queue
        self._give_up()
        with queue.lock:
            if queue.closing:
                calls, self.calls = self.calls, deque()
            else:
                calls = deque()
        for _fn, done in calls:
            closed = ConnectionLost("the consumer was closed. Nothing was done.", outcome="not_applied", engine=ENGINE)
            done(None, closed)
        at_once = queue.away
        if at_once:
            queue.left(self)
        if client is not None:
            client.close()
        if not at_once:
            queue.left(self)


def _about(error: MqbridgeError, text: str) -> MqbridgeError:
    """The same error, saying more."""
    made = type(error)(text, outcome=error.outcome, retryable=error.retryable, engine=ENGINE)
    made.__cause__ = error
    return made
