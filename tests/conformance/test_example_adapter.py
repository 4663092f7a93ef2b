"""An adapter that is not the library's own runs the whole suite, found by its entry points, and a lie in it is found.

The rule: nothing of the suite is told about it. What pip would have installed of ``tests/example_adapter`` is made by
hand, which needs neither a network nor an environment of its own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq
import mqbridge_conformance
from mqbridge_conformance import targets
from mqbridge_conformance.report import Document, read_document

ADAPTER = Path(__file__).resolve().parents[1] / "example_adapter"
SOURCES = [str(Path(str(module.__file__)).parent.parent) for module in (mq, mqbridge_conformance)]
QUEUES = (
    "competing-consumers",
    "crash-redelivers",
    "prefetch-bound",
    "release-retry-reject",
    "dead-letters",
    "dead-letter-queue-missing",
)
LIES = {
    "counts a release": (
        "release-retry-reject",
        "real = Broker.settle\n"
        "def settle(self, name, consumer, token, verb, text, now_ms):\n"
        "    return real(self, name, consumer, token, 'retry' if verb == 'release' else verb, text, now_ms)\n"
        "Broker.settle = settle\n",
    ),
    "drops dead letters": ("dead-letters", "Broker._bury = lambda *_: None\n"),
    "forgets what cannot be buried": (
        "dead-letter-queue-missing",
        "real = Broker._bury\n"
        "def bury(self, queue, *rest):\n"
        "    if queue.dead_letter in self.names():\n"
        "        real(self, queue, *rest)\n"
        "Broker._bury = bury\n",
    ),
    "hands out twice": (
        "competing-consumers",
        "real = Broker.take\n"
        "def take(self, name, consumer, most):\n"
        "    taken = real(self, name, consumer, most)\n"
        "    self.queue(name).ready[:0] = taken[:1]\n"
        "    return taken\n"
        "Broker.take = take\n",
    ),
    "claims what it refuses": (
        "refusals",
        "from mqbridge_example import claims\n"
        "from mqbridge.capabilities import Capability, never\n"
        "claims.CLAIMS[Capability.PURGE] = never('not here')\n"
        "from mqbridge import Capabilities\n"
        "Capabilities.need = lambda *_: None\n",
    ),
}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What an installation would have added to the import path: the names of its entry points."""
    project: dict[str, Any] = tomllib.loads((ADAPTER / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    info.joinpath("entry_points.txt").write_text("\n".join(groups))
    return info.parent


def run(installed: Path, *args: str) -> tuple[subprocess.CompletedProcess[str], Document]:
    """The suite as its author runs it, from an empty folder; and what it found."""
    empty = installed.parent / "empty"
    empty.mkdir()
    command = ["-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance", "--mq-target=example:"]
    paths = [str(installed), str(installed.parent), str(ADAPTER), *SOURCES]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command, "--mq-json=run.json", "-p", "no:cacheprovider", "-q", *args],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (empty / "run.json").is_file(), done.stdout + done.stderr
    return done, read_document(empty / "run.json")


def test_an_adapter_that_is_not_ours_runs_the_suite(installed: Path) -> None:
    """What it has holds, what it has not is refused by name and for good or for now, and nothing is left out: at the
    level that an adapter's author is told to have in CI."""
    done, found = run(installed, "--mq-level=full")
    assert done.returncode == 0, done.stdout
    verdicts = {row["scenario"]: row["verdict"] for row in found["results"]}
    assert {name: verdicts[name] for name in QUEUES} == dict.fromkeys(QUEUES, "PASS")
    assert verdicts["refusals"] == "PASS"
    assert verdicts["order-per-key"] == "REFUSED-PROVEN"
    assert set(verdicts.values()) <= {"PASS", "REFUSED-PROVEN", "PENDING"}
    claims = {row["capability"]: (row["level"], row["verdict"]) for row in found["claims"]}
    assert claims["WORK_SHARING"] == ("direct", "PASS")
    assert claims["GROUPS"] == ("unsupported", "REFUSED-PROVEN")
    assert claims["REDRIVE"] == ("unsupported", "PENDING")
    assert found["targets"] == [
        {"name": "example", "engine": "example", "versions": {"example": "0.1"}, "unusable": ""}
    ]


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_it_makes_the_run_fail(lie: str, installed: Path) -> None:
    """One broken promise, in the scenario that is about it."""
    scenario, code = LIES[lie]
    (installed.parent / "lie.py").write_text(f"from mqbridge_example.broker import Broker\n\n{code}")
    done, found = run(installed, "-p", "lie", "-k", f"example-{scenario}", "--mq-level=full", "--mq-patience=2")
    assert done.returncode == 1, done.stdout
    assert {row["scenario"]: row["verdict"] for row in found["results"]} == {scenario: "FAIL"}


def test_an_engine_that_claims_nothing_passes(installed: Path) -> None:
    """Where an author begins: everything is refused by its name, and that is proven."""
    (installed.parent / "nothing.py").write_text(
        "from mqbridge.capabilities import Capability, never\n"
        "from mqbridge_example.claims import CLAIMS\n"
        "CLAIMS.update(dict.fromkeys(Capability, never('it is not built')))\n"
    )
    done, found = run(installed, "-p", "nothing")
    assert done.returncode == 0, done.stdout
    verdicts = {row["scenario"]: row["verdict"] for row in found["results"]}
    assert verdicts.pop("refusals") == "PASS"
    assert set(verdicts.values()) == {"REFUSED-PROVEN"}


def test_its_broker_keeps_what_a_crash_would_bury_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last attempt of a message ends with its consumer, and the dead-letter queue is gone: it stays ready."""
    monkeypatch.syspath_prepend(str(ADAPTER))
    module = importlib.import_module("mqbridge_example.broker")
    broker, consumer = module.Broker(), object()
    broker.declare("work", 1, "work.dlq")
    broker.put("work", module.Message(b"1", None, (), 0, "id"))
    broker.take("work", consumer, 1)
    broker.leave("work", consumer, crashed=True)
    assert broker.counts("work") == (1, 0)
    assert broker.take("work", consumer, 1)[0].failed == 0


def test_an_adapter_whose_targets_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it would have loaded; and those that are installed are among what is known."""
    points = [EntryPoint(name, value, targets.GROUP) for name, value in (("a", "nowhere:f"), ("b", "os:nothing"))]
    monkeypatch.setattr(targets, "entry_points", lambda group: points if group == targets.GROUP else ())
    for name, value in (("a", "nowhere:f"), ("b", "os:nothing")):
        with pytest.raises(mq.ConfigurationError, match=f"targets of {name}: are {value}, which cannot be loaded"):
            targets.targets_for(f"{name}:")
    with pytest.raises(mq.ConfigurationError, match=r"known: memory, .*native:\.\.\., .*a:\.\.\., b:\.\.\."):
        targets.targets_for("c:")
