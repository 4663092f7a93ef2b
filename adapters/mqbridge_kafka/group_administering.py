"""Administering groups: who is in them, what they have committed, setting that, and removing them.

The rule of this room: no question here can end the application's process. What a group's coordinator is asked goes by
ways that survive its restart: committed offsets through a consumer that names the group and never joins it, everything
else through a process of its own (group_process.py, which says why).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place

from mqbridge.errors import NotFound, Rejected
from mqbridge.spi import Completion, GroupDescription, GroupSummary, MemberDescription, TopicPartition
from mqbridge.topology import Topic
from mqbridge_kafka.aside import aside
from mqbridge_kafka.asking import LATEST, TRY_S, insist, offsets_at
from mqbridge_kafka.errors import ENGINE, code_of, translate
from mqbridge_kafka.group_questions import GroupQuestions
from mqbridge_kafka.naming import topic_of
from mqbridge_kafka.starting import HAS_MEMBERS, ask_committed, commit_now

if TYPE_CHECKING:
    from mqbridge_kafka.engine import KafkaConnection

T = TypeVar("T")

INSIST_S: Final = 20.0
"""How long a question is asked again while the group's coordinator is loading, moving or away."""


class GroupAdmin:
    """The groups' part of the SPI's Admin."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._questions = GroupQuestions(connection.config("groups"))
        connection.parts[self._questions] = None

    def list_groups(self, done: Completion[Sequence[GroupSummary]]) -> None:
        def look() -> Sequence[GroupSummary]:
            names = self._questions.ask("names")
            found = self._questions.ask("describe", *names)
            return [
                GroupSummary(name, group["state"], group["protocol"], len(group["members"]))
                for name, group in zip(names, found, strict=True)
                if group is not None
            ]

        aside("listing groups", done, lambda: _insist(look, "listing groups"))

    def describe_group(self, group: str, done: Completion[GroupDescription]) -> None:
        what = f"describing group {group}"

        def steps() -> GroupDescription:
            [found] = _insist(lambda: self._questions.ask("describe", group), what)
            if found is None:
                raise NotFound(f"there is no group {group!r}: nobody consumed or committed under it", engine=ENGINE)
            native = _insist(lambda: self._committed(group), what)
            ends = self._ends(native)
            committed = {self._portable(place): offset for place, offset in native.items()}
            lag = {
                self._portable(place): None if place not in ends else max(0, ends[place] - offset)
                for place, offset in native.items()
            }
            members = tuple(map(self._member, found["members"]))
            return GroupDescription(group, found["state"], found["protocol"], members, committed, lag)

        aside(what, done, steps)

    def commit_offsets(self, group: str, topic: Topic[Any], offsets: Mapping[int, int], done: Completion[None]) -> None:
        what = f"committing offsets of group {group}"
        wanted = {(topic_of(topic), partition): offset for partition, offset in offsets.items()}

        def commit() -> None:
            with self._outsider(group) as consumer:
                # Who is denied the group is told so by this question, and by a commit only after a long time.
                ask_committed(consumer, [Place(*place) for place in wanted])
                try:
                    commit_now(consumer, wanted)
                except KafkaException as error:
                    if code_of(error) in HAS_MEMBERS:
                        raise _has_members(group) from error
                    raise

        def steps() -> None:
            if wanted:
                insist(commit, what, lambda: False, INSIST_S, changes=True)

        aside(what, done, steps)

    def delete_group(self, group: str, done: Completion[None]) -> None:
        what = f"deleting group {group}"

        def delete() -> None:
            self._questions.ask("delete", group, changes=True)

        aside(what, done, lambda: insist(delete, what, lambda: False, INSIST_S, changes=True))

    # --- what a group has committed

    @contextmanager
    def _outsider(self, group: str) -> Iterator[Consumer]:
        """A consumer that names the group and never joins it: not subscribed, it only asks and commits, which the
        broker lets it do while the group is empty."""
        config = self._connection.config("groups") | {
            "group.id": group,
            "enable.auto.commit": False,
            "allow.auto.create.topics": False,
            "isolation.level": "read_committed",  # open transactions of the group make it wait (KIP-447)
            "session.timeout.ms": round(TRY_S * 1000),  # how long a commit waits for a coordinator
        }
        consumer = Consumer(config)
        try:
            yield consumer
        finally:
            consumer.close()

    def _committed(self, group: str) -> dict[TopicPartition, int]:
        """All that a group has committed, of the topics that are there."""
        with self._outsider(group) as consumer:
            topics = consumer.list_topics(timeout=TRY_S).topics
            there = {name: topic.partitions for name, topic in topics.items() if topic.error is None}
            places = [Place(name, number) for name, numbers in there.items() for number in numbers]
            found: dict[TopicPartition, int] = {}
            for place in ask_committed(consumer, places) if places else ():
                if place.error is not None:
                    raise KafkaException(place.error)
                if place.offset >= 0:
                    found[place.topic, place.partition] = place.offset
        return dict(sorted(found.items()))

    def _ends(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The ends of these partitions; without those of topics that are gone."""
        try:
            return self._latest(places)
        except NotFound:
            names = {name for name, _ in places}
            there = {name for name in names if self._is_there(name)}
            return self._latest([place for place in places if place[0] in there])

    def _latest(self, places: Mapping[TopicPartition, int] | list[TopicPartition]) -> dict[TopicPartition, int]:
        watch = self._connection.watch
        return _insist(lambda: offsets_at(watch, dict.fromkeys(places, LATEST)), "asking for offsets")

    def _is_there(self, name: str) -> bool:
        error = self._connection.watch.client.list_topics(name, timeout=TRY_S).topics[name].error
        return error is None or not isinstance(translate(error, "looking"), NotFound)

    # --- names

    def _member(self, member: Sequence[Any]) -> MemberDescription:
        name, instance, places = member
        held = sorted(self._portable((topic, partition)) for topic, partition in places)
        return MemberDescription(name, instance, tuple(held))

    def _portable(self, place: TopicPartition) -> TopicPartition:
        """A topic that this connection knows under another name than Kafka does is called by that name."""
        return self._connection.portable_names.get(place[0], place[0]), place[1]


def _insist(look: Callable[[], T], what: str) -> T:
    return insist(look, what, lambda: False, INSIST_S)


def _has_members(group: str) -> Rejected:
    return Rejected(
        f"group {group} has members; its offsets can be set only while nobody consumes. Nothing was changed; stop the "
        "consumers and try again.",
        engine=ENGINE,
    )
