"""Numbers that a file name carries.

The rule: the number changes by a rename of an empty file, which is atomic and needs no block. So the start of a log can
move, and its old segments can go, on a disk that is full; a file with the number in it would need the room that only
the removal can give. What does not belong here: numbers that change often (each change flushes the folder).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mqbridge.native.storage import disk


class Marker:
    """One number of a folder, in the name `NUMBER.KIND` of an empty file; None until it is first set."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Find the marker. CorruptLog when there are several, which no crash can leave."""
        self._folder = folder
        self._kind = kind
        self._name: str | None = None
        self.number: int | None = None
        try:
            names = sorted(name for name in os.listdir(folder) if re.fullmatch(rf"\d{{20}}\.{kind}", name))
        except OSError as error:
            raise disk.disk_error(error, folder, "listing") from error
        if len(names) > 1:
            raise disk.corrupt(folder / names[0], 0, f"{names[-1]} is there as well")
        if names:
            self._name = names[0]
            self.number = int(names[0][:20])

    def move(self, number: int) -> None:
        """Set the number, durably; after a crash it is the old one or the new one."""
        name = f"{number:020d}.{self._kind}"
        path = self._folder / name
        try:
            if self._name is None:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            else:
                os.rename(self._folder / self._name, path)
        except OSError as error:
            raise disk.disk_error(error, path, "making") from error
        self._name = name
        disk.flush_folder(self._folder)
        self.number = number
