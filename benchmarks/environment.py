"""Where a benchmark ran: what a figure means nothing without. The rule: what cannot be found out is called unknown."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import sqlite3
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from statistics import median

import mqbridge

SYNCS = 50


class Environment:
    """The facts of a run; `finish` adds what is known only at its end."""

    def __init__(self, facts: dict[str, str]) -> None:
        self._facts = facts
        self._load = _load()
        self._ticks = _cpu_ticks()
        self._start_s = time.monotonic()

    def finish(self) -> None:
        self._facts["load"] = f"{self._load} at the start, {_load()} at the end; {self._stolen()} of CPU time stolen"
        self._facts["took"] = f"{time.monotonic() - self._start_s:.0f} s"

    def lines(self) -> list[tuple[str, str]]:
        return list(self._facts.items())

    def _stolen(self) -> str:
        before, after = self._ticks, _cpu_ticks()
        if before is None or after is None or sum(after) == sum(before):
            return "unknown part"
        return f"{(after[7] - before[7]) / (sum(after) - sum(before)):.1%}"


def look(folder: Path) -> Environment:
    return Environment(
        {
            "python": f"{platform.python_implementation()} {platform.python_version()}, {_build()}",
            "mqbridge": f"{mqbridge.__version__}, native engine in pure Python",
            "others": f"SQLite {sqlite3.sqlite_version}, litequeue {_version('litequeue')}",
            "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "folder": f"{folder}, {_filesystem(folder)}, {_sync_time(folder)}",
            "collector": f"the garbage collector runs as in any program, {_collector()}",
        }
    )


def _collector() -> str:
    return f"thresholds {gc.get_threshold()}" if gc.isenabled() else "but is switched off"


def _build() -> str:
    """Profile-guided optimization is worth 1.2 to 2 times, and many builds go without."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS")
    flags = str(sysconfig.get_config_var("PY_CORE_CFLAGS") or "")
    if arguments is None:
        return "unknown build"
    guided = "--enable-optimizations" in arguments or "-fprofile-use" in flags
    linked = "--with-lto" in arguments
    debug = ", a DEBUG build" if hasattr(sys, "gettotalrefcount") else ""
    return f"{'with' if guided else 'without'} PGO, {'with' if linked else 'without'} LTO{debug}"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"


def _load() -> str:
    try:
        return " ".join(f"{load:.1f}" for load in os.getloadavg())
    except OSError:
        return "unknown"


def _cpu_ticks() -> list[int] | None:
    try:
        with open("/proc/stat") as stat:
            return [int(item) for item in stat.readline().split()[1:9]]
    except (OSError, ValueError):
        return None


def _filesystem(folder: Path) -> str:
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown filesystem"
    place = folder.resolve()
    under = [(len(parts[1]), parts[2]) for parts in mounts if place.is_relative_to(parts[1])]
    return max(under, default=(0, "unknown filesystem"))[1]


def _sync_time(folder: Path) -> str:
    sync = getattr(os, "fdatasync", os.fsync)
    took: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            os.write(file.fileno(), bytes(4096))
            start_s = time.perf_counter()
            sync(file.fileno())
            took.append(time.perf_counter() - start_s)
    return f"{sync.__name__} of 4 KiB takes {median(took) * 1e6:.0f} us (p50 of {SYNCS})"
