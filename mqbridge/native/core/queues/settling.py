"""What the verbs of one call do to the messages that a consumer holds, decided before anything is written.

The rule: reading verbs takes their tags out of the consumer's hands and does nothing else, and `undo` puts them
back; so a call that fails, for whatever reason, has settled nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mqbridge.errors import ConfigurationError
from mqbridge.native.core.queues.deadletter import EXPIRED, MAX_ATTEMPTS, REJECTED, Death, Refusal
from mqbridge.native.core.queues.records import LONGEST_MS, TAKEN, Message
from mqbridge.native.core.queues.spec import QueueSpec

LEASE_LOST: Final = "lease_lost"


class Return:
    """A message that leaves its consumer alive, and what undoing that takes.

    With a `death` it is given back only to be buried, by nobody's verb: its time ended, or its consumer died once too
    often.
    """

    __slots__ = ("_failures", "_redelivered", "death", "message", "tag")

    def __init__(
        self, tag: int, message: Message, *, failures: int, due_ms: int, shown: bool, death: Death | None
    ) -> None:
        self.tag = tag
        self.message = message
        self.death = death
        self._failures = message.failures
        self._redelivered = message.redelivered
        message.failures = failures
        message.due_ms = due_ms
        message.redelivered = message.redelivered or shown

    def undo(self) -> None:
        message = self.message
        message.failures = self._failures
        message.redelivered = self._redelivered
        message.due_ms = 0
        message.state = TAKEN


class Settlement:
    """The verbs of one call, sorted by what they do.

    `acked` are done; `returned` go back; `deaths` are asked for by a verb, and a refusal of one is its tag's error.
    """

    __slots__ = (
        "_acked_tags",
        "_death_tags",
        "_spec",
        "_unsettled",
        "_wall_ms",
        "acked",
        "deaths",
        "errors",
        "returned",
    )

    def __init__(self, unsettled: dict[int, Message], spec: QueueSpec, wall_ms: int) -> None:
        self._unsettled = unsettled
        self._spec = spec
        self._wall_ms = wall_ms
        self._acked_tags: list[int] = []
        self._death_tags: list[int] = []
        self.acked: list[Message] = []
        self.returned: list[Return] = []
        self.deaths: list[Death] = []
        self.errors: list[tuple[int, str]] = []

    @property
    def empty(self) -> bool:
        return not (self.acked or self.returned or self.deaths)

    def read(self, settle: Sequence[Any]) -> None:
        """Read ``[verb, tag, ...]`` items. `ConfigurationError` for one that is malformed, with nothing taken out."""
        pop = self._unsettled.pop
        acked, acked_tags = self.acked.append, self._acked_tags.append
        for item in settle:
            try:
                verb, tag = item[0], item[1]
                message = pop(tag, None)
            except (TypeError, IndexError, KeyError) as error:
                self.undo()
                raise _malformed(item) from error
            if message is None:
                if not isinstance(tag, int):
                    self.undo()
                    raise _malformed(item)
                self.errors.append((tag, LEASE_LOST))
            elif verb == "ack":
                acked(message)
                acked_tags(tag)
            else:
                try:
                    self._other(item, verb, tag, message)
                except ConfigurationError:
                    self._unsettled[tag] = message
                    self.undo()
                    raise

    def give_up(self, *, counted: bool) -> None:
        """Everything unsettled goes back, as when its consumer goes; `counted` if that is a failed attempt."""
        for tag, message in self._unsettled.items():
            self._returns(tag, message, message.failures + counted, 0.0, shown=True)
        self._unsettled.clear()

    def refuse(self, refusals: Mapping[int, Refusal]) -> None:
        """These deaths could not be carried out: their messages stay where they were, uncounted, and say so."""
        for index, refusal in refusals.items():
            tag = self._death_tags[index]
            self._unsettled[tag] = self.deaths[index].message
            self.errors.append((tag, refusal.code))
        kept = [index for index in range(len(self.deaths)) if index not in refusals]
        self.deaths = [self.deaths[index] for index in kept]
        self._death_tags = [self._death_tags[index] for index in kept]

    def dying(self) -> list[Death]:
        """Those of the returned that die now."""
        return [item.death for item in self.returned if item.death is not None]

    def undo(self) -> None:
        self._unsettled.update(zip(self._acked_tags, self.acked, strict=True))
        for back in self.returned:
            back.undo()
            self._unsettled[back.tag] = back.message
        for tag, death in zip(self._death_tags, self.deaths, strict=True):
            self._unsettled[tag] = death.message

    def _other(self, item: Sequence[Any], verb: object, tag: int, message: Message) -> None:
        match verb:
            case "return":
                self._returns(tag, message, message.failures, 0.0, shown=False)
            case "release":
                self._returns(tag, message, message.failures, _delay(item, 2), shown=True)
            case "retry":
                delay_s, error = _delay(item, 2), _text(item, 3)
                failures = message.failures + 1
                if self._exhausted(failures):
                    self._dies(tag, Death(message, MAX_ATTEMPTS, failures, error))
                    return
                backoff = self._spec.retry_backoff
                if not delay_s and backoff is not None:
                    delay_s = backoff.delay_s(failures)
                self._returns(tag, message, failures, delay_s, shown=True)
            case "reject":
                reason = _text(item, 2)
                if self._spec.dead_letter is None:
                    self._unsettled[tag] = message
                    self.errors.append((tag, "configuration"))
                else:
                    self._dies(tag, Death(message, REJECTED, message.failures + 1, reason))
            case _:
                raise _malformed(item)

    def _exhausted(self, failures: int) -> bool:
        limit = self._spec.max_attempts
        return limit is not None and failures >= limit

    def _dies(self, tag: int, death: Death) -> None:
        self.deaths.append(death)
        self._death_tags.append(tag)

    def _returns(self, tag: int, message: Message, failures: int, delay_s: float, *, shown: bool) -> None:
        due_ms = self._wall_ms + max(1, math.ceil(delay_s * 1000)) if delay_s > 0 else 0
        death = None
        if self._exhausted(failures):
            death = Death(message, MAX_ATTEMPTS, failures)
        elif message.expired(self._wall_ms):
            death = Death(message, EXPIRED, failures)
        self.returned.append(Return(tag, message, failures=failures, due_ms=due_ms, shown=shown, death=death))


def _delay(item: Sequence[Any], at: int) -> float:
    value = item[at] if len(item) > at else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise _malformed(item)
    return min(value, LONGEST_MS / 1000)


def _text(item: Sequence[Any], at: int) -> str | None:
    value = item[at] if len(item) > at else None
    if value is not None and not isinstance(value, str):
        raise _malformed(item)
    return value


def _malformed(item: object) -> ConfigurationError:
    return ConfigurationError(
        f"cannot settle by {item!r:.200}: it must be ['ack' | 'return', tag], ['release', tag, delay_s], "
        "['retry', tag, delay_s, error] or ['reject', tag, reason]; nothing was settled"
    )
