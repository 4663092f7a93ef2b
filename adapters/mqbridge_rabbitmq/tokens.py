"""The token of a partition as a state machine: who owns it, what is committed, and how that is proved.

The rule of this room: no I/O, no clock, no random number; deliveries and the time go in, effects come out. The door to
the broker is token_keeping.py.

One *token queue* a (group, topic, partition): quorum, single active consumer, no delivery limit. It holds the newest
token, unacknowledged by its owner. Why it is a fence (rabbit_fifo.erl of RabbitMQ 4.3: `down` returns all that a dead
consumer held, in order and before anything new, and activates the next consumer, in one Raft command):

- Whoever is delivered anything is the active consumer, and everything that an earlier owner held came back to the front
  of the queue at that moment. A probe published *after* that is delivered after all of it, so when it comes back, the
  highest (epoch, seq) received is the state.
- A token that comes back to its writer, on the consumer that was active when it was written and for the first time, was
  written while nobody else was active: that echo is the proof of a commit. A publisher confirm alone proves nothing: a
  stale owner gets one too.
- What a stale owner manages to write later carries a lower epoch, reaches the new owner, and is thrown away. The stale
  owner never sees its echo.
- Two takers that never heard of each other may write the same (epoch, 0). Only one of them can have seen its echo; the
  smaller offset wins, which repeats and never skips.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

VERSION: Final = 1
PROBE_AGAIN_S: Final = 1.0
"""A standby's probe goes to the active consumer, which throws it away; another one finds out whether that one is gone
from a queue that holds no token."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is committed. `born` is how many partitions the topic had when the group began on it, the same in all its
    tokens: a partition with a number from there on was added later, one below without a token was never begun."""

    epoch: int
    seq: int
    offset: int
    born: int
    member: str
    attempts: int = 0

    @property
    def order(self) -> tuple[int, int, int]:
        return self.epoch, self.seq, -self.offset


@dataclass(frozen=True, slots=True)
class Probe:
    member: str
    number: int


@dataclass(frozen=True, slots=True)
class Question:
    """Whoever describes the group asks the owner, who answers to that queue with its token, and the asker's `word`."""

    reply_to: str
    word: str


Item: TypeAlias = Token | Probe | Question


class UnreadableToken(Exception):
    """The queue holds something that this version does not understand."""


def encode(item: Item) -> bytes:
    """As JSON, for people who look into the queue."""
    found: dict[str, Any]
    if isinstance(item, Probe):
        found = {"probe": item.number, "member": item.member}
    elif isinstance(item, Question):
        found = {"ask": item.reply_to, "word": item.word}
    else:
        found = {name: getattr(item, name) for name in ("epoch", "seq", "offset", "attempts", "member", "born")}
    return json.dumps({"v": VERSION} | found).encode()


def decode(body: bytes) -> Item:
    try:
        found = json.loads(body)
        if found["v"] != VERSION:
            raise UnreadableToken(f"a token of version {found['v']!r}; this mqbridge reads version {VERSION}")
        if "probe" in found:
            return Probe(str(found["member"]), int(found["probe"]))
        if "ask" in found:
            return Question(str(found["ask"]), str(found["word"]))
        epoch, seq, offset, born = (int(found[name]) for name in ("epoch", "seq", "offset", "born"))
        return Token(epoch, seq, offset, born, str(found["member"]), int(found.get("attempts", 0)))
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableToken(f"a message that is no token: {body[:80]!r}") from error


# --- effects


@dataclass(frozen=True, slots=True)
class Publish:
    body: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    tag: int


@dataclass(frozen=True, slots=True)
class Collected:
    """The state is known: the last committed token, or None where nothing was ever committed. `claim` goes on."""

    last: Token | None


@dataclass(frozen=True, slots=True)
class Owned:
    token: Token


@dataclass(frozen=True, slots=True)
class Committed:
    """The commits up to this ticket are proved."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell that queue our token."""

    reply_to: str
    word: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """This channel is to be closed. `fatal`: another attempt would end the same way."""

    reason: str
    fatal: bool = False


Effect: TypeAlias = Publish | Ack | Collected | Owned | Committed | Answer | Lost


class State(enum.Enum):
    WAITING = "waiting"
    """Consuming, and nothing was delivered: another one may be active."""
    COLLECTING = "collecting"
    COLLECTED = "collected"
    CLAIMING = "claiming"
    OWNER = "owner"
    LOST = "lost"


