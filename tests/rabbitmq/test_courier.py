"""Copies, before they are given to the wire."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pika
import pytest

from mqbridge.errors import Rejected
from mqbridge_rabbitmq import records
from mqbridge_rabbitmq.courier import MOST_LOSSES, Copy, Courier

FRAME_MAX = 131_072


@pytest.fixture
def courier() -> Courier:
    wire: Any = SimpleNamespace(loop=None)
    return Courier(wire)


def copy(headers: dict[str, Any]) -> Copy:
    return Copy("q.dlq", pika.BasicProperties(headers=headers), b"body", lambda _error: None)


def test_headers_above_a_frame_are_refused_before_they_cost_the_connection(courier: Courier) -> None:
    """A broker ends the connection over a frame above frame_max, and the copy would be sent again on the next one."""
    with pytest.raises(Rejected, match="frame_max") as caught:
        courier.marshal(copy({"large": b"x" * FRAME_MAX}), 1, 1, FRAME_MAX)
    assert caught.value.outcome == "not_applied"
    assert courier.marshal(copy({"small": b"x"}), 1, 1, FRAME_MAX).endswith(b"\xce")


def test_a_long_text_fits(courier: Courier) -> None:
    """What an application gives as a reason has no bound; a character is not cut in two, and any text can be kept."""
    facts = records.death_table("rejected", "q", 1, 0, "é" * 100_000)
    text = facts["mqbridge-death-error"].decode()
    assert len(text.encode()) <= records.MAX_DEATH_TEXT_BYTES
    assert set(text) == {"é"}
    assert records.death_table("rejected", "q", 1, 0, "a\udcff")["mqbridge-death-error"] == rb"a\udcff"
    courier.marshal(copy(facts), 1, 1, FRAME_MAX)


def test_a_copy_is_not_sent_again_for_ever(courier: Courier) -> None:
    """It may be what the connections are lost for, and everybody who sends shares them."""
    one = copy({})
    assert [courier.resends(one) for _ in range(MOST_LOSSES + 1)] == [True] * MOST_LOSSES + [False]
