"""``mqbridge conformance``, as a user meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

import mqbridge as mq
from mqbridge_conformance import scenarios
from mqbridge_conformance.brokers import provided
from mqbridge_conformance.commands import conformance
from mqbridge_conformance.env import Env
from mqbridge_conformance.kills import command
from mqbridge_conformance.places import check_file, check_folder
from mqbridge_conformance.report import SLICE, read_document
from mqbridge_conformance.scenario import Run, Scenario, scenario
from tests.conformance.timelines.made import lost


def test_the_table_command_shows_the_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims and proofs of a whole run, the chosen rows alone; and the same of a run that was, without another."""
    some = tuple(one for one in scenarios.ALL if one.name in ("round-trip", "two-groups", "start-rules"))
    monkeypatch.setattr(scenarios, "ALL", some)
    done = CliRunner().invoke(conformance, ["table", "memory", "--slice"])
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]] == [row.value for row in SLICE]
    assert "| GROUPS | direct: PASS (round-trip, two-groups, start-rules) |" in rows
    run = str(tmp_path / "run.json")
    CliRunner().invoke(conformance, ["run", "memory", "--level", "full", "--json", run])
    monkeypatch.setattr(scenarios, "ALL", ())
    again = CliRunner().invoke(conformance, ["table", "--of", run, "--slice"])
    assert (again.exit_code, again.stdout) == (0, done.stdout)
    assert CliRunner().invoke(conformance, ["table", "memory", "--of", run]).exit_code == 2


