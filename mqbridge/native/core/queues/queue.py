"""One queue's state machine.

The rule: each operation decides, writes one entry to the journal, and only then becomes visible; what fails before
that is undone. Messages are where their `state` says: in `ReadyOrder`, in the heap of delays, in `_blocked`, or in the
hands of one consumer. What does not belong here: which queues exist (room), and which message is next (order).

Limits are checked when messages enter. A message that comes back always has a place, as otherwise giving it back
would lose it, so a queue may stand above its limit by what its consumers hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from mqbridge.errors import MqbridgeError
from mqbridge.native.core.ports import Batch, Journal, Now
from mqbridge.native.core.queues import limits
from mqbridge.native.core.queues.consumers import Consumer, Consumers
from mqbridge.native.core.queues.deadletter import (
    EXPIRED,
    MAX_ATTEMPTS,
    MAX_LENGTH,
    Death,
    Path,
    Refusal,
)
from mqbridge.native.core.queues.house import House, Taken
from mqbridge.native.core.queues.order import ReadyOrder, TimeHeap, oldest_first
from mqbridge.native.core.queues.records import (
    BLOCKED,
    DELAYED,
    GONE,
    LONG_AGO,
    READY,
    TAKEN,
    Message,
    Replayed,
    encode_enqueue,
    encode_head,
    encode_snapshots,
    encode_update,
    messages_of,
)
from mqbridge.native.core.queues.settling import Return, Settlement
from mqbridge.native.core.queues.spec import QueueSpec

BLOCKED_RETRY_S: Final = 1.0
BLOCKED_BATCH: Final = 512
TAKE_BYTES: Final = 8 << 20
REWRITE_LEAST_BYTES: Final = 4 << 20
_TICK_S: Final = 0.001


class Queue:
    """A queue and its consumers. `first_tag` is above every tag given in an earlier life of the store."""

    def __init__(self, name: str, spec: QueueSpec, journal: Journal, house: House, first_tag: int, now: Now) -> None:
        self.name = name
        self.spec = spec
        self.consumers = Consumers(spec.single_active)
        self._journal = journal
        self._house = house
        self._next_tag = first_tag
        self._next_seq = 0
        self._top_priority = spec.max_priority or 0
        self._ttl_ms = spec.ttl_ms
        self._ready = ReadyOrder(self._top_priority)
        self._delays = TimeHeap(lambda message: message.state == DELAYED)
        self._expiries = TimeHeap(lambda message: message.state < BLOCKED)
        self._blocked: dict[int, Death] = {}
        self._retry_blocked_at = 0.0
        self._carrying = False
        self._delayed = 0
        # All living messages; those that a consumer holds are in `_out_...` too.
        self._count = self._bytes = self._stored_bytes = 0
        self._out_count = self._out_bytes = 0
        self._used_at = now.mono_s
        self._rewrite_above = REWRITE_LEAST_BYTES

    # --- looking -------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, int]:
        return {
            "ready": self._ready.count,
            "unsettled": self._out_count,
            "delayed": self._delayed,
            "blocked": len(self._blocked),
            "consumers": len(self.consumers),
            "size_bytes": self._bytes,
        }

    def waiting(self, now: Now, seqs: Sequence[int] | None, limit: int) -> list[Message]:
        """Ready messages in the order of delivery, without taking them: at most `limit`, only `seqs` if given."""
        wanted = None if seqs is None else frozenset(seqs)
        out: list[Message] = []
        for message in self._ready:
            if len(out) >= limit:
                break
            if (wanted is None or message.seq in wanted) and not message.expired(now.wall_ms):
                out.append(message)
        return out

    def idle(self, now: Now) -> bool:
        """Whether the queue's own time is over: no consumer and no take for `expires_s`."""
        expires_s = self.spec.expires_s
        return expires_s is not None and not len(self.consumers) and now.mono_s - self._used_at >= expires_s

    # --- in ------------------------------------------------------------------------------------------------------

    def enqueue(self, batch: Batch, now: Now, path: Path = ()) -> dict[int, Refusal]:
        """Keep the records; refusals by index. An error of storage is raised with nothing kept."""
        if not batch.count:
            return {}
        if not self.spec.limited:
            self._keep(batch, now)
            return {}
        if batch.headers is not None:
            # A wrong header is to be found before anything dies to make room.
            self._read(batch, now)
        self._elapse(now)
        if self.spec.overflow == "drop-head":
            return self._enqueue_dropping(batch, now, path)
        fits, refused = limits.fitting(batch, self.spec, *self._held())
        if fits:
            self._keep(limits.picked(batch, fits, self._house.make_batch), now)
        return dict.fromkeys(refused, limits.full(self.name, self.spec)) if refused else {}

    def _keep(self, batch: Batch, now: Now) -> None:
        messages = self._read(batch, now)
        self._journal.append(
            encode_enqueue(
                self._next_seq, now.wall_ms, self._ttl_ms, self._top_priority, self._house.encode_batch(batch)
            )
        )
        self._next_seq += len(messages)
        self._place(messages)
        self._wake(now)

    def _read(self, batch: Batch, now: Now) -> list[Message]:
        return messages_of(batch, self._next_seq, now.wall_ms, self._ttl_ms, self._top_priority)

    def _place(self, messages: list[Message]) -> None:
        """Messages of this journal that are not at a consumer, by what they say of themselves."""
        self._count += len(messages)
        for message in messages:
            self._bytes += message.body_bytes
            self._stored_bytes += message.stored_bytes
            if message.expires_ms:
                self._expiries.add(message.expires_ms, message)
        delayed = [message for message in messages if message.due_ms]
        if delayed:
            messages = [message for message in messages if not message.due_ms]
            for message in delayed:
                self._delay(message)
        self._ready.add(messages)

    def _delay(self, message: Message) -> None:
        message.state = DELAYED
        self._delayed += 1
        self._delays.add(message.due_ms, message)

    def _held(self) -> tuple[int, int]:
        """Messages and bytes of values that count against the limits: all that is not at a consumer."""
        return self._count - self._out_count, self._bytes - self._out_bytes

    def _enqueue_dropping(self, batch: Batch, now: Now, path: Path) -> dict[int, Refusal]:
        refusals: dict[int, Refusal] = {}
        for lo, hi in limits.portions(batch, self.spec):
            try:
                refusal = self._drop_head(batch.slice(lo, hi), now, path)
            except MqbridgeError as error:
                if lo > 0:
                    error.outcome = "unknown"
                    error.add_note(f"records 0 to {lo - 1} of {batch.count} had been enqueued before")
                raise
            if refusal is not None:
                refusals.update(dict.fromkeys(range(lo, hi), refusal))
        return refusals

    def _drop_head(self, portion: Batch, now: Now, path: Path) -> Refusal | None:
        """Keep records and drop the oldest messages for them; or say why they were refused."""
        over_count, over_bytes = limits.over(portion, self.spec, *self._held())
        victims: list[Message] = []
        # Ready ones first; a delayed message dies for a newer one only when nothing else can.
        for message in chain(self._ready.by_age(), oldest_first(self._delays)):
            if over_count <= 0 and over_bytes <= 0:
                break
            victims.append(message)
            over_count -= 1
            over_bytes -= message.body_bytes
        if over_count > 0 or over_bytes > 0:
            return limits.full(self.name, self.spec)
        if not victims:
            self._keep(portion, now)
            return None
        deaths = [Death(message, MAX_LENGTH, message.failures) for message in victims]
        refused = self._carry(deaths, now, path)
        if refused:
            self.remove([message for index, message in enumerate(victims) if index not in refused])
            return refused[min(refused)]
        self._keep(portion, now)
        try:
            # After the new ones: a crash in between leaves a queue above its limit and not one without a message.
            self.remove(victims)
        except MqbridgeError:
            # As that crash would: the new ones are kept, and the next enqueue drops what this one could not.
            pass
        return None

    # --- out -----------------------------------------------------------------------------------------------------

    def take(self, consumer: Consumer, limit: int, settle: Sequence[object], watch: bool, now: Now) -> Taken:
        """Settle, then hand out; all of it is one entry of the journal, and nothing has happened if this raises."""
        self._elapse(now)
        plan = Settlement(consumer.unsettled, self.spec, now.wall_ms)
        if settle:
            plan.read(settle)
        messages: list[Message] = []
        try:
            if plan.deaths:
                plan.refuse(self._carry(plan.deaths, now))
            for item in plan.returned:
                self._give_back(item)
            wanted = self.consumers.may_take(consumer, limit, self._ready.count, now.mono_s)
            if wanted:
                messages = self._ready.take(wanted, TAKE_BYTES)
            if messages or not plan.empty:
                self._write(plan, messages)
        except BaseException:
            for message in messages:
                self._ready.give_back(message)
            for item in plan.returned:
                self._fetch_again(item)
            plan.undo()
            raise
        first_tag = self._next_tag
        self._next_tag += len(messages)
        self._done(plan)
        for message in messages:
            self._out_bytes += message.body_bytes
        self._out_count += len(messages)
        consumer.unsettled.update(zip(range(first_tag, self._next_tag), messages, strict=True))
        if plan.returned:
            self._bury(plan.dying(), now)
        self.consumers.came(consumer)
        if watch and not messages:
            self.consumers.wait(consumer)
        self._wake(now)
        return Taken(first_tag, messages, plan.errors)

    def detach(self, gone: Sequence[Consumer], now: Now, *, counted: bool) -> None:
        """Consumers go; what they held goes back, as failed attempts if `counted`.

        Memory changes even if the journal cannot be written, since nobody holds these messages any more; the error is
        raised at the end. After a restart they would count as attempts that failed.
        """
        failure: MqbridgeError | None = None
        deaths: list[Death] = []
        for consumer in gone:
            plan = Settlement(consumer.unsettled, self.spec, now.wall_ms)
            plan.give_up(counted=counted)
            for item in plan.returned:
                self._give_back(item)
            try:
                if plan.returned:
                    self._write(plan, ())
            except MqbridgeError as error:
                failure = error
            self._done(plan)
            deaths += plan.dying()
        promoted = self.consumers.remove(gone, now.mono_s)
        self._used_at = now.mono_s
        self._bury(deaths, now)
        if promoted is not None:
            self._tell(promoted)
        self._wake(now)
        if failure is not None:
            raise failure

    def _write(self, plan: Settlement, taken: Sequence[Message]) -> None:
        settled = [message.seq for message in plan.acked]
        settled += [death.message.seq for death in plan.deaths]
        returned = [item.message for item in plan.returned]
        self._journal.append(encode_update(settled, returned, [message.seq for message in taken]))

    def _done(self, plan: Settlement) -> None:
        """The plan is written: count what it did."""
        settled = plan.acked
        if plan.deaths:
            settled = settled + [death.message for death in plan.deaths]
        out_bytes = stored_bytes = 0
        for message in settled:
            message.settle()
            out_bytes += message.body_bytes
            stored_bytes += message.stored_bytes
        self._count -= len(settled)
        self._bytes -= out_bytes
        self._stored_bytes -= stored_bytes
        self._out_count -= len(settled) + len(plan.returned)
        self._out_bytes -= out_bytes + sum(item.message.body_bytes for item in plan.returned)

    def _give_back(self, item: Return) -> None:
        if item.death is not None:
            return
        if item.message.due_ms:
            self._delay(item.message)
        else:
            self._ready.give_back(item.message)

    def _fetch_again(self, item: Return) -> None:
        """Undo `_give_back`, if it was done."""
        if item.message.state == DELAYED:
            self._delayed -= 1
            self._delays.withdraw(item.message)
        elif item.message.state == READY:
            self._ready.withdraw(item.message)

    def _leave(self, messages: Iterable[Message]) -> None:
        """Messages that no consumer holds are gone, and the journal says so."""
        for message in messages:
            if message.state == GONE:
                # Two queues that dead-letter into each other may have come to it twice.
                continue
            self._lift(message, GONE)
            message.settle()
            self._count -= 1
            self._bytes -= message.body_bytes
            self._stored_bytes -= message.stored_bytes

    def _lift(self, message: Message, state: int) -> None:
        """Take a message out of where it waits."""
        if message.state == READY:
            self._ready.remove(message, state)
        elif message.state == DELAYED:
            self._delayed -= 1
        elif message.state == BLOCKED:
            self._blocked.pop(message.seq, None)
        message.state = state

    # --- dying ---------------------------------------------------------------------------------------------------

    def _elapse(self, now: Now) -> None:
        """Let delays and times to live end that have ended, wherever their messages stand."""
        wall_ms = now.wall_ms
        first_ms = self._delays.first_ms()
        if first_ms is not None and first_ms <= wall_ms:
            for message in self._delays.due(wall_ms):
                self._delayed -= 1
                message.due_ms = 0
                self._ready.give_back(message)
        first_ms = self._expiries.first_ms()
        if first_ms is not None and first_ms <= wall_ms:
            deaths: list[Death] = []
            for message in self._expiries.due(wall_ms):
                # Its time is over even if the clock is set back. It is not taken away from a consumer.
                message.expires_ms = LONG_AGO
                if message.state != TAKEN:
                    deaths.append(Death(message, EXPIRED, message.failures))
            self._bury(deaths, now)

    def _bury(self, deaths: Sequence[Death], now: Now) -> None:
        """These messages are dead and are never delivered again; they are kept until their letters are."""
        if not deaths:
            return
        for death in deaths:
            self._lift(death.message, BLOCKED)
            self._blocked[death.message.seq] = death
        self._carry_blocked(now)

    def _carry_blocked(self, now: Now) -> None:
        # A dead-letter queue may dead-letter into this one while it takes letters from it.
        if self._carrying:
            return
        self._carrying = True
        try:
            # Those of this moment: two queues without a time to live would send each other letters for ever.
            blocked = [*self._blocked.values()]
            for lo in range(0, len(blocked), BLOCKED_BATCH):
                deaths = blocked[lo : lo + BLOCKED_BATCH]
                refused = self._carry(deaths, now)
                done = [death.message for index, death in enumerate(deaths) if index not in refused]
                if done:
                    self._journal.append(encode_update([message.seq for message in done], (), ()))
                    self._leave(done)
                if refused:
                    break
        except MqbridgeError:
            # Nobody called for this, so nobody can be told. Nothing is lost: they are tried again, and a failing
            # disk tells the next caller.
            pass
        finally:
            self._carrying = False
        self._retry_blocked_at = now.mono_s + BLOCKED_RETRY_S

    def _carry(self, deaths: Sequence[Death], now: Now, path: Path = ()) -> dict[int, Refusal]:
        return self._house.dead_letters.deliver(self.name, self.spec.dead_letter, deaths, now, path)

    # --- time and administration ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first entry of a new queue's journal."""
        self._journal.append(encode_head(0))

    def tick(self, now: Now) -> None:
        """What time brings. Never raises: what storage refuses stays as it is and is tried again."""
        self._elapse(now)
        if self._blocked and now.mono_s >= self._retry_blocked_at:
            self._carry_blocked(now)
        if self._rewrite_due():
            self._rewrite()
        self._wake(now)

    def remove(self, messages: Sequence[Message]) -> None:
        """Waiting messages leave: moved elsewhere, or purged."""
        if messages:
            self._journal.append(encode_update([message.seq for message in messages], (), ()))
            self._leave(messages)

    def purge(self) -> int:
        """Remove everything that no consumer holds."""
        messages = [*self._ready, *self._delays, *(death.message for death in self._blocked.values())]
        self.remove(messages)
        self._delays.clear()
        self._ready.clear()
        return len(messages)

    def recover(self) -> None:
        """Put what the journal says in place; what was at a consumer when the host died has failed once more."""
        replayed = Replayed(self.name, self._house.decode_batch)
        replayed.replay(self._journal.replay())
        self._next_seq = replayed.next_seq
        messages = oldest_first(replayed.messages.values())
        held = [message for message in messages if message.state == TAKEN]
        for message in held:
            message.failures += 1
            message.redelivered = True
            message.state = READY
        if held:
            self._journal.append(encode_update((), held, ()))
        self._place(messages)
        limit = self.spec.max_attempts
        for message in messages:
            if limit is not None and message.failures >= limit:
                self._lift(message, BLOCKED)
                self._blocked[message.seq] = Death(message, MAX_ATTEMPTS, message.failures)

    def resume(self, now: Now) -> None:
        """After all queues have recovered, so that dead letters find their queues in order."""
        self._carry_blocked(now)
        self._elapse(now)
        self._tell_deadline(now)

    def _wake(self, now: Now) -> None:
        for consumer in self.consumers.to_tell(self._ready.count, now.mono_s):
            self._tell(consumer)
        self._tell_deadline(now)

    def _tell(self, consumer: Consumer) -> None:
        self._house.notify(consumer.session, {"note": "messages", "consumer": consumer.id})

    def _tell_deadline(self, now: Now) -> None:
        deadline = self._deadline(now)
        if deadline is not None:
            self._house.sooner(deadline)

    def _deadline(self, now: Now) -> float | None:
        if self._rewrite_due():
            return now.mono_s
        moments: list[float] = []
        for heap in (self._delays, self._expiries):
            first_ms = heap.first_ms()
            if first_ms is not None:
                # At least a tick away, so that two queues that expire into each other at once do not stop time.
                moments.append(now.mono_s + max(_TICK_S, (first_ms - now.wall_ms) / 1000))
        if self._blocked:
            moments.append(self._retry_blocked_at)
        if self.spec.expires_s is not None and not len(self.consumers):
            # In the past, if the room could not remove it: then it tries again a little later.
            moments.append(max(self._used_at + self.spec.expires_s, now.mono_s + _TICK_S))
        if self._ready.count:
            patience = self.consumers.patience_ends(now.mono_s)
            if patience is not None:
                moments.append(patience)
        return min(moments, default=None)

    def _rewrite_due(self) -> bool:
        size = self._journal.size_bytes
        return size > self._rewrite_above and size > 2 * self._stored_bytes

    def _rewrite(self) -> None:
        messages = [*self._ready, *self._delays, *(death.message for death in self._blocked.values())]
        for consumer in self.consumers:
            messages.extend(consumer.unsettled.values())
        house = self._house
        snapshots = encode_snapshots(oldest_first(messages), house.make_batch, house.encode_batch)
        size = self._journal.size_bytes
        try:
            self._journal.rewrite(chain((encode_head(self._next_seq),), snapshots))
            self._rewrite_above = REWRITE_LEAST_BYTES
        except MqbridgeError:
            # No room for the short journal beside the long one, which is still whole: try again when it has doubled.
            self._rewrite_above = 2 * size
