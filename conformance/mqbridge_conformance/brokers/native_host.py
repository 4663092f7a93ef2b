"""The process that hosts a native folder, as a broker that can be stopped.

The rule: only a host that was started for this, and does nothing else, is killed or frozen; never this process, nor
that of another party. When a host dies, any process with the folder open may take its place, and which one is not for
a test to choose: so a second kill may have to be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.brokers.signals import continue_process, stop_process
from mqbridge_conformance.parties import ProcessParty
from mqbridge_conformance.results import CannotTell

__all__ = ["NativeHost"]

_READY_S: Final = 20.0
_LOCK: Final = "mqbridge.lock"


class NativeHost(Broker):
    """Standing processes that may host a folder; the first one does. `spawn` starts one, which says ``ready``."""

    def __init__(self, folder: Path, spawn: Callable[[], ProcessParty]) -> None:
        self.url = f"native:{folder}"
        self._lock = folder / _LOCK
        self._spawn = spawn
        self._standing: list[ProcessParty] = []

    def start(self) -> None:
        """One more standing process; it hosts the folder if nobody else does by then."""
        party = self._spawn()
        self._standing.append(party)
        party.expect("ready", _READY_S)

    @property
    def host(self) -> ProcessParty:
        """The standing process that hosts the folder now; `CannotTell` if it is none of them."""
        pid = self._lock.read_text().strip()
        for party in self._standing:
            if str(party.pid) == pid:
                return party
        raise CannotTell(
            f"the host of {self.url} is process {pid or 'nobody'}, which was not started for this: it is left alone"
        )

    def kill(self) -> None:
        host = self.host
        host.kill()
        self._standing.remove(host)

    def halt(self) -> None:
        host = self.host
        host.stop(_READY_S)
        self._standing.remove(host)

    def restart(self) -> None:
        self.halt()
        self.start()

    def pause(self) -> None:
        stop_process(self.host.pid)

    def unpause(self) -> None:
        continue_process(self.host.pid)

    def exec(self, *command: str) -> str:
        raise CannotTell(f"there is nothing to run {command[0]} in: the host of {self.url} is a process, no container")

    def stop(self) -> None:
        while self._standing:
            party = self._standing.pop()
            continue_process(party.pid)
            party.stop(_READY_S)
