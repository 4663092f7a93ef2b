"""The kill matrix: a kill is a failure by the right name, after a strike, of a scenario that holds otherwise."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CheckFailed
from mqbridge_conformance.saboteurs import SABOTEURS, Saboteur, command, matrix, showing
from mqbridge_conformance.saboteurs.command import teeth
from mqbridge_conformance.saboteurs.matrix import UNBROKEN, Fate, Matrix, Trial, read, resume, trials, write
from mqbridge_conformance.saboteurs.strikes import EVERY
from mqbridge_conformance.scenario import Scenario, scenario
from mqbridge_conformance.targets import Target, targets_for

RUN = Trial("t", "s", "M02", 1.0, 0, "FAIL", ("lost",), 3, 0.1, "")


def memory() -> list[Target]:
    return targets_for("memory")


def sends(env: Env, count: int, anomaly: str, look: bool = True) -> None:
    topic = env.topic()
    with env.bus.producer() as producer:
        for number in range(count):
            producer.send(topic, b"%d" % number).result(10)
    if look:
        env.equal(len(env.observer.records(topic.name)), count, "what is stored", anomaly)
    env.check(True, "")


@scenario("names-it", "finds a loss by its name")
def names_it(env: Env) -> None:
    sends(env, 3, "lost-write")


@scenario("sees-it", "finds a loss by no name")
def sees_it(env: Env) -> None:
    sends(env, 3, "")


@scenario("looks-away", "does not look")
def looks_away(env: Env) -> None:
    sends(env, 3, "", look=False)


@scenario("sends-nothing", "gives no opportunity")
def sends_nothing(env: Env) -> None:
    sends(env, 0, "lost-write")


@scenario("fails-anyway", "fails without anybody's help")
def fails_anyway(env: Env) -> None:
    raise CheckFailed("it always does", "lost-write")


SCENARIOS: list[Scenario] = [names_it, sees_it, looks_away, sends_nothing, fails_anyway]


def test_each_fate_is_told_from_the_others() -> None:
    """Of five scenarios one kills, one notices, one is survived, one gives no opportunity, one proves nothing."""
    m02 = [SABOTEURS["M02"]]
    found = Matrix(trials(memory, SCENARIOS, m02, patience_s=1.0), SCENARIOS, m02)
    fates = [found.fate("M02", each.name) for each in SCENARIOS]
    # The checkers judge the histories of these too: where nobody looked, they may find it all the same.
    assert fates[0] is Fate.KILLED
    assert fates[1] in (Fate.NOTICED, Fate.KILLED)
    assert fates[2] in (Fate.SURVIVED, Fate.UNKNOWN, Fate.KILLED)
    assert fates[3:] == [Fate.IDLE, None]
    assert found.unbroken["fails-anyway"].verdict == "FAIL"
    assert "sends-nothing" in found.toothless()
    assert "fails-anyway" in found.toothless()


def test_a_kill_takes_a_strike_a_failure_and_the_name() -> None:
    """Without one of the three it is something else."""
    assert RUN.fate is Fate.KILLED
    assert replace(RUN, strikes=0).fate is Fate.IDLE
    assert replace(RUN, verdict="UNKNOWN").fate is Fate.UNKNOWN
    assert replace(RUN, verdict="PASS-EMULATED").fate is Fate.SURVIVED
    assert replace(RUN, anomalies=("duplicate",)).fate is Fate.NOTICED


def test_a_scenario_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever, and what it proves is unknown."""
    released = threading.Event()

    @scenario("hangs", "waits for what does not come")
    def hangs(env: Env) -> None:
        released.wait(60)

    monkeypatch.setattr(matrix, "HANG_S", 0.1)
    with pytest.raises(matrix.Hung) as caught:
        list(trials(memory, [hangs], [SABOTEURS["M02"]], patience_s=0.1))
    released.set()
    for thread in threading.enumerate():
        if thread.name == "trial":
            thread.join()  # it closes what it has open
    assert caught.value.trial.verdict == "UNKNOWN"
    assert caught.value.trial.scenario == "hangs"


def test_what_is_known_is_not_run_again(tmp_path: Path) -> None:
    """A second run of the same goes on where the first one ended, and reads back what that wrote."""
    file = tmp_path / "results.jsonl"
    for trial in trials(memory, [names_it], [SABOTEURS["M02"]], patience_s=1.0):
        write(trial, file)
    first = read(file)
    assert [trial.code for trial in first] == [UNBROKEN, "M02"]
    more = [SABOTEURS["M02"], SABOTEURS["M05"]]
    again = list(trials(memory, [names_it], more, patience_s=1.0, known=first))
    assert [trial.code for trial in again] == ["M05"]


