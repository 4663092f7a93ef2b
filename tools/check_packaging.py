"""Prove that what is built installs and imports: sdist, the wheel made from it, and an editable install.

The rule: each artefact is judged from a fresh environment and an empty folder, with no compiler within reach,
so that nothing of the tree can stand in for what was packed. One printed line is one proof; the first that
fails ends the run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = ("adapters", "conformance", "labs")
NEVER_TOP_LEVEL = ("adapters", "benchmarks", "conformance", "examples", "labs", "tests", "tools")
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")

# What an extra brings may be missing from a bare environment, and only in the rooms that the extra is for.
NEEDS_AN_EXTRA = (
    "mqbridge.cli",
    "mqbridge.testing.plugin",
    "mqbridge_conformance",
    "mqbridge_kafka",
    "mqbridge_rabbitmq",
)
ENGINES = {"kafka": "kafka://localhost:1", "rabbitmq": "amqp://localhost:1/"}
"""Extra -> a URL of the engine whose client it brings. Nobody needs to be at the URL."""

SUITE = ("-p", "mqbridge_conformance.plugin", "--pyargs", "mqbridge_conformance")

PROBE = """
import importlib, importlib.metadata, importlib.util, json, pkgutil, sys
from pathlib import Path

packages, never, needs_an_extra = json.loads(sys.argv[1])
assert not any(Path.cwd().iterdir()), "the probe must start in an empty folder"
imported, waiting, places = [], [], {}
for package in packages:
    module = importlib.import_module(package)
    places[package] = module.__file__
    assert (Path(module.__file__).parent / "py.typed").is_file(), f"{package} has no py.typed"
    for info in pkgutil.walk_packages(module.__path__, package + ".", onerror=lambda name: None):
        if info.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            own = (error.name or "").startswith("mqbridge")
            assert not own and info.name.startswith(tuple(needs_an_extra)), f"{info.name}: {error}"
            waiting.append(info.name)
        else:
            imported.append(info.name)
leaked = [name for name in never if importlib.util.find_spec(name) is not None]
assert not leaked, f"top-level names that must not be importable: {leaked}"
distribution = importlib.metadata.distribution("mqbridge")
unconditional = [r for r in distribution.requires or () if "extra ==" not in r]
assert not unconditional, f"dependencies of the bare install: {unconditional}"
assert distribution.metadata["License-Expression"] == "Apache-2.0"
version = importlib.import_module("mqbridge").__version__
assert version == distribution.version, f"{version} is not the installed {distribution.version}"
print(json.dumps({"imported": len(imported), "waiting": len(waiting), "version": version, "places": places}))
"""


WITHOUT_EXTRA = """
import json, sys
import mqbridge
from mqbridge.errors import ConfigurationError

for extra, url in json.loads(sys.argv[1]).items():
    try:
        mqbridge.connect(url)
    except ConfigurationError as error:
        assert f"extra {extra!r}" in str(error), f"connect({url!r}) without its extra: {error}"
    else:
        raise AssertionError(f"connect({url!r}) without its extra connects")
"""

WITH_EXTRA = """
import sys
from mqbridge.engines import find_engine

extra, url = sys.argv[1:]
engine = find_engine(url.partition(":")[0])
assert engine.name == extra, f"{url} is served by {engine.name}"
"""


class PackagingError(Exception):
    """What does not hold of the artefact, and the output that shows it."""


def proof(text: str) -> None:
    print(f"check_packaging: {text}", flush=True)


def require(condition: bool, text: str) -> None:
    if not condition:
        raise PackagingError(text)


def shipped_packages(root: Path) -> dict[str, Path]:
    """Import name -> folder of each import package in the tree: exactly what the wheel must hold."""
    folders = [root / "mqbridge"]
    for source_root in SOURCE_ROOTS:
        folders += sorted(path.parent for path in (root / source_root).glob("mqbridge_*/__init__.py"))
    return {folder.name: folder for folder in folders}


class Workshop:
    """A scratch folder with a copy of the tree and an environment in which no compiler can be found."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.tree = scratch / "tree"
        shutil.copytree(ROOT, self.tree, ignore=LEFT_OUT)
        no_tools = scratch / "no-tools"
        no_tools.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON") and k != "VIRTUAL_ENV"}
        self.environment = {**kept, "PATH": str(no_tools), "CC": "/bin/false", "CXX": "/bin/false"}
        proof("from here on CC is /bin/false and PATH is an empty folder: no compiler can be called")

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.scratch,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            shown = " ".join(str(part) for part in command if "\n" not in str(part))
            raise PackagingError(f"{shown} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def build(self, kind: str, source: Path) -> Path:
        """Build one artefact with an isolated back end and return its path."""
        out = self.scratch / kind
        self.run(sys.executable, "-m", "build", f"--{kind}", "--outdir", out, source)
        (artefact,) = out.iterdir()
        return artefact

    def environment_with(self, name: str, *what: str | Path) -> Path:
        """A fresh environment holding `what` and what that depends on; its Python."""
        folder = self.scratch / f"env-{name}"
        self.run(sys.executable, "-m", "venv", "--without-pip", folder)
        python = folder / "bin" / "python"
        self.run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what)
        return python


