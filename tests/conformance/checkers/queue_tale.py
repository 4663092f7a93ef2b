"""Histories of queues as a test tells them: who sent, who took, what was done with it, and when.

The rule: what is told is what the recorder would have written, event by event; the clock goes on by a millisecond with
each, and further only when it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mqbridge_conformance.checkers import Judgement, Profile
from mqbridge_conformance.checkers.queue_catalogue import QUEUE_CHECKERS
from mqbridge_conformance.history import Error, Event, History

MS: Final = 1_000_000
QUEUE: Final = "queue:q"
LETTERS: Final = "queue:q.dlq"
_NAMES: Final = (
    *("WORK_SHARING", "ACK", "RELEASE_UNCOUNTED", "RETRY_COUNTED", "MAX_ATTEMPTS", "ATTEMPT_NUMBER", "REDELIVERED"),
    *("PREFETCH", "LONG_HANDLERS", "DEAD_LETTER", "REDRIVE", "MESSAGE_TTL", "PRIORITY", "LENGTH_LIMIT"),
    *("ORDER_IN_QUEUE", "ROUTE_DIRECT", "ROUTE_FANOUT", "ROUTE_TOPIC", "ROUTE_HEADERS", "UNROUTABLE_REPORTED"),
    *("CONFIRMED_SEND", "DELAYED_SEND", "DELAYED_RETRY", "PURGE", "QUEUE_EXPIRY"),
)
DIRECT: Final = dict.fromkeys(_NAMES, "direct")
"""The claims of an engine that does it all by itself."""
COPYING: Final = {
    **DIRECT,
    **dict.fromkeys(("RELEASE_UNCOUNTED", "RETRY_COUNTED", "MAX_ATTEMPTS", "DEAD_LETTER", "PREFETCH"), "emulated"),
    **dict.fromkeys(("LONG_HANDLERS", "ORDER_IN_QUEUE", "PRIORITY", "LENGTH_LIMIT"), "unsupported"),
    **dict.fromkeys(("ROUTE_DIRECT", "ROUTE_FANOUT", "ROUTE_TOPIC", "ROUTE_HEADERS"), "emulated"),
}
"""Those of one whose library writes messages anew, and whose leases end by age."""


class Tale:
    """A history in the making."""

    def __init__(self, claims: dict[str, str] | None = None, **header: Any) -> None:
        self.now = 1_000_000 * MS
        self.events: list[Event] = []
        self._seqs: dict[str, int] = {}
        told = {"run": "r", "claims": DIRECT if claims is None else claims, "patience_s": 5.0}
        self.write("main", "ok", "run", more={**told, **header})

    def write(self, proc: str, kind: Any, f: str, **fields: Any) -> Event:
        self.now += MS
        self._seqs[proc] = self._seqs.get(proc, 0) + 1
        event = Event(self._seqs[proc], self.now, proc, kind, f, **fields)
        self.events.append(event)
        return event

    def done(self, proc: str, f: str, **fields: Any) -> Event:
        """An operation that was ok."""
        op = self.write(proc, "invoke", f, **fields)
        return self.write(proc, "ok", f, op=op.seq, **fields)

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1000) * MS

    @property
    def history(self) -> History:
        return History(self.events)

    def judgements(self) -> list[Judgement]:
        history = self.history
        return [checker(history, Profile.of(history)) for checker in QUEUE_CHECKERS]

    def errors(self) -> list[str]:
        """The names of what is wrong, sorted."""
        return sorted(found.anomaly for judgement in self.judgements() for found in judgement.errors)

    def counted(self) -> list[str]:
        """The names of what was found and is legal."""
        return sorted(found.anomaly for judgement in self.judgements() for found in judgement.findings if found.legal)

    # --- what there is

    def queue(self, dest: str = QUEUE, **spec: Any) -> str:
        """Declared as `ensure` would, with its dead-letter queue unless there is none."""
        letters = spec.pop("dead_letter", f"{dest}.dlq")
        if letters is not None:
            self.write("main", "ok", "declare", dest=letters, more={})
            spec["dead_letter"] = letters
        self.write("main", "ok", "declare", dest=dest, more={"overflow": "reject", "type": "quorum", **spec})
        return dest

    def exchange(self, dest: str = "exchange:e", **spec: Any) -> str:
        self.write("main", "ok", "declare", dest=dest, more={"type": "direct", **spec})
        return dest

    def bind(self, exchange: str, destination: str, key: str = "", f: str = "declare") -> None:
        told = {"exchange": exchange, "destination": destination, "key": key, "match": "all", "headers": {}}
        if f == "declare":
            self.write("main", "ok", "declare", dest=exchange, more={"binding": told})
        else:
            self.done("main", f, dest=exchange, more={"binding": told})

    # --- who does something

    def producer(self, client: str = "p", proc: str = "main", **options: Any) -> Maker:
        self.write(proc, "ok", "open", client=client, more={"role": "producer", "on_unknown": "fail", **options})
        return Maker(self, client, proc)

    def consumer(self, client: str = "c", dest: str = QUEUE, proc: str = "main", **options: Any) -> Taker:
        told = {"role": "queue-consumer", "prefetch": 100, "ack": "explicit", **options}
        self.write(proc, "ok", "open", client=client, dest=dest, more=told)
        return Taker(self, client, dest, proc)

    def fault(self, what: str, at: str) -> None:
        self.done("main", "fault", more={"what": what, "at": at})

    def heal(self, what: str, at: str) -> None:
        self.done("main", "heal", more={"what": what, "at": at})

    # --- what was seen

    def look(self, f: str, dest: str = QUEUE, *vals: str | None, **more: Any) -> None:
        """An observer's look: ``looked`` or ``letters`` with the values there, ``left`` with counts."""
        op = self.write("main", "invoke", f, dest=dest)
        for val in vals:
            one = "stored" if f == "looked" else "letter"
            told = {} if f == "looked" else {"reason": more.get("reason", "rejected")}
            attempt = more.get("attempt") if f == "letters" else None
            self.write("main", "ok", one, op=op.seq, dest=dest, val=val, attempt=attempt, more=told)
        self.write("main", "ok", f, op=op.seq, dest=dest, more=more if f == "left" else {})

    def drained(self, dest: str = QUEUE) -> None:
        self.write("main", "ok", "drained", dest=dest)


