"""Deaths of a process at every system call that changes the disk, by fork and _exit: nothing cleans up after
them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHANGING = ("open", "write", "writev", "ftruncate", "rename", "unlink", "mkdir", "rmdir", "fsync", "fdatasync")
_DIED = 9


def deaths(before: Path, work: Path, action: Callable[[Path], None]) -> Iterator[tuple[int, Path]]:
    """Run `action` on fresh copies of `before`, dying at the first, second, ... call, until one run
    completes.

    A call that writes is done by half before the death. Yields the number of the call and the folder it left.
    """
    number = 0
    while True:
        number += 1
        folder = work / f"{before.name}-{number}"
        shutil.copytree(before, folder)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _die_at(number)
                action(folder)
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, _DIED), f"the action failed by itself before call {number}"
        yield number, folder
        if status == 0:
            return


def _die_at(number: int) -> None:
    seen = 0

    def wrap(name: str) -> None:
        call = getattr(os, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == number:
                if name in ("write", "writev"):
                    whole = bytes(args[1]) if name == "write" else b"".join(args[1])
                    posix_write(args[0], whole[: len(whole) // 2])
                os._exit(_DIED)
            return call(*args, **kwargs)

        setattr(os, name, counted)

    posix_write = os.write
    for name in CHANGING:
        wrap(name)
