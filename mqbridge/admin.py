"""Administering: making, describing and removing destinations, and moving groups and dead letters.

The rule of this room: results are frozen values, destructive calls take objects (never patterns), and what would lose
messages or disturb a running group is refused unless it is asked for by name.
"""

from __future__ import annotations

import datetime as _dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.capabilities import ROUTES_BY_TYPE
from mqbridge.capabilities import Capability as Cap
from mqbridge.errors import InvalidSpec, Mismatch, NotFound, Outcome, Rejected
from mqbridge.messages import Death, Headers, read_death
from mqbridge.positions import Position, to_ms
from mqbridge.semantics import reserved
from mqbridge.spi import (
    Completion,
    ExchangeDescription,
    GroupDescription,
    GroupSummary,
    PartitionOffsets,
    QueueDescription,
    Start,
    StoredMessage,
    TopicDescription,
)
from mqbridge.topology import Binding, Destination, Exchange, Queue, Topic, diff
from mqbridge.waiting import wait

if TYPE_CHECKING:
    from mqbridge.bus import Bus

T = TypeVar("T")
Spec = Topic[Any] | Queue[Any] | Exchange | Binding

__all__ = ["Admin", "Change", "DeadLetter", "ResetPlan"]


@dataclass(frozen=True, slots=True)
class Change:
    """What `ensure` would do for one specification: ``create``, ``keep`` or ``mismatch`` with its differences."""

    action: str
    spec: Spec
    differences: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead message, seen without removing it. `token` names it to `redrive`."""

    token: int
    value: bytes | None
    key: bytes | None
    headers: Headers
    timestamp_ms: int
    message_id: str | None
    death: Death | None


@dataclass(frozen=True, slots=True)
class ResetPlan:
    """The offsets of a group before and after a reset, by partition; `applied` says whether it was done."""

    group: str
    topic: Topic[Any]
    before: Mapping[int, int | None]
    after: Mapping[int, int]
    applied: bool


class Admin:
    """``bus.admin``; thread-safe. Every call waits for the engine, at most `operation_timeout_s` of the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def _ask(self, submit: Callable[[Completion[T]], None], what: str, outcome: Outcome = "unknown") -> T:
        self._bus._guard.check()
        self._bus._check_open()
        return wait(submit, self._bus._operation_timeout_s, what, outcome)

    def _look(self, submit: Callable[[Completion[T]], None], what: str) -> T:
        """Ask for what changes nothing, however it ends."""
        return self._ask(submit, what, "not_applied")

    # --- making

    def ensure(self, *specs: Spec) -> None:
        """Create what is missing; `Mismatch`, field by field, where what exists differs. Nothing existing is changed.

        A queue's dead-letter queue is made with it, first. Exchanges are made before bindings. Safe to repeat, and by
        several programs at once. On a failure what was made before it stays; run it again.
        """
        for spec in specs:
            self._check(spec)
        for spec in _in_order(specs):
            if isinstance(spec, Binding):
                self._ask(lambda done, spec=spec: self._spi.bind(spec, done), f"binding {spec.exchange}")  # type: ignore[misc]
                continue
            found = self._create(spec)
            differences = () if found is None else diff(spec, found)
            if differences:
                raise _mismatch(spec, differences, self._bus.engine)

    def plan(self, *specs: Spec) -> list[Change]:
        """What `ensure` would do, without doing it."""
        changes: list[Change] = []
        for spec in specs:
            self._check(spec)
        for spec in _in_order(specs):
            if isinstance(spec, Binding):
                known = self.describe(spec.exchange) if self._exists(spec.exchange) else None
                there = isinstance(known, ExchangeDescription) and spec in known.bindings
                changes.append(Change("keep" if there else "create", spec))
                continue
            if not self._exists(spec):
                changes.append(Change("create", spec))
                continue
            differences = diff(spec, self._found(spec))
            changes.append(Change("mismatch" if differences else "keep", spec, differences))
        return changes

    def _exists(self, destination: Destination) -> bool:
        try:
            self.describe(destination)
        except NotFound:
            return False
        return True

    def _found(self, destination: Destination) -> Destination:
        described = self.describe(destination)
        if isinstance(described, TopicDescription):
            return described.topic
        return described.queue if isinstance(described, QueueDescription) else described.exchange

    @property
    def _spi(self) -> Any:
        return self._bus._connection.admin

    def _create(self, spec: Topic[Any] | Queue[Any] | Exchange) -> Destination | None:
        what = f"creating {spec}"
        if isinstance(spec, Topic):
            return self._ask(lambda done: self._spi.create_topic(spec, done), what)
        if isinstance(spec, Queue):
            return self._ask(lambda done: self._spi.create_queue(spec, done), what)
        return self._ask(lambda done: self._spi.create_exchange(spec, done), what)

    def _check(self, spec: Spec) -> None:
        """Refuse, before any I/O, what this engine cannot do."""
        need = self._bus.capabilities.need
        if isinstance(spec, Topic):
            if spec.cleanup == "compact":
                need(Cap.COMPACTION, f"{spec} with cleanup='compact'")
            if (spec.replication or 1) > 1 or (spec.min_insync or 1) > 1:
                need(Cap.MIN_INSYNC, f"{spec} with replication={spec.replication}, min_insync={spec.min_insync}")
            if spec.retention is not None:
                if spec.retention.max_age_s is not None:
                    need(Cap.RETENTION_BY_AGE, f"{spec} with retention by age")
                if spec.retention.max_bytes is not None:
                    need(Cap.RETENTION_BY_SIZE, f"{spec} with retention by size")
        elif isinstance(spec, Queue):
            for value, capability in (
                (spec.max_attempts, Cap.MAX_ATTEMPTS),
                (spec.dead_letter, Cap.DEAD_LETTER),
                (spec.message_ttl_s, Cap.MESSAGE_TTL),
                (spec.expires_s, Cap.QUEUE_EXPIRY),
                (spec.max_length, Cap.LENGTH_LIMIT),
                (spec.max_bytes, Cap.LENGTH_LIMIT),
                (spec.max_priority, Cap.PRIORITY),
                (spec.single_active or None, Cap.SINGLE_ACTIVE_CONSUMER),
                (spec.retry_backoff, Cap.DELAYED_RETRY),
            ):
                if value is not None:
                    need(capability, f"{spec} with {capability.value.lower()}")
        elif isinstance(spec, Exchange):
            need(ROUTES_BY_TYPE[spec.type], f"{spec} of type {spec.type}")
            if spec.alternate is not None:
                need(Cap.ALTERNATE_EXCHANGE, f"{spec} with an alternate exchange")
        elif isinstance(spec, Binding):
            if isinstance(spec.destination, Exchange):
                need(Cap.BIND_EXCHANGES, "binding an exchange to an exchange")
        else:
            raise InvalidSpec(f"ensure() takes Topic, Queue, Exchange and Binding, not {type(spec).__name__}")

    def bind(self, binding: Binding) -> None:
        """Add a binding; there already is no error. `NotFound` if its exchange or destination is missing."""
        self.ensure(binding)

    def unbind(self, binding: Binding) -> None:
        """Remove a binding; missing already is no error."""
        self._ask(lambda done: self._spi.unbind(binding, done), f"unbinding {binding.exchange}")

    def add_partitions(self, topic: Topic[Any], partitions: int) -> None:
        """Grow a topic to `partitions`.

        Keys move: of the existing keys most map to another partition from now on, so order per key holds within before
        and within after, not across; drain the topic first if that matters. Producers that are open learn the number
        with the answer to their next batch.
        """
        _object(topic, Topic)
        self._bus.capabilities.need(Cap.ADD_PARTITIONS, "add_partitions()")
        self._ask(lambda done: self._spi.add_partitions(topic, partitions, done), f"adding partitions to {topic}")

    def delete(self, destination: Topic[Any] | Queue[Any] | Exchange) -> None:
        """Delete it with all its messages. `NotFound` if it is not there."""
        _object(destination)
        self._ask(lambda done: self._spi.delete(destination, done), f"deleting {destination}")

    # --- looking

    def list_topics(self) -> list[Topic[Any]]:
        """All topics, as the engine specifies them."""
        return list(self._look(self._spi.list_topics, "listing topics"))

    def list_queues(self) -> list[Queue[Any]]:
        """All queues, as the engine specifies them."""
        return list(self._look(self._spi.list_queues, "listing queues"))

    def list_exchanges(self) -> list[Exchange]:
        """All exchanges, as the engine specifies them."""
        return list(self._look(self._spi.list_exchanges, "listing exchanges"))

    def describe(
        self, destination: Topic[Any] | Queue[Any] | Exchange | Destination
    ) -> TopicDescription | QueueDescription | ExchangeDescription:
        """What the engine says about it; `NotFound` if it is not there."""
        _object(destination)
        what = f"describing {destination}"
        if isinstance(destination, Topic):
            return self._look(lambda done: self._spi.describe_topic(destination, done), what)
        if isinstance(destination, Queue):
            return self._look(lambda done: self._spi.describe_queue(destination, done), what)
        return self._look(lambda done: self._spi.describe_exchange(destination, done), what)

    def offsets(self, topic: Topic[Any]) -> dict[int, PartitionOffsets]:
        """Start, end, high watermark and last stable offset of each partition.

        `end` is the offset after the last record: offsets may have gaps, so ``end - start`` is an upper bound of the
        count.
        """
        _object(topic, Topic)
        self._bus.capabilities.need(Cap.END_OFFSETS, "offsets()")
        described: TopicDescription = self._look(
            lambda done: self._spi.describe_topic(topic, done), f"offsets of {topic}"
        )
        return dict(described.partitions)

    def offset_at(self, topic: Topic[Any], when: _dt.datetime) -> dict[int, int | None]:
        """For each partition the first offset whose timestamp is `when` or later; None if there is none."""
        _object(topic, Topic)
        self._bus.capabilities.need(Cap.REPLAY_BY_TIME, "offset_at()")
        at_ms = to_ms(when)
        return dict(self._look(lambda done: self._spi.offset_at(topic, at_ms, done), f"offsets of {topic}"))

    def delete_records(self, topic: Topic[Any], before: Mapping[int, int]) -> None:
        """Move the start of partitions to the given offsets: what lies before is gone for good."""
        _object(topic, Topic)
        self._bus.capabilities.need(Cap.DELETE_RECORDS, "delete_records()")
        self._ask(lambda done: self._spi.delete_records(topic, before, done), f"deleting records of {topic}")

    def health(self) -> Mapping[str, Any]:
        """Facts about the engine for a person: who hosts it, where, which epoch."""
        return self._look(self._spi.health, "asking for health")

    # --- groups

    def list_groups(self) -> list[GroupSummary]:
        """All groups that have members or committed offsets."""
        return list(self._look(self._spi.list_groups, "listing groups"))

    def describe_group(self, group: str) -> GroupDescription:
        """Members, assignment, state, committed offsets and lag; `NotFound` if nobody ever used that name."""
        return self._look(lambda done: self._spi.describe_group(group, done), f"describing group {group}")

    def reset_offsets(self, group: str, topic: Topic[Any], to: Position, *, dry_run: bool = True) -> ResetPlan:
        """Move a group's committed offsets of one topic; refused while the group has members.

        A dry run by default: it returns the plan and changes nothing.
        """
        _object(topic, Topic)
        if not isinstance(to, Position):
            raise InvalidSpec("reset_offsets() takes EARLIEST, LATEST, At or Since for to=", field="to")
        self._bus.capabilities.need(Cap.RESET_OFFSETS, "reset_offsets()")
        description = self._described_or_none(group)
        if description is not None and description.members:
            raise Rejected(
                f"group {group} has {len(description.members)} members; its offsets can be reset only while nobody "
                "consumes. Nothing was changed; stop the consumers and try again.",
                engine=self._bus.engine,
            )
        after = self._resolve(topic, to)
        committed = {} if description is None else description.committed
        before = {partition: committed.get((topic.name, partition)) for partition in after}
        if not dry_run:
            self._ask(
                lambda done: self._spi.commit_offsets(group, topic, after, done), f"resetting the offsets of {group}"
            )
        return ResetPlan(group, topic, before, after, applied=not dry_run)

    def delete_group(self, group: str) -> None:
        """Forget a group and its offsets; refused while it has members."""
        self._ask(lambda done: self._spi.delete_group(group, done), f"deleting group {group}")

    def _described_or_none(self, group: str) -> GroupDescription | None:
        try:
            return self.describe_group(group)
        except NotFound:
            return None

    def _resolve(self, topic: Topic[Any], to: Position) -> dict[int, int]:
        start: Start = to.resolve(self._bus._connection.clock.wall_ms())
        offsets = self.offsets(topic)
        if start.kind == "since":
            at_ms = start.timestamp_ms or 0
            found: Mapping[int, int | None] = self._look(
                lambda done: self._spi.offset_at(topic, at_ms, done), f"offsets of {topic}"
            )
            return {p: offsets[p].end if (at := found.get(p)) is None else at for p in offsets}
        unknown = sorted(set(start.offsets) - set(offsets))
        if unknown:
            raise InvalidSpec(f"{topic} has no partition {unknown[0]}; it has {len(offsets)}", field="offsets")
        if start.kind == "at":
            return {p: start.offsets.get(p, known.start) for p, known in offsets.items()}
        return {p: known.end if start.kind == "latest" else known.start for p, known in offsets.items()}

    # --- queues

    def depth(self, queue: Queue[Any]) -> int:
        """Messages that are ready: not those that are out, nor delayed ones."""
        _object(queue, Queue)
        self._bus.capabilities.need(Cap.DEPTH, "depth()")
        described = self.describe(queue)
        assert isinstance(described, QueueDescription)
        return described.ready or 0

    def purge(self, queue: Queue[Any]) -> int:
        """Drop all messages that are not out; returns how many."""
        _object(queue, Queue)
        self._bus.capabilities.need(Cap.PURGE, "purge()")
        return self._ask(lambda done: self._spi.purge(queue, done), f"purging {queue}")

    def dead_letters(self, source: Queue[Any], *, max_messages: int = 100) -> list[DeadLetter]:
        """Look at the dead letters of a queue without removing them; `source` is the queue they died in."""
        self._bus.capabilities.need(Cap.BROWSE_DEAD_LETTERS, "dead_letters()")
        target = self._dead_letter_queue(source)
        stored: Sequence[StoredMessage] = self._look(
            lambda done: self._spi.browse(target, max_messages, done), f"browsing {target}"
        )
        return [_dead_letter(message) for message in stored]

    def redrive(self, source: Queue[Any], *, tokens: Sequence[int] | None = None, max_messages: int = 1_000_000) -> int:
        """Move dead letters of `source` back to it, attempts counted anew, message id kept; returns how many.

        Each is written back before it leaves the dead-letter queue, so a crash in between may duplicate, never lose.
        """
        self._bus.capabilities.need(Cap.REDRIVE, "redrive()")
        target = self._dead_letter_queue(source)
        return self._ask(lambda done: self._spi.move(target, tokens, source, max_messages, done), f"redriving {target}")

    def _dead_letter_queue(self, source: Queue[Any]) -> Queue[Any]:
        _object(source, Queue)
        described = self.describe(source)
        assert isinstance(described, QueueDescription)
        target = described.queue.dead_letter
        if target is None:
            raise NotFound(f"{source} has no dead-letter queue", engine=self._bus.engine)
        return target


