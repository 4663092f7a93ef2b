"""One thing changed in a history: what breaks a promise, and what means nothing.

The rule: a mutation finds the places where it can strike, from the events alone, and says what each edit changes. Each
is named by the anomaly that must appear. What means nothing leaves the truth as it is and what is known of it weaker:
an end that was told later, an operation that began earlier, an outcome that nobody knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

from mqbridge_conformance.history import Error, Event, History, Payload
from tests.conformance.checkers.stories import TOPIC

__all__ = ["HARMLESS", "MUTATIONS", "Edit", "edited"]

ID: TypeAlias = tuple[str, int]
TICK: Final = 10_000
"""A hundredth of the time between two events of a story."""


class Edit(NamedTuple):
    """Events by process and number: what each becomes, None for nothing; and what comes in addition."""

    changed: Mapping[ID, Event | None]
    added: tuple[Event, ...] = ()


Mutation: TypeAlias = Callable[[History], Iterator[Edit]]


def edited(history: History, edit: Edit) -> History:
    kept = (edit.changed.get(_id(event), event) for event in history)
    return History([event for event in (*kept, *edit.added) if event is not None])


def _id(event: Event) -> ID:
    return event.proc, event.seq


def _drop(*events: Event) -> Edit:
    return Edit({_id(event): None for event in events})


def _set(*pairs: tuple[Event, Event]) -> Edit:
    return Edit({_id(event): new for event, new in pairs})


def _writer(history: History) -> dict[str, tuple[Event, Event | None]]:
    return {invoke.val or "": (invoke, end) for invoke, end in history.operations("send")}


def _committed_txns(history: History) -> dict[str, tuple[Event, Event]]:
    return {
        invoke.txn or "": (invoke, end)
        for invoke, end in history.operations("end")
        if invoke.more.get("commit") and end is not None
    }


def _sure(history: History, value: str | None) -> bool:
    """Was it confirmed, its transaction too?"""
    invoke, end = history.derived(_writer)[value or ""]
    whole = history.derived(_committed_txns)
    return end is not None and end.kind == "ok" and (invoke.txn is None or invoke.txn in whole)


def _final_look(history: History) -> list[Event]:
    last = history.operations("looked")[-1].invoke
    return [event for event in history.said("stored") if event.op == last.seq and event.proc == last.proc]


def _by_who(history: History, who: str) -> dict[int, list[Event]]:
    """What one client was given, by partition."""
    found: dict[int, list[Event]] = defaultdict(list)
    for event in history.said("deliver"):
        if event.who == who:
            found[event.part or 0].append(event)
    return found


def _last_replay(history: History) -> str:
    return [event.who for event in history.said("open") if event.more.get("role") == "replay"][-1]


# --- what breaks a promise


def lose(history: History) -> Iterator[Edit]:
    """A confirmed record is not there when somebody looks at the end."""
    return (_drop(event) for event in _final_look(history) if _sure(history, event.val))


def swap_what_is_stored(history: History) -> Iterator[Edit]:
    given = {event.val for event in history.said("deliver")}
    for one, other in pairwise(_final_look(history)):
        if one.part == other.part and one.val in given:
            first = one._replace(val=other.val, key=other.key)
            yield _set((one, first), (other, other._replace(val=one.val, key=one.key)))


def store_twice(history: History) -> Iterator[Edit]:
    for event in _final_look(history):
        yield Edit({}, (event._replace(seq=100_000, off=(event.off or 0) + 1000),))


def confirm_twice(history: History) -> Iterator[Edit]:
    sends = history.operations("send")
    ends = [end for invoke, end in sends if end is not None and end.off is not None and _sure(history, invoke.val)]
    for one, other in pairwise(ends):
        yield _set((other, other._replace(part=one.part, off=one.off)))


def deny(history: History) -> Iterator[Edit]:
    """It says that it was not applied, and it was."""
    seen = {event.val for event in history.of("deliver", "stored")}
    refused = Error("x", "not_applied", "")
    for invoke, end in history.operations("send"):
        if invoke.txn is None and end is not None and end.kind != "fail" and invoke.val in seen:
            yield _set((end, end._replace(kind="fail", part=None, off=None, err=refused)))


def _read_in_transactions(history: History) -> Iterator[tuple[Event, tuple[Event, Event]]]:
    whole, writer = history.derived(_committed_txns), history.derived(_writer)
    for event in history.said("deliver"):
        txn = writer[event.val or ""][0].txn
        if txn is not None:
            yield event, whole[txn]


def abort(history: History) -> Iterator[Edit]:
    """Something of it was read, and then it was not committed."""
    for _, ends in _read_in_transactions(history):
        yield _set(*((event, event._replace(more={"commit": False})) for event in ends))


def commit_late(history: History) -> Iterator[Edit]:
    for event, ends in _read_in_transactions(history):
        yield _set(*((end, end._replace(t=event.t + TICK * number)) for number, end in enumerate(ends, 1)))


def _steps(history: History, who: str) -> Iterator[tuple[Event, Event, Event]]:
    """Three deliveries in a row, of one lease, upwards, the middle one given once and of a record that stays there."""
    lying = {(event.part, event.off) for event in _final_look(history)}
    for given in _by_who(history, who).values():
        for one, two, three in zip(given, given[1:], given[2:], strict=False):
            rising = (one.off or 0) < (two.off or 0) < (three.off or 0) and one.lease == two.lease == three.lease
            if rising and (two.part, two.off) in lying and sum(event.off == two.off for event in given) == 1:
                yield one, two, three


def skip(history: History) -> Iterator[Edit]:
    return (_drop(two) for _, two, _ in _steps(history, "z/c"))


def step_back(history: History) -> Iterator[Edit]:
    for one, _, three in _steps(history, "z/c"):
        yield Edit({}, (one._replace(seq=100_000, t=three.t + TICK, op=three.op),))


def give_in_another_order(history: History) -> Iterator[Edit]:
    for _, two, three in _steps(history, "z/c"):
        yield _set((two, two._replace(t=three.t, op=three.op)), (three, three._replace(t=two.t, op=two.op)))


def replay_another_value(history: History) -> Iterator[Edit]:
    for _, two, _ in _steps(history, _last_replay(history)):
        yield _set((two, two._replace(val=Payload("run", TOPIC, "k0", "nobody", 7).encode().decode())))


def replay_without(history: History) -> Iterator[Edit]:
    return (_drop(two) for _, two, _ in _steps(history, _last_replay(history)))


def _read_last(history: History) -> Iterator[list[Event]]:
    """What the last replay was given of each partition, where that was more than one record."""
    return (given for given in _by_who(history, _last_replay(history)).values() if len(given) > 1)


def replay_from_later_on(history: History) -> Iterator[Edit]:
    return (_drop(given[0]) for given in _read_last(history))


def replay_less(history: History) -> Iterator[Edit]:
    """It was read out without the last record that was confirmed before it was asked for."""
    return (_drop(given[-1]) for given in _read_last(history) if _sure(history, given[-1].val))


def replay_nothing(history: History) -> Iterator[Edit]:
    for given in _read_last(history):
        if _sure(history, given[-1].val):
            yield _drop(*given)


def damage(history: History) -> Iterator[Edit]:
    for event in history.of("deliver", "stored"):
        yield _set((event, event._replace(val=(event.val or "").replace("run", "ruin", 1))))


def rekey(history: History) -> Iterator[Edit]:
    return (_set((event, event._replace(key="another"))) for event in history.of("deliver", "stored"))


def unkey(history: History) -> Iterator[Edit]:
    return (_set((event, event._replace(key=None))) for event in history.of("deliver", "stored"))


def invent(history: History) -> Iterator[Edit]:
    """A record of another run lies there, or is given to somebody."""
    for event in history.of("deliver", "stored"):
        val = Payload("ruin", TOPIC, event.key or "-", "p", 1).encode().decode()
        yield Edit({}, (event._replace(seq=100_000, off=(event.off or 0) + 1000, val=val),))


def deface(history: History) -> Iterator[Edit]:
    """What says that it is a payload is damaged."""
    for event in history.of("deliver", "stored"):
        yield _set((event, event._replace(val=(event.val or "").replace("mqp1", "mqp!", 1))))


def foresee(history: History) -> Iterator[Edit]:
    """A record is seen before it was sent."""
    for event in history.said("deliver"):
        sent = history.derived(_writer)[event.val or ""][0]
        yield Edit({}, (event._replace(seq=100_000, t=sent.t - TICK, proc="early", op=None, client="r", group=None),))


def misplace(history: History) -> Iterator[Edit]:
    for event in _final_look(history):
        yield Edit({}, (event._replace(seq=100_000, dest="topic:elsewhere"),))


def never_give(history: History) -> Iterator[Edit]:
    """The last record of a partition is given to nobody in the group."""
    for given in _by_who(history, "z/c").values():
        last = max(given, key=lambda event: event.off or 0)
        if _sure(history, last.val):
            yield _drop(*(event for event in history.said("deliver") if event.val == last.val and event.group == "g"))


def _moved(history: History, part: int) -> list[Event]:
    """Seeks, resets and deletions that touch a partition."""
    seeks = [event for event in history.of("seek") if event.part == part]
    resets = [event for event in history.of("reset") if str(part) in event.more.get("offsets", {})]
    return [*seeks, *resets, *(e for e in history.of("delete_records") if str(part) in e.more.get("before", {}))]


def hurry(history: History) -> Iterator[Edit]:
    """A place is committed one above a record that nobody has settled."""
    lying = {(event.part, event.off) for event in _final_look(history) if _sure(history, event.val)}
    verbs = history.of("ack", "retry", "reject")
    for event in history.said("committed"):
        begun = any(v.part == event.part and v.off == event.off and v.t <= event.t for v in verbs)
        if (event.part, event.off) in lying and not begun and not _moved(history, event.part or 0):
            yield _set((event, event._replace(off=(event.off or 0) + 1)))


def forget_commit(history: History) -> Iterator[Edit]:
    """At the end the group is seen where its last member began, though that one has committed all."""
    given = _by_who(history, "z/c")
    for event in history.said("committed")[-history.spec(TOPIC)["partitions"] :]:
        begun = given.get(event.part or 0)
        if begun and (begun[0].off or 0) < (event.off or 0):
            yield _set((event, event._replace(off=begun[0].off)))


def go_back(history: History) -> Iterator[Edit]:
    by_part: dict[int, list[Event]] = defaultdict(list)
    for event in history.said("committed"):
        by_part[event.part or 0].append(event)
    for part, seen in by_part.items():
        for one, other in pairwise(seen):
            if one.off and not any(one.t - 10**7 < move.t < other.t for move in _moved(history, part)):
                yield _set((other, other._replace(off=one.off - 1)))


def _another_member(t: int, event: Event) -> tuple[Event, ...]:
    """Y joins, polls in vain, polls again and is given what an event is about; all within a moment from `t` on."""
    facts: dict[str, Any] = {"dest": TOPIC, "client": "c", "group": "g"}
    opened = {"role": "topic-consumer", "start": {"name": "EARLIEST"}, "ack": "explicit", "sources": [TOPIC]}
    deliver = event._replace(seq=5, t=t + 5 * TICK, proc="y", kind="ok", f="deliver", op=4, lease=10_000, err=None)
    return (
        Event(1, t + 1 * TICK, "y", "ok", "open", **facts, more=opened),
        Event(2, t + 2 * TICK, "y", "invoke", "poll", **facts),
        Event(3, t + 3 * TICK, "y", "ok", "poll", 2, **facts, more={"count": 0}),
        Event(4, t + 4 * TICK, "y", "invoke", "poll", **facts),
        deliver,
        Event(6, t + 6 * TICK, "y", "ok", "poll", 4, **facts, more={"count": 1}),
    )


def own_twice(history: History) -> Iterator[Edit]:
    """Another member is given a record between two polls of the last one, which give it records of the same lease."""
    polls = {(event.proc, event.seq): event for event in history.of("poll")}
    for given in _by_who(history, "z/c").values():
        for one, other in combinations(given, 2):
            asked = polls[other.proc, other.op or 0]
            if asked.t > one.t and one.op != other.op:
                yield Edit({}, _another_member(asked.t - 100 * TICK + TICK, one))


def outlive(history: History) -> Iterator[Edit]:
    """The last member settles and commits, after another one was given the partition."""
    for event in history.of("ack"):
        if event.proc == "z" and event.kind == "invoke":
            yield Edit({}, _another_member(event.t - 50 * TICK, event))


def pass_over(history: History) -> Iterator[Edit]:
    """The last owner of a partition begins one record too far."""
    lying = {(event.part, event.off) for event in _final_look(history) if _sure(history, event.val)}
    verbs = history.of("ack", "retry", "reject")
    for part, given in _by_who(history, "z/c").items():
        first = given[0]
        earlier = any(e.part == part and e.group == "g" and e.who != "z/c" for e in history.said("deliver"))
        begun = any(v.part == part and v.off == first.off and v.t <= given[-1].t for v in verbs)
        if len(given) > 1 and earlier and not begun and (part, first.off) in lying and not _moved(history, part):
            yield _drop(first)


def _swapped(history: History, one: Event, other: Event, ends: tuple[Event, Event]) -> Edit:
    """Two records have changed places, and everybody saw them so."""
    changed: dict[ID, Event | None] = {}
    for event in history.of("deliver", "stored"):
        for here, there in ((one, other), (other, one)):
            if event.val == here.val:
                changed[_id(event)] = event._replace(val=there.val, key=there.key)
    for end, new in (ends, ends[::-1]):
        changed[_id(end)] = end._replace(part=new.part, off=new.off)
    return Edit(changed)


def _neighbours(history: History) -> Iterator[tuple[Event, Event, tuple[Event, Event]]]:
    """Two sends, confirmed, that lie there at the end, in one partition, in their order."""
    lying = {event.val: event for event in _final_look(history)}
    sure = [
        (invoke, end)
        for invoke, end in history.operations("send")
        if end is not None and invoke.val in lying and _sure(history, invoke.val)
    ]
    for (one, first), (other, second) in combinations(sure, 2):
        here, there = lying[one.val], lying[other.val]
        if here.part == there.part and (here.off or 0) < (there.off or 0):
            yield one, other, (first, second)


def swap_in_log(history: History) -> Iterator[Edit]:
    """Two records of a key and a producer lie in the wrong order, for everybody."""
    for one, other, ends in _neighbours(history):
        if one.who == other.who and one.key == other.key:
            yield _swapped(history, one, other, ends)


def append_below(history: History) -> Iterator[Edit]:
    """A record lies below one that was confirmed before it was sent."""
    for one, other, ends in _neighbours(history):
        if one.who != other.who and ends[0].t < other.t and ends[0].off is not None:
            yield _swapped(history, one, other, ends)


def move_key(history: History) -> Iterator[Edit]:
    """A record of a key lies in another partition, for everybody."""
    by_key: dict[str | None, list[Event]] = defaultdict(list)
    for event in _final_look(history):
        by_key[event.key].append(event)
    for events in by_key.values():
        for event in events[1:]:
            seen = [e for e in history.of("deliver", "stored") if e.val == event.val]
            end = history.derived(_writer)[event.val or ""][1]
            told = [end] if end is not None and end.off is not None else []
            yield _set(*((e, e._replace(part=7, off=e.off)) for e in (*seen, *told)))


MUTATIONS: Final[Mapping[str, tuple[Mutation, frozenset[str]]]] = {
    mutation.__name__: (mutation, frozenset(names.split()))
    for mutation, names in (
        (lose, "lost-write"),
        (swap_what_is_stored, "inconsistent-offsets"),
        (store_twice, "duplicate"),
        (confirm_twice, "inconsistent-offsets"),
        (deny, "G1a"),
        (abort, "G1a"),
        (commit_late, "precommitted-read"),
        (skip, "poll-skip int-poll-skip"),
        (step_back, "nonmonotonic-poll int-nonmonotonic-poll"),
        (give_in_another_order, "nonmonotonic-poll int-nonmonotonic-poll"),
        (replay_another_value, "replay-mismatch"),
        (replay_without, "replay-mismatch"),
        (replay_from_later_on, "replay-mismatch"),
        (replay_less, "replay-mismatch"),
        (replay_nothing, "replay-mismatch"),
        (damage, "payload-corruption"),
        (rekey, "payload-corruption"),
        (unkey, "payload-corruption"),
        (invent, "phantom"),
        (deface, "phantom"),
        (foresee, "phantom"),
        (misplace, "wrong-destination"),
        (never_give, "unseen"),
        (hurry, "committed-too-far"),
        (forget_commit, "commit-lost"),
        (go_back, "commit-regression"),
        (own_twice, "double-ownership"),
        (outlive, "zombie-commit"),
        (pass_over, "handover-gap"),
        (swap_in_log, "key-order"),
        (append_below, "realtime-order"),
        (move_key, "key-moved"),
    )
}
"""Name -> mutation, and the anomalies of which one must appear."""


# --- what means nothing


def know_less(history: History) -> Iterator[Edit]:
    """Of a send that was seen nobody knows the outcome."""
    seen = {event.val for event in history.of("deliver", "stored")}
    for invoke, end in history.operations("send"):
        if invoke.txn is None and end is not None and end.kind == "ok" and invoke.val in seen:
            yield _set((end, end._replace(kind="info", part=None, off=None)))


def die_before_the_end(history: History) -> Iterator[Edit]:
    """The end of a send was never told."""
    for invoke, end in history.operations("send"):
        if invoke.txn is None and end is not None and end.kind != "fail":
            yield _drop(end)


def tell_later(history: History) -> Iterator[Edit]:
    """What ended before another process began something is told after that: they may have been concurrent."""
    ends = ("send", "deliver", "poll", "ack", "commit", "stored", "looked", "committed")
    for one, other in pairwise(history.events):
        if one.proc != other.proc and one.kind != "invoke" and other.kind == "invoke" and one.f in ends:
            yield _set((one, one._replace(t=other.t)), (other, other._replace(t=one.t)))


def say_nothing_of_leaving(history: History) -> Iterator[Edit]:
    return (_drop(event) for event in history.said("revoked"))


def be_seen_more_often(history: History) -> Iterator[Edit]:
    """Another observer sees the same."""
    for event in _final_look(history):
        yield Edit({}, (event._replace(seq=100_000, proc="another", op=None),))


HARMLESS: Final[Mapping[str, Mutation]] = {
    mutation.__name__: mutation
    for mutation in (know_less, die_before_the_end, tell_later, say_nothing_of_leaving, be_seen_more_often)
}
