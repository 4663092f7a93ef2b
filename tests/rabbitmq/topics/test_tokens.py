"""The token of a partition as a state machine: alone, and against a model of the broker's queue with rude members."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from mqbridge_rabbitmq.tokens import (
    Ack,
    Answer,
    Collected,
    Committed,
    Effect,
    Lost,
    Owned,
    Probe,
    Publish,
    Question,
    State,
    Token,
    TokenHolder,
    UnreadableToken,
    decode,
    encode,
)

ECHO_S, KEEP_S = 10.0, 600.0


def holder(member: str = "m") -> TokenHolder:
    return TokenHolder(member, echo_s=ECHO_S, keep_s=KEEP_S)


def published(effects: list[Effect]) -> list[Token | Probe]:
    items = [decode(effect.body) for effect in effects if isinstance(effect, Publish)]
    return [item for item in items if not isinstance(item, Question)]


def owner(last: Token | None = None) -> TokenHolder:
    """One that owns its partition; tags 1 to 4 are used."""
    it = holder()
    [first] = published(it.consuming(0.0))
    tag = 1
    fresh: list[Token | Probe] = []
    if last is not None:
        fresh = published(it.delivered(tag, encode(last), True, 0.0))
        tag += 1
    fresh += published(it.delivered(tag, encode(first), False, 0.0))
    assert Collected(last) in it.delivered(3, encode(fresh[0]), False, 0.0)
    [token] = published(it.claim(7, 2, 0.0))
    assert Owned(token) in it.delivered(4, encode(token), False, 0.0)  # type: ignore[arg-type]
    return it


def test_round_trip() -> None:
    """What is written is read back; anything else is refused, never taken for an empty queue."""
    for item in (Token(3, 4, 1 << 40, 5, "a"), Probe("b", 9), Question("q", "w")):
        assert decode(encode(item)) == item
    for bad in (b"", b"{}", b"[1]", b'{"v": 2, "probe": 1, "member": "a"}', b"\xff"):
        with pytest.raises(UnreadableToken):
            decode(bad)


def test_the_first_delivery_asks_for_a_fresh_probe() -> None:
    """The probe written as a standby proves nothing: it may come back in front of the tokens that come back with it."""
    it = holder()
    [standby] = published(it.consuming(0.0))
    [fresh] = published(it.delivered(1, encode(standby), True, 0.0))
    assert fresh != standby
    assert it.state is State.COLLECTING
    held = Token(4, 2, 20, 1, "old")
    assert it.delivered(2, encode(held), True, 0.0) == []
    assert it.delivered(3, encode(fresh), False, 0.0) == [Ack(3), Collected(held)]


def test_the_highest_token_wins_whatever_the_order() -> None:
    """Epoch before seq before the smaller offset; the order of delivery decides nothing."""
    tokens = [Token(2, 9, 5, 1, "a"), Token(3, 0, 8, 1, "b"), Token(3, 0, 6, 1, "c"), Token(1, 99, 50, 1, "d")]
    for order in (tokens, tokens[::-1]):
        it = holder()
        it.consuming(0.0)
        [fresh] = published(it.delivered(1, encode(order[0]), True, 0.0))
        for tag, token in enumerate(order[1:], 2):
            it.delivered(tag, encode(token), True, 0.0)
        assert it.delivered(9, encode(fresh), False, 0.0)[1] == Collected(tokens[2])


def test_the_older_tokens_go_only_after_the_echo() -> None:
    """Between the claim and its echo a crash must leave the old state in the queue."""
    it = holder()
    it.consuming(0.0)
    [fresh] = published(it.delivered(1, encode(Token(5, 1, 30, 1, "old")), True, 0.0))
    it.delivered(2, encode(fresh), False, 0.0)
    effects = it.claim(30, 1, 0.0)
    assert not any(isinstance(effect, Ack) for effect in effects)
    [token] = published(effects)
    assert isinstance(token, Token)
    assert (token.epoch, token.seq, token.offset) == (6, 0, 30)
    assert it.delivered(3, encode(token), False, 0.0) == [Ack(1), Owned(token)]


def test_a_commit_is_proved_by_its_echo_alone() -> None:
    """Commits under way are written as one; the ticket comes with the echo, and the token before it goes then."""
    it = owner()
    ticket, effects = it.commit(8, 1.0)
    [token] = published(effects)
    later = [it.commit(offset, 1.0) for offset in (9, 10)]
    assert [found for _, found in later] == [[], []]
    effects = it.delivered(5, encode(token), False, 1.0)
    assert effects[:2] == [Ack(4), Committed(ticket)]
    [merged] = published(effects)
    assert isinstance(merged, Token)
    assert (merged.seq, merged.offset) == (2, 10)
    assert it.delivered(6, encode(merged), False, 1.0) == [Ack(5), Committed(later[-1][0])]


@pytest.mark.parametrize("state", ["collecting", "claiming", "owner"])
def test_a_missing_answer_is_a_lost_lease(state: str) -> None:
    """No echo by the deadline means that another may own it; nothing more is written then."""
    it = owner() if state == "owner" else holder()
    if state == "owner":
        it.commit(9, 0.0)
    else:
        [first] = published(it.consuming(0.0))
        [fresh] = published(it.delivered(1, encode(first), False, 0.0))
        if state == "claiming":
            it.delivered(2, encode(fresh), False, 0.0)
            it.claim(0, 1, 0.0)
    assert it.tick(ECHO_S - 0.1) == []
    assert isinstance(it.tick(ECHO_S)[0], Lost)
    assert it.commit(11, ECHO_S)[1] == []
    assert it.delivered(9, encode(Token(9, 9, 9, 9, "x")), False, ECHO_S) == []


def test_a_stale_owners_token_is_thrown_away() -> None:
    """A write that arrives late carries an older epoch, or ours by another: acknowledged, and nothing changes."""
    it = owner(Token(5, 3, 40, 2, "old"))
    assert it.delivered(7, encode(Token(5, 4, 41, 2, "old")), False, 1.0) == [Ack(7)]
    assert it.delivered(8, encode(Token(6, 0, 40, 2, "other")), False, 1.0) == [Ack(8)]
    assert it.token is not None
    assert (it.token.epoch, it.token.offset) == (6, 7)


@pytest.mark.parametrize("news", [Token(2, 0, 7, 2, "other"), "own"])
def test_a_newer_owner_or_our_own_token_again_ends_the_lease(news: Token | str) -> None:
    """A higher epoch is another owner; our own token redelivered was somebody else's in between."""
    it = owner()
    own = it.token
    assert own is not None
    body = encode(own if isinstance(news, str) else news)
    assert isinstance(it.delivered(7, body, True, 1.0)[0], Lost)
    assert it.state is State.LOST


