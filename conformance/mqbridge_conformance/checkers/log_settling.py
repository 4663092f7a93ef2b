"""What groups settled, as their members did it: what a commit promises, and what may be settled at all.

The rule: two bounds. A promise is the least that a commit which succeeded has to have put down: the deliveries of a
lease that were acked without a gap before it was asked for. Without a commit it is what was acked so long ago that its
member must have told the broker by itself, while that member polled, held the lease, and nothing was broken. What may
be settled is the most: every offset for which any verb that settles was so much as begun.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import Final, NamedTuple

from mqbridge_conformance.checkers.log_facts import Logs, place
from mqbridge_conformance.checkers.log_leases import GroupPlace, Lease, Leases
from mqbridge_conformance.checkers.log_members import Groups
from mqbridge_conformance.checkers.log_promises import loose_group
from mqbridge_conformance.checkers.log_runs import GRACE_S, NS, Faults
from mqbridge_conformance.history import Event, History

__all__ = ["Promise", "Settling"]

SETTLE_S: Final = 0.1
"""How long verbs wait to be told, where nobody says how long."""
SETTLING: Final = ("ack", "retry", "reject")
"""A retry may be the last one, and then it is dead-lettered."""


class Promise(NamedTuple):
    """`off` is the offset after the settled prefix; `ack` the invoke of the last verb that it rests on, `asked` and
    `commit` the ends of the operation that says that it counts: a commit, or a poll long after."""

    lease: Lease
    off: int
    ack: Event
    asked: Event
    commit: Event
    how: str = "committed"


class _Prefix:
    """The settled prefix of one lease."""

    __slots__ = ("acked", "at", "distrusted_t", "order", "seen")

    def __init__(self) -> None:
        self.order: list[int] = []
        self.seen = 0
        self.at = 0
        self.acked: dict[int, tuple[Event, int]] = {}
        self.distrusted_t = -1

    def advance(self, lease: Lease, asked_t: int) -> Event | None:
        """Move on over what was acked before then; the latest ack that it rests on, if it moved."""
        for event in lease.deliveries[self.seen :]:
            if not self.order or (event.off or 0) > self.order[-1]:
                self.order.append(event.off or 0)
        self.seen = len(lease.deliveries)
        latest: Event | None = None
        while self.at < len(self.order):
            ack = self.acked.get(self.order[self.at])
            if ack is None or ack[1] >= asked_t:
                break
            if latest is None or ack[0].t > latest.t:
                latest = ack[0]
            self.at += 1
        return latest

    def begin_anew(self, lease: Lease, t: int) -> None:
        """A seek: what was delivered and settled before it says nothing of the place any more."""
        self.seen = bisect_right(lease.deliveries, t, key=lambda event: event.t)
        self.order, self.at, self.acked = [], 0, {}


class Settling:
    """See the module."""

    def __init__(self, history: History) -> None:
        self._leases = history.derived(Leases)
        self._logs = history.derived(Logs)
        self._faults = history.derived(Faults)
        self.promises: list[Promise] = []
        self.lapsed: list[Promise] = []
        """What no commit speaks for, and what time does."""
        self.possible: dict[GroupPlace, dict[int, int]] = defaultdict(dict)
        """Offset -> from when on it may be settled."""
        self._prefixes: dict[Lease, _Prefix] = defaultdict(_Prefix)
        self._touched: dict[str, dict[Lease, None]] = defaultdict(dict)
        self._told: dict[Lease, _Prefix] = defaultdict(_Prefix)
        self._waiting: dict[str, dict[Lease, None]] = defaultdict(dict)
        self._all: dict[str, list[Lease]] = defaultdict(list)
        for lease in self._leases:
            self._all[lease.who].append(lease)
        for event in history.of("commit", "seek", "poll", "revoked", "lost", "assigned", *SETTLING):
            if event.f == "commit":
                if event.kind != "invoke":
                    self._committed(history, event)
            elif event.f == "poll":
                if event.kind == "ok":
                    self._polled(history, event)
            elif event.f in ("seek", "revoked", "lost", "assigned"):
                self._ended(event)
            elif event.off is not None and event.dest is not None:
                self._verb(history, event)
        self._by_delivery(history)

    def _group(self, event: Event) -> str | None:
        client = self._logs.client(event)
        return event.group or (client.group if client is not None else None)

    def _verb(self, history: History, event: Event) -> None:
        group = self._group(event)
        if group is None:
            return
        if event.op is None:  # its invoke, or all that is told of it
            self.possible[group, *place(event)].setdefault(event.off or 0, event.t)
        if event.f != "ack" or event.kind != "ok":
            return
        lease = self._leases.of(event, group)
        if lease is not None:
            begun = history.invoke_of(event) or event
            for prefix in (self._prefixes[lease], self._told[lease]):
                prefix.acked.setdefault(event.off or 0, (begun, event.t))
            self._touched[event.who][lease] = self._waiting[event.who][lease] = None

    def _ended(self, event: Event) -> None:
        """A lease is over, or begins anew: what was settled under it and not yet told need not be told any more."""
        for lease in [*self._waiting[event.who]]:
            begins = event.f == "assigned" and event.lease == lease.lease
            if lease.at[1:] == place(event) and not begins:
                del self._waiting[event.who][lease]
        if event.f == "seek":
            for lease in self._all[event.who]:
                if lease.at[1:] == place(event):
                    for prefix in (self._prefixes[lease], self._told[lease]):
                        prefix.begin_anew(lease, event.t)

    def _polled(self, history: History, event: Event) -> None:
        """What was settled long before a poll began that ended well."""
        asked, client = history.invoke_of(event), self._logs.client(event)
        if asked is None or client is None or not self._waiting[event.who]:
            return
        options = client.options
        sessions = [float(options.get(name) or GRACE_S) for name in ("session_timeout_s", "max_poll_interval_s")]
        by_t = asked.t - int((float(options.get("settle_interval_s") or SETTLE_S) + GRACE_S) * NS)
        for lease in [*self._waiting[event.who]]:
            prefix = self._told[lease]
            ack = prefix.advance(lease, by_t)
            if len(prefix.acked) <= prefix.at:
                del self._waiting[event.who][lease]
            if ack is None or self._prefixes[lease].distrusted_t >= ack.t:
                continue
            broken = self._faults.during(ack.t - int(GRACE_S * NS), event.t, event.proc)
            if not broken and not self._faults.silent(event.who, min(sessions) / 2, ack.t, event.t):
                how = f"settled, {(asked.t - ack.t) / NS:.0f} s before it polled again,"
                self.lapsed.append(Promise(lease, prefix.order[prefix.at - 1] + 1, ack, asked, event, how))

    def _committed(self, history: History, event: Event) -> None:
        asked = history.invoke_of(event)
        if event.kind != "ok" or asked is None:
            for lease in self._all[event.who]:
                self._prefixes[lease].distrusted_t = event.t
            return
        for lease in list(self._touched[event.who]):
            prefix = self._prefixes[lease]
            ack = prefix.advance(lease, asked.t)
            if ack is not None and ack.t > prefix.distrusted_t:
                self.promises.append(Promise(lease, prefix.order[prefix.at - 1] + 1, ack, asked, event))
            if len(prefix.acked) <= prefix.at:
                del self._touched[event.who][lease]

    def _by_delivery(self, history: History) -> None:
        """Workers settle by themselves, and who settles before seeing may have settled anything shown."""
        groups = history.derived(Groups)
        loose = {(group.name, group.dest) for group in groups if loose_group(group.members)}
        for event in history.said("deliver"):
            if event.off is None or event.dest is None:
                continue
            group = self._group(event)
            if group is not None and (event.more.get("handler") or (group, event.dest) in loose):
                self.possible[group, *place(event)].setdefault(event.off, event.t)
