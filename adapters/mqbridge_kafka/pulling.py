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
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import AcknowledgeType, KafkaError, KafkaException, Message

from mqbridge.errors import ConnectionLost, LeaseLost, MqbridgeError, NotFound, OperationTimeout
from mqbridge.spi import Completion, SettleFailed
from mqbridge_kafka.errors import ENGINE, translate
from mqbridge_kafka.settings import log
from mqbridge_kafka.share_client import ShareClient, arrived
from mqbridge_kafka.share_orders import GIVE_BACK_S, Held, Order, Settlement
from mqbridge_kafka.verdicts import Terms, Verb, judge, on_arrival
from mqbridge_kafka.watching import never_destroy

if TYPE_CHECKING:
    from mqbridge_kafka.share_queue import ShareQueue

POLL_S: Final = 0.1
"""So long a close may wait for the client."""
IDLE_S: Final = 1.0
"""A member that nobody needed for so long leaves the group; the next one joins within some 40 ms."""
AGAIN_S: Final = 0.25
CLOSING_S: Final = 5.0
"""For giving back when a consumer is closed; what takes longer is given back by the broker, counted."""
NOT_OURS: Final = KafkaError.INVALID_RECORD_STATE


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
        queue = self._queue
        with queue.lock:
            while True:
                orders = list(self.orders)
                self.orders.clear()
                ordered = {order.held.token for order in orders}
                free = [held for held in self._lot.values() if held.token not in ordered]
                now_s = time.monotonic()
                due, verb = self._due(free, now_s)
                if due:
                    queue.withdraw(due)
                    orders += [Order(held, verb) for held in due]
                if orders or self.calls or not self._lot:
                    return orders
                moments = [one.until_s if one.shown else self._given_back_s(one) for one in free]
                self.woken.wait(max(0.001, min(moments) - now_s))

    def _due(self, free: list[Held], now_s: float) -> tuple[list[Held], Verb]:
        """What nobody gave an order for and must go now."""
        queue = self._queue
        if self._lost:
            return free, "drop"
        if queue.closing:
            return free, "drop" if queue.away or queue.is_gone() else "return"
        ended = [one for one in free if now_s >= one.until_s]
        if ended:
            return ended, "drop"
        return [one for one in free if not one.shown and now_s >= self._given_back_s(one)], "return"

    def _given_back_s(self, held: Held) -> float:
        """When a message that nobody was shown goes to others: well before its lock ends, for that would be counted."""
        return held.acquired_s + min(GIVE_BACK_S, self._queue.lock_s / 4)

    def _carry_out(self, client: ShareClient, orders: Sequence[Order]) -> set[int]:
        """Write what must be written, tell the broker, tell who waits; the tokens that were not ours any more."""
        if not orders:
            return set()
        self._carrying = orders
        queue, terms = self._queue, self._terms()
        if self._lost:  # nothing is written for what the broker gives to others already
            for order in orders:
                order.verb = "drop"
        wall_ms = queue.connection.clock.wall_ms()
        verdicts = [judge(one.verb, one.text, one.held.arrival, terms, wall_ms) for one in orders]
        letters = [verdict.letter for verdict in verdicts if verdict.letter is not None]
        what = f"settling {len(orders)} messages of {queue.spec.queue}"
        errors = iter(self._deliver(letters, what))
        told: list[tuple[Message, AcknowledgeType]] = []
        unwritten: dict[int, MqbridgeError] = {}
        for order, verdict in zip(orders, verdicts, strict=True):
            error = None if verdict.letter is None else next(errors)
            if error is not None:
                unwritten[order.held.token] = error
            accept = verdict.accept and error is None
            told.append((order.held.message, AcknowledgeType.ACCEPT if accept else AcknowledgeType.RELEASE))
        refusals = client.settle(told)
        refused = self._conclude(orders, refusals, unwritten, what)
        self._carrying = ()
        return refused

    def _deliver(self, letters: Sequence[Any], what: str) -> list[MqbridgeError | None]:
        courier = self._queue.connection.courier
        if self._queue.closing:
            return courier.deliver(letters, what, CLOSING_S)
        return courier.deliver(letters, what)

    def _conclude(
        self,
        orders: Sequence[Order],
        refusals: dict[int, KafkaError | None],
        unwritten: dict[int, MqbridgeError],
        what: str,
    ) -> set[int]:
        queue = self._queue
        refused: set[int] = set()
        unsure: dict[int, MqbridgeError] = {}
        broken: KafkaError | None = None
        for order in orders:
            token = order.held.token
            self._lot.pop(token, None)
            refusal = refusals.get(order.held.message.partition() or 0)
            if order.verb == "drop":
                refused.add(token)
                continue
            if refusal is None:
                continue
            if refusal.code() != NOT_OURS:
                broken = refusal
            made = translate(refusal, what)
            if made.outcome == "not_applied" or refusal.code() == NOT_OURS:
                refused.add(token)
            else:
                unsure[token] = made
        self._tell(orders, refused, unsure | unwritten)
        if broken is not None and not self._lost:
            queue.interrupted(f"the broker does not know what was acquired: {broken.str()}")
        return refused | set(unsure)

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
            f"{len(settlement.failed)} messages of {queue} could not be settled, and will be delivered again: {first}",
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
        self._tell(orders, {order.held.token for order in orders}, {})

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
