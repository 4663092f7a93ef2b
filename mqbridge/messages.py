"""What travels: headers, a delivery with its verbs, a confirmation.

The rule of this room: a delivery is a view. It holds its block, its place in it and the page of marks, and reads all
else when asked, so that a message that is only acknowledged costs one small object. Receipts live in receipts.py.
"""

from __future__ import annotations

import datetime as _dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mqbridge.errors import CodecError, InvalidSpec
from mqbridge.ledger import DONE
from mqbridge.semantics import reserved
from mqbridge.topology import Destination

if TYPE_CHECKING:
    from mqbridge.ledger import Page
    from mqbridge.spi import Block

T = TypeVar("T")
RawHeaders = tuple[tuple[str, bytes], ...]
HeadersLike = Mapping[str, bytes | str] | Iterable[tuple[str, bytes | str]]

__all__ = ["Confirmation", "Death", "Delivery", "Headers", "HeadersLike", "Message", "RawHeaders"]


class Headers(Mapping[str, bytes]):
    """Immutable headers, `str -> bytes`; a name may repeat (`get_all`), and order is kept.

    ``headers[name]`` is the last value of that name. Names that start with ``mqbridge-`` are the library's own: they
    are not shown here and cannot be sent.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: RawHeaders = ()) -> None:
        self._pairs = pairs

    def __getitem__(self, name: str) -> bytes:
        for key, value in reversed(self._pairs):
            if key == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key for key, _ in self._pairs})

    def get_all(self, name: str) -> tuple[bytes, ...]:
        """All values of one name, in order."""
        return tuple(value for key, value in self._pairs if key == name)

    @property
    def pairs(self) -> RawHeaders:
        """All (name, value) pairs, in order, repeats included."""
        return self._pairs

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return self._pairs == other._pairs
        return Mapping.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"


def encode_headers(headers: HeadersLike | None) -> RawHeaders | None:
    """The user's headers as pairs; `InvalidSpec` for a wrong type or a reserved name."""
    if not headers:
        return None
    if isinstance(headers, Headers):
        return headers.pairs
    given: Iterable[tuple[str, bytes | str]] = headers.items() if isinstance(headers, Mapping) else headers
    pairs: list[tuple[str, bytes]] = []
    for name, value in given:
        if not isinstance(name, str):
            raise InvalidSpec(f"a header name must be str, not {type(name).__name__}", field="headers")
        if name.startswith(reserved.PREFIX):
            raise InvalidSpec(
                f"header {name!r}: names that start with {reserved.PREFIX!r} are reserved", field="headers"
            )
        if isinstance(value, str):
            value = value.encode()
        elif not isinstance(value, bytes):
            raise InvalidSpec(f"header {name!r} must be bytes or str, not {type(value).__name__}", field="headers")
        pairs.append((name, value))
    return tuple(pairs)


