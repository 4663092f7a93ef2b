"""``mqbridge doctor``: what this machine and this URL can do, and what to do about what they cannot.

The rule: a check that fails says how to mend it, and one that was not made says why; nothing is guessed.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

import click

import mqbridge as mq
from mqbridge.cli.context import Command, front, native_folder
from mqbridge.cli.errors import FAILED
from mqbridge.cli.output import say

Status = Literal["ok", "FAILED", "note", "NOT RUN"]
PACKAGES = ("click", "rich")
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph")
SYNCS = 20
SLOW_SYNC_MS = 50.0


class Check(NamedTuple):
    check: str
    status: Status
    finding: str
    what_to_do: str | None = None


@click.command(cls=Command, short_help="Check this machine, and the engine at a URL.")
@click.argument("at", metavar="[URL]", required=False)
@click.option("--capabilities", is_flag=True, help="What the engine at the URL can do, and how; nothing else.")
def doctor(at: str | None, capabilities: bool) -> None:
    """Check this machine, and the engine at URL (or --url) if one is given. Exit code 1 if a check fails.

    A native folder is not made; if nobody hosts it, this process does for a moment.
    """
    it = front()
    if at is not None:
        it.url, it.url_was_typed = at, True
    if capabilities:
        _capabilities()
        return
    checks = [*_python(), *_packages()]
    if it.url:
        folder = native_folder(it.url)
        if folder is not None:
            checks += _folder(folder)
        if folder is None or folder.exists():
            checks.append(_connection(it.url))
    else:
        checks.append(Check("engine", "NOT RUN", "no URL was given", "mqbridge doctor URL, or set MQBRIDGE_URL"))
    it.output.rows(Check._fields, checks, empty="")
    failed = [item for item in checks if item.status == "FAILED"]
    if failed:
        say(f"{len(failed)} of {len(checks)} checks failed: {', '.join(item.check for item in failed)}")
        raise click.exceptions.Exit(FAILED)


def _capabilities() -> None:
    with front().bus() as bus:
        rows = [
            (str(name), "later" if support.later else str(support.level), support.how, support.instead or None)
            for name, support in bus.capabilities.items()
        ]
    front().output.rows(("capability", "level", "how", "instead"), rows, empty="")


def _python() -> Iterator[Check]:
    good = sys.version_info >= (3, 11)
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    yield Check("python", "ok" if good else "FAILED", found, None if good else "use Python 3.11 or later")
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    how = "the usual build, with the GIL"
    if free:
        how = "a free-threaded build" + (", with the GIL enabled all the same" if locked else "")
    yield Check("threads", "note", how)
    yield Check("mqbridge", "ok", f"{mq.__version__} in {Path(mq.__file__).parent}")


def _packages() -> Iterator[Check]:
    for package in PACKAGES:
        try:
            yield Check(package, "ok", version(package))
        except PackageNotFoundError:
            yield Check(package, "note", "not installed", "pip install '.[cli]' in mqbridge's tree")
    yield Check("Kafka and RabbitMQ", "note", "not in this version, which has the native engine alone")


# --- a native folder


def _folder(folder: Path) -> Iterator[Check]:
    there = folder.exists()
    place = folder if there else _nearest_existing(folder)
    if there and not folder.is_dir():
        yield Check("folder", "FAILED", f"{folder} is no folder", "name another path")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        told = f"{place} is not writable for user {os.getuid()}"
        yield Check("folder", "FAILED", told, f"chown or chmod {place}, or use another")
        return
    yield Check("folder", "ok", str(folder.resolve()) if there else f"{folder} is not there; the first user makes it")
    yield _file_system(place)
    yield _sync(place)
    free = shutil.disk_usage(place).free
    low = free < 1 << 30
    yield Check(
        "free space",
        "FAILED" if low else "ok",
        f"{free / (1 << 30):.1f} GiB",
        "free some: an engine without space refuses messages" if low else None,
    )


def _nearest_existing(folder: Path) -> Path:
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return place


def _file_system(place: Path) -> Check:
    kind = file_system(place)
    if kind is None:
        return Check("file system", "NOT RUN", "this system does not tell (no /proc/mounts)")
    if kind in NETWORK_FILE_SYSTEMS:
        return Check(
            "file system",
            "FAILED",
            f"{kind}: locks and Unix sockets do not work across machines, and locks may be granted twice",
            "use a folder on a local disk, and from one machine alone",
        )
    if kind in ("tmpfs", "ramfs"):
        return Check("file system", "note", f"{kind}: memory; all is gone when the machine restarts")
    return Check("file system", "ok", kind)


def file_system(place: Path) -> str | None:
    """The kind of file system that holds `place`; None where the system does not tell."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    path = place.resolve()
    for line in lines:
        fields = line.split(" ")
        mounted = Path(fields[1].encode().decode("unicode_escape"))
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), fields[2]
    return kind


def _sync(place: Path) -> Check:
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".mqbridge-doctor-") as file:
            took_ms = []
            for _ in range(SYNCS):
                file.write(b"\0" * 4096)
                file.flush()
                began = time.perf_counter()
                sync(file.fileno())
                took_ms.append((time.perf_counter() - began) * 1000)
    except OSError as error:
        return Check(sync.__name__, "FAILED", str(error), "mend the disk, or use another folder")
    median, worst = statistics.median(took_ms), max(took_ms)
    told = f"median {median:.3g} ms, worst {worst:.3g} ms of {SYNCS} writes of 4 KiB"
    if median > SLOW_SYNC_MS:
        advice = "durability=disk confirms only after a sync: use a faster disk, or durability=os (the default)"
        return Check(sync.__name__, "note", told, advice)
    return Check(sync.__name__, "ok", told)


# --- the engine


def _connection(url: str) -> Check:
    try:
        with mq.connect(url) as bus:
            health = dict(bus.admin.health())
    except mq.MqbridgeError as error:
        return Check("engine", "FAILED", f"{type(error).__name__}: {error}", _advice(error))
    told = ", ".join(f"{name} {value}" for name, value in health.items())
    if health.get("role") == "host":
        told += " (nobody hosted it: this process did, for this check)"
    elif health.get("role") == "client":
        told += " (another process hosts it)"
    return Check("engine", "ok", told)


def _advice(error: mq.MqbridgeError) -> str:
    if isinstance(error, mq.Denied):
        return "check the user and password in the URL, or the permissions of the folder"
    if isinstance(error, mq.CorruptLog):
        return "copy the folder somewhere safe before anything else is tried on it"
    if isinstance(error, mq.ConfigurationError):
        return "mend the URL; a folder on this machine is, for instance, native:./data"
    return "check that the server runs and that host and port are right"
