"""Stopping a process and having it go on, known to have happened.

The rule: a signal is delivered in its own time, so what asks for a stop waits until the process stands.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from mqbridge_conformance.results import CannotTell

__all__ = ["continue_process", "state_of", "stop_process"]

_STOPPED_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.005


def stop_process(pid: int) -> None:
    """SIGSTOP; returns when it stands. `CannotTell` if it is not there or does not come to stand."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError as error:
        raise CannotTell(f"process {pid} has ended, and cannot be stopped") from error
    give_up_s = time.monotonic() + _STOPPED_S
    pause = threading.Event()
    while (state := state_of(pid)) != "T":
        if state in ("", "Z"):
            raise CannotTell(f"process {pid} has ended, and cannot be stopped")
        if time.monotonic() >= give_up_s:
            raise CannotTell(f"process {pid} did not stop within {_STOPPED_S:g} s: its state is {state}")
        pause.wait(_LOOK_EVERY_S)


def continue_process(pid: int) -> None:
    """SIGCONT. Harmless to one that has ended meanwhile, which has nothing to go on with."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    """A letter, as in ps(1): R, S, D, T (stopped), Z (ended, and nobody has asked how); "" for what is not there."""
    if Path("/proc/self/stat").exists():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The third field of proc_pid_stat(5); the second, a name in parentheses, may hold spaces.
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return ""
    asked = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout.strip()[:1]
