"""Questions to the broker that take several steps, written as coroutines. The rule: one step at a time, on the loop
thread, on a channel that is the errand's own; a step that the broker refuses raises mqbridge's error where it was
awaited.

An error closes an AMQP channel, so the next step after a refused one opens another. There is no asyncio here: a step is
something that calls back, and the errand is resumed by the call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar, cast

from pika import exceptions as amqp

from mqbridge.errors import MqbridgeError, Outcome
from mqbridge.spi import Completion
from mqbridge_rabbitmq import errors
from mqbridge_rabbitmq.loop import Loop, Timer
from mqbridge_rabbitmq.management import Management
from mqbridge_rabbitmq.wire import AmqpConnection, Wire, shut, usable

T = TypeVar("T")
Row: TypeAlias = tuple[int, Any, bytes]
"""What came from a stream: offset, pika's properties, body."""
OFFSET_HEADER = "x-stream-offset"


class Step(Generic[T]):
    """Something to await: `start` is given a completion, to be called once, on the loop thread."""

    __slots__ = ("start",)

    def __init__(self, start: Callable[[Completion[T]], None]) -> None:
        self.start = start

    def __await__(self) -> Generator[Step[T], Any, T]:
        return cast(T, (yield self))


class Errand(Generic[T]):
    """Runs a coroutine of steps; `done` hears its result or its error, once. Loop thread."""

    def __init__(
        self, loop: Loop, what: str, work: Coroutine[Step[Any], Any, T], done: Completion[T], timeout_s: float | None
    ) -> None:
        self._what = what
        self._work = work
        self._done: Completion[T] | None = done
        self._turn = 0
        self._timeout_s = timeout_s
        self._timer: Timer | None = None if timeout_s is None else loop.later(timeout_s, self._expired)
        self._resume(None, None)

    def stop(self, error: MqbridgeError) -> None:
        """End it where it waits."""
        if self._done is not None:
            self._turn += 1
            self._resume(None, error)

    def _expired(self) -> None:
        self._timer = None
        self.stop(errors.timed_out(self._what, self._timeout_s or 0.0, "unknown"))

    def _resume(self, result: Any, error: MqbridgeError | None) -> None:
        while True:
            try:
                step = self._work.send(result) if error is None else self._work.throw(error)
            except StopIteration as end:
                self._end(end.value, None)
                return
            except MqbridgeError as failure:
                self._end(None, failure)
                return
            answers: list[tuple[Any, MqbridgeError | None]] = []
            self._start(step, answers)
            if not answers:
                return
            ((result, error),) = answers  # answered before `start` returned: no deeper for it

    def _start(self, step: Step[Any], answers: list[tuple[Any, MqbridgeError | None]]) -> None:
        turn = self._turn
        starting = True

        def answered(value: Any, failure: MqbridgeError | None) -> None:
            if turn != self._turn or self._done is None:
                return  # it was stopped, or this is a second answer
            self._turn += 1
            if starting:
                answers.append((value, failure))
            else:
                self._resume(value, failure)

        step.start(answered)
        starting = False

    def _end(self, result: T | None, error: MqbridgeError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        done, self._done = self._done, None
        if done is not None:
            done(result, error)


class Scratch:
    """A channel for an errand. `what` words its errors; `outcome` is what is known of it when it is interrupted:
    ``not_applied`` of an errand that only looks, ``unknown`` of one that changes something."""

    def __init__(self, connection: AmqpConnection, what: str, outcome: Outcome = "not_applied") -> None:
        self.connection = connection
        self.what = what
        self._outcome: Outcome = outcome
        self._changing = False
        self._changed = False
        self._channel: Any = None
        self._waiting: Completion[Any] | None = None
        self._feeds: list[Feed] = []

    def close(self) -> None:
        channel, self._channel = self._channel, None
        shut(channel)

    # --- one step

    async def _call(self, method: Callable[[Any, Callable[[Any], None]], None], *, changes: bool = False) -> Any:
        """``method(channel, callback)`` on an open channel; what the callback is given."""
        if self._channel is None:
            await Step(self._open)

        def start(done: Completion[Any]) -> None:
            self._waiting = done
            self._changing = changes
            try:
                method(self._channel, self._answer)
            except amqp.AMQPError as error:
                self._fail(errors.connection_error(error, self.what, self._known))

        answer = await Step(start)
        self._changed = self._changed or changes
        return answer

    def _open(self, done: Completion[None]) -> None:
        self._waiting = done
        if not self.connection.is_open:
            lost = errors.connection_error(None, self.what, self._outcome)
            self._fail(lost if self._changed else errors.no_connection(self.what))
            return
        self._channel = self.connection.channel(on_open_callback=lambda _channel: self._answer(None))
        self._channel.add_on_close_callback(self._closed)

    @property
    def _known(self) -> Outcome:
        """What an interruption leaves: before the first step that changes something nothing was changed."""
        return self._outcome if self._changed or self._changing else "not_applied"

    def _answer(self, frame: Any) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(frame, None)

    def _fail(self, error: MqbridgeError) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(None, error)

    def _closed(self, channel: Any, native: BaseException) -> None:
        if channel is self._channel:
            self._channel = None
            if isinstance(native, amqp.ChannelClosedByBroker):
                self._changing = False  # this step was refused, those before it were not
            error = errors.channel_error(native, self.what, self._known)
            self._fail(error)
            for feed in self._feeds:
                feed.fail(error)

    # --- methods of AMQP

    async def declare_exchange(self, name: str, *, arguments: Mapping[str, Any] | None = None) -> None:
        """A durable direct exchange; without arguments only asked whether it is there."""
        await self._call(
            lambda channel, done: channel.exchange_declare(
                name, "direct", passive=arguments is None, durable=True, arguments=arguments, callback=done
            ),
            changes=arguments is not None,
        )

    async def declare_queue(self, name: str, *, arguments: Mapping[str, Any] | None = None) -> Any:
        """A durable queue; without arguments only asked whether it is there. The method of its declare-ok."""
        frame = await self._call(
            lambda channel, done: channel.queue_declare(
                name, passive=arguments is None, durable=True, arguments=arguments, callback=done
            ),
            changes=arguments is not None,
        )
        return frame.method

    async def bind(self, queue: str, exchange: str, key: str, arguments: Mapping[str, Any]) -> None:
        await self._call(
            lambda channel, done: channel.queue_bind(queue, exchange, key, arguments=arguments, callback=done),
            changes=True,
        )

    async def delete_queue(self, name: str) -> None:
        await self._call(lambda channel, done: channel.queue_delete(name, callback=done), changes=True)

    async def delete_exchange(self, name: str) -> None:
        await self._call(lambda channel, done: channel.exchange_delete(name, callback=done), changes=True)

    async def barrier(self) -> None:
        """The broker's channel process has done everything that was asked of it before."""
        await self._call(lambda channel, done: channel.basic_qos(prefetch_count=1, callback=done))

    async def feed(self, stream: str, offset: Any, prefetch: int) -> Feed:
        """Read a stream from an ``x-stream-offset`` on."""
        feed = Feed()
        await self._call(lambda channel, done: channel.basic_qos(prefetch_count=prefetch, callback=done))

        def consume(channel: Any, done: Callable[[Any], None]) -> None:
            feed.channel = channel
            feed.tag = channel.basic_consume(stream, feed.take, arguments={OFFSET_HEADER: offset}, callback=done)

        self._feeds.append(feed)
        await self._call(consume)
        return feed

    async def settled(self, stream: str) -> None:
        """Every feed of this stream was delivered what was there when this was called, as far as its prefetch goes.

        Why (rabbit_stream_queue.erl, begin_stream): a consume casts a listener to the stream's process, whose answer
        makes the channel deliver; the next consume *calls* that process, so that answer is in the channel's mailbox
        once it is through, and a method sent after that comes behind the deliveries.
        """
        probe = await self.feed(stream, "last", 1)
        await self.barrier()
        await self.barrier()
        await self.cancel(probe)

    async def cancel(self, feed: Feed) -> None:
        self._feeds.remove(feed)
        await self._call(lambda channel, done: channel.basic_cancel(feed.tag, callback=done))


class Feed:
    """What one consume of a stream delivers. Acknowledging is giving credit, and nothing else."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.tag = ""
        self.rows: deque[Row] = deque()
        self.received = 0
        self._last_delivery = 0
        self._waiting: Completion[None] | None = None
        self._error: MqbridgeError | None = None

    def take(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._last_delivery = method.delivery_tag
        self.received += 1
        self.rows.append((int(properties.headers[OFFSET_HEADER]), properties, body))
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting(None, None)

    def fail(self, error: MqbridgeError) -> None:
        self._error = error
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting(None, error)

    def credit(self) -> None:
        """For all that came so far. Of this feed alone: a channel's cumulative ack would give the others' too."""
        if self._last_delivery and usable(self.channel):
            self.channel.basic_ack(self._last_delivery, multiple=True)
            self._last_delivery = 0

    async def more(self) -> None:
        """There is a row."""
        while not self.rows:
            if self._error is not None:
                raise self._error
            await Step(self._wait)

    def _wait(self, done: Completion[None]) -> None:
        self._waiting = done


# --- starting one


def run(
    wire: Wire,
    what: str,
    work: Callable[[Scratch], Coroutine[Step[Any], Any, T]],
    done: Completion[T],
    *,
    timeout_s: float | None = 30.0,
    outcome: Outcome = "not_applied",
) -> None:
    """Run ``work(scratch)`` on the wire's connection. Any thread."""

    def begin() -> None:
        connection = wire.connection
        if connection is None or not connection.is_open:
            done(None, errors.no_connection(what))
            return
        scratch = Scratch(connection, what, outcome)

        def ended(result: T | None, error: MqbridgeError | None) -> None:
            scratch.close()
            done(result, error)

        Errand(wire.loop, what, work(scratch), ended, timeout_s)

    wire.loop.call(begin)


def ask(loop: Loop, management: Management, what: str, question: Callable[[Management], T]) -> Step[T]:
    """A step: a question to the management API, whose answer comes back on the loop thread."""

    def start(done: Completion[T]) -> None:
        management.ask(what, question, lambda result, error: loop.call(lambda: done(result, error)))

    return Step(start)


def pause(loop: Loop, delay_s: float) -> Step[None]:
    """A step: some time."""

    def start(done: Completion[None]) -> None:
        loop.later(delay_s, lambda: done(None, None))

    return Step(start)
