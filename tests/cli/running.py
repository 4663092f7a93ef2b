"""Running the command line: in this process, and as a process that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from mqbridge.cli.context import Front
from mqbridge.cli.main import command

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0


def invoke(url: str | None, *args: str | Path, stdin: bytes = b"", form: str | None = None) -> Result:
    """Run a command in this process."""
    words = ([] if url is None else ["--url", url]) + ([] if form is None else ["-o", form])
    return CliRunner().invoke(command, [*words, *map(str, args)], input=stdin, obj=Front())


def done(url: str | None, *args: str | Path, stdin: bytes = b"") -> Any:
    """Run a command that succeeds, and return its JSON."""
    result = invoke(url, *args, stdin=stdin, form="json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if result.stdout else None


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MQBRIDGE_URL"}
    return {**kept, "PYTHONPATH": str(ROOT)}


def start(url: str | None, *args: str | Path, stdin: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Run a command as a process."""
    words = [] if url is None else ["--url", url]
    return subprocess.Popen(
        [sys.executable, "-m", "mqbridge", *words, *map(str, args)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def finish(process: subprocess.Popen[bytes], stdin: bytes | None = None) -> tuple[int, bytes | None, str]:
    """Exit code, stdout, stderr."""
    try:
        out, err = process.communicate(stdin, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err.decode()


def kill_when(process: subprocess.Popen[bytes], condition: Callable[[], Any], what: str) -> None:
    """SIGKILL as soon as `condition` holds; the process must not have ended before."""
    wait_until(lambda: process.poll() is not None or condition(), what)
    assert process.poll() is None, f"it ended before {what}: {process.stderr and process.stderr.read()!r}"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)


def wait_until(condition: Callable[[], Any], what: str) -> None:
    pause = threading.Event()
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, f"not within {DEADLINE_S:g} s: {what}"
        pause.wait(0.002)