class Maker:
    """A producer."""

    def __init__(self, tale: Tale, client: str, proc: str) -> None:
        self._tale = tale
        self._who: dict[str, Any] = {"client": client}
        self.proc = proc

    def begin(self, val: str | None, dest: str = QUEUE, **more: Any) -> Callable[..., None]:
        """A send under way; call what it gives to end it: ``ok``, ``fail`` or ``info``."""
        op = self._tale.write(self.proc, "invoke", "send", **self._who, dest=dest, val=val, more=more)

        def end(kind: Any = "ok", code: str = "rejected") -> None:
            outcome = {"fail": "not_applied", "info": "maybe_applied"}.get(kind)
            err = None if outcome is None else Error(code, outcome, code)
            self._tale.write(self.proc, kind, "send", op=op.seq, err=err)

        return end

    def send(self, *vals: str | None, dest: str = QUEUE, outcome: str | None = "ok", **more: Any) -> None:
        """Sends, one after another; an `outcome` of None is one that never ended."""
        for val in vals:
            end = self.begin(val, dest, **more)
            if outcome is not None:
                end(outcome)

    def done(self, f: str) -> None:
        self._tale.done(self.proc, f, **self._who)


class Taker:
    """A consumer."""

    def __init__(self, tale: Tale, client: str, dest: str, proc: str) -> None:
        self.tale = tale
        self.proc = proc
        self.who: dict[str, Any] = {"client": client, "dest": dest}
        self._tags = 0

    def take(self, *vals: str | None, attempt: int = 1, redelivered: bool = False, **more: Any) -> list[Taken]:
        """One poll, which gives these."""
        op = self.tale.write(self.proc, "invoke", "poll", **self.who)
        got = [self.shown(val, attempt, redelivered, op.seq, **more) for val in vals]
        self.tale.write(self.proc, "ok", "poll", op=op.seq, **self.who, more={"count": len(got)})
        return got

    def one(self, val: str | None, attempt: int = 1, redelivered: bool = False, **more: Any) -> Taken:
        return self.take(val, attempt=attempt, redelivered=redelivered, **more)[0]

    def shown(self, val: str | None, attempt: int, redelivered: bool, op: int | None = None, **more: Any) -> Taken:
        """One delivery; without a poll, as `stream` shows it, or `run` with `handler=True`."""
        self._tags += 1
        facts = {**self.who, "tag": self._tags, "val": val}
        self.tale.write(self.proc, "ok", "deliver", op=op, **facts, attempt=attempt, redelivered=redelivered, more=more)
        return Taken(self, facts)

    def nothing(self, times: int = 1) -> None:
        """Polls in vain."""
        for _ in range(times):
            self.take()

    def commit(self, kind: Any = "ok") -> None:
        op = self.tale.write(self.proc, "invoke", "commit", **self.who)
        err = None if kind == "ok" else Error("lease_lost", "not_applied", "too late")
        self.tale.write(self.proc, kind, "commit", op=op.seq, **self.who, err=err)

    def close(self) -> None:
        self.tale.done(self.proc, "close", **self.who)

    def kill(self) -> None:
        self.tale.fault("sigkill", self.proc)


class Taken:
    """A delivery."""

    def __init__(self, taker: Taker, facts: dict[str, Any]) -> None:
        self._taker = taker
        self._facts = facts

    def settle(self, verb: str, kind: Any = "ok", **more: Any) -> Taken:
        """A verb; `kind` None is one whose end nobody saw, ``fail`` one whose lease was lost."""
        tale, proc = self._taker.tale, self._taker.proc
        op = tale.write(proc, "invoke", verb, **self._facts, more=more)
        err = Error("lease_lost", "not_applied", "gone") if kind == "fail" else None
        if kind is not None:
            tale.write(proc, kind, verb, op=op.seq, **self._facts, err=err, more=more)
        return self

    def ack(self, kind: Any = "ok") -> Taken:
        return self.settle("ack", kind)

    def release(self, **more: Any) -> Taken:
        return self.settle("release", **more)

    def retry(self, **more: Any) -> Taken:
        return self.settle("retry", **more)

    def reject(self, **more: Any) -> Taken:
        return self.settle("reject", **more)
