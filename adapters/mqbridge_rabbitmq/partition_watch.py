"""How many partitions the topics in use have, kept fresh. The rule: one question a topic and interval for a whole
connection, however many senders and members follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mqbridge.errors import MqbridgeError
from mqbridge.topology import Topic
from mqbridge_rabbitmq import offsets
from mqbridge_rabbitmq.errands import Scratch, run
from mqbridge_rabbitmq.naming import topic_exchange

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

EVERY_S: Final = 2.0
"""With the management API: one look at the bindings of an exchange."""
EVERY_BLIND_S: Final = 15.0
"""Without: each look at a stream that is not there is an error in the broker's log."""

Follower = Callable[[int], None]


class PartitionWatch:
    """Loop thread, but for `follow` and `unfollow`."""

    def __init__(self, connection: RabbitConnection) -> None:
        self._connection = connection
        self._loop = connection.loop
        self._followed: dict[str, tuple[Topic[Any], list[Follower]]] = {}
        self._counts: dict[str, int] = {}
        self._ticking = False

    def follow(self, topic: Topic[Any], known: int, changed: Follower) -> None:
        """Call `changed` on the loop thread with each new number; a smaller one is that of another topic of this
        name."""
        self._loop.call(lambda: self._follow(topic, known, changed))

    def unfollow(self, topic: Topic[Any], changed: Follower) -> None:
        self._loop.call(lambda: self._unfollow(topic, changed))

    def found(self, topic: Topic[Any], count: int) -> None:
        """Somebody looked, or made some."""
        name = topic_exchange(topic)
        if name in self._followed and count and count != self._counts[name]:
            self._counts[name] = count
            for changed in list(self._followed[name][1]):
                changed(count)

    def _follow(self, topic: Topic[Any], known: int, changed: Follower) -> None:
        name = topic_exchange(topic)
        if name not in self._followed:
            self._followed[name] = (topic, [])
            self._counts[name] = known
        self._followed[name][1].append(changed)
        if self._counts[name] > known:
            changed(self._counts[name])
        else:
            self.found(topic, known)
        if not self._ticking:
            self._ticking = True
            self._later()

    def _unfollow(self, topic: Topic[Any], changed: Follower) -> None:
        name = topic_exchange(topic)
        if name in self._followed and changed in self._followed[name][1]:
            self._followed[name][1].remove(changed)
            if not self._followed[name][1]:
                del self._followed[name], self._counts[name]

    def _later(self) -> None:
        self._loop.later(EVERY_BLIND_S if self._connection.management.away else EVERY_S, self._look)

    def _look(self) -> None:
        if not self._followed or self._connection.closed:
            self._ticking = False
            return
        topics = [topic for topic, _ in self._followed.values()]
        run(self._connection.asking, "looking for new partitions", lambda s: self._ask(s, topics), self._looked)

    def _looked(self, _nothing: None, _error: MqbridgeError | None) -> None:
        self._later()

    async def _ask(self, scratch: Scratch, topics: list[Topic[Any]]) -> None:
        for topic in topics:
            name = topic_exchange(topic)
            if name not in self._followed:
                continue
            try:
                count = await offsets.more_partitions(scratch, self._connection, topic, self._counts[name])
            except MqbridgeError:
                continue  # who uses the topic meets the same error, and reports it
            self.found(topic, count)