def test_the_command_runs_what_is_named_and_shows_it() -> None:
    """Progress goes to standard error, the JSON alone to standard output, and the status is 0."""
    done = CliRunner().invoke(conformance, ["run", "memory", "--scenario", "round-trip", "--repeat", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert [row["verdict"] for row in json.loads(done.stdout)["results"]] == ["PASS", "PASS"]
    assert "native, memory: round-trip: PASS" in done.stderr


def test_the_command_ends_with_1_for_what_is_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that found a failure fails, whatever the shape of its output."""
    monkeypatch.setattr(mq.Capabilities, "need", lambda *_: None)
    done = CliRunner().invoke(conformance, ["run", "memory", "--scenario", "refusals"])
    assert done.exit_code == 1
    assert "FAIL refusals on native, memory" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "kafak://x"], "known: memory"),
        (["run", "--scenario", "ttl"], "message-ttl; `mqbridge conformance list`"),
    ],
)
def test_the_command_names_what_it_knows(args: list[str], words: str) -> None:
    """A wrong target or scenario is a usage error that lists the right ones."""
    done = CliRunner().invoke(conformance, args)
    assert done.exit_code == 2
    assert words in done.stderr


def test_the_command_lists_the_scenarios() -> None:
    """One line each, with what it shows."""
    done = CliRunner().invoke(conformance, ["list"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == [scenario.name for scenario in scenarios.ALL]


@pytest.mark.parametrize(
    "name",
    "list run table compare page judge saboteurs proofs differential restarts kills".split(),
)
def test_every_command_is_there(name: str) -> None:
    """Under one door, each with its help; what another command needs is not imported for it."""
    assert f"\n  {name} " in CliRunner().invoke(conformance, ["--help"]).stdout
    done = CliRunner().invoke(conformance, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert f"Usage: conformance {name}" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["proofs", "auto-ack"],
        ["proofs", "acks-1"],
        ["differential", "memory", "kafka"],
        ["restarts", "kafka"],
        ["saboteurs", "rabbitmq", "--saboteur", "M02"],
    ],
)
def test_a_broker_that_cannot_be_had_is_a_sentence(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, and the exit status that `mqbridge` has for what is unreachable."""
    monkeypatch.setattr(provided, "unavailable", lambda *_args, **_options: "no Docker")
    done = CliRunner().invoke(conformance, args)
    assert (done.exit_code, type(done.exception)) == (4, SystemExit)
    assert re.search(r"^Error: no (kafka|rabbitmq) (broker|cluster): no Docker$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "memory", "--json", "nowhere/run.json"], "nowhere/run.json cannot be written: No such file"),
        (["run", "memory", "--html", "nowhere/run.html"], "nowhere/run.html cannot be written"),
        (["run", "memory", "--junit", "."], ". cannot be written: Is a directory"),
        (["run", "memory", "--history", "/dev/null/kept"], "nothing can be written in /dev/null/kept"),
        (["run", "memory", "--patience", "0"], "--patience"),
        (["run", "memory", "--patience", "nan"], "'nan' is not a finite number"),
        (["run", "memory", "--patience", "inf"], "'inf' is not a finite number"),
        (["run", "memory", "--level", "soak", "--minutes", "nan"], "--minutes"),
        (["saboteurs", "memory", "--patience", "nan"], "--patience"),
        (["saboteurs", "memory", "--p", "nan"], "--p"),
        (["saboteurs", "memory", "--p", "1.5"], "--p"),
        (["saboteurs", "memory", "--tries", "0"], "--tries"),
        (["run", "memory", "--repeat", "0"], "--repeat"),
        (["page", "run.json", "--html", "nowhere/run.html"], "nowhere/run.html cannot be written"),
        (["saboteurs", "memory", "--results", "nowhere/results"], "nowhere/results cannot be written"),
        (["saboteurs", "memory", "--keep", "/dev/null/kept"], "nothing can be written in /dev/null/kept"),
        (["saboteurs", "memory", "--scenario", "nope"], "there is no scenario 'nope'"),
        (["saboteurs", "memory", "--saboteur", "M99"], "there is no 'M99'"),
        (["saboteurs", "nope"], "no conformance target for 'nope'"),
        (["proofs", "nope"], "there is no proof 'nope'"),
        (["differential", "memory", "nope"], "no conformance target for 'nope'"),
        (["restarts", "nope"], "'nope' is not one of"),
        (["kills", "--kills", "0"], "--kills"),
        (["kills", "--folder", "/dev/null/kept"], "nothing can be written in /dev/null/kept"),
    ],
)
def test_bad_usage_is_a_sentence_before_anything_runs(args: list[str], words: str, two_levels: list[str]) -> None:
    """With the exit status 2; above all where results would be lost at the end."""
    done = CliRunner().invoke(conformance, args)
    assert (done.exit_code, two_levels) == (2, [])
    assert words in done.stderr


WRONG_SABOTEURS = {
    "XX": "MQBRIDGE_SABOTEUR: there is no saboteur 'XX'; there are M01,",
    "M02:p=x": "MQBRIDGE_SABOTEUR: 'M02:p=x': a saboteur is CODE:p=PROBABILITY:seed=NUMBER, and 'p=x' is not of that:",
    "M02:p=7": "MQBRIDGE_SABOTEUR: 'M02:p=7': a saboteur has a code, and a probability above 0 and of at most 1",
    "M02:x": "MQBRIDGE_SABOTEUR: 'M02:x': a saboteur is CODE:p=PROBABILITY:seed=NUMBER, and 'x' is not of that:",
}


@pytest.mark.parametrize("text", WRONG_SABOTEURS)
@pytest.mark.parametrize("command_name", ["run", "table"])
def test_a_saboteur_that_is_none_is_a_sentence_before_anything_runs(
    text: str, command_name: str, two_levels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the environment, where each program of a run would meet it."""
    monkeypatch.setenv("MQBRIDGE_SABOTEUR", text)
    done = CliRunner().invoke(conformance, [command_name, "memory"])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert WRONG_SABOTEURS[text] in " ".join(done.stderr.split())
    assert two_levels == []


def test_a_place_that_can_be_written_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing is made of a file that is not there, and nothing is taken from one that is."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("kept")
    check_file(new)
    check_file(old)
    check_folder(tmp_path / "made")
    assert (new.exists(), old.read_text(), list((tmp_path / "made").iterdir())) == (False, "kept", [])


@pytest.fixture
def two_levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A quick scenario and a full one in place of the suite's; the names of those that ran."""
    ran: list[str] = []

    def toy(name: str, level: Run) -> Scenario:
        def body(env: Env) -> None:
            ran.append(name)
            env.check(True, "never false")

        return scenario(name, f"The {level} one", level=level)(body)

    monkeypatch.setattr(scenarios, "ALL", (toy("short", "quick"), toy("long", "full")))
    return ran


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], ["short"]),
        (["--level", "full"], ["short", "long"]),
        (["--scenario", "long"], ["long"]),
        (["--level", "quick", "--repeat", "2"], ["short", "short"]),
    ],
)
def test_a_level_chooses_the_scenarios(args: list[str], wanted: list[str], two_levels: list[str]) -> None:
    """The quick ones unless more is asked for; a full run has the quick ones too; a name is a name."""
    done = CliRunner().invoke(conformance, ["run", "memory", *args])
    assert done.exit_code == 0, done.output
    assert two_levels == wanted


