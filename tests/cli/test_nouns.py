"""Topics, queues, exchanges and groups from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
from mqbridge.cli import output
from tests.cli.running import done, invoke


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder with a topic of five records, a queue with two messages and a dead letter, an exchange and a group."""
    url = f"native:{tmp_path}/data"
    with mq.connect(url) as bus:
        topic, exchange = mq.Topic("orders", partitions=2), mq.Exchange("events")
        queue = mq.Queue("emails", max_attempts=1)
        bus.admin.ensure(topic, queue, exchange, mq.Binding(exchange, queue, key="mail"))
        with bus.producer() as producer:
            for number in range(5):
                producer.send(topic, b"order %d" % number, key=b"k%d" % number)
            for text in (b"dead", b"one", b"two"):
                producer.send(queue, text)
        with bus.consumer(queue, prefetch=1) as consumer:
            consumer.poll(max_messages=1)[0].reject("no such address")
        with bus.consumer(topic, group="billing", start=mq.EARLIEST) as grouped:
            for delivery in grouped.stream(idle_timeout_s=0.3):
                delivery.ack()
    return url


def _everything(url: str) -> Any:
    """What a destructive command could change."""
    with mq.connect(url) as bus:
        group = bus.admin.describe_group("billing") if bus.admin.list_groups() else None
        return (
            sorted((t.name, str(bus.admin.offsets(t))) for t in bus.admin.list_topics()),
            sorted((q.name, bus.admin.depth(q)) for q in bus.admin.list_queues()),
            sorted((e.name, str(bus.admin.describe(e))) for e in bus.admin.list_exchanges()),
            None if group is None else sorted(group.committed.items()),
        )


DESTRUCTIVE = [
    ("topic", "delete", "orders"),
    ("topic", "delete-records", "orders", "--before-time", "2999-01-01T00:00:00Z"),
    ("topic", "delete-records", "orders", "--before", "1", "--partition", "0"),
    ("queue", "delete", "emails"),
    ("queue", "purge", "emails"),
    ("queue", "redrive", "emails"),
    ("exchange", "delete", "events"),
    ("group", "reset", "billing", "orders", "--to", "earliest"),
    ("group", "delete", "billing"),
]


@pytest.mark.parametrize("words", DESTRUCTIVE, ids=" ".join)
def test_a_destructive_verb_is_a_dry_run_unless_yes(url: str, words: tuple[str, ...]) -> None:
    """Without --yes nothing changes and the plan is shown; with it the same plan is carried out."""
    before = _everything(url)
    dry = invoke(url, *words, form="json")
    assert dry.exit_code == 0
    assert "dry run" in dry.stderr
    assert _everything(url) == before
    real = invoke(url, *words, "--yes", form="json")
    assert real.exit_code == 0, real.output
    assert "dry run" not in real.stderr
    assert _everything(url) != before
    plan, deed = json.loads(dry.stdout), json.loads(real.stdout)
    assert (plan.pop("applied"), deed.pop("applied")) == (False, True)
    assert plan == deed


def test_a_topic_from_birth_to_description(tmp_path: Path) -> None:
    """create, list, describe, offsets and add-partitions say what they did, and creating twice is harmless."""
    url = f"native:{tmp_path}/data"
    made = done(url, "topic", "create", "t", "--partitions", "3", "--retention-age", "7d", "--retention-bytes", "1MiB")
    assert made["created"] is True
    assert made["max_age_s"] == 604_800
    assert made["max_bytes"] == 1 << 20
    assert done(url, "topic", "create", "t", "--partitions", "3")["created"] is False
    assert invoke(url, "topic", "create", "t", "--partitions", "4").exit_code == 3
    assert done(url, "topic", "add-partitions", "t", "4")["partitions"] == 4
    assert [row["partition"] for row in done(url, "topic", "describe", "t")["partitions"]] == [0, 1, 2, 3]
    assert [row["end"] for row in done(url, "topic", "offsets", "t")] == [0, 0, 0, 0]
    assert [row["topic"] for row in done(url, "topic", "list")] == ["t"]


def test_a_queue_with_its_limits(tmp_path: Path) -> None:
    """Every option of create reaches the queue, and describe shows it."""
    url = f"native:{tmp_path}/data"
    words = "--max-attempts 3 --message-ttl 1h --max-length 10 --max-bytes 1MiB --max-priority 5 --retry-delay 2s"
    made = done(url, "queue", "create", "q", *words.split(), "--overflow", "drop-head")
    assert made["dead_letter"] == "q.dlq"
    shown = done(url, "queue", "describe", "q")
    assert shown["max_attempts"] == 3
    assert shown["message_ttl_s"] == 3600
    assert shown["max_length"] == 10
    assert shown["max_bytes"] == 1 << 20
    assert shown["max_priority"] == 5
    assert shown["retry_delay_s"] == 2
    assert shown["overflow"] == "drop-head"
    assert invoke(url, "queue", "create", "q2", "--max-attempts", "3", "--no-dead-letter").exit_code == 2


