"""Consumer groups: the operations on them, and what their members are told.

The rule: offsets are in the journal before a reply or a note says so; who holds what is in memory alone,
since a restart ends every lease. `membership` decides who holds what, `offsets` how far the group is; here
they meet: commands are checked, entries written, effects become notes. What does not belong here: how a
partition stores records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from mqbridge import errors
from mqbridge.native.core import arguments
from mqbridge.native.core.ports import Batch, Notify, Now, Op, Reply, Topology
from mqbridge.native.core.topics.membership import (
    Assign,
    Effect,
    Lose,
    Member,
    Membership,
    Protocol,
    Remove,
    Revoke,
    TopicPartition,
)
from mqbridge.native.core.topics.offsets import GroupOffsets, Start
from mqbridge.native.core.topics.partition import Partition
from mqbridge.native.core.topics.room import TopicRoom
from mqbridge.semantics.naming import check_name

MAX_ATTEMPT_ROWS = 10_000


class LeaseNumbers:
    """Numbers that always grow, across restarts and take-overs too: the store's epoch above a counter.

    The epoch is raised durably by each opening of the store, so nothing has to be written for a number.
    """

    def __init__(self, epoch: int) -> None:
        self._last = epoch << 32

    def next(self) -> int:
        self._last += 1
        return self._last


class Group:
    def __init__(self, name: str) -> None:
        self.name = name
        self.offsets = GroupOffsets()
        self.membership: Membership | None = None
        """None until somebody joins in this life of the broker; of a protocol only while it has members."""

    @property
    def members(self) -> Mapping[str, Member]:
        return self.membership.members if self.membership else {}

    @property
    def state(self) -> str:
        return self.membership.state if self.membership else "empty"

    @property
    def protocol(self) -> Protocol | None:
        return self.membership.protocol if self.membership and self.members else None

    def holds(self, member_id: str, partition: TopicPartition, lease: object) -> bool:
        """Whether that lease is current, and that member's."""
        member = self.members.get(member_id)
        return member is not None and partition in member.held and member.held[partition] == lease


