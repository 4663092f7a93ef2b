"""Check what no linter knows about this tree: size of modules, commands in the README, registries' addresses.

The rule: only what can be read from the files that git would commit; building and running belong elsewhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONG_LINES = 500
TOO_LONG_LINES = 800
COMMANDS = ("make demo", "make test")
REGISTRY = re.compile(r"https?://[a-z0-9.-]*(?:pypi|pythonhosted|maven|debian|npmjs|golang|crates)[a-z0-9.-]*")


def tracked_files(root: Path) -> list[Path]:
    """Files of the tree, new ones included and ignored ones not."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in sorted(set(listing.split("\0")) - {""}) if (path := root / name).is_file()]


def check(root: Path) -> tuple[list[str], list[str]]:
    """Return (faults, remarks)."""
    faults: list[str] = []
    remarks: list[str] = []
    for path in tracked_files(root):
        name = path.relative_to(root)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary: neither a module nor a place for an address to be read
        lines = text.count("\n")
        if path.suffix == ".py" and lines > LONG_LINES:
            where = faults if lines > TOO_LONG_LINES else remarks
            where.append(f"{name}: {lines} lines; {LONG_LINES} are plenty, {TOO_LONG_LINES} the limit")
        faults += [f"{name}: the address of a registry: {found[0]}" for found in REGISTRY.finditer(text)]
    readme = root / "README.md"
    shown = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    faults += [f"README.md: does not show `{command}`" for command in COMMANDS if command not in shown]
    return faults, remarks


def main() -> int:
    faults, remarks = check(ROOT)
    for remark in remarks:
        print(f"check_tree: remark: {remark}")
    for fault in faults:
        print(f"check_tree: {fault}", file=sys.stderr)
    if not faults:
        print("check_tree: sizes, README and addresses are in order")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
