"""The edge between pika and mqbridge's errors."""

from __future__ import annotations

import pytest
from pika import exceptions as amqp

from mqbridge.errors import ConnectionLost, Denied, Mismatch, MqbridgeError, NotFound, Rejected, Unreachable
from mqbridge_rabbitmq import errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, Denied), (404, NotFound), (405, Rejected), (406, Mismatch), (311, Rejected), (999, Rejected)],
)
def test_a_channels_reply_code_decides_the_class(code: int, kind: type[MqbridgeError]) -> None:
    """The text is quoted, the native error is the cause, and the outcome is the caller's to say."""
    native = amqp.ChannelClosedByBroker(code, "THE TEXT")
    error = errors.channel_error(native, "declaring queue:x", "unknown")
    assert type(error) is kind
    assert error.__cause__ is native
    assert (error.outcome, error.engine) == ("unknown", "rabbitmq")
    assert "declaring queue:x" in str(error)
    assert "THE TEXT" in str(error)


def test_a_stream_without_a_replica_here_yet_is_not_a_stream_of_another_kind() -> None:
    """A node that has just come back says 406 as well; that passes, so it is tried again."""
    text = "PRECONDITION_FAILED - stream queue 't.mqt-0' in vhost '/' does not have a running replica on the local node"
    error = errors.channel_error(amqp.ChannelClosedByBroker(406, text), "joining group g")
    assert (type(error), error.retryable, error.outcome) == (Unreachable, True, "not_applied")


def test_a_406_over_a_message_is_a_rejection_with_advice() -> None:
    """There is nothing to declare otherwise; the size that the broker names is read from its text."""
    text = "PRECONDITION_FAILED - message size 200000 is larger than configured max size 100000"
    native = amqp.ChannelClosedByBroker(406, text)
    assert errors.too_large(native) == 200000
    assert errors.too_large(amqp.ChannelClosedByBroker(404, text)) is None
    error = errors.sending_error(native, "sending to queue:x", "not_applied")
    assert (type(error), error.outcome, error.retryable) == (Rejected, "not_applied", False)
    assert "max_message_size" in str(error)
    assert type(errors.sending_error(amqp.ChannelClosedByBroker(404, "x"), "sending", "unknown")) is NotFound


@pytest.mark.parametrize(
    "native",
    [
        amqp.StreamLostError("reset"),
        amqp.ConnectionClosedByBroker(320, "CONNECTION_FORCED"),
        amqp.AMQPHeartbeatTimeout(),
        amqp.ConnectionBlockedTimeout(),
        None,
    ],
)
def test_a_lost_connection_can_be_tried_again(native: BaseException | None) -> None:
    """Whatever ended it: retryable, and its outcome unknown unless the caller knows better."""
    error = errors.connection_error(native, "sending")
    assert isinstance(error, ConnectionLost)
    assert (error.outcome, error.retryable) == ("unknown", True)


@pytest.mark.parametrize(
    ("native", "kind", "said"),
    [
        (amqp.ProbableAuthenticationError("403"), Denied, "password"),
        (amqp.ProbableAccessDeniedError("530"), Denied, "virtual host"),
        (amqp.IncompatibleProtocolError("x"), Unreachable, "port"),
        (amqp.AMQPConnectionError(OSError(111, "Connection refused")), Unreachable, "Connection refused"),
    ],
)
def test_a_refused_first_connection_says_what_to_check(
    native: BaseException, kind: type[MqbridgeError], said: str
) -> None:
    """Wrong password, wrong virtual host, wrong port and nobody there are told apart."""
    error = errors.connect_error(native, "amqp://me:***@h/v", "h:5672", "me", "v")
    assert type(error) is kind
    assert said in str(error)
    assert "h:5672" in str(error)
    assert error.__cause__ is native
