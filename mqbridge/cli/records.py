"""A message outside a broker: as a line of JSON, and as bytes to take a digest of.

The rule: what goes out comes back the same, whatever the bytes. Text that is UTF-8 is written as text, other bytes as
``{"base64": ...}``; null is null, and not empty; headers are a list of pairs, so that repeats and order stay.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from hashlib import sha256
from typing import Any, NamedTuple

import mqbridge as mq
from mqbridge.cli.output import bytes_as_json

Pairs = tuple[tuple[str, bytes], ...]
FIELDS = ("value", "key", "headers", "timestamp_ms", "message_id")
ABOUT = ("destination", "partition", "offset", "attempt", "redelivered", "death")
"""What `consume` says about a message and no sender can set; ignored on the way in."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": ")).encode
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class RecordError(ValueError):
    """A line that is no record."""


class Record(NamedTuple):
    """What is kept of a message when it moves. `partition` and `offset` are where it came from."""

    value: bytes | None
    key: bytes | None = None
    headers: Pairs = ()
    timestamp_ms: int | None = None
    message_id: str | None = None
    routing_key: str | None = None
    partition: int | None = None
    offset: int | None = None

    @property
    def size_bytes(self) -> int:
        """Of value and key, which is nearly all that it takes in memory."""
        return len(self.value or b"") + len(self.key or b"")

    @property
    def place(self) -> str:
        """Which record of the source this is, for an error."""
        if self.offset is not None and self.partition is not None:
            return f"partition {self.partition}, offset {self.offset}"
        return "no place in a topic" if self.message_id is None else f"message id {self.message_id}"

    @property
    def timestamp(self) -> dt.datetime | None:
        """For `Producer.send`."""
        if self.timestamp_ms is None:
            return None
        try:
            return _EPOCH + dt.timedelta(milliseconds=self.timestamp_ms)
        except OverflowError:
            raise mq.InvalidSpec(
                f"a timestamp of {self.timestamp_ms} ms is beyond the year 9999: the sender meant another unit. It "
                "was not sent on.",
                field="timestamp",
            ) from None


def of(delivery: mq.Delivery[bytes]) -> Record:
    return Record(
        delivery.raw,
        delivery.key,
        delivery.headers.pairs,
        delivery.timestamp_ms,
        delivery.message_id,
        delivery.routing_key,
        delivery.partition,
        delivery.offset,
    )


# --- lines of JSON


def to_line(record: Record, about: dict[str, Any] | None = None) -> bytes:
    """One line, with its line break. `about` goes first."""
    item = dict(about or {})
    if record.partition is not None:
        item["partition"] = record.partition
    if record.offset is not None:
        item["offset"] = record.offset
    item["timestamp_ms"] = record.timestamp_ms
    item["key"] = None if record.key is None else bytes_as_json(record.key)
    item["headers"] = [(name, bytes_as_json(value)) for name, value in record.headers]
    if record.message_id is not None:
        item["message_id"] = record.message_id
    if record.routing_key is not None:
        item["routing_key"] = record.routing_key
    item["value"] = None if record.value is None else bytes_as_json(record.value)
    return _encode(item).encode() + b"\n"


def about(delivery: mq.Delivery[bytes]) -> dict[str, Any]:
    """Where a delivery was, and how often: first in its line."""
    facts: dict[str, Any] = {"destination": str(delivery.destination)}
    if delivery.partition is not None:
        facts["partition"] = delivery.partition
        facts["offset"] = delivery.offset
    else:
        facts["attempt"] = delivery.attempt
        facts["redelivered"] = delivery.redelivered
    death = delivery.death
    if death is not None:
        facts["death"] = {"reason": death.reason, "origin": death.origin, "attempts": death.attempts, "error":
        death.error}
    return facts


def from_line(line: bytes) -> Record:
    """The record in a line as `to_line` and `consume --output jsonl` write it, or as a person does: only ``value`` is
    due.

    Raises `RecordError`, which names the field.
    """
    try:
        item = json.loads(line)
    except ValueError as error:
        raise RecordError(f"it is not JSON: {error}") from None
    if not isinstance(item, dict):
        raise RecordError(f'it is not an object: write {{"value": ...}}, not {type(item).__name__}')
    if "value" not in item:
        raise RecordError('it has no "value"; a null message is "value": null')
    unknown = [name for name in item if name not in FIELDS and name not in ABOUT and name != "routing_key"]
    if unknown:
        raise RecordError(f"it has a field {unknown[0]!r}; known: {', '.join((*FIELDS, 'routing_key'))}")
    stamp = item.get("timestamp_ms")
    if stamp is not None and (isinstance(stamp, bool) or not isinstance(stamp, int)):
        raise RecordError(f'"timestamp_ms" must be an integer, not {stamp!r}')
    return Record(
        _bytes(item["value"], "value"),
        _bytes(item.get("key"), "key"),
        _headers(item.get("headers")),
        stamp,
        _text(item.get("message_id"), "message_id"),
        _text(item.get("routing_key"), "routing_key"),
        _place(item.get("partition")),
        _place(item.get("offset")),
    )


