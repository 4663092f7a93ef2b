"""The proofs: which setting, on which broker, shown by which scenario, by which anomaly.

The rule: a proof is made when the bad half fails with an anomaly that it is named for, at least once in its number of
tries, and the good half passes every time. Either alone shows nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mqbridge_conformance.proofs import bodies
from mqbridge_conformance.results import ScenarioResult
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.saboteurs.misconfigured import MISCONFIGURED
from mqbridge_conformance.saboteurs.strikes import Plan, strikes_told
from mqbridge_conformance.saboteurs.wrapping import in_force
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios.transactions.isolation import read_committed
from mqbridge_conformance.targets import RealCluster, Target, targets_for

__all__ = ["PROOFS", "Proof", "ProofRuns", "show", "target_of"]


@dataclass(frozen=True, slots=True)
class Proof:
    """`code` is that of the setting in `MISCONFIGURED`; `tries` of each half. `bad_patience_s`: what is lost never
    comes, so the bad half waits no longer than that."""

    name: str
    engine: str
    code: str
    says: str
    scenario: Scenario
    tries: int = 1
    bad_patience_s: float = 8.0
    cluster: bool = False
    """It needs three nodes."""

    @property
    def anomalies(self) -> tuple[str, ...]:
        return MISCONFIGURED[self.code].anomalies


@dataclass(frozen=True, slots=True)
class ProofRuns:
    """Both halves of a proof, as they were seen."""

    proof: Proof
    bad: tuple[ScenarioResult, ...]
    good: tuple[ScenarioResult, ...]
    strikes: int

    @property
    def found(self) -> tuple[str, ...]:
        """The anomalies by which the bad half failed."""
        return tuple(dict.fromkeys(name for result in self.bad for name in result.anomalies))

    @property
    def made(self) -> bool:
        """See the module."""
        bad = any(set(result.anomalies) & set(self.proof.anomalies) for result in self.bad)
        return bad and self.strikes > 0 and all(result.verdict.green for result in self.good)


def _proofs() -> Iterator[Proof]:
    yield Proof(
        "auto-commit",
        "kafka",
        "B02",
        "offsets are committed when records are handed over, not when they are handled: a crash loses them",
        bodies.crash_while_handling,
    )
    yield Proof(
        "read-uncommitted",
        "kafka",
        "B03",
        "isolation.level=read_uncommitted shows records of an aborted transaction",
        read_committed,
    )
    yield Proof(
        "poll-stall",
        "kafka",
        "B06",
        "max.poll.interval.ms of a day: a member that stopped polling keeps its partitions, and nobody reads them",
        bodies.stalled_member_replaced,
    )
    yield Proof(
        "unkeyed",
        "kafka",
        "B07",
        "payments without a key: their states lie in several partitions, and a refund comes before its capture",
        bodies.payments_in_order,
    )
    yield Proof(
        "dead-letters-at-most-once",
        "rabbitmq",
        "B04",
        "a quorum queue's default dead-lettering drops letters while their queue is full",
        bodies.letters_wait_for_room,
    )
    yield Proof(
        "auto-ack",
        "rabbitmq",
        "B05",
        "auto_ack: what a consumer was handed is forgotten by the broker, and lost when the consumer dies",
        bodies.consumer_crash_while_handling,
    )


def _of_clusters() -> Iterator[Proof]:
    yield Proof(
        "acks-1",
        "kafka",
        "B01",
        "acks=1, and the leader is killed before its followers have what it confirmed",
        bodies.leader_dies_alone,
        tries=5,
        bad_patience_s=60.0,
        cluster=True,
    )


PROOFS: Final[dict[str, Proof]] = {proof.name: proof for proof in (*_proofs(), *_of_clusters())}


def target_of(proof: Proof) -> Target:
    """What it is shown on, not started."""
    if proof.cluster:
        return RealCluster(proof.engine)
    (target,) = targets_for(proof.engine)
    return target


def show(proof: Proof, target: Target, *, seed: int = 1, patience_s: float = 60.0) -> ProofRuns:
    """Run both halves on a target that is started."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "strikes.jsonl"
        with in_force(Plan(proof.code, told=told)):
            bad = [_run(proof, target, seed + number, proof.bad_patience_s) for number in range(proof.tries)]
        strikes = len(strikes_told(told))
    good = [_run(proof, target, seed + number, patience_s) for number in range(proof.tries)]
    return ProofRuns(proof, tuple(bad), tuple(good), strikes)


def _run(proof: Proof, target: Target, seed: int, patience_s: float) -> ScenarioResult:
    return run_scenario(proof.scenario, target, patience_s=patience_s, seed=seed)[0]
