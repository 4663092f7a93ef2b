"""A broker that dies, freezes, or is stopped and started again.

The rule: only a broker of this run's own is touched; any other refuses by itself. Healed means ready: a raw client has
shaken hands with it. The data are the same before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mqbridge_conformance.brokers.clusters import Node
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.faults.fault import Fault, inject
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.results import CannotTell

__all__ = ["BrokerFaults"]

AT = "broker"


class BrokerFaults:
    """What can happen to one broker, or to one node of several, which the history then calls `at`. Each method returns
    when the fault is in force; see `Fault`. `seen` is asked before it is healed what came of it."""

    def __init__(
        self,
        broker: Broker,
        recorder: Recorder,
        keep: Callable[[Fault], object] = lambda _: None,
        at: str = AT,
        seen: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._broker = broker
        self._recorder = recorder
        self._keep = keep
        self._at = at
        self._seen = seen

    def kill(self) -> Fault:
        """SIGKILL; healed, it is started again."""
        return self._inject("kill", self._broker.kill, self._broker.start)

    def halt(self) -> Fault:
        """Stopped as an operator would; healed, it is started again."""
        return self._inject("halt", self._broker.halt, self._broker.start)

    def pause(self) -> Fault:
        """Frozen: connections stay open and nothing answers; healed, it goes on where it was."""
        return self._inject("pause", self._broker.pause, self._broker.unpause)

    def cut_off(self) -> Fault:
        """Of several nodes: cut off from its peers, though not from its clients; healed, it is among them again."""
        if not isinstance(self._broker, Node):
            raise CannotTell("a broker that has no peers cannot be cut off from them")
        return self._inject("cut off", self._broker.cut_off, self._broker.rejoin)

    def restart(self) -> None:
        """Stopped and started again, as an operator would; over when this returns."""
        self.halt().heal()

    def _inject(self, what: str, do: Callable[[], None], undo: Callable[[], None]) -> Fault:
        def heal() -> Mapping[str, int]:
            try:
                return self._seen()
            finally:
                undo()

        fault = inject(self._recorder, what, self._at, do, heal)
        self._keep(fault)
        return fault
