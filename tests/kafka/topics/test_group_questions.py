"""The process that asks about groups: whatever becomes of it, ours goes on."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

import mqbridge as mq
import mqbridge_kafka.group_process
from mqbridge_kafka.group_questions import GroupQuestions
from tests.kafka.topics.raw import Raw, fresh

SCRIPTED = """
import os, signal, sys, json
config = json.loads(sys.stdin.readline())
for line in sys.stdin:
    what, *arguments = json.loads(line)
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    answer = {"error": [-185, "late"]} if what == "fail" else {"answer": [config, arguments, os.getpid()]}
    print(json.dumps(answer), flush=True)
"""
FATAL_TO_ASK = {
    "list_consumer_groups",
    "describe_consumer_groups",
    "list_consumer_group_offsets",
    "alter_consumer_group_offsets",
    "delete_consumer_groups",
}


@pytest.fixture
def questions() -> Any:
    made = GroupQuestions({"sasl.password": "hidden", "logger": object()}, (sys.executable, "-c", SCRIPTED))
    yield made
    made.close(lambda _result, _error: None)


@pytest.mark.parametrize(("changes", "outcome"), [(False, "not_applied"), (True, "unknown")])
def test_a_process_that_dies_is_a_lost_connection_and_the_next_question_starts_another(
    questions: GroupQuestions, changes: bool, outcome: str
) -> None:
    """A signal that ends the process is ConnectionLost, by its outcome as careful as the question; then it goes on."""
    first = questions.ask("look")[2]
    with pytest.raises(mq.ConnectionLost, match="ended with -11") as lost:
        questions.ask("die", changes=changes)
    assert lost.value.outcome == outcome
    assert questions.ask("look")[2] not in (first, os.getpid())


def test_the_process_is_kept_and_its_errors_are_the_clients(questions: GroupQuestions) -> None:
    """One process serves all questions; an error of the client arrives by its code."""
    assert questions.ask("look")[2] == questions.ask("look")[2]
    with pytest.raises(KafkaException) as failed:
        questions.ask("fail")
    assert failed.value.args[0].name() == "_TIMED_OUT"


def test_a_password_is_on_no_command_line(questions: GroupQuestions) -> None:
    """The configuration goes through the input; what cannot be written stays here."""
    config, _, pid = questions.ask("look")
    assert config == {"sasl.password": "hidden"}
    assert b"hidden" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_closed_it_starts_nothing_more(questions: GroupQuestions) -> None:
    """close() ends the process, and a question after it is refused."""
    pid = questions.ask("look")[2]
    questions.close(lambda _result, _error: None)
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(mq.Closed):
        questions.ask("look")


def test_only_that_process_asks_what_can_end_one() -> None:
    """What the AdminClient asks of a group's coordinator is asked nowhere else in the engine."""
    folder = Path(mqbridge_kafka.group_process.__file__).parent
    asking = {
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in FATAL_TO_ASK
    }
    assert asking == {"group_process.py"}


def test_groups_are_described_while_their_process_is_killed(bus: mq.Bus, raw: Raw) -> None:
    """Killed between and under questions, the process is replaced; a group of the broker's protocol reads as one."""
    topic, group = raw.topic(partitions=2), fresh("g")
    with bus.consumer(topic, group=group, start=mq.EARLIEST, rebalance="server") as consumer:
        consumer.wait_assigned(20)
        asking = bus._connection.admin._groups._questions  # type: ignore[attr-defined]
        for _ in range(3):
            found = bus.admin.describe_group(group)
            assert (found.state, found.protocol) == ("stable", "server")
            assert found.members[0].assignment == ((topic.name, 0), (topic.name, 1))
            assert found.committed == {(topic.name, 0): 0, (topic.name, 1): 0}
            process = asking._process
            process.kill()  # not waited for: the next question finds it dead or dying
        assert group in {summary.group for summary in bus.admin.list_groups()}
