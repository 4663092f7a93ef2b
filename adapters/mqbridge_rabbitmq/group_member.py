"""A member of a group on streams: owns all partitions of its topics or none, reads them, and commits into their tokens.

The rule: a lease lives as long as its token's channel and not longer. When one token is lost, all are given up and the
member joins anew: a group has one member here, and half a member would hold what its successor waits for.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mqbridge.errors import ConfigurationError, ConnectionLost, LeaseLost, MqbridgeError, OperationTimeout, Unreachable
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
    TopicPartition,
    TopicSubscriptionSpec,
)
from mqbridge.topology import Topic
from mqbridge_rabbitmq.errands import Errand, Scratch, run
from mqbridge_rabbitmq.joining import Begin, Held, Joining, edges_around
from mqbridge_rabbitmq.loop import Timer
from mqbridge_rabbitmq.naming import stream_name
from mqbridge_rabbitmq.offsets import Edges
from mqbridge_rabbitmq.streams import StreamReader
from mqbridge_rabbitmq.wire import AmqpConnection, Wire

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

T = TypeVar("T")
AGAIN_S: Final = 0.3
"""Between two attempts to join on one connection."""
MOVE_S: Final = 1.0
"""For a replica to start, before a node without one is left for the next."""
CHECK_S: Final = 1.0


class Commit:
    """One call of `commit`: the tickets of its partitions, and those that were refused."""

    def __init__(self, done: Completion[tuple[TopicPartition, ...]]) -> None:
        self._done = done
        self._open = 1
        self._refused: list[TopicPartition] = []

    def expect(self) -> None:
        self._open += 1

    def end(self, place: TopicPartition | None = None) -> None:
        """One partition is through; refused if it is named."""
        if place is not None:
            self._refused.append(place)
        self._open -= 1
        if not self._open:
            self._done(tuple(self._refused), None)


class Reading:
    """The member's readers as a tenant of the wire that all consumers share: it publishes nothing, so that an alarm of
    the broker, which blocks the tokens' connection, leaves it alone; when it is lost, no lease is."""

    def __init__(self, member: GroupMember) -> None:
        self._member = member

    def up(self, connection: AmqpConnection) -> None:
        for reader in list(self._member.readers.values()):
            reader.open(connection)

    def down(self, error: MqbridgeError) -> None:
        """Each reader knows where it was."""


