"""Who is called a rival, and who follows a topic, without a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mqbridge.errors import LeaseLost, MqbridgeError, Unsupported
from mqbridge_rabbitmq.errands import Errand
from mqbridge_rabbitmq.joining import Joining
from mqbridge_rabbitmq.tokens import State
from mqbridge_rabbitmq.topic_sending import TopicChannel


class Held:
    """A token that did not come in time."""

    what = "group g, topic:t/0"

    def __init__(self, state: State) -> None:
        self.keeper = SimpleNamespace(queue="g.t.mqg-0", holder=SimpleNamespace(state=state))
        self.is_collected = False

    async def collected(self, _patience_s: float, rival: Any) -> None:
        raise rival(self)


class Scratch:
    """Sees so many consumers; the token may come meanwhile."""

    def __init__(self, consumers: int, held: Held, comes: bool) -> None:
        self._consumers, self._held, self._comes = consumers, held, comes

    async def declare_queue(self, _name: str) -> Any:
        self._held.is_collected = self._comes
        return SimpleNamespace(consumer_count=self._consumers)


@pytest.mark.parametrize(
    ("state", "consumers", "comes", "kind"),
    [
        (State.WAITING, 1, False, Unsupported),
        (State.WAITING, 0, False, LeaseLost),  # no leader, or the broker has not read our consume
        (State.COLLECTING, 1, False, LeaseLost),  # the active one is us
        (State.WAITING, 1, True, type(None)),
    ],
)
def test_only_who_is_seen_is_a_rival(
    state: State, consumers: int, comes: bool, kind: type[MqbridgeError | None]
) -> None:
    """A slow broker is tried again; the refusal would end the consumer for good, and blame somebody."""
    none: Any = None
    spec: Any = SimpleNamespace(session_timeout_s=1.0)
    joining = Joining(none, spec, none)
    held: Any = Held(state)
    scratch: Any = Scratch(consumers, held, comes)
    ended: list[MqbridgeError | None] = []
    Errand(none, "joining", joining._collect(scratch, held), lambda _result, error: ended.append(error), None)
    assert [type(one) for one in ended] == [kind]


def test_a_closed_channel_follows_its_topic_no_more() -> None:
    """Else each producer that ever was is kept, and the broker asked for it, as long as the bus lives."""
    following: list[Any] = []
    partitions = SimpleNamespace(
        follow=lambda topic, _known, changed: following.append((topic, changed)),
        unfollow=lambda topic, changed: following.remove((topic, changed)),
    )
    wire = SimpleNamespace(loop=SimpleNamespace(call=lambda job: job()), detach=lambda _tenant: None)
    sender: Any = SimpleNamespace(
        connection=SimpleNamespace(partitions=partitions, publishing=wire, settings=SimpleNamespace(window=1)),
        lock=None,
        spec=SimpleNamespace(max_in_flight_bytes=1, on_unknown="fail"),
    )
    topic: Any = SimpleNamespace(name="t", physical_name=None)
    reports: Any = None
    channel = TopicChannel(sender, topic, None, reports, 1)
    assert len(following) == 1
    channel.close()
    assert following == []
