"""The suite as a pytest plugin, and what it is to those who do not ask for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mqbridge as mq
import mqbridge_conformance
from mqbridge_conformance.history import load
from mqbridge_conformance.report import page, read_document

pytest_plugins = ["pytester"]

SUITE = ("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance")
ROOTS = os.pathsep.join(str(Path(str(module.__file__)).parent.parent) for module in (mq, mqbridge_conformance))


@pytest.fixture
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytest that loads this plugin by name, and those of the environment not at all."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ROOTS)
    return pytester


def test_the_plugin_runs_the_scenarios_as_tests(alone: pytest.Pytester) -> None:
    """Each is a test, and the summary shows the matrix."""
    done = alone.runpytest_subprocess(*SUITE, "--mq-target=native:", "-k", "start-rules or trip")
    done.assert_outcomes(passed=2)
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
            others = {"testcontainers", "docker", "confluent_kafka", "pika", "click", "rich", "hypothesis"}
            assert others.isdisjoint(sys.modules)
        """
    )
    alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin").assert_outcomes(passed=1)


def test_the_suite_without_a_target_says_what_it_needs(alone: pytest.Pytester) -> None:
    """Nothing that did not run can be mistaken for green."""
    done = alone.runpytest_subprocess(*SUITE)
    assert done.ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    (*_, line) = [line for line in (*done.outlines, *done.errlines) if "--mq-target" in line]
    assert "need an engine to run on: give --mq-target=URL" in line


def test_a_wrong_target_is_a_usage_error(alone: pytest.Pytester) -> None:
    """Before anything is collected, with what is known."""
    done = alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin", "--mq-target=nope:")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--mq-target: there is no conformance target for 'nope:'; known: memory,*"])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--mq-repeat=0", "'0' is no number from 1 on"),
        ("--mq-patience=-1", "'-1' is no number of seconds above 0"),
        ("--mq-json=nowhere/run.json", "--mq-json: nowhere/run.json cannot be written: No such file or directory"),
        ("--mq-html=.", "--mq-html: . cannot be written: Is a directory"),
        ("--mq-history=/dev/null/kept", "--mq-history: nothing can be written in /dev/null/kept: Not a directory"),
    ],
)
def test_an_option_that_cannot_be_used_is_told_before_the_run(option: str, words: str, alone: pytest.Pytester) -> None:
    """As bad usage, in a sentence, and nothing ran."""
    done = alone.runpytest_subprocess(*SUITE, "--mq-target=memory", "-k", "trip", option)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.errlines if words in line]
    assert "Traceback" not in done.stderr.str()
    assert "PASS" not in done.stdout.str()


def test_a_saboteur_that_is_none_is_told_before_the_run(
    alone: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As bad usage, in a sentence, and nothing ran."""
    monkeypatch.setenv("MQBRIDGE_SABOTEUR", "XX")
    done = alone.runpytest_subprocess(*SUITE, "--mq-target=memory", "-k", "trip")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*MQBRIDGE_SABOTEUR: there is no saboteur 'XX'; there are M01,*"])
    assert "PASS" not in done.stdout.str()


def test_the_package_imports_without_pytest_hypothesis_or_click() -> None:
    """What only the command line or the plugin needs is not needed for the rest."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('pytest', 'hypothesis', 'click')))\n"
        "import mqbridge_conformance, mqbridge_conformance.scenarios, mqbridge_conformance.workers, "
        "mqbridge_conformance.report\n"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ROOTS}, check=True, timeout=30)