def test_dead_letters_are_seen_and_redriven(url: str) -> None:
    """The dead letter shows why it died; redrive puts back the one with that token."""
    (letter,) = done(url, "queue", "dead-letters", "emails")
    assert letter["reason"] == "rejected"
    assert letter["error"] == "no such address"
    assert letter["value"] == "dead"
    assert done(url, "queue", "redrive", "emails", "--token", "999999")["messages"] == 0
    assert done(url, "queue", "redrive", "emails", "--token", str(letter["token"]), "--yes")["messages"] == 1
    assert done(url, "queue", "dead-letters", "emails") == []


def test_bindings_come_and_go(url: str) -> None:
    """bind, describe and unbind name a binding by all that it says."""
    assert invoke(url, "exchange", "create", "heads", "--type", "headers").exit_code == 0
    words = ("heads", "queue:emails", "--header", "a=1", "--match", "any")
    assert invoke(url, "exchange", "bind", *words).exit_code == 0
    shown = done(url, "exchange", "describe", "heads")["bindings"]
    assert shown == [{"destination": "queue:emails", "key": "", "headers": {"a": "1"}, "match": "any"}]
    counts = {row["exchange"]: row["bindings"] for row in done(url, "exchange", "list")}
    assert counts == {"events": 1, "heads": 1}
    assert "no such binding" in invoke(url, "exchange", "unbind", "heads", "queue:emails").stderr
    assert "unbound" in invoke(url, "exchange", "unbind", *words).stderr
    assert done(url, "exchange", "describe", "heads")["bindings"] == []


def test_a_group_is_described_and_moved(url: str) -> None:
    """describe adds the lag up; reset to an offset moves one partition and leaves the others where they are."""
    assert [row["group"] for row in done(url, "group", "list")] == ["billing"]
    shown = done(url, "group", "describe", "billing")
    assert shown["lag_messages"] == 0
    ends = {row["partition"]: row["committed"] for row in shown["offsets"]}
    done(url, "group", "reset", "billing", "orders", "--to", "1", "--partition", "1", "--yes")
    moved = {row["partition"]: row["committed"] for row in done(url, "group", "describe", "billing")["offsets"]}
    assert moved == {0: ends[0], 1: 1}
    done(url, "group", "reset", "billing", "orders", "--to", "-1", "--yes")
    assert done(url, "group", "describe", "billing")["lag_messages"] == sum(1 for end in ends.values() if end)


def test_a_group_with_members_is_not_reset(url: str) -> None:
    """Refused, with exit code 1, while somebody consumes: also with --yes."""
    with mq.connect(url) as bus, bus.consumer(mq.Topic("orders"), group="billing", start=mq.EARLIEST) as consumer:
        consumer.wait_assigned()
        result = invoke(url, "group", "reset", "billing", "orders", "--to", "earliest", "--yes")
        assert result.exit_code == 1
        assert "group describe billing" in result.stderr
        assert invoke(url, "group", "delete", "billing", "--yes").exit_code == 1


@pytest.mark.parametrize("noun", ["topic", "queue", "exchange", "group"])
def test_an_empty_list_is_empty_data(tmp_path: Path, noun: str) -> None:
    """Programs get an empty list; a person is told, on stderr."""
    url = f"native:{tmp_path}/data"
    with mq.connect(url):
        pass
    assert invoke(url, noun, "list", form="json").stdout == "[]\n"
    assert invoke(url, noun, "list", form="jsonl").stdout == ""
    shown = invoke(url, noun, "list")
    assert shown.stdout == ""
    assert "no " in shown.stderr


def test_a_table_in_a_pipe_is_aligned_text(url: str) -> None:
    """One line a row, columns aligned, no escape codes: for people and for awk."""
    lines = invoke(url, "topic", "list").stdout.splitlines()
    assert lines[0].split()[:2] == ["topic", "partitions"]
    assert lines[1].split()[:3] == ["orders", "2", "5"]
    assert "\x1b" not in "".join(lines)


def test_a_message_cannot_move_the_cursor(url: str) -> None:
    """Control characters of a value are shown, not obeyed."""
    with mq.connect(url) as bus:
        queue = mq.Queue("nasty", max_attempts=1)
        bus.admin.ensure(queue)
        with bus.producer() as producer:
            producer.send(queue, b"\x1b[2Jboo\n")
        with bus.consumer(queue) as consumer:
            consumer.poll()[0].reject("x")
    shown = invoke(url, "queue", "dead-letters", "nasty").stdout
    assert "\x1b" not in shown
    assert "\\x1b[2Jboo\\n" in shown


@pytest.mark.parametrize(("seconds", "text"), [(0.5, "0.5s"), (90, "1m30s"), (604_800, "7d"), (3600, "1h")])
def test_durations_for_people(seconds: float, text: str) -> None:
    """As they are typed."""
    assert output.duration(seconds) == text


def test_the_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal rich draws; with NO_COLOR without any escape code."""
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    output.Output(None).rows(("topic", "partitions"), [("orders", 3)], empty="")
    drawn = capsys.readouterr().out
    assert "orders" in drawn
    assert "─" in drawn
    assert "\x1b" not in drawn