def test_a_run_that_was_killed_while_it_wrote_is_gone_on_from(tmp_path: Path) -> None:
    """What it had not written whole counts for nothing, wherever it was cut, and the next line is whole again."""
    file = tmp_path / "results.jsonl"
    write(RUN, file)
    whole = file.read_bytes()
    for cut in range(len(whole)):
        file.write_bytes(whole + whole[:cut])
        assert read(file) == [RUN]
        assert resume(file) == [RUN]
        write(RUN, file)
        assert file.read_bytes() == whole * 2
    file.write_bytes(whole[:5])
    assert resume(file) == []
    assert file.read_bytes() == b""


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b"\n",
        json.dumps({**asdict(RUN), "more": 1}).encode() + b"\n",
        json.dumps({**asdict(RUN), "verdict": "GREEN"}).encode() + b"\n",
        json.dumps({**asdict(RUN), "strikes": "3"}).encode() + b"\n",
        json.dumps({**asdict(RUN), "anomalies": "lost"}).encode() + b"\n",
        json.dumps({**asdict(RUN), "anomalies": [1]}).encode() + b"\n",
    ],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(line: bytes, tmp_path: Path) -> None:
    """By file and line, before anything runs."""
    file = tmp_path / "results.jsonl"
    write(RUN, file)
    file.write_bytes(file.read_bytes() + line)
    before = file.read_bytes()
    done = CliRunner().invoke(teeth, ["memory", "--results", str(file)])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert "results.jsonl, line 2: that is no run of a saboteur: " in " ".join(done.stderr.split())
    assert file.read_bytes() == before


def test_a_rare_saboteur_is_tried_with_other_seeds_until_it_is_killed() -> None:
    """Its first strike is among the first few opportunities, of which there are three here: not every seed has it."""
    found = list(trials(memory, [names_it], [SABOTEURS["M02"]], probability=0.01, tries=9, patience_s=1.0))
    seeds = [trial.seed for trial in found if trial.code == "M02"]
    assert seeds == list(range(len(seeds)))
    assert all(trial.strikes == 0 for trial in found[1:-1])
    assert found[-1].strikes == 1
    assert found[-1].fate is Fate.KILLED
    assert 1 < len(seeds) < 9
    more = list(trials(memory, [looks_away], [SABOTEURS["M15"]], probability=0.01, tries=4, patience_s=1.0))
    assert [trial.seed for trial in more if trial.code == "M15"] == [0, 1, 2, 3]


def test_a_saboteur_of_what_the_engine_does_not_claim_is_left_out() -> None:
    """There is nothing for it to break there, and nobody is asked to kill it."""
    other = replace(SABOTEURS["M02"], needs=(mq.Capability.PASSWORDS,))
    found = list(trials(memory, [names_it], [other], patience_s=1.0))
    assert [trial.code for trial in found] == [UNBROKEN]
    assert "PASSWORDS" in found[0].absent
    assert Matrix(found, [names_it], [other]).alive() == []
    assert Matrix(found, [names_it], [SABOTEURS["M02"]]).alive() == ["M02"]


def test_a_scenario_runs_on_the_first_target_that_is_asked_for_it() -> None:
    """One about processes has no place in memory; with a folder behind it, it runs there."""
    of_processes = replace(names_it, processes=True)
    assert list(trials(memory, [of_processes], [SABOTEURS["M02"]], patience_s=1.0)) == []
    found = list(trials(lambda: targets_for("native"), [of_processes, names_it], [SABOTEURS["M02"]], patience_s=5.0))
    assert [trial.target for trial in found] == ["native, folder"] * 2 + ["native, memory"] * 2
    assert found[1].fate is Fate.KILLED


def test_who_has_no_opportunity_is_found_out_by_one_run() -> None:
    """With many saboteurs, those that a scenario gives nothing to strike at are not run one by one."""
    chosen = [SABOTEURS[code] for code in ("M02", "M15", "M31", "M40", "S41", "S49", "S50")]
    found = list(trials(memory, [names_it], chosen, patience_s=1.0))
    assert [trial.code for trial in found] == [UNBROKEN, EVERY, "M02", "M40"]
    assert set(found[1].anomalies) & {one.code for one in chosen} == {"M02", "M40"}
    of_all = Matrix(found, [names_it], chosen)
    assert of_all.fate("M15", "names-it") is Fate.IDLE
    assert "M15  lose-commits: ALIVE: no opportunity anywhere" in showing.as_text(of_all)


