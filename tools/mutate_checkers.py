"""Change the checkers of the conformance suite, a line at a time, and see whether their tests notice.

The rule: mutmut makes the mutants and runs the tests, in an environment of its own; what is here is the copy of the
tree that it wants (it looks for packages below `src`, and ours lie below `conformance`), and the judgement of what
lived. A mutant that lives is a sentence that only people read, or decides otherwise of two moments that are the same,
or is explained in `living_mutants.toml`, or is a failure. Those that mypy refuses are dead: nobody could land them.

    tools/mutate_checkers.py [--minutes N] [--children N] [queue_fate queue_* ...]

What was done is kept in `build/mutation`, so a run that was cut short goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
WORK: Final = ROOT / "build" / "mutation"
TREE: Final = WORK / "tree"
ENVIRONMENT: Final = WORK / "environment"
EXPLAINED: Final = Path(__file__).resolve().parent / "living_mutants.toml"
MUTMUT: Final = "mutmut>=3.8.1,<4"
CHECKERS: Final = Path("src/mqbridge_conformance/checkers")
COPIED: Final = ("mqbridge", "adapters", "tests")
DEFAULT: Final = ("queue_*", "exactly_once", "log_*", "judging")
SKIPPED: Final = ("test_queue_model.py", "test_log_properties.py")
"""Histories that Hypothesis draws: they would kill many more, now and then, and cost a minute each time."""
LEFT_ALONE: Final = (
    r"^\s*text (\+)?= ",  # what a finding says to people
    r"^__all__",
)
SHOW: Final = """
import json, sys
from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant
print(json.dumps([get_diff_for_mutant(name, path=find_mutant(name).path) for name in sys.argv[1:]]))
"""
TYPES: Final = (
    *("mypy", "--output", "json", "--config-file=", "--check-untyped-defs", "--ignore-missing-imports"),
    *("--explicit-package-bases", "--namespace-packages"),
)
"""Not as strictly as ours: mutmut's own code lies around each mutant."""
TOLD: Final = {
    **dict.fromkeys((5, 33), "never run"),
    **dict.fromkeys((24, -24, 36, 152, 255), "timed out"),
    **{0: "lived", 2: "not tried", 34: "skipped", 37: "refused by mypy"},
}
"""Exit codes of mutmut; any other is a failed test."""
LIVING: Final = ("lived", "never run")
MOMENT: Final = re.compile(
    r"\bt\b|_t\b|_ns\b|since|until|killed|lost|known|left_hand|closing|closed|doubtful|shaken|dead|oldest|span|began|begin"
    r"|begun|ended|\bend\b|over\b|opened|stopped|_from\b|earlier|later|_NS\b|\blimit:?$|often|longer_than|\basked\b|\.after\b|last:?$"
)
"""How the checkers name moments, and how long something may take."""


class Mutant(NamedTuple):
    """`where` is a module and a function; `was` and `now` are the lines that differ."""

    where: str
    was: str
    now: str

    @property
    def is_wording(self) -> bool:
        """Is it a sentence, or part of one, in other words or letters?"""
        for literal in [text for text in re.findall(r'"([^"]*)"', self.was) if " " in text]:
            changed = (f"XX{literal}XX", literal.lower(), literal.upper(), literal.capitalize())
            if self.now in [self.was.replace(f'"{literal}"', f'"{other}"') for other in changed]:
                return True
        return False

    @property
    def is_tie(self) -> bool:
        """Does it differ only where two moments are the same? Two events of one process never have the same nanosecond,
        and of two processes that have it nobody knows which came first."""
        for sign, other in (("<", "<="), ("<=", "<"), (">", ">="), (">=", ">")):
            for found in re.finditer(rf"(\S+) {sign} (\S+)", self.was):
                changed = f"{self.was[: found.start()]}{found[1]} {other} {found[2]}{self.was[found.end() :]}"
                if changed == self.now and all(MOMENT.search(side) for side in found.groups()):
                    return True
        return False


class Explained(NamedTuple):
    """Patterns of mutants that live for one reason. One that is left out is any."""

    where: str
    was: str = ""
    now: str = ""

    def fits(self, mutant: Mutant) -> bool:
        return all(re.search(pattern, text) for pattern, text in zip(self, mutant, strict=True))


# --- the copy and its environment


