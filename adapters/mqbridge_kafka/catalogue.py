"""What the registry says: queues, exchanges and bindings, and the route of a message through them.

The rule of this room: the state is a function of the registry's records in the order of their offsets; nothing here
does I/O. Of two creators of one name the first wins: a later record with another birth mark is not taken while the
first one stands. A binding names the birth marks of its two ends, so that one made for a queue or an exchange that was
deleted says nothing about its namesake.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mqbridge.messages import RawHeaders
from mqbridge.semantics.routing import BindingEntry, ExchangeTable
from mqbridge.topology import Binding, Exchange, Queue
from mqbridge_kafka.naming import topic_of

Record = dict[str, Any]
QUEUE: Final = "queue:"
EXCHANGE: Final = "exchange:"
BINDING: Final = "binding:"


# --- specifications to records and back


def queue_record(queue: Queue[Any], born: str) -> Record:
    """A queue as it is stored; `topic` is where its messages are."""
    return {
        "born": born,
        "topic": topic_of(queue),
        "physical_name": queue.physical_name,
        "max_attempts": queue.max_attempts,
        "dead_letter": None if queue.dead_letter is None else queue.dead_letter.name,
        "message_ttl_s": queue.message_ttl_s,
        "overflow": queue.overflow,
        "type": queue.type,
    }


def read_queue(name: str, record: Mapping[str, Any]) -> Queue[Any]:
    """The stored specification."""
    target = record["dead_letter"]
    return Queue(
        name,
        max_attempts=record["max_attempts"],
        dead_letter=None if target is None else Queue(target, dead_letter=None),
        message_ttl_s=record["message_ttl_s"],
        overflow=record["overflow"],
        type=record["type"],
        physical_name=record["physical_name"],
    )


def exchange_record(exchange: Exchange, born: str) -> Record:
    alternate = None if exchange.alternate is None else exchange.alternate.name
    return {"born": born, "type": exchange.type, "alternate": alternate}


def read_exchange(name: str, record: Mapping[str, Any]) -> Exchange:
    alternate = record["alternate"]
    return Exchange(name, type=record["type"], alternate=None if alternate is None else Exchange(alternate))


def binding_record(binding: Binding, source_born: str, destination_born: str) -> Record:
    return {
        "exchange": binding.exchange.name,
        "source_born": source_born,
        "kind": binding.destination.kind,
        "name": binding.destination.name,
        "destination_born": destination_born,
        "key": binding.key,
        "headers": None if binding.headers is None else dict(binding.headers),
        "match": binding.match,
    }


def binding_key(binding: Binding) -> str:
    """The record key of one binding: of what makes it that one, so that concurrent writers never meet in a key."""
    headers = sorted(binding.headers.items()) if binding.headers else None
    said = [binding.destination.kind, binding.destination.name, binding.key, headers, binding.match]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]
    return f"{BINDING}{binding.exchange.name}:{digest}"


def encode(record: Record | None) -> bytes | None:
    return None if record is None else json.dumps(record, sort_keys=True).encode()


# --- the state


@dataclass(frozen=True, slots=True)
class Route:
    """A queue that a message reaches, and its topic."""

    queue: str
    topic: str


@dataclass
class Catalogue:
    """The state after some records. Thread-safe: one thread applies, others look and route."""

    queues: dict[str, Record] = field(default_factory=dict)
    exchanges: dict[str, Record] = field(default_factory=dict)
    bindings: dict[str, Record] = field(default_factory=dict)
    _table: ExchangeTable | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def apply(self, key: str, value: bytes | None) -> None:
        """One record. What this version does not understand is passed over: a later one may have written it."""
        record = None if value is None else _read(value)
        if value is not None and record is None:
            return
        for prefix, kept in ((QUEUE, self.queues), (EXCHANGE, self.exchanges), (BINDING, self.bindings)):
            if key.startswith(prefix):
                name = key if prefix == BINDING else key.removeprefix(prefix)
                with self._lock:
                    self._put(kept, name, record)

    def _put(self, kept: dict[str, Record], name: str, record: Record | None) -> None:
        standing = kept.get(name)
        if record is None:
            kept.pop(name, None)
        elif standing is not None and "born" in record and standing["born"] != record["born"]:
            return
        else:
            kept[name] = record
        self._table = None

    def clear(self) -> None:
        """The registry was deleted."""
        with self._lock:
            self.queues.clear()
            self.exchanges.clear()
            self.bindings.clear()
            self._table = None

    def queue(self, name: str) -> Record | None:
        return self.queues.get(name)

    def exchange(self, name: str) -> Record | None:
        return self.exchanges.get(name)

    def live_bindings(self) -> Iterator[tuple[str, Record]]:
        """The bindings whose two ends are those they were made for, with their keys."""
        for key, record in self.bindings.items():
            source = self.exchanges.get(record["exchange"])
            ends = self.queues if record["kind"] == "queue" else self.exchanges
            end = ends.get(record["name"])
            if source is None or end is None:
                continue
            if source["born"] == record["source_born"] and end["born"] == record["destination_born"]:
                yield key, record

    def bindings_of(self, exchange: Exchange) -> tuple[Binding, ...]:
        with self._lock:
            found = [record for _, record in self.live_bindings() if record["exchange"] == exchange.name]
        return tuple(_read_binding(exchange, record) for record in found)

    def keys_at(self, kind: str, name: str) -> list[str]:
        """The keys of all bindings, live or not, that begin or end at a queue or an exchange."""
        with self._lock:
            return [
                key
                for key, record in self.bindings.items()
                if (record["kind"] == kind and record["name"] == name)
                or (kind == "exchange" and record["exchange"] == name)
            ]

    def route(self, exchange: str, routing_key: str, headers: RawHeaders | None) -> tuple[Route, ...] | None:
        """The queues a message reaches, each once; None if there is no such exchange."""
        with self._lock:
            if exchange not in self.exchanges:
                return None
            if self._table is None:
                self._table = self._build()
            names = self._table.route(exchange, routing_key, dict(headers) if headers else None)
            return tuple(Route(name, self.queues[name]["topic"]) for name in names)

    def _build(self) -> ExchangeTable:
        table = ExchangeTable()
        for name, record in self.exchanges.items():
            table.add_exchange(name, record["type"], record["alternate"])
        for _, record in self.live_bindings():
            table.bind(
                record["exchange"],
                record["kind"],
                record["name"],
                key=record["key"],
                headers=record["headers"],
                match=record["match"],
            )
        return table


def check_binding(binding: Binding) -> BindingEntry:
    """The binding in its normal form; `ValueError` if the exchange's type refuses it."""
    table = ExchangeTable()
    table.add_exchange(binding.exchange.name, binding.exchange.type)
    if isinstance(binding.destination, Exchange):
        table.add_exchange(binding.destination.name, binding.exchange.type)
    table.bind(
        binding.exchange.name,
        "queue" if isinstance(binding.destination, Queue) else "exchange",
        binding.destination.name,
        key=binding.key,
        headers=binding.headers,
        match=binding.match,
    )
    return table.bindings()[0]


def _read(value: bytes) -> Record | None:
    try:
        record = json.loads(value)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _read_binding(exchange: Exchange, record: Record) -> Binding:
    name = record["name"]
    end: Queue[Any] | Exchange = Queue(name) if record["kind"] == "queue" else Exchange(name)
    return Binding(exchange, end, key=record["key"], headers=record["headers"], match=record["match"])
