"""The command line on real brokers: the same words, the same answers, and errors that are sentences."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

import mqbridge as mq
from tests.cli.running import done, finish, invoke, start

ENGINES = ("kafka", "rabbitmq")


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def name(url: str) -> Iterator[str]:
    """A name of its own; what has it is removed at the end."""
    made = f"cli-{secrets.token_hex(4)}"
    yield made
    with mq.connect(url) as bus:
        admin = bus.admin
        found: list[mq.Topic[Any] | mq.Queue[Any] | mq.Exchange] = [*admin.list_exchanges(), *admin.list_queues()]
        for item in [*found, *admin.list_topics()]:
            if item.name.startswith(made):
                admin.delete(item)
        for group in admin.list_groups():
            if group.group.startswith(made):
                admin.delete_group(group.group)


def _refused(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "\nerror: " in "\n" + result.stderr
    assert "\ntry:   " in result.stderr
    return str(result.stderr)


def test_a_topic_and_its_group(url: str, name: str) -> None:
    """create, produce, consume in a group, lag, reset and delete: what was printed is committed, and moved back."""
    assert done(url, "topic", "create", name, "--partitions", "2")["partition_count"] == 2
    assert done(url, "topic", "create", name, "--partitions", "2")["created"] is False
    assert name in [row["topic"] for row in done(url, "topic", "list")]
    sent = b"".join(b"k%d\tv%d\n" % (number % 3, number) for number in range(30))
    told = invoke(url, "produce", f"topic:{name}", "--key-separator", "\\t", stdin=sent).stderr
    assert "30 messages confirmed" in told
    ends = {row["partition"]: row["end"] for row in done(url, "topic", "offsets", name)}
    assert sum(ends.values()) == 30
    printed = invoke(url, "consume", f"topic:{name}", "--group", name, "--key-separator", "\\t")
    assert printed.exit_code == 0, printed.output
    assert sorted(printed.stdout_bytes.splitlines()) == sorted(sent.splitlines())
    shown = done(url, "group", "describe", name)
    assert shown["lag_messages"] == 0
    assert name in [row["group"] for row in done(url, "group", "list")]
    done(url, "group", "reset", name, name, "--to", "earliest", "--yes")
    assert done(url, "group", "describe", name)["lag_messages"] == 30
    assert len(invoke(url, "consume", f"topic:{name}", "--max", "7").stdout_bytes.splitlines()) == 7
    done(url, "group", "delete", name, "--yes")
    assert done(url, "topic", "delete", name, "--yes")["applied"] is True
    assert name not in [row["topic"] for row in done(url, "topic", "list")]


def test_a_queue_behind_an_exchange_and_its_dead_letters(url: str, name: str) -> None:
    """create, bind, produce by routing key, reject, look at the dead letter where the engine can, redrive, consume."""
    done(url, "queue", "create", name, "--max-attempts", "3")
    done(url, "exchange", "create", name, "--type", "topic")
    invoke(url, "exchange", "bind", name, f"queue:{name}", "--key", "a.#")
    assert done(url, "exchange", "describe", name)["bindings"][0]["key"] == "a.#"
    sent = invoke(url, "produce", f"exchange:{name}", "--routing-key", "a.b", stdin=b"letter\n")
    assert sent.exit_code == 0, sent.output
    lost = invoke(url, "produce", f"exchange:{name}", "--routing-key", "z", stdin=b"letter\n")
    assert lost.exit_code == 1
    with mq.connect(url) as bus, bus.consumer(mq.Queue(name)) as consumer:
        (delivery,) = consumer.poll(timeout=20)
        delivery.reject("no such address")
        consumer.commit(20)
        browses = bus.capabilities[mq.Capability.BROWSE_DEAD_LETTERS].level is not mq.Level.UNSUPPORTED
    if browses:
        (letter,) = done(url, "queue", "dead-letters", name)
        assert (letter["reason"], letter["error"], letter["value"]) == ("rejected", "no such address", "letter")
    else:
        assert "BROWSE_DEAD_LETTERS" in _refused(invoke(url, "queue", "dead-letters", name), 5)
    assert done(url, "queue", "redrive", name)["messages"] == (1 if browses else None)
    assert done(url, "queue", "redrive", name, "--yes")["messages"] == 1
    assert invoke(url, "consume", f"queue:{name}", "--max", "1").stdout == "letter\n"
    assert name in [row["queue"] for row in done(url, "queue", "list")]
    done(url, "queue", "purge", name)
    done(url, "queue", "delete", name, "--yes")


def test_what_is_missing_is_a_sentence(url: str, name: str) -> None:
    """Exit code 3 and where to look, for each noun; nothing is made by asking for it."""
    for words in (
        ("topic", "describe", name),
        ("topic", "delete", name, "--yes"),
        ("queue", "describe", name),
        ("exchange", "describe", name),
        ("group", "describe", name),
        ("consume", f"topic:{name}"),
        ("consume", f"queue:{name}"),
        ("copy", url, f"topic:{name}", "native:", "topic:x", "--create"),
    ):
        said = _refused(invoke(url, *words), 3)
        assert name in said
    assert "topic create" in _refused(invoke(url, "produce", f"topic:{name}", stdin=b"x\n"), 3)
    for noun in ("topic", "queue", "exchange"):
        assert name not in [row[noun] for row in done(url, noun, "list")]


def test_a_healthy_broker_passes_the_doctor(url: str) -> None:
    """Engine and version, what else it says about itself, and no failed check."""
    result = invoke(None, "doctor", url, form="json")
    assert result.exit_code == 0, result.stdout
    rows = {row["check"]: row["finding"] for row in json.loads(result.stdout)}
    assert any(char.isdigit() for char in rows["engine"])
    assert "capabilities" in rows


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("kafka://127.0.0.1:1", ("host and port",)),
        ("amqp://127.0.0.1:1/", ("host and port",)),
        ("amqp://guest:geheim@{rabbitmq}/", ("password",)),
        ("amqp://guest:guest@{rabbitmq}/no-such-host", ("virtual host", "vhost")),
    ],
)
def test_a_broker_that_lets_nobody_in_is_one_clear_line(rabbitmq_url: str, place: str, words: tuple[str, ...]) -> None:
    """Unreachable, a wrong password, no such virtual host: a failed check and what to do, and no traceback."""
    authority = rabbitmq_url.partition("@")[2].partition("/")[0]
    result = invoke(None, "doctor", place.format(rabbitmq=authority), form="json")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "geheim" not in result.output
    row = json.loads(result.stdout)[-1]
    assert (row["check"], row["status"]) == ("engine", "FAILED")
    assert any(word in row["what_to_do"] + row["finding"] for word in words), row
    code, _, said = finish(start(place.format(rabbitmq=authority), "topic", "list"))  # with what a logger would write
    assert code == 4
    assert [line.partition(":")[0] for line in said.splitlines()] == ["error", "try"]


def test_a_copy_ends_where_the_last_offsets_hold_no_record(kafka_url: str) -> None:
    """An aborted transaction and its marker are the last offsets: they never come, and the copy must not wait."""
    from confluent_kafka import Producer

    name = f"cli-{secrets.token_hex(4)}"
    server = kafka_url.partition("//")[2].partition("/")[0].partition("?")[0]
    with mq.connect(kafka_url) as bus, mq.connect(f"native:?name={name}") as target:
        bus.admin.ensure(mq.Topic(name))
        target.admin.ensure(mq.Topic(name))
        producer = Producer({"bootstrap.servers": server, "transactional.id": name})
        producer.init_transactions(20)
        for text, commit in (("kept", True), ("aborted", False)):
            producer.begin_transaction()
            producer.produce(name, text)
            producer.flush(20)
            producer.commit_transaction(20) if commit else producer.abort_transaction(20)
        result = done(None, "copy", kafka_url, f"topic:{name}", f"native:?name={name}", f"topic:{name}")
        assert result["records"] == 1
        assert [found.raw for found in target.replay(mq.Topic(name), mq.EARLIEST)] == [b"kept"]
        bus.admin.delete(mq.Topic(name))
