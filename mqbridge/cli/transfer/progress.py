"""How far a long command is. The rule: on stderr; a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

from mqbridge.cli.output import say, size

EVERY_S = 5.0


class Progress:
    """Counts records, and moves through `total` of some unit (None: nobody knows)."""

    def __init__(self, total: int | None, unit: str) -> None:
        self.records = 0
        self.began_s = time.monotonic()
        self._total, self._unit, self._moved = total, unit, 0
        self._told_s = self.began_s
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=total, rate="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s

    def step(self, records: int, moved: int) -> None:
        self.records += records
        self._moved += moved
        rate = f"{self.records / max(self.elapsed_s, 1e-9):,.0f} records/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._moved, description=f"{self.records:,} records", rate=rate)
        elif time.monotonic() - self._told_s >= EVERY_S:
            self._told_s = time.monotonic()
            say(f"{self.records:,} records, {rate}{self._share()}")

    def _share(self) -> str:
        if not self._total:
            return ""
        if self._unit == "bytes":
            return f", {size(self._moved)} of {size(self._total)}"
        return f", {self._moved / self._total:.0%}"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr, color_system=None if os.environ.get("NO_COLOR") else "auto"),
        transient=True,
    )
