"""Where the host of a folder listens: a socket file in that folder, whatever the length of the folder's path.

The rule: the address of a socket holds about 100 bytes, a path may have 4096; so a long path is reached
through a short name of the folder (`/proc/self/fd/N` on Linux, elsewhere a symbolic link in a fresh temporary
folder), which is gone after the one system call that needed it. The socket file itself is always in the
folder. Source: unix(7), sun_path has 108 bytes on Linux and 104 on macOS, the closing NUL included.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mqbridge import errors

# The prefix is the storage room's: a folder with other names in it is refused as not ours.
SOCKET_NAME = "mqbridge.sock"
_MAX_ADDRESS_BYTES = 107 if sys.platform == "linux" else 103
_PEER = struct.Struct("3i")


@contextmanager
def short_address(folder: Path, name: str = SOCKET_NAME) -> Iterator[str]:
    """An address for `bind` or `connect` of the socket `name` in `folder`, valid inside the `with` block."""
    plain = str(folder / name)
    if len(os.fsencode(plain)) <= _MAX_ADDRESS_BYTES:
        yield plain
    elif os.path.isdir("/proc/self/fd"):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{fd}/{name}"
        finally:
            os.close(fd)
    else:
        with _linked(folder) as link:
            yield str(link / name)


@contextmanager
def _linked(folder: Path) -> Iterator[Path]:
    temporary = Path(tempfile.mkdtemp(prefix="mqb"))
    try:
        link = temporary / "f"
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield link
    finally:
        shutil.rmtree(temporary)


def listen(folder: Path, backlog: int = 128) -> socket.socket:
    """A non-blocking listening socket in `folder`, for this user alone. The caller holds the folder's lock.

    Hence a socket file that is there already is a dead host's and is removed. Denied or Unreachable when it
    cannot be.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        (folder / SOCKET_NAME).unlink(missing_ok=True)
        with short_address(folder) as address:
            listener.bind(address)
            # Between bind and listen nobody can connect: there is no moment with a wider mode.
            os.chmod(address, 0o600)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        kind = errors.Denied if isinstance(error, PermissionError) else errors.Unreachable
        raise kind(
            f"cannot listen in {folder}: {error.strerror or error}; nothing was opened: other processes reach the "
            "engine through a socket there, so use a folder on a local disk that this user may write to"
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def connect(connecting: socket.socket, folder: Path, timeout_s: float) -> None:
    """Connect. OSError when nobody listens, or (BlockingIOError) when too many wait for a host that does not
    accept.
    """
    connecting.settimeout(timeout_s)
    with short_address(folder) as address:
        connecting.connect(address)


def peer_of(connected: socket.socket) -> tuple[int | None, int | None]:
    """(process id, user id) of the other end, as the kernel knows them; None where it does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None, None
    pid, uid, _ = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return pid, uid
