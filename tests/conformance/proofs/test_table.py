"""A wrong setting is shown to be wrong, and the right one right, on real brokers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mqbridge_conformance.proofs import PROOFS, ProofRuns, show, target_of
from mqbridge_conformance.proofs.command import row
from mqbridge_conformance.results import ScenarioResult, Verdict
from mqbridge_conformance.targets import RealBroker

ONE = PROOFS["auto-commit"]
GOOD = ScenarioResult("toy", "A toy", "kafka", "kafka", Verdict.PASS, 1.0)
BAD = replace(GOOD, verdict=Verdict.FAIL, anomalies=("unseen",))


def _names(engine: str) -> list[str]:
    return [name for name, proof in PROOFS.items() if proof.engine == engine and not proof.cluster]


@pytest.mark.parametrize("name", _names("kafka"))
def test_on_kafka(name: str, kafka_url: str) -> None:
    """The bad half fails with the anomaly that it is named for, and the good half passes."""
    _made(name, kafka_url)


@pytest.mark.parametrize("name", _names("rabbitmq"))
def test_on_rabbitmq(name: str, rabbitmq_url: str) -> None:
    """The bad half fails with the anomaly that it is named for, and the good half passes."""
    _made(name, rabbitmq_url)


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", [name for name, proof in PROOFS.items() if proof.cluster])
def test_on_a_cluster(name: str, kafka_url: str) -> None:
    """In at least one of five tries with the setting, and in none without."""
    _made(name, "")


def _made(name: str, url: str) -> None:
    proof = PROOFS[name]
    with target_of(proof) if proof.cluster else RealBroker(proof.engine, url) as target:
        shown = show(proof, target)
    told = {"bad": [str(result.reason) for result in shown.bad], "good": [str(result.reason) for result in shown.good]}
    assert shown.made, f"{row(shown)}: {told}"


@pytest.mark.parametrize(
    ("bad", "good", "strikes", "made"),
    [
        ([BAD], [GOOD], 1, True),
        ([GOOD, BAD], [GOOD, GOOD], 1, True),  # once in its tries is enough
        ([GOOD], [GOOD], 1, False),
        ([replace(BAD, anomalies=("other",))], [GOOD], 1, False),
        ([BAD], [BAD], 1, False),
        ([BAD, BAD], [GOOD, replace(GOOD, verdict=Verdict.UNKNOWN)], 1, False),
        ([BAD], [GOOD], 0, False),
    ],
)
def test_either_half_alone_shows_nothing(bad: Any, good: Any, strikes: int, made: bool) -> None:
    """Made is: failed for that reason with the setting in force, and always passed without it."""
    shown = ProofRuns(ONE, tuple(bad), tuple(good), strikes)
    assert shown.made is made
    assert row(shown).endswith("NOT SHOWN") is not made
