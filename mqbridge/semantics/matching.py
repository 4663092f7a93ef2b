"""Whether one binding matches one message, and the indexes that ask this of many bindings at once.

The one rule: what matches is decided as RabbitMQ decides it for the four types of AMQP 0-9-1, clause for
clause; an index changes the cost of the answer and never the answer. Which exchange is asked, and what
follows from an empty answer, is in `routing`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, get_args

ExchangeType: TypeAlias = Literal["direct", "fanout", "topic", "headers"]
HeaderMatch: TypeAlias = Literal["all", "any", "all-with-x", "any-with-x"]
BoundKind: TypeAlias = Literal["queue", "exchange"]
HeaderValue: TypeAlias = bytes | str | None
Headers: TypeAlias = Mapping[str, HeaderValue]

EXCHANGE_TYPES: Final[tuple[ExchangeType, ...]] = get_args(ExchangeType)
HEADER_MATCHES: Final[tuple[HeaderMatch, ...]] = get_args(HeaderMatch)
MAX_HASHES: Final = 2
"""RabbitMQ 4.3.5 refuses a topic binding key with more `#` words than this (406)."""


@dataclass(frozen=True, slots=True)
class BindingEntry:
    """One binding in its normal form: equal entries are one binding, whatever the order of their headers."""

    exchange: str
    kind: BoundKind
    name: str
    key: str = ""
    headers: tuple[tuple[str, bytes | None], ...] = ()
    match: HeaderMatch = "all"


def topic_words(key: str) -> list[str]:
    """The words of a routing or binding key. The empty key has none; between, before and after dots a word
    may be empty.

    RabbitMQ splits so in `rabbit_db_topic_exchange`: `a.` is `a` and an empty word, `.` is two empty words.
    """
    return key.split(".") if key else []


def check_topic_pattern(pattern: str) -> str:
    """`pattern` if a topic exchange takes it as binding key, else `ValueError`: at most two words are `#`."""
    hashes = topic_words(pattern).count("#")
    if hashes > MAX_HASHES:
        raise ValueError(
            f"The topic binding key {pattern!r} has {hashes} '#' words; RabbitMQ 4.3.5 and mqbridge take "
            f"at most {MAX_HASHES}."
        )
    return pattern


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange's binding key matches a routing key; `ValueError` for more than two `#` words.

    `*` stands for exactly one word, which may be empty, and `#` for any number of words, also none: `a.#`
    matches `a`, `#` matches the empty key and `*` does not, since the empty key has no word. `*` and `#` are
    wildcards only as whole words and only in the pattern.
    """
    index = TopicIndex()
    index.add(BindingEntry("", "queue", "", key=pattern), 0)
    return bool(index.matches(key, None))


def normal_headers(headers: Headers | None) -> tuple[tuple[str, bytes | None], ...]:
    """Binding headers as sorted pairs with values in bytes; str becomes UTF-8, others are a `ValueError`."""
    if not headers:
        return ()
    pairs = [(_name(name), _as_bytes(name, value)) for name, value in headers.items()]
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def headers_match(binding_headers: Headers | None, match: str, headers: Headers | None) -> bool:
    """Whether a headers exchange's binding matches a message's headers; `ValueError` for an unknown `match`.

    all, any: each or one of the binding's headers is there with the same bytes, or is there at all where the
    binding says None. Both pass over binding headers whose name starts with `x-`; all-with-x and any-with-x
    look at them and pass over `x-match` alone. With nothing left to look at, all matches every message and
    any none. A repeated name has the value that the mapping answers with.
    """
    return _satisfies(_effective(normal_headers(binding_headers), check_match(match)), match, headers)


def check_match(match: str) -> HeaderMatch:
    """`match` if it is one of the four ways to match headers, else `ValueError`."""
    for known in HEADER_MATCHES:
        if match == known:
            return known
    raise ValueError(f"A headers binding matches {', '.join(HEADER_MATCHES)}, not {match!r}.")


class Index(Protocol):
    """The bindings of one exchange, each with its place in the order of creation."""

    def add(self, binding: BindingEntry, order: int) -> None:
        """Put a binding in that is not there yet; `ValueError` if this type refuses it."""

    def remove(self, binding: BindingEntry) -> None:
        """Take a binding out that is there."""

    def matches(self, key: str, headers: Headers | None) -> Collection[tuple[BindingEntry, int]]:
        """The matching bindings with their places, each once, in no promised order."""


