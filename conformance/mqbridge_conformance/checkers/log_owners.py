"""Checker of ownership: two members of a group with one partition, and commits of one who had it no more.

The rule: assignments are told late, so an overlap is proven by deliveries alone: one member, then another, then the
first again under the lease it had. A fault, or silence of a member for as long as a session lasts, may make two believe
that they own it; only the broker's yes to a commit of the wrong one is then an anomaly.
"""

from __future__ import annotations

from collections.abc import Iterator

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Logs, in_order
from mqbridge_conformance.checkers.log_leases import Lease, Leases
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_promises import not_claimed
from mqbridge_conformance.checkers.log_runs import GRACE_S, NS, Faults
from mqbridge_conformance.checkers.log_settling import Settling
from mqbridge_conformance.history import Event, History

__all__ = ["log_owners"]


@each_life
def log_owners(history: History, profile: Profile) -> Judgement:
    """double-ownership and zombie-commit."""
    judge = Judge("log-owners", profile)
    leases = history.derived(Leases)
    for held in leases.at.values():
        judge.count("leases", len(held))
        for number, one in enumerate(held):
            for other in held[number + 1 :]:
                if one.who != other.who:
                    _both(history, one, other, judge) or _both(history, other, one, judge)
    _zombies(history, leases, profile, judge)
    return judge.judgement()


def _both(history: History, one: Lease, other: Lease, judge: Judge) -> bool:
    """Was `one` given something, then `other`, then `one` again under the lease that it had?"""
    for first, between, last in _interleaved(one, other):
        if not _excused(history, one, other, first, between, last):
            text = (
                f"{one.who} was given offset {first.off} under lease {one.lease}, {other.who} then offset "
                f"{between.off}, and {one.who} again offset {last.off} under the same lease"
            )
            judge.find("double-ownership", one.where, text, [first, between, last])
            return True
    return False


def _interleaved(one: Lease, other: Lease) -> Iterator[tuple[Event, Event, Event]]:
    if not one.rounds or not other.rounds:
        return
    if one.rounds[0][1].t > other.rounds[-1][0] or other.rounds[0][1].t > one.rounds[-1][0]:
        return  # the one ended before the other began, as is due
    for asked_t, between in other.rounds:
        first, last = one.before(asked_t), one.since(between.t)
        if first is not None and last is not None:
            yield first[1], between, last[1]


def _excused(history: History, one: Lease, other: Lease, first: Event, between: Event, last: Event) -> bool:
    """May one of the two have been taken for dead?"""
    faults, logs = history.derived(Faults), history.derived(Logs)
    options = [client.options for event in (first, between) if (client := logs.client(event)) is not None]
    if len(options) < 2:
        return True
    sessions = [float(option.get("session_timeout_s") or GRACE_S) for option in options]
    polls = [float(option.get("max_poll_interval_s") or 300.0) for option in options]
    limits = [min(pair) / 2 for pair in zip(sessions, polls, strict=True)]
    grace = max(GRACE_S, *sessions) * NS
    return (
        faults.during(first.t - grace, last.t, first.proc, between.proc) is not None
        or faults.silent(one.who, limits[0], first.t, last.t)
        or faults.silent(other.who, limits[1], first.t, between.t)
    )


def _zombies(history: History, leases: Leases, profile: Profile, judge: Judge) -> None:
    for promise in history.derived(Settling).promises:
        judge.count("commits")
        for other in leases.at[promise.lease.at]:
            newer = other.after > promise.lease.first.t
            if not newer or not other.deliveries or other.deliveries[0].t >= promise.ack.t:
                continue
            text = (
                f"{promise.lease.who} settled and committed under lease {promise.lease.lease} after {other.who} had "
                f"got the partition, and was told that it counts"
            )
            witness = in_order(promise.lease.first, other.deliveries[0], promise.ack, promise.commit)
            judge.find("zombie-commit", promise.lease.where, text, witness, not_claimed(profile, "COMMIT_FENCING"))
            break
