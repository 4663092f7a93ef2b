"""Administering queues and exchanges, checked with raw pika and the management API."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

import mqbridge as mq
from mqbridge.spi import Completion
from mqbridge.testing import wait_until
from mqbridge.waiting import wait
from tests.rabbitmq import raw
from tests.rabbitmq.conftest import take

MakeQueue = Callable[..., mq.Queue[bytes]]
MakeExchange = Callable[..., mq.Exchange]
NOBODY = "management=http://127.0.0.1:1"


def without_api(url: str) -> str:
    return url.split("?", maxsplit=1)[0] + "?" + NOBODY


def kill(bus: mq.Bus, queue: mq.Queue[bytes], values: list[bytes]) -> None:
    """Send and reject, so that they lie in the dead-letter queue."""
    with bus.producer() as producer:
        producer.send_many(queue, values).result(10)
    with bus.consumer(queue) as consumer:
        for delivery in take(consumer, len(values)):
            delivery.reject(f"no {delivery.value.decode()}")


def test_ensure_makes_what_raw_pika_and_the_api_see(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """Type, limits and dead-lettering are arguments of the queue; ensuring it again changes nothing."""
    queue = make_queue(max_attempts=4, message_ttl_s=60, expires_s=3600, max_length=10, max_bytes=1000)
    facts = raw.queue_facts(rabbitmq_url, queue.name)
    assert facts["arguments"] == {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 3,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{queue.name}.dlq",
        "x-dead-letter-strategy": "at-least-once",
        "x-message-ttl": 60_000,
        "x-expires": 3_600_000,
        "x-max-length": 10,
        "x-max-length-bytes": 1000,
    }
    assert facts["durable"] is True
    rabbit.admin.ensure(queue)
    assert [change.action for change in rabbit.admin.plan(queue)] == ["keep", "keep"]
    assert rabbit.admin.describe(queue).queue.specified() == queue.specified()  # type: ignore[union-attr]


@pytest.mark.parametrize("api", [True, False], ids=["with the API", "without"])
def test_a_difference_is_a_mismatch_that_names_the_field(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue, api: bool
) -> None:
    """Read back from the API, or from what the broker says to a declare that meets something else."""
    queue = make_queue(max_length=7)
    with mq.connect(rabbitmq_url if api else without_api(rabbitmq_url)) as bus:
        with pytest.raises(mq.Mismatch, match="max_length") as caught:
            bus.admin.ensure(mq.Queue(queue.name, max_length=9))
    ((field, _, found),) = caught.value.differences
    assert (field, str(found).strip("'")) == ("max_length", "7")
    assert raw.queue_facts(rabbitmq_url, queue.name)["arguments"]["x-max-length"] == 7


def test_sending_consuming_and_dead_letters_work_without_the_api(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """Only listing and describing bindings need it, and say so with what to do."""
    queue = make_queue(max_attempts=2)
    with mq.connect(without_api(rabbitmq_url)) as bus:
        kill(bus, queue, [b"1"])
        assert [letter.value for letter in bus.admin.dead_letters(queue)] == [b"1"]
        for ask in (bus.admin.list_queues, bus.admin.list_exchanges):
            with pytest.raises(mq.Unreachable, match="rabbitmq-plugins enable rabbitmq_management"):
                ask()
        problems = bus.admin.health()["problems"]
        assert any("management" in problem["what"] for problem in problems)


def test_dead_letters_are_seen_again_and_again(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """A look takes nothing, counts no attempt and gives the same tokens in the same order."""
    queue = make_queue(max_attempts=2)
    kill(rabbit, queue, [b"1", b"2", b"3"])
    assert queue.dead_letter is not None
    dead = queue.dead_letter.name
    wait_until(lambda: raw.ready(rabbitmq_url, dead) == 3)
    looks = [rabbit.admin.dead_letters(queue) for _ in range(3)]
    assert [letter.value for letter in looks[0]] == [b"1", b"2", b"3"]
    assert looks[0] == looks[1] == looks[2]
    assert [letter.value for letter in rabbit.admin.dead_letters(queue, max_messages=2)] == [b"1", b"2"]
    wait_until(lambda: raw.ready(rabbitmq_url, dead) == 3)
    with rabbit.consumer(queue.dead_letter) as consumer:
        assert [one.attempt for one in take(consumer, 3)] == [1, 1, 1]


@pytest.mark.parametrize("touch", ["look", "redrive of none"])
def test_many_dead_letters_come_back_in_order_and_uncounted(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue, touch: str
) -> None:
    """Of more than 32 that are given back at once, RabbitMQ would count an attempt, and change the order."""
    queue = make_queue(max_attempts=2)
    values = [b"%d" % number for number in range(100)]
    assert queue.dead_letter is not None
    with rabbit.producer() as producer:
        producer.send_many(queue.dead_letter, values).result(20)
    for _ in range(3):
        if touch == "look":
            assert [letter.value for letter in rabbit.admin.dead_letters(queue)] == values
        else:
            assert rabbit.admin.redrive(queue, tokens=[12345]) == 0
    found = raw.drain(rabbitmq_url, queue.dead_letter.name)
    assert [body for _, _, body in found] == values
    assert [(properties.headers or {}).get("x-delivery-count") for _, properties, _ in found] == [None] * 100


def test_redrive_moves_what_was_chosen_and_counts_anew(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """By tokens and all; the message comes back with its id and headers, attempt 1 and no death."""
    queue = make_queue(max_attempts=2)
    kill(rabbit, queue, [b"1", b"2", b"3"])
    letters = rabbit.admin.dead_letters(queue)
    assert rabbit.admin.redrive(queue, tokens=[letters[1].token, 12345]) == 1
    with rabbit.consumer(queue) as consumer:
        (delivery,) = take(consumer, 1)
        assert (delivery.value, delivery.attempt, delivery.death) == (b"2", 1, None)
        assert delivery.message_id == letters[1].message_id
        delivery.ack()
    assert [letter.value for letter in rabbit.admin.dead_letters(queue)] == [b"1", b"3"]
    assert rabbit.admin.redrive(queue, max_messages=1) == 1
    assert rabbit.admin.redrive(queue) == 1
    found = raw.drain(rabbitmq_url, queue.name)
    assert [body for _, _, body in found] == [b"1", b"3"]
    assert not [name for _, properties, _ in found for name in properties.headers if name.startswith("x-death")]


def test_a_redrive_to_a_queue_that_is_gone_loses_nothing(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue
) -> None:
    """The copy is returned, so the message stays where it is."""
    queue = make_queue(max_attempts=2)
    kill(rabbit, queue, [b"1", b"2"])
    assert queue.dead_letter is not None
    dead = queue.dead_letter
    gone = mq.Queue(f"gone-{secrets.token_hex(4)}")

    def submit(done: Completion[int]) -> None:
        rabbit._connection.admin.move(dead, None, gone, 10, done)

    with pytest.raises(mq.NotFound):
        wait(submit, 10, "moving")
    assert raw.ready(rabbitmq_url, dead.name) == 2


def test_what_is_missing_is_not_found(rabbit: mq.Bus) -> None:
    """AMQP's own delete of a missing queue succeeds; ours does not."""
    name = f"none-{secrets.token_hex(4)}"
    for destination in (mq.Queue(name), mq.Exchange(name)):
        for call in (rabbit.admin.delete, rabbit.admin.describe):
            with pytest.raises(mq.NotFound, match=name):
                call(destination)
    with pytest.raises(mq.NotFound):
        rabbit.admin.purge(mq.Queue(name))
    with pytest.raises(mq.NotFound):
        rabbit.admin.bind(mq.Binding(mq.Exchange(name), mq.Queue(name)))


