"""Put the generated tables into README.md: the slice at its top and the whole table below, between their markers.

The rule: the tables are what ``mqbridge conformance table`` says after it ran the scenarios on all engines, brokers
in containers among them, or of the files of such runs, if they are given; nobody edits them by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mqbridge_conformance.report import SLICE

README = Path(__file__).resolve().parent.parent / "README.md"
TARGETS = ("memory", "folder", "client", "kafka", "rabbitmq")


def replace_between(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if len(marked.findall(text)) != 1:
        raise SystemExit(f"update_readme: README.md needs the markers <!-- {name} --> and <!-- /{name} --> once")
    return marked.sub(lambda found: f"{found[1]}{content}{found[2]}", text)


def short(table: str) -> str:
    """The rows for the top, without the marks of notes, which stand below the long table."""
    names = ("capability", "---", *SLICE)
    rows = [line for line in table.splitlines() if line.startswith("|") and line.split(" | ")[0].strip("| ") in names]
    return "\n".join(re.sub(r" (\[\d+\])+:", ":", row) for row in rows) + "\n"


def main() -> int:
    of = [word for run in sys.argv[1:] for word in ("--of", run)] or TARGETS
    command = [sys.executable, "-m", "mqbridge", "conformance", "table", *of]
    table = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip() + "\n"
    text = replace_between(README.read_text(), "slice", short(table))
    text = replace_between(text, "table", table)
    README.write_text(text)
    print("update_readme: the tables are those of this run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
