"""How a member comes to own a topic's partitions: the tokens first, then the places to begin at, then the claims.

The rules. Tokens are waited for in order, partition 0 of each topic before all others, so that of two members that
begin at once one gets everything and the other waits, and none holds what the other needs. Nothing is delivered before
every first token is written and has come back: a start that was resolved and not committed would be resolved anew after
a crash, and LATEST would skip what lies between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mqbridge.capabilities import Capability
from mqbridge.errors import ConfigurationError, LeaseLost, MqbridgeError, NotFound, OffsetLost, Rejected, Unsupported
from mqbridge.spi import Completion, TopicPartition, TopicSubscriptionSpec
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, offsets
from mqbridge_rabbitmq.errands import Scratch, Step, pause
from mqbridge_rabbitmq.loop import Loop, Timer
from mqbridge_rabbitmq.naming import stream_name, token_queue
from mqbridge_rabbitmq.token_keeping import NODE_GONE_S, TokenKeeper
from mqbridge_rabbitmq.tokens import Collected, Committed, Effect, Lost, Owned, State, Token
from mqbridge_rabbitmq.wire import Wire

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

MOVED_S: Final = 3.0
"""For the token queue to be led by another node and to hand its token on, once the node of its owner counts as gone."""
BEYOND_S: Final = 3.0
"""A replica that lags shows an end that is too low; only what stays beyond the end for so long is lost."""


class Held:
    """One partition's token as steps to await: collected, then owned; then told of commits, and of the end."""

    def __init__(
        self,
        wire: Wire,
        group: str,
        topic: Topic[Any],
        partition: int,
        member: str,
        echo_s: float,
        committed: Callable[[Held, int], None],
        lost: Callable[[Held, str], None],
        *,
        make: bool = True,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.place: TopicPartition = (topic.name, partition)
        self.what = f"group {group}, {topic}/{partition}"
        self.last: Token | None = None
        self._wire = wire
        self._committed = committed
        self._lost = lost
        self._collected = False
        self._error: MqbridgeError | None = None
        self._waiting: Completion[None] | None = None
        self._patience: Timer | None = None
        queue = token_queue(group, topic, partition)
        self.keeper = TokenKeeper(wire, queue, member, echo_s, self._changed, make=make)

    async def collected(self, patience_s: float, rival: Callable[[Held], MqbridgeError]) -> None:
        """The state of the partition is known, or `rival` says who is in the way for so long."""

        if self._error is None and not self._collected:
            self._be_patient(patience_s, rival)
            try:
                await Step(self._wait)
            finally:
                if self._patience is not None:
                    self._patience.cancel()
        if self._error is not None:
            raise self._error

    def _be_patient(self, patience_s: float, rival: Callable[[Held], MqbridgeError]) -> None:
        def over() -> None:
            if self._wire.blocked:  # an alarm: nobody was asked yet
                self._be_patient(patience_s, rival)
            else:
                self._answer(rival(self))

        self._patience = self._wire.loop.later(patience_s, over)

    @property
    def is_collected(self) -> bool:
        return self._collected and self._error is None

    async def owned(self) -> None:
        if self._error is None and not self.keeper.owns:
            await Step(self._wait)
        if self._error is not None:
            raise self._error

    def _wait(self, done: Completion[None]) -> None:
        self._waiting = done

    def _answer(self, error: MqbridgeError | None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(None, error)

    def _changed(self, effect: Effect) -> None:
        match effect:
            case Collected(last):
                self.last = last
                self._collected = True
                self._answer(None)
            case Owned():
                self._answer(None)
            case Committed(ticket):
                self._committed(self, ticket)
            case Lost(reason, fatal):
                # What will never be ours: an unreadable token, no permission, a queue of that name that holds none.
                kind = Rejected if fatal else LeaseLost
                self._error = self.keeper.denied or kind(
                    f"{self.what}: {reason}. Nothing was changed.", engine=errors.ENGINE
                )
                if self._waiting is not None:
                    self._answer(self._error)
                else:
                    self._lost(self, reason)


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a partition begins, and the gap that is to be told first."""

    held: Held
    position: int
    gap: MqbridgeError | None


class Joining:
    """One attempt to own all partitions, or those that were added."""

    def __init__(
        self,
        connection: RabbitConnection,
        spec: TopicSubscriptionSpec,
        hold: Callable[[Topic[Any], int], Held],
    ) -> None:
        self._connection = connection
        self._spec = spec
        self._hold = hold
        # However short its session: a member that dies with its node holds its token for NODE_GONE_S.
        self._patience_s = max(1.5 * spec.session_timeout_s + 1.0, NODE_GONE_S + MOVED_S)

    async def all_partitions(self, scratch: Scratch) -> list[Begin]:
        topics = sorted(self._spec.topics, key=lambda topic: topic.name)
        counts = {topic.name: await offsets.partition_count(scratch, self._connection, topic) for topic in topics}
        held = [await self._first(scratch, topic) for topic in topics]
        held += [self._open(topic, number) for topic in topics for number in range(1, counts[topic.name])]
        for one in held:
            await self._collect(scratch, one)
        begins: list[Begin] = []
        for topic in topics:
            mine = [one for one in held if one.topic is topic]
            born = max((one.last.born for one in mine if one.last is not None), default=None)
            begins += await self._begin(scratch, mine, born, counts[topic.name])
        return begins

    async def added(self, scratch: Scratch, topic: Topic[Any], numbers: range, born: int) -> list[Begin]:
        """Partitions that were added while this member was there: from their beginning."""
        held = [self._open(topic, number) for number in numbers]
        for one in held:
            await self._collect(scratch, one)
        return await self._begin(scratch, held, born, numbers.stop)

    async def _first(self, scratch: Scratch, topic: Topic[Any]) -> Held:
        held = self._open(topic, 0)
        await self._collect(scratch, held)
        return held

    async def _collect(self, scratch: Scratch, held: Held) -> None:
        """A rival is one that is seen: a queue with a single active consumer counts that one, which is not us as long
        as nothing was delivered here. Else the broker is slow, or the queue has no leader just now: tried again."""
        try:
            await held.collected(self._patience_s, self._rival)
        except Unsupported as rival:
            try:
                consumers = int((await scratch.declare_queue(held.keeper.queue)).consumer_count)
            except NotFound:
                consumers = 0
            if held.is_collected:  # it came while we looked
                return
            if consumers and held.keeper.holder.state is State.WAITING:
                raise
            raise LeaseLost(
                f"{held.what}: its token did not come within {self._patience_s:g} s, and no other member consumes it. "
                "Nothing was changed; it is tried again.",
                engine=errors.ENGINE,
            ) from rival

    def _open(self, topic: Topic[Any], partition: int) -> Held:
        held = self._hold(topic, partition)
        held.keeper.open()
        return held

    def _rival(self, held: Held) -> MqbridgeError:
        return Unsupported(
            f"{held.what}: another member consumes it, on this bus, another one, or in another process, and RabbitMQ's "
            f"streams are consumed by one member a group here. It did not end within {self._patience_s:g} s, so this "
            "consumer stops; it has received nothing. Use one consumer a group with run(workers=...), a group of its "
            "own for each consumer that is to see everything, or a Queue for consumers that share the work.",
            capability=Capability.GROUPS.value,
            engine=errors.ENGINE,
            instead="one consumer a group, or a Queue for competing consumers",
        )

    async def _begin(self, scratch: Scratch, held: list[Held], born: int | None, count: int) -> list[Begin]:
        """Resolve where each one begins, then claim them all."""
        begins: list[Begin] = []
        for one in held:
            begins.append(await self._resolve(scratch, one, born))
        for begin in begins:
            begin.held.keeper.claim(begin.position, count if born is None else born)
        for begin in begins:
            await begin.held.owned()
        return begins

    async def _resolve(self, scratch: Scratch, held: Held, born: int | None) -> Begin:
        stream = stream_name(held.topic, held.partition)
        if held.last is not None:
            position = held.last.offset
            edges = await edges_around(scratch, self._connection.loop, stream, position)
            lost = position < edges.start or position > edges.end
        elif born is not None and held.partition >= born:
            edges = await offsets.edges(scratch, stream)
            position, lost = edges.start, False
        else:
            edges = await offsets.edges(scratch, stream)
            position = await self._start(scratch, stream, held, edges)
            lost = position < edges.start
        if not lost:
            return Begin(held, position, None)
        if self._spec.on_gap == "fail":
            return Begin(held, position, _gap(held, position, edges))
        return Begin(held, edges.start if self._spec.on_gap == "earliest" else edges.end, None)

    async def _start(self, scratch: Scratch, stream: str, held: Held, edges: offsets.Edges) -> int:
        start = self._spec.start
        if start.kind == "latest":
            return edges.end
        if start.kind == "at":
            position = start.offsets.get(held.partition, edges.start)
            end = (await edges_around(scratch, self._connection.loop, stream, position)).end
            if position > end:
                raise ConfigurationError(
                    f"{held.what}: start at offset {position} lies beyond its end {end}; nobody joined and nothing was "
                    f"committed: start at {end} at most",
                    engine=errors.ENGINE,
                )
            return position
        if start.kind == "since":
            found = await offsets.offset_at(scratch, stream, start.timestamp_ms or 0)
            return edges.end if found is None else found
        return edges.start


async def edges_around(scratch: Scratch, loop: Loop, stream: str, position: int) -> offsets.Edges:
    """The edges, once they reach `position`, or those of `BEYOND_S` later."""
    edges = await offsets.edges(scratch, stream)
    waited_s = 0.0
    while position > edges.end and waited_s < BEYOND_S:
        await pause(loop, 0.5)
        waited_s += 0.5
        edges = await offsets.edges(scratch, stream)
    return edges


def _gap(held: Held, committed: int, edges: offsets.Edges) -> MqbridgeError:
    where = (
        f"lies before the start of the log, {edges.start}: retention removed what lies between"
        if committed < edges.start
        else f"lies behind the end of the log, {edges.end}: the stream was deleted and made anew, or lost its end"
    )
    return OffsetLost(
        f"{held.what}: the committed offset {committed} {where}. Nothing was changed; seek() to where to go on, or "
        "make the consumer with on_gap='earliest' or 'latest'.",
        engine=errors.ENGINE,
        topic=held.topic.name,
        partition=held.partition,
        committed=committed,
        start=edges.start,
    )
