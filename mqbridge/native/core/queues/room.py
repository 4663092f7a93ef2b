"""The room of queues and exchanges: its operations, and what all queues share.

The rule: arguments are read and names looked up before anything is touched, then one queue does the work. What
concerns several queues has its order here: dead letters, moves and routed records are written to where they go before
they leave where they were. What does not belong here: what happens inside a queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mqbridge import errors
from mqbridge.native.core import arguments
from mqbridge.native.core.ports import (
    Batch,
    DecodeBatch,
    EncodeBatch,
    MakeBatch,
    Notify,
    Now,
    Op,
    Reply,
    Store,
    Topology,
)
from mqbridge.native.core.queues import limits
from mqbridge.native.core.queues.consumers import Consumer
from mqbridge.native.core.queues.deadletter import DeadLetters, Path, Refusal, origin_of, redriven
from mqbridge.native.core.queues.exchanges import Exchanges, refusal_of_unroutable
from mqbridge.native.core.queues.house import House
from mqbridge.native.core.queues.queue import Queue
from mqbridge.native.core.queues.records import Message, reply_columns
from mqbridge.native.core.queues.spec import QueueSpec
from mqbridge.semantics.naming import check_name

QUEUE: Final = "queue"
QUEUE_DELETED: Final = "queue-deleted"
MOST_SHOWN: Final = 1000
"""`browse` and `move` look at no more than this unless they are asked to."""


class QueueRoom:
    """All queues and exchanges of one broker.

    `ops` are the operations: (session, args, batches, now) -> (reply, batches). After `restore_meta` for each entry of
    topology comes `recover`, once. Notes: ``messages`` (something can be taken, or the consumer became the active
    one) and ``cancelled`` (the consumer's queue is gone).
    """

    def __init__(
        self,
        store: Store,
        make_batch: MakeBatch,
        encode_batch: EncodeBatch,
        decode_batch: DecodeBatch,
        notify: Notify,
        topology: Topology,
    ) -> None:
        self._store = store
        self._notify = notify
        self._topology = topology
        self._specs: dict[str, QueueSpec] = {}
        self._queues: dict[str, Queue] = {}
        self._exchanges = Exchanges(topology, self._queues)
        self._consumers: dict[int, Consumer] = {}
        # Above all numbers of earlier lives: a settlement that was on its way when the host died fits nothing here.
        self._first_number = store.epoch << 32
        self._last_consumer = self._first_number
        self._next_tick: float | None = None
        self._house = House(
            make_batch,
            encode_batch,
            decode_batch,
            notify,
            DeadLetters(make_batch, self._enqueue_letters),
            self._sooner,
        )
        self.ops: dict[str, Op] = {
            "create_queue": self._create,
            "delete_queue": self._delete,
            "list_queues": self._list,
            "describe_queue": self._describe,
            "purge_queue": self._purge,
            "enqueue": self._enqueue,
            "publish": self._publish,
            "consume": self._consume,
            "take": self._take,
            "cancel": self._cancel,
            "browse": self._browse,
            "move": self._move,
            **self._exchanges.ops,
        }

    # --- the life of the room ------------------------------------------------------------------------------------

    def restore_meta(self, entry: dict[str, Any]) -> bool:
        """Take an entry of topology; whether it was one of this room's."""
        if self._exchanges.restore(entry):
            return True
        if entry["t"] == QUEUE:
            self._specs[entry["name"]] = QueueSpec.read(entry["name"], entry["spec"])
        elif entry["t"] == QUEUE_DELETED:
            self._specs.pop(entry["name"], None)
            self._exchanges.queue_deleted(entry["name"])
        else:
            return False
        return True

    def snapshot_meta(self) -> Iterator[dict[str, Any]]:
        """The entries that make the present state."""
        for queue in self._queues.values():
            yield {"t": QUEUE, "name": queue.name, "spec": queue.spec.as_dict()}
        yield from self._exchanges.snapshot()

    def recover(self, now: Now) -> None:
        """Read all journals. A message that was at a consumer is ready again, has failed once more, and says so."""
        for name, spec in self._specs.items():
            self._queues[name] = self._open(name, spec, now)
        for queue in self._queues.values():
            queue.recover()
        for queue in self._queues.values():
            queue.resume(now)

    def close_session(self, session: int, clean: bool, now: Now) -> None:
        """What the session's consumers held goes back; an unclean end counts as a failed attempt of each."""
        failure: errors.MqbridgeError | None = None
        by_queue: dict[str, list[Consumer]] = {}
        for consumer in [consumer for consumer in self._consumers.values() if consumer.session == session]:
            del self._consumers[consumer.id]
            by_queue.setdefault(consumer.queue, []).append(consumer)
        for name, gone in by_queue.items():
            try:
                self._queues[name].detach(gone, now, counted=not clean)
            except errors.MqbridgeError as error:
                failure = error
        if failure is not None:
            raise failure

    def tick(self, now: Now) -> None:
        """Delays, times to live, blocked dead letters, long journals, queues that nobody uses."""
        self._next_tick = None
        failure: errors.MqbridgeError | None = None
        for queue in [*self._queues.values()]:
            if queue.idle(now):
                try:
                    self._remove(queue)
                    continue
                except errors.MqbridgeError as error:
                    failure = error
            queue.tick(now)
        if failure is not None:
            raise failure

    def next_deadline(self, now: Now) -> float | None:
        """When to tick at the latest. It may be early, never late."""
        return self._next_tick

    def _sooner(self, moment_s: float) -> None:
        if self._next_tick is None or moment_s < self._next_tick:
            self._next_tick = moment_s

    def _open(self, name: str, spec: QueueSpec, now: Now) -> Queue:
        return Queue(name, spec, self._store.journal(_journal(name)), self._house, self._first_number, now)

    def _queue(self, args: dict[str, Any], field: str) -> Queue:
        name = arguments.text(args, field)
        queue = self._queues.get(name)
        if queue is None:
            raise errors.NotFound(f"the queue {name!r} does not exist; nothing was done: create it first")
        return queue

    # --- administration ------------------------------------------------------------------------------------------

    def _create(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = arguments.text(args, "name")
        try:
            check_name("queue", name)
        except ValueError as error:
            raise errors.InvalidSpec(f"{error} Nothing was done.", field="name") from error
        said = args.get("spec") or {}
        if not isinstance(said, dict):
            raise arguments.wrong("spec", "an object", said)
        spec = QueueSpec.read(name, said)
        existing = self._queues.get(name)
        if existing is not None:
            return {"created": False, "spec": existing.spec.as_dict()}, []
        # A queue of this name that was deleted by a process that died at it may have left its messages.
        self._store.remove_journal(_journal(name))
        queue = self._open(name, spec, now)
        queue.begin()
        self._topology.append({"t": QUEUE, "name": name, "spec": spec.as_dict()})
        self._queues[name] = queue
        queue.tick(now)
        return {"created": True, "spec": spec.as_dict()}, []

    def _delete(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        self._remove(self._queue(args, "name"))
        return {}, []

    def _remove(self, queue: Queue) -> None:
        self._topology.append({"t": QUEUE_DELETED, "name": queue.name})
        del self._queues[queue.name]
        self._exchanges.queue_deleted(queue.name)
        for consumer in queue.consumers:
            del self._consumers[consumer.id]
            self._notify(
                consumer.session,
                {"note": "cancelled", "consumer": consumer.id, "queue": queue.name, "reason": "the queue was deleted"},
            )
        try:
            self._store.remove_journal(_journal(queue.name))
        except errors.MqbridgeError:
            # The queue is gone by what topology says; what is left of it goes when one of its name is made.
            pass

    def _list(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        queues = [{"name": queue.name, "spec": queue.spec.as_dict()} for queue in self._queues.values()]
        return {"queues": queues}, []

    def _describe(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        queue = self._queue(args, "name")
        return {"name": queue.name, "spec": queue.spec.as_dict(), **queue.describe()}, []

    def _purge(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        return {"purged": self._queue(args, "name").purge()}, []

    # --- in ------------------------------------------------------------------------------------------------------

    def _enqueue(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        queue = self._queue(args, "queue")
        return {"errors": _by_index(queue.enqueue(_one(batches), now))}, []

    def _publish(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        """Route record by record. A record that one of its queues refused is an error, though others keep it."""
        exchange = arguments.text(args, "exchange")
        batch = _one(batches)
        by_queue, unroutable = self._exchanges.split(exchange, batch)
        refusals = dict.fromkeys(unroutable, refusal_of_unroutable(exchange))
        copies = [0] * batch.count
        for indices in by_queue.values():
            for index in indices:
                copies[index] += 1
        done: list[str] = []
        for name, indices in by_queue.items():
            part = limits.picked(batch, indices, self._house.make_batch)
            try:
                refused = self._queues[name].enqueue(part, now)
            except errors.MqbridgeError as error:
                if done:
                    error.outcome = "unknown"
                    error.add_note(f"queue {name!r} failed; queues that had taken their records: {', '.join(done)}")
                raise
            done.append(name)
            for at, refusal in refused.items():
                index = indices[at]
                if copies[index] > 1:
                    refusal = Refusal(
                        refusal.code, f"{refusal.message} (other queues of exchange {exchange!r} may have kept it)"
                    )
                refusals[index] = refusal
        return {"errors": _by_index(refusals)}, []

    def _enqueue_letters(self, target: str, batch: Batch, now: Now, path: Path) -> dict[int, Refusal] | None:
        queue = self._queues.get(target)
        return None if queue is None else queue.enqueue(batch, now, path)

    # --- out -----------------------------------------------------------------------------------------------------

    def _consume(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        queue = self._queue(args, "queue")
        prefetch = arguments.integer(args, "prefetch", least=1, default=100)
        priority = args.get("priority", 0)
        if not arguments.is_integer(priority):
            raise arguments.wrong("priority", "an integer", priority)
        self._last_consumer += 1
        consumer = Consumer(self._last_consumer, session, queue.name, prefetch, priority)
        self._consumers[consumer.id] = consumer
        queue.consumers.add(consumer)
        return {"consumer": consumer.id}, []

    def _take(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        consumer = self._consumer(session, args)
        queue = self._queues[consumer.queue]
        limit = arguments.integer(args, "max", default=consumer.prefetch)
        settle = args.get("settle") or ()
        if not isinstance(settle, list | tuple):
            raise arguments.wrong("settle", "a list of [verb, tag, ...]", settle)
        taken = queue.take(consumer, limit, settle, arguments.flag(args, "watch"), now)
        attempts, redelivered, found = reply_columns(taken.messages, self._house.make_batch)
        return {
            "tags": list(range(taken.first_tag, taken.first_tag + len(attempts))),
            "attempts": attempts,
            "redelivered": redelivered,
            "settled_errors": [list(error) for error in taken.errors],
            "active": queue.consumers.is_active(consumer),
        }, found

    def _cancel(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        consumer = self._consumer(session, args)
        del self._consumers[consumer.id]
        self._queues[consumer.queue].detach([consumer], now, counted=False)
        return {}, []

    def _consumer(self, session: int, args: dict[str, Any]) -> Consumer:
        number = arguments.integer(args, "consumer")
        consumer = self._consumers.get(number)
        if consumer is None or consumer.session != session:
            raise errors.NotFound(
                f"this session has no consumer {number}: it was cancelled, its queue was deleted, or the broker was "
                "restarted; nothing was settled: consume again"
            )
        return consumer

    # --- looking at dead letters, and back -----------------------------------------------------------------------

    def _browse(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        queue = self._queue(args, "queue")
        messages = queue.waiting(now, None, arguments.integer(args, "max", default=MOST_SHOWN))
        attempts, redelivered, found = reply_columns(messages, self._house.make_batch)
        seqs = [message.seq for message in messages]
        return {"seqs": seqs, "attempts": attempts, "redelivered": redelivered}, found

    def _move(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        """Redrive: written to the target first, then removed here; what cannot be moved stays, with its error."""
        source = self._queue(args, "queue")
        seqs = None if args.get("seqs") is None else arguments.integers(args, "seqs")
        named = arguments.text_or_none(args, "to_queue")
        if named is not None and self._queue(args, "to_queue") is source:
            raise arguments.wrong("to_queue", "another queue than the one that is read", named)
        most = MOST_SHOWN if seqs is None else len(seqs)
        messages = source.waiting(now, seqs, arguments.integer(args, "max", default=most))
        refusals: dict[int, Refusal] = {}
        groups: dict[str, list[Message]] = {}
        for message in messages:
            target = named or origin_of(message)
            if target in self._queues and target != source.name:
                groups.setdefault(str(target), []).append(message)
            else:
                refusals[message.seq] = _no_target(target)
        moved = 0
        for target, part in groups.items():
            refused = self._queues[target].enqueue(redriven(part, self._house.make_batch), now)
            refusals.update({part[at].seq: refusal for at, refusal in refused.items()})
            done = [message for at, message in enumerate(part) if at not in refused]
            source.remove(done)
            moved += len(done)
        return {"moved": moved, "errors": _by_index(refusals)}, []


def _no_target(target: str | None) -> Refusal:
    if target is None:
        return Refusal("configuration", "the message does not say in which queue it died: name the queue to move it to")
    return Refusal("not_found", f"the queue {target!r}, in which the message died, does not exist: name another one")


def _journal(queue: str) -> str:
    return f"queue-{queue}"


def _one(batches: Sequence[Batch]) -> Batch:
    if len(batches) != 1:
        raise errors.ConfigurationError(f"the operation takes one batch, not {len(batches)}; nothing was done")
    return batches[0]


def _by_index(refusals: dict[int, Refusal]) -> dict[str, dict[str, str]]:
    return {str(index): refusals[index]._asdict() for index in sorted(refusals)}