def test_the_plugins_are_registered_under_the_names_of_their_modules() -> None:
    """Otherwise ``-p mqbridge_conformance.plugin`` in an installed tree registers one module twice, which pytest
    refuses."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    named = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert named == {name: name for name in ("mqbridge.testing.plugin", "mqbridge_conformance.plugin")}


def test_a_run_is_written_as_json_and_as_a_page(alone: pytest.Pytester) -> None:
    """What ran, failures among it, though pytest itself tells only passed and failed."""
    done = alone.runpytest_subprocess(
        *SUITE, "--mq-target=native:", "--mq-json=run.json", "--mq-html=run.html", "-k", "trip"
    )
    done.assert_outcomes(passed=1)
    found = read_document(alone.path / "run.json")
    assert [row["scenario"] for row in found["results"]] == ["round-trip"]
    assert found["run"]["level"] == "quick"
    assert (alone.path / "run.html").read_text(encoding="utf-8") == page([found])


def test_what_a_run_that_ended_early_did_not_come_to_is_told(alone: pytest.Pytester) -> None:
    """By ``-x``, or by Ctrl-C: the JSON is not that of a whole run."""
    alone.makepyfile(
        test_own="""
        from mqbridge_conformance.scenario import scenario
        from mqbridge_conformance.test_scenarios import test_scenario
        from mqbridge_conformance import scenarios

        def interrupt(env):
            raise KeyboardInterrupt

        check = lambda env: env.check(True, "")
        scenarios.ALL = (scenario("a", "A")(check), scenario("b", "B")(interrupt), scenario("c", "C")(check))
        """
    )
    options = ("-p", "mqbridge_conformance.plugin", "--mq-target=memory", "--mq-json=run.json")
    done = alone.runpytest_subprocess(*options)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    found = read_document(alone.path / "run.json")
    assert ([row["scenario"] for row in found["results"]], found["run"]["green"]) == (["a"], False)
    assert [(row["scenario"], row["reason"]) for row in found["not_run"]] == [
        ("b", "the run ended before"),
        ("c", "the run ended before"),
    ]


def test_the_level_chooses_the_scenarios(alone: pytest.Pytester) -> None:
    """The quick ones unless more is asked for; nothing that is left out looks skipped."""
    alone.makepyfile(
        test_own="""
        from mqbridge_conformance.scenario import scenario
        from mqbridge_conformance.test_scenarios import test_scenario
        from mqbridge_conformance import scenarios

        check = lambda env: env.check(True, "")
        scenarios.ALL = (scenario("q", "Q")(check), scenario("f", "F", level="full")(check))
        """
    )
    for args, passed in (((), 1), (("--mq-level=full",), 2)):
        done = alone.runpytest_subprocess("-p", "mqbridge_conformance.plugin", "--mq-target=memory", *args)
        done.assert_outcomes(passed=passed)


def test_seed_and_histories_are_those_that_were_asked_for(alone: pytest.Pytester) -> None:
    """Told in the header, and the next run of a scenario has the next seed."""
    args = ("--mq-target=memory", "--mq-seed=5", "--mq-repeat=2", "--mq-history=kept", "-k", "trip")
    done = alone.runpytest_subprocess(*SUITE, *args)
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["mqbridge conformance: quick, seed 5"])
    assert [load(file).header["seed"] for file in sorted((alone.path / "kept").iterdir())] == [5, 6]


def test_the_plugin_adds_its_own_options_and_no_other(alone: pytest.Pytester) -> None:
    """A project's options, markers and fixtures are what they were, so no name of theirs can be taken."""
    without = set(alone.runpytest_subprocess("--help").outlines)
    added = [line for line in alone.runpytest_subprocess("--help", *SUITE[:2]).outlines if line not in without]
    options = [line.split()[0] for line in added if line.startswith("  --")]
    assert options
    assert [name for name in options if not name.startswith("--mq-")] == []
    for question in ("--markers", "--fixtures"):
        before = alone.runpytest_subprocess(question).outlines
        after = alone.runpytest_subprocess(question, *SUITE[:2]).outlines
        own = [line for line in after if line not in before]
        assert not [line for line in own if line.startswith("@")]
        fixtures = [line.split()[0] for line in own if re.match(r"\w+ .*-- ", line)]
        assert fixtures == (["mq_conformance"] if question == "--fixtures" else [])
