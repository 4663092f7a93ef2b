"""A small report."""

from __future__ import annotations

import pytest

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.results import Report, Verdict
from tests.conformance.report.made import result


@pytest.fixture
def report() -> Report:
    """Two scenarios on two targets; one cell was repeated, one did not run."""
    with mq.connect("native:") as bus:
        claims = bus.capabilities
    found = Report(claims={"memory": claims, "folder": claims}, seed=7, level="full")
    found.versions["folder"] = found.versions["memory"] = {"native": "1.0", "client": "2"}
    found.results += [
        result("one", "memory", Verdict.PASS, notes=("by thread",)),
        result("one", "folder", Verdict.PASS),
        result("one", "folder", Verdict.FAIL),
        result("two", "memory", Verdict.PENDING, notes=("by thread", "a | b"), proves=Cap.COMPACTION),
    ]
    return found