class TokenHolder:
    """One attempt to own one partition, from its consume to the end of its channel. `now` is monotonic seconds.

    `echo_s` is how long an echo may take before the lease counts as lost; `keep_s` how often a token that nobody
    commits is written anew, so that the broker's consumer timeout does not take it away.
    """

    def __init__(self, member: str, *, echo_s: float, keep_s: float) -> None:
        self.member = member
        self.state = State.WAITING
        self.rivals = 0
        """Foreign probes seen: others wait for this partition."""
        self._echo_s = echo_s
        self._keep_s = keep_s
        self._probes = 0
        self._due_s: float | None = None
        self._collected: list[tuple[int, Token]] = []
        self._last: Token | None = None
        self._tag = 0
        self._token: Token | None = None
        self._flying: tuple[Token, int] | None = None
        self._waiting: tuple[int, int] | None = None
        self._tickets = 0

    @property
    def token(self) -> Token | None:
        """The newest token that is proved ours."""
        return self._token

    @property
    def tickets(self) -> int:
        """The number of the last commit that was asked for."""
        return self._tickets

    @property
    def due_s(self) -> float | None:
        """When `tick` is wanted next."""
        return self._due_s

    # --- what comes in

    def consuming(self, now: float) -> list[Effect]:
        """The broker has registered the consumer."""
        return self._probe(now + PROBE_AGAIN_S)

    def delivered(self, tag: int, body: bytes, redelivered: bool, now: float) -> list[Effect]:
        if self.state is State.LOST:
            return []
        try:
            item = decode(body)
        except UnreadableToken as error:
            return self._lose(f"the token queue holds {error}", fatal=True)
        effects: list[Effect] = []
        if self.state is State.WAITING:
            # Only now is it known that we are active, and only a probe written from here on follows all that came back.
            self.state = State.COLLECTING
            effects += self._probe(now + self._echo_s)
        if isinstance(item, Probe):
            return [*effects, *self._probed(tag, item)]
        if isinstance(item, Question):
            answer = [Answer(item.reply_to, item.word, encode(self._token))] if self._token else []
            return [*effects, Ack(tag), *answer]
        if self.state is State.OWNER:
            return [*effects, *self._told(tag, item, redelivered, now)]
        if self.state is State.CLAIMING and self._flying is not None and item == self._flying[0]:
            return [*effects, *self._claimed(tag, item, redelivered, now)]
        if self._is_news(item):
            return self._overtaken(item)
        self._collected.append((tag, item))
        return effects

    def claim(self, offset: int, born: int, now: float) -> list[Effect]:
        """Begin at `offset`: written before anything is delivered to the application."""
        if self.state is not State.COLLECTED:
            return []
        epoch = 1 if self._last is None else self._last.epoch + 1
        self.state = State.CLAIMING
        self._flying = Token(epoch, 0, offset, born, self.member), 0
        self._due_s = now + self._echo_s
        return [Publish(encode(self._flying[0]))]

    def commit(self, offset: int, now: float) -> tuple[int, list[Effect]]:
        """Write a token with this offset; `Committed` with the ticket follows, or `Lost`. One is under way at a time,
        and what comes meanwhile is written as one."""
        self._tickets += 1
        if self.state is State.OWNER:
            if self._flying is not None:
                self._waiting = (offset, self._tickets)
                return self._tickets, []
            return self._tickets, self._write(offset, self._tickets, now)
        return self._tickets, []

    def tick(self, now: float) -> list[Effect]:
        if self._due_s is None or now < self._due_s:
            return []
        if self.state is State.WAITING:
            return self._probe(now + PROBE_AGAIN_S)
        if self.state is State.OWNER and self._flying is None and self._token is not None:
            return self._write(self._token.offset, self._tickets, now)
        return self._lose(f"the broker did not return a token within {self._echo_s:g} s; another may own the partition")

    def refused(self, what: str, fatal: bool = False) -> list[Effect]:
        """The broker refused a publish, cancelled the consumer, or closed the channel."""
        return self._lose(what, fatal)

    # --- what follows

    def _is_news(self, token: Token) -> bool:
        """Was the partition somebody's since we looked at its state? Then that state is not the newest any more."""
        if self.state is State.COLLECTING:
            return False
        return token.epoch > (0 if self._last is None else self._last.epoch)

    def _probe(self, due_s: float) -> list[Effect]:
        self._probes += 1
        self._due_s = due_s
        return [Publish(encode(Probe(self.member, self._probes)))]

    def _probed(self, tag: int, probe: Probe) -> list[Effect]:
        effects: list[Effect] = [Ack(tag)]
        if probe.member != self.member:
            self.rivals += 1
        elif self.state is State.COLLECTING and probe.number == self._probes:
            self._last = max((token for _, token in self._collected), key=lambda t: t.order, default=None)
            self.state = State.COLLECTED
            self._due_s = None
            effects.append(Collected(self._last))
        return effects

    def _claimed(self, tag: int, token: Token, redelivered: bool, now: float) -> list[Effect]:
        if redelivered:
            return self._lose("the first token was another's for a while")
        effects: list[Effect] = [Ack(old) for old, _ in self._collected]
        self._collected.clear()
        self._tag, self._token, self._flying = tag, token, None
        self.state = State.OWNER
        self._due_s = now + self._keep_s
        return [*effects, Owned(token)]

    def _told(self, tag: int, token: Token, redelivered: bool, now: float) -> list[Effect]:
        """A token, while we own the partition."""
        assert self._token is not None
        if token.epoch > self._token.epoch:
            return self._overtaken(token)
        if token.epoch < self._token.epoch or token.member != self.member:
            return [Ack(tag)]  # a stale owner's: it will not see its echo
        if redelivered:
            return self._lose("our token came back: the broker had taken the partition away for a while")
        if self._flying is None or token != self._flying[0]:
            return [Ack(tag)]
        ticket = self._flying[1]
        effects: list[Effect] = [Ack(self._tag), Committed(ticket)]
        self._tag, self._token, self._flying = tag, token, None
        self._due_s = now + self._keep_s
        if self._waiting is not None:
            offset, ticket = self._waiting
            self._waiting = None
            effects += self._write(offset, ticket, now)
        return effects

    def _write(self, offset: int, ticket: int, now: float) -> list[Effect]:
        assert self._token is not None
        token = Token(self._token.epoch, self._token.seq + 1, offset, self._token.born, self.member)
        self._flying = token, ticket
        self._due_s = now + self._echo_s
        return [Publish(encode(token))]

    def _overtaken(self, token: Token) -> list[Effect]:
        return self._lose(f"member {token.member} owns the partition since epoch {token.epoch}")

    def _lose(self, reason: str, fatal: bool = False) -> list[Effect]:
        if self.state is State.LOST:
            return []
        self.state = State.LOST
        self._due_s = None
        return [Lost(reason, fatal)]
