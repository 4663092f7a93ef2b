"""The native engine's folder, read by somebody else: a second, independent reader of its documented file layout.

The rule: nothing of the engine is imported here, and nothing is written. What the files say is what survives the
process, so it is the last word on what was applied. A frame that is still being written ends the reading of its file.

Layout (the docstrings of the engine's storage room are the specification): a file of frames is 8 bytes of magic, then
frames of u32 length, u32 CRC-32 of the payload, u32 CRC-32 of those eight bytes, payload. ``topics/NAME/N/BASE.log``
holds batches, ``OFFSET.start`` beside it says where the partition begins, ``journals/meta.journal`` JSON entries,
``journals/queue-NAME.journal`` entries of kind H, E, U and S. All integers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Batch", "Folder", "Held", "Meta", "Row"]

MAGIC = b"MQBfrm\x00\x01"
PASSING = (".tmp", ".lock", ".sock")

Pairs = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a batch."""

    key: bytes | None
    value: bytes | None
    headers: Pairs
    timestamp_ms: int


Batch = list[Row]


@dataclass(frozen=True, slots=True)
class Held:
    """One message of a queue: ready, taken by a consumer, or delayed."""

    row: Row
    failures: int = 0
    redelivered: bool = False
    state: str = "ready"


class Meta:
    """Topology and committed offsets, as the entries of the meta journal add up."""

    def __init__(self) -> None:
        self.topics: dict[str, int] = {}
        self.queues: dict[str, dict[str, Any]] = {}
        self.exchanges: dict[str, str] = {}
        self.bindings: list[tuple[Any, ...]] = []
        self.brought: dict[str, set[str]] = {}
        self.committed: dict[str, dict[tuple[str, int], int]] = {}

    def apply(self, entry: dict[str, Any]) -> None:
        kind, name = entry["t"], entry.get("name", "")
        if kind == "topic":
            self.topics[name] = entry["spec"]["partitions"]
        elif kind == "topic-deleted":
            del self.topics[name]
            self._forget_topic(name)
        elif kind == "queue":
            self.queues[name] = entry["spec"]
        elif kind == "queue-deleted":
            self.queues.pop(name, None)
            self.bindings = [row for row in self.bindings if row[1:3] != ("queue", name)]
        elif kind == "exchange":
            self.exchanges[name] = entry["spec"]["type"]
        elif kind == "exchange-deleted":
            del self.exchanges[name]
            self.bindings = [r for r in self.bindings if r[0] != name and r[1:3] != ("exchange", name)]
        elif kind == "binding":
            self.bindings.append(_binding(entry["binding"]))
        elif kind == "binding-deleted":
            self.bindings.remove(_binding(entry["binding"]))
        else:
            self._apply_group(kind, entry)

    def _apply_group(self, kind: str, entry: dict[str, Any]) -> None:
        group = entry["group"]
        if kind == "group-deleted":
            self.brought.pop(group, None)
            self.committed.pop(group, None)
            return
        committed = self.committed.setdefault(group, {})
        if kind == "group-start":
            for topic, rows in entry["topics"].items():
                self.brought.setdefault(group, set()).add(topic)
                committed.update(((topic, partition), offset) for partition, offset in rows)
        elif kind == "group-offsets":
            committed.update(((topic, partition), offset) for topic, partition, offset in entry["offsets"])
        else:
            raise ValueError(f"an entry of kind {kind!r}, which the layout does not know")

    def _forget_topic(self, topic: str) -> None:
        for group in list(self.committed):
            offsets = {place: at for place, at in self.committed[group].items() if place[0] != topic}
            self.brought.get(group, set()).discard(topic)
            if offsets or self.brought.get(group):
                self.committed[group] = offsets
            else:
                del self.committed[group]

    def positions(self, group: str) -> dict[tuple[str, int], int]:
        """Where a group goes on. A partition added to a topic that the group knows begins at 0 without an entry."""
        found = dict(self.committed.get(group, {}))
        for topic in self.brought.get(group, ()):
            for partition in range(self.topics.get(topic, 0)):
                found.setdefault((topic, partition), 0)
        return found


class Folder:
    """A storage folder, looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def meta(self) -> Meta:
        meta = Meta()
        for payload in frames(self.path / "journals" / "meta.journal"):
            meta.apply(json.loads(payload))
        return meta

    def partition(self, topic: str, number: int) -> list[tuple[int, Row]]:
        """(offset, record) of all that can be read of a partition."""
        folder = self.path / "topics" / quote(topic) / str(number)
        start = max((int(mark.stem) for mark in folder.glob("*.start")), default=0)
        out: list[tuple[int, Row]] = []
        for segment in sorted(folder.glob("*.log")):
            if not re.fullmatch(r"\d{20}", segment.stem):
                continue
            for payload in frames(segment):
                base, count, _latest = struct.unpack_from("<QIq", payload)
                rows = batch(payload[20:])
                if len(rows) != count:
                    raise ValueError(f"{segment}: {len(rows)} records where {count} are said to be")
                out += [(base + i, row) for i, row in enumerate(rows) if base + i >= start]
        return out

    def queue(self, name: str) -> list[Held]:
        """The messages of a queue, in the order of their numbers."""
        return list(_replay_queue(frames(self.path / "journals" / f"{quote('queue-' + name)}.journal")).values())

    def bytes_of_files(self) -> dict[str, str]:
        """The content of every file that keeps something, as hashes by relative name."""
        found: dict[str, str] = {}
        for path in sorted(self.path.rglob("*")):
            if path.is_file() and path.suffix not in PASSING:
                found[path.relative_to(self.path).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def frames(path: Path) -> Iterator[bytes]:
    """The payloads of a file of frames, each verified; a file that is not there has none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    if data[:8] != MAGIC[: len(data[:8])]:
        raise ValueError(f"{path} begins with {data[:8]!r}")
    at = 8
    while at + 12 <= len(data):
        length, crc, check = struct.unpack_from("<III", data, at)
        if zlib.crc32(data[at : at + 8]) != check:
            raise ValueError(f"{path}: the header of the frame at {at} fails its checksum")
        payload = data[at + 12 : at + 12 + length]
        if len(payload) < length:
            return
        if zlib.crc32(payload) != crc:
            raise ValueError(f"{path}: the frame at {at} fails its checksum")
        yield payload
        at += 12 + length