class GroupMember:
    """The SPI's TopicSubscription. Its tokens have a connection of their own, with a heartbeat of a third of
    `session_timeout_s`: the broker takes a connection for dead after two to three of them without a sign of life."""

    def __init__(self, connection: RabbitConnection, spec: TopicSubscriptionSpec, ready: Callable[[], None]) -> None:
        self._connection = connection
        self._loop = connection.loop
        self._spec = spec
        self._ready = ready
        self._settings = replace(connection.settings, heartbeat_s=max(1, int(spec.session_timeout_s / 3)))
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._attempts = itertools.count(1)
        self._leases = itertools.count(1)
        self._events: deque[Event] = deque()
        # Assignments become events and readers in one step: a block must not be taken before its lease is announced.
        self._changing = threading.Lock()
        self.readers: dict[TopicPartition, StreamReader] = {}
        self._turn = 0
        self._paused: set[TopicPartition] = set()
        self._held: dict[TopicPartition, Held] = {}
        self._commits: dict[TopicPartition, deque[tuple[int, Commit]]] = {}
        self._counts: dict[str, int] = {}
        self._errand: Errand[Any] | None = None
        self._again: Timer | None = None
        self._joined = False
        self._was_down = False
        self._absent = False
        self._closed = False
        self._last_take_s = time.monotonic()
        self._watched: list[tuple[Topic[Any], Callable[[int], None]]] = []
        self._wire: Wire | None = None
        self._reading = Reading(self)
        self._loop.call(lambda: connection.consuming.attach(self._reading))
        connection.members.add(self)
        self._loop.call(self._dial)
        self._loop.call(self._check)

    # --- the connection (loop thread)

    def _dial(self) -> None:
        if self._closed or self._connection.closed:
            return
        wire = Wire(self._loop, self._settings, f"group {self._spec.group}", lambda _state, _why: None)
        self._wire = wire
        wire.attach(self)
        wire.connect(partial(self._dialled, wire))

    def _dialled(self, wire: Wire, _nothing: None, error: MqbridgeError | None) -> None:
        if error is None:
            return
        if error.retryable:
            self._loop.later(1.0, self._dial)
        else:
            self._fatal(error)

    def up(self, connection: AmqpConnection) -> None:
        if self._was_down:
            self._was_down = False
            self._say(Reconnected())
        self._join()

    def down(self, error: MqbridgeError) -> None:
        """The broker takes the tokens back with the connection; what is unsettled will be delivered again."""
        if self._closed:
            return
        self._was_down = True
        self._say(Disconnected(str(error)))
        self._give_up(f"the connection was lost, and the leases with it: {error}")

    # --- joining (loop thread)

    def _join(self) -> None:
        wire = self._wire
        if wire is None or self._closed or self._absent or self._errand is not None:
            return
        connection = wire.connection
        if connection is None or not connection.is_open:
            return
        scratch = Scratch(connection, f"joining group {self._spec.group}")
        member = f"{self._name}/{next(self._attempts)}"
        joining = Joining(self._connection, self._spec, partial(self._hold, wire, member))
        work = joining.all_partitions(scratch)
        self._begin(scratch, work, joining)

    def _begin(self, scratch: Scratch, work: Any, joining: Joining) -> None:
        ended: list[bool] = []

        def done(begins: list[Begin] | None, error: MqbridgeError | None) -> None:
            ended.append(True)
            self._errand = None
            scratch.close()
            if begins is None:
                assert error is not None, "a completion gives a result or an error"
                self._not_joined(error)
            else:
                self._assign(begins, joining)

        errand = Errand(self._loop, f"joining group {self._spec.group}", work, done, None)
        if not ended:
            self._errand = errand

    def _hold(self, wire: Wire, member: str, topic: Topic[Any], partition: int) -> Held:
        held = Held(
            wire,
            self._spec.group,
            topic,
            partition,
            member,
            self._spec.session_timeout_s,
            self._committed,
            self._token_lost,
        )
        self._held[held.place] = held
        return held

    def _not_joined(self, error: MqbridgeError) -> None:
        self._give_up(str(error))
        if self._closed:
            return
        if isinstance(error, Unreachable):
            self._move_on(error)
        elif isinstance(error, LeaseLost | ConnectionLost | OperationTimeout):
            self._join_again()
        else:
            self._fatal(error)

    def _join_again(self) -> None:
        if self._again is None:
            self._again = self._loop.later(AGAIN_S, self._now)

    def _move_on(self, error: Unreachable) -> None:
        """This node has no replica of a stream, and none may ever come there: to the next one, where `up` joins."""
        wire = self._wire
        connection = None if wire is None else wire.connection
        if wire is None or connection is None:
            return

        def leave() -> None:
            self._again = None
            if not self._held:
                wire.move_on(connection, error)

        self._again = self._loop.later(MOVE_S, leave)

    def _now(self) -> None:
        self._again = None
        if not self._held:  # else it has joined meanwhile, on another connection
            self._join()

    def _assign(self, begins: list[Begin], joining: Joining) -> None:
        if self._closed:
            return
        readers: dict[TopicPartition, StreamReader] = {}
        assigned: dict[TopicPartition, tuple[int, int]] = {}
        for begin in begins:
            held, lease = begin.held, next(self._leases)
            reader = StreamReader(
                self._loop, held.topic, held.partition, lease, begin.position, self._ready, self._reading_failed
            )
            reader.stopped = begin.gap is not None
            reader.paused = held.place in self._paused
            readers[held.place] = reader
            assigned[held.place] = (lease, begin.position)
            self._commits[held.place] = deque()
            self._counts[held.topic.name] = max(self._counts.get(held.topic.name, 0), held.partition + 1)
        with self._changing:
            self.readers.update(readers)
            self._events.append(Assigned(assigned))
            self._events.extend(Gap(begin.gap) for begin in begins if begin.gap is not None)
        connection = self._connection.consuming.connection
        if connection is not None:
            for reader in readers.values():
                reader.open(connection)
        self._ready()
        if not self._joined:
            self._joined = True
            self._follow(joining)

    # --- partitions that are added (loop thread)

    def _follow(self, joining: Joining) -> None:
        for topic in self._spec.topics:
            changed = partial(self._more, joining, topic)
            self._watched.append((topic, changed))
            self._connection.partitions.follow(topic, self._counts[topic.name], changed)

    def _unfollow(self) -> None:
        for topic, changed in self._watched:
            self._connection.partitions.unfollow(topic, changed)
        self._watched.clear()

    def _more(self, joining: Joining, topic: Topic[Any], _count: int) -> None:
        """The topic has more partitions. One errand at a time: the end of the one under way looks again."""
        if not self._joined or self._errand is not None or self._closed:
            if self._errand is not None:
                self._loop.later(AGAIN_S, lambda: self._more(joining, topic, _count))
            return
        known = self._counts[topic.name]
        first = self._held.get((topic.name, 0))
        wire = self._wire
        if _count <= known or first is None or wire is None or wire.connection is None:
            return
        token = first.keeper.holder.token
        born = known if token is None else token.born
        scratch = Scratch(wire.connection, f"joining group {self._spec.group}")
        self._begin(scratch, joining.added(scratch, topic, range(known, _count), born), joining)

    # --- losing (loop thread)

    def _token_lost(self, held: Held, reason: str) -> None:
        if self._held.get(held.place) is held:
            self._give_up(f"{held.what}: {reason}")
            self._join_again()

    def _reading_failed(self, reader: StreamReader, error: MqbridgeError) -> None:
        if self.readers.get((reader.topic.name, reader.partition)) is reader:
            self._give_up(str(error))
            self._join_again()  # which finds out whether the topic is there
            consuming = self._connection.consuming
            if isinstance(error, Unreachable) and consuming.connection is not None:
                consuming.move_on(consuming.connection, error)  # joined at a node with a replica, read at one without

    def _give_up(self, reason: str) -> None:
        """Close every token and every reader; the leases end."""
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.stop(LeaseLost(reason, engine="rabbitmq"))
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._joined = False
        self._unfollow()
        held, self._held = self._held, {}
        for one in held.values():
            one.keeper.close()
        with self._changing:
            readers, self.readers = self.readers, {}
            if readers:
                self._events.append(Lost(tuple(readers), reason))
        for reader in readers.values():
            reader.close()
        self._counts.clear()
        commits, self._commits = self._commits, {}
        for place, waiting in commits.items():
            for _, commit in waiting:
                commit.end(place)
        if readers:
            self._ready()

    def _fatal(self, error: MqbridgeError) -> None:
        self._say(Fatal(error))

    def _check(self) -> None:
        """At intervals: a member that is not polled for `max_poll_interval_s` leaves, so that another one can have its
        partitions."""
        if self._closed:
            return
        idle_s = time.monotonic() - self._last_take_s
        if idle_s > self._spec.max_poll_interval_s and not self._absent:
            self._absent = True
            self._give_up(
                f"the consumer was not polled for {idle_s:.1f} s, more than max_poll_interval_s="
                f"{self._spec.max_poll_interval_s:g}, and left the group"
            )
        self._loop.later(min(CHECK_S, self._spec.max_poll_interval_s / 4), self._check)

    def _come_back(self) -> None:
        self._absent = False
        self._now()

    # --- the SPI

    def _say(self, event: Event) -> None:
        with self._changing:
            self._events.append(event)
        self._ready()

    def events(self) -> list[Event]:
        with self._changing:
            found = list(self._events)
            self._events.clear()
        return found

    def take(self, max_records: int) -> Block | None:
        self._last_take_s = time.monotonic()
        if self._absent:
            self._loop.call(self._come_back)
        if max_records <= 0:
            return None
        with self._changing:
            readers = list(self.readers.values())
        for step in range(len(readers)):
            block = readers[(self._turn + step) % len(readers)].take()
            if block is not None:
                self._turn = (self._turn + step + 1) % len(readers)
                return block
        return None

    def commit(
        self,
        offsets: Mapping[TopicPartition, tuple[int, int]],
        done: Completion[tuple[TopicPartition, ...]],
    ) -> None:
        wanted = dict(offsets)
        self._loop.call(lambda: self._commit(wanted, Commit(done)))

    def _commit(self, offsets: Mapping[TopicPartition, tuple[int, int]], commit: Commit) -> None:
        for place, (lease, offset) in offsets.items():
            held, reader = self._held.get(place), self.readers.get(place)
            commit.expect()
            if held is None or reader is None or reader.lease != lease or not held.keeper.owns:
                commit.end(place)
                continue
            # First in the list, then written: a token that is lost meanwhile refuses what is in the list.
            waiting = self._commits[place]
            waiting.append((held.keeper.holder.tickets + 1, commit))
            held.keeper.commit(offset)
        commit.end()

    def _committed(self, held: Held, ticket: int) -> None:
        waiting = self._commits.get(held.place)
        while waiting and waiting[0][0] <= ticket:
            waiting.popleft()[1].end()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        reader = self.readers.get(partition)
        if reader is not None:
            reader.seek(offset)
            self._look_ahead(reader, offset)

    def _look_ahead(self, reader: StreamReader, offset: int) -> None:
        """A stream waits behind its end and leaves out what comes before that offset; the end is the most to ask for,
        as of a start."""
        place = (reader.topic.name, reader.partition)

        def looked(edges: Edges | None, _error: MqbridgeError | None) -> None:
            if edges is None or offset <= edges.end or self.readers.get(place) is not reader or not reader.at(offset):
                return  # in order, asked for no more, or its reader meets the same error and reports it
            self._give_up("its consumer was to read from beyond the end")
            self._fatal(
                ConfigurationError(
                    f"{reader.topic}/{reader.partition}: seek to offset {offset}, which lies beyond the end "
                    f"{edges.end}; nothing was read from there: seek to {edges.end} at most",
                    engine="rabbitmq",
                )
            )

        stream = stream_name(reader.topic, reader.partition)
        work = partial(edges_around, loop=self._loop, stream=stream, position=offset)
        run(self._connection.asking, f"seeking in {reader.topic}/{reader.partition}", work, looked)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(partitions)
        self._set_paused(partitions, True)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)
        self._set_paused(partitions, False)

    def _set_paused(self, partitions: Sequence[TopicPartition], paused: bool) -> None:
        for place in partitions:
            reader = self.readers.get(place)
            if reader is not None:
                reader.paused = paused

    def close(self, done: Completion[None]) -> None:
        def run() -> None:
            self._connection.members.discard(self)
            self._closed = True
            self._give_up("its consumer was closed")
            self._connection.consuming.detach(self._reading)
            wire = self._wire
            if wire is None:
                done(None, None)
                return
            wire.detach(self)
            wire.close(done)

        self._loop.call(run)

    def call(self, kind: type[T], fn: Callable[[T], Any], done: Completion[Any]) -> None:
        wire = self._wire
        self._connection.call(kind, fn, done, self._connection.consuming if wire is None else wire)
