"""Which queues a message that is sent to an exchange reaches.

The one rule: a route is a function of the table and the message, as RabbitMQ routes: at most one copy a
queue, however many ways lead there, and each exchange asked at most once. The table holds no queue and no
message; it does not know whether a bound queue exists (`remove_queue` says that one went), and the default
exchange is not in it: a send to a queue is that queue's. Matching itself is in `matching`.

A table has one owner at a time, who also orders its changes; between changes any thread may route.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mqbridge.semantics.matching import (
    EXCHANGE_TYPES,
    BindingEntry,
    BoundKind,
    ExchangeType,
    HeaderMatch,
    Headers,
    HeaderValue,
    Index,
    check_match,
    headers_match,
    new_index,
    normal_headers,
    topic_matches,
)

__all__ = [
    "BindingEntry",
    "BoundKind",
    "ExchangeEntry",
    "ExchangeTable",
    "ExchangeType",
    "HeaderMatch",
    "HeaderValue",
    "Headers",
    "headers_match",
    "topic_matches",
]

MEMO_WEIGHT: Final = 131_072
"""Remembered routes together hold at most this many entries and queue names; then all are forgotten."""
MEMO_KEY_CHARS: Final = 255
"""Longer routing keys than AMQP's short string carries are routed and not remembered."""


@dataclass(frozen=True, slots=True)
class ExchangeEntry:
    """What an exchange is: its type, and the exchange that takes what it does not route."""

    name: str
    type: ExchangeType
    alternate: str | None = None