def batch(data: bytes) -> Batch:
    """The records of an encoded batch: columns of lengths and timestamps, then what they measure."""
    version, flags, _zero, count, key_bytes, value_bytes, header_count, _header_bytes = struct.unpack_from(
        "<BBHIIIII", data
    )
    if version != 1:
        raise ValueError(f"a batch of version {version}")
    at = 24
    key_lengths = struct.unpack_from(f"<{count}i", data, at)
    value_lengths = struct.unpack_from(f"<{count}i", data, at + 4 * count)
    stamps = struct.unpack_from(f"<{count}q", data, at + 8 * count)
    at += 16 * count
    keys = _cut(data[at : at + key_bytes], key_lengths)
    values = _cut(data[at + key_bytes : at + key_bytes + value_bytes], value_lengths)
    at += key_bytes + value_bytes
    headers: list[Pairs] = [()] * count
    if flags & 1:
        per_record = struct.unpack_from(f"<{count}i", data, at)
        name_lengths = struct.unpack_from(f"<{header_count}i", data, at + 4 * count)
        content_lengths = struct.unpack_from(f"<{header_count}i", data, at + 4 * count + 4 * header_count)
        blob = data[at + 4 * count + 8 * header_count :]
        names = _cut(blob[: sum(name_lengths)], name_lengths)
        contents = _cut(blob[sum(name_lengths) :], content_lengths)
        pairs = iter([((name or b"").decode(), content or b"") for name, content in zip(names, contents, strict=True)])
        headers = [tuple(next(pairs) for _ in range(max(0, number))) for number in per_record]
    return [Row(*columns) for columns in zip(keys, values, headers, stamps, strict=True)]


def quote(name: str) -> str:
    """The file name of a name: upper case as ``=`` and the small letter, what is unusual as ``%`` and two digits."""
    out = "".join(_quoted(character) for character in name)
    out = "%2e" + out[1:] if out.startswith(".") else out
    if len(out) > 200:
        return f"{out[:159]}~{hashlib.sha256(name.encode()).hexdigest()[:40]}"
    return out


def _quoted(character: str) -> str:
    if re.fullmatch(r"[a-z0-9_.-]", character):
        return character
    if re.fullmatch(r"[A-Z]", character):
        return "=" + character.lower()
    return "".join(f"%{byte:02x}" for byte in character.encode())


def _cut(blob: bytes, lengths: tuple[int, ...]) -> list[bytes | None]:
    out: list[bytes | None] = []
    at = 0
    for length in lengths:
        out.append(None if length < 0 else blob[at : at + length])
        at += max(0, length)
    return out


def _binding(row: list[Any]) -> tuple[Any, ...]:
    return (*row[:4], tuple(sorted((row[4] or {}).items())), row[5])


def _replay_queue(entries: Iterator[bytes]) -> dict[int, Held]:
    held: dict[int, Held] = {}
    for entry in entries:
        kind = entry[:1]
        if kind == b"E":
            first = struct.unpack_from("<q", entry, 1)[0]
            for number, row in enumerate(batch(entry[27:]), first):
                delayed = any(name == "mqbridge-delay-ms" and int(content) for name, content in row.headers)
                held[number] = Held(row, state="delayed" if delayed else "ready")
        elif kind == b"U":
            _update(entry, held)
        elif kind == b"S":
            count = struct.unpack_from("<I", entry, 1)[0]
            size = struct.calcsize("<qIqqh??")
            for number, row in enumerate(batch(entry[5 + count * size :])):
                seq, failures, _expires, due, _priority, again, taken = struct.unpack_from(
                    "<qIqqh??", entry, 5 + number * size
                )
                held[seq] = Held(row, failures, again, "taken" if taken else "delayed" if due else "ready")
        elif kind != b"H":
            raise ValueError(f"an entry of kind {kind!r}, which the layout does not know")
    return held


def _update(entry: bytes, held: dict[int, Held]) -> None:
    settled, returned, taken = struct.unpack_from("<III", entry, 1)
    at = 13
    for number in struct.unpack_from(f"<{settled}q", entry, at):
        held.pop(number, None)
    at += 8 * settled
    for _ in range(returned):
        number, failures, due, again = struct.unpack_from("<qIq?", entry, at)
        at += 21
        if number in held:
            held[number] = replace(
                held[number], failures=failures, redelivered=again, state="delayed" if due else "ready"
            )
    for number in struct.unpack_from(f"<{taken}q", entry, at):
        if number in held:
            held[number] = replace(held[number], state="taken")
