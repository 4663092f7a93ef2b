"""Saboteurs of who has a message of a queue, how often it was tried, and what a verb does.

The rule: each is a consumer of a queue that does one thing wrong and tells its program that all is well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mqbridge import spi
from mqbridge_conformance.saboteurs.passing import BlockView, PassingQueueSubscription, PassingTopicSubscription

__all__ = [
    "CountsReleases",
    "DropsWhatItHolds",
    "ForgetsAttempts",
    "ForgetsRetries",
    "HandsOutTwice",
    "IgnoresRetryDelay",
    "LosesReasons",
    "NeverResumes",
    "NeverResumesReading",
    "ReturnsRejected",
    "SettlesAfter",
    "SharesLeases",
    "StaysAtTheQueue",
]


class SharesLeases(PassingQueueSubscription):
    """S22: a message is given to the next consumer too while this one has it."""

    def prepare(self) -> None:
        self.shared: set[int] = set()
        self.once: set[str | None] = set()

    def block(self, block: spi.Block) -> spi.Block | None:
        for index in range(block.count):
            name, token = block.message_id(index), block.offset(index)
            if name not in self.once and self.strikes.here(self.spec.queue, value=block.raw(index)):
                self.once.add(name)
                self.shared.add(token)
                self.inner.settle([spi.SettleVerb("release", (token,))], lambda _refused, _error: None)
        return block

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        mine = [(verb, tuple(token for token in verb.tokens if token not in self.shared)) for verb in verbs]
        super().settle([verb._replace(tokens=tokens) for verb, tokens in mine if tokens], done)


class HandsOutTwice(PassingQueueSubscription):
    """S23: what was taken is handed out twice to the same consumer."""

    def prepare(self) -> None:
        self.again: spi.Block | None = None
        self.doubled: set[int] = set()
        self.settled: set[int] = set()

    def take(self, max_records: int) -> spi.Block | None:
        if max_records > 0 and self.again is not None:
            block, self.again = self.again, None
            return block
        return super().take(max_records)

    def block(self, block: spi.Block) -> spi.Block | None:
        if self.strikes.here(self.spec.queue, value=block.raw(0)):
            self.again = block
            self.doubled.update(block.offset(index) for index in range(block.count))
        return block

    def settle(self, verbs: Sequence[spi.SettleVerb], done: spi.Completion[tuple[int, ...]]) -> None:
        first: list[spi.SettleVerb] = []
        for verb in verbs:
            for token in verb.tokens:
                if token not in self.settled:
                    first.append(verb._replace(tokens=(token,)))
                    self.settled.update(self.doubled.intersection((token,)))
        super().settle(first, done)


class CountsReleases(PassingQueueSubscription):
    """S24: a release counts as a failed attempt."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        return _other(self, verb, "release", spi.SettleVerb("retry", verb.tokens, verb.delay_s))


class ForgetsRetries(PassingQueueSubscription):
    """S25: a failed attempt is not counted."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        return _other(self, verb, "retry", spi.SettleVerb("release", verb.tokens, verb.delay_s))


class ReturnsRejected(PassingQueueSubscription):
    """S27: what is rejected is delivered again."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        return _other(self, verb, "reject", spi.SettleVerb("retry", verb.tokens, 0.0, verb.text))


class IgnoresRetryDelay(PassingQueueSubscription):
    """S31: what is given back with a delay comes at once."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        if verb.delay_s and self.strikes.here(self.spec.queue, delay_s=verb.delay_s):
            return verb._replace(delay_s=0.0)
        return verb


class LosesReasons(PassingQueueSubscription):
    """S32: why a message failed, or was rejected, is lost."""

    def verb(self, verb: spi.SettleVerb, token: int) -> spi.SettleVerb:
        if verb.text and self.strikes.here(self.spec.queue, text=verb.text):
            return verb._replace(text=None)
        return verb


def _other(
    consumer: PassingQueueSubscription, verb: spi.SettleVerb, of: str, instead: spi.SettleVerb
) -> spi.SettleVerb:
    return instead if verb.verb == of and consumer.strikes.here(consumer.spec.queue, verb=of) else verb


class ForgetsAttempts(PassingQueueSubscription):
    """S26: every delivery says that it is the first attempt."""

    def block(self, block: spi.Block) -> spi.Block | None:
        wrong = {
            index
            for index in range(block.count)
            if block.attempt(index) > 1 and self.strikes.here(self.spec.queue, value=block.raw(index))
        }
        return _FirstAttempts(block, wrong) if wrong else block


class _FirstAttempts(BlockView):
    __slots__ = ("wrong",)

    def __init__(self, inner: spi.Block, wrong: set[int]) -> None:
        super().__init__(inner)
        self.wrong = wrong

    def attempt(self, index: int) -> int:
        return 1 if index in self.wrong else super().attempt(index)


class DropsWhatItHolds(PassingQueueSubscription):
    """S28: what a consumer has and did not settle is gone when it closes."""

    def close(self, done: spi.Completion[None]) -> None:
        held = tuple(token for token in self.out if self.strikes.here(self.spec.queue))
        if not held:
            self.inner.close(done)
            return
        self.inner.settle([spi.SettleVerb("ack", held)], lambda _refused, _error: self.inner.close(done))


class NeverResumes(PassingQueueSubscription):
    """S30: a consumer that was disconnected gets nothing any more."""

    def prepare(self) -> None:
        self.dead = False

    def events(self) -> list[spi.Event]:
        events = self.inner.events()
        for event in events:
            if isinstance(event, spi.Disconnected) and not self.dead:
                self.dead = self.strikes.here(self.spec.queue)
        return events

    def take(self, max_records: int) -> spi.Block | None:
        return None if self.dead else super().take(max_records)


class NeverResumesReading(PassingTopicSubscription):
    """S30: a member that was disconnected gets nothing any more."""

    def prepare(self) -> None:
        self.dead = False

    def event(self, event: spi.Event) -> Sequence[spi.Event]:
        if isinstance(event, spi.Disconnected) and not self.dead:
            self.dead = self.strikes.here(f"group {self.spec.group}")
        return () if self.dead and isinstance(event, spi.Assigned) else (event,)


class SettlesAfter(PassingQueueSubscription):
    """S33: at most once is asked for, and a message is not settled before it is shown."""

    def specified(self, spec: spi.QueueSubscriptionSpec) -> spi.QueueSubscriptionSpec:
        return replace(spec, before=False) if spec.before and self.strikes.here(spec.queue) else spec


class StaysAtTheQueue(PassingQueueSubscription):
    """S15: a consumer that is closed keeps what it has as long as its connection is open."""

    def close(self, done: spi.Completion[None]) -> None:
        if self.strikes.here(self.spec.queue):
            done(None, None)
        else:
            self.inner.close(done)
