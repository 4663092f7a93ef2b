"""The half of the world in which producers write: sends on their way, the log they end in, and transactions.

The rule: a producer's sends reach the log in their order and are confirmed in any; one of which nobody knows may get
there late, and later ones do not overtake it before that. What is told is as late as it would be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mqbridge_conformance.history import Payload
from tests.conformance.checkers.stories import TOPIC, Story

__all__ = ["KEYS", "Record", "Writing"]

KEYS = ("k0", "k1", "k2")
PRODUCERS = ("main/p", "main/q", "x/p")


@dataclass(eq=False)
class Record:
    val: str
    key: str
    txn: Transaction | None = None


@dataclass(eq=False)
class Transaction:
    name: str
    state: str = "open"


@dataclass(eq=False)
class Pending:
    """A send without an end; `off` once it lies in the log."""

    op: int
    record: Record
    part: int
    off: int | None = None


@dataclass(eq=False)
class Producer:
    who: str
    number: int = 0
    pending: list[Pending] = field(default_factory=list)
    late: list[Pending] = field(default_factory=list)
    txn: Transaction | None = None


class Writing:
    """See the module. `offsets`: do confirmations say where a record lies?"""

    def __init__(self, partitions: int, offsets: bool) -> None:
        self.story = Story(partitions=partitions)
        self.partitions = partitions
        self.offsets = offsets
        self.log: list[dict[int, Record]] = [{} for _ in range(partitions)]
        self.ends = [0] * partitions
        self.producers = [Producer(self.story.producer(who)) for who in PRODUCERS]
        self.names = 0

    def _producer(self, choice: int) -> Producer:
        return self.producers[choice % len(self.producers)]

    def send(self, choice: int, key: int) -> None:
        producer = self._producer(choice)
        named = KEYS[key % len(KEYS)]
        name = producer.who.replace("/", "-")
        val = Payload("run", TOPIC, named, name, producer.number).encode().decode()
        producer.number += 1
        record = Record(val, named, producer.txn)
        txn = producer.txn.name if producer.txn is not None else None
        op = self.story.begin(val, producer.who, key=named, txn=txn)
        producer.pending.append(Pending(op, record, KEYS.index(named) % self.partitions))

    def append(self, choice: int, _: int) -> None:
        """The next of this producer reaches the log."""
        for pending in self._producer(choice).pending:
            if pending.off is None:
                self._lie_down(pending)
                return

    def _lie_down(self, pending: Pending) -> None:
        pending.off = self.ends[pending.part]
        self.ends[pending.part] += 1
        self.log[pending.part][pending.off] = pending.record

    def confirm(self, choice: int, which: int) -> None:
        """Out of order, as the answers come."""
        producer = self._producer(choice)
        lying = [pending for pending in producer.pending if pending.off is not None]
        if lying:
            pending = lying[which % len(lying)]
            producer.pending.remove(pending)
            off = pending.off if self.offsets else None
            self.story.end(pending.op, off, producer.who, part=pending.part)

    def forget(self, choice: int, which: int) -> None:
        """No answer came: it may lie in the log, or get there late, or never. Later ones do not overtake it before."""
        producer = self._producer(choice)
        reached = [pending for pending in producer.pending if pending.off is not None]
        able = producer.pending[: len(reached) + 1]
        if able and producer.txn is None:
            pending = able[which % len(able)]
            producer.pending.remove(pending)
            self.story.end(pending.op, None, producer.who, outcome="info")
            if pending.off is None:
                producer.late.append(pending)

    def arrive_late(self, choice: int, _: int) -> None:
        producer = self._producer(choice)
        if producer.late:
            self._lie_down(producer.late.pop(0))

    def refuse(self, choice: int, _: int) -> None:
        """The last one was not taken."""
        producer = self._producer(choice)
        if producer.pending and producer.pending[-1].off is None:
            self.story.end(producer.pending.pop().op, None, producer.who, outcome="fail")

    def leave_a_gap(self, part: int, size: int) -> None:
        self.ends[part % self.partitions] += size % 3

    def begin(self, choice: int, _: int) -> None:
        producer = self._producer(choice)
        if producer.txn is None and not producer.pending:
            self.names += 1
            producer.txn = Transaction(f"t{self.names}")
            self.story.did("begin", producer.who, txn=producer.txn.name)

    def finish(self, choice: int, commit: int) -> None:
        """Commit or abort, once all of it is confirmed."""
        producer = self._producer(choice)
        if producer.txn is not None:
            while producer.pending:
                self.append(choice, 0)
                self.confirm(choice, 0)
            producer.txn.state = "committed" if commit % 2 else "aborted"
            self.story.did("end", producer.who, txn=producer.txn.name, more={"commit": bool(commit % 2)})
            producer.txn = None
