"""The faults of one run, as a scenario orders them.

The rule: what is still out of order at the end is healed there, the last first, so that a scenario that fails leaves no
frozen broker and no stopped process behind. What a target does not have is refused with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mqbridge_conformance.brokers.clusters import Cluster
from mqbridge_conformance.brokers.native_host import NativeHost
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.faults.brokers import BrokerFaults
from mqbridge_conformance.faults.disks import fill_disk
from mqbridge_conformance.faults.fault import Fault
from mqbridge_conformance.faults.handlers import hang_handler
from mqbridge_conformance.faults.links import LinkFaults
from mqbridge_conformance.faults.plan import Plan
from mqbridge_conformance.faults.processes import kill_party, stop_party
from mqbridge_conformance.faults.watching import Step, Watch
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.parties import Party
from mqbridge_conformance.results import CannotTell

if TYPE_CHECKING:
    from mqbridge_conformance.targets import Target

__all__ = ["Faults"]


class Faults:
    """Every method brings one fault about and returns it when it is in force: ``with faults.stop(party): ...``, or
    `Fault.heal` later, or nothing, and it is healed at the end. `CannotTell` for what this target cannot have."""

    def __init__(self, target: Target, recorder: Recorder) -> None:
        self._target = target
        self._recorder = recorder
        self._faults: list[Fault] = []
        self.watch = Watch(recorder.folder)
        """What the processes of this run have told so far: ``watch.until(When("send", count=200), 30)``."""

    # --- parties

    def kill(self, party: Party) -> Fault:
        """SIGKILL of a party's process. Nobody heals that at the end: heal it if another takes its place."""
        return kill_party(self._recorder, party)

    def stop(self, party: Party) -> Fault:
        """SIGSTOP of a party's process, until it is healed."""
        return self._keep(stop_party(self._recorder, party))

    def hang(self, party: Party, patience_s: float) -> Fault:
        """A ``consume`` party's handler hangs, until it is healed; within `patience_s` seconds, for it is asked to."""
        return self._keep(hang_handler(self._recorder, party, patience_s))

    # --- the broker

    def disk_full(self) -> Fault:
        """The native host's files cannot grow any more, until it is healed."""
        broker = self._own_broker()
        if not isinstance(broker, NativeHost):
            raise CannotTell(f"the disk of {self._target.name!r} is not the suite's to fill")
        return self._keep(fill_disk(self._recorder, broker.host))

    @property
    def broker(self) -> BrokerFaults:
        """What can happen to the target's broker."""
        return BrokerFaults(self._own_broker(), self._recorder, self._keep)

    def node(self, number: int) -> BrokerFaults:
        """What can happen to one of three nodes, from 1 on."""
        return BrokerFaults(self._cluster().node(number), self._recorder, self._keep, f"broker-{number}")

    def leader(self, destination: str, partition: int = 0) -> BrokerFaults:
        """What can happen to the node that leads ``topic:NAME`` or ``queue:NAME`` now; whether another led before it
        was healed is told then."""
        found = self._cluster().leader_of(destination, partition)
        if found is None:
            raise CannotTell(f"nobody says who leads {destination}/{partition}")

        def moved() -> dict[str, int]:
            now = self._cluster().leader_of(destination, partition)
            return {"moved": int(now is not None and now.number != found.number)}

        at = f"broker-{found.number}"
        return BrokerFaults(found, self._recorder, self._keep, at, moved)

    def _cluster(self) -> Cluster:
        if self._target.cluster is None:
            raise CannotTell(f"{self._target.name!r} has no nodes; this fault needs a cluster")
        return self._target.cluster

    def _own_broker(self) -> Broker:
        if self._target.broker is None:
            raise CannotTell(
                f"the broker of {self._target.name!r} is not one that a test may stop; this fault needs a target whose "
                "broker is its own"
            )
        return self._target.broker

    # --- the way to it

    @property
    def link(self) -> LinkFaults:
        """What can happen to the way from the parties to the target's broker; observers have another."""
        if self._target.link is None:
            raise CannotTell(
                f"there is nothing between the parties and the broker of {self._target.name!r} that could be broken; "
                "this fault needs a target whose broker is its own"
            )
        return LinkFaults(self._target.link, self._recorder, self._keep)

    # --- several, in an order

    def plan(self, steps: Sequence[Step], patience_s: float) -> Plan:
        """``with faults.plan([When("send", count=200).do(faults.broker.kill), When("send", "invoke", 50).heal()], 30)``
        and, in its body, traffic."""
        return Plan(self.watch, steps, patience_s)

    # --- the end

    def _keep(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def close(self) -> None:
        """Heal what is not healed yet, each also if another could not be."""
        with contextlib.ExitStack() as last_first:
            for fault in self._faults:
                last_first.callback(fault.heal)
        self._faults.clear()