def check_sdist(sdist: Path, scratch: Path) -> Path:
    """Unpack the sdist and return the folder in it."""
    unpacked = scratch / "unpacked"
    shutil.unpack_archive(sdist, unpacked)
    (source,) = unpacked.iterdir()
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"):
        require((source / name).is_file(), f"{sdist.name} lacks {name}")
    proof(f"sdist {sdist.name} built, with its licence and texts")
    return source


def check_wheel(wheel: Path, packages: dict[str, Path]) -> None:
    require(wheel.name.endswith("-py3-none-any.whl"), f"{wheel.name} is not tagged py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in packages.items()
        for path in folder.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    require(expected <= packed, f"{wheel.name} lacks {sorted(expected - packed)}")
    top_level = {name.split("/")[0] for name in packed}
    require(top_level == set(packages), f"{wheel.name} brings {sorted(top_level)}, not {sorted(packages)}")
    proof(f"wheel {wheel.name} built from the sdist: pure, {len(expected)} files of {', '.join(packages)}")


def check_installed(workshop: Workshop, name: str, python: Path, packages: dict[str, Path]) -> None:
    empty = workshop.scratch / f"empty-{name}"
    empty.mkdir()
    question = json.dumps([list(packages), NEVER_TOP_LEVEL, NEEDS_AN_EXTRA])
    answer = json.loads(workshop.run(python, "-c", PROBE, question, cwd=empty))
    for package, place in answer["places"].items():
        from_tree = Path(place).is_relative_to(workshop.tree)
        require(from_tree == (name == "editable"), f"{name}: {package} was imported from {place}")
    proof(
        f"{name}: {', '.join(packages)} and {answer['imported']} modules import from an empty folder "
        f"({answer['waiting']} wait for an extra); py.typed is there; no dependency is asked for"
    )
    proof(f"{name}: not importable: {', '.join(NEVER_TOP_LEVEL)}")
    commands: list[list[str | Path]] = [[python, "-m", "mqbridge"], [python.parent / "mqbridge"]]
    for command in commands:
        said = workshop.run(*command, "--version", cwd=empty).strip()
        require(answer["version"] in said, f"{name}: --version says {said!r}, not {answer['version']}")
    proof(f"{name}: python -m mqbridge --version and mqbridge --version say {answer['version']}")
    workshop.run(python, "-c", WITHOUT_EXTRA, json.dumps(ENGINES), cwd=empty)
    proof(f"{name}: connect() to an engine without its client names the extra: {', '.join(ENGINES)}")


def check_extra(workshop: Workshop, wheel: Path, extra: str) -> None:
    """The extra brings the engine's client, as a wheel, and the engine imports with it."""
    python = workshop.environment_with(f"extra-{extra}", "--only-binary=:all:", f"{wheel}[{extra}]")
    empty = workshop.scratch / f"empty-extra-{extra}"
    empty.mkdir()
    workshop.run(python, "-c", WITH_EXTRA, extra, ENGINES[extra], cwd=empty)
    proof(f"extra {extra}: installs, and {ENGINES[extra].partition('://')[0]}: finds its engine")


def check_outsider(workshop: Workshop, wheel: Path) -> None:
    """An adapter that is not ours is found by its entry points, and the installed suite runs on it."""
    adapter = workshop.tree / "tests" / "example_adapter"
    python = workshop.environment_with("outsider", f"{wheel}[conformance]", adapter)
    empty = workshop.scratch / "empty-outsider"
    empty.mkdir()
    said = workshop.run(python, "-m", "pytest", *SUITE, "--mq-target=example:", cwd=empty)
    require("FAIL" not in said and "REFUSED-PROVEN" in said, f"the suite on example: says\n{said}")
    proof(f"outsider: {said.splitlines()[-1].strip('= ')}, by the installed suite on an adapter that is not ours")


def main() -> int:
    try:
        with tempfile.TemporaryDirectory(prefix="mqbridge-packaging-") as folder:
            workshop = Workshop(Path(folder).resolve())
            packages = shipped_packages(workshop.tree)
            sdist = workshop.build("sdist", workshop.tree)
            wheel = workshop.build("wheel", check_sdist(sdist, workshop.scratch))
            check_wheel(wheel, packages)
            installs: dict[str, tuple[str | Path, ...]] = {
                "wheel": ("--no-deps", "--no-index", wheel),
                "sdist": ("--no-deps", sdist),
                "editable": ("--no-deps", "--editable", workshop.tree),
            }
            for name, what in installs.items():
                check_installed(workshop, name, workshop.environment_with(name, *what), packages)
            for extra in ENGINES:
                check_extra(workshop, wheel, extra)
            check_outsider(workshop, wheel)
    except PackagingError as error:
        print(f"check_packaging: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
