"""The one edge: what pika and the broker say, as errors of mqbridge.

The rule: a reply code decides the class, never its text (AMQP 0-9-1, 1.2 "reply codes"); the text is quoted for the
person, the native error is the cause, and a password is in neither.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pika import exceptions as amqp

from mqbridge.errors import (
    ConnectionLost,
    Denied,
    InvalidSpec,
    Mismatch,
    MqbridgeError,
    NotFound,
    OperationTimeout,
    Outcome,
    Rejected,
    Unreachable,
)

ENGINE = "rabbitmq"

_APPLIED: dict[Outcome, str] = {
    "not_applied": "Nothing was applied.",
    "unknown": "It may have been applied.",
    "applied": "It was applied.",
}

# Of a channel that the broker closed; a code that is not here is Rejected.
_SOFT: dict[int, tuple[type[MqbridgeError], str]] = {
    403: (Denied, "Give the user the permission (rabbitmqctl set_permissions, set_topic_permissions), or use another."),
    404: (NotFound, "Make it with admin.ensure()."),
    405: (Rejected, "Another connection holds it for itself; wait until it lets go."),
    406: (Mismatch, "Specify what is there, or delete it and ensure it again."),
    311: (Rejected, "Send a smaller message."),
}


_NO_REPLICA: Final = "does not have a running replica on the local node"
"""Of a stream, also a 406: it has none there, or the node has just started and its replica has not."""
_SIZE: Final = re.compile(r"message size (\d+)")


def caused(error: MqbridgeError, native: BaseException | None) -> MqbridgeError:
    """`error` with the native one as its cause."""
    error.__cause__ = native
    return error


def reply(native: Any) -> tuple[int, str]:
    """The code and the text of a close; (0, text) for what carries none."""
    if isinstance(native, amqp.ChannelClosed | amqp.ConnectionClosed):
        return native.reply_code, native.reply_text
    return 0, str(native) or type(native).__name__


def channel_error(native: BaseException | None, what: str, outcome: Outcome = "not_applied") -> MqbridgeError:
    """Why a channel was closed, or an operation on it failed; `what` is the operation, as "declaring queue:x"."""
    if isinstance(native, MqbridgeError):
        return native
    if not isinstance(native, amqp.ChannelClosedByBroker):
        return connection_error(native, what, outcome)
    code, text = reply(native)
    kind, advice = _SOFT.get(code, (Rejected, "Look at the broker's log."))
    if _NO_REPLICA in text:
        kind = Unreachable
        advice = (
            "Where the node has just started, a replica that it has starts by itself; else use another node, or give "
            "this one a replica (rabbitmq-streams add_replica)."
        )
    sentence = f"{what} was refused by the broker: {code} {text}. {_APPLIED[outcome]} {advice}"
    return caused(kind(sentence, engine=ENGINE, outcome=outcome), native)


def too_large(native: BaseException | None) -> int | None:
    """The size of the body that the broker refused, if that is why it closed the channel: a 406 as any other, so here
    its text decides."""
    code, text = reply(native)
    found = _SIZE.search(text) if code == 406 else None
    return None if found is None else int(found.group(1))


def sending_error(native: BaseException | None, what: str, outcome: Outcome) -> MqbridgeError:
    """Why a channel on which messages were sent was closed: a 406 is about a message there, never about a
    declaration."""
    code, text = reply(native)
    if not isinstance(native, amqp.ChannelClosedByBroker) or code != 406:
        return channel_error(native, what, outcome)
    if too_large(native) is None:
        advice = "Mend the message that the broker names."
    elif outcome == "not_applied":
        advice = "Send a smaller message, or raise the broker's max_message_size."
    else:
        advice = "It was another message that was too large; this one can be sent again, and may then be there twice."
    sentence = f"{what} was refused by the broker: {code} {text}. {_APPLIED[outcome]} {advice}"
    return caused(Rejected(sentence, engine=ENGINE, outcome=outcome, retryable=False), native)


def connection_error(native: BaseException | None, what: str, outcome: Outcome = "unknown") -> MqbridgeError:
    """A connection that broke, or was closed, while `what` was under way."""
    if isinstance(native, MqbridgeError):
        return native
    code, text = reply(native)
    why = f"{code} {text}" if code else text
    if isinstance(native, amqp.AMQPHeartbeatTimeout):
        why = "the broker sent no heartbeat in time"
    elif isinstance(native, amqp.ConnectionBlockedTimeout):
        why = "the broker blocked publishers for longer than blocked_timeout_s (memory or disk alarm)"
    elif native is None:
        why = "closed"
    sentence = f"{what}: the connection to RabbitMQ was lost ({why}). {_APPLIED[outcome]} It is made anew by itself."
    return caused(ConnectionLost(sentence, engine=ENGINE, outcome=outcome), native)


def no_connection(what: str) -> ConnectionLost:
    """`what` was asked for while there is no connection."""
    return ConnectionLost(
        f"{what}: there is no connection to RabbitMQ at the moment; it is made anew by itself. Nothing was applied; "
        "try again.",
        engine=ENGINE,
        outcome="not_applied",
    )


def connect_error(native: BaseException | None, url: str, host: str, username: str, vhost: str) -> MqbridgeError:
    """Why the first connection could not be made. `url` has its password masked."""
    root = _root(native)
    code, text = reply(root)
    if isinstance(native, amqp.ProbableAuthenticationError | amqp.AuthenticationError) or code == 403:
        error: MqbridgeError = Denied(
            f"RabbitMQ at {host} refused the login of user {username!r} ({url}). Nothing was applied. Check user and "
            "password; the user guest may connect from the broker's own machine only, unless loopback_users says "
            "otherwise.",
            engine=ENGINE,
        )
    elif isinstance(native, amqp.ProbableAccessDeniedError) or code == 530:
        error = Denied(
            f"RabbitMQ at {host} refused user {username!r} the virtual host {vhost!r}: it does not exist, or the user "
            "has no permission in it. Nothing was applied. Make it (rabbitmqctl add_vhost) and give the permission "
            "(rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*').",
            engine=ENGINE,
        )
    elif isinstance(native, amqp.IncompatibleProtocolError):
        error = Unreachable(
            f"what listens at {host} ended the connection before it spoke AMQP 0-9-1. Nothing was applied. Check the "
            "port: 5672 is AMQP, 5671 is AMQP over TLS (amqps://), 15672 is the management API.",
            engine=ENGINE,
        )
    else:
        error = Unreachable(
            f"RabbitMQ at {host} cannot be reached: {text}. Nothing was applied. Check the address, and that the "
            "broker "
            f"runs (rabbitmq-diagnostics ping); {_tls_advice(root)}",
            engine=ENGINE,
        )
    return caused(error, native)


def _tls_advice(root: BaseException | None) -> str:
    import ssl

    if isinstance(root, ssl.SSLError):
        return "TLS: check ca=, cert=, key= and server_name=, and that this port speaks TLS."
    return "a broker that has just started may need some seconds."


def _root(native: BaseException | None) -> BaseException | None:
    """pika wraps what the socket said in lists of attempts."""
    while native is not None:
        inner = getattr(native, "exceptions", None) or [arg for arg in native.args if isinstance(arg, BaseException)]
        if getattr(native, "exception", None) is not None:
            inner = [native.exception]  # type: ignore[attr-defined]
        if not inner:
            return native
        native = inner[-1]
    return None


def timed_out(what: str, timeout_s: float, outcome: Outcome) -> OperationTimeout:
    """No answer within `timeout_s`."""
    return OperationTimeout(
        f"{what} got no answer from RabbitMQ within {timeout_s:g} s. {_APPLIED[outcome]} Look at the broker, then try "
        "again.",
        engine=ENGINE,
        outcome=outcome,
    )


def invalid(message: str, field: str) -> InvalidSpec:
    return InvalidSpec(message, field=field, engine=ENGINE)