def _bytes(value: Any, field: str) -> bytes | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and list(value) == ["base64"] and isinstance(value["base64"], str):
            return base64.b64decode(value["base64"], validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise RecordError(f'"{field}": {error}') from None
    raise RecordError(f'"{field}" must be text, {{"base64": "..."}} or null, not {json.dumps(value)[:60]}')


def _place(value: Any) -> int | None:
    """What no sender can set is never wrong, only not there."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise RecordError(f'"{field}" must be text, not {json.dumps(value)[:60]}')


def _headers(value: Any) -> Pairs:
    if not value:
        return ()
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        pairs = [(pair[0], pair[1]) for pair in value]
    else:
        raise RecordError('"headers" must be {"name": "value"} or [["name", "value"], ...]')
    out: list[tuple[str, bytes]] = []
    for name, content in pairs:
        data = _bytes(content, f"headers: {name}")
        if not isinstance(name, str) or data is None:
            raise RecordError(f'"headers": {name!r} must be a name with a value')
        out.append((name, data))
    return tuple(out)


# --- digests


class Digest:
    """A digest over records in any order: the sum, modulo 2**256, of the SHA-256 of each record in canonical form.

    Canonical is, for each chosen field in the order of `FIELDS`: ``-`` for null, else the length in decimal, ``:``
    and the bytes; of headers the number of pairs first, and then those by name, repeats in their order: between
    different names not every engine keeps one. `values` takes the value alone, so that it compares with a
    text file, too. `distinct` also counts different values and different records (by half their hash), and digests
    each of them once, so that a copy with duplicates compares with its source: about 150 bytes of memory a record.
    """

    def __init__(self, fields: tuple[str, ...] = FIELDS, *, distinct: bool = False) -> None:
        self.fields = fields
        self.records = 0
        self._plain = fields == FIELDS
        self._values = 0
        self._whole = 0
        self._distinct = [0, 0]
        self._seen: tuple[set[bytes], set[bytes]] | None = (set(), set()) if distinct else None

    def add(self, record: Record) -> None:
        value, key, headers, timestamp_ms, message_id = record[:5]
        in_form = _sized(value)
        whole = [in_form, _sized(key)]
        if headers:
            whole.append(b"%d;" % len(headers))
            for name, content in sorted(headers, key=_name) if len(headers) > 1 else headers:
                whole += (_sized(name.encode()), _sized(content))
        else:
            whole.append(b"0;")
        whole.append(b"-" if timestamp_ms is None else b"%d;" % timestamp_ms)
        whole.append(b"-" if message_id is None else _sized(message_id.encode()))
        if not self._plain:
            whole = [part for name, part in zip(FIELDS, self._by_field(whole), strict=True) if name in self.fields]
        of_value, of_whole = sha256(in_form).digest(), sha256(b"".join(whole)).digest()
        self.records += 1
        self._values += int.from_bytes(of_value)
        self._whole += int.from_bytes(of_whole)
        if self._seen is not None:
            for place, hashed in enumerate((of_value, of_whole)):
                if hashed[:16] not in self._seen[place]:
                    self._seen[place].add(hashed[:16])
                    self._distinct[place] += int.from_bytes(hashed)

    @staticmethod
    def _by_field(parts: list[bytes]) -> list[bytes]:
        return [parts[0], parts[1], b"".join(parts[2:-2]), parts[-2], parts[-1]]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = {"records": self.records}
        if self._seen is not None:
            found["distinct_values"], found["distinct_records"] = map(len, self._seen)
            found["repeated_records"] = self.records - found["distinct_records"]
        found["sha256_values"] = f"{self._values % (1 << 256):064x}"
        found["sha256_records"] = f"{self._whole % (1 << 256):064x}"
        if self._seen is not None:
            for place, name in enumerate(("values", "records")):
                found[f"sha256_distinct_{name}"] = f"{self._distinct[place] % (1 << 256):064x}"
        found["fields"] = list(self.fields)
        return found


def _name(pair: tuple[str, bytes]) -> str:
    return pair[0]


def _sized(value: bytes | None) -> bytes:
    return b"-" if value is None else b"%d:%b" % (len(value), value)