class Message(NamedTuple):
    """One message for `Producer.send_many`."""

    value: Any
    key: str | bytes | None = None
    headers: HeadersLike | None = None
    timestamp: _dt.datetime | None = None
    routing_key: str = ""
    message_id: str | None = None
    expires_in_s: float | None = None
    priority: int | None = None
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Where a confirmed message lies. `partition` and `offset` are None where the engine does not report them."""

    destination: Destination
    partition: int | None
    offset: int | None


@dataclass(frozen=True, slots=True)
class Death:
    """Why a message is in a dead-letter destination.

    `reason` is ``rejected``, ``expired``, ``max-attempts`` or ``max-length``; `origin` is where it died, as
    ``queue:NAME`` or ``topic:NAME/PARTITION/OFFSET``; `error` is the text given to `reject` or `retry`, on
    Kafka its first 2000 bytes.
    """

    reason: str
    origin: str
    attempts: int
    error: str | None
    at: _dt.datetime | None


class Delivery(Generic[T]):
    """One message as it was delivered, and the four verbs to settle it. Thread-safe.

    Settling is a local mark that never blocks; the engine learns of it within `settle_interval_s`, and at revoke,
    drain and close. A second verb raises `AlreadySettled`; a verb after the lease is known to be lost raises
    `LeaseLost`.
    """

    __slots__ = ("_block", "_index", "_page", "raw")

    raw: bytes | None
    """The value as bytes, or None for a null value."""

    def __init__(self, block: Block, index: int, page: Page, raw: bytes | None) -> None:
        self._block = block
        self._index = index
        self._page = page
        self.raw = raw

    @property
    def value(self) -> T:
        """The decoded value; None for a null value. Raises `CodecError` for a poison record, with `raw` still at
        hand."""
        codec = self._page.codec
        raw = self.raw
        if codec is None or raw is None:
            return raw  # type: ignore[return-value]  # cast() would be a call per message
        try:
            return codec.decode(raw)  # type: ignore[no-any-return]
        except Exception as error:  # a codec is the user's code: whatever it raises is a poison record
            raise CodecError(
                f"{self} cannot be decoded by the {codec.name} codec: {error}. The bytes are in .raw; reject() "
                "or ack() "
                "it, for it will not decode next time either."
            ) from error

    @property
    def key(self) -> bytes | None:
        """The key as bytes. A null key (None) is not an empty key (b"")."""
        return self._block.key(self._index)

    @property
    def headers(self) -> Headers:
        """The sender's headers; the library's own are not among them."""
        pairs = self._block.headers(self._index)
        if not pairs:
            return _NO_HEADERS
        for name, _ in pairs:
            if name.startswith(reserved.PREFIX):
                return Headers(tuple(pair for pair in pairs if not pair[0].startswith(reserved.PREFIX)))
        return Headers(pairs)

    @property
    def timestamp_ms(self) -> int:
        """Milliseconds since the epoch: what the sender gave, or when it was sent."""
        return self._block.timestamp_ms(self._index)

    @property
    def timestamp(self) -> _dt.datetime:
        """`timestamp_ms` as an aware datetime in UTC."""
        return _EPOCH + _dt.timedelta(milliseconds=self._block.timestamp_ms(self._index))

    @property
    def message_id(self) -> str | None:
        """The sender's or the library's id: always there on queues, on topics only if it was given."""
        return self._block.message_id(self._index)

    @property
    def destination(self) -> Destination:
        """The topic or queue it came from."""
        return self._block.destination

    @property
    def partition(self) -> int | None:
        """The partition of a topic; None for a queue."""
        return self._block.partition

    @property
    def offset(self) -> int | None:
        """The offset in the partition; None for a queue."""
        return self._block.offset(self._index) if self._block.partition is not None else None

    @property
    def attempt(self) -> int:
        """1 for the first delivery. On topics it counts in this consumer only: a lower bound after a crash."""
        return self._block.attempt(self._index)

    @property
    def redelivered(self) -> bool:
        """It may have been delivered before. On topics known only within this consumer."""
        return self._block.redelivered(self._index)

    @property
    def routing_key(self) -> str | None:
        """The routing key it was sent with, for messages that came through an exchange."""
        raw = _reserved(self._block.headers(self._index), reserved.ROUTING_KEY)
        return None if raw is None else raw.decode()

    @property
    def death(self) -> Death | None:
        """Why it was dead-lettered, or None if it was not."""
        return read_death(self._block.headers(self._index))

    def ack(self) -> None:
        """Done: it will not be delivered to this group, or from this queue, again."""
        marks = self._page.marks
        index = self._index
        if marks[index]:
            self._page.refuse(index)
        marks[index] = DONE

    def release(self, delay_s: float = 0.0) -> None:
        """Give it back, not my failure: delivered again, no attempt counted where RELEASE_UNCOUNTED is claimed."""
        self._page.owner._release(self, delay_s)

    def retry(self, delay_s: float = 0.0, error: BaseException | str | None = None) -> None:
        """This attempt failed: counted; past the limit the message is dead-lettered with the reason
        ``max-attempts``."""
        self._page.owner._retry(self, delay_s, error)

    def reject(self, reason: str = "rejected by the application") -> None:
        """Dead-letter it now."""
        self._page.owner._reject(self, reason)

    @property
    def settled(self) -> bool:
        """Has a verb been used on it, or has its lease ended?"""
        return self._page.marks[self._index] != 0

    def __str__(self) -> str:
        return self._block.describe(self._index)

    def __repr__(self) -> str:
        return f"<Delivery {self._block.describe(self._index)} attempt={self.attempt}>"


_EPOCH = _dt.datetime(1970, 1, 1, tzinfo=_dt.UTC)
_NO_HEADERS = Headers()


def _reserved(pairs: RawHeaders | None, name: str) -> bytes | None:
    for key, value in pairs or ():
        if key == name:
            return value
    return None


def read_death(pairs: RawHeaders | None) -> Death | None:
    """The dead-letter headers as a `Death`."""
    reason = _reserved(pairs, reserved.DEATH_REASON)
    if reason is None:
        return None
    at_ms = _reserved(pairs, reserved.DEATH_AT_MS)
    error = _reserved(pairs, reserved.DEATH_ERROR)
    origin = (_reserved(pairs, reserved.DEATH_QUEUE) or b"").decode()
    return Death(
        reason=reason.decode(),
        origin=origin if ":" in origin else f"queue:{origin}",
        attempts=int(_reserved(pairs, reserved.DEATH_ATTEMPTS) or b"0"),
        error=None if error is None else error.decode(errors="replace"),
        at=None if at_ms is None else _EPOCH + _dt.timedelta(milliseconds=int(at_ms)),
    )