def test_soaking_repeats_all_levels_with_new_seeds(tmp_path: Path, two_levels: list[str]) -> None:
    """Each round's seed is told as it begins, and every run is in the report."""
    path = tmp_path / "run.json"
    args = ["run", "memory", "--level", "soak", "--rounds", "2", "--seed", "5", "--json", str(path)]
    done = CliRunner().invoke(conformance, args)
    assert done.exit_code == 0, done.output
    assert two_levels == ["short", "long"] * 2
    assert [line for line in done.stderr.splitlines() if "seed" in line] == ["round 1, seed 5", "round 2, seed 6"]
    assert [row["seed"] for row in read_document(path)["results"]] == [5, 5, 6, 6]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--level", "soak"], "give --rounds or --minutes"),
        (["--level", "soak", "--rounds", "2", "--repeat", "2"], "in place of --repeat"),
        (["--rounds", "2"], "are for --level soak"),
        (["--level", "full", "--minutes", "2"], "are for --level soak"),
    ],
)
def test_how_long_to_soak_is_said_and_only_then(args: list[str], words: str, two_levels: list[str]) -> None:
    """Nothing runs for ever by default, and an option that would do nothing is refused."""
    done = CliRunner().invoke(conformance, ["run", "memory", *args])
    assert (done.exit_code, two_levels) == (2, [])
    assert words in done.stderr


def test_a_failure_says_how_to_have_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seed, and where its history is; the run ends with 1."""
    fails = scenario("fails", "Fails")(lambda env: env.check(False, "on purpose"))
    monkeypatch.setattr(scenarios, "ALL", (fails,))
    done = CliRunner().invoke(
        conformance, ["run", "memory", "--scenario", "fails", "--seed", "9", "--history", str(tmp_path)]
    )
    assert done.exit_code == 1
    assert "    again: --scenario fails --seed 9" in done.stdout
    (kept,) = tmp_path.iterdir()
    assert f"    history: {kept}" in done.stdout


def test_the_seed_is_told_where_it_was_not_given(two_levels: list[str]) -> None:
    """A run that nobody can repeat proves little."""
    done = CliRunner().invoke(conformance, ["run", "memory"])
    assert [line.split()[0] for line in done.stderr.splitlines()][:1] == ["seed"]


def test_an_interrupted_run_shows_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends with 130, for it is neither green nor a failure of the engine's."""

    def interrupt(_: Env) -> None:
        raise KeyboardInterrupt

    one = scenario("one", "Holds")(lambda env: env.check(True, ""))
    two = scenario("two", "Is interrupted")(interrupt)
    monkeypatch.setattr(scenarios, "ALL", (one, two))
    path = tmp_path / "run.json"
    done = CliRunner().invoke(conformance, ["run", "memory", "--json", str(path)])
    assert done.exit_code == 130
    assert "NOT RUN on native, memory: 1 of them (interrupted)" in done.stdout
    assert done.stdout.endswith("1 NOT RUN, 1 PASS\n")
    found = read_document(path)
    assert not found["run"]["green"]
    assert [row["scenario"] for row in found["not_run"]] == ["two"]


def test_interrupted_kills_say_where_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that nothing was judged; the seed was told before."""

    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupt)
    done = CliRunner().invoke(conformance, ["kills", "--seed", "5", "--folder", str(tmp_path)])
    assert done.exit_code == 130
    assert done.stderr == f"seed 5\ninterrupted, so nothing was judged; what was written down is in {tmp_path}\n"


def test_a_folder_of_kills_is_not_judged_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another run wrote down there would count for this one too."""
    monkeypatch.setattr(command, "run", lambda *_args, **_options: pytest.fail("it was run"))
    (tmp_path / "diaries").mkdir()
    done = CliRunner().invoke(conformance, ["kills", "--folder", str(tmp_path)])
    assert done.exit_code == 2
    assert "is that of another run" in " ".join(done.stderr.split())


def test_json_and_junit_go_to_files(tmp_path: Path, two_levels: list[str]) -> None:
    """And the matrix to standard output, as without them."""
    files = tmp_path / "run.json", tmp_path / "run.xml"
    done = CliRunner().invoke(
        conformance, ["run", "memory", "--level", "full", "--json", str(files[0]), "--junit", str(files[1])]
    )
    assert done.exit_code == 0, done.output
    assert "2 PASS" in done.stdout
    found = read_document(files[0])
    assert (found["run"]["level"], len(found["results"])) == ("full", 2)
    assert [case.get("name") for case in ET.parse(files[1]).iter("testcase")] == ["short", "long"]


def test_a_page_is_made_of_a_run_and_of_files_of_runs(tmp_path: Path, two_levels: list[str]) -> None:
    """At once, and later from the JSON of several: the same page for the same run."""
    at_once, later, both = (tmp_path / name for name in ("at_once.html", "later.html", "both.html"))
    run = str(tmp_path / "run.json")
    CliRunner().invoke(conformance, ["run", "memory", "--json", run, "--html", str(at_once)])
    for files, page in (([run], later), ([run, run], both)):
        done = CliRunner().invoke(conformance, ["page", *files, "--html", str(page)])
        assert done.exit_code == 0, done.output
    assert at_once.read_text().startswith("<!doctype html>")
    assert later.read_text() == at_once.read_text()
    assert "Run 2" in both.read_text()


