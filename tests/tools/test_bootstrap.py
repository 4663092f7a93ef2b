"""From a bare machine to `.venv`: which interpreter is found, and an environment that is whole or absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PYPROJECT = '[project]\nname = "probe"\n\n[dependency-groups]\ndev = ["one"]\n'


class Machine:
    """A tree of its own with the two tools, and a PATH that holds nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.bin = folder / "bin"
        self.modules = folder / "modules"
        self.log = folder / "log"
        for made in (self.tree / "tools", self.bin, self.modules):
            made.mkdir(parents=True)
        for name in ("bootstrap.py", "python"):
            shutil.copy(TOOLS / name, self.tree / "tools" / name)
        (self.tree / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
        self.venv = self.tree / ".venv"
        self.variables = {"PATH": str(self.bin), "LOG": str(self.log), "REAL": sys.executable}

    def command(self, name: str, body: str, *, folder: Path | None = None) -> Path:
        """Put an executable sh script on PATH."""
        path = (folder or self.bin) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def module(self, name: str, body: str) -> None:
        """Put a module before the standard library's and the installed ones, runnable with -m too."""
        (self.modules / name).mkdir()
        (self.modules / name / "__init__.py").write_text("", encoding="utf-8")
        (self.modules / name / "__main__.py").write_text(body, encoding="utf-8")
        self.variables["PYTHONPATH"] = str(self.modules)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.tree,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def bootstrap(self) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "tools/bootstrap.py")

    def logged(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


FAKE_UV = """
echo "uv $*" >> "$LOG"
case "$1" in
    venv) for last; do :; done
          PATH=/usr/bin:/bin
          mkdir -p "$last/bin" && ln -s "$REAL" "$last/bin/python" ;;
esac
"""

RECORDING_PIP = """
import os, sys
with open(os.environ["LOG"], "a") as log:
    print("pip", *sys.argv[1:], file=log)
"""

VENV_WITHOUT_ENSUREPIP = """
import os, pathlib, sys
with open(os.environ["LOG"], "a") as log:
    print("venv", *sys.argv[1:], file=log)
target = pathlib.Path(sys.argv[-1], "bin")
target.mkdir(parents=True)
(target / "python").symlink_to(os.environ["REAL"])
if "--without-pip" not in sys.argv:
    sys.exit("ensurepip is not available")
"""


def test_a_half_made_environment_is_made_anew(machine: Machine) -> None:
    """A `.venv` without the marker is removed, not built upon, and the marker is there at the end."""
    machine.command("uv", FAKE_UV)
    (machine.venv / "bin").mkdir(parents=True)
    (machine.venv / "left-over").touch()
    done = machine.bootstrap()
    assert done.returncode == 0, done.stderr
    assert not (machine.venv / "left-over").exists()
    assert (machine.venv / ".mqbridge-ready").read_text(encoding="ascii").strip()


def test_uv_installs_the_project_with_its_extras_and_the_dev_group(machine: Machine) -> None:
    """Where uv runs it does everything, into `.venv` and not into its own or an activated environment."""
    machine.command("uv", FAKE_UV)
    assert machine.bootstrap().returncode == 0
    version, venv, install = machine.logged()
    assert version == "uv --version"
    assert venv.endswith(str(machine.venv))
    assert install.endswith("--editable .[all] --group dev")
    assert f"--python {machine.venv}/bin/python" in install


def test_an_unchanged_environment_is_used_again(machine: Machine) -> None:
    """The second run installs nothing; a changed dependency group makes the environment anew."""
    machine.command("uv", FAKE_UV)
    assert machine.bootstrap().returncode == 0
    before = machine.logged()
    again = machine.bootstrap()
    assert again.returncode == 0
    assert "up to date" in again.stdout
    assert machine.logged() == before
    (machine.tree / "pyproject.toml").write_text(PYPROJECT.replace("one", "two"), encoding="utf-8")
    (machine.venv / "of-the-old-one").touch()
    assert machine.bootstrap().returncode == 0
    assert not (machine.venv / "of-the-old-one").exists()
    assert len(machine.logged()) == 2 * len(before)


def test_an_environment_whose_python_is_gone_is_made_anew(machine: Machine) -> None:
    """A marker alone does not count: an uninstalled interpreter leaves `.venv/bin/python` dangling."""
    machine.command("uv", FAKE_UV)
    assert machine.bootstrap().returncode == 0
    python = machine.venv / "bin" / "python"
    python.unlink()
    python.symlink_to(machine.folder / "uninstalled")
    assert machine.bootstrap().returncode == 0
    assert python.exists()


def test_a_failed_install_leaves_no_environment(machine: Machine) -> None:
    """When pip cannot install, one sentence says so and no `.venv` is left to be mistaken for a whole one."""
    machine.module("venv", VENV_WITHOUT_ENSUREPIP.replace('"--without-pip" not in sys.argv', "False"))
    machine.module("pip", "raise SystemExit(1)")
    done = machine.bootstrap()
    assert done.returncode == 1
    assert not machine.venv.exists()
    (sentence,) = done.stderr.splitlines()
    assert "could not install" in sentence
    assert "network" in sentence


def test_neither_uv_nor_venv_gives_one_sentence(machine: Machine) -> None:
    """Without uv, ensurepip and pip the error names a command that helps, and shows no traceback."""
    machine.module("venv", VENV_WITHOUT_ENSUREPIP)
    machine.module("pip", "raise SystemExit(1)")
    done = machine.bootstrap()
    assert done.returncode == 1
    assert not machine.venv.exists()
    (sentence,) = done.stderr.splitlines()
    assert "apt install python3-venv" in sentence


def test_the_pip_of_the_system_fills_an_environment_made_without_ensurepip(machine: Machine) -> None:
    """Debian without python3-venv: `--without-pip`, then the outer pip installs pip into `.venv`."""
    machine.module("venv", VENV_WITHOUT_ENSUREPIP)
    machine.module("pip", RECORDING_PIP)
    done = machine.bootstrap()
    assert done.returncode == 0, done.stderr
    assert machine.logged() == [
        f"venv {machine.venv}",
        "pip --version",
        f"venv --without-pip {machine.venv}",
        f"pip --python {machine.venv}/bin/python install --quiet pip>=25.1",
        "pip install --quiet --upgrade pip>=25.1",
        "pip install --quiet --editable .[all] --group dev",
    ]


@pytest.mark.parametrize("uv", ["exit 127", '[ "$1" = --version ]'])
def test_a_uv_that_fails_is_passed_over(machine: Machine, uv: str) -> None:
    """A shim of uv that does not run, or a uv that cannot install, leaves the work to venv and pip."""
    machine.command("uv", uv)
    machine.module("venv", VENV_WITHOUT_ENSUREPIP)
    machine.module("pip", RECORDING_PIP)
    assert machine.bootstrap().returncode == 0
    assert machine.logged()[-1] == "pip install --quiet --editable .[all] --group dev"


def test_a_linked_environment_is_left_alone(machine: Machine) -> None:
    """A `.venv` that is a link belongs to somebody: it is refused and what it names is kept."""
    elsewhere = machine.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    machine.venv.symlink_to(elsewhere)
    done = machine.bootstrap()
    assert done.returncode == 1
    assert "move it away" in done.stderr
    assert (elsewhere / "precious").exists()


REAL_PYTHON = 'exec "$REAL" "$@"'
SHIM = 'echo "pyenv: not found" >&2; exit 127'
OLD_PYTHON = 'case "$1" in -c) exit 1 ;; esac; echo old'


def test_a_shim_that_fails_is_passed_over(machine: Machine) -> None:
    """The finder runs each candidate: neither a broken shim nor an old Python of a fitting name is taken."""
    machine.command("python3.14", SHIM)
    machine.command("python3.11", OLD_PYTHON)
    machine.command("python3", REAL_PYTHON)
    done = machine.run("tools/python", "-c", "print('ran', 'this one')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran this one\n", "")


def test_a_python_behind_a_shim_of_the_same_name_is_found(machine: Machine) -> None:
    """The search goes on through PATH behind a shim that fails: `command -v` would stop at the shim."""
    behind = machine.folder / "behind"
    machine.command("python3", SHIM)
    machine.command("python3", REAL_PYTHON, folder=behind)
    machine.variables["PATH"] = f"{machine.bin}{os.pathsep}{behind}"
    assert machine.run("tools/python", "-c", "print('found')").stdout == "found\n"


def test_no_python_at_all_gives_one_sentence(machine: Machine) -> None:
    """A machine without a fitting Python hears which version is wanted, on one line."""
    machine.command("python3", OLD_PYTHON)
    done = machine.run("tools/python", "-c", "")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "Python 3.11" in sentence


@pytest.mark.parametrize(("chosen", "status"), [(REAL_PYTHON, 0), (SHIM, 1)])
def test_a_python_that_is_named_is_the_one_used(machine: Machine, chosen: str, status: int) -> None:
    """PYTHON=... is used or refused, never replaced by another that happens to be there."""
    machine.command("python3", 'echo "the wrong one"')
    machine.variables["PYTHON"] = str(machine.command("chosen", chosen))
    done = machine.run("tools/python", "-c", "print('right')")
    assert done.returncode == status
    assert "wrong" not in done.stdout
    assert ("PYTHON=" in done.stderr) == bool(status)