def test_an_echo_that_was_somebody_elses_proves_nothing() -> None:
    """An echo marked redelivered went to another consumer first: it was active, and may have taken over."""
    it = owner()
    [token] = published(it.commit(8, 1.0)[1])
    assert isinstance(it.delivered(5, encode(token), True, 1.0)[0], Lost)


def test_the_state_changes_between_collecting_and_claiming() -> None:
    """Whoever was active in between has written a higher epoch: what was collected is not the newest any more."""
    for claimed in (False, True):
        it = holder()
        [first] = published(it.consuming(0.0))
        [fresh] = published(it.delivered(1, encode(first), False, 0.0))
        it.delivered(2, encode(fresh), False, 0.0)
        if claimed:
            it.claim(0, 1, 0.0)
        assert isinstance(it.delivered(3, encode(Token(1, 5, 9, 1, "other")), True, 0.0)[0], Lost)


def test_a_duplicate_is_acknowledged_and_changes_nothing() -> None:
    """The same token twice, say after a change of the queue's leader, is one token."""
    it = owner()
    assert it.token is not None
    assert it.delivered(7, encode(it.token), False, 1.0) == [Ack(7)]
    assert it.state is State.OWNER


def test_foreign_probes_are_counted_and_thrown_away() -> None:
    """A standby's probe must not stay with the owner, or its queue would grow for as long as somebody waits."""
    it = owner()
    assert it.delivered(7, encode(Probe("other", 1)), False, 1.0) == [Ack(7)]
    assert it.rivals == 1


def test_an_owner_answers_and_nobody_else_does() -> None:
    """What is committed is told by who owns it; one that is not there yet lets the asker wait in vain."""
    it = owner()
    assert it.token is not None
    body = encode(Question("answers", "word"))
    assert it.delivered(7, body, False, 1.0) == [Ack(7), Answer("answers", "word", encode(it.token))]
    it = holder()
    it.consuming(0.0)
    assert not any(isinstance(effect, Answer) for effect in it.delivered(1, body, False, 0.0))


def test_a_standby_asks_again_and_an_owner_keeps_its_token() -> None:
    """Both are driven by `due_s` alone: a probe each second, a new token each keep interval."""
    it = holder()
    it.consuming(0.0)
    assert it.due_s == 1.0
    assert published(it.tick(1.0)) == [Probe("m", 2)]
    it = owner()
    assert it.due_s == KEEP_S
    [kept] = published(it.tick(KEEP_S))
    assert isinstance(kept, Token)
    assert (kept.seq, kept.offset) == (1, 7)


def test_an_unreadable_token_is_fatal() -> None:
    """What a newer version wrote must stop this one, not begin the group anew."""
    it = holder()
    it.consuming(0.0)
    [lost] = it.delivered(1, b'{"v": 9}', False, 0.0)
    assert isinstance(lost, Lost)
    assert lost.fatal


# --- against a model of the queue


