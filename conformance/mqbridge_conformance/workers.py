"""Running the programs of other parties: ``python -m mqbridge_conformance.workers PROGRAM ARGUMENTS``.

The rule: a program uses the public API alone, says what it did, and ends when its standard input does. What is right
and what is wrong is decided by the scenario, never here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mqbridge_conformance.history import Recorder
from mqbridge_conformance.parties import END_WAIT_S, Ended, Link, pack, unpack
from mqbridge_conformance.programs import delivery, settling, single, traffic

__all__ = ["PROGRAMS", "perform"]


def perform(link: Link, program: str, args: dict[str, Any]) -> None:
    """Run a program to its end and tell what it failed with, if it did. `history` and `proc` among the arguments say
    where it writes down what it does, and under which name; `run` is what payloads are marked with."""
    given = dict(args)
    folder, proc = given.pop("history", None), given.pop("proc", program)
    link.run = given.pop("run", "")
    try:
        if folder is not None:
            link.recorder = Recorder(Path(folder), proc)
        PROGRAMS[program](link, **given)
    except Ended:
        return
    except Exception as error:  # noqa: BLE001 - told to the scenario, which fails with it
        if not link.killed:
            link.emit("failed", error=f"{type(error).__name__}: {error}")
    finally:
        if link.recorder is not None:
            link.recorder.close()


PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    "account": delivery.account,
    "consume": traffic.consume,
    "hold": single.hold,
    "host": single.host,
    "join": single.join,
    "observe": single.observe,
    "produce": single.produce,
    "send": traffic.send,
    "share": single.share,
    "take": settling.take,
}


class _ProcessLink(Link):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.commands.put(unpack(line))
        self.commands.close()
        # Whoever started this has gone: a program that does not end now would be left over.
        timer = threading.Timer(END_WAIT_S, lambda: os._exit(3))
        timer.daemon = True
        timer.start()

    def emit(self, name: str, **facts: Any) -> None:
        with self._lock:
            sys.stdout.write(pack({"name": name, **facts}) + "\n")
            sys.stdout.flush()


def main() -> None:
    program, args = sys.argv[1], unpack(sys.argv[2])
    perform(_ProcessLink(), program, args)


if __name__ == "__main__":
    main()
