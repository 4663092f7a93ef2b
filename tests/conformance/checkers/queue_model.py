"""A reference model of a broker of queues: it plays a script and tells the history that a right engine would leave.

The rule: the model is right by being simple. A message is in one place (ready, held back, with a consumer, dead, gone),
and every step moves it as the API says. What clients see is told as the recorder would; what goes on unseen (fetching,
settling in the background, expiry, connections that break) is not told, and the checkers have to allow for it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mqbridge_conformance.checkers.queue_clients import SECOND
from mqbridge_conformance.history import Payload
from tests.conformance.checkers.queue_tale import LETTERS, QUEUE, Maker, Taken, Taker, Tale

EXCHANGE: Final = "exchange:e"
KEY: Final = "k"
TTL_S: Final = 5
DELAY_S: Final = 3
TIMEOUT_S: Final = 120


@dataclass(frozen=True)
class Spec:
    """What a run is like. `calm` is one in which nothing breaks, nobody intervenes, and all is confirmed."""

    max_attempts: int | None = None
    letters: bool = True
    ttl: bool = False
    max_length: int | None = None
    drops: bool = False
    max_priority: int | None = None
    consumers: int = 2
    producers: int = 2
    before: bool = False
    calm: bool = False
    alone: bool = False
    """Is there one consumer to the end?"""
    sends_first: bool = False
    """Is everything sent before anybody comes?"""

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "max_attempts": self.max_attempts,
            "message_ttl_s": TTL_S if self.ttl else None,
            "max_length": self.max_length,
            "max_priority": self.max_priority,
            "overflow": "drop-head" if self.drops else "reject",
        }
        none: dict[str, Any] = {} if self.letters else {"dead_letter": None}
        return {name: value for name, value in told.items() if value is not None} | none


class Dice:
    """Choices out of one number, so that a script is nothing but numbers."""

    def __init__(self, number: int) -> None:
        self._number = number

    def roll(self, sides: int) -> int:
        self._number, found = divmod(self._number, sides)
        return found

    def of(self, things: Sequence[Any]) -> Any:
        return things[self.roll(len(things))]


@dataclass(eq=False)
class Message:
    val: str
    number: int
    priority: int = 0
    expires: int | None = None
    failures: int = 0
    seen: bool = False
    reason: str = ""

    def __lt__(self, other: Message) -> bool:
        return (-self.priority, self.number) < (-other.priority, other.number)


@dataclass(eq=False)
class Store:
    """A queue as the broker has it."""

    dest: str
    max_attempts: int | None = None
    ready: list[Message] = field(default_factory=list)
    delayed: list[tuple[int, Message]] = field(default_factory=list)


@dataclass(eq=False)
class Session:
    """A consumer and its connection."""

    taker: Taker
    store: Store
    prefetch: int
    before: bool
    fetched: list[Message] = field(default_factory=list)
    held: list[tuple[Taken, Message]] = field(default_factory=list)
    marks: list[tuple[str, Message, int]] = field(default_factory=list)
    lost: list[Taken] = field(default_factory=list)
    late: bool = False
    frozen: bool = False
    ended: bool = False

    @property
    def out(self) -> int:
        return 0 if self.before else len(self.fetched) + len(self.held) + len(self.marks)


class Broker:
    """See the module."""

    STEPS: Final = ("send", "send", "poll", "poll", "settle", "settle", "tell", "commit", "tick", "open", "close")
    ROUGH: Final = ("kill", "cut", "stop", "resume", "purge", "redrive")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tale = Tale(guarantee="at-most-once" if spec.before else "at-least-once")
        self.tale.queue(**spec.told())
        self.tale.exchange()
        self.tale.bind(EXCHANGE, QUEUE, KEY)
        self.queue = Store(QUEUE, spec.max_attempts)
        self.letters = Store(LETTERS)
        self.makers: list[Maker] = [self.tale.producer(f"p{n}") for n in range(spec.producers)]
        self.sessions: list[Session] = []
        self._numbers = 0
        self._procs = 0
        self._unanswered: list[tuple[int, Callable[..., None]]] = []

    # --- the script

    def play(self, script: Sequence[tuple[int, int]]) -> Broker:
        names = self.STEPS if self.spec.calm else (*self.STEPS, *self.ROUGH)
        steps = [(names[step % len(names)], Dice(number)) for step, number in script]
        if self.spec.sends_first:
            steps.sort(key=lambda step: step[0] != "send")
        for name, dice in steps:
            getattr(self, name)(dice)
            self.work()
        return self

    def finish(self, patient: bool = True) -> Tale:
        """Everybody ends, a last consumer empties the queue, and observers have the last word."""
        for session in self.sessions:
            if session.frozen:
                self._resume(session)
            if not session.ended and not self.spec.alone:
                self._close(session)
        if patient:
            self.tale.wait(DELAY_S + 1)
        self.work()
        staying = [session for session in self.sessions if not session.ended]
        last = staying[0] if staying else self._open(self.queue, prefetch=1000, before=False)
        self._commit(last)
        self.work()
        while self._poll(last, 1000) or last.held:
            for taken, message in last.held:
                last.marks.append(("ack", message, 0))
                taken.ack()
            last.held.clear()
            self._commit(last)
            self.work()
        self._close(last)
        self.tale.drained()
        self.tale.wait(2)
        self.work()
        self._looks()
        return self.tale

    def _looks(self) -> None:
        if self.spec.letters:
            self._letters()
        waiting = [*self.queue.ready, *(message for _, message in self.queue.delayed)]
        self.tale.look("looked", QUEUE, *(message.val for message in waiting))
        self.tale.look("left", QUEUE, ready=len(self.queue.ready), unsettled=0, delayed=len(self.queue.delayed))

    def _letters(self) -> None:
        op = self.tale.write("main", "invoke", "letters", dest=QUEUE)
        for message in self.letters.ready:
            told = {"reason": message.reason}
            self.tale.write("main", "ok", "letter", op=op.seq, dest=QUEUE, val=message.val, more=told)
        self.tale.write("main", "ok", "letters", op=op.seq, dest=QUEUE)

    # --- what the broker does by itself

    def work(self) -> None:
        """Let due messages come forward, old ones die, and consumers have what they may have."""
        now = self.tale.now
        for due, end in list(self._unanswered):
            if due <= now:
                self._unanswered.remove((due, end))
                end("info")
        for due, message in list(self.queue.delayed):
            if due <= now:
                self.queue.delayed.remove((due, message))
                insort(self.queue.ready, message)
        for message in list(self.queue.ready):
            if message.expires is not None and message.expires <= now:
                self.queue.ready.remove(message)
                self._die(message, "expired")
        for store in (self.queue, self.letters):
            self._hand_out(store)

    def _hand_out(self, store: Store) -> None:
        takers = [session for session in self.sessions if session.store is store and not session.ended]
        while store.ready:
            free = [session for session in takers if session.out < session.prefetch]
            if not free:
                return
            least = min(free, key=lambda session: session.out)
            if least.before and len(least.fetched) >= least.prefetch:
                return
            least.fetched.append(store.ready.pop(0))

    def _die(self, message: Message, reason: str) -> None:
        if self.spec.letters:
            self._numbers += 1
            insort(self.letters.ready, Message(message.val, self._numbers, reason=reason))

    def _back(self, store: Store, message: Message, counted: bool, delay_s: int = 0) -> None:
        message.seen = True
        message.failures += counted
        if store.max_attempts is not None and message.failures >= store.max_attempts:
            self._die(message, "max-attempts")
        elif delay_s:
            self.queue.delayed.append((self.tale.now + delay_s * SECOND, message))
        else:
            insort(store.ready, message)

    def _apply(self, session: Session, number: int | None = None) -> None:
        """The marks come to the broker, all or the first few."""
        told = session.marks[:number]
        session.marks = session.marks[len(told) :]
        for verb, message, delay_s in told:
            if verb == "reject":
                self._die(message, "rejected")
            elif verb != "ack":
                self._back(session.store, message, verb == "retry", delay_s)

    def _break(self, session: Session, counted: bool = True) -> None:
        """The connection ends: what is out goes back, and what was not told is forgotten."""
        out = [*session.fetched, *(message for _, message in session.held), *(mark[1] for mark in session.marks)]
        session.lost += [taken for taken, _ in session.held]
        session.late = session.late or bool(session.marks)
        if session.before:
            out = []
        else:
            session.fetched.clear()
        session.held.clear()
        session.marks.clear()
        for message in out:
            self._back(session.store, message, counted)

    # --- steps

    def send(self, dice: Dice) -> None:
        self._numbers += 1
        routed = dice.roll(4) == 0
        dest = EXCHANGE if routed else QUEUE
        message = Message(Payload("r", dest, "-", "p", self._numbers).encode().decode(), self._numbers)
        kinds = ("ok",) if self.spec.calm else ("ok", "ok", "ok", "fail", "applied", "not applied", "lost", "never")
        kind = dice.of(kinds)
        more: dict[str, Any] = {}
        if self.spec.max_priority is not None:
            message.priority = dice.roll(self.spec.max_priority + 1)
            more["priority"] = message.priority
        if self.spec.ttl:
            ttl_s = dice.of((TTL_S, TTL_S - 2))
            message.expires = self.tale.now + ttl_s * SECOND
            more["expires_in_s"] = ttl_s
        delay_s = DELAY_S if not self.spec.calm and dice.roll(4) == 0 else 0
        if delay_s:
            more["delay_s"] = delay_s
        maker: Maker = dice.of(self.makers)
        end = maker.begin(
            message.val, EXCHANGE if routed else QUEUE, **more, **({"routing_key": KEY} if routed else {})
        )
        full = self.spec.max_length is not None and len(self.queue.ready) >= self.spec.max_length
        if full and not self.spec.drops:
            end("fail")
            return
        if kind in ("ok", "applied", "never"):
            self._take_in(message, delay_s)
        if kind in ("lost", "never"):
            self._unanswered.append((self.tale.now + TIMEOUT_S * SECOND, end))
        else:
            end({"ok": "ok", "fail": "fail"}.get(kind, "info"))

    def _take_in(self, message: Message, delay_s: int) -> None:
        if message.expires is not None:
            message.expires = max(message.expires, self.tale.now + TTL_S // 2 * SECOND)
        if delay_s:
            self.queue.delayed.append((self.tale.now + delay_s * SECOND, message))
        else:
            insort(self.queue.ready, message)
        limit = self.spec.max_length
        while self.spec.drops and limit is not None and len(self.queue.ready) > limit:
            self._die(self.queue.ready.pop(0), "max-length")

    def open(self, dice: Dice) -> None:
        live = [session for session in self.sessions if not session.ended]
        if len(live) < (1 if self.spec.alone else self.spec.consumers):
            store = self.letters if self.spec.letters and not self.spec.calm and dice.roll(4) == 0 else self.queue
            self._open(store, dice.of((1, 2, 5)), self.spec.before and store is self.queue)

    def _open(self, store: Store, prefetch: int, before: bool) -> Session:
        self._procs += 1
        ack = "before" if before else "explicit"
        options: dict[str, Any] = {"prefetch": prefetch, "ack": ack, "asked_t": self.tale.now + 1}
        options["settle_interval_s"] = 600
        taker = self.tale.consumer("c", store.dest, f"w{self._procs}", **options)
        session = Session(taker, store, prefetch, before)
        self.sessions.append(session)
        return session

    def _active(self, dice: Dice) -> Session | None:
        active = [session for session in self.sessions if not session.ended and not session.frozen]
        found: Session | None = dice.of(active) if active else None
        return found

    def poll(self, dice: Dice) -> None:
        session = self._active(dice)
        if session is not None:
            self._poll(session, 1 + dice.roll(3))

    def _poll(self, session: Session, most: int) -> int:
        taker, tale = session.taker, self.tale
        op = tale.write(taker.proc, "invoke", "poll", **taker.who)
        shown, session.fetched = session.fetched[:most], session.fetched[most:]
        for message in shown:
            more = {"death": message.reason} if session.store is self.letters else {}
            taken = taker.shown(message.val, message.failures + 1, message.seen, op.seq, **more)
            if not session.before:
                session.held.append((taken, message))
        tale.write(taker.proc, "ok", "poll", op=op.seq, **taker.who, more={"count": len(shown)})
        return len(shown)

    def settle(self, dice: Dice) -> None:
        session = self._active(dice)
        if session is None:
            return
        if session.lost and dice.roll(2):
            session.lost.pop().settle(dice.of(("ack", "retry")), "fail")
        elif session.held:
            taken, message = session.held.pop(dice.roll(len(session.held)))
            verbs = ("ack", "ack", "release", "retry", "reject")
            if session.store is self.letters or not self.spec.letters:
                verbs = ("ack", "ack", "release", "retry", "ack")
            verb = dice.of(verbs)
            delay_s = DELAY_S if verb in ("release", "retry") and dice.roll(4) == 0 else 0
            delay_s = delay_s if session.store is self.queue else 0
            taken.settle(verb, **({"delay_s": delay_s} if delay_s else {}))
            session.marks.append((verb, message, delay_s))

    def tell(self, dice: Dice) -> None:
        """The library tells the broker by itself."""
        session = self._active(dice)
        if session is not None:
            self._apply(session)

    def commit(self, dice: Dice) -> None:
        session = self._active(dice)
        if session is not None:
            self._commit(session)

    def _commit(self, session: Session) -> None:
        self._apply(session)
        session.taker.commit("fail" if session.late else "ok")
        session.late = False

    def tick(self, dice: Dice) -> None:
        self.tale.wait(dice.of((0.1, 1, 4, 70)))

    def close(self, dice: Dice) -> None:
        session = self._active(dice)
        if session is not None and not self.spec.alone:
            self._close(session)

    def _close(self, session: Session) -> None:
        self._apply(session)
        session.ended = True
        session.taker.close()
        self._break(session, counted=False)

    # --- what breaks, and who intervenes

    def kill(self, dice: Dice) -> None:
        live = [session for session in self.sessions if not session.ended]
        if live:
            session: Session = dice.of(live)
            self._apply(session, dice.roll(len(session.marks) + 1))
            session.ended = True
            if session.held and dice.roll(3) == 0:  # in the middle of a verb that nobody will hear of
                session.held[-1][0].settle("ack", None)
            session.taker.kill()
            self._break(session)

    def cut(self, dice: Dice) -> None:
        """Every connection breaks, and is made anew."""
        at = dice.of(("link", "broker"))
        self.tale.fault("cut", at)
        for session in self.sessions:
            if not session.ended:
                self._break(session)
        self.tale.heal("cut", at)

    def stop(self, dice: Dice) -> None:
        """A process stands still; its connection may break or not."""
        session = self._active(dice)
        if session is not None:
            self.tale.fault("stop", session.taker.proc)
            session.frozen = True
            if dice.roll(2):
                self._break(session)

    def resume(self, dice: Dice) -> None:
        frozen = [session for session in self.sessions if session.frozen and not session.ended]
        if frozen:
            self._resume(dice.of(frozen))

    def _resume(self, session: Session) -> None:
        session.frozen = False
        if not session.ended:
            self.tale.heal("stop", session.taker.proc)

    def purge(self, dice: Dice) -> None:
        store = dice.of((self.queue, self.letters)) if self.spec.letters else self.queue
        self.tale.done("main", "purge", dest=store.dest)
        store.ready.clear()

    def redrive(self, dice: Dice) -> None:
        if self.spec.letters and dice.roll(2):
            self.tale.done("main", "redrive", dest=QUEUE)
            for message in self.letters.ready:
                insort(self.queue.ready, Message(message.val, message.number))
            self.letters.ready.clear()
