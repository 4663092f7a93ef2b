"""What an engine can do, at which level, how, and under which conditions; and the guard that refuses the rest.

The rule of this room: every public operation names the capability it needs, and `Capabilities.need` refuses
with `Unsupported` before any I/O: when a producer or consumer is built, when a destination is first used, or
when a per-message argument is given, never per message on the hot path. One row of the capability table is one
member here; the table of claims of an engine lives with that engine.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mqbridge.errors import ConfigurationError, Unsupported

__all__ = ["Capabilities", "Capability", "EmulationMode", "Level", "Support"]

EmulationMode = Literal["allow", "warn", "forbid"]
log = logging.getLogger("mqbridge.capabilities")


class Capability(enum.StrEnum):
    """One row of the capability table."""

    # topics
    ORDER_PER_PARTITION = "ORDER_PER_PARTITION"
    ORDER_PER_KEY = "ORDER_PER_KEY"
    PARTITION_BY_KEY = "PARTITION_BY_KEY"
    PARTITION_ROUND_ROBIN = "PARTITION_ROUND_ROBIN"
    PARTITION_STICKY = "PARTITION_STICKY"
    PARTITION_CUSTOM = "PARTITION_CUSTOM"
    SEND_OFFSET = "SEND_OFFSET"
    GROUPS = "GROUPS"
    REBALANCE_EAGER = "REBALANCE_EAGER"
    REBALANCE_COOPERATIVE = "REBALANCE_COOPERATIVE"
    REBALANCE_SERVER = "REBALANCE_SERVER"
    STATIC_MEMBERSHIP = "STATIC_MEMBERSHIP"
    COMMIT_FENCING = "COMMIT_FENCING"
    REPLAY_BY_OFFSET = "REPLAY_BY_OFFSET"
    REPLAY_BY_TIME = "REPLAY_BY_TIME"
    SEEK = "SEEK"
    PAUSE_RESUME = "PAUSE_RESUME"
    END_OFFSETS = "END_OFFSETS"
    LAG = "LAG"
    RESET_OFFSETS = "RESET_OFFSETS"
    TOPIC_RETRY = "TOPIC_RETRY"
    TOPIC_DEAD_LETTER = "TOPIC_DEAD_LETTER"
    DURABLE_ATTEMPTS_ON_TOPIC = "DURABLE_ATTEMPTS_ON_TOPIC"
    IDEMPOTENT_SEND = "IDEMPOTENT_SEND"
    TRANSACTIONS = "TRANSACTIONS"
    READ_COMMITTED = "READ_COMMITTED"
    ACKS_LEADER = "ACKS_LEADER"
    ACKS_NONE = "ACKS_NONE"
    MIN_INSYNC = "MIN_INSYNC"
    RETENTION_BY_AGE = "RETENTION_BY_AGE"
    RETENTION_BY_SIZE = "RETENTION_BY_SIZE"
    COMPACTION = "COMPACTION"
    DELETE_RECORDS = "DELETE_RECORDS"
    ADD_PARTITIONS = "ADD_PARTITIONS"
    # queues and exchanges
    WORK_SHARING = "WORK_SHARING"
    ACK = "ACK"
    RELEASE_UNCOUNTED = "RELEASE_UNCOUNTED"
    RETRY_COUNTED = "RETRY_COUNTED"
    MAX_ATTEMPTS = "MAX_ATTEMPTS"
    ATTEMPT_NUMBER = "ATTEMPT_NUMBER"
    REDELIVERED = "REDELIVERED"
    PREFETCH = "PREFETCH"
    LONG_HANDLERS = "LONG_HANDLERS"
    DEAD_LETTER = "DEAD_LETTER"
    BROWSE_DEAD_LETTERS = "BROWSE_DEAD_LETTERS"
    REDRIVE = "REDRIVE"
    MESSAGE_TTL = "MESSAGE_TTL"
    QUEUE_EXPIRY = "QUEUE_EXPIRY"
    DELAYED_SEND = "DELAYED_SEND"
    DELAYED_RETRY = "DELAYED_RETRY"
    PRIORITY = "PRIORITY"
    LENGTH_LIMIT = "LENGTH_LIMIT"
    SINGLE_ACTIVE_CONSUMER = "SINGLE_ACTIVE_CONSUMER"
    ORDER_IN_QUEUE = "ORDER_IN_QUEUE"
    DEPTH = "DEPTH"
    PURGE = "PURGE"
    ROUTE_DIRECT = "ROUTE_DIRECT"
    ROUTE_FANOUT = "ROUTE_FANOUT"
    ROUTE_TOPIC = "ROUTE_TOPIC"
    ROUTE_HEADERS = "ROUTE_HEADERS"
    ALTERNATE_EXCHANGE = "ALTERNATE_EXCHANGE"
    BIND_EXCHANGES = "BIND_EXCHANGES"
    UNROUTABLE_REPORTED = "UNROUTABLE_REPORTED"
    REQUEST_REPLY = "REQUEST_REPLY"
    # both
    CONFIRMED_SEND = "CONFIRMED_SEND"
    BINARY_VALUES = "BINARY_VALUES"
    NULL_VALUE = "NULL_VALUE"
    EMPTY_KEY = "EMPTY_KEY"
    REPEATED_HEADERS = "REPEATED_HEADERS"
    RESUMES_AFTER_RESTART = "RESUMES_AFTER_RESTART"
    SEVERAL_PROCESSES = "SEVERAL_PROCESSES"
    TLS = "TLS"
    PASSWORDS = "PASSWORDS"
    PERMISSIONS = "PERMISSIONS"
    UNWRAP = "UNWRAP"
    OUTBOX = "OUTBOX"
    INBOX = "INBOX"


ROUTES_BY_TYPE: Final[Mapping[str, Capability]] = {
    "direct": Capability.ROUTE_DIRECT,
    "fanout": Capability.ROUTE_FANOUT,
    "topic": Capability.ROUTE_TOPIC,
    "headers": Capability.ROUTE_HEADERS,
}
"""What an exchange of each type needs."""


class Level(enum.StrEnum):
    DIRECT = "direct"
    EMULATED = "emulated"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Support:
    """How one capability stands on one engine.

    `how` is the construction, `cost` what it costs, `conditions` when it holds; for an unsupported one `how` is the
    reason and `instead` what to use. `later` marks a claim whose work is not done yet: refused today, PENDING in
    the conformance matrix, and not a final word.
    """

    level: Level
    how: str = ""
    cost: str = ""
    conditions: str = ""
    instead: str = ""
    later: bool = False


def direct(how: str, conditions: str = "") -> Support:
    """A claim of what the engine itself does. These four are the words in which an engine's table is written."""
    return Support(Level.DIRECT, how=how, conditions=conditions)


