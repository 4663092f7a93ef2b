"""produce and consume, in this process and in pipes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

import mqbridge as mq
from tests.cli.running import done, finish, invoke, start, wait_until

NASTY = [b"", b"\x00\xff\r", b"plain", "zażółć".encode(), bytes(range(10)) + bytes(range(11, 256))]


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"native:{tmp_path}/data"
    with mq.connect(url) as bus:
        bus.admin.ensure(mq.Topic("t", partitions=1), mq.Topic("u", partitions=1), mq.Topic("p", partitions=3))
        bus.admin.ensure(mq.Queue("q"))
    return url


def test_lines_come_back_as_they_were(url: str) -> None:
    """A line is bytes up to its line break, of any encoding, the empty one and the last without a break included."""
    sent = b"\n".join(NASTY)
    result = invoke(url, "produce", "topic:t", stdin=sent)
    assert result.exit_code == 0
    assert f"{len(NASTY)} messages confirmed by topic:t" in result.stderr
    assert invoke(url, "consume", "topic:t").stdout_bytes == sent + b"\n"


def test_everything_survives_a_pipe_of_json(url: str) -> None:
    """consume --output jsonl into produce --json keeps value, null, key, headers, timestamp and message id."""
    with mq.connect(url) as bus, bus.producer() as producer:
        headers = [("a", b"1"), ("b", b"\xff"), ("a", b"2")]
        for value in [*NASTY, None, b"two\nlines"]:
            producer.send(mq.Topic("t"), value, key=b"\xfe", headers=headers, message_id="i")
        producer.send(mq.Topic("t"), b"no key, empty header", headers={"": b""})
    reading = start(url, "consume", "topic:t", "--output", "jsonl")
    lines = finish(reading)[1]
    code, _, said = finish(start(url, "produce", "topic:u", "--json", stdin=subprocess.PIPE), lines)
    assert code == 0, said
    one, other = (done(None, "digest", url, f"topic:{name}") for name in "tu")
    assert one.pop("place") != other.pop("place")
    assert one == other
    assert one["records"] == len(NASTY) + 3


def test_keys_and_headers_from_the_line(url: str) -> None:
    """--key-separator splits at its first place; a line without it has no key, which is not an empty one."""
    words = ("--key-separator", ":", "--header", "h=1", "--header", "h=2")
    assert invoke(url, "produce", "topic:t", *words, stdin=b"a:b:c\n:d\nplain\n").exit_code == 0
    found = [json.loads(line) for line in invoke(url, "consume", "topic:t", form="jsonl").stdout.splitlines()]
    assert [(item["key"], item["value"]) for item in found] == [("a", "b:c"), ("", "d"), (None, "plain")]
    assert found[0]["headers"] == [["h", "1"], ["h", "2"]]
    assert invoke(url, "consume", "topic:t", "--key-separator", ":").stdout == "a:b:c\n:d\n:plain\n"


def test_producing_stops_at_a_line_that_is_no_record(url: str) -> None:
    """What was before it is confirmed and counted, what follows is not read, the line is named, the exit code is 1."""
    result = invoke(url, "produce", "topic:t", "--json", stdin=b'{"value": "a"}\n{"valeu": "b"}\n{"value": "c"}\n')
    assert result.exit_code == 1
    assert "1 message confirmed" in result.stderr
    assert "1 line failed" in result.stderr
    assert "mend line 2" in result.stderr
    assert "line 2" in result.stderr
    assert invoke(url, "consume", "topic:t").stdout == "a\n"


def test_a_send_that_fails_is_counted_and_fails_the_command(url: str) -> None:
    """A full queue rejects: the command says how many were confirmed, and exits with 1."""
    assert invoke(url, "queue", "create", "small", "--max-length", "2").exit_code == 0
    result = invoke(url, "produce", "queue:small", stdin=b"a\nb\nc\n")
    assert result.exit_code == 1
    assert "2 messages confirmed by queue:small" in result.stderr
    assert "line 3" in result.stderr
    assert "make room" in result.stderr
    assert f"--url {url} consume queue:small" in result.stderr
    assert "mend line" not in result.stderr


def test_lines_without_the_separator_are_counted(url: str) -> None:
    """A null key that nobody asked for is told once, with how many; nothing is said when there is none."""
    words = ("produce", "topic:t", "--key-separator", ":")
    said = invoke(url, *words, stdin=b"plain\na:b\nplain\n").stderr
    assert "2 lines had no separator ':'" in said
    assert said.count("separator") == 1
    assert "separator" not in invoke(url, *words, stdin=b"a:b\n:c\n").stderr


def test_producing_to_what_is_not_there_creates_nothing(url: str) -> None:
    """Exit code 3, and no topic."""
    assert invoke(url, "produce", "topic:none", stdin=b"x\n").exit_code == 3
    assert {row["topic"] for row in done(url, "topic", "list")} == {"t", "u", "p"}


def test_an_exchange_takes_a_routing_key(url: str) -> None:
    """Routed to the queue that is bound, and shown with its routing key; unroutable is a failure."""
    invoke(url, "exchange", "create", "e", "--type", "topic")
    invoke(url, "exchange", "bind", "e", "queue:q", "--key", "a.#")
    assert invoke(url, "produce", "exchange:e", "--routing-key", "a.b", stdin=b"x\n").exit_code == 0
    assert invoke(url, "produce", "exchange:e", "--routing-key", "b", stdin=b"y\n").exit_code == 1
    (line,) = invoke(url, "consume", "queue:q", form="jsonl").stdout.splitlines()
    assert json.loads(line)["routing_key"] == "a.b"


def test_places_to_begin(url: str) -> None:
    """earliest, latest, an offset in a partition, the last N of each, and a time."""
    with mq.connect(url) as bus, bus.producer(partitioner=lambda _t, _k, value, _n: int(value or b"0")) as producer:
        for value in (b"0", b"1", b"2", b"0", b"1"):
            producer.send(mq.Topic("p"), value)

    def read(*words: str) -> list[str]:
        result = invoke(url, "consume", "topic:p", *words)
        assert result.exit_code == 0, result.output
        return sorted(result.stdout.split())

    assert read() == read("--from", "earliest") == read("--from", "-1h") == ["0", "0", "1", "1", "2"]
    assert read("--from", "latest") == read("--from", "2999-01-01") == []
    assert read("--from", "-1") == ["0", "1", "2"]
    assert read("--partition", "1") == ["1", "1"]
    assert read("--partition", "1", "--from", "1") == ["1"]
    assert read("--partition", "2", "--from", "latest") == []
    assert len(read("--max", "2")) == 2
    assert invoke(url, "consume", "topic:p", "--from", "1").exit_code == 2
    assert invoke(url, "consume", "topic:p", "--partition", "7").exit_code == 3


def test_a_group_goes_on_where_it_was(url: str) -> None:
    """--group commits what was printed, no more: --max 2 leaves the third for the next run."""
    invoke(url, "produce", "topic:t", stdin=b"1\n2\n3\n")
    assert invoke(url, "consume", "topic:t", "--group", "g", "--max", "2").stdout == "1\n2\n"
    assert invoke(url, "consume", "topic:t", "--group", "g").stdout == "3\n"
    assert invoke(url, "consume", "topic:t", "--group", "g").stdout == ""
    assert invoke(url, "consume", "topic:t", "--group", "new", "--from", "latest").stdout == ""


def test_a_place_that_has_no_effect_is_told(url: str) -> None:
    """--from does not move a group that has offsets; said where it is so, and only there."""
    invoke(url, "produce", "topic:t", stdin=b"1\n")
    assert "committed" not in invoke(url, "consume", "topic:t", "--group", "g", "--from", "earliest").stderr
    again = invoke(url, "consume", "topic:t", "--group", "g", "--from", "latest")
    assert again.exit_code == 0
    assert "group g goes on at its committed offsets" in again.stderr
    assert "committed" not in invoke(url, "consume", "topic:t", "--group", "g").stderr


def test_an_offset_beyond_the_end_is_told(url: str) -> None:
    """Nothing printed and code 0 must not look like an empty partition; the end itself is no mistake."""
    invoke(url, "produce", "topic:t", stdin=b"1\n")
    beyond = invoke(url, "consume", "topic:t", "--from", "999", "--partition", "0")
    assert (beyond.exit_code, beyond.stdout) == (0, "")
    assert "partition 0 of topic:t ends at 1: there is nothing from 999 on" in beyond.stderr
    assert invoke(url, "consume", "topic:t", "--from", "1").stderr == ""


def test_a_missing_partition_leads_to_those_there_are(url: str) -> None:
    """The topic exists: it is described, not created."""
    said = invoke(url, "consume", "topic:t", "--partition", "9").stderr
    assert "has 1 partition," in said
    assert f"mqbridge --url {url} topic describe t" in said
    assert "topic create" not in said


def test_a_queue_keeps_what_was_not_asked_for(url: str) -> None:
    """--max N takes N; the rest stays, without an attempt counted."""
    invoke(url, "produce", "queue:q", stdin=b"1\n2\n3\n")
    assert invoke(url, "consume", "queue:q", "--max", "2").stdout == "1\n2\n"
    (line,) = invoke(url, "consume", "queue:q", form="jsonl").stdout.splitlines()
    assert json.loads(line)["value"] == "3"
    assert json.loads(line)["attempt"] == 1
    assert done(url, "queue", "describe", "q")["ready"] == 0


def test_json_is_one_document(url: str) -> None:
    """--output json is an array, also when there is nothing in it."""
    assert json.loads(invoke(url, "consume", "topic:t", form="json").stdout) == []
    invoke(url, "produce", "topic:t", stdin=b"1\n2\n")
    assert [item["value"] for item in json.loads(invoke(url, "consume", "topic:t", form="json").stdout)] == ["1", "2"]


def test_a_null_is_told_from_an_empty_value(url: str) -> None:
    """Text cannot show it, so it is said on stderr; jsonl shows null."""
    with mq.connect(url) as bus, bus.producer() as producer:
        producer.send(mq.Topic("t"), None)
    result = invoke(url, "consume", "topic:t")
    assert result.stdout == "\n"
    assert "1 null values" in result.stderr
    assert json.loads(invoke(url, "consume", "topic:t", form="jsonl").stdout)["value"] is None


def test_options_that_contradict_are_refused(url: str) -> None:
    """Exit code 2 and a sentence, before anything is sent or read."""
    for words in (
        ("produce", "topic:t", "--json", "--key", "k"),
        ("consume", "queue:q", "--from", "latest"),
        ("consume", "queue:q", "--group", "g"),
        ("consume", "topic:t", "--group", "g", "--partition", "0"),
        ("consume", "exchange:e"),
    ):
        assert invoke(url, *words).exit_code == 2


def test_a_closed_pipe_ends_quietly_and_loses_nothing(url: str) -> None:
    """`consume queue | head`: no traceback, and each message was printed or is still in the queue."""
    values = [b"%06d" % number + b"x" * 500 for number in range(2000)]
    with mq.connect(url) as bus, bus.producer() as producer:
        for value in values:
            producer.send(mq.Queue("q"), value)
    reading = start(url, "consume", "queue:q")
    assert reading.stdout is not None
    printed = reading.stdout.read(2000)
    reading.stdout.close()
    assert reading.stderr is not None
    said = reading.stderr.read()
    reading.stderr.close()
    assert reading.wait(30) == 0
    assert said == b""
    rest = invoke(url, "consume", "queue:q").stdout.encode().split()
    # What lay in the pipe when it was closed was printed: at most its capacity.
    missing = len(values) - len(set(rest) | set(printed.split()))
    assert 0 <= missing <= (1 << 16) // 500 + 100
    assert values[-1] in rest


def test_a_pipe_that_is_closed_before_the_first_message_takes_none(url: str) -> None:
    """Nothing could be printed, so nothing is acked."""
    invoke(url, "produce", "queue:q", stdin=b"1\n2\n3\n")
    reading = start(url, "consume", "queue:q")
    assert reading.stdout is not None
    reading.stdout.close()
    reading.stdout = None
    assert finish(reading) == (0, None, "")
    assert done(url, "queue", "describe", "q")["ready"] == 3


def test_following_sees_what_comes_and_ends_at_the_first_signal(url: str) -> None:
    """--follow waits for more; SIGINT ends it with 130, and no traceback."""
    invoke(url, "produce", "topic:t", stdin=b"before\n")
    following = start(url, "consume", "topic:t", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == b"before\n"
    assert invoke(url, "produce", "topic:t", stdin=b"after\n").exit_code == 0
    assert following.stdout.readline() == b"after\n"
    following.send_signal(signal.SIGINT)
    code, _, said = finish(following)
    assert code == 130
    assert "Traceback" not in said


def test_an_interrupted_producer_says_what_was_confirmed(url: str) -> None:
    """SIGINT while it waits for a line: what was read is confirmed, the exit code is 130."""
    producing = start(url, "produce", "topic:t", stdin=subprocess.PIPE)
    assert producing.stdin is not None
    producing.stdin.write(b"1\n2\n")
    producing.stdin.flush()
    wait_until(lambda: invoke(url, "consume", "topic:t").stdout == "1\n2\n", "both lines sent")
    producing.send_signal(signal.SIGINT)
    assert producing.wait(30) == 130  # while stdin is still open: it is the signal that ends it
    _, _, said = finish(producing)
    assert "2 messages confirmed" in said
    assert "Traceback" not in said
