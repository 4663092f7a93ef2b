"""Which queues a message reaches: exchanges, bindings and alternates together, against the rules written out
plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mqbridge.semantics import routing
from mqbridge.semantics.matching import EXCHANGE_TYPES, HEADER_MATCHES, BindingEntry, BoundKind, ExchangeType
from mqbridge.semantics.routing import ExchangeEntry, ExchangeTable


def table(*exchanges: tuple[str, ExchangeType] | tuple[str, ExchangeType, str]) -> ExchangeTable:
    made = ExchangeTable()
    for exchange in exchanges:
        made.add_exchange(*exchange)
    return made


def test_direct_compares_the_whole_key() -> None:
    """Equal keys reach all queues bound with them; no case folding, no prefix, no wildcard."""
    t = table(("d", "direct"))
    for queue, key in (("q1", "a"), ("q2", "a"), ("q3", "A"), ("q4", "a.b"), ("q5", "#"), ("q6", "")):
        t.bind("d", "queue", queue, key=key)
    assert t.route("d", "a") == ("q1", "q2")
    assert t.route("d", "#") == ("q5",)
    assert t.route("d") == ("q6",)
    assert t.route("d", "b") == ()


def test_fanout_ignores_key_and_headers() -> None:
    """Every bound queue gets one copy, whatever key it is bound with and however often."""
    t = table(("f", "fanout"))
    t.bind("f", "queue", "q2", key="x")
    t.bind("f", "queue", "q1")
    t.bind("f", "queue", "q2", key="y")
    assert t.route("f", "z", {"h": b"v"}) == ("q2", "q1")


def test_headers_exchange_decides_for_each_message() -> None:
    """The headers decide each time, also for one key: nothing of the last message is remembered."""
    t = table(("h", "headers"))
    t.bind("h", "queue", "red", headers={"colour": "red"})
    t.bind("h", "queue", "some", headers={"colour": "blue", "size": None}, match="any")
    assert t.route("h", "k", {"colour": b"red"}) == ("red",)
    assert t.route("h", "k", {"colour": b"blue"}) == ("some",)
    assert t.route("h", "k", {"colour": b"red", "size": b"1"}) == ("red", "some")
    assert t.route("h", "k") == ()


def test_headers_decide_behind_another_exchange_too() -> None:
    """A fanout that leads to a headers exchange has no route that could be remembered."""
    t = table(("f", "fanout"), ("h", "headers"))
    t.bind("f", "exchange", "h")
    t.bind("h", "queue", "q", headers={"k": "v"})
    assert [t.route("f", "", {"k": value}) for value in (b"v", b"w", b"v")] == [("q",), (), ("q",)]


def test_a_queue_gets_one_copy_in_the_order_of_its_first_binding() -> None:
    """Matching bindings and ways through other exchanges multiply nothing; the order is that of creation."""
    t = table(("t", "topic"), ("f", "fanout"))
    t.bind("f", "queue", "late")
    t.bind("t", "queue", "first", key="a.#")
    t.bind("t", "queue", "second", key="#")
    t.bind("t", "exchange", "f", key="*")
    t.bind("t", "queue", "first", key="a")
    t.bind("f", "queue", "second")
    assert t.route("t", "a") == ("late", "first", "second")


def test_a_fanout_that_leads_to_other_types_depends_on_the_key() -> None:
    """Only fanouts among themselves have one route for all keys."""
    t = table(("f", "fanout"), ("d", "direct"))
    t.bind("f", "exchange", "d")
    t.bind("d", "queue", "q", key="k")
    assert [t.route("f", key) for key in ("k", "other", "k")] == [("q",), (), ("q",)]


@pytest.mark.parametrize("kind", EXCHANGE_TYPES)
def test_each_change_is_seen_by_the_next_route(kind: ExchangeType) -> None:
    """A route that was just taken is not remembered past bind, unbind and the removal of a queue."""
    t = table(("e", kind))
    assert t.route("e", "k") == ()
    t.bind("e", "queue", "q1", key="k")
    assert t.route("e", "k") == ("q1",)
    t.bind("e", "queue", "q2", key="k")
    assert t.route("e", "k") == ("q1", "q2")
    t.unbind("e", "queue", "q1", key="k")
    assert t.route("e", "k") == ("q2",)
    t.remove_queue("q2")
    assert t.route("e", "k") == ()


def test_circles_of_bindings_end() -> None:
    """Exchanges bound to each other and to themselves are asked once each."""
    t = table(("a", "fanout"), ("b", "fanout"), ("c", "direct"))
    for source, destination in (("a", "b"), ("b", "a"), ("a", "a"), ("b", "c")):
        t.bind(source, "exchange", destination)
    t.bind("b", "queue", "qb")
    t.bind("a", "queue", "qa")
    t.bind("c", "queue", "qc")
    assert t.route("a") == ("qb", "qa", "qc")


def test_the_alternate_takes_what_its_exchange_does_not_route() -> None:
    """Only the unrouted goes there, with its key; a chain of alternates is followed."""
    t = table(("d", "direct", "t"), ("t", "topic", "f"), ("f", "fanout"))
    t.bind("d", "queue", "known", key="k")
    t.bind("t", "queue", "dotted", key="*.*")
    t.bind("f", "queue", "rest")
    assert t.route("d", "k") == ("known",)
    assert t.route("d", "a.b") == ("dotted",)
    assert t.route("d", "other") == ("rest",)


def test_a_binding_to_an_exchange_counts_as_a_result() -> None:
    """The alternate stays silent though the bound exchange leads to no queue: each exchange decides for
    itself.
    """
    t = table(("d", "direct", "f"), ("empty", "direct"), ("f", "fanout"))
    t.bind("f", "queue", "rest")
    assert t.route("d", "k") == ("rest",)
    t.bind("d", "exchange", "empty", key="k")
    assert t.route("d", "k") == ()


def test_an_exchange_on_the_way_uses_its_own_alternate() -> None:
    """The first exchange routed, the second did not: the second's alternate fires besides the first's queue."""
    t = table(("f", "fanout"), ("d", "direct", "rest"), ("rest", "fanout"))
    t.bind("f", "queue", "q")
    t.bind("f", "exchange", "d")
    t.bind("rest", "queue", "leftover")
    assert t.route("f", "nobody") == ("q", "leftover")


def test_alternates_in_a_circle_and_missing_ones_are_unroutable() -> None:
    """A loop ends at the first exchange asked before; an alternate that is not there yet is passed by until
    it is.
    """
    t = table(("a", "direct", "b"), ("b", "direct", "a"), ("self", "direct", "self"), ("lone", "direct", "later"))
    assert t.route("a", "k") == t.route("self", "k") == t.route("lone", "k") == ()
    t.bind("b", "queue", "q", key="q")
    assert t.route("lone", "q") == ()
    t.add_exchange("later", "direct", "b")
    assert t.route("lone", "q") == ("q",)
    t.remove_exchange("later")
    t.add_exchange("later", "fanout")
    t.bind("later", "queue", "q")
    assert t.route("lone", "k") == ("q",)
    t.remove_exchange("later")
    assert t.route("lone", "k") == ()


def test_binding_twice_is_one_binding_and_one_unbind_removes_it() -> None:
    """Source, destination, key, headers and match are the binding; the order of headers is not."""
    t = table(("h", "headers"))
    assert t.bind("h", "queue", "q", headers={"a": "1", "b": None})
    assert not t.bind("h", "queue", "q", headers={"b": None, "a": b"1"})
    assert t.bind("h", "queue", "q", headers={"a": "1", "b": None}, match="any")
    assert not t.unbind("h", "queue", "q", headers={"a": "1"})
    assert t.unbind("h", "queue", "q", headers={"b": None, "a": b"1"})
    assert not t.unbind("h", "queue", "q", headers={"b": None, "a": b"1"})
    assert [binding.match for binding in t.bindings()] == ["any"]
    assert not t.unbind("nowhere", "queue", "q")


def test_an_exchange_is_added_once() -> None:
    """The same again changes nothing, and bindings stay; a different one is refused with both forms named."""
    t = table(("e", "topic", "alt"))
    t.bind("e", "queue", "q", key="#")
    assert not t.add_exchange("e", "topic", "alt")
    with pytest.raises(ValueError, match=r"type=topic, alternate='alt', and not as type=topic, alternate=None"):
        t.add_exchange("e", "topic")
    assert t.route("e", "x") == ("q",)
    assert t.exchanges() == (ExchangeEntry("e", "topic", "alt"),)
    assert t.exchange("e") == ExchangeEntry("e", "topic", "alt")
    assert t.exchange("alt") is None
    assert "e" in t
    assert "alt" not in t


def test_removing_an_exchange_takes_its_bindings_on_both_sides() -> None:
    """What left it and what led to it is gone, is returned in order, and does not come back with the name."""
    t = table(("a", "fanout"), ("b", "fanout"))
    t.bind("a", "exchange", "b")
    t.bind("b", "queue", "q")
    t.bind("b", "exchange", "b")
    t.bind("a", "queue", "other")
    assert [(gone.exchange, gone.name) for gone in t.remove_exchange("b")] == [("a", "b"), ("b", "q"), ("b", "b")]
    assert t.remove_exchange("b") == ()
    t.add_exchange("b", "fanout")
    assert t.route("a") == ("other",)
    assert t.bindings_to("queue", "q") == ()


def test_removing_a_queue_takes_its_bindings_and_not_those_of_an_exchange_of_its_name() -> None:
    """A queue and an exchange of one name are two things."""
    t = table(("a", "fanout"), ("q", "fanout"))
    t.bind("a", "queue", "q")
    t.bind("a", "exchange", "q")
    t.bind("q", "queue", "behind")
    assert t.remove_queue("q") == (BindingEntry("a", "queue", "q"),)
    assert t.remove_queue("q") == ()
    assert t.route("a") == ("behind",)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda t: t.route("none", "k"), "'none' does not exist"),
        (lambda t: t.bind("none", "queue", "q"), "'none' does not exist"),
        (lambda t: t.bind("t", "exchange", "none"), "'none' does not exist"),
        (lambda t: t.bind("t", "topic", "q"), "not to a 'topic'"),
        (lambda t: t.bind("t", "queue", "q", key="#.#.#"), "at most 2"),
        (lambda t: t.bind("t", "queue", "q", match="most"), "not 'most'"),
        (lambda t: t.add_exchange("", "direct"), "default exchange"),
        (lambda t: t.add_exchange("x", "x-delayed"), "not 'x-delayed'"),
    ],
)
def test_what_is_refused_changes_nothing(act: Callable[[ExchangeTable], object], sentence: str) -> None:
    """The ValueError says what was wrong, and the table is as before."""
    t = table(("t", "topic"))
    with pytest.raises(ValueError, match=sentence):
        act(t)
    assert t.bindings() == ()
    assert len(t.exchanges()) == 1
    assert t.route("t", "k") == ()


def test_three_hashes_are_a_plain_key_to_a_direct_exchange() -> None:
    """The limit is the topic exchange's alone."""
    t = table(("d", "direct"))
    t.bind("d", "queue", "q", key="#.#.#")
    assert t.route("d", "#.#.#") == ("q",)