@dataclass
class Member:
    """A consumer with its channel: what it wrote and the queue has not got yet, what was delivered and it has not read.

    `stopped` is SIGSTOP: it reads nothing and writes nothing, and does not know that its channel is gone.
    """

    holder: TokenHolder
    outgoing: list[Effect] = field(default_factory=list)
    incoming: list[tuple[int, bytes, bool]] = field(default_factory=list)
    held: dict[int, bytes] = field(default_factory=dict)
    stopped: bool = False
    connected: bool = True
    position: int = 0
    ticket_offsets: dict[int, int] = field(default_factory=dict)


class Model:
    """A quorum queue with a single active consumer and no delivery limit, and members of a group on one partition."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ready: list[tuple[bytes, bool]] = []
        self.members: list[Member] = []
        self.names = 0
        self.tags = 0
        self.now = 0.0
        self.proved: list[tuple[int, int]] = []
        """(epoch, offset) of each commit whose member was told that it is done."""
        self.owned: list[tuple[int, int]] = []
        """(epoch, offset) at which a member began, in the order in which they began."""

    def join(self) -> None:
        self.names += 1
        member = Member(TokenHolder(f"m{self.names}", echo_s=5.0, keep_s=50.0))
        self.members.append(member)
        self.apply(member, member.holder.consuming(self.now))

    def active(self) -> Member | None:
        return next((member for member in self.members if member.connected), None)

    def apply(self, member: Member, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish() | Ack():
                    member.outgoing.append(effect)
                case Collected(last):
                    start = 0 if last is None else last.offset
                    self.apply(member, member.holder.claim(start, 1, self.now))
                case Owned(token):
                    member.position = token.offset
                    self.owned.append((token.epoch, token.offset))
                case Committed(ticket):
                    token_now = member.holder.token
                    assert token_now is not None
                    for known in [number for number in member.ticket_offsets if number <= ticket]:
                        self.proved.append((token_now.epoch, member.ticket_offsets.pop(known)))
                case Lost():
                    self.drop(member)

    def drop(self, member: Member, late: bool = False) -> None:
        """The channel ends: all that it held comes back to the front, in order. `late`: what it wrote arrives all the
        same, after the next consumer has become active."""
        if not member.connected:
            return
        member.connected = False
        back = [(body, True) for _, body in sorted(member.held.items())]
        member.held.clear()
        self.ready[:0] = back
        self.deliver()
        if late:
            self.ready += [(effect.body, False) for effect in member.outgoing if isinstance(effect, Publish)]
        member.outgoing.clear()
        self.deliver()

    def deliver(self) -> None:
        member = self.active()
        while member is not None and self.ready:
            body, again = self.ready.pop(0)
            self.tags += 1
            member.held[self.tags] = body
            member.incoming.append((self.tags, body, again))

    def broker_reads(self, member: Member) -> None:
        if not member.outgoing or not member.connected:
            return
        effect = member.outgoing.pop(0)
        if isinstance(effect, Publish):
            self.ready.append((effect.body, False))
        elif isinstance(effect, Ack):
            member.held.pop(effect.tag, None)
        self.deliver()

    def member_reads(self, member: Member) -> None:
        if member.incoming and not member.stopped:
            self.apply(member, member.holder.delivered(*member.incoming.pop(0), self.now))

    def step(self) -> None:
        connected = sum(member.connected for member in self.members)
        if connected < 3 and self.random.random() < (0.01 if connected else 0.5):
            self.join()
        if not self.members:
            return
        member = self.random.choice(self.members)
        what = self.random.random()
        if what < 0.40:
            self.broker_reads(member)
        elif what < 0.80:
            self.member_reads(member)
        elif what < 0.86 and member.holder.state is State.OWNER and not member.stopped:
            member.position += self.random.randrange(1, 4)
            ticket, effects = member.holder.commit(member.position, self.now)
            member.ticket_offsets[ticket] = member.position
            self.apply(member, effects)
        elif 0.86 < what < 0.865:
            self.drop(member, late=self.random.random() < 0.5)  # a crash, or a broker that gives it up while it lives
        elif 0.865 < what < 0.867:
            member.stopped = True
        elif 0.867 < what < 0.88:
            member.stopped = False
        elif what < 0.97:
            if not member.connected and not member.stopped:  # it hears that its channel is closed
                self.members.remove(member)
        elif not member.stopped:
            self.now += 0.1
            self.apply(member, member.holder.tick(self.now))


def test_rude_members_against_the_model() -> None:
    """Whatever stops, dies or writes late: a later owner begins where a member was told that it committed, or after it;
    epochs of owners only grow. (A stopped member may read a true echo after its successor began: that one had it too.)
    """
    owners = commits = 0
    for seed in range(60):
        model = Model(seed)
        for _ in range(3000):
            model.step()
        epochs = [epoch for epoch, _ in model.owned]
        assert epochs == sorted(set(epochs)), f"seed {seed}"
        for epoch, done in model.proved:
            starts = [start for later, start in model.owned if later > epoch]
            assert all(start >= done for start in starts), f"seed {seed}: {done} of epoch {epoch} was lost: {starts}"
        owners += len(model.owned)
        commits += len(model.proved)
    assert owners > 300, owners
    assert commits > 1500, commits