class ExchangeTable:
    """Exchanges and bindings, and the route of a message through them.

    Changes are incremental, take effect for the next `route`, and raise `ValueError` without changing
    anything. Time and memory of a change do not grow with the number of other bindings.
    """

    __slots__ = (
        "_by_destination",
        "_by_source",
        "_created",
        "_exchanges",
        "_fixed",
        "_indexes",
        "_memo",
        "_weight",
    )

    def __init__(self) -> None:
        self._exchanges: dict[str, ExchangeEntry] = {}
        self._indexes: dict[str, Index] = {}
        # Every binding under its source and under its destination, with its place in the order of creation.
        self._by_source: dict[str, dict[BindingEntry, int]] = {}
        self._by_destination: dict[tuple[BoundKind, str], dict[BindingEntry, int]] = {}
        self._created = 0
        # Routes found since the last change: by key, and of exchanges whose routes no key alters.
        self._memo: dict[str, dict[str, tuple[str, ...]]] = {}
        self._fixed: dict[str, tuple[str, ...]] = {}
        self._weight = 0

    def __contains__(self, exchange: object) -> bool:
        return exchange in self._exchanges

    def exchanges(self) -> tuple[ExchangeEntry, ...]:
        """All exchanges in order of creation."""
        return tuple(self._exchanges.values())

    def exchange(self, name: str) -> ExchangeEntry | None:
        """The exchange of this name, or None."""
        return self._exchanges.get(name)

    def bindings(self, exchange: str | None = None) -> tuple[BindingEntry, ...]:
        """The bindings that leave `exchange`, or all of them, in order of creation."""
        if exchange is not None:
            return tuple(self._by_source.get(exchange, ()))
        pairs = [pair for bound in self._by_source.values() for pair in bound.items()]
        return tuple(binding for binding, _ in sorted(pairs, key=lambda pair: pair[1]))

    def bindings_to(self, kind: BoundKind, name: str) -> tuple[BindingEntry, ...]:
        """The bindings that lead to a queue or an exchange, in order of creation."""
        return tuple(self._by_destination.get((kind, name), ()))

    def add_exchange(self, name: str, type: ExchangeType = "direct", alternate: str | None = None) -> bool:
        """Add an exchange; False if it is there already as given, `ValueError` if it is there and differs.

        The alternate exchange need not exist: while it does not, what falls through to it is unroutable.
        """
        if not name:
            raise ValueError("An exchange needs a name; the default exchange, whose name is empty, is not declared.")
        if type not in EXCHANGE_TYPES:
            raise ValueError(f"The type of exchange {name!r} is one of {', '.join(EXCHANGE_TYPES)}, not {type!r}.")
        entry = ExchangeEntry(name, type, alternate or None)
        existing = self._exchanges.get(name)
        if existing is not None:
            if existing != entry:
                raise ValueError(
                    f"Exchange {name!r} exists as type={existing.type}, alternate={existing.alternate!r}, "
                    f"and not as type={type}, alternate={entry.alternate!r}."
                )
            return False
        self._exchanges[name] = entry
        self._indexes[name] = new_index(type)
        self._by_source[name] = {}
        self._forget()
        return True

    def remove_exchange(self, name: str) -> tuple[BindingEntry, ...]:
        """Remove an exchange with the bindings that leave it or lead to it, and return those.

        An exchange that is not there is no error. Where it is the alternate of another one it stays named.
        """
        if name not in self._exchanges:
            return ()
        # An exchange bound to itself is in both.
        gone = dict(self._by_source[name])
        gone.update(self._by_destination.get(("exchange", name), {}))
        removed = tuple(binding for binding, _ in sorted(gone.items(), key=lambda pair: pair[1]))
        for binding in removed:
            self._take_out(binding)
        del self._exchanges[name], self._indexes[name], self._by_source[name]
        self._forget()
        return removed

    def bind(
        self,
        exchange: str,
        kind: BoundKind,
        name: str,
        *,
        key: str = "",
        headers: Headers | None = None,
        match: str = "all",
    ) -> bool:
        """Bind a queue or an exchange to `exchange`; False if just this binding is there already.

        Source, destination, key, headers and match together are the binding. `ValueError` if the exchange, or
        an exchange as destination, is missing, or if the exchange's type refuses the key.
        """
        binding = self._binding(exchange, kind, name, key, headers, match)
        if exchange not in self._exchanges:
            raise ValueError(f"Exchange {exchange!r} does not exist, so {kind} {name!r} was not bound to it.")
        if kind == "exchange" and name not in self._exchanges:
            raise ValueError(f"Exchange {name!r} does not exist, so it was not bound to exchange {exchange!r}.")
        if binding in self._by_source[exchange]:
            return False
        # The index goes first, as it alone may refuse.
        self._indexes[exchange].add(binding, self._created)
        self._by_source[exchange][binding] = self._created
        self._by_destination.setdefault((kind, name), {})[binding] = self._created
        self._created += 1
        self._forget()
        return True

    def unbind(
        self,
        exchange: str,
        kind: BoundKind,
        name: str,
        *,
        key: str = "",
        headers: Headers | None = None,
        match: str = "all",
    ) -> bool:
        """Remove just this binding; False if it is not there, which is no error."""
        binding = self._binding(exchange, kind, name, key, headers, match)
        if binding not in self._by_source.get(exchange, ()):
            return False
        self._take_out(binding)
        self._forget()
        return True

    def remove_queue(self, name: str) -> tuple[BindingEntry, ...]:
        """Remove the bindings that lead to a queue, as when it is deleted, and return them."""
        removed = self.bindings_to("queue", name)
        for binding in removed:
            self._take_out(binding)
        if removed:
            self._forget()
        return removed

    def route(self, exchange: str, routing_key: str = "", headers: Headers | None = None) -> tuple[str, ...]:
        """The queues that get a copy, each once, in the order in which the first binding to each was created.

        Empty means unroutable. An exchange to which no binding of its own applies passes the message to its
        alternate exchange, if there is one; a binding to an exchange applies even if nothing follows from it.
        Circles of bindings and of alternates end at the first exchange that was asked before. `ValueError` if
        `exchange` does not exist.
        """
        known = self._memo.get(exchange)
        if known is not None:
            found = known.get(routing_key)
            if found is not None:
                return found
        fixed = self._fixed.get(exchange)
        return self._find(exchange, routing_key, headers) if fixed is None else fixed

    def _find(self, exchange: str, routing_key: str, headers: Headers | None) -> tuple[str, ...]:
        if exchange not in self._exchanges:
            raise ValueError(f"Exchange {exchange!r} does not exist, so nothing can be routed by it.")
        order: dict[str, int] = {}
        asked = {exchange: None}
        waiting = [exchange]
        for source in waiting:
            alternate = self._exchanges[source].alternate
            matched = self._indexes[source].matches(routing_key, headers)
            for binding, created in matched:
                if binding.kind == "queue":
                    order[binding.name] = min(created, order.get(binding.name, created))
                elif binding.name not in asked:
                    asked[binding.name] = None
                    waiting.append(binding.name)
            if not matched and alternate in self._exchanges and alternate not in asked:
                asked[alternate] = None
                waiting.append(alternate)
        queues = tuple(sorted(order, key=order.__getitem__))
        self._remember(exchange, routing_key, queues, waiting)
        return queues

    def _remember(self, exchange: str, routing_key: str, queues: tuple[str, ...], asked: list[str]) -> None:
        types = {self._exchanges[name].type for name in asked}
        # A route that headers decided may differ for the next message; one of fanouts alone is every key's.
        if "headers" in types or len(routing_key) > MEMO_KEY_CHARS:
            return
        weight = 1 + len(queues)
        if self._weight + weight > MEMO_WEIGHT:
            self._forget()
        self._weight += weight
        if types == {"fanout"}:
            self._fixed[exchange] = queues
        else:
            self._memo.setdefault(exchange, {})[routing_key] = queues

    def _forget(self) -> None:
        self._memo = {}
        self._fixed = {}
        self._weight = 0

    def _binding(
        self, exchange: str, kind: BoundKind, name: str, key: str, headers: Headers | None, match: str
    ) -> BindingEntry:
        if kind not in ("queue", "exchange"):
            raise ValueError(f"A binding leads to a queue or an exchange, not to a {kind!r}.")
        return BindingEntry(exchange, kind, name, key, normal_headers(headers), check_match(match))

    def _take_out(self, binding: BindingEntry) -> None:
        self._indexes[binding.exchange].remove(binding)
        del self._by_source[binding.exchange][binding]
        destination = (binding.kind, binding.name)
        bound = self._by_destination[destination]
        del bound[binding]
        if not bound:
            del self._by_destination[destination]
