"""A member of a group: the consumer of the client, and the one thread that owns it.

The rule of this room: whatever the application asks is a command in a queue, and that thread obeys it between two looks
at the client, inside a rebalance too. So it waits for the brokers for a few seconds at most, and not at all where
partitions are assigned. Records are fetched ahead into a bounded store; when it has been full for a while the client is
paused and served on, so that the group never waits for a slow application. What a partition's start is, is in
starting.py, and when that is asked, in placing.py; what is held, in holding.py; commits, in committing.py; clients that
are of no use any more, in cut_off.py.
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
    ConnectionLost,
    Denied,
    Fenced,
    InvalidSpec,
    MqbridgeError,
    NotFound,
    Outcome,
    Unsupported,
)
from mqbridge.spi import (
    Assigned,
    Block,
    Completion,
    Disconnected,
    Event,
    Fatal,
    Lost,
    Reconnected,
    Revoking,
    TopicPartition,
    TopicSubscriptionSpec,
)
from mqbridge_kafka.asking import partitions_of
from mqbridge_kafka.blocks import parted
from mqbridge_kafka.committing import Commits, Refused
from mqbridge_kafka.cut_off import NOT_YET, REPLACED, Lifeline
from mqbridge_kafka.errors import ENGINE, applied, rule_of, translate
from mqbridge_kafka.holding import Holding, Holdings
from mqbridge_kafka.lost_offsets import LostOffsets
from mqbridge_kafka.member_client import MemberClient, member_config
from mqbridge_kafka.naming import topic_of
from mqbridge_kafka.placing import Placing
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
CLOSE_S: Final = 10.0
"""How long who closes waits for the client to end; by itself it waits half as long for the group to let it go."""
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
        self._placing = Placing(spec.group, self._starting)
        self._lost_offsets = LostOffsets(spec.group, spec.on_gap, self._holdings, self._starting, self._say)
        self._last_take_s = time.monotonic()
        self._active_s = self._last_take_s
        self._full_since_s: float | None = None
        self._hungry = False
        self._absent = False
        self._ended = False
        self._closing = False
        self._on_closed: Completion[None] | None = None
        self._telling = threading.Lock()
        self._joined = False
        self._client = self._new_client()
        self._lifeline = Lifeline(partial(connection.config, "probe"))
        self._commits = Commits(
            f"committing for group {spec.group}", self._holdings.lease, lambda place: self._client.physical(place)
        )
        connection.parts[self] = None
        connection.watch.listeners.append(self._brokers)
        threading.Thread(target=self._run, name=f"mqbridge-kafka-{spec.group}", daemon=True).start()

    def _new_client(self) -> MemberClient:
        spec = self._spec
        config = self._connection.config("consumer") | member_config(self._connection.settings, spec)
        config |= {"error_cb": self._on_error, "on_commit": self._on_commit}
        return MemberClient(config, self._topics, spec.rebalance != "eager", self._holdings)

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
            self._commands.put(partial(self._move, partition, lease, offset))

    def _move(self, partition: TopicPartition, lease: int, offset: int) -> None:
        self._lost_offsets.drop((partition,))
        self._client.seek(partition, lease, offset)

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

    def _closed(self, outcome: Outcome = "not_applied") -> MqbridgeError:
        text = f"this member of group {self._spec.group} has ended. {applied(outcome)}"
        return Closed(text, outcome=outcome, engine=ENGINE)

    # --- the thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._mind_the_client()
                if not self._joined:
                    self._join()
                    continue
                self._obey(0.0)
                self._commits.send(self._client.consumer)
                self._mind_the_application()
                self._place()
                self._lost_offsets.look(self._client)
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
                self._commits.abort(self._closed)
            self._end()

    def _join(self) -> None:
        """Subscribe, once it is known that there is nothing to commit before."""
        self._obey(LOOK_S)
        if not self._closing and self._placing.before_joining(self._client.consumer):
            self._joined = True
            self._subscribe()

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
            self._lifeline.heard()
            for (name, number), part in parted(messages, len(self._topics) == 1).items():
                self._put(name, number, part)
        for trouble in troubles:  # after what was fetched before it: an offset that is lost is the next one
            self._on_trouble(trouble)

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

    def _place(self) -> None:
        """Begin to read what was assigned, as soon as it is known where."""
        try:
            positions = self._placing.positions(self._client.consumer)
        except MqbridgeError as error:
            self._placing.drop(self._placing.waiting)
            self._say(Fatal(error))
            return
        if not positions:
            return
        taken = [Place(name, number, offset) for (name, number), offset in positions.items()]
        leased: dict[TopicPartition, tuple[int, int]] = {}
        for place in taken:
            lease = next(_leases)
            mine = self._client.portable(place)
            self._holdings.begin(mine, Holding(self._topics[place.topic], lease, place.offset))
            leased[mine] = (lease, place.offset)
        self._client.assign(taken)
        self._say(Assigned(leased))

    # --- rebalances, inside the client's callbacks

    def _on_assign(self, consumer: Consumer, places: list[Place]) -> None:
        """Ours, and not to be read yet: where they begin is asked between two looks at the client. In here this thread
        could do nothing else meanwhile, and after a `list_topics` of this client its next callback would abort the
        process (confluent-kafka 2.16, `CallState_get`)."""
        if not self._closing:
            self._placing.add((place.topic, place.partition) for place in places)
        self._client.assign([])

    def _on_revoke(self, consumer: Consumer, places: list[Place]) -> None:
        mine = tuple(place for place in map(self._client.portable, places) if place in self._holdings)
        if mine and self._absent:
            self._say(Lost(mine, self._silence()))
        elif mine and not self._closing and not self._give_up(consumer, mine):
            self._say(Lost(mine, "not drained in time"))
        self._holdings.end(mine)
        self._leave(places)

    def _leave(self, places: list[Place]) -> None:
        self._placing.drop((place.topic, place.partition) for place in places)
        self._lost_offsets.drop(map(self._client.portable, places))
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
            if self._commits.waiting:
                self._commits.send_now(consumer)
        self._commits.send_now(consumer)
        return bool(finished) or self._closing

    def _on_lost(self, consumer: Consumer, places: list[Place]) -> None:
        mine = self._holdings.end(map(self._client.portable, places))
        if mine and not self._closing:
            given = "the group gave them to another member, or has not heard of this one for session_timeout_s"
            self._say(Lost(mine, self._silence() if self._absent else given))
        self._leave(places)

    def _on_commit(self, error: KafkaError | None, places: list[Place]) -> None:
        self._commits.on_commit(error, places)
        self._placing.on_commit(error, places)

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
            self._lost_offsets.found((self._topics[name].name, number), code == KafkaError._LOG_TRUNCATION)
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

    # --- silence and the end

    def _mind_the_application(self) -> None:
        """Not polled for too long, it leaves the group, so that another member may go on."""
        if not self._absent and time.monotonic() - self._last_take_s > self._spec.max_poll_interval_s:
            self._absent = True
            self._client.consumer.unsubscribe()

    def _mind_the_client(self) -> None:
        """Nothing has come for a while: is that the brokers, or a client that will never find them again? That one is
        replaced, and the new one joins as a new member."""
        if not self._lifeline.cut_off(self._client.consumer, next(iter(self._topics))):
            return
        try:
            made = self._new_client()
        except MqbridgeError as error:
            log.warning("group %s: %s: %s", self._spec.group, NOT_YET, error)
            return
        log.warning("group %s: %s", self._spec.group, REPLACED)
        gone = self._holdings.end_all()
        self._placing.reset()
        self._lost_offsets.forget()
        self._commits.abort(self._cut_off)
        if gone:
            self._say(Lost(gone, REPLACED))
        old, self._client = self._client, made
        old.drop()
        self._lifeline = Lifeline(partial(self._connection.config, "probe"))
        if self._joined and not self._absent:
            self._subscribe()

    def _cut_off(self, outcome: Outcome) -> MqbridgeError:
        text = f"committing for group {self._spec.group}: {REPLACED}. {applied(outcome)}"
        return ConnectionLost(text, outcome=outcome, engine=ENGINE)

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
        """Leave the group. A client that the last look found cut off is let go instead: closing it might not end, and
        the group does without it after the session's timeout."""
        self._holdings.end_all()
        cut_off = self._lifeline.suspects
        if not cut_off:
            self._client.close(CLOSE_S, self._close_late)
        self._ended = True
        try:
            self._obey(0.0)
        finally:  # who waits is told, whatever an application's command did
            self._commits.abort(self._closed)
            self._tell_closed("its client does not find the brokers, and was let go" if cut_off else None)
            if cut_off:
                self._client.drop()

    def _close_late(self) -> None:
        self._commits.abort(self._closed)
        self._tell_closed(
            f"its client waits for the brokers, for {CLOSE_S:g} s by now; its thread ends when that has an answer, and "
            "never if it lost them for good"
        )

    def _tell_closed(self, trouble: str | None = None) -> None:
        """Once. Any thread."""
        with self._telling:
            done, self._on_closed = self._on_closed, None
        if done is None:
            return
        if trouble is not None:
            log.warning("group %s: leaving it: %s", self._spec.group, trouble)
        done(None, None)