def test_remembered_routes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ever new keys nor long results let the memo grow without end; long keys are not in it."""
    monkeypatch.setattr(routing, "MEMO_WEIGHT", 50)
    t = table(("d", "direct"), ("t", "topic"))
    for number in range(9):
        t.bind("t", "queue", f"q{number}", key="#")
    for number in range(1_000):
        assert t.route("d", str(number)) == ()
        assert len(t.route("t", str(number))) == 9
        held = sum(1 + len(route) for known in t._memo.values() for route in known.values())
        assert held == t._weight <= 50
    t._forget()
    t.route("t", "k" * 256)
    assert not t._memo


class Model(RuleBasedStateMachine):
    """The table against the rules written out over a plain list of bindings, through changes in any order."""

    names = st.sampled_from(["e0", "e1", "e2", "e3"])
    queues = st.sampled_from(["q0", "q1", "q2"])
    keys = st.sampled_from(["", "a", "a.b", "*", "#", "a.*", "#.b", "#.#"])
    header_sets = st.dictionaries(st.sampled_from(["h", "x-h"]), st.sampled_from(["1", "2", None]), max_size=2)
    matches = st.sampled_from(HEADER_MATCHES)
    ends = st.one_of(
        st.tuples(st.just("queue"), queues),
        st.tuples(st.just("exchange"), names),
    )

    def __init__(self) -> None:
        super().__init__()
        self.table = ExchangeTable()
        self.exchanges: dict[str, tuple[str, str | None]] = {}
        self.bound: list[tuple[str, str, str, str, dict[str, str | None], str]] = []

    @initialize(
        kinds=st.tuples(*[st.sampled_from(EXCHANGE_TYPES)] * 3),
        alternates=st.tuples(*[st.one_of(st.none(), names)] * 3),
    )
    def begin(self, kinds: tuple[ExchangeType, ...], alternates: tuple[str | None, ...]) -> None:
        for number, (kind, alternate) in enumerate(zip(kinds, alternates, strict=True)):
            self.add_exchange(f"e{number}", kind, alternate)

    @rule(name=names, type=st.sampled_from(EXCHANGE_TYPES), alternate=st.one_of(st.none(), names))
    def add_exchange(self, name: str, type: ExchangeType, alternate: str | None) -> None:
        if self.exchanges.get(name, (type, alternate)) != (type, alternate):
            with pytest.raises(ValueError, match="exists as"):
                self.table.add_exchange(name, type, alternate)
            return
        assert self.table.add_exchange(name, type, alternate) is (name not in self.exchanges)
        self.exchanges[name] = (type, alternate)

    @rule(name=names)
    def remove_exchange(self, name: str) -> None:
        self.table.remove_exchange(name)
        self.exchanges.pop(name, None)
        self.bound = [b for b in self.bound if b[0] != name and b[1:3] != ("exchange", name)]

    @rule(name=queues)
    def remove_queue(self, name: str) -> None:
        self.table.remove_queue(name)
        self.bound = [b for b in self.bound if b[1:3] != ("queue", name)]

    @rule(source=names, end=ends, key=keys, headers=header_sets, match=matches)
    def bind(
        self, source: str, end: tuple[BoundKind, str], key: str, headers: dict[str, str | None], match: str
    ) -> None:
        if source not in self.exchanges or (end[0] == "exchange" and end[1] not in self.exchanges):
            with pytest.raises(ValueError, match="does not exist"):
                self.table.bind(source, *end, key=key, headers=headers, match=match)
            return
        binding = (source, *end, key, headers, match)
        assert self.table.bind(source, *end, key=key, headers=headers, match=match) is (binding not in self.bound)
        if binding not in self.bound:
            self.bound.append(binding)

    @rule(pick=st.integers(0, 100))
    def unbind(self, pick: int) -> None:
        if self.bound:
            source, kind, name, key, headers, match = self.bound.pop(pick % len(self.bound))
            assert self.table.unbind(
                source, "queue" if kind == "queue" else "exchange", name, key=key, headers=headers, match=match
            )

    @invariant()
    def routes_are_those_of_the_rules(self) -> None:
        for exchange, key, headers in product(self.exchanges, ("", "a", "a.b", "b."), ({}, {"h": b"1", "x-h": b"2"})):
            expected = self.by_hand(exchange, key, headers)
            assert self.table.route(exchange, key, headers) == expected
            assert self.table.route(exchange, key, headers) == expected  # now remembered
        listed = [(b.exchange, b.kind, b.name, b.key) for b in self.table.bindings()]
        assert listed == [b[:4] for b in self.bound]

    def by_hand(self, exchange: str, key: str, headers: Mapping[str, bytes]) -> tuple[str, ...]:
        asked: list[str] = []
        hit: list[int] = []
        todo = [exchange]
        while todo:
            source = todo.pop()
            if source in asked or source not in self.exchanges:
                continue
            asked.append(source)
            kind, alternate = self.exchanges[source]
            mine = [n for n, b in enumerate(self.bound) if b[0] == source and applies(kind, b[3:], key, headers)]
            hit += mine
            todo += [self.bound[n][2] for n in mine if self.bound[n][1] == "exchange"]
            if not mine and alternate is not None:
                todo.append(alternate)
        queues = [self.bound[n][2] for n in sorted(hit) if self.bound[n][1] == "queue"]
        return tuple(dict.fromkeys(queues))


def applies(kind: str, binding: tuple[str, dict[str, str | None], str], key: str, headers: Mapping[str, bytes]) -> bool:
    pattern, wanted, match = binding
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == key
    if kind == "topic":
        return words_match(pattern.split(".") if pattern else [], key.split(".") if key else [])
    asked = {name: v for name, v in wanted.items() if match.endswith("-with-x") or not name.startswith("x-")}
    held = [name in headers and (v is None or headers[name] == v.encode()) for name, v in asked.items()]
    return all(held) if match.startswith("all") else any(held)


def words_match(pattern: list[str], key: list[str]) -> bool:
    if not pattern or not key:
        return all(word == "#" for word in pattern) and not key
    if pattern[0] == "#":
        return words_match(pattern[1:], key) or words_match(pattern, key[1:])
    return pattern[0] in ("*", key[0]) and words_match(pattern[1:], key[1:])


TestModel = Model.TestCase
TestModel.settings = settings(deadline=None, max_examples=60, stateful_step_count=25)