def emulated(how: str, cost: str, conditions: str = "") -> Support:
    """A claim that holds by a construction, at a cost."""
    return Support(Level.EMULATED, how=how, cost=cost, conditions=conditions)


def later(how: str, instead: str = "") -> Support:
    """Planned and not built: refused, and PENDING in the conformance matrix."""
    return Support(Level.UNSUPPORTED, how=how, instead=instead, later=True)


def never(how: str, instead: str = "") -> Support:
    """Refused for good, with the reason."""
    return Support(Level.UNSUPPORTED, how=how, instead=instead)


class Capabilities(Mapping[Capability, Support]):
    """All capabilities of one connection: ``bus.capabilities[Capability.REPLAY_BY_TIME]``."""

    def __init__(self, engine: str, rows: Mapping[Capability, Support], *, emulation: EmulationMode = "allow") -> None:
        missing = [name for name in Capability if name not in rows]
        if missing:
            raise ConfigurationError(f"engine {engine!r} states nothing about {', '.join(missing)}", engine=engine)
        self.engine = engine
        self.emulation = emulation
        self._rows = {name: rows[name] for name in Capability}
        self._said: set[Capability] = set()

    def __getitem__(self, capability: Capability) -> Support:
        return self._rows[capability]

    def __iter__(self) -> Iterator[Capability]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def need(self, capability: Capability, what: str) -> None:
        """Refuse `what` unless this engine has `capability`; the first use of an emulation is logged once."""
        support = self._rows[capability]
        if support.level is Level.DIRECT:
            return
        if support.level is Level.UNSUPPORTED:
            raise self.refusal(capability, what)
        if self.emulation == "forbid":
            raise Unsupported(
                f"{what} needs {capability}, which {self.engine} only emulates ({support.how}), and this bus was "
                "connected with emulation='forbid'. Nothing was sent. Connect with emulation='allow', or do without.",
                capability=capability.value,
                engine=self.engine,
                instead=support.instead or None,
            )
        if capability not in self._said:
            self._said.add(capability)
            say = log.warning if self.emulation == "warn" else log.info
            say("%s emulates %s: %s %s", self.engine, capability, support.how, support.cost)

    def refusal(self, capability: Capability, what: str) -> Unsupported:
        """The error that refuses `what`: with the reason, and with what to use instead."""
        support = self._rows[capability]
        instead = f" Use instead: {support.instead}." if support.instead else ""
        reason = f": {support.how}" if support.how else ""
        return Unsupported(
            f"{what} needs {capability}, which {self.engine} does not have{reason}. Nothing was applied.{instead}",
            capability=capability.value,
            engine=self.engine,
            instead=support.instead or None,
        )