def prepare(patterns: Sequence[str]) -> None:
    """The tree as mutmut wants it. Files keep their times, by which it knows what has changed."""
    TREE.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        _copy(ROOT / name, TREE / name)
    _copy(ROOT / "conformance" / "mqbridge_conformance", TREE / "src" / "mqbridge_conformance")
    (TREE / "pyproject.toml").write_text(configured((ROOT / "pyproject.toml").read_text(), patterns))


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def configured(text: str, patterns: Sequence[str]) -> str:
    """Our pyproject.toml with the package below `src`, and with what mutmut is to do."""
    moved = text.replace('"conformance"]', '"src"]').replace("_DIR/conformance", "_DIR/src")
    ignored = [f"--ignore=tests/conformance/checkers/{name}" for name in SKIPPED]
    settings = {
        "source_paths": ["src/mqbridge_conformance/checkers"],
        "only_mutate": [str(CHECKERS / f"{pattern}.py") for pattern in patterns],
        "do_not_mutate_patterns": list(LEFT_ALONE),
        "also_copy": [*COPIED, "src", "pyproject.toml"],
        "pytest_add_cli_args_test_selection": ["tests/conformance/checkers"],
        "pytest_add_cli_args": [*ignored, "-p", "no:cacheprovider"],
        "type_check_command": [*TYPES, str(CHECKERS)],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join([moved.rstrip(), "", "[tool.mutmut]", *lines, ""])


def environment() -> Path:
    """Python with mutmut, made when it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "bin" / "mutmut").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "pip>=25.1"], check=True)
        subprocess.run([*install, "--group", "dev", MUTMUT], check=True, cwd=ROOT)
    return python


def run(children: int, minutes: float, names: Sequence[str] = ()) -> None:
    """Let mutmut work, nicely, and stop it when its time is over; on these mutants, or on all."""
    environment()
    command = [str(ENVIRONMENT / "bin" / "mutmut"), "run", "--max-children", str(children), *names]
    path = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "MYPYPATH": os.pathsep.join(("src", ".", "adapters"))}
    with (
        (WORK / "mutmut.log").open("wb") as log,
        subprocess.Popen(
            ["nice", *command], cwd=TREE, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            process.wait(minutes * 60)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            os.killpg(process.pid, 15)
            print(f"mutate_checkers: stopped after {minutes:g} minutes; run it again to go on")


# --- what came of it


def outcomes(patterns: Sequence[str]) -> dict[str, str]:
    """Mutant -> what became of it."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for meta in sorted((TREE / "mutants" / CHECKERS).glob(f"{pattern}.py.meta")):
            for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
                found[name] = "not tried" if code is None else TOLD.get(code, "killed")
    return found


def shown(names: Sequence[str]) -> list[Mutant]:
    """What mutants changed. One process for all of them: each would take seconds to start."""
    command = [str(environment()), "-c", SHOW, *names]
    done = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, text=True, check=True)
    return [read_diff(name, diff) for name, diff in zip(names, json.loads(done.stdout), strict=True)]


def read_diff(name: str, diff: str) -> Mutant:
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    was = " ".join(line[1:].strip() for line in lines if line[0] == "-")
    now = " ".join(line[1:].strip() for line in lines if line[0] == "+")
    return Mutant(where(name), was, now)


def where(name: str) -> str:
    """``package.module.xǁClassǁmethod__mutmut_3`` as ``module Class.method``."""
    module, _, function = name.rpartition(".")
    function = re.sub(r"__mutmut_\d+$", "", function)
    if function.startswith("xǁ"):
        function = function.removeprefix("xǁ").replace("ǁ", ".")
    else:
        function = function.removeprefix("x_")
    return f"{module.rpartition('.')[2]} {function}"


def explained(text: str) -> list[Explained]:
    """Those that live for a reason. Errors: `ValueError` for one without."""
    entries = tomllib.loads(text).get("mutant", [])
    if any(not entry.pop("because", "") for entry in entries):
        raise ValueError("each mutant that lives needs a reason")
    return [Explained(**entry) for entry in entries]


def kind_of(mutant: Mutant, known: Iterable[Explained]) -> str:
    if mutant.is_wording:
        return "wording"
    if mutant.is_tie:
        return "tie"
    return "explained" if any(entry.fits(mutant) for entry in known) else "unexplained"


def judge(living: Iterable[Mutant], known: Sequence[Explained]) -> tuple[Counter[str], list[Mutant]]:
    """How many live for which kind of reason, and those that live for none."""
    kinds: Counter[str] = Counter()
    unexplained: list[Mutant] = []
    for mutant in living:
        kind = kind_of(mutant, known)
        kinds[kind] += 1
        if kind == "unexplained":
            unexplained.append(mutant)
    return kinds, unexplained


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutate the checkers and run their tests.")
    parser.add_argument("patterns", nargs="*", default=list(DEFAULT), help="modules of the checkers, without .py")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long mutmut may work")
    parser.add_argument("--children", type=int, default=1, help="how many mutants at a time")
    parser.add_argument("--again", action="store_true", help="try those that lived, with the tests of now")
    parser.add_argument("--report-only", action="store_true", help="judge what an earlier run found")
    asked = parser.parse_args()
    if not asked.report_only:
        before = outcomes(asked.patterns) if asked.again else {}
        prepare(asked.patterns)
        run(asked.children, asked.minutes, [name for name, outcome in before.items() if outcome in LIVING])
    found = outcomes(asked.patterns)
    living = shown([name for name, outcome in found.items() if outcome in LIVING])
    known = explained(EXPLAINED.read_text()) if EXPLAINED.exists() else []
    kinds, unexplained = judge(living, known)
    for mutant in unexplained:
        print(f"{mutant.where}\n  - {mutant.was}\n  + {mutant.now}")
    print(f"mutate_checkers: {len(found)} mutants: {told(Counter(found.values()))}; of those that live: {told(kinds)}")
    return 1 if unexplained or not found or "not tried" in found.values() else 0


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common()) or "none"


if __name__ == "__main__":
    sys.exit(main())
