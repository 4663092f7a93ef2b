"""A member of a group on the native broker: joins, keeps alive, takes over and gives up partitions, fetches.

The rule: notes of the broker become events, in order, and nothing here waits. When the broker is lost or has removed
this member, its partitions are lost and it joins again by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mqbridge.errors import Fenced, MqbridgeError, OffsetLost
from mqbridge.native.fetching import PartitionFetch
from mqbridge.native.storage.batches import RecordBatch
from mqbridge.spi import (
    Assigned,
    Block,
    Completion,
    Disconnected,
    Event,
    Fatal,
    Gap,
    Lost,
    Reconnected,
    Revoking,
    TopicPartition,
    TopicSubscriptionSpec,
)

if TYPE_CHECKING:
    from mqbridge.native.engine import NativeConnection

T = TypeVar("T")
Reply = dict[str, Any]


class GroupMember:
    """The SPI's TopicSubscription."""

    def __init__(self, connection: NativeConnection, spec: TopicSubscriptionSpec, ready: Callable[[], None]) -> None:
        self._connection = connection
        self._session = connection.session
        self._spec = spec
        self._ready = ready
        self._topics = {topic.name: topic for topic in spec.topics}
        self._events: deque[Event] = deque()
        self._fetches: dict[TopicPartition, PartitionFetch] = {}
        self._turn = 0
        self._paused: set[TopicPartition] = set()
        self._last_take_s = connection.clock.mono_s()
        self._absent = False
        self._joining = False
        self._closed = False
        # Assignments become events and fetches in one step: a block must not be taken before its lease is announced.
        self._changing = threading.Lock()
        self.member: str | None = None
        connection.members.append(self)
        self._join()

    # --- membership

    def _join(self) -> None:
        """Whoever finds that it should be a member: the poller, or who hears of a host. One join is under way at a
        time, or the group would have a member that nobody knows of.
        """
        with self._changing:
            if self._joining or self._closed or self.member is not None:
                return
            self._joining = True
            self._absent = False
        start = self._spec.start
        place: Reply = {"kind": start.kind}
        if start.kind == "at":
            offsets = {str(partition): offset for partition, offset in start.offsets.items()}
            place["offsets"] = dict.fromkeys(self._topics, offsets)
        elif start.kind == "since":
            place["timestamp_ms"] = start.timestamp_ms
        args = {
            "group": self._spec.group,
            "topics": list(self._topics),
            "protocol": self._spec.rebalance,
            "instance_id": self._spec.instance_id,
            "session_timeout_s": self._spec.session_timeout_s,
            "rebalance_timeout_s": self._spec.max_poll_interval_s,
            "start": place,
        }
        self._session.call("join", args, (), self._joined)

    def _joined(self, reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
        if error is not None or reply is None:
            self._joining = False
            if error is not None and not self._connection.ask_again(error, self._join):
                self._say(Fatal(error))
            return
        self.member = reply["member"]
        self._joining = False
        if self._closed:  # while the answer was on its way: nobody would keep this member alive, nor miss it soon
            self._leave(reply["member"])
            return
        for note in self._connection.claim_notes((self._spec.group, reply["member"]), self.note):
            self.note(note)

    def note(self, note: Reply) -> None:
        """What the broker tells this member."""
        kind = note["note"]
        if kind == "assign":
            assigned = {(topic, p): (lease, position) for topic, p, lease, position in note["partitions"]}
            with self._changing:
                for place, (lease, position) in assigned.items():
                    self._begin(place, lease, position)
                self._say(Assigned(assigned))
        elif kind == "revoke":
            places = tuple((topic, p) for topic, p in note["partitions"])
            for place in places:
                if place in self._fetches:
                    self._fetches[place].stopped = True
            member = self.member
            leases = {place: self._fetches[place].lease for place in places if place in self._fetches}
            self._say(Revoking(places, float(note["deadline_s"]), lambda: self._released(member, places, leases)))
        elif kind == "lost":
            self._lose(tuple((topic, p) for topic, p in note["partitions"]), str(note.get("reason", "revoked")))
        elif kind == "removed":
            self._removed(str(note["reason"]))

    def data(self, place: TopicPartition) -> None:
        fetch = self._fetches.get(place)
        if fetch is not None:
            fetch.data()

    def _begin(self, place: TopicPartition, lease: int, position: int) -> None:
        topic, partition = place
        fetch = PartitionFetch(
            self._session, self._topics[topic], partition, lease, position, self._ready, self._fetch_failed
        )
        fetch.paused = place in self._paused
        self._fetches[place] = fetch

    def _released(
        self, member: str | None, places: tuple[TopicPartition, ...], leases: Mapping[TopicPartition, int]
    ) -> None:
        if member is None or member != self.member:
            return  # its leases ended with the membership; what is there now is of another one
        with self._changing:
            for place, lease in leases.items():
                fetch = self._fetches.get(place)
                if fetch is not None and fetch.lease == lease:
                    del self._fetches[place]
        args = {"group": self._spec.group, "member": member, "partitions": [list(place) for place in places]}
        self._session.call("released", args, (), self._ignored)

    def _removed(self, reason: str) -> None:
        self._forget_membership()
        self._lose(tuple(self._fetches), f"the group removed this member: {reason}")
        if "fenced" in reason:
            self._say(
                Fatal(
                    Fenced(
                        f"group {self._spec.group}: another consumer with "
                        f"instance_id={self._spec.instance_id!r} took this "
                        "one's place. It stops; what it had not settled is delivered there.",
                        engine="native",
                    )
                )
            )
        elif not self._closed:
            self._join()

    def _lose(self, places: tuple[TopicPartition, ...], reason: str) -> None:
        for place in places:
            fetch = self._fetches.pop(place, None)
            if fetch is not None:
                fetch.stopped = True
        if places:
            self._say(Lost(places, reason))

    def _forget_membership(self) -> None:
        if self.member is not None:
            self._connection.disclaim_notes((self._spec.group, self.member))
        self.member = None

    def lost(self) -> None:
        """The broker is gone, and all leases with it."""
        self._forget_membership()
        self._say(Disconnected("the host of the folder is gone"))
        self._lose(tuple(self._fetches), "the host of the folder is gone, and its leases with it")

    def failed(self, error: MqbridgeError) -> None:
        """There will be no host any more."""
        self._say(Fatal(error))

    def restored(self) -> None:
        if not self._closed:
            self._say(Reconnected())
            self._join()

    def heartbeat(self) -> None:
        """Called at intervals: alive while the application polls; absent once it has not for `max_poll_interval_s`."""
        member = self.member
        if member is None or self._closed:
            return
        idle_s = self._connection.clock.mono_s() - self._last_take_s
        if idle_s > self._spec.max_poll_interval_s:
            self._absent = True
            self._forget_membership()
            self._leave(member)
            self._lose(
                tuple(self._fetches),
                f"the consumer was not polled for {idle_s:.1f} s, more than max_poll_interval_s="
                f"{self._spec.max_poll_interval_s:g}, and left the group",
            )
            return
        args = {"group": self._spec.group, "member": member}
        self._session.call("heartbeat", args, (), lambda _reply, _batches, error: self._heard(member, error))

    def _heard(self, member: str, error: MqbridgeError | None) -> None:
        if isinstance(error, Fenced) and self.member == member:
            self._removed("its session had timed out")

    def _leave(self, member: str) -> None:
        self._session.call("leave", {"group": self._spec.group, "member": member}, (), self._ignored)

    def _ignored(self, _reply: Reply | None, _batches: list[RecordBatch], _error: MqbridgeError | None) -> None:
        """Sent for the broker's information; if it did not arrive, the session timeout does the same."""

    # --- the SPI

    def _say(self, event: Event) -> None:
        self._events.append(event)
        self._ready()

    def events(self) -> list[Event]:
        events: list[Event] = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def take(self, max_records: int) -> Block | None:
        self._last_take_s = self._connection.clock.mono_s()
        if self._absent:
            self._join()
        if max_records <= 0:
            return None
        with self._changing:
            fetches = list(self._fetches.values())
        for step in range(len(fetches)):
            fetch = fetches[(self._turn + step) % len(fetches)]
            block = fetch.take()
            if block is not None:
                self._turn = (self._turn + step + 1) % len(fetches)
                return block
        return None

    def _fetch_failed(self, fetch: PartitionFetch, error: MqbridgeError) -> None:
        if not isinstance(error, OffsetLost):
            if not self._connection.ask_again(error, self._ready):
                self._say(Fatal(error))
            return
        if self._spec.on_gap == "fail":
            fetch.stopped = True
            self._say(Gap(error))
            return
        if self._spec.on_gap == "earliest":
            fetch.seek(error.__dict__["start"])
            self._ready()
            return
        generation = fetch.generation

        def to_end(reply: Reply | None, _batches: list[RecordBatch], failure: MqbridgeError | None) -> None:
            if failure is not None and not self._connection.ask_again(failure, self._ready):
                self._say(Fatal(failure))
            elif reply is not None and fetch.generation == generation:  # else the application has sought elsewhere
                fetch.seek(reply["partitions"][str(fetch.partition)]["end"])
                self._ready()

        self._session.call("offsets", {"topic": fetch.topic.name}, (), to_end)

    def commit(
        self,
        offsets: Mapping[TopicPartition, tuple[int, int]],
        done: Completion[tuple[TopicPartition, ...]],
    ) -> None:
        member = self.member
        if member is None:
            done(tuple(offsets), None)
            return

        def committed(reply: Reply | None, _batches: list[RecordBatch], error: MqbridgeError | None) -> None:
            if isinstance(error, Fenced):
                done(tuple(offsets), None)
            elif error is not None or reply is None:
                done(None, error)
            else:
                done(tuple((topic, p) for topic, p in reply["refused"]), None)

        args = {
            "group": self._spec.group,
            "member": member,
            "offsets": [[topic, p, lease, offset] for (topic, p), (lease, offset) in offsets.items()],
        }
        self._session.call("commit", args, (), committed)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        fetch = self._fetches.get(partition)
        if fetch is not None:
            fetch.stopped = False
            fetch.seek(offset)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(partitions)
        self._set_paused(partitions, True)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)
        self._set_paused(partitions, False)

    def _set_paused(self, partitions: Sequence[TopicPartition], paused: bool) -> None:
        for place in partitions:
            fetch = self._fetches.get(place)
            if fetch is not None:
                fetch.paused = paused

    def close(self, done: Completion[None]) -> None:
        self._closed = True
        if self in self._connection.members:
            self._connection.members.remove(self)
        member = self.member
        self._forget_membership()
        self._fetches.clear()
        if member is None or self._spec.instance_id is not None:
            # A static member keeps its place until its session times out or the same instance joins again (KIP-345).
            done(None, None)
            return
        args = {"group": self._spec.group, "member": member}
        # What prevents the answer (no host, removed already) has ended the membership just as well.
        self._session.call("leave", args, (), lambda _reply, _batches, _error: done(None, None))

    def call(self, kind: type[T], fn: Callable[[T], Any], done: Completion[Any]) -> None:
        self._connection.call(kind, fn, done)
