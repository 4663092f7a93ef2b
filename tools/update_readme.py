"""Put the generated tables into README.md: the slice at its top and the whole table below, between their markers.

The rule: the tables are what ``mqbridge conformance table`` says after it ran the scenarios on all engines, brokers
in containers among them; nobody edits them by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
PARTS = {"slice": ["--slice"], "table": []}
TARGETS = ("memory", "folder", "client", "kafka", "rabbitmq")


def replace_between(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if len(marked.findall(text)) != 1:
        raise SystemExit(f"update_readme: README.md needs the markers <!-- {name} --> and <!-- /{name} --> once")
    return marked.sub(lambda found: f"{found[1]}{content}{found[2]}", text)


def _unmarked(rows: list[str]) -> list[str]:
    """The short table goes without the notes, which stand below the long one."""
    return [re.sub(r" (\[\d+\])+:", ":", row) for row in rows]


def main() -> int:
    text = README.read_text()
    for name, options in PARTS.items():
        command = [sys.executable, "-m", "mqbridge", "conformance", "table", *options, *TARGETS]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        shown = [line for line in done.stdout.splitlines() if not options or line.startswith("|")]
        text = replace_between(text, name, "\n".join(_unmarked(shown) if options else shown).strip() + "\n")
    README.write_text(text)
    print("update_readme: the tables are those of this run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
