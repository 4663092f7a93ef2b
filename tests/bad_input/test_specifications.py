"""Errors of specifications and of what exists differently."""

from __future__ import annotations

from typing import Any

import pytest

import mqbridge as mq
from tests.bad_input.shared import LOG


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: mq.Topic("no spaces"), "name"),
        (lambda: mq.Topic("a.mqq"), "name"),
        (lambda: mq.Topic("t", partitions=0), "partitions"),
        (lambda: mq.Topic("t", partitions=20_000), "partitions"),
        (lambda: mq.Topic("t", cleanup="shred"), "cleanup"),  # type: ignore[call-overload]
        (lambda: mq.Retention(max_age_s=-1), "retention.max_age_s"),
        (lambda: mq.Queue("q", max_attempts=3, dead_letter=None), "dead_letter"),
        (lambda: mq.Queue("q", max_attempts=0), "max_attempts"),
        (lambda: mq.Queue("q", overflow="explode"), "overflow"),  # type: ignore[call-overload]
        (lambda: mq.Queue("q", max_priority=1000), "max_priority"),
        (lambda: mq.Exchange("x", type="magic"), "type"),  # type: ignore[arg-type]
        (lambda: mq.Binding(mq.Exchange("x"), mq.Topic("t")), "destination"),  # type: ignore[arg-type]
        (lambda: mq.parse("orders"), "destination"),
    ],
)
def test_impossible_specifications_are_refused_when_made(make: Any, field: str) -> None:
    """A specification that cannot be carried out is InvalidSpec, which is a ValueError and names its field."""
    with pytest.raises(mq.InvalidSpec) as caught:
        make()
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)


def test_mismatch_names_every_field(bus: mq.Bus) -> None:
    """ensure() of what exists differently says field by field what was wanted and what is there."""
    with pytest.raises(mq.Mismatch, match="partitions: wanted 5, found 2") as caught:
        bus.admin.ensure(mq.Topic("orders", partitions=5, retention=mq.Retention(max_bytes=10_000)))
    assert ("partitions", 5, 2) in caught.value.differences
    assert ("retention.max_bytes", 10_000, None) in caught.value.differences
    assert len(bus.admin.offsets(LOG)) == 2
    with pytest.raises(mq.Mismatch, match="max_length"):
        bus.admin.ensure(mq.Queue("work", max_length=3))
