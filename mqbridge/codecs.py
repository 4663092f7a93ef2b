"""How a value becomes bytes and back. The rule: a codec is a pure pair of functions; it never sees a destination.

`None` never reaches a codec: it is the null value (a tombstone on a compacted topic), kept apart from empty bytes.
"""

from __future__ import annotations

import builtins
import json as _json
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")

__all__ = ["Codec", "bytes", "json", "text"]


@runtime_checkable
class Codec(Protocol[T]):
    """`encode` turns a value into bytes, `decode` the other way; any exception they raise becomes `CodecError`."""

    name: str

    def encode(self, value: T, /) -> builtins.bytes: ...

    def decode(self, data: builtins.bytes, /) -> T: ...


class _Bytes:
    """Values are bytes already. The portable layer knows this codec and calls nothing per message."""

    name = "bytes"

    def encode(self, value: builtins.bytes, /) -> builtins.bytes:
        if not isinstance(value, builtins.bytes):
            raise TypeError(f"the bytes codec takes bytes, not {type(value).__name__}")
        return value

    def decode(self, data: builtins.bytes, /) -> builtins.bytes:
        return data

    def __repr__(self) -> str:
        return "codecs.bytes"

    def __reduce__(self) -> str:
        return "bytes"  # this very object: in another process too, it is known by identity


class _Text:
    """Values are `str`, as UTF-8."""

    name = "text"

    def encode(self, value: str, /) -> builtins.bytes:
        if not isinstance(value, str):
            raise TypeError(f"the text codec takes str, not {type(value).__name__}")
        return value.encode()

    def decode(self, data: builtins.bytes, /) -> str:
        return data.decode()

    def __repr__(self) -> str:
        return "codecs.text"

    def __reduce__(self) -> str:
        return "text"


class _Json:
    """Values are what the standard library's `json` can express; compact separators, UTF-8, no NaN."""

    name = "json"

    def __init__(self) -> None:
        # One encoder for all messages: json.dumps with non-default arguments builds a new one at each call.
        self._encode = _json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode

    def encode(self, value: Any, /) -> builtins.bytes:
        return self._encode(value).encode()

    def decode(self, data: builtins.bytes, /) -> Any:
        return _json.loads(data)

    def __repr__(self) -> str:
        return "codecs.json"

    def __reduce__(self) -> str:
        return "json"


bytes: Codec[builtins.bytes] = _Bytes()
text: Codec[str] = _Text()
json: Codec[Any] = _Json()
