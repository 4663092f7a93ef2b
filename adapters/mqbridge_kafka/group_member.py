"""A member of a group: the consumer of the client, and the one thread that owns it.

The rule of this room: whatever the application asks is a command in a queue, and that thread obeys it between two looks
at the client, inside a rebalance too. Records are fetched ahead into a bounded store; when it has been full for a while
the client is paused and served on, so that the group never waits for a slow application. What a partition's start is,
is in starting.py; what is held, in holding.py; commits, in committing.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from mqbridge.errors import (
    Closed,
    ConfigurationError,
    Denied,
    Fenced,
    InvalidSpec,
    MqbridgeError,
    NotFound,
    OffsetLost,
    Unsupported,
)
from mqbridge.spi import (
    Assigned,
    Block,
    Completion,
    Disconnected,
    Event,
    Fatal,
    Gap,
    Lost,
    Reconnected,
    Revoking,
    TopicPartition,
    TopicSubscriptionSpec,
)
from mqbridge_kafka.asking import insist, partitions_of
from mqbridge_kafka.committing import GONE, OVERTAKEN, Commits, Refused
from mqbridge_kafka.errors import ENGINE, code_of, rule_of, translate
from mqbridge_kafka.holding import Holding, Holdings
from mqbridge_kafka.member_client import MemberClient, member_config
from mqbridge_kafka.naming import topic_of
from mqbridge_kafka.settings import log
from mqbridge_kafka.starting import Starting
from mqbridge_kafka.watching import never_destroy

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

T = TypeVar("T")
Command = Callable[[], None]

FETCH: Final = 500
LOOK_S: Final = 0.02
"""How long a command may wait while the client has nothing to give."""
FULL_S: Final = 0.5
"""How long the store may be full before the client is paused: a pause drops what the client has fetched."""
DRAIN_SHARE: Final = 0.8
"""Of the time that the group waits for a member: what is left for giving up its partitions."""
START_S: Final = 10.0
"""How long the commit of a start is tried within an assignment."""
OUT_OF_RANGE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE)
MISSING: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
ENDING: Final = (Denied, Fenced, ConfigurationError, Unsupported)
"""Errors of a group that will be the same the next time."""
_leases = itertools.count(1)
"""Lease numbers; never one twice in a process."""


class GroupMember:
    """The SPI's TopicSubscription."""

    def __init__(self, connection: KafkaConnection, spec: TopicSubscriptionSpec, ready: Callable[[], None]) -> None:
        self._connection = connection
        self._spec = spec
        self._ready = ready
        self._topics = {topic_of(topic): topic for topic in spec.topics}
        connection.portable_names.update((name, topic.name) for name, topic in self._topics.items())
        self._events: deque[Event] = deque()
        self._commands: SimpleQueue[Command | None] = SimpleQueue()
        self._holdings = Holdings(connection.settings.buffer_bytes >> 2)
        self._reader = partial(connection.watch.reader, spec.isolation)
        self._starting = Starting(spec.group, tuple(self._topics), spec.start, lambda: self._closing, self._reader)
        self._last_take_s = time.monotonic()
        self._active_s = self._last_take_s
        self._full_since_s: float | None = None
        self._hungry = False
        self._absent = False
        self._ended = False
        self._closing = False
        self._on_closed: Completion[None] | None = None
        config = connection.config("consumer") | member_config(connection.settings, spec)
        config |= {"error_cb": self._on_error, "on_commit": self._on_commit}
        self._client = MemberClient(config, self._topics, spec.rebalance != "eager", self._holdings)
        self._commits = Commits(f"committing for group {spec.group}", self._holdings.lease, self._client.physical)
        connection.parts[self] = None
        connection.watch.listeners.append(self._brokers)
        threading.Thread(target=self._run, name=f"mqbridge-kafka-{spec.group}", daemon=True).start()

    # --- the application's side

    def events(self) -> list[Event]:
        events: list[Event] = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def take(self, max_records: int) -> Block | None:
        self._last_take_s = time.monotonic()
        if self._absent:
            self._commands.put(self._come_back)
        if max_records <= 0:
            return None
        block = self._holdings.take()
        if self._hungry and not self._holdings.half_full:
            self._hungry = False
            self._commands.put(None)
        return block

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, int]], done: Completion[Refused]) -> None:
        if self._ended:
            done(None, self._closed())
            return
        self._commands.put(partial(self._commits.add, dict(offsets), done))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        lease = self._holdings.seek(partition, offset)
        if lease is not None:
            self._commands.put(partial(self._client.seek, partition, lease, offset))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._holdings.pause(partitions)
        self._commands.put(partial(self._client.pause, tuple(partitions)))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._holdings.resume(partitions)
        self._commands.put(partial(self._client.resume, tuple(partitions)))

    def call(self, kind: type[T], fn: Callable[[T], Any], done: Completion[Any]) -> None:
        def run() -> None:
            if isinstance(self._client.consumer, kind):
                done(fn(self._client.consumer), None)
            else:
                done(None, InvalidSpec(f"a Kafka consumer has no {kind.__name__} inside", field="kind", engine=ENGINE))

        if self._ended:
            done(None, self._closed())
        else:
            self._commands.put(run)

    def close(self, done: Completion[None]) -> None:
        self._leave_connection()
        if self._ended or self._closing:
            done(None, None)
            return
        self._on_closed = done
        self._closing = True
        self._commands.put(None)

    def _leave_connection(self) -> None:
        self._connection.parts.pop(self, None)
        if self._brokers in self._connection.watch.listeners:
            self._connection.watch.listeners.remove(self._brokers)

    def abandon(self) -> None:
        self._ended = True
        never_destroy(self._client.consumer)

    def _closed(self) -> MqbridgeError:
        return Closed(f"this member of group {self._spec.group} has ended; nothing was committed", engine=ENGINE)

    # --- the thread

    def _run(self) -> None:
        try:
            self._starting.before_joining(self._client.consumer)
            self._subscribe()
            while not self._closing:
                self._obey(0.0)
                self._commits.send(self._client.consumer)
                self._mind_the_application()
                if self._holdings.full or self._client.held_back:
                    self._hold_back()
                else:
                    self._full_since_s = None
                    self._fetch()
        except KafkaException as error:
            self._say(Fatal(translate(error, f"consuming in group {self._spec.group}")))
        except MqbridgeError as error:
            self._say(Fatal(error))
        finally:
            while not self._closing:  # it works no more, and still answers
                self._obey(FULL_S)
                self._commits.abort(self._closed())
            self._end()

    def _subscribe(self) -> None:
        self._client.subscribe(self._on_assign, self._on_revoke, self._on_lost)

    def _obey(self, timeout_s: float) -> None:
        """Do what was asked for; wait for the first command at most so long."""
        try:
            command = self._commands.get(timeout=timeout_s) if timeout_s else self._commands.get_nowait()
            while True:
                if command is not None:
                    self._active_s = time.monotonic()
                    command()
                command = self._commands.get_nowait()
        except Empty:
            return

    def _fetch(self) -> None:
        messages = self._client.consumer.consume(FETCH, 0)
        if not messages:
            first = self._client.consumer.poll(LOOK_S if time.monotonic() - self._active_s < 1.0 else LOOK_S * 5)
            if first is None:
                return
            messages = [first, *self._client.consumer.consume(FETCH - 1, 0)]
        self._active_s = time.monotonic()
        self._sort(messages)
        self._ready()

    def _sort(self, messages: list[Message]) -> None:
        """Into blocks of one partition each, in order; errors are no records."""
        troubles = [message for message in messages if message.error()]
        if troubles:
            messages = [message for message in messages if not message.error()]
        if messages:
            self._part(messages)
        for trouble in troubles:  # after what was fetched before it: an offset that is lost is the next one
            self._on_trouble(trouble)

    def _part(self, messages: list[Message]) -> None:
        numbers = list(map(Message.partition, messages))
        names = [messages[0].topic()] * len(messages) if len(self._topics) == 1 else list(map(Message.topic, messages))
        if numbers.count(numbers[0]) == len(numbers) and names.count(names[0]) == len(names):
            self._put(names[0], numbers[0], messages)
            return
        parts: dict[tuple[Any, Any], list[Message]] = {}
        for place, message in zip(zip(names, numbers, strict=True), messages, strict=True):
            parts.setdefault(place, []).append(message)
        for (name, number), part in parts.items():
            self._put(name, number, part)

    def _put(self, name: str | None, number: int | None, messages: list[Message]) -> None:
        topic = self._topics.get(name or "")
        if topic is not None and number is not None:
            self._holdings.put((topic.name, number), messages, sum(map(len, messages)))

    def _hold_back(self) -> None:
        """The application is slow. For a while nothing is asked of the client; then it is paused, and served."""
        now_s = time.monotonic()
        if self._full_since_s is None:
            self._full_since_s = now_s
        self._hungry = True
        if self._client.held_back:
            message = self._client.consumer.poll(LOOK_S)
            if message is not None:
                self._sort([message])
        elif now_s - self._full_since_s >= FULL_S:
            self._client.hold_back()
        elif self._holdings.half_full:
            self._obey(LOOK_S)
        if self._client.held_back and not self._holdings.half_full:
            self._client.go_on()

    def _say(self, event: Event) -> None:
        self._events.append(event)
        self._ready()

    # --- rebalances, inside the client's callbacks

    def _on_assign(self, consumer: Consumer, places: list[Place]) -> None:
        native = [(place.topic, place.partition) for place in places]
        positions: dict[TopicPartition, int] = {}
        try:
            if not self._closing:
                positions = self._starting.of_assigned(consumer, native, self._commit_start)
        except MqbridgeError as error:
            if not self._closing:
                self._say(Fatal(error))
        taken = [Place(name, number, offset) for (name, number), offset in positions.items()]
        leased: dict[TopicPartition, tuple[int, int]] = {}
        for place in taken:
            lease = next(_leases)
            mine = self._client.portable(place)
            self._holdings.begin(mine, Holding(self._topics[place.topic], lease, place.offset))
            leased[mine] = (lease, place.offset)
        self._client.assign(taken)
        if leased:
            self._say(Assigned(leased))

    def _commit_start(self, commit: Callable[[], None]) -> None:
        """Commit where topics start that nobody of the group has read yet. Too late means: no member any more, and
        what is being assigned is lost again in a moment."""
        try:
            insist(commit, f"committing where group {self._spec.group} starts", lambda: self._closing, START_S)
        except MqbridgeError as error:
            if code_of(error.__cause__ or error) not in (*GONE, *OVERTAKEN):
                raise
            log.info("group %s: a rebalance overtook the commit of its start: %s", self._spec.group, error)

    def _on_revoke(self, consumer: Consumer, places: list[Place]) -> None:
        mine = tuple(place for place in map(self._client.portable, places) if place in self._holdings)
        if mine and self._absent:
            self._say(Lost(mine, self._silence()))
        elif mine and not self._closing and not self._give_up(consumer, mine):
            self._say(Lost(mine, "not drained in time"))
        self._holdings.end(mine)
        self._client.unassign(places)

    def _give_up(self, consumer: Consumer, mine: tuple[TopicPartition, ...]) -> bool:
        """Let the application settle what is out, and commit it; the group waits for us meanwhile. False if it did not
        finish in time."""
        deadline_s = DRAIN_SHARE * self._spec.max_poll_interval_s
        until_s = time.monotonic() + deadline_s
        finished: list[bool] = []

        def done() -> None:
            finished.append(True)
            self._commands.put(None)

        self._holdings.leave(mine)
        self._say(Revoking(mine, deadline_s, done))
        while not finished and not self._closing and time.monotonic() < until_s:
            self._obey(LOOK_S)
            self._commits.send_now(consumer, mine)
        self._commits.send_now(consumer, mine)
        return bool(finished) or self._closing

    def _on_lost(self, consumer: Consumer, places: list[Place]) -> None:
        mine = self._holdings.end(map(self._client.portable, places))
        if mine and not self._closing:
            reason = (
                self._silence()
                if self._absent
                else ("the group gave them to another member, or has not heard of this one for session_timeout_s")
            )
            self._say(Lost(mine, reason))
        self._client.unassign(places)

    def _on_commit(self, error: KafkaError | None, places: list[Place]) -> None:
        self._commits.on_commit(error, places)

    # --- trouble

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._say(Fatal(translate(error, f"consuming in group {self._spec.group}")))
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._connection.watch.trouble(error.str())

    def _brokers(self, away: bool, reason: str) -> None:
        """What the connection found. Leases stay: whether the member outlives it, its group says."""
        self._say(Disconnected(reason) if away else Reconnected())

    def _on_trouble(self, message: Message) -> None:
        """An error in place of a record."""
        error = message.error()
        assert error is not None, "called for errors alone"
        name, number = message.topic(), message.partition()
        code = error.code()
        if code in OUT_OF_RANGE and name in self._topics and number is not None:
            self._lost_offset((self._topics[name].name, number))
        elif code in MISSING:
            self._look_for(name)
        elif error.fatal() or code == KafkaError._FATAL or issubclass(rule_of(code).kind, ENDING):
            self._say(Fatal(translate(error, f"consuming in group {self._spec.group}")))
        else:
            log.info("group %s: %s", self._spec.group, error.str())

    def _look_for(self, name: str | None) -> None:
        """A broker does not know the topic. A young one it may not know yet; one that is gone ends the consumer."""
        try:
            partitions_of(self._reader(), [name] if name in self._topics else list(self._topics))
        except KafkaException as error:
            made = translate(error, f"consuming {name or ', '.join(self._topics)}", outcome="not_applied")
            if isinstance(made, NotFound):
                self._say(Fatal(made))
        except TimeoutError:
            log.info("group %s: whether %s is still there is not known", self._spec.group, name)

    def _lost_offset(self, place: TopicPartition) -> None:
        """The log does not have the next offset any more: `on_gap` says what to do."""
        held = self._holdings.get(place)
        if held is None or held.moving:
            return
        wanted, lease = held.position, held.lease
        first, end = self._starting.edges((self._client.physical(place), place[1]))
        if self._spec.on_gap == "fail":
            self._holdings.stop(place)
            self._say(Gap(_offset_lost(self._spec.group, place, wanted, first, end)))
            return
        target = first if self._spec.on_gap == "earliest" else end
        log.warning(
            "group %s: %s/%d goes from %d to %d, on_gap=%s", self._spec.group, *place, wanted, target, self._spec.on_gap
        )
        if self._holdings.skip(place, lease, target):
            self._client.skip(place, target)

    # --- silence and the end

    def _mind_the_application(self) -> None:
        """Not polled for too long, it leaves the group, so that another member may go on."""
        if not self._absent and time.monotonic() - self._last_take_s > self._spec.max_poll_interval_s:
            self._absent = True
            self._client.consumer.unsubscribe()

    def _silence(self) -> str:
        return (
            f"the consumer was not polled for more than max_poll_interval_s={self._spec.max_poll_interval_s:g}, and "
            "left the group"
        )

    def _come_back(self) -> None:
        if self._absent and not self._closing:
            self._absent = False
            self._subscribe()

    def _end(self) -> None:
        self._holdings.end_all()
        try:
            self._client.consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.info("group %s: %s", self._spec.group, error)
        self._ended = True
        try:
            self._obey(0.0)
        finally:  # who waits is told, whatever an application's command did
            self._commits.abort(self._closed())
            if self._on_closed is not None:
                self._on_closed(None, None)


def _offset_lost(group: str, place: TopicPartition, wanted: int, first: int, end: int) -> OffsetLost:
    name, partition = place
    return OffsetLost(
        f"group {group}: offset {wanted} of topic:{name}/{partition} is not there any more; the log has {first} to "
        f"{end}. Nothing was skipped: seek() to where it shall go on, or say on_gap='earliest' or 'latest'.",
        engine=ENGINE,
        topic=name,
        partition=partition,
        committed=wanted,
        start=first,
    )