def test_only_pairs_that_are_wanted_are_run() -> None:
    """And a scenario of which none is wanted does not run at all."""

    def wanted(scenario: Scenario, saboteur: Saboteur) -> bool:
        return (scenario.name, saboteur.code) == ("names-it", "M05")

    found = trials(memory, SCENARIOS, [SABOTEURS["M02"], SABOTEURS["M05"]], wanted=wanted, patience_s=1.0)
    assert [(trial.scenario, trial.code) for trial in found] == [("names-it", UNBROKEN), ("names-it", "M05")]


def test_who_lives_and_who_has_no_teeth_is_shown() -> None:
    """As text and as Markdown, with the scenarios that killed and with what saw a survivor."""
    scenarios = [replace(names_it, name=name) for name in ("s", "blind")]
    runs = [
        replace(RUN, code=UNBROKEN, verdict="PASS", strikes=0),
        RUN,
        replace(RUN, code="M05"),
        replace(RUN, scenario="blind", code=UNBROKEN, verdict="PASS", strikes=0),
        replace(RUN, scenario="blind", verdict="PASS", anomalies=()),
    ]
    found = Matrix(runs, scenarios, [SABOTEURS["M02"], SABOTEURS["M05"]])
    assert found.killers("M02") == ["s"]
    assert found.alive() == ["M05"]
    assert found.toothless() == ["blind"]
    text = showing.as_text(found)
    assert "M02  drop-after-ack: s" in text
    assert "M05  append-twice: ALIVE: noticed by s" in text
    assert "scenarios that kill none: blind" in text
    table = showing.as_markdown(found)
    assert "| M05 | append-twice | duplicate | **none** |" in table
    assert "| s | ● | ○ |" in table
    assert "| blind | – |   |" in table


def test_what_was_not_run_is_neither_killed_nor_has_it_teeth() -> None:
    """A saboteur or a scenario that was asked for does not pass by being left out."""
    found = Matrix([], [names_it], [SABOTEURS["M02"]])
    assert found.alive() == ["M02"]
    assert found.toothless() == ["names-it"]
    assert "M02  drop-after-ack: ALIVE: it was run with none of these scenarios" in showing.as_text(found)


@pytest.mark.parametrize("verdict", ["REFUSED-PROVEN", "PENDING"])
def test_what_the_engine_refuses_needs_no_teeth_there(verdict: str) -> None:
    """Only refusing was run of it, which nothing but an engine that refuses nothing breaks."""
    runs = [replace(RUN, scenario="names-it", code=UNBROKEN, verdict=verdict, strikes=0)]
    assert Matrix(runs, [names_it, sees_it], [SABOTEURS["M02"]]).toothless() == ["sees-it"]


def test_a_matrix_of_no_runs_is_no_pass() -> None:
    """Of a saboteur that the engine gives nothing to break, nothing was run."""
    run = CliRunner().invoke(teeth, ["memory", "--saboteur", "S52", "--scenario", "refusals"])
    assert run.exit_code == 1


def test_only_what_is_named_is_asked_to_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios that do not kill the named one are no fault of theirs; with none named, each is to kill something."""
    monkeypatch.setattr(command, "ALL", (names_it, sends_nothing))
    done = CliRunner().invoke(teeth, ["memory", "--level", "full", "--saboteur", "M02", "--patience", "1"])
    assert done.exit_code == 0, done.output
    assert "scenarios that kill none" not in done.stdout
    monkeypatch.setattr(command, "SABOTEURS", {"M02": SABOTEURS["M02"]})
    done = CliRunner().invoke(teeth, ["memory", "--level", "full", "--patience", "1"])
    assert done.exit_code == 1, done.output
    assert "scenarios that kill none: sends-nothing" in done.stdout


def test_the_command_line_tells_what_survived(tmp_path: Path) -> None:
    """The exit status says so, and a name that is none is refused."""
    file = str(tmp_path / "results.jsonl")
    run = CliRunner().invoke(teeth, ["memory", "--saboteur", "M02", "--scenario", "refusals", "--results", file])
    assert run.exit_code == 1
    assert "not killed: M02" in run.output
    assert CliRunner().invoke(teeth, ["memory", "--saboteur", "M99"]).exit_code == 2
    assert CliRunner().invoke(teeth, ["nowhere"]).exit_code == 2
