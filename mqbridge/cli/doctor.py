"""``mqbridge doctor``: what this machine and this URL can do, and what to do about what they cannot.

The rule: a check that fails says how to mend it, and one that was not made says why; nothing is guessed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

import mqbridge as mq
from mqbridge.cli import containers
from mqbridge.cli.context import EXTRAS, Command, front, mending, native_folder, program_at, scheme_of
from mqbridge.cli.errors import FAILED
from mqbridge.cli.output import counted, printable, say

Status = Literal["ok", "FAILED", "PROBLEM", "note", "NOT RUN"]
"""A PROBLEM is what a working broker says against itself: a setting, a plugin, a right that something may miss."""
PACKAGES = (
    ("click", "8.1", "cli", "this command line"),
    ("rich", "13", "cli", "this command line"),
    ("confluent-kafka", "2.16", "kafka", "kafka: and kafkas: URLs"),
    ("pika", "1.4", "rabbitmq", "amqp: and amqps: URLs"),
    ("testcontainers", "4.15", "conformance", "brokers of the conformance suite"),
)
"""Distribution, first version, the extra that brings it, and what it is for."""
SHOWN_CHARACTERS = 400
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
    """Check this machine, and the engine at URL (or --url) if one is given. Exit code 1 if a check fails; what a
    working broker says against itself is a PROBLEM with its advice, and no failure.

    \b
      mqbridge doctor
      mqbridge doctor native:./data
      mqbridge doctor kafka://localhost:9092
      mqbridge doctor 'amqp://user:password@localhost:5672/?management=http://localhost:15672'

    Nothing is made: a native folder that nobody hosts is hosted by this process for a moment, and of a broker it is
    only asked what it is, what this user may do there, and what is wrong with it.
    """
    it = front()
    if at is not None:
        it.url, it.url_was_typed = at, True
    if capabilities:
        _capabilities()
        return
    checks = [*_python(), *_packages(scheme_of(it.url or "")), *_docker()]
    if it.url:
        folder = native_folder(it.url)
        if folder is not None:
            checks += _folder(folder)
        if folder is None or folder.exists():
            checks += _engine(it.url)
    else:
        checks.append(Check("engine", "NOT RUN", "no URL was given", "mqbridge doctor URL, or set MQBRIDGE_URL"))
    if it.output.form == "table":
        _tell(checks)
    else:
        it.output.rows(Check._fields, checks, empty="")
    problems = sum(item.status == "PROBLEM" for item in checks)
    if problems:
        say(f"{counted(problems, 'problem')} to look at; what to do is said with each")
    failed = [item for item in checks if item.status == "FAILED"]
    if failed:
        say(f"{len(failed)} of {len(checks)} checks failed: {', '.join(item.check for item in failed)}")
        raise click.exceptions.Exit(FAILED)


def _tell(checks: list[Check]) -> None:
    """A line a check, and below it what to do: a finding may be a sentence, too long for a cell of a table."""
    width = max(len(item.check) for item in checks)
    for item in checks:
        print(f"{item.status:<7}  {item.check:<{width}}  {printable(item.finding)}")
        if item.what_to_do is not None:
            print(f"{'':<7}  {'':<{width}}  -> {printable(item.what_to_do)}")


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


def _packages(scheme: str) -> Iterator[Check]:
    """What is missing is a failure only where the URL cannot do without it."""
    for package, first, extra, purpose in PACKAGES:
        status: Status = "FAILED" if EXTRAS.get(scheme) == extra else "note"
        install = f"pip install '.[{extra}]' in mqbridge's tree"
        try:
            found = version(package)
        except PackageNotFoundError:
            yield Check(package, status, f"not installed; it is for {purpose}", install)
            continue
        if _numbers(found) < _numbers(first):
            yield Check(package, status, f"{found}, and {first} is the first that will do for {purpose}", install)
        else:
            yield Check(package, "ok", found)


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, enough to compare with a first one."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _docker() -> Iterator[Check]:
    purpose = "only the conformance suite, which starts brokers in containers, needs it"
    try:
        engine = containers.ask()
    except containers.NoEngineError as error:
        yield Check("Docker", "note", f"{error}; {purpose}", "start Docker, or set DOCKER_HOST, if you want to run it")
        return
    yield Check("Docker", "ok", engine.version)
    for image in containers.IMAGES:
        if image in engine.images:
            yield Check("image", "ok", image)
        else:
            yield Check("image", "note", f"no {image} yet; {purpose}", f"docker pull {image}   (or the suite does)")


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


def _engine(url: str) -> Iterator[Check]:
    """What answers at the URL, what it says about itself, and each thing that it says is wrong."""
    try:
        with mq.connect(url) as bus:
            capabilities = bus.capabilities
            try:
                health = dict(bus.admin.health())
            except mq.MqbridgeError as error:
                yield Check("engine", "ok", f"{bus.engine}: connected")
                yield Check("health", "FAILED", f"{type(error).__name__}: {error}", _advice(error, url))
                return
    except mq.MqbridgeError as error:
        yield Check("engine", "FAILED", f"{type(error).__name__}: {error}", _advice(error, url))
        return
    problems = health.pop("problems", ())
    named = " ".join(str(health.pop(name)) for name in ("engine", "version") if name in health)
    told = named or capabilities.engine
    if health.get("role") == "host":
        told += " (nobody hosted it: this process did, for this check)"
    elif health.get("role") == "client":
        told += " (another process hosts it)"
    yield Check("engine", "ok", told)
    for name, value in health.items():
        yield Check(f"engine {name.replace('_', ' ')}", "ok", _shown(value))
    yield _levels(capabilities, url)
    for problem in problems:
        yield Check("problem", "PROBLEM", str(problem["what"]), str(problem["advice"]))


def _shown(value: Any) -> str:
    """A fact, on one line: what it is made of is the engine's own affair."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        text = ", ".join(sorted(map(_shown, value)) if isinstance(value, set | frozenset) else map(_shown, value))
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = "unknown" if value is None else str(value)
    text = text or "none"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ..."


def _levels(capabilities: mq.Capabilities, url: str) -> Check:
    counts = {level: sum(support.level is level for support in capabilities.values()) for level in mq.Level}
    told = ", ".join(f"{count} {level}" for level, count in counts.items())
    return Check("capabilities", "ok", told, f"{program_at(url)} doctor --capabilities   (which, and how)")


def _advice(error: mq.MqbridgeError, url: str) -> str:
    broker = native_folder(url) is None and scheme_of(url) != "native"
    if isinstance(error, mq.Denied):
        if broker:
            return "check user, password and (RabbitMQ) virtual host in the URL, and what this user may do there"
        return "check the permissions of the folder"
    if isinstance(error, mq.CorruptLog):
        return "copy the folder somewhere safe before anything else is tried on it"
    if isinstance(error, mq.NotFound) and scheme_of(url) in ("amqp", "amqps"):
        return "check the virtual host, which is the path of the URL: / alone is the host '/'"
    if isinstance(error, mq.ConfigurationError):
        return mending(url, error)
    return "check that the server runs and that host and port are right"
