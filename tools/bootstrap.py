"""Make `.venv`, the environment for development, from nothing but a Python >= 3.11.

The rule: `.venv` is either whole or absent. The marker inside it is written last and holds a digest of
everything the environment was made from; one without the marker was interrupted and is removed, one with
another digest is made anew, one with the same digest is reused at once. uv is used where it runs, else venv
and pip.

Standard library alone: this runs before anything is installed. What is installed is said in pyproject.toml.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
MARKER = VENV / ".mqbridge-ready"
# Under an activated .venv, sys.executable lies in the folder that may be removed; venv asks for this one too.
PYTHON = str(getattr(sys, "_base_executable", sys.executable))
PIP = "pip>=25.1"  # the first that installs dependency groups (PEP 735)
WHAT = ["--editable", ".[all]", "--group", "dev"]


class BootstrapError(Exception):
    """One sentence for a reader: what failed, what was kept, what to do."""


def say(text: str) -> None:
    print(f"bootstrap: {text}", flush=True)


def run(*command: str | Path, probe: bool = False) -> bool:
    """Run a command in the tree and tell whether it succeeded; what it said is shown if it did not.

    A `probe` asks whether something is there at all: its failure is an answer, and shown by nobody.
    """
    arguments = [str(part) for part in command]
    if not probe:
        say("$ " + " ".join(arguments))
    try:
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError:
        return False
    if done.returncode != 0 and not probe:
        sys.stderr.write(done.stdout.decode(errors="replace"))
    return done.returncode == 0


def fingerprint() -> str:
    """Digest of what decides the content of the environment; it cannot be moved, so its place counts."""
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    made_from = {
        "build-system": project.get("build-system"),
        "project": project.get("project"),
        "dependency-groups": project.get("dependency-groups"),
        "setuptools": project.get("tool", {}).get("setuptools"),
        "python": sys.version,
        "root": str(ROOT),
        "what": [PIP, *WHAT],
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def is_ready(digest: str) -> bool:
    try:
        found = MARKER.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return False
    return found == digest and run(VENV_PYTHON, "-c", "", probe=True)


def remove() -> None:
    if VENV.exists():
        shutil.rmtree(VENV)


def make_with_uv(uv: str) -> bool:
    say(f"making .venv with {uv}")
    return run(uv, "venv", "--quiet", "--python", PYTHON, VENV) and run(
        uv, "pip", "install", "--quiet", "--python", VENV_PYTHON, *WHAT
    )


def make_with_venv() -> None:
    say(f"making .venv with {PYTHON} -m venv")
    if not run(PYTHON, "-m", "venv", VENV, probe=True):
        remove()
        make_without_ensurepip()
    say("installing the project and its tools (a minute or so the first time)")
    if not (
        run(VENV_PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", PIP)
        and run(VENV_PYTHON, "-m", "pip", "install", "--quiet", *WHAT)
    ):
        raise BootstrapError(
            "pip could not install the development tools, for the reason it gives above; .venv was removed; "
            "check the network or the proxy settings and run the command again."
        )


def make_without_ensurepip() -> None:
    """Debian splits ensurepip out of its Python; a pip of the system can still fill an empty environment."""
    say("this Python has no ensurepip: trying an empty environment and the pip of the system")
    if not (
        run(PYTHON, "-m", "pip", "--version", probe=True)
        and run(PYTHON, "-m", "venv", "--without-pip", VENV, probe=True)
        and run(PYTHON, "-m", "pip", "--python", VENV_PYTHON, "install", "--quiet", PIP)
    ):
        raise BootstrapError(
            f"{PYTHON} cannot make a virtual environment with pip, and there is no uv that works; "
            "install one of them, for example with `apt install python3-venv`, and run the command again."
        )


def bootstrap() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this by hand may run it with any Python
        raise BootstrapError(f"{PYTHON} is older than Python 3.11: run tools/python tools/bootstrap.py.")
    if VENV.is_symlink() or (VENV.exists() and not VENV.is_dir()):
        raise BootstrapError(f"{VENV} is no folder that this script made: move it away and run this again.")
    digest = fingerprint()
    if is_ready(digest):
        say(".venv is up to date")
        return
    if VENV.exists():
        say("removing a .venv that is half made or out of date")
        remove()
    try:
        uv = shutil.which("uv")
        if uv is None or not run(uv, "--version", probe=True) or not make_with_uv(uv):
            remove()
            make_with_venv()
        MARKER.write_text(digest + "\n", encoding="ascii")
    except BaseException:
        remove()
        raise
    say(".venv is ready")


def main() -> int:
    try:
        bootstrap()
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bootstrap: interrupted; .venv was removed.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
