"""Looking at groups and changing what they committed. The rule: what is told is told by the owner of the token: the
member that consumes, who is asked, or this room, which becomes the owner where nobody is.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mqbridge.errors import MqbridgeError, NotFound, Rejected
from mqbridge.spi import Completion, GroupDescription, GroupSummary, MemberDescription, TopicPartition
from mqbridge.topology import Topic
from mqbridge_rabbitmq import errors, offsets
from mqbridge_rabbitmq.errands import Scratch, Step, ask
from mqbridge_rabbitmq.joining import Held
from mqbridge_rabbitmq.naming import parse_token_queue, stream_name
from mqbridge_rabbitmq.tokens import Question, Token, UnreadableToken, decode, encode
from mqbridge_rabbitmq.wire import shut

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

ANSWER_S: Final = 2.0
"""How long an owner has to answer, or to end, until it counts as there and silent."""
ECHO_S: Final = 10.0

Tokens = dict[str, tuple[str, str, int]]


async def token_queues(connection: RabbitConnection, *, required: bool = True) -> Tokens:
    """Name -> (group, topic, partition) of all token queues. AMQP lists nothing: this needs the management API, and
    gives nothing without it unless it is `required`."""
    if connection.management.away and not required:
        return {}
    try:
        listed = await ask(connection.loop, connection.management, "listing groups", lambda api: api.queues())
    except offsets.TELLS_NOTHING:
        if required:
            raise
        return {}
    parsed = {queue["name"]: parse_token_queue(queue["name"]) for queue in listed}
    return {name: place for name, place in parsed.items() if place is not None}


async def _of_group(connection: RabbitConnection, group: str) -> Tokens:
    found = {name: place for name, place in (await token_queues(connection)).items() if place[0] == group}
    if not found:
        raise NotFound(
            f"nobody ever consumed in a group {group}. Nothing was changed. A group comes into being with its first "
            "consumer.",
            engine=errors.ENGINE,
        )
    return dict(sorted(found.items(), key=lambda item: item[1]))


async def summaries(scratch: Scratch, connection: RabbitConnection) -> Sequence[GroupSummary]:
    found: dict[str, int] = {}
    for name, (group, _, _) in (await token_queues(connection)).items():
        if not found.get(group):
            found[group] = min(1, await _consumers(scratch, name))
    return [GroupSummary(group, _state(members), None, members) for group, members in sorted(found.items())]


def _state(members: int) -> str:
    return "Stable" if members else "Empty"


async def _consumers(scratch: Scratch, queue: str) -> int:
    try:
        return int((await scratch.declare_queue(queue)).consumer_count)
    except NotFound:  # deleted meanwhile
        return 0


async def describe(scratch: Scratch, connection: RabbitConnection, group: str) -> GroupDescription:
    """A consuming group is asked over its token queues; a member that is just joining answers nothing, and then what it
    committed is not known. Of a group that nobody consumes, or that its member just left, the tokens are read and
    given back."""
    queues = await _of_group(connection, group)
    tokens: dict[TopicPartition, Token] = {}
    active: list[TopicPartition] = []
    idle: list[tuple[str, str, int]] = []
    asked: dict[str, TopicPartition] = {}
    for name, (_, topic, partition) in queues.items():
        if await _consumers(scratch, name):
            active.append((topic, partition))
            asked[name] = (topic, partition)
        else:
            idle.append((name, topic, partition))
    if asked:
        tokens.update(await _answers(scratch, connection, asked))
    for name, place in asked.items():
        if place not in tokens and not await _consumers(scratch, name):
            active.remove(place)
            idle.append((name, *place))
    held = [_hold(connection, group, topic, partition, make=False) for _, topic, partition in idle]
    try:
        for one in held:
            await one.collected(ANSWER_S, _active)
            if one.last is not None:
                tokens[one.place] = one.last
    finally:
        for one in held:
            one.keeper.close()
    committed = {place: token.offset for place, token in sorted(tokens.items())}
    lags = {place: await _lag(scratch, place, offset) for place, offset in committed.items()}
    members = () if not active else (MemberDescription(_member(tokens, active), None, tuple(sorted(active))),)
    return GroupDescription(group, _state(len(members)), None, members, committed, lags)


def _member(tokens: Mapping[TopicPartition, Token], active: Sequence[TopicPartition]) -> str:
    return next((tokens[place].member for place in active if place in tokens), "unknown")


async def _lag(scratch: Scratch, place: TopicPartition, offset: int) -> int | None:
    """An upper bound: offsets are not contiguous. None where the stream is gone."""
    try:
        edges = await offsets.edges(scratch, stream_name(Topic(place[0]), place[1]))
    except NotFound:
        return None
    return max(0, edges.end - max(offset, edges.start))


async def _answers(
    scratch: Scratch, connection: RabbitConnection, asked: Mapping[str, TopicPartition]
) -> dict[TopicPartition, Token]:
    """Ask the owners; those who do not answer in time are left out."""
    got: dict[TopicPartition, Token] = {}
    waiting: list[Completion[None]] = []
    reply_to = f"mqbridge.answers.{secrets.token_hex(8)}"
    channel = await Step[Any](lambda done: scratch.connection.channel(on_open_callback=lambda c: done(c, None)))

    def heard(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        name = properties.correlation_id
        try:
            token = decode(body)
        except UnreadableToken:
            return
        if isinstance(token, Token) and name in asked:
            got[asked[name]] = token
            if len(got) == len(asked):
                enough()

    def enough() -> None:
        if waiting:
            waiting.pop()(None, None)

    def ask_them(done: Completion[None]) -> None:
        waiting.append(done)
        channel.queue_declare(reply_to, exclusive=True, auto_delete=True)
        channel.basic_consume(reply_to, heard, auto_ack=True)
        for name in asked:
            channel.basic_publish("", name, encode(Question(reply_to, name)))
        connection.loop.later(ANSWER_S, enough)

    try:
        await Step(ask_them)
    finally:
        shut(channel)
    return got


# --- changing


def _hold(connection: RabbitConnection, group: str, topic: str, partition: int, *, make: bool) -> Held:
    """`make`: the queue too, if it is not there; else it is taken as it is, whoever made it."""
    member = f"admin-{os.getpid()}-{secrets.token_hex(4)}"
    held = Held(
        connection.asking,
        group,
        Topic(topic),
        partition,
        member,
        ECHO_S,
        lambda _held, _ticket: None,
        lambda _held, _reason: None,
        make=make,
    )
    held.keeper.open()
    return held


def _active(held: Held) -> MqbridgeError:
    return Rejected(
        f"{held.what}: a member consumes it; offsets are changed only while nobody does. Nothing was changed; stop the "
        "consumer and try again.",
        engine=errors.ENGINE,
        retryable=True,
    )


async def commit(
    scratch: Scratch, connection: RabbitConnection, group: str, topic: Topic[Any], wanted: Mapping[int, int]
) -> None:
    """Become the owner of all of them, then write. `Rejected` with nothing written while a member consumes."""
    count = await offsets.partition_count(scratch, connection, topic)
    held = [_hold(connection, group, topic.name, partition, make=True) for partition in sorted(wanted)]
    try:
        for one in held:
            await one.collected(ANSWER_S, _active)
        born = max((one.last.born for one in held if one.last is not None), default=count)
        for one in held:
            one.keeper.claim(wanted[one.partition], born)
        for one in held:
            await one.owned()
    finally:
        for one in held:
            one.keeper.close()


async def delete(scratch: Scratch, connection: RabbitConnection, group: str) -> None:
    """Owned first: a group that is consumed is refused. Whoever joins at that very moment finds its queue gone, and
    begins anew."""
    queues = await _of_group(connection, group)
    held = [_hold(connection, group, topic, partition, make=False) for _, topic, partition in queues.values()]
    try:
        for one in held:
            await one.collected(ANSWER_S, _active)
        for name in queues:
            await scratch.delete_queue(name)
    finally:
        for one in held:
            one.keeper.close()
