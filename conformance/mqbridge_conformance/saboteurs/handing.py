"""Saboteurs of what is settled before it was handled: at most once, where at least once was asked for.

The rule: what is handed out counts as settled, and the program is told that what it settles is settled then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import PassingQueueSubscription, PassingTopicSubscription

__all__ = ["AcksAtHandOut", "CommitsAtHandOut"]


class AcksAtHandOut(PassingQueueSubscription):
    """S71: a message is acked when it is handed out, and every verb after that does nothing."""

    def prepare(self) -> None:
        self.gone: set[int] = set()

    def block(self, block: spi.Block) -> spi.Block | None:
        tokens = [block.offset(index) for index in range(block.count)]
        taken = tuple(token for token in tokens if self.strikes.here(self.spec.queue))
        if taken:
            self.gone.update(taken)
            self.inner.settle([spi.SettleVerb("ack", taken)], lambda _refused, _error: None)
        return block

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        mine = [(verb, tuple(token for token in verb.tokens if token not in self.gone)) for verb in verbs]
        super().settle([verb._replace(tokens=tokens) for verb, tokens in mine if tokens], done)


class CommitsAtHandOut(PassingTopicSubscription):
    """S72: what is handed out is committed, and nothing after that."""

    def prepare(self) -> None:
        self.committed: dict[spi.TopicPartition, int] = {}

    def block(self, block: spi.Block) -> spi.Block | None:
        place = block.destination.name, block.partition or 0
        if self.strikes.here(f"{block.destination}/{place[1]}", committed=block.next_offset):
            self.committed[place] = block.next_offset
            self.inner.commit({place: (block.lease, block.next_offset)}, lambda _refused, _error: None)
        return block

    def commit(
        self,
        offsets: Mapping[spi.TopicPartition, tuple[int, int]],
        done: spi.Completion[tuple[spi.TopicPartition, ...]],
    ) -> None:
        further = {
            place: (lease, max(offset, self.committed.get(place, 0))) for place, (lease, offset) in offsets.items()
        }
        super().commit(further, done)
