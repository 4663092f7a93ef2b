"""Moving messages from one queue to another: redriving dead letters.

The rule of this room: a message is written where it goes, confirmed, before it is acknowledged where it was; a crash in
between duplicates, never loses. Nor does a failed attempt wear a message out, though the broker counts every one. It
takes part as one consumer of the queue; what other consumers hold is theirs.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import AcknowledgeType, Message

from mqbridge.errors import MqbridgeError, Rejected
from mqbridge.topology import Queue
from mqbridge_kafka.asking import EARLIEST, LATEST, insist, offsets_at, partitions_of
from mqbridge_kafka.catalogue import Catalogue
from mqbridge_kafka.courier import DELIVERY_S
from mqbridge_kafka.errors import ENGINE, translate
from mqbridge_kafka.letters import Arrived, Letter, copy_to_tail, origin_of, redriven
from mqbridge_kafka.naming import share_group_of
from mqbridge_kafka.share_client import GroupLimits, ShareClient, arrived, group_limits
from mqbridge_kafka.verdicts import pause_s

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

AT_ONCE: Final = 500
POLL_S: Final = 0.25
JOIN_S: Final = 4.0
"""A member that nothing was given for so long, although there are records, finds that none is available."""
QUIET_S: Final = 1.0
"""After the last message: some fetches that the broker held open (`FETCH_WAIT_MS`) and answered with nothing."""


class Redrive:
    """One move. `target` is a topic; None is the queue each letter died in."""

    def __init__(
        self, connection: KafkaConnection, queue: Queue[Any], topic: str, target: str | None, state: Catalogue
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._topic = topic
        self._target = target
        self._state = state
        self._what = f"moving the messages of {queue}"

    def run(self, max_messages: int) -> int:
        """Move at most `max_messages`; how many were moved."""
        if self._is_empty() or max_messages <= 0:
            return 0
        group = share_group_of(self._queue)
        limits = group_limits(self._connection.watch.client, group)
        watch = self._connection.watch
        client = ShareClient(self._connection, self._topic, group, min(AT_ONCE, max_messages), watch.trouble)
        try:
            return self._run(client, max_messages, limits)
        finally:
            client.close()

    def _is_empty(self) -> bool:
        """Nothing in the log: then no time is spent on waiting for something."""
        client = self._connection.watch.client

        def ask() -> bool:
            places = [(self._topic, p) for p in range(partitions_of(client, [self._topic])[self._topic])]
            starts = offsets_at(self._connection.watch, dict.fromkeys(places, EARLIEST))
            return starts == offsets_at(self._connection.watch, dict.fromkeys(places, LATEST))

        return insist(ask, self._what, lambda: False)

    def _run(self, client: ShareClient, max_messages: int, limits: GroupLimits) -> int:
        moved = 0
        until_s = time.monotonic() + JOIN_S
        while moved < max_messages and time.monotonic() < until_s:
            messages = [message for message in client.poll(POLL_S) if message.error() is None]
            if messages:
                moved += self._move(client, messages, max_messages - moved, limits)
                until_s = time.monotonic() + QUIET_S
        return moved

    def _move(self, client: ShareClient, messages: list[Message], room: int, limits: GroupLimits) -> int:
        """Write, confirm, acknowledge; a surplus goes back as it was."""
        arrivals = [(message, arrived(message)) for message in messages]
        letters: list[tuple[Message, Letter]] = []
        back: list[Message] = []
        for place, (message, arrival) in enumerate(arrivals):
            topic = self._topic_for(arrival)
            if place < room and topic is not None:
                letters.append((message, redriven(arrival, topic, self._connection.clock.wall_ms())))
            elif arrival.deliveries >= limits.deliveries - 1:  # one more release, and the broker would drop it
                letters.append((message, copy_to_tail(arrival, self._topic, arrival.attempt - 1, shown=False)))
            else:
                back.append(message)
        until_s = time.monotonic() + limits.lock_s / 2
        errors = self._connection.courier.deliver(
            [letter for _, letter in letters], self._what, min(DELIVERY_S, limits.lock_s / 4)
        )
        stay = [message for (message, _), error in zip(letters, errors, strict=True) if error is not None]
        verdicts = self._given_back(stay, limits, until_s)
        verdicts += [(message, AcknowledgeType.RELEASE) for message in back]
        moved = 0
        for (message, letter), error in zip(letters, errors, strict=True):
            if error is None:
                verdicts.append((message, AcknowledgeType.ACCEPT))
                moved += letter.topic != self._topic
        for refusal in client.settle(verdicts).values():
            if refusal is not None:
                raise translate(refusal, f"{self._what} (acknowledging {moved} that were written)", outcome="unknown")
        for error in errors:
            if error is not None:
                raise self._stopped(error, moved)
        if len(back) > max(0, len(arrivals) - room):
            raise Rejected(
                f"{self._what}: {len(back)} of them are no dead letters of a queue that is there, so where they belong "
                f"is not known. They stay; {moved} others were moved.",
                engine=ENGINE,
            )
        return moved

    def _given_back(
        self, messages: list[Message], limits: GroupLimits, until_s: float
    ) -> list[tuple[Message, AcknowledgeType]]:
        """What was not written goes back: by RELEASE, or as a copy where the broker would soon drop it. A copy that
        cannot be written either is tried again for half of the lock."""
        verdicts: list[tuple[Message, AcknowledgeType]] = []
        pause = threading.Event()
        times = 0
        pressed: list[Message] = []
        for message in messages:
            if arrived(message).deliveries >= limits.deliveries - 1:
                pressed.append(message)
            else:
                verdicts.append((message, AcknowledgeType.RELEASE))
        while pressed:
            arrivals = [arrived(message) for message in pressed]
            copies = [copy_to_tail(one, self._topic, one.attempt - 1, shown=one.deliveries > 1) for one in arrivals]
            left_s = max(0.0, until_s - time.monotonic())
            errors = self._connection.courier.deliver(copies, f"{self._what} back", min(DELIVERY_S, left_s))
            told = list(zip(pressed, errors, strict=True))
            verdicts += [(message, AcknowledgeType.ACCEPT) for message, error in told if error is None]
            pressed = [message for message, error in told if error is not None]
            times += 1
            if pressed and time.monotonic() + pause_s(times) >= until_s:
                return verdicts + [(message, AcknowledgeType.RELEASE) for message in pressed]
            if pressed:
                pause.wait(pause_s(times))
        return verdicts

    def _topic_for(self, message: Arrived) -> str | None:
        if self._target is not None:
            return self._target
        origin = origin_of(message)
        record = None if origin is None else self._state.queue(origin)
        return None if record is None else record["topic"]

    def _stopped(self, error: MqbridgeError, moved: int) -> MqbridgeError:
        error.add_note(f"{moved} of this batch were moved before; the rest stays in {self._queue}")
        return error