def test_a_target_is_not_taken_for_the_file_of_json(tmp_path: Path, two_levels: list[str]) -> None:
    """``run --json memory`` would run on another target and write a file called memory."""
    done = CliRunner().invoke(conformance, ["run", "--json", "memory"])
    assert done.exit_code == 2
    assert "'memory' is a target: put --json last, or say --json=FILE" in done.stderr
    assert two_levels == []


def test_two_runs_are_compared(tmp_path: Path, two_levels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is 1 where something got worse, and 0 where nothing did."""
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file, level in zip(files, ("full", "quick"), strict=True):
        CliRunner().invoke(conformance, ["run", "memory", "--level", level, "--json", file])
    worse = CliRunner().invoke(conformance, ["compare", *files])
    assert worse.exit_code == 1
    assert "gone      long on native, memory: was PASS, did not run" in worse.stdout
    better = CliRunner().invoke(conformance, ["compare", *reversed(files)])
    assert (better.exit_code, "new       long on native, memory: PASS" in better.stdout) == (0, True)


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_file_that_cannot_be_read_is_a_usage_error(content: str | None, tmp_path: Path) -> None:
    """Not there, or no report: said by its name."""
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    for args in (["compare", str(path), str(path)], ["page", str(path), "--html", str(tmp_path / "page.html")]):
        done = CliRunner().invoke(conformance, args)
        assert done.exit_code == 2
        assert str(path) in done.stderr


def test_a_history_that_was_kept_is_judged_again(tmp_path: Path) -> None:
    """Each checker's word with what it looked at, each finding with its timeline; 1 if one is not valid."""
    bad = tmp_path / "bad.jsonl"
    history, _ = lost()
    history.save(bad)
    done = CliRunner().invoke(conformance, ["judge", str(bad)])
    assert done.exit_code == 1, done.output
    assert "invalid" in done.stdout
    assert "p1#3" in done.stdout
    assert any(line.startswith("*") for line in done.stdout.splitlines())
    for path, content in ((tmp_path / "absent.jsonl", None), (tmp_path / "torn.jsonl", "{}\n{}\n")):
        if content:
            path.write_text(content)
        done = CliRunner().invoke(conformance, ["judge", str(path)])
        assert (done.exit_code, path.name in done.stderr) == (2, True)


def test_a_folder_of_histories_is_judged_one_by_one(tmp_path: Path) -> None:
    """As ``run --history`` keeps them: two runs are not one; and in an empty folder nothing was shown."""
    empty, kept = tmp_path / "empty", tmp_path / "kept"
    empty.mkdir()
    names = ("round-trip", "two-groups")
    args = [word for name in names for word in ("--scenario", name)]
    assert CliRunner().invoke(conformance, ["run", "memory", *args, "--history", str(kept)]).exit_code == 0
    done = CliRunner().invoke(conformance, ["judge", str(kept)])
    assert done.exit_code == 0, done.output
    assert [line for line in done.stdout.splitlines() if line.endswith(".jsonl:")] == [
        f"{file.name}:" for file in sorted(kept.iterdir())
    ]
    assert len(list(kept.iterdir())) == 2
    done = CliRunner().invoke(conformance, ["judge", str(empty)])
    assert done.exit_code == 1
    assert "nothing in it was looked at, so it shows nothing" in done.stderr


def test_a_wrong_url_takes_no_result_of_others_away(tmp_path: Path, two_levels: list[str]) -> None:
    """What was wrong with it is told, its scenarios are UNKNOWN, the others have run, and all is written."""
    file = tmp_path / "run.json"
    url = "kafkas://me:secret@h:1?ca=nowhere.pem"
    done = CliRunner().invoke(conformance, ["run", url, "amqp://h:99999", "memory", "--json", str(file)])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    found = read_document(file)
    assert {row["target"]: row["verdict"] for row in found["results"]} == {
        "kafka, h:1": "UNKNOWN",
        "rabbitmq, h:99999": "UNKNOWN",
        "native, memory": "PASS",
    }
    assert "secret" not in file.read_text()
    assert two_levels == ["short"]


def test_a_broker_that_is_not_there_is_told_once(two_levels: list[str]) -> None:
    """Not once a scenario, each after its time; beside it the others run."""
    url = "amqp://127.0.0.1:1/"
    done = CliRunner().invoke(conformance, ["run", url, "memory", "--level", "full"])
    assert done.exit_code == 1
    told = "the target could not be used: Unreachable: RabbitMQ at 127.0.0.1:1 cannot be reached"
    assert done.stderr.count(told) == 1
    assert "UNKNOWN on rabbitmq, 127.0.0.1:1: 2 of them, for it could not be used: Unreachable" in done.stdout
    assert done.stdout.endswith("2 UNKNOWN, 2 PASS\n")
    assert two_levels == ["short", "long"]
