"""The guard: what an engine cannot do is refused before any I/O."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.capabilities import Capabilities, Capability, Level, Support


def table(emulation: Any = "allow", **special: Support) -> Capabilities:
    rows: dict[Capability, Support] = {
        name: special.get(name.value, Support(Level.DIRECT)) for name in list(Capability)
    }
    return Capabilities("some", rows, emulation=emulation)


def test_a_table_with_holes_is_refused() -> None:
    """An engine must state something about every capability; the error names what is missing."""
    rows: dict[Capability, Support] = {name: Support(Level.DIRECT) for name in Capability if name is not Capability.LAG}
    with pytest.raises(mq.ConfigurationError, match="LAG"):
        Capabilities("some", rows)


def test_it_is_a_mapping_of_all() -> None:
    """Every capability can be looked at, in the table's order."""
    capabilities = table()
    assert list(capabilities) == list(Capability)
    assert len(capabilities) == len(Capability)


def test_direct_passes_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """What the engine does itself is neither refused nor logged."""
    with caplog.at_level(logging.DEBUG, "mqbridge"):
        table().need(Capability.LAG, "lag()")
    assert not caplog.records


def test_unsupported_says_what_instead() -> None:
    """The refusal names capability, engine, reason and what to use instead."""
    capabilities = table(PRIORITY=Support(Level.UNSUPPORTED, how="a log has no priority", instead="two queues"))
    with pytest.raises(mq.Unsupported, match="a log has no priority.*two queues") as caught:
        capabilities.need(Capability.PRIORITY, "send(priority=...)")
    assert (caught.value.capability, caught.value.engine, caught.value.instead) == ("PRIORITY", "some", "two queues")
    assert caught.value.outcome == "not_applied"


@pytest.mark.parametrize(("mode", "level"), [("allow", logging.INFO), ("warn", logging.WARNING)])
def test_first_use_of_an_emulation_is_logged_once(mode: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, as loud as asked for."""
    capabilities = table(mode, DEPTH=Support(Level.EMULATED, how="counted by hand", cost="a scan"))
    with caplog.at_level(logging.DEBUG, "mqbridge"):
        for _ in range(3):
            capabilities.need(Capability.DEPTH, "depth()")
    assert [(record.levelno, "counted by hand" in record.getMessage()) for record in caplog.records] == [(level, True)]


def test_emulations_can_be_forbidden() -> None:
    """emulation="forbid" makes an emulated capability unsupported, with how it would have been done."""
    capabilities = table("forbid", DEPTH=Support(Level.EMULATED, how="counted by hand"))
    with pytest.raises(mq.Unsupported, match="counted by hand"):
        capabilities.need(Capability.DEPTH, "depth()")


def test_require_names_all_that_is_missing(bus: mq.Bus) -> None:
    """A program's needs are checked at once: one error for all of them, and none when all is there."""
    bus.require(Capability.GROUPS, Capability.ACK)
    with pytest.raises(mq.Unsupported, match="TLS.*PASSWORDS") as caught:
        bus.require(Capability.TLS, Capability.GROUPS, Capability.PASSWORDS)
    assert caught.value.capability == "TLS,PASSWORDS"


def test_native_claims_are_stated_in_full(bus: mq.Bus) -> None:
    """Each claim says how, each emulation what it costs, and what is not built yet says so."""
    for name, support in bus.capabilities.items():
        assert support.how, name
        if support.level is Level.EMULATED:
            assert support.cost, name
        assert not (support.later and support.level is not Level.UNSUPPORTED), name
