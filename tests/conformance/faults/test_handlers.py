"""A handler that hangs takes nothing more, holds what it has, and goes on where it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mqbridge as mq
from mqbridge.testing import wait_until
from mqbridge_conformance.faults import Faults
from mqbridge_conformance.history import Event, Recorder
from mqbridge_conformance.parties import Party
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.targets import NativeFolder, NativeMemory, Target

WAIT_S = 20.0
QUEUE = mq.Queue("q")


def handled(party: Party) -> int:
    party.command("progress")
    return int(party.expect("progress", WAIT_S)["handled"])


@pytest.mark.parametrize("kind", [NativeMemory, NativeFolder])
def test_a_handler_hangs_until_it_is_healed(
    kind: Callable[[], Target], recorder: Recorder, told: Callable[[], list[Event]]
) -> None:
    """What comes meanwhile is not handled, and afterwards it is; the broker still has the consumer."""
    with kind() as target, target.connect() as bus, bus.producer() as producer:
        bus.admin.ensure(QUEUE)
        party = target.spawn("consume", sources=["queue:q"])
        party.expect("ready", WAIT_S)
        with Faults(target, recorder).hang(party, WAIT_S):
            for number in range(10):
                producer.send(QUEUE, b"%d" % number).result(WAIT_S)
            party.command("progress")
            with pytest.raises(CheckFailed, match="did not say 'progress'"):
                party.expect("progress", 0.2)
            assert bus.admin.describe(QUEUE).consumers == 1  # type: ignore[union-attr]
        assert party.expect("progress", WAIT_S)["handled"] == 0
        wait_until(lambda: handled(party) == 10, WAIT_S)
        party.stop(WAIT_S)
    what = {"what": "hang", "at": "consume"}
    assert [event.more for event in told()] == [what, what, what, {**what, "hung": 0}]


def test_what_it_hangs_over_is_told_by_the_handler(recorder: Recorder, told: Callable[[], list[Event]]) -> None:
    """Not by what anybody makes of it: the delivery at hand, and the rest of its block."""
    with NativeMemory() as target, target.connect() as bus, bus.producer() as producer:
        bus.admin.ensure(QUEUE)
        for number in range(4):
            producer.send(QUEUE, b"%d" % number).result(WAIT_S)
        party = target.spawn("consume", sources=["queue:q"], max_messages=4, work_s=0.5)
        party.expect("ready", WAIT_S)
        wait_until(lambda: handled(party) > 0, WAIT_S)
        with Faults(target, recorder).hang(party, WAIT_S):
            pass
        wait_until(lambda: handled(party) == 4, WAIT_S)
        party.stop(WAIT_S)
    assert told()[-1].more["hung"] in (1, 2, 3)
