"""A claim that no scenario speaks for is one that nobody has seen to be true."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mqbridge.capabilities import Capability, Level, Support
from mqbridge.native.claims import CLAIMS as NATIVE
from mqbridge_conformance.scenarios import ALL
from mqbridge_kafka.claims import CLAIMS as KAFKA
from mqbridge_rabbitmq.claims import CLAIMS as RABBITMQ


@pytest.mark.parametrize("claims", [NATIVE, KAFKA, RABBITMQ], ids=["native", "kafka", "rabbitmq"])
def test_every_claim_has_a_scenario(claims: Mapping[Capability, Support]) -> None:
    """One that needs it is run where it is claimed, and says that it proves it."""
    claimed = {capability for capability, support in claims.items() if support.level is not Level.UNSUPPORTED}
    proven = {capability for scenario in ALL for capability in scenario.proves if claimed.issuperset(scenario.needs)}
    assert not claimed - proven, f"no scenario speaks for {', '.join(sorted(claimed - proven))}"
