"""The suite as a pytest plugin: ``pytest --pyargs mqbridge_conformance --mq-target=URL``.

The rule: without ``--mq-target`` this does nothing at all. With it, each scenario on each target is a test: FAIL and
UNKNOWN fail it, and every state is in the summary, for "passed" would hide what was refused.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mqbridge_conformance.results import Report, ScenarioResult
    from mqbridge_conformance.scenario import Scenario
    from mqbridge_conformance.targets import Target

__all__ = ["Conformance"]

RUN = "mqbridge_conformance.run"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mqbridge conformance")
    group.addoption(
        "--mq-target",
        action="append",
        default=[],
        metavar="URL",
        help="run the scenarios of mqbridge_conformance against this engine: a URL, memory, folder, client, native, "
        "kafka or rabbitmq; may be given several times",
    )
    group.addoption(
        "--mq-repeat", type=_times, default=1, metavar="N", help="run each scenario N times; the worst verdict counts"
    )
    group.addoption(
        "--mq-patience", type=_seconds, default=None, metavar="S", help="seconds to wait for what must happen"
    )
    group.addoption(
        "--mq-level", choices=["quick", "full"], default="quick", help="the scenarios that are quick, or all of them"
    )
    group.addoption("--mq-seed", type=int, metavar="N", help="for all chance in the run; told where it is not given")
    group.addoption(
        "--mq-history", type=Path, metavar="DIR", help="keep the history of every run here, not of failures alone"
    )
    group.addoption("--mq-json", type=Path, metavar="FILE", help="write every run with its evidence, as JSON")
    group.addoption("--mq-html", type=Path, metavar="FILE", help="the same as a page to look at")


def _times(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return found


def pytest_configure(config: pytest.Config) -> None:
    texts: list[str] = config.getoption("--mq-target")
    if texts:
        from mqbridge_conformance.brokers.not_run import watch_for_brokers

        watch_for_brokers(config)
        config.pluginmanager.register(Conformance(config, texts), RUN)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mq_conformance" not in metafunc.fixturenames:
        return
    run: Conformance | None = metafunc.config.pluginmanager.get_plugin(RUN)
    if run is None:
        raise pytest.UsageError("the conformance scenarios need an engine to run on: give --mq-target=URL")
    from mqbridge_conformance.scenarios import at_level

    # The target varies slowest: each is started once.
    chosen = at_level(run.report.level)
    cases = [
        pytest.param(target, scenario, id=f"{target.name}-{scenario.name}")
        for target in run.targets
        for scenario in chosen
        if run.asks(target, scenario)
    ]
    metafunc.parametrize(("mq_target", "mq_scenario"), cases)


@pytest.fixture
def mq_conformance(pytestconfig: pytest.Config) -> Conformance:
    """The run, for the one test that is in the suite."""
    run: Conformance | None = pytestconfig.pluginmanager.get_plugin(RUN)
    assert run is not None, "tests that need it are refused without --mq-target"
    return run


class Conformance:
    """One run: its targets, started when the first test of each comes, and its report."""

    def __init__(self, config: pytest.Config, texts: list[str]) -> None:
        from mqbridge_conformance.opening import check_environment
        from mqbridge_conformance.results import Report
        from mqbridge_conformance.runner import PATIENCE_S, any_seed
        from mqbridge_conformance.targets import targets_for

        seed: int | None = config.getoption("--mq-seed")
        self.report: Report = Report(level=config.getoption("--mq-level"), seed=any_seed() if seed is None else seed)
        try:
            self.targets: list[Target] = [target for text in texts for target in targets_for(text)]
        except ValueError as error:
            raise pytest.UsageError(f"--mq-target: {error}") from error
        try:
            check_environment()
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
        self._repeat: int = config.getoption("--mq-repeat")
        self._patience_s: float = config.getoption("--mq-patience") or PATIENCE_S
        self._keep: Path | None = config.getoption("--mq-history")
        self._json: Path | None = config.getoption("--mq-json")
        self._html: Path | None = config.getoption("--mq-html")
        self._started: Target | None = None
        self._check_places()

    def _check_places(self) -> None:
        """Before anything runs, for a run whose results are lost is lost."""
        from mqbridge_conformance.places import check_file, check_folder

        places = (("--mq-json", self._json, check_file), ("--mq-html", self._html, check_file))
        for option, place, check in (*places, ("--mq-history", self._keep, check_folder)):
            if place is not None:
                try:
                    check(place)
                except ValueError as error:
                    raise pytest.UsageError(f"{option}: {error}") from error

    def asks(self, target: Target, scenario: Scenario) -> bool:
        """Is it a test at all? If not, the report has the reason."""
        from mqbridge_conformance.runner import asked

        return asked(scenario, target, self.report)

    def judge(self, target: Target, scenario: Scenario) -> ScenarioResult:
        """Run it as often as was asked; the worst result."""
        from mqbridge import MqbridgeError
        from mqbridge_conformance.results import CannotTell, CheckFailed, worst
        from mqbridge_conformance.runner import run_scenario, said, unusable

        if target is not self._started and target.name not in self.report.unusable:
            try:
                self._begin(target)
            except (CannotTell, CheckFailed, MqbridgeError) as error:
                self.report.unusable[target.name] = said(error)
        if target.name in self.report.unusable:
            self.report.add(unusable(scenario, target, self.report.unusable[target.name]), None)
            return self.report.results[-1]
        results: list[ScenarioResult] = []
        for seed in range(self.report.seed, self.report.seed + self._repeat):
            result, claims = run_scenario(scenario, target, patience_s=self._patience_s, seed=seed, keep=self._keep)
            self.report.add(result, claims)
            results.append(result)
        return next(r for r in results if r.verdict is worst(result.verdict for result in results))

    def _begin(self, target: Target) -> None:
        self._stop()
        target.__enter__()
        self._started = target
        self.report.versions[target.name] = target.versions()

    def _stop(self) -> None:
        target, self._started = self._started, None
        if target is not None:
            target.stop()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What was left out for want of a broker is told in every shape of the report."""
        from mqbridge_conformance.brokers.not_run import left_out
        from mqbridge_conformance.runner import leave_out

        for params, reason in left_out(session.config):
            if "mq_target" in params:
                leave_out(self.report, params["mq_target"], params["mq_scenario"], reason)

    def pytest_report_header(self) -> str:
        return f"mqbridge conformance: {self.report.level}, seed {self.report.seed}"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from mqbridge_conformance.report import document, page, to_json
        from mqbridge_conformance.runner import leave_out

        self._stop()
        for item in session.items:
            params = getattr(getattr(item, "callspec", None), "params", {})
            if "mq_target" in params:
                leave_out(self.report, params["mq_target"], params["mq_scenario"], "the run ended before")
        if self._json is not None:
            self._json.write_text(to_json(document(self.report)), encoding="utf-8")
        if self._html is not None:
            self._html.write_text(page([document(self.report)]), encoding="utf-8")

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: Any) -> Any:
        found = yield
        verdict = dict(report.user_properties).get("mq_verdict")
        if verdict and report.when == "call" and report.passed and verdict != "PASS":
            return verdict.lower(), verdict[0], verdict
        return found

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from mqbridge_conformance.report import as_text

        if self.report.results or self.report.not_run:
            terminalreporter.section("mqbridge conformance")
            terminalreporter.write_line(as_text(self.report))
