"""A world that keeps its promises: a log, producers and a group, driven step by step, and the history they leave.

The rule: what is written is what a recorder would have written, as late as it would have; what happens in between is
known to the world alone. Every choice is an argument, so that a failing run shrinks. Nothing here is wrong on purpose:
that is for `mutations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from mqbridge_conformance.history import History
from tests.conformance.checkers.log_writing import Record, Writing
from tests.conformance.checkers.stories import TOPIC

__all__ = ["STEPS", "World"]

AT_ONCE = 3
"""Members."""


@dataclass(eq=False)
class Lease:
    """As its member sees it. `pages`: offsets in the order of delivery, and whether each is settled."""

    number: int
    part: int
    position: int
    pages: dict[int, bool] = field(default_factory=dict)
    sent: int = -1
    over: bool = False

    def prefix(self) -> int:
        return next((off for off, settled in self.pages.items() if not settled), self.position)


@dataclass(eq=False)
class Shown:
    lease: Lease
    off: int
    record: Record
    attempt: int = 1


@dataclass(eq=False)
class Member:
    who: str
    state: str = "live"
    leases: dict[int, Lease] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)
    out: list[Shown] = field(default_factory=list)
    again: list[Shown] = field(default_factory=list)
    poll: int | None = None
    got: list[Shown] | None = None
    seen: dict[int, int] = field(default_factory=dict)
    late: bool = False

    @property
    def proc(self) -> str:
        return self.who.partition("/")[0]


class World(Writing):
    """See the module. `offsets`: do confirmations say where a record lies?"""

    def __init__(self, partitions: int = 2, offsets: bool = True) -> None:
        super().__init__(partitions, offsets)
        self.starts = [0] * partitions
        self.committed = [0] * partitions
        self.owner: list[tuple[Member, int] | None] = [None] * partitions
        self.revoking = [False] * partitions
        self.members: list[Member] = []
        self.leases = 0
        self.prologue()

    def prologue(self) -> None:
        """Something of everything, so that there is something to change."""
        for number in range(12):
            self.send(0, number)
            self.append(0, 0)
            self.confirm(0, 0)
        self.join(0, 0)
        for part in range(self.partitions):
            self.grant(part, 0)
        self.begin(2, 0)
        self.send(2, 0)
        self.send(2, 0)
        self.finish(2, 1)
        poll(self, 0, 7)
        for _ in range(8):
            self.ack(0, 0)
        self.commit(0, 0)
        self.observe(0, 0)
        self.join(0, 0)
        self.grant(0, 0)
        poll(self, 0, 30)
        self.grant(0, 1)
        poll(self, 1, 30)

    # --- the group

    def _live(self, choice: int) -> Member | None:
        live = [member for member in self.members if member.state == "live"]
        return live[choice % len(live)] if live else None

    def join(self, *_: int) -> None:
        if sum(member.state in ("live", "paused") for member in self.members) < AT_ONCE:
            self._open(f"m{len(self.members)}/c")

    def _open(self, who: str) -> Member:
        self.story.consumer(who, on_gap="earliest", settle_interval_s=600)
        self.members.append(Member(who))
        return self.members[-1]

    def grant(self, part: int, choice: int) -> None:
        """The broker gives a partition that nobody has, or asks for it back."""
        part %= self.partitions
        if self.owner[part] is not None:
            self.revoking[part] = True
        elif (member := self._live(choice)) is not None:
            self.leases += 1
            self.owner[part] = (member, self.leases)

    def expire(self, choice: int, _: int) -> None:
        """The broker takes those for dead that it has not heard of."""
        silent = [member for member in self.members if member.state in ("paused", "dead")]
        if silent:
            member = silent[choice % len(silent)]
            self._take_from(member)

    def _take_from(self, member: Member) -> None:
        for part, held in enumerate(self.owner):
            if held is not None and held[0] is member:
                self.owner[part], self.revoking[part] = None, False

    def fall_silent(self, choice: int, _: int) -> None:
        """A member does not poll for longer than its session lasts, and is taken for dead."""
        member = self._live(choice)
        if member is not None and member.poll is None:
            self.story.wait(12_000)
            self._take_from(member)

    def pause(self, choice: int, _: int) -> None:
        member = self._live(choice)
        if member is not None:
            member.state = "paused"
            self.story.fault(member.proc)

    def heal(self, choice: int, _: int) -> None:
        paused = [member for member in self.members if member.state == "paused"]
        if paused:
            member = paused[choice % len(paused)]
            self.story.heal(member.proc)
            member.state = "live"

    def crash(self, choice: int, _: int) -> None:
        member = self._live(choice)
        if member is not None:
            self.story.fault(member.proc, "kill")
            member.state = "dead"

    def close(self, choice: int, _: int) -> None:
        member = self._live(choice)
        if member is not None and member.poll is None:
            self._settle(member)
            self._take_from(member)
            member.state = "closed"
            self.story.did("close", member.who)

    def _settle(self, member: Member) -> bool:
        """Commit the settled prefixes; was none refused?"""
        accepted = True
        for part, lease in list(member.leases.items()):
            if self.owner[part] == (member, lease.number):
                if not lease.over and lease.prefix() != lease.sent:
                    self.committed[part] = lease.sent = lease.prefix()
            elif lease.prefix() > max(lease.sent, 0) and lease.pages:
                accepted = False
        return accepted

    def settle(self, choice: int, _: int) -> None:
        """In the background, unseen."""
        member = self._live(choice)
        if member is not None:
            self._settle(member)

    def _notice(self, member: Member) -> None:
        """What a member hears of when it polls."""
        for part, lease in list(member.leases.items()):
            if self.owner[part] != (member, lease.number):
                member.late = member.late or lease.prefix() != lease.sent
                self._end(member, part)
            elif self.revoking[part]:
                self._settle(member)
                self.owner[part], self.revoking[part] = None, False
                self._end(member, part)
        for part, held in enumerate(self.owner):
            if held is not None and held[0] is member and part not in member.leases and not self.revoking[part]:
                member.leases[part] = Lease(held[1], part, self.committed[part])

    def _end(self, member: Member, part: int) -> None:
        lease = member.leases.pop(part)
        lease.over = True
        member.again = [shown for shown in member.again if shown.lease is not lease]

    def step_poll(self, choice: int, most: int) -> None:
        """A poll begins, or is answered in the broker, or comes back to the application."""
        member = self._live(choice)
        if member is None:
            return
        proc, client = member.who.split("/")
        facts: dict[str, Any] = {"client": client, "group": "g"}
        if member.poll is None:
            member.poll = self.story.say("invoke", "poll", proc, **facts, dest=TOPIC)
        elif member.got is None:
            stale = most % 2 and member.again == [] and self._is_stale(member)
            if not stale:
                self._notice(member)
            member.got = self._fetch(member, most % 7 or 30)
            member.seen = {part: lease.number for part, lease in member.leases.items()}
        else:
            self._come_back(member, proc, facts)

    def _is_stale(self, member: Member) -> bool:
        """Was something taken from it while it could not hear of it? It may be given what it had fetched."""
        return any(self.owner[part] != (member, lease.number) for part, lease in member.leases.items())

    def _fetch(self, member: Member, most: int) -> list[Shown]:
        if member.again:
            again, member.again = member.again[:most], member.again[most:]
            return again
        got: list[Shown] = []
        for part, lease in member.leases.items():
            lease.position = max(lease.position, self.starts[part])
            while lease.position < self.ends[part] and len(got) < most:
                record = self.log[part].get(lease.position)
                if record is not None and record.txn is not None and record.txn.state == "open":
                    break
                if record is not None and (record.txn is None or record.txn.state == "committed"):
                    got.append(Shown(lease, lease.position, record))
                    lease.pages[lease.position] = False
                lease.position += 1
        return got

    def _come_back(self, member: Member, proc: str, facts: dict[str, Any]) -> None:
        assert member.got is not None
        for f, one, other in (("revoked", member.told, member.seen), ("assigned", member.seen, member.told)):
            for part, number in one.items():
                if other.get(part) != number:
                    self.story.say("ok", f, proc, **facts, dest=TOPIC, part=part, lease=number)
        member.told = dict(member.seen)
        for shown in member.got:
            part, record = shown.lease.part, shown.record
            place: dict[str, Any] = {"part": part, "off": shown.off, "key": record.key, "val": record.val}
            again: dict[str, Any] = {"attempt": shown.attempt, "redelivered": shown.attempt > 1}
            lease = shown.lease.number
            self.story.say("ok", "deliver", proc, op=member.poll, **facts, dest=TOPIC, lease=lease, **place, **again)
            member.out.append(shown)
        self.story.say("ok", "poll", proc, op=member.poll, **facts, more={"count": len(member.got)})
        member.poll, member.got = None, None

    # --- settling

    def _verb(self, choice: int, which: int, verb: str) -> None:
        member = self._live(choice)
        if member is None or not member.out:
            return
        shown = member.out.pop(which % len(member.out))
        lease = shown.lease
        place: dict[str, Any] = {"dest": TOPIC, "part": lease.part, "off": shown.off, "lease": lease.number}
        if shown.lease.over or shown.off not in shown.lease.pages:
            self.story.did(verb, member.who, outcome="fail", **place)
            return
        if verb in ("ack", "reject"):
            shown.lease.pages[shown.off] = True
        else:
            member.again.append(replace(shown, attempt=shown.attempt + (verb == "retry")))
        self.story.did(verb, member.who, **place)

    def ack(self, choice: int, which: int) -> None:
        self._verb(choice, which, "ack")

    def release(self, choice: int, which: int) -> None:
        self._verb(choice, which, "release")

    def retry(self, choice: int, which: int) -> None:
        self._verb(choice, which, "retry")

    def reject(self, choice: int, which: int) -> None:
        self._verb(choice, which, "reject")

    def commit(self, choice: int, _: int) -> None:
        member = self._live(choice)
        if member is not None:
            refused = not self._settle(member) or member.late
            member.late = False
            if refused:
                for part, lease in list(member.leases.items()):
                    if self.owner[part] != (member, lease.number):
                        self._end(member, part)
            self.story.did("commit", member.who, outcome="fail" if refused else "ok")

    def seek(self, choice: int, off: int) -> None:
        member = self._live(choice)
        if member is None or member.poll is not None or not member.leases:
            return
        part, lease = next(iter(member.leases.items()))
        if self.owner[part] != (member, lease.number) or self.revoking[part]:
            return
        member.again = [shown for shown in member.again if shown.lease is not lease]
        lease.over = True
        to = min(off, self.ends[part])
        member.leases[part] = Lease(lease.number, part, to, sent=to)
        self.committed[part] = to
        self.story.did("seek", member.who, dest=TOPIC, part=part, off=to)

    # --- administration and observers

    def reset(self, part: int, off: int) -> None:
        """Only of a group that nobody is in."""
        if any(self.owner) or self._live(0) is not None or any(m.state == "paused" for m in self.members):
            return
        part %= self.partitions
        self.committed[part] = min(off, self.ends[part])
        self.story.did("reset", group="g", dest=TOPIC, more={"offsets": {str(part): self.committed[part]}})

    def delete_records(self, part: int, off: int) -> None:
        part %= self.partitions
        below = min(off, self.ends[part])
        if below > self.starts[part]:
            self.starts[part] = below
            self.log[part] = {at: record for at, record in self.log[part].items() if at >= below}
            self.story.did("delete_records", dest=TOPIC, more={"before": {str(part): below}})

    def look(self, *_: int) -> None:
        self.story.records = {
            (TOPIC, part, off): (record.key, record.val)
            for part, records in enumerate(self.log)
            for off, record in records.items()
        }
        self.story.look()

    def observe(self, *_: int) -> None:
        for part, off in enumerate(self.committed):
            self.story.committed(off, part=part)

    def read_again(self, start: int, _: int) -> None:
        """A replay, from a given offset of the first partition or from the beginning."""
        self.names += 1
        who = self.story.replay(f"main/r{self.names}", start % 5 or None)
        lowest = start % 5
        for part in range(self.partitions):
            for off, record in list(self._visible(part)):
                if part or off >= lowest:
                    self.story.records[TOPIC, part, off] = (record.key, record.val)
                    self.story.poll(who, off, lease=None, part=part)
        self.story.read_out(who)

    def _visible(self, part: int) -> Iterator[tuple[int, Record]]:
        for off, record in sorted(self.log[part].items()):
            if record.txn is not None and record.txn.state == "open":
                return
            if record.txn is None or record.txn.state == "committed":
                yield off, record

    def break_something(self, choice: int, _: int) -> None:
        """A fault that changes nothing for anybody."""
        if choice % 2:
            self.story.fault("broker", "latency")
        else:
            self.story.heal("broker", "latency")

    # --- the end

    def drain(self) -> History:
        """All that is under way ends; one member is given everything; observers look."""
        for number, producer in enumerate(self.producers):
            self.finish(number, 1)
            while producer.pending:
                self.append(number, 0)
                self.confirm(number, 0)
        while (last := self._live(0)) is not None:
            while last.poll is not None:
                self.step_poll(0, 0)
            self.close(0, 0)
        for member in self.members:
            self._take_from(member)
            member.state = "closed"
        self.break_something(0, 0)
        self.story.wait(60_000)
        last = self._open("z/c")
        for part in range(self.partitions):
            self.grant(part, 0)
        for _ in range(2 + sum(map(len, self.log)) // 5):
            poll(self, 0, 4)
        for _ in range(len(last.out)):
            self.ack(0, 0)
        self.commit(0, 0)
        poll(self, 0, 0)
        self.story.drained()
        self.observe()
        self.read_again(0, 0)
        self.read_again(0, 0)
        self.look()
        return self.story.history()


def poll(world: World, choice: int, most: int) -> None:
    """All three steps of one, with nothing in between."""
    for _ in range(3):
        world.step_poll(choice, most)


def send_well(world: World, choice: int, key: int) -> None:
    """A send that is confirmed at once."""
    world.send(choice, key)
    world.append(choice, 0)
    world.confirm(choice, 0)


Step: TypeAlias = Callable[[World, int, int], None]
OFTEN: tuple[Step, ...] = (
    send_well,
    poll,
    World.ack,
    World.step_poll,
    World.grant,
    World.commit,
    World.send,
    World.append,
    World.confirm,
    World.join,
)
SELDOM: tuple[Step, ...] = (
    World.settle,
    World.observe,
    World.release,
    World.retry,
    World.reject,
    World.forget,
    World.arrive_late,
    World.refuse,
    World.leave_a_gap,
    World.begin,
    World.finish,
    World.pause,
    World.expire,
    World.heal,
    World.fall_silent,
    World.crash,
    World.close,
    World.seek,
    World.reset,
    World.delete_records,
    World.look,
    World.read_again,
    World.break_something,
)
STEPS = OFTEN * 4 + SELDOM
"""What can happen, the plainest first: shrinking goes there."""