def _in_order(specs: Sequence[Spec]) -> list[Spec]:
    """Dead-letter queues before their queues, alternates before their exchanges, destinations before bindings."""
    ordered: list[Spec] = []

    def add(spec: Spec) -> None:
        if any(spec is known for known in ordered):
            return
        if isinstance(spec, Queue) and spec.dead_letter is not None and spec.dead_letter not in specs:
            if not any(isinstance(known, Queue) and known == spec.dead_letter for known in ordered):
                add(spec.dead_letter)
        if isinstance(spec, Exchange) and spec.alternate is not None and spec.alternate not in specs:
            add(spec.alternate)
        ordered.append(spec)

    for kind in (Topic, Queue, Exchange, Binding):
        for spec in specs:
            if isinstance(spec, kind):
                add(spec)
    return ordered


def _object(destination: Any, kind: type[Destination] = Destination) -> None:
    if isinstance(destination, Destination) and not isinstance(destination, kind):
        # Names are per kind: without this, purge(Topic("x")) would purge the queue x.
        raise InvalidSpec(f"this takes a {kind.__name__}, and {destination} is none. Nothing was done.")
    if not isinstance(destination, Destination):
        raise InvalidSpec(
            f"admin calls take a Topic, Queue or Exchange, not {type(destination).__name__}; mqbridge.parse() "
            "makes one",
            field="destination",
        )


def _mismatch(spec: Destination, differences: tuple[tuple[str, Any, Any], ...], engine: str) -> Mismatch:
    lines = "; ".join(f"{field}: wanted {wanted!r}, found {found!r}" for field, wanted, found in differences)
    return Mismatch(
        f"{spec} exists, but not as specified: {lines}. Nothing was changed. Specify what is there, choose "
        "another name, or "
        "delete it (with its messages) and ensure it again.",
        engine=engine,
        differences=differences,
    )


def _dead_letter(message: StoredMessage) -> DeadLetter:
    pairs = message.headers or ()
    identity = next((value.decode() for name, value in pairs if name == reserved.MESSAGE_ID), None)
    return DeadLetter(
        token=message.token,
        value=message.value,
        key=message.key,
        headers=Headers(tuple(pair for pair in pairs if not pair[0].startswith(reserved.PREFIX))),
        timestamp_ms=message.timestamp_ms,
        message_id=identity,
        death=read_death(pairs),
    )
