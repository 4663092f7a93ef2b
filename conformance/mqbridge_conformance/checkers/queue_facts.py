"""A history read once for all checkers of queues: each message with its sends, its deliveries and its letters.

The rule: this is what the history says, put together, and nothing is judged. A message is known by its value within a
queue; where a value can be there more than once, `Facts.copies` says how often at most, and a checker must not tell
the copies apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mqbridge_conformance.checkers.queue_clients import AFTERMATH_S, MANY, NEVER, SECOND, Client, Trouble
from mqbridge_conformance.checkers.queue_policies import Policy, policies
from mqbridge_conformance.checkers.queue_routes import Routes
from mqbridge_conformance.history import Event, History

__all__ = ["VERBS", "Facts", "Lease", "Look", "Send", "Story", "ttl_of"]

VERBS: Final = ("ack", "release", "retry", "reject")
_UNKNOWN: Final = Policy()


@dataclass(frozen=True, slots=True)
class Send:
    """One send, as far as it concerns one queue. `sure`: if it was applied, it is in this queue."""

    invoke: Event
    end: Event | None
    sure: bool = True
    resent: bool = False
    """May the library have sent it again by itself?"""

    @property
    def ok_t(self) -> int:
        """When it was known to be there; `NEVER` if it was not."""
        return self.end.t if self.end is not None and self.end.kind == "ok" and self.sure else NEVER

    @property
    def failed(self) -> bool:
        return self.end is not None and self.end.kind == "fail"

    @property
    def unknown(self) -> bool:
        return self.end is None or self.end.kind == "info"


@dataclass(slots=True, eq=False)
class Lease:
    """One delivery, and what became of it."""

    event: Event
    client: Client
    tried: Event | None = None
    """The invoke of the first verb."""
    verb: Event | None = None
    """The verb that was taken."""
    known: int = NEVER
    """When the broker certainly had it."""
    lost: int = NEVER
    """When the library said that the lease was lost."""

    @property
    def t(self) -> int:
        return self.event.t

    @property
    def left_hand(self) -> int:
        """When the application began to settle it; `NEVER` if it did not."""
        return NEVER if self.tried is None else self.tried.t

    @property
    def f(self) -> str:
        """The verb that was taken; ``?`` for one whose end nobody knows, empty for none."""
        if self.verb is not None:
            return self.verb.f
        return "?" if self.tried is not None and self.lost == NEVER else ""

    @property
    def traced(self) -> bool:
        """Would the history show how it was settled? Not where `run` did it, for a handler that failed."""
        return not self.event.more.get("handler") or self.tried is not None

    @property
    def told(self) -> tuple[Event, ...]:
        """Its events."""
        return (self.event, *([self.verb] if self.verb is not None else []))


@dataclass(slots=True, eq=False)
class Story:
    """All of one value in one queue."""

    dest: str
    val: str | None
    sends: list[Send] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    letters: list[Event] = field(default_factory=list)
    """Its appearances among the dead letters of this queue, as observers saw them."""
    stored: list[Event] = field(default_factory=list)
    """Its appearances in the queue itself, as observers saw them."""
    times: list[int] = field(default_factory=list)
    """When each of the sends began that did not fail, in order."""
    resent_from: int = NEVER


@dataclass(frozen=True, slots=True)
class Look:
    """What an observer, or the end of the run, said of a queue: ``looked``, ``letters``, ``left`` or ``drained``."""

    f: str
    event: Event
    begun: int
    found: Counter[str | None]
    total: int = 0

    @property
    def t(self) -> int:
        return self.event.t


class Facts:
    """See the module."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.trouble = Trouble(history)
        self.routes = Routes(history)
        self.policies = policies(history)
        self.clients: dict[str, Client] = {}
        self.stories: dict[tuple[str, str | None], Story] = {}
        self.looks: dict[str, list[Look]] = {}
        self.removals: dict[str, list[tuple[int, int]]] = {}
        """Queue -> when it was purged or deleted: begin and end."""
        self.redrives: dict[str, list[int]] = {}
        """Queue -> when moving its dead letters back began."""
        self.origins: dict[str, list[str]] = {}
        """Dead-letter queue -> those that dead-letter to it."""
        for dest, policy in self.policies.items():
            for letters in policy.dead_letters:
                self.origins.setdefault(letters, []).append(dest)
        self.producers: dict[str, Event] = {}
        """Producer -> how it was opened."""
        self._tags: dict[tuple[str, int | None], Lease] = {}
        self._marked: dict[str, list[Lease]] = {}
        self._committing: dict[tuple[str, int], list[Lease]] = {}
        self._newest: dict[str, tuple[list[int], list[int]]] = {}
        self._given: dict[str, list[Lease]] = {}
        self._found: dict[tuple[str, int], Counter[str | None]] = {}
        self._read()
        self.first_sends: dict[tuple[str, str | None], Event] = {}
        """(destination, value) -> the first send of it; topics included."""
        self.sent_to_exchanges: dict[str | None, Event] = {}
        """Value -> the first send of it to any exchange."""
        self._follow_exchanges()
        for story in self.stories.values():
            story.sends.sort(key=lambda send: send.invoke.t)
            story.times = [send.invoke.t for send in story.sends if not send.failed]
            story.resent_from = next((send.invoke.t for send in story.sends if send.resent), NEVER)
        self.consumers: dict[str, list[Client]] = {}
        for client in self.clients.values():
            self.trouble.settle(client)
            self.consumers.setdefault(client.dest, []).append(client)

    # --- what is asked

    def policy(self, dest: str) -> Policy:
        return self.policies.get(dest, _UNKNOWN)

    def copies(self, story: Story, t: int = NEVER - 1, been: frozenset[str] = frozenset()) -> int:
        """How many messages with this value can have come into this queue by then, or ever, at most."""
        if story.dest in been:
            return MANY
        number = MANY if story.resent_from <= t else bisect_right(story.times, t)
        for origin in self.origins.get(story.dest, ()):
            died = self.stories.get((origin, story.val))
            number += 0 if died is None else self.copies(died, t, been | {story.dest})
        return min(MANY, number * (1 + bisect_right(self.redrives.get(story.dest, []), t)))

    def first_sent(self, story: Story, been: frozenset[str] = frozenset()) -> int:
        """When the first of them can have been sent; `NEVER` if nobody ever did."""
        if story.dest in been:
            return NEVER
        times = story.times[:1]
        for origin in self.origins.get(story.dest, ()):
            died = self.stories.get((origin, story.val))
            times += [] if died is None else [self.first_sent(died, been | {story.dest})]
        return min(times, default=NEVER)

    def removed(self, dest: str, since: int, until: int) -> bool:
        """Was it purged or deleted at any time in between, or may it have been?"""
        return any(begin <= until and end >= since for begin, end in self.removals.get(dest, ()))

    def calm(self, since: int, until: int) -> bool:
        """Was all that is shared sound in that time?"""
        return self.trouble.calm(since, until)

    def sound(self, client: Client, since: int, until: int) -> bool:
        """The same for one consumer's connection, which is sound again as soon as it brings what was sent after the
        fault was over."""
        return self.trouble.calm(since, until) or not any(
            begin <= until and min(over + AFTERMATH_S * SECOND, self._proven(client, over)) >= since
            for begin, over in self.trouble.shared
        )

    def _proven(self, client: Client, over: int) -> int:
        """Until when a consumer had not been given anything that was sent after that time; `NEVER` if it never was."""
        if client.who not in self._newest:
            self._newest[client.who] = _newest(self, client)
        times, sent = self._newest[client.who]
        place = bisect_right(sent, over)
        return times[place] - 1 if place < len(times) else NEVER

    def smooth(self, since: int, until: int) -> bool:
        """Was it calm, and did no consumer at all end without a good-bye?"""
        return self.calm(since, until) and not any(
            client.doubtful <= until and min(client.closed, client.dead) >= since for client in self.clients.values()
        )

    def unseen(self, dest: str, since: int, until: int) -> int:
        """How often a consumer of a queue may have lost, in that time, a message that nobody was shown."""
        if not self.calm(since, until):
            return MANY
        clients = self.consumers.get(dest, ())
        return sum(client.deaths(until + 1) for client in clients if min(client.closed, client.dead) >= since)

    def last(self, dest: str, *names: str) -> Look | None:
        """The last look of these kinds at a queue."""
        found = [look for look in self.looks.get(dest, ()) if look.f in names]
        return found[-1] if found else None

    def hidden(self, dest: str, since: int, until: int) -> bool:
        """May a message that was there at `since` be with a consumer that has not shown it by `until`? One that never
        polls shows what it gets as it comes."""
        return any(
            client.opened <= until
            and not client.ended(until)
            and not client.found_nothing(since, until)
            and (client.polled or client.doubtful < until)
            for client in self.consumers.get(dest, ())
        )

    # --- reading

    def _read(self) -> None:
        readers = {
            "open": self._open,
            "close": self._close,
            "deliver": self._deliver,
            "poll": self._poll,
            "commit": self._commit,
            "send": self._send,
            "letter": self._letter,
            "stored": self._stored,
            **dict.fromkeys(VERBS, self._settle),
            **dict.fromkeys(("looked", "letters", "left", "drained"), self._look),
            **dict.fromkeys(("purge", "delete"), self._remove),
            "redrive": self._redrive,
        }
        for event in self.history:
            reader = readers.get(event.f)
            if reader is not None:
                reader(event)

    def story(self, dest: str, val: str | None) -> Story:
        found = self.stories.get((dest, val))
        if found is None:
            found = self.stories[dest, val] = Story(dest, val)
        return found

    def _client(self, event: Event, dest: str) -> Client:
        found = self.clients.get(event.who)
        if found is None:
            found = self.clients[event.who] = Client(event.who, event.proc, dest, event.t)
        return found

    def _open(self, event: Event) -> None:
        if event.kind != "ok":
            return
        if event.more.get("role") == "producer":
            self.producers[event.who] = event
        if event.more.get("role") == "queue-consumer" and event.dest is not None:
            client = self._client(event, event.dest)
            client.prefetch = event.more.get("prefetch")
            client.before = event.more.get("ack") == "before"
            client.asked = int(event.more.get("asked_t", -1))
            client.settle_s = float(event.more.get("settle_interval_s", client.settle_s))

    def _close(self, event: Event) -> None:
        client = self.clients.get(event.who)
        if client is None:
            return
        if event.kind == "invoke":
            client.closing = min(client.closing, event.t)
        elif event.kind == "ok":
            client.closed = min(client.closed, event.t)

    def _deliver(self, event: Event) -> None:
        if event.kind != "ok" or not _of_queue(event.dest):
            return
        assert event.dest is not None
        lease = Lease(event, self._client(event, event.dest))
        if lease.client.before:
            lease.known = event.t
        self._tags[event.who, event.tag] = lease
        self.story(event.dest, event.val).leases.append(lease)
        self._given.setdefault(event.who, []).append(lease)

    def _poll(self, event: Event) -> None:
        client = self.clients.get(event.who)
        if client is None:
            return
        client.polled = True
        begun = self.history.invoke_of(event)
        if event.kind == "ok" and event.more.get("count") == 0 and begun is not None:
            client.empty.append((begun.t, event.t))

    def _settle(self, event: Event) -> None:
        if not _of_queue(event.dest):
            return
        lease = self._tags.get((event.who, event.tag))
        if lease is None or lease.event.val != event.val:
            return
        if event.kind == "invoke":
            lease.tried = lease.tried or event
        elif event.kind == "ok":
            lease.tried = lease.tried or event
            if lease.verb is None:
                lease.verb = event
                self._marked.setdefault(event.who, []).append(lease)
        elif event.err is not None and event.err.code == "lease_lost":
            lease.lost = min(lease.lost, event.t)
            lease.client.shaken = event.t

    def _commit(self, event: Event) -> None:
        if event.who not in self.clients:
            return
        if event.kind == "invoke":
            self._committing[event.proc, event.seq] = self._marked.pop(event.who, [])
            return
        marked = self._committing.pop((event.proc, event.op or 0), [])
        if event.kind != "ok":
            self.clients[event.who].shaken = event.t
            return
        for lease in marked:
            lease.known = min(lease.known, event.t)

    def _send(self, event: Event) -> None:
        if event.kind != "invoke" or not _of_queue(event.dest):
            return
        assert event.dest is not None
        send = Send(event, self.history.end_of(event), resent=self._resends(event.who))
        self.story(event.dest, event.val).sends.append(send)

    def _resends(self, who: str) -> bool:
        opened = self.producers.get(who)
        return opened is not None and opened.more.get("on_unknown") == "resend"

    def _follow_exchanges(self) -> None:
        """Sends to exchanges, told to each queue that they may have come to."""
        queues = sorted({dest for dest, _ in self.stories} | set(self.policies))
        ways: dict[str, list[str]] = {}
        for event in self.history.of("send"):
            if event.kind != "invoke" or event.dest is None:
                continue
            self.first_sends.setdefault((event.dest, event.val), event)
            if not event.dest.startswith("exchange:"):
                continue
            self.sent_to_exchanges.setdefault(event.val, event)
            end = self.history.end_of(event)
            if event.dest not in ways:
                ways[event.dest] = self.routes.queues(queues, event.dest)
            for queue in ways[event.dest]:
                reach = self.routes.reach(event, None if end is None else end.t, queue)
                if reach != "no":
                    send = Send(event, end, sure=reach == "yes", resent=self._resends(event.who))
                    self.story(queue, event.val).sends.append(send)

    def _letter(self, event: Event) -> None:
        if event.dest is not None:
            self.story(event.dest, event.val).letters.append(event)
            self._count(event)

    def _stored(self, event: Event) -> None:
        if event.dest is not None and _of_queue(event.dest):
            self.story(event.dest, event.val).stored.append(event)
            self._count(event)

    def _count(self, event: Event) -> None:
        if event.op is not None:
            self._found.setdefault((event.proc, event.op), Counter())[event.val] += 1

    def _look(self, event: Event) -> None:
        if event.kind != "ok" or not _of_queue(event.dest):
            return
        assert event.dest is not None
        begun = self.history.invoke_of(event)
        found = self._found.get((event.proc, event.op or 0), Counter())
        total = sum(int(event.more.get(name, 0)) for name in ("ready", "unsettled", "delayed"))
        if event.f == "left" and not {"ready", "unsettled"} <= event.more.keys():
            return
        look = Look(event.f, event, event.t if begun is None else begun.t, found, total)
        self.looks.setdefault(event.dest, []).append(look)

    def _remove(self, event: Event) -> None:
        alone = event.kind != "invoke" and self.history.invoke_of(event) is None
        if event.dest is None or not (event.kind == "invoke" or alone):
            return
        end = event if alone else self.history.end_of(event)
        over = NEVER if end is None or end.kind == "info" else end.t
        self.removals.setdefault(event.dest, []).append((event.t, over))

    def _redrive(self, event: Event) -> None:
        if event.dest is not None and event.kind == "invoke":
            self.redrives.setdefault(event.dest, []).append(event.t)

    def __iter__(self) -> Iterator[Story]:
        return iter(self.stories.values())


def _newest(facts: Facts, client: Client) -> tuple[list[int], list[int]]:
    """Of what a consumer was given: when, and when it was sent, of each that was sent later than all before it."""
    times: list[int] = []
    sent: list[int] = []
    for lease in facts._given.get(client.who, ()):
        t = facts.first_sent(facts.story(client.dest, lease.event.val))
        if t != NEVER and t < lease.t and (not sent or t > sent[-1]):
            times.append(lease.t)
            sent.append(t)
    return times, sent


def ttl_of(queue_s: float | None, send: Event) -> float | None:
    """How long a message may live: the smaller of the queue's and its own; None is for ever."""
    told = [float(limit) for limit in (queue_s, send.more.get("expires_in_s")) if limit is not None]
    return min(told, default=None)


def _of_queue(dest: str | None) -> bool:
    return dest is not None and dest.startswith("queue:")
