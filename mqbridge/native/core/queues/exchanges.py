"""Exchanges and bindings as operations, durable by entries of topology.

The rule: what is routed where is decided by `ExchangeTable`; here changes are checked, written, then made, in that
order, and a batch is split by queue. What does not belong here: whether a queue takes what reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, Final

from mqbridge import errors
from mqbridge.native.core import arguments
from mqbridge.native.core.ports import Batch, Now, Op, Reply, Topology
from mqbridge.native.core.queues.deadletter import Refusal
from mqbridge.semantics.naming import check_name
from mqbridge.semantics.reserved import ROUTING_KEY
from mqbridge.semantics.routing import BindingEntry, ExchangeEntry, ExchangeTable

EXCHANGE: Final = "exchange"
EXCHANGE_DELETED: Final = "exchange-deleted"
BINDING: Final = "binding"
BINDING_DELETED: Final = "binding-deleted"


class Exchanges:
    """All exchanges. `queues` knows which queue names exist."""

    def __init__(self, topology: Topology, queues: Container[str]) -> None:
        self._topology = topology
        self._queues = queues
        self._table = ExchangeTable()
        self._by_headers = False
        self.ops: dict[str, Op] = {
            "create_exchange": self._create,
            "delete_exchange": self._delete,
            "list_exchanges": self._list,
            "bind": self._bind,
            "unbind": self._unbind,
            "list_bindings": self._list_bindings,
        }
        self._restore: dict[str, Callable[[Mapping[str, Any]], object]] = {
            EXCHANGE: lambda entry: self._table.add_exchange(entry["name"], **entry["spec"]),
            EXCHANGE_DELETED: lambda entry: self._table.remove_exchange(entry["name"]),
            BINDING: lambda entry: self._table.bind(*entry["binding"][:3], **_terms(entry["binding"])),
            BINDING_DELETED: lambda entry: self._table.unbind(*entry["binding"][:3], **_terms(entry["binding"])),
        }

    def split(self, exchange: str, batch: Batch) -> tuple[dict[str, list[int]], list[int]]:
        """The records by queue, in order of the first record for each, and those that reach none."""
        if exchange not in self._table:
            raise _missing(exchange, "nothing was sent")
        route = self._table.route
        by_queue: dict[str, list[int]] = {}
        unroutable: list[int] = []
        rows = batch.headers or ((),) * batch.count
        for index, pairs in enumerate(rows):
            key = ""
            for name, value in pairs or ():
                if name == ROUTING_KEY:
                    key = value.decode("utf-8", "surrogateescape")
                    break
            queues = route(exchange, key, dict(pairs or ()) if self._by_headers else None)
            if not queues:
                unroutable.append(index)
            for queue in queues:
                if queue in by_queue:
                    by_queue[queue].append(index)
                else:
                    by_queue[queue] = [index]
        return by_queue, unroutable

    def queue_deleted(self, queue: str) -> None:
        self._table.remove_queue(queue)

    def restore(self, entry: Mapping[str, Any]) -> bool:
        handler = self._restore.get(entry["t"])
        if handler is None:
            return False
        handler(entry)
        self._changed()
        return True

    def snapshot(self) -> Iterator[dict[str, Any]]:
        for exchange in self._table.exchanges():
            yield {"t": EXCHANGE, "name": exchange.name, "spec": _spec(exchange)}
        for binding in self._table.bindings():
            yield {"t": BINDING, "binding": _row(binding)}

    def _changed(self) -> None:
        self._by_headers = any(exchange.type == "headers" for exchange in self._table.exchanges())

    def _create(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = _name(args)
        spec = args.get("spec") or {}
        if not isinstance(spec, dict) or set(spec) - {"type", "alternate"}:
            raise arguments.wrong("spec", "an object of type and alternate", spec)
        existing = self._table.exchange(name)
        if existing is not None:
            return {"created": False, "spec": _spec(existing)}, []
        said: dict[str, Any] = {"type": spec.get("type") or "direct", "alternate": spec.get("alternate")}
        if said["alternate"] is not None and not isinstance(said["alternate"], str):
            raise arguments.wrong("alternate", "the name of an exchange", said["alternate"])
        # Tried on a table of its own, so that the entry is written only for what the table takes.
        _checked(lambda: ExchangeTable().add_exchange(name, **said))
        self._write({"t": EXCHANGE, "name": name, "spec": said})
        return {"created": True, "spec": said}, []

    def _delete(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = arguments.text(args, "name")
        if name not in self._table:
            raise _missing(name, "nothing was deleted")
        self._write({"t": EXCHANGE_DELETED, "name": name})
        return {}, []

    def _list(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        found = [{"name": exchange.name, "spec": _spec(exchange)} for exchange in self._table.exchanges()]
        return {"exchanges": found}, []

    def _bind(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        row = self._row_of(args)
        exchange, kind, name = row[:3]
        if kind == "queue" and name not in self._queues:
            raise errors.NotFound(f"the queue {name!r} does not exist, so nothing was bound: create it first")
        if kind == "exchange" and name not in self._table:
            raise _missing(name, "nothing was bound")
        if row in [_row(binding) for binding in self._table.bindings_to(kind, name)]:
            return {"bound": False}, []
        _checked(lambda: self._try_out(exchange, row))
        self._write({"t": BINDING, "binding": row})
        return {"bound": True}, []

    def _unbind(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        row = self._row_of(args)
        if row not in [_row(binding) for binding in self._table.bindings_to(row[1], row[2])]:
            return {"unbound": False}, []
        self._write({"t": BINDING_DELETED, "binding": row})
        return {"unbound": True}, []

    def _list_bindings(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = arguments.text(args, "exchange")
        exchange = self._table.exchange(name)
        if exchange is None:
            raise _missing(name, "nothing was listed")
        rows = [_row(binding) for binding in self._table.bindings(name)]
        return {
            "spec": _spec(exchange),
            "bindings": [
                {"exchange": row[0], "destination": row[1:3], "key": row[3], "headers": row[4], "match": row[5]}
                for row in rows
            ]
        }, []

    def _row_of(self, args: Mapping[str, Any]) -> list[Any]:
        exchange = arguments.text(args, "exchange")
        if exchange not in self._table:
            raise _missing(exchange, "nothing was bound or unbound")
        destination = args.get("destination")
        if (
            not isinstance(destination, list | tuple)
            or len(destination) != 2
            or destination[0] not in ("queue", "exchange")
            or not isinstance(destination[1], str)
        ):
            raise arguments.wrong("destination", "['queue' or 'exchange', name]", destination)
        key, match = args.get("key") or "", args.get("match") or "all"
        if not isinstance(key, str):
            raise arguments.wrong("key", "a text", key)
        headers = args.get("headers")
        if headers is not None and not (
            isinstance(headers, dict)
            and all(isinstance(name, str) and isinstance(value, str | None) for name, value in headers.items())
        ):
            raise arguments.wrong("headers", "an object of header to text or null", headers)
        # Sorted, and never null, as the table keeps them: equal rows are one binding.
        return [exchange, destination[0], destination[1], key, dict(sorted((headers or {}).items())), match]

    def _try_out(self, exchange: str, row: list[Any]) -> None:
        found = self._table.exchange(exchange)
        assert found is not None
        trial = ExchangeTable()
        trial.add_exchange(exchange, found.type)
        if row[1] == "exchange":
            trial.add_exchange(row[2], found.type)
        trial.bind(*row[:3], **_terms(row))

    def _write(self, entry: dict[str, Any]) -> None:
        self._topology.append(entry)
        self.restore(entry)


def refusal_of_unroutable(exchange: str) -> Refusal:
    return Refusal(
        "unroutable",
        f"no binding of exchange {exchange!r}, or of its alternates, matches; no queue has this message: bind one",
    )


def _checked(change: Callable[[], object]) -> None:
    try:
        change()
    except ValueError as error:
        raise errors.InvalidSpec(f"{error} Nothing was done.") from error


def _name(args: Mapping[str, Any]) -> str:
    name = arguments.text(args, "name")
    _checked(lambda: check_name("exchange", name))
    return name


def _spec(exchange: ExchangeEntry) -> dict[str, Any]:
    return {"type": exchange.type, "alternate": exchange.alternate}


def _row(binding: BindingEntry) -> list[Any]:
    headers = {name: None if value is None else value.decode() for name, value in binding.headers}
    return [binding.exchange, binding.kind, binding.name, binding.key, headers, binding.match]


def _terms(row: Sequence[Any]) -> dict[str, Any]:
    return {"key": row[3], "headers": row[4], "match": row[5]}


def _missing(exchange: str, what: str) -> errors.NotFound:
    return errors.NotFound(f"the exchange {exchange!r} does not exist; {what}: create it first")
