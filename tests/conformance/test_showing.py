"""What a reader is shown: the matrix in three shapes, the capability table, the command line, the pytest plugin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import mqbridge as mq
import mqbridge_conformance
from mqbridge import Capability as Cap
from mqbridge_conformance import matrix
from mqbridge_conformance.commands import conformance
from mqbridge_conformance.results import Report, ScenarioResult, Verdict
from mqbridge_conformance.runner import run
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import targets_for

pytest_plugins = ["pytester"]

ROOTS = os.pathsep.join(str(Path(str(module.__file__)).parent.parent) for module in (mq, mqbridge_conformance))


def result(
    scenario: str, target: str, verdict: Verdict, *, notes: tuple[str, ...] = (), proves: Cap = Cap.GROUPS
) -> ScenarioResult:
    why, counts = f"because {verdict}", {"checks": 2}
    return ScenarioResult(
        scenario, f"About {scenario}", target, "native", verdict, 0.1, why, counts, notes, (proves,)
    )


@pytest.fixture
def report() -> Report:
    """Two scenarios on two targets; one cell was repeated, one did not run."""
    with mq.connect("native:") as bus:
        found = Report(claims={"native": bus.capabilities})
    found.results += [
        result("one", "memory", Verdict.PASS, notes=("by thread",)),
        result("one", "folder", Verdict.PASS),
        result("one", "folder", Verdict.FAIL),
        result("two", "memory", Verdict.PENDING, notes=("by thread", "a | b"), proves=Cap.COMPACTION),
    ]
    return found


def test_text_shows_the_worst_of_each_cell_and_why(report: Report) -> None:
    """Aligned, with notes by number, a cell that did not run as such, and the reason of what is not green."""
    lines = matrix.as_text(report).splitlines()
    assert lines[0].split() == ["scenario", "memory", "folder"]
    assert lines[2].split() == ["one", "PASS[1]", "FAIL", "x2"]
    assert lines[3].split() == ["two", "PENDING[1][2]", "not", "run"]
    assert "FAIL one on folder: because FAIL" in lines
    assert "    exercised: 2 checks" in lines
    assert "[2] a | b" in lines
    assert lines[-1] == "1 FAIL, 1 PENDING, 2 PASS"


def test_markdown_is_one_table_with_titles(report: Report) -> None:
    """Every line has the same number of cells, and a bar in a text does not make another."""
    lines = matrix.as_markdown(report).splitlines()
    assert lines[0] == "| scenario | what it shows | memory | folder |"
    assert lines[2] == "| one | About one | PASS[1] | FAIL x2 |"
    assert "- [2] a | b" in lines


def test_json_has_every_run_and_the_claims(report: Report) -> None:
    """A program sees all runs, also the one that passed beside one that failed."""
    found = json.loads(matrix.as_json(report))
    assert found["green"] is False
    assert [row["verdict"] for row in found["results"]] == ["PASS", "PASS", "FAIL", "PENDING"]
    assert found["results"][0]["evidence"] == {"checks": 2}
    assert set(found["claims"]["native"]) == {capability.value for capability in Cap}


def test_the_capability_table_joins_claims_and_proofs(report: Report) -> None:
    """A claim that failed says so, a refusal for later is pending, a claim nobody tests says that."""
    lines = matrix.capability_table(report).splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("|")}
    assert rows["GROUPS"] == "| GROUPS | direct: FAIL (one) |"
    assert re.fullmatch(r"\| COMPACTION \| later \[\d+\]: PENDING \(two\) \|", rows["COMPACTION"])
    note = re.fullmatch(r"\| TOPIC_DEAD_LETTER \| emulated \[(\d+)\]: no scenario yet \|", rows["TOPIC_DEAD_LETTER"])
    assert note is not None
    (said,) = [line for line in lines if line.startswith(f"- [{note[1]}] ")]
    assert "costs: one send; a crash may duplicate" in said
    assert rows["PRIORITY"] == "| PRIORITY | direct: no scenario yet |"
    assert re.fullmatch(r"\| TLS \| refused \[\d+\]: no scenario yet \|", rows["TLS"])
    assert len(rows) == len(Cap) + 2


def test_a_whole_run_on_one_target_makes_a_table_without_failures() -> None:
    """From a real run: refusals are proven by the scenario that asks for all of them."""
    real = run(targets_for("memory"), [s for s in ALL if s.name in ("round-trip", "refusals")])
    assert real.green
    table = matrix.capability_table(real)
    (tls,) = re.findall(r"\| TLS \| refused \[(\d+)\]: REFUSED-PROVEN \(refusals\) \|", table)
    assert f"- [{tls}] nothing leaves the machine; instead: the folder's permissions" in table
    assert re.search(r"\| TRANSACTIONS \| later \[\d+\]: PENDING \(refusals\) \|", table)
    assert "| NULL_VALUE | direct: PASS (round-trip) |" in table
    assert "FAIL" not in table
    lines = matrix.capability_table(real, matrix.SLICE).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == len(matrix.SLICE) + 2


def test_several_processes_are_shown_only_where_there_were_some() -> None:
    """Threads in one process prove nothing of that, though the scenario passes."""
    sharing = [scenario for scenario in ALL if scenario.name == "competing-consumers"]
    for target, proof in (("memory", "no scenario yet"), ("folder", "PASS (competing-consumers)")):
        table = matrix.capability_table(run(targets_for(target), sharing), [mq.Capability.SEVERAL_PROCESSES])
        assert f"| SEVERAL_PROCESSES | direct [1]: {proof} |" in table
        assert "- [1] one machine, a local disk" in table


def test_the_table_command_shows_the_slice() -> None:
    """Claims and proofs of a whole run, the chosen rows alone."""
    done = CliRunner().invoke(conformance, ["table", "memory", "--slice"])
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]] == [row.value for row in matrix.SLICE]
    assert "| GROUPS | direct: PASS (round-trip, two-groups, start-rules) |" in rows


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
    [(["run", "kafak://x"], "known: memory"), (["run", "--scenario", "nope"], "round-trip")],
)
def test_the_command_names_what_it_knows(args: list[str], words: str) -> None:
    """A wrong target or scenario is a usage error that lists the right ones."""
    done = CliRunner().invoke(conformance, args)
    assert done.exit_code == 2
    assert words in done.stderr


def test_the_command_lists_the_scenarios() -> None:
    """One line each, with what it shows."""
    done = CliRunner().invoke(conformance, ["list"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == [scenario.name for scenario in ALL]


def test_targets_are_found_by_name_and_by_url(tmp_path: Path) -> None:
    """Three arrangements, all of them by one word, a folder by its URL, and nothing for what is not known."""
    assert [target.name for target in targets_for("native")] == [
        "native, memory",
        "native, folder",
        "native, client of a host",
    ]
    (given,) = targets_for(f"native:{tmp_path}/own")
    with given as target:
        target.connect().close()
        assert target.observer.names().topics == {}
    assert (tmp_path / "own").is_dir(), "a folder that was given is not removed"
    assert targets_for("native:")[0].url != targets_for("native:")[0].url, "two runs would meet"
    assert [targets_for(text)[0].engine for text in ("kafka", "kafka://h:1", "rabbitmq", "amqps://h/")] == [
        "kafka",
        "kafka",
        "rabbitmq",
        "rabbitmq",
    ]
    with pytest.raises(mq.ConfigurationError, match="no conformance target"):
        targets_for("mqtt://localhost/")


@pytest.fixture
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytest that loads this plugin by name, and those of the environment not at all."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ROOTS)
    return pytester


def test_the_plugin_runs_the_scenarios_as_tests(alone: pytest.Pytester) -> None:
    """Each is a test, and the summary shows the matrix."""
    suite = ("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance")
    done = alone.runpytest_subprocess(*suite, "--mq-target=native:", "-k", "replay or trip")
    done.assert_outcomes(passed=2, deselected=10)
    done.stdout.fnmatch_lines(["*mqbridge conformance*", "scenario*native, memory", "round-trip*PASS*", "2 PASS"])


def test_a_state_that_is_not_a_plain_pass_is_counted_by_its_own_name(alone: pytest.Pytester) -> None:
    """PENDING is not among the passed, and UNKNOWN and FAIL fail."""
    alone.makepyfile(
        test_own="""
        import pytest
        from mqbridge import Capability
        from mqbridge_conformance.scenario import scenario
        from mqbridge_conformance.test_scenarios import test_scenario
        from mqbridge_conformance import scenarios

        pending = scenario("p", "P", needs=(Capability.COMPACTION,))(lambda env: None)
        unknown = scenario("u", "U")(lambda env: None)
        fails = scenario("f", "F")(lambda env: env.check(False, "on purpose"))
        holds = scenario("h", "H")(lambda env: env.check(True, ""))
        scenarios.ALL = (pending, unknown, fails, holds)
        """
    )
    done = alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin", "--mq-target=memory", "test_own.py")
    assert done.ret == 1
    done.stdout.fnmatch_lines(["*Error: UNKNOWN: nothing was exercised*", "*Error: FAIL: on purpose*"])
    done.stdout.fnmatch_lines(["*2 failed, 1 passed, 1 pending*"])


def test_the_plugin_is_inert_without_a_target(alone: pytest.Pytester) -> None:
    """A suite that knows nothing of it runs, and nothing of this package but the plugin is imported."""
    alone.makepyfile(
        """
        import sys

        def test_nothing():
            own = {name for name in sys.modules if name.startswith("mqbridge")}
            assert own == {"mqbridge_conformance", "mqbridge_conformance.plugin"}, own
        """
    )
    alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin").assert_outcomes(passed=1)


def test_the_suite_without_a_target_says_what_it_needs(alone: pytest.Pytester) -> None:
    """Nothing that did not run can be mistaken for green."""
    done = alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance")
    assert done.ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    (*_, line) = [line for line in (*done.outlines, *done.errlines) if "--mq-target" in line]
    assert "need an engine to run on: give --mq-target=URL" in line


def test_a_wrong_target_is_a_usage_error(alone: pytest.Pytester) -> None:
    """Before anything is collected, with what is known."""
    done = alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin", "--mq-target=nope:")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--mq-target: there is no conformance target for 'nope:'; known: memory,*"])


def test_the_package_imports_without_pytest_hypothesis_or_click() -> None:
    """What only the command line or the plugin needs is not needed for the rest."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('pytest', 'hypothesis', 'click')))\n"
        "import mqbridge_conformance, mqbridge_conformance.scenarios, mqbridge_conformance.workers, "
        "mqbridge_conformance.matrix\n"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ROOTS}, check=True, timeout=30)


def test_the_plugins_are_registered_under_the_names_of_their_modules() -> None:
    """Otherwise ``-p mqbridge_conformance.plugin`` in an installed tree registers one module twice, which pytest
    refuses."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    named = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert named == {name: name for name in ("mqbridge.testing.plugin", "mqbridge_conformance.plugin")}
