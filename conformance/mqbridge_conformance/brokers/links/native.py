"""The frames of a native host's socket: u32 length, u32 length of a JSON text, the text, batches; little-endian (the
docstring of the engine's wire format is the specification). And the proxy that takes the socket's place.

The rule: nothing of the engine is imported. A call has the name of its operation, and so has the answer to it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from mqbridge_conformance.brokers.links.frames import REQUEST, Framer, Said, Way
from mqbridge_conformance.brokers.links.proxy import CONNECT_S, Proxy
from mqbridge_conformance.results import CannotTell

__all__ = ["HostProxy", "NativeFrames"]

_TOTAL: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<II")
_SOCKET: Final = "mqbridge.sock"


class NativeFrames(Framer):
    """Names such as ``append_many``; what is no call and answers none is called by its type, such as ``hello``."""

    SAID: ClassVar[Said] = {
        word: (names, names)
        for word, names in {
            "send": ("append_many", "enqueue", "publish"),
            "commit": ("commit",),
            "settle": ("settle",),
        }.items()
    }

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[int, str] = {}

    def size(self, way: Way, buffer: bytearray, at: int) -> int:
        if len(buffer) < at + _TOTAL.size:
            return 0
        (total,) = _TOTAL.unpack_from(buffer, at)
        return _TOTAL.size + int(total)

    def name(self, way: Way, frame: bytes) -> str:
        _, length = _HEAD.unpack_from(frame)
        message = json.loads(frame[_HEAD.size : _HEAD.size + length])
        kind = str(message["t"])
        if way == REQUEST and kind == "call":
            # A take brings what is settled along.
            found = "settle" if message["op"] == "take" and message["args"]["settle"] else str(message["op"])
            self._asked[message["id"]] = found
            return found
        return self._asked.pop(message["id"]) if kind in ("reply", "error") else kind


class HostProxy(Proxy):
    """Takes the place of the socket of a folder's host, for the processes that connect from then on.

    The next host makes a socket of its own, so with the host's death this one leads nowhere: see `check`.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / _SOCKET
        self._aside = Path(tempfile.mkdtemp(prefix="mqbridge-aside-", dir=folder.parent))
        self._hosts = self._aside / "host"
        hosts, ours = self._hosts, self._aside / "proxy"
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(ours))
            listener.listen()
            self._place.rename(hosts)
            ours.rename(self._place)
        except OSError as error:
            listener.close()
            shutil.rmtree(self._aside)
            raise CannotTell(f"no proxy can stand before the host of {folder}: {error}") from error
        self._made = self._place.stat().st_ino
        super().__init__(listener, lambda: _connect(str(hosts)), NativeFrames)

    def check(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._place.stat().st_ino == self._made:
                return
        raise CannotTell(f"the folder of {self._place} has another host by now, and its clients do not go this way")

    @contextlib.contextmanager
    def stepped_aside(self) -> Iterator[None]:
        """Meanwhile who connects reaches the host itself; those on the proxy stay there. Not while it is cut: who
        connects again would go past it."""
        self.check()
        if self.refusing:
            raise CannotTell("a way beside the link is found before it is cut, not meanwhile")
        ours = self._aside / "proxy"
        self._place.rename(ours)
        self._hosts.rename(self._place)
        try:
            yield
        finally:
            self._place.rename(self._hosts)
            ours.rename(self._place)

    def close(self) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)
        super().close()


def _connect(address: str) -> socket.socket:
    connecting = socket.socket(socket.AF_UNIX)
    try:
        connecting.settimeout(CONNECT_S)
        connecting.connect(address)
    except OSError:
        connecting.close()
        raise
    return connecting