def test_bindings_are_described_and_removed(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue, make_exchange: MakeExchange
) -> None:
    """Each kind of binding reads back equal, twice is harmless both ways."""
    queue, alternate = make_queue(), make_exchange(type="fanout")
    exchange = make_exchange(type="headers", alternate=alternate)
    bindings = {
        mq.Binding(exchange, queue, headers={"a": "1", "b": None}, match="any"),
        mq.Binding(exchange, alternate, headers={"c": "2"}),
    }
    for _ in range(2):
        for binding in bindings:
            rabbit.admin.bind(binding)
    described = rabbit.admin.describe(exchange)
    assert set(described.bindings) == bindings  # type: ignore[union-attr]
    assert described.exchange.alternate == alternate  # type: ignore[union-attr]
    assert {one.action for one in rabbit.admin.plan(*bindings)} == {"keep"}
    for _ in range(2):
        for binding in bindings:
            rabbit.admin.unbind(binding)
    assert rabbit.admin.describe(exchange).bindings == ()  # type: ignore[union-attr]


def test_an_exchange_of_another_type_is_a_mismatch(rabbit: mq.Bus, make_exchange: MakeExchange) -> None:
    """Nothing is changed."""
    exchange = make_exchange(type="fanout")
    with pytest.raises(mq.Mismatch, match="type"):
        rabbit.admin.ensure(mq.Exchange(exchange.name, type="topic"))