class GroupRoom:
    """The operations on groups; see `ports.Room`. Learns of changed topics as a `TopicListener`."""

    def __init__(
        self, topics: TopicRoom, meta: Topology, notify: Notify, new_id: Callable[[], str], epoch: int
    ) -> None:
        self._topics = topics
        self._meta = meta
        self._notify = notify
        self._new_id = new_id
        self._numbers = LeaseNumbers(epoch)
        self._groups: dict[str, Group] = {}
        self.ops: Mapping[str, Op] = {
            "join": self._join,
            "heartbeat": self._heartbeat,
            "leave": self._leave,
            "released": self._released,
            "commit": self._commit,
            "committed": self._committed,
            "list_groups": self._list,
            "describe_group": self._describe,
            "reset_offsets": self._reset,
            "delete_group": self._delete,
        }
        topics.listen(self)

    # --- members ---

    def _join(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = _group_name(args)
        wanted = arguments.texts(args, "topics")
        protocol: Protocol = args.get("protocol")  # type: ignore[assignment]  # checked in the next line
        if protocol not in get_args(Protocol):
            raise arguments.wrong("protocol", f"one of {', '.join(get_args(Protocol))}", protocol)
        start = Start.read(args)
        member = Member(
            member_id=self._new_id(),
            session=session,
            instance_id=arguments.text_or_none(args, "instance_id"),
            topics=wanted,
            session_timeout_s=arguments.seconds(args, "session_timeout_s"),
            rebalance_timeout_s=arguments.seconds(args, "rebalance_timeout_s"),
            last_seen_s=now.mono_s,
        )
        logs = {topic: self._topics.existing(topic).partitions for topic in wanted}
        start.check(logs)
        group = self._groups.get(name) or Group(name)
        if group.protocol not in (None, protocol):
            raise errors.ConfigurationError(
                f"group {name!r} rebalances by {group.protocol!r}, a member with {protocol!r} cannot join "
                "it; nobody joined: use one protocol in a group, and change it while the group has no members"
            )
        brought = group.offsets.bring(logs, start)
        if brought:
            self._meta.append({"t": "group-start", "group": name, "topics": brought})
            group.offsets.apply_start(brought)
        self._groups[name] = group
        if group.membership is None or group.protocol is None:
            group.membership = Membership(protocol, self._partition_count, self._numbers.next)
        self._tell(group, group.membership.join(member, now.mono_s))
        return {"member": member.member_id}, []

    def _heartbeat(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        group, _, member = self._member(args)
        if member.session != session:
            # Its notes go to the connection that joined; kept alive from elsewhere it would hold without
            # hearing.
            raise errors.Fenced(
                f"member {member.member_id} of group {group.name!r} joined over another connection; the "
                "sign of life was not counted: join again"
            )
        member.last_seen_s = now.mono_s
        return {}, []

    def _leave(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        """Whoever is gone already has left: no error, so that a close can be repeated."""
        group = self._groups.get(_group_name(args))
        member_id = arguments.text(args, "member")
        if group and group.membership and member_id in group.members:
            self._tell(group, group.membership.leave(member_id, now.mono_s))
            self._forget_if_nothing(group)
        return {}, []

    def _released(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        group, membership, member = self._member(args)
        partitions = [_partition(row, "partitions") for row in arguments.rows(args, "partitions", 2)]
        if member.session == session:
            member.last_seen_s = now.mono_s
        self._tell(group, membership.released(member.member_id, partitions, now.mono_s))
        return {}, []

    def _member(self, args: dict[str, Any]) -> tuple[Group, Membership, Member]:
        name, member_id = _group_name(args), arguments.text(args, "member")
        group = self._groups.get(name)
        if group is None or group.membership is None or member_id not in group.members:
            raise errors.Fenced(
                f"group {name!r} has no member {member_id}: it left, was removed, or another one took its "
                "place; its leases have ended and nothing was applied: join again"
            )
        return group, group.membership, group.members[member_id]

    # --- offsets ---

    def _commit(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name, member_id = _group_name(args), arguments.text_or_none(args, "member")
        rows = arguments.rows(args, "offsets", 4)
        counts = _attempt_rows(args)
        group = self._groups.get(name)
        if member_id is None:
            self._refuse_with_members(name, "its offsets cannot be set from outside")
        accepted: dict[TopicPartition, int] = {}
        refused: dict[TopicPartition, None] = {}
        for topic, number, lease, offset in rows:
            partition = _partition((topic, number), "offsets")
            if not arguments.is_integer(offset) or offset < 0:
                raise arguments.wrong(
                    "offsets", "rows of topic, partition, lease, offset", [topic, number, lease, offset]
                )
            if member_id is not None and not (group and group.holds(member_id, partition, lease)):
                refused[partition] = None
                continue
            self._existing(partition).check_within(offset)
            accepted[partition] = offset
        self._write_offsets(
            name, accepted, [row for row in counts if row[2] >= accepted.get((row[0], row[1]), math.inf)]
        )
        member = group.members.get(member_id) if group is not None and member_id is not None else None
        if member is not None and member.session == session:
            member.last_seen_s = now.mono_s
        return {"refused": [list(partition) for partition in refused]}, []

    def _write_offsets(
        self, name: str, offsets: Mapping[TopicPartition, int], attempts: Sequence[Any] = ()
    ) -> None:
        if not offsets:
            return
        rows = [[*partition, offset] for partition, offset in offsets.items()]
        entry: dict[str, Any] = {"t": "group-offsets", "group": name, "offsets": rows}
        if attempts:
            entry["attempts"] = list(attempts)
        self._meta.append(entry)
        self._groups.setdefault(name, Group(name)).offsets.apply(rows, attempts)

    def _committed(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = _group_name(args)
        wanted = None if args.get("topics") is None else arguments.texts(args, "topics")
        group = self._groups.get(name)
        if group is None:
            return {"offsets": []}, []
        return {"offsets": group.offsets.rows(self._counts(wanted or group.offsets.topics()))}, []

    def _reset(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        name = _group_name(args)
        topic = self._topics.existing(arguments.text(args, "topic"))
        wanted = {
            (topic.name, n): offset for n, offset in arguments.partition_offsets(args, "offsets").items()
        }
        self._refuse_with_members(name, "its offsets cannot be reset")
        for partition, offset in wanted.items():
            log = self._existing(partition)
            log.check_within(offset)
            if offset < log.start:
                raise errors.ConfigurationError(
                    f"offset {offset} lies before the start {log.start} of {log}; no offset was reset"
                )
        self._write_offsets(name, wanted)
        return {}, []

    def _refuse_with_members(self, name: str, what: str) -> None:
        group = self._groups.get(name)
        if group is not None and group.members:
            raise errors.Rejected(
                f"group {name!r} has {len(group.members)} members, so {what}; nothing was changed: stop them "
                "first"
            )

    # --- administering ---

    def _list(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        groups = (self._groups[name] for name in sorted(self._groups))
        return {
            "groups": [
                {
                    "group": group.name,
                    "state": group.state,
                    "protocol": group.protocol,
                    "members": len(group.members),
                }
                for group in groups
            ]
        }, []

    def _describe(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        group = self._existing_group(args)
        offsets = []
        for topic, number, committed in group.offsets.rows(self._counts(group.offsets.topics())):
            end = self._topics.partitions(topic)[number].end
            offsets.append([topic, number, committed, end, end - committed])
        return {
            "group": group.name,
            "state": group.state,
            "protocol": group.protocol,
            "epoch": group.membership.epoch if group.membership else 0,
            "members": [
                {
                    "member": member.member_id,
                    "instance_id": member.instance_id,
                    "topics": list(member.topics),
                    "assignment": [list(partition) for partition in sorted(member.held)],
                    "last_heartbeat_age_s": now.mono_s - member.last_seen_s,
                }
                for member in group.members.values()
            ],
            "offsets": offsets,
        }, []

    def _delete(self, session: int, args: dict[str, Any], batches: Sequence[Batch], now: Now) -> Reply:
        group = self._existing_group(args)
        self._refuse_with_members(group.name, "it cannot be deleted")
        self._meta.append({"t": "group-deleted", "group": group.name})
        del self._groups[group.name]
        return {}, []

    def _existing_group(self, args: dict[str, Any]) -> Group:
        name = _group_name(args)
        if name not in self._groups:
            raise errors.NotFound(f"there is no group {name!r}; nothing was done")
        return self._groups[name]

    # --- topics changed ---

    def partitions_added(self, topic: str, now: Now) -> None:
        for group in self._groups.values():
            if group.membership:
                self._tell(group, group.membership.partitions_added(topic, now.mono_s))

    def topic_deleted(self, topic: str, now: Now) -> None:
        for group in list(self._groups.values()):
            group.offsets.forget_topic(topic)
            if group.membership:
                self._tell(group, group.membership.topic_deleted(topic, now.mono_s))
            self._forget_if_nothing(group)

    # --- recovery and time ---

    def restore_meta(self, entry: dict[str, Any]) -> bool:
        kind = entry.get("t")
        if kind == "topic-deleted":
            for group in list(self._groups.values()):
                group.offsets.forget_topic(entry["name"])
                self._forget_if_nothing(group)
        elif kind == "group-deleted":
            self._groups.pop(entry["group"], None)  # it may never have had an offset
        elif kind in ("group-start", "group-offsets"):
            offsets = self._groups.setdefault(entry["group"], Group(entry["group"])).offsets
            if kind == "group-start":
                offsets.apply_start(entry["topics"])
            else:
                offsets.apply(entry["offsets"], entry.get("attempts", ()))
        else:
            return False
        return True

    def snapshot_meta(self) -> Iterable[dict[str, Any]]:
        return (entry for group in self._groups.values() for entry in group.offsets.snapshot(group.name))

    def recover(self, now: Now) -> None:
        """Offsets first: members of the life before are gone, and their leases, of a lower epoch, with them.

        A power cut may have taken records whose offsets were committed, where the store does not flush each
        of them. Their offsets are given again, to records that the group has not seen; so it goes back to the
        end of the log.
        """
        for group in self._groups.values():
            ends = {(t, p.number): p.end for t in group.offsets.topics() for p in self._topics.partitions(t)}
            committed = group.offsets.committed
            self._write_offsets(
                group.name, {tp: end for tp, end in ends.items() if committed.get(tp, 0) > end}
            )

    def close_session(self, session: int, clean: bool, now: Now) -> None:
        """Nothing to do: a clean client has left before; another one may come back within its session
        timeout."""

    def tick(self, now: Now) -> None:
        for group in list(self._groups.values()):
            if group.membership:
                self._tell(group, group.membership.expire(now.mono_s))
                self._forget_if_nothing(group)

    def next_deadline(self, now: Now) -> float | None:
        deadlines = (group.membership.deadline_s() for group in self._groups.values() if group.membership)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- inside ---

    def _tell(self, group: Group, effects: Sequence[Effect]) -> None:
        for effect in effects:
            note: dict[str, Any] = {"group": group.name, "member": effect.member.member_id}
            match effect:
                case Assign(_, leases):
                    rows = [[*tp, lease, group.offsets.position(tp)] for tp, lease in leases]
                    note |= {"note": "assign", "partitions": rows}
                    attempts = group.offsets.attempt_rows(tp for tp, _ in leases)
                    if attempts:
                        note["attempts"] = attempts
                case Revoke(_, partitions, deadline_s):
                    note |= {"note": "revoke", "partitions": _rows(partitions), "deadline_s": deadline_s}
                case Lose(_, partitions, reason):
                    note |= {"note": "lost", "partitions": _rows(partitions), "reason": reason}
                case Remove(_, reason):
                    note |= {"note": "removed", "reason": reason}
            self._notify(effect.member.session, note)

    def _existing(self, partition: TopicPartition) -> Partition:
        topic, number = partition
        partitions = self._topics.existing(topic).partitions
        if number >= len(partitions):
            raise errors.NotFound(
                f"topic {topic!r} has {len(partitions)} partitions and no {number}; nothing was done"
            )
        return partitions[number]

    def _partition_count(self, topic: str) -> int:
        return len(self._topics.partitions(topic))

    def _counts(self, topics: Iterable[str]) -> dict[str, int]:
        return {topic: self._partition_count(topic) for topic in topics}

    def _forget_if_nothing(self, group: Group) -> None:
        if not group.members and not group.offsets.topics():
            self._groups.pop(group.name, None)


def _group_name(args: dict[str, Any]) -> str:
    try:
        return check_name("group", arguments.text(args, "group"))
    except ValueError as error:
        raise errors.ConfigurationError(f"{error} Nothing was done.") from None


def _partition(row: Sequence[Any], name: str) -> TopicPartition:
    topic, number = row
    if not isinstance(topic, str) or not arguments.is_integer(number) or number < 0:
        raise arguments.wrong(name, "rows that begin with topic and partition", list(row))
    return topic, number


def _attempt_rows(args: dict[str, Any]) -> list[Sequence[Any]]:
    """[topic, partition, offset, attempts] of records that are not settled, or nothing."""
    if args.get("attempts") is None:
        return []
    rows = arguments.rows(args, "attempts", 4)
    if len(rows) > MAX_ATTEMPT_ROWS:
        raise arguments.wrong("attempts", f"at most {MAX_ATTEMPT_ROWS} rows", f"{len(rows)} rows")
    for row in rows:
        _partition(row[:2], "attempts")
        if not all(arguments.is_integer(number) and number >= 0 for number in row[2:]):
            raise arguments.wrong("attempts", "rows of topic, partition, offset, attempts", list(row))
    return rows


def _rows(partitions: Iterable[TopicPartition]) -> list[list[Any]]:
    return [list(partition) for partition in partitions]