class DirectIndex:
    """direct: the binding key equals the routing key, character for character."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[str, dict[BindingEntry, int]] = {}

    def add(self, binding: BindingEntry, order: int) -> None:
        self._by_key.setdefault(binding.key, {})[binding] = order

    def remove(self, binding: BindingEntry) -> None:
        bound = self._by_key[binding.key]
        del bound[binding]
        if not bound:
            del self._by_key[binding.key]

    def matches(self, key: str, headers: Headers | None) -> Collection[tuple[BindingEntry, int]]:
        bound = self._by_key.get(key)
        return bound.items() if bound else ()


class FanoutIndex:
    """fanout: every binding, whatever its key."""

    __slots__ = ("_bound",)

    def __init__(self) -> None:
        self._bound: dict[BindingEntry, int] = {}

    def add(self, binding: BindingEntry, order: int) -> None:
        self._bound[binding] = order

    def remove(self, binding: BindingEntry) -> None:
        del self._bound[binding]

    def matches(self, key: str, headers: Headers | None) -> Collection[tuple[BindingEntry, int]]:
        return self._bound.items()


class HeadersIndex:
    """headers: each binding is asked in turn."""

    __slots__ = ("_bound",)

    def __init__(self) -> None:
        self._bound: dict[BindingEntry, tuple[tuple[tuple[str, bytes | None], ...], int]] = {}

    def add(self, binding: BindingEntry, order: int) -> None:
        self._bound[binding] = (_effective(binding.headers, binding.match), order)

    def remove(self, binding: BindingEntry) -> None:
        del self._bound[binding]

    def matches(self, key: str, headers: Headers | None) -> Collection[tuple[BindingEntry, int]]:
        return [
            (binding, order)
            for binding, (wanted, order) in self._bound.items()
            if _satisfies(wanted, binding.match, headers)
        ]


class _Node:
    """A place in the trie of binding keys: one way on for each word, `*` and `#` among them."""

    __slots__ = ("bound", "is_hash", "ways")

    def __init__(self, word: str) -> None:
        self.is_hash = word == "#"
        self.ways: dict[str, _Node] = {}
        self.bound: dict[BindingEntry, int] = {}


class TopicIndex:
    """topic: a trie of the binding keys, walked along all ways at once.

    The walk keeps the list of nodes that the words so far lead to, as a non-deterministic automaton does: a
    node is in it at most once, so a message costs at most words times nodes, where backtracking over several
    `#` would cost a power of it.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root = _Node("")

    def add(self, binding: BindingEntry, order: int) -> None:
        node = self._root
        for word in topic_words(check_topic_pattern(binding.key)):
            node = node.ways.setdefault(word, _Node(word))
        node.bound[binding] = order

    def remove(self, binding: BindingEntry) -> None:
        words = topic_words(binding.key)
        path = [self._root]
        for word in words:
            path.append(path[-1].ways[word])
        del path[-1].bound[binding]
        # Nodes that lead nowhere go, or a table whose keys change for ever would grow for ever.
        for parent, word, node in zip(reversed(path[:-1]), reversed(words), reversed(path[1:]), strict=True):
            if node.ways or node.bound:
                break
            del parent.ways[word]

    def matches(self, key: str, headers: Headers | None) -> Collection[tuple[BindingEntry, int]]:
        here: dict[_Node, None] = {}
        _enter(self._root, here)
        for word in topic_words(key):
            ahead: dict[_Node, None] = {}
            for node in here:
                # A '#' may take this word too and stand where it stood.
                if node.is_hash:
                    _enter(node, ahead)
                if (way := node.ways.get(word)) is not None:
                    _enter(way, ahead)
                if (way := node.ways.get("*")) is not None:
                    _enter(way, ahead)
            if not ahead:
                return ()
            here = ahead
        return [pair for node in here for pair in node.bound.items()]


def _enter(node: _Node, nodes: dict[_Node, None]) -> None:
    """Note `node` as reached, and with it what `#` reaches from it by taking no word."""
    reached: _Node | None = node
    while reached is not None and reached not in nodes:
        nodes[reached] = None
        reached = reached.ways.get("#")


def new_index(exchange_type: ExchangeType) -> Index:
    """An empty index for an exchange of this type."""
    match exchange_type:
        case "direct":
            return DirectIndex()
        case "fanout":
            return FanoutIndex()
        case "topic":
            return TopicIndex()
        case "headers":
            return HeadersIndex()


def _effective(
    headers: tuple[tuple[str, bytes | None], ...], match: HeaderMatch
) -> tuple[tuple[str, bytes | None], ...]:
    if match in ("all-with-x", "any-with-x"):
        return tuple(pair for pair in headers if pair[0] != "x-match")
    return tuple(pair for pair in headers if not pair[0].startswith("x-"))


def _satisfies(wanted: tuple[tuple[str, bytes | None], ...], match: str, headers: Headers | None) -> bool:
    every = match in ("all", "all-with-x")
    for name, value in wanted:
        if (headers is not None and _has(headers, name, value)) is not every:
            return not every
    return every


def _has(headers: Headers, name: str, value: bytes | None) -> bool:
    if name not in headers:
        return False
    if value is None:
        return True
    given = headers[name]
    return (given.encode() if isinstance(given, str) else given) == value


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"The name of a binding header is a str, not {name!r}.")
    return name


def _as_bytes(name: str, value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f"The binding header {name!r} has bytes, a str or None as its value, not {value!r}.")