def test_lists_show_what_is_the_applications(
    rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue, make_exchange: MakeExchange
) -> None:
    """Ours are listed as they are specified; the broker's own exchanges and streams of topics are not."""
    queue, exchange = make_queue(max_attempts=3), make_exchange(type="topic")
    with raw.channel(rabbitmq_url) as channel:
        channel.queue_declare(f"{queue.name}.mqt-0", durable=True, arguments={"x-queue-type": "stream"})
        try:
            queues = {one.name: one for one in rabbit.admin.list_queues()}
            exchanges = {one.name: one for one in rabbit.admin.list_exchanges()}
        finally:
            channel.queue_delete(f"{queue.name}.mqt-0")
    assert queues[queue.name].specified() == queue.specified()
    assert f"{queue.name}.dlq" in queues
    assert exchanges[exchange.name].type == "topic"
    assert not [name for name in [*queues, *exchanges] if not name or name.startswith("amq.") or ".mqt" in name]


def test_depth_is_exact_and_purge_takes_what_is_ready(rabbit: mq.Bus, make_queue: MakeQueue) -> None:
    """Not the API's last sample: right after the confirm, and without what is out."""
    queue = make_queue()
    with rabbit.producer() as producer:
        producer.send_many(queue, [b"x"] * 10).result(10)
    assert rabbit.admin.depth(queue) == 10
    with rabbit.consumer(queue, prefetch=3) as consumer:
        take(consumer, 3)
        assert rabbit.admin.describe(queue).consumers == 1  # type: ignore[union-attr]
        assert rabbit.admin.purge(queue) == 7
    assert rabbit.admin.depth(queue) == 3


def test_a_user_without_permission_is_denied(rabbit: mq.Bus, rabbitmq_url: str, make_queue: MakeQueue) -> None:
    """May read and not write, and nothing else: sending and making are Denied with nothing applied."""
    queue, user = make_queue(), f"u-{secrets.token_hex(4)}"
    raw.api(rabbitmq_url, "PUT", f"/api/users/{user}", {"password": "p4ss", "tags": "administrator"})
    try:
        raw.api(rabbitmq_url, "PUT", f"/api/permissions/%2F/{user}", {"configure": "^$", "write": "^$", "read": ".*"})
        with mq.connect(rabbitmq_url.replace("guest:guest", f"{user}:p4ss")) as bus:
            with bus.producer() as producer:
                errors = [producer.send(queue, b"x").exception(10) for _ in range(3)]
            assert {(type(error), error and error.outcome) for error in errors} == {(mq.Denied, "not_applied")}
            with pytest.raises(mq.Denied):
                bus.admin.ensure(mq.Queue(f"new-{secrets.token_hex(4)}"))
            said = [problem["what"] for problem in bus.admin.health()["problems"]]
            assert any("may write only" in what for what in said)
    finally:
        raw.api(rabbitmq_url, "DELETE", f"/api/users/{user}")
    assert raw.ready(rabbitmq_url, queue.name) == 0


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("guest:guest", "guest:wr0ng"), mq.Denied, "password"),
        (("/?", "/nosuchvhost?"), mq.Denied, "virtual host"),
        (("127.0.0.1", "127.0.0.2"), mq.Unreachable, "127.0.0.2"),
    ],
)
def test_a_refused_connection_says_why(
    rabbitmq_url: str, change: tuple[str, str], kind: type[mq.MqbridgeError], said: str
) -> None:
    """Wrong password, missing virtual host, nobody there; the password is in no text."""
    with pytest.raises(kind, match=said) as caught:
        mq.connect(rabbitmq_url.replace(*change, 1), connect_timeout_s=5)
    assert "wr0ng" not in str(caught.value) + repr(caught.value.__cause__)
    assert caught.value.outcome == "not_applied"


def test_the_second_host_serves_when_the_first_is_away(rabbitmq_url: str) -> None:
    """Hosts are tried in order."""
    with mq.connect(rabbitmq_url.replace("127.0.0.1", "127.0.0.2:1,127.0.0.1", 1)) as bus:
        assert bus.state == "connected"
        assert bus.admin.health()["product"] == "RabbitMQ"


def test_health_names_the_broker(rabbit: mq.Bus) -> None:
    """Version and node, and no problem on a fresh broker of the wanted version."""
    facts = rabbit.admin.health()
    assert facts["version"].startswith("4.")
    assert facts["node"].startswith("rabbit@")
    wait_until(lambda: rabbit.state == "connected", timeout_s=5)
    assert isinstance(facts["problems"], list)
