"""The one edge where errors of the client become mqbridge's.

The rule of this room: a table by error code says the class, whether the same call may succeed later, what became of the
operation, and what to do; nothing else in this engine decides that. The native error is `__cause__`. Codes: Kafka's
`Errors.java`, and librdkafka's own, which are negative and whose names begin with an underscore.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from mqbridge.errors import (
    ConfigurationError,
    ConnectionLost,
    Denied,
    Fenced,
    InvalidSpec,
    Mismatch,
    MqbridgeError,
    NotFound,
    OperationTimeout,
    Outcome,
    Rejected,
    Unreachable,
    Unsupported,
)

ENGINE: Final = "kafka"


class Rule(NamedTuple):
    """What a code means: the class, the outcome unless the caller knows better, and what to do next."""

    kind: type[MqbridgeError]
    outcome: Outcome
    advice: str
    retryable: bool | None = None


_ACL = "The broker's access lists say no; ask for the permission, nothing is wrong with the network."
_AUTH = "Check user, password and sasl= in the URL; the brokers' log says more."
_TLS = "Check that the port speaks TLS (kafkas://) or does not (kafka://), and ca=, cert= and key=."
_AWAY = "The client goes on connecting by itself; try again."
_LATER = "Try again."
_UNSURE = "It may have been applied: look before you repeat it, for repeating may duplicate it."
_EXISTS = "Make it with admin.ensure(); sending and consuming never create one."
_SMALLER = (
    "Send a reference to where the data lies, split it, or raise the topic's max.message.bytes (the broker's "
    "message.max.bytes counts where the topic has none). It counts whole batches: where small messages are refused, "
    "give the producer a smaller batch_bytes=."
)

_K = KafkaError
_NOT: Final[Outcome] = "not_applied"
_MAYBE: Final[Outcome] = "unknown"

RULES: Final[dict[int, Rule]] = {
    # who may
    _K._AUTHENTICATION: Rule(Denied, _NOT, _AUTH),
    _K.SASL_AUTHENTICATION_FAILED: Rule(Denied, _NOT, _AUTH),
    _K.UNSUPPORTED_SASL_MECHANISM: Rule(Denied, _NOT, "The brokers do not offer this mechanism: set sasl= in the URL."),
    _K.ILLEGAL_SASL_STATE: Rule(Denied, _NOT, _AUTH),
    _K.SECURITY_DISABLED: Rule(Unsupported, _NOT, "The brokers have no access lists configured."),
    _K._SSL: Rule(Unreachable, _NOT, _TLS),
    _K.TOPIC_AUTHORIZATION_FAILED: Rule(Denied, _NOT, _ACL),
    _K.GROUP_AUTHORIZATION_FAILED: Rule(Denied, _NOT, _ACL),
    _K.CLUSTER_AUTHORIZATION_FAILED: Rule(
        Denied,
        _NOT,
        "The broker's access lists say no; ask for the permission. Who sends needs WRITE on a topic, or "
        "IDEMPOTENT_WRITE on the cluster, and a new producer once it is given.",
    ),
    _K.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Rule(Denied, _NOT, _ACL),
    # what is there
    _K.UNKNOWN_TOPIC_OR_PART: Rule(NotFound, _NOT, _EXISTS),
    _K._UNKNOWN_TOPIC: Rule(NotFound, _NOT, _EXISTS),
    _K._UNKNOWN_PARTITION: Rule(NotFound, _NOT, "Look how many partitions it has with admin.describe()."),
    _K.UNKNOWN_TOPIC_ID: Rule(NotFound, _NOT, _EXISTS),
    _K.GROUP_ID_NOT_FOUND: Rule(NotFound, _NOT, "No member ever committed under this name."),
    _K._UNKNOWN_GROUP: Rule(NotFound, _NOT, "No member ever committed under this name."),
    _K.RESOURCE_NOT_FOUND: Rule(NotFound, _NOT, "Look with admin.list_topics()."),
    _K.TOPIC_ALREADY_EXISTS: Rule(Mismatch, _NOT, "Describe it to see how it stands there."),
    # what is refused for what it is
    _K.MSG_SIZE_TOO_LARGE: Rule(Rejected, _NOT, _SMALLER),
    _K.RECORD_LIST_TOO_LARGE: Rule(Rejected, _NOT, _SMALLER),
    _K.INVALID_MSG_SIZE: Rule(Rejected, _NOT, _SMALLER),
    _K.INVALID_RECORD: Rule(
        Rejected, _NOT, "The topic does not take this record; a compacted topic wants a key for every record."
    ),
    _K.INVALID_MSG: Rule(Rejected, _NOT, "It arrived damaged.", True),
    _K.INVALID_TIMESTAMP: Rule(Rejected, _NOT, "Its timestamp lies outside what the topic allows."),
    _K.UNSUPPORTED_COMPRESSION_TYPE: Rule(Rejected, _NOT, "Take another compression=."),
    _K.POLICY_VIOLATION: Rule(Rejected, _NOT, "A policy of the cluster says no; its text is above."),
    _K.INVALID_REPLICATION_FACTOR: Rule(Rejected, _NOT, "The cluster has too few brokers for this replication=."),
    _K.INVALID_PARTITIONS: Rule(Rejected, _NOT, "Partitions can only be added."),
    _K.INVALID_CONFIG: Rule(InvalidSpec, _NOT, "The broker's text names the setting."),
    _K.TOPIC_EXCEPTION: Rule(InvalidSpec, _NOT, "Kafka takes letters, digits, '.', '_' and '-', at most 249."),
    _K.INVALID_GROUP_ID: Rule(InvalidSpec, _NOT, "Take another group name."),
    _K.INVALID_SESSION_TIMEOUT: Rule(
        ConfigurationError, _NOT, "The broker bounds session_timeout_s: 6 to 1800 seconds unless configured otherwise."
    ),
    _K.INCONSISTENT_GROUP_PROTOCOL: Rule(
        ConfigurationError, _NOT, "The group's members rebalance differently: give all of them the same rebalance=."
    ),
    _K.UNSUPPORTED_VERSION: Rule(Unsupported, _NOT, "The broker is too old for it."),
    _K._UNSUPPORTED_FEATURE: Rule(Unsupported, _NOT, "The broker is too old for it, or has it switched off."),
    _K.NON_EMPTY_GROUP: Rule(Rejected, _NOT, "The group has members: stop its consumers and try again."),
    _K.GROUP_SUBSCRIBED_TO_TOPIC: Rule(Rejected, _NOT, "A member of the group consumes it: stop it and try again."),
    _K.GROUP_MAX_SIZE_REACHED: Rule(Rejected, _NOT, "The group is full: stop a member, or raise group.max.size."),
    _K.OFFSET_OUT_OF_RANGE: Rule(Rejected, _NOT, "Look at the range with admin.offsets()."),
    _K.OFFSET_METADATA_TOO_LARGE: Rule(Rejected, _NOT, ""),
    # another one of this name
    _K.PRODUCER_FENCED: Rule(Fenced, _NOT, "Stop this one; the other goes on."),
    _K.INVALID_PRODUCER_EPOCH: Rule(Fenced, _NOT, "Stop this one; the other goes on."),
    _K._FENCED: Rule(Fenced, _NOT, "Stop this one; the other goes on."),
    _K.FENCED_INSTANCE_ID: Rule(Fenced, _NOT, "Another member with this instance_id took its place; stop this one."),
    _K.UNRELEASED_INSTANCE_ID: Rule(
        Fenced, _NOT, "Another member with this instance_id is alive: stop it, or take another instance_id."
    ),
    # the state of the cluster
    _K.NOT_ENOUGH_REPLICAS: Rule(Rejected, _NOT, "Fewer replicas are in sync than min_insync asks for; wait.", True),
    _K.NOT_ENOUGH_REPLICAS_AFTER_APPEND: Rule(Rejected, _MAYBE, _UNSURE, True),
    _K.KAFKA_STORAGE_ERROR: Rule(Rejected, _MAYBE, "A disk of the broker failed. " + _UNSURE, True),
    _K.REQUEST_TIMED_OUT: Rule(OperationTimeout, _MAYBE, _UNSURE),
    _K._TIMED_OUT: Rule(OperationTimeout, _MAYBE, _UNSURE),
    _K._TIMED_OUT_QUEUE: Rule(OperationTimeout, _NOT, _AWAY),
    _K._MSG_TIMED_OUT: Rule(OperationTimeout, _MAYBE, _UNSURE),
    _K._ISR_INSUFF: Rule(Rejected, _NOT, "Fewer replicas are in sync than min_insync asks for; wait.", True),
    _K._TRANSPORT: Rule(ConnectionLost, _MAYBE, _AWAY),
    _K._ALL_BROKERS_DOWN: Rule(ConnectionLost, _MAYBE, _AWAY),
    _K.NETWORK_EXCEPTION: Rule(ConnectionLost, _MAYBE, _AWAY),
    _K.BROKER_NOT_AVAILABLE: Rule(ConnectionLost, _NOT, _AWAY),
    _K._RESOLVE: Rule(Unreachable, _NOT, "No such host: check the address in the URL and the name service."),
    _K.COORDINATOR_LOAD_IN_PROGRESS: Rule(ConnectionLost, _NOT, _LATER),
    _K.COORDINATOR_NOT_AVAILABLE: Rule(ConnectionLost, _NOT, _LATER),
    _K.NOT_COORDINATOR: Rule(ConnectionLost, _NOT, _LATER),
    _K.NOT_CONTROLLER: Rule(ConnectionLost, _NOT, _LATER),
    _K.LEADER_NOT_AVAILABLE: Rule(ConnectionLost, _NOT, _LATER),
    _K.REPLICA_NOT_AVAILABLE: Rule(ConnectionLost, _NOT, _LATER),
    _K.OFFSET_NOT_AVAILABLE: Rule(ConnectionLost, _NOT, "The leader is new. " + _LATER),
    _K.NOT_LEADER_FOR_PARTITION: Rule(ConnectionLost, _NOT, _LATER),
    _K.FENCED_LEADER_EPOCH: Rule(ConnectionLost, _NOT, "The client's picture of the cluster is old. " + _LATER),
    _K.UNKNOWN_LEADER_EPOCH: Rule(ConnectionLost, _NOT, "The broker's picture of the cluster is old. " + _LATER),
    _K.REBALANCE_IN_PROGRESS: Rule(ConnectionLost, _NOT, "The group is being rebalanced. " + _LATER),
    _K.UNSTABLE_OFFSET_COMMIT: Rule(ConnectionLost, _NOT, "A transaction of the group is open. " + _LATER),
    _K.THROTTLING_QUOTA_EXCEEDED: Rule(Rejected, _NOT, "A quota of the cluster is used up. " + _LATER, True),
    _K._WAIT_COORD: Rule(ConnectionLost, _NOT, _LATER),
    # Queued again after a try that may have reached the broker, it counts as queued to the client.
    _K._PURGE_QUEUE: Rule(OperationTimeout, _MAYBE, _UNSURE),
    _K._PURGE_INFLIGHT: Rule(OperationTimeout, _MAYBE, _UNSURE),
    # No code that the client gives of itself (it would with enable.gapless.guarantee): see SUPPOSED.
    _K._GAPLESS_GUARANTEE: Rule(ConnectionLost, _MAYBE, _UNSURE),
    _K._FATAL: Rule(Rejected, _MAYBE, "The client has ended and does nothing more; make a new one.", False),
    _K._DESTROY: Rule(ConnectionLost, _MAYBE, _UNSURE, False),
    _K._INVALID_ARG: Rule(ConfigurationError, _NOT, "The client does not take this configuration."),
}


SUPPOSED: Final = KafkaError(
    KafkaError._GAPLESS_GUARANTEE,
    "no broker said where it lies; the client supposes that it was written, since a later one of its partition was",
)
"""In place of a delivery without an offset. When a batch is refused and may be tried again (the leader is not ready
yet), and the next one, already on its way, is taken, librdkafka reports the first one delivered and never sends it
again (`rd_kafka_dr_implicit_ack`): a later number proves the earlier one. It does not where the broker has not met the
producer on that partition, or has forgotten it: then it takes any first number (`ProducerAppendInfo.checkSequence`)."""


def rule_of(code: int) -> Rule:
    """The rule of a code; for one that the table does not name, the careful one."""
    known = RULES.get(code)
    if known is not None:
        return known
    if code < 0:
        return Rule(ConnectionLost, _MAYBE, _UNSURE, False)
    return Rule(Rejected, _MAYBE, _UNSURE)


_FATAL_CODES: Final = (
    _K.FENCED_INSTANCE_ID,
    _K.UNRELEASED_INSTANCE_ID,
    _K.UNSUPPORTED_ASSIGNOR,
    _K.UNSUPPORTED_VERSION,
    _K.GROUP_MAX_SIZE_REACHED,
    _K.GROUP_AUTHORIZATION_FAILED,
    _K.TOPIC_AUTHORIZATION_FAILED,
    _K.INVALID_PRODUCER_EPOCH,
    _K.PRODUCER_FENCED,
)


def meaning_of(native: KafkaError) -> int:
    """The code to decide by. A client that has ended says _FATAL and hides why in its text (librdkafka,
    `rd_kafka_set_fatal_error`; the client for Python does not give the code behind it to a consumer)."""
    code = native.code()
    if code == _K._FATAL:
        text = native.str()
        return next((known for known in _FATAL_CODES if KafkaError(known).str() in text), code)
    return code


def refused_by_tls(error: KafkaError) -> KafkaError:
    """The error of a connection, as _SSL where it is one: a handshake that fails in its first step, the client reports
    as a broken transport, and only its text says that it was TLS (librdkafka, `rd_kafka_transport_ssl_connect`)."""
    if error.code() == _K._TRANSPORT and "SSL routines" in error.str():
        return KafkaError(_K._SSL, error.str())
    return error


def native_error(error: BaseException | KafkaError) -> KafkaError | None:
    """The KafkaError inside what the client raised or gave, if there is one."""
    if isinstance(error, KafkaError):
        return error
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0]
    return None


def code_of(error: BaseException | KafkaError) -> int | None:
    """The code of what the client raised or gave."""
    found = native_error(error)
    return None if found is None else found.code()


def translate(
    error: BaseException | KafkaError, what: str, *, outcome: Outcome | None = None, **facts: Any
) -> MqbridgeError:
    """What the client raised or gave, as an mqbridge error about `what`, with the native error as its cause.

    `outcome` overrides the table where the caller knows better, for instance for what only looks.
    """
    native = native_error(error)
    if native is None:
        return _without_code(error, what, outcome)
    rule = rule_of(meaning_of(native))
    became: Outcome = outcome or rule.outcome
    facts = {"native_code": native.name(), **facts}
    if issubclass(rule.kind, Unsupported):
        facts.setdefault("capability", native.name())
    text = f"{what}: {native.str()} ({native.name()}). {applied(became)} {_advice(rule, became)}".rstrip()
    made = rule.kind(text, outcome=became, engine=ENGINE, **facts)
    if rule.retryable is not None:
        made.retryable = rule.retryable
    made.__cause__ = error if isinstance(error, BaseException) else KafkaException(native)
    return made


def _advice(rule: Rule, outcome: Outcome) -> str:
    """What the rule advises; without its doubt where the caller knows what became of it."""
    if outcome == "unknown" or not rule.advice.endswith(_UNSURE):
        return rule.advice
    again = _LATER if outcome == "not_applied" and rule.retryable is not False else ""
    return rule.advice.removesuffix(_UNSURE) + again


def applied(outcome: Outcome) -> str:
    """The sentence that says what became of it."""
    if outcome == "not_applied":
        return "Nothing was applied."
    return "It was applied." if outcome == "applied" else "Whether it was applied is not known."


def _without_code(error: BaseException | KafkaError, what: str, outcome: Outcome | None) -> MqbridgeError:
    """What the client raises as a plain Python error: wrong arguments, or a client that is closed."""
    made: MqbridgeError
    became: Outcome
    if isinstance(error, MqbridgeError):
        return error
    if isinstance(error, RuntimeError):
        became = outcome or "unknown"
        made = ConnectionLost(
            f"{what}: {error}. {applied(became)} The client of this connection is closed.",
            outcome=became,
            retryable=False,
            engine=ENGINE,
        )
    else:
        became = outcome or "not_applied"
        made = ConfigurationError(f"{what}: {error}. {applied(became)}", outcome=became, engine=ENGINE)
    if isinstance(error, BaseException):
        made.__cause__ = error
    return made
