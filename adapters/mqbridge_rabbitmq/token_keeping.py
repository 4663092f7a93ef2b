"""The door between a token's state machine and its queue. The rule: one channel a token, and giving up is closing it.

Never basic.cancel: after it the next consumer is given newer messages while this channel still holds the committed
token.
What must never be written again is never kept: a token that was under way on a lost channel is forgotten with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import pika
from pika import exceptions as amqp

from mqbridge.errors import Denied, Mismatch, MqbridgeError, NotFound
from mqbridge_rabbitmq import errors
from mqbridge_rabbitmq.loop import Timer
from mqbridge_rabbitmq.tokens import Ack, Answer, Collected, Committed, Effect, Lost, Owned, Publish, State, TokenHolder
from mqbridge_rabbitmq.wire import Wire, shut, usable

CONSUMER_TIMEOUT_S: Final = 1800.0
NODE_GONE_S: Final = 5.0
"""How long the token of a member stays with it whose node is gone, from when the broker has noticed: at once of a node
that died, after its net_ticktime (a minute) of one that is frozen or cut off. The broker's own minute on top (since
4.3) would be longer than its successor waits; one that comes back with an old token is fenced by its echo."""
ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": -1,  # a token that many owners died with must not be dropped
    "x-consumer-timeout": int(CONSUMER_TIMEOUT_S * 1000),  # ours, so that KEEP_S fits it whatever the broker's is
    "x-consumer-disconnected-timeout": int(NODE_GONE_S * 1000),
}
KEEP_S: Final = CONSUMER_TIMEOUT_S / 3
BLOCKED_S: Final = 1.0
_OTHER_ARGUMENTS: Final = "inequivalent arg"
_PERSISTENT: Final = pika.BasicProperties(delivery_mode=2, content_type="application/json")


def _of_another_make(native: BaseException, queue: str) -> Mismatch | None:
    """The queue is there with other arguments than ours, which the broker changes for no queue."""
    code, text = errors.reply(native)
    if code != 406 or _OTHER_ARGUMENTS not in text:
        return None
    error = Mismatch(
        f"token queue {queue} was made by another version of mqbridge, or by another program: {code} {text}. Nothing "
        "was changed. While nobody consumes the group, look what it has committed (admin.describe_group), delete it "
        "(admin.delete_group), and set that anew (admin.reset_offsets).",
        engine=errors.ENGINE,
    )
    error.__cause__ = native
    return error


class TokenKeeper:
    """Tries to own one token queue on one connection; loop thread. `changed` hears `Collected`, `Owned`, `Committed`
    and `Lost`; after `Lost` the channel is closed and nothing follows."""

    def __init__(
        self,
        wire: Wire,
        queue: str,
        member: str,
        echo_s: float,
        changed: Callable[[Effect], None],
        *,
        make: bool = True,
    ) -> None:
        self.queue = queue
        self.holder = TokenHolder(member, echo_s=echo_s, keep_s=KEEP_S)
        self.denied: MqbridgeError | None = None
        """Why it will never be ours, if that is a permission, or a queue that is not there or not of our making."""
        self._make = make
        self._wire = wire
        self._changed = changed
        self._channel: Any = None
        self._timer: Timer | None = None
        self._closed = False

    @property
    def owns(self) -> bool:
        return self.holder.state is State.OWNER and not self._closed

    def open(self) -> None:
        """Make the queue, or take it as it is, and wait to be its active consumer."""
        connection = self._wire.connection
        if connection is None:
            self._refused("there is no connection")
            return
        try:
            self._channel = connection.channel(on_open_callback=self._opened)
        except amqp.AMQPError as error:
            self._apply(self.holder.refused(str(errors.connection_error(error, "opening a token"))))
            return
        self._channel.add_on_close_callback(self._lost)

    def claim(self, offset: int, born: int) -> None:
        self._apply(self.holder.claim(offset, born, self._now()))

    def commit(self, offset: int) -> int:
        """A ticket; `Committed` with it, or with a later one, follows, or `Lost`."""
        ticket, effects = self.holder.commit(offset, self._now())
        self._apply(effects)
        return ticket

    def close(self) -> None:
        """Give it up. Nothing is told any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        channel, self._channel = self._channel, None
        shut(channel)

    # --- the channel

    def _opened(self, channel: Any) -> None:
        if self._closed:
            shut(channel)
            return
        channel.add_on_cancel_callback(lambda _frame: self._refused("the broker cancelled the token's consumer"))
        channel.add_on_return_callback(lambda *_: self._refused("the token queue is gone"))
        channel.confirm_delivery(self._confirmed)
        if self._make:
            channel.queue_declare(self.queue, durable=True, arguments=ARGUMENTS)
        channel.basic_consume(
            self.queue, self._delivered, callback=lambda _frame: self._apply(self.holder.consuming(self._now()))
        )

    def _delivered(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self._apply(self.holder.delivered(method.delivery_tag, body, method.redelivered, self._now()))

    def _confirmed(self, frame: Any) -> None:
        """A confirm proves nothing; a refusal ends it earlier than the missing echo would."""
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._refused("the broker refused a token")

    def _lost(self, channel: Any, native: BaseException) -> None:
        if channel is self._channel:
            self._channel = None
            fatal = isinstance(native, amqp.ChannelClosedByBroker) and native.reply_code in (403, 406)
            other = _of_another_make(native, self.queue)
            error = other or errors.channel_error(native, f"consuming token queue {self.queue}")
            if other or isinstance(error, Denied) or (isinstance(error, NotFound) and not self._make):
                self.denied = error
            self._refused(str(error), fatal)

    def _refused(self, why: str, fatal: bool = False) -> None:
        self._apply(self.holder.refused(why, fatal))

    # --- effects

    def _now(self) -> float:
        return time.monotonic()

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if self._closed:
                return
            match effect:
                case Publish(body):
                    self._publish(self.queue, body, _PERSISTENT, mandatory=True)
                case Answer(reply_to, word, body):
                    # Nobody there to hear it is no loss.
                    self._publish(reply_to, body, pika.BasicProperties(correlation_id=word), mandatory=False)
                case Ack(tag):
                    if usable(self._channel):
                        self._channel.basic_ack(tag)
                case Lost():
                    self.close()
                    self._changed(effect)
                case Collected() | Owned() | Committed():
                    self._changed(effect)
        self._set_timer()

    def _publish(self, queue: str, body: bytes, properties: Any, *, mandatory: bool) -> None:
        if usable(self._channel):
            self._channel.basic_publish("", queue, body, properties, mandatory=mandatory)

    def _set_timer(self) -> None:
        due_s = self.holder.due_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_s is not None and not self._closed:
            self._timer = self._wire.loop.later(max(0.0, due_s - self._now()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._wire.blocked:  # an alarm: the broker reads nothing, and nobody else's tokens either
            self._timer = self._wire.loop.later(BLOCKED_S, self._tick)
            return
        self._apply(self.holder.tick(self._now()))
