"""README.md tells the truth that can be checked without running anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.capabilities import Level
from mqbridge.native.claims import CLAIMS

README = (Path(mq.__file__).resolve().parent.parent / "README.md").read_text()
WORDS = {Level.DIRECT: "direct", Level.EMULATED: "emulated", Level.UNSUPPORTED: "refused"}


def rows(name: str) -> dict[str, str]:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found is not None
    cells = [line.strip("| ").split(" | ", 1) for line in found[1].splitlines()[2:]]
    return {cell[0]: cell[1] for cell in cells}


@pytest.mark.parametrize("name", ["slice", "table"])
def test_the_tables_say_what_the_engine_claims(name: str) -> None:
    """Each row of the generated tables has the level that the engine claims now; a changed claim needs a new table."""
    for capability, claim in rows(name).items():
        support = CLAIMS[mq.Capability(capability)]
        assert claim.startswith("later" if support.later else WORDS[support.level]), capability


def test_the_whole_table_is_whole() -> None:
    """Every capability has its row, and none failed when the table was made."""
    assert list(rows("table")) == [capability.value for capability in mq.Capability]
    assert not [claim for claim in rows("table").values() if "FAIL" in claim or "UNKNOWN" in claim]


def test_the_shortest_program_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first program of the README runs, word for word, and prints the order."""
    monkeypatch.chdir(tmp_path)
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert program is not None
    said: list[tuple[object, ...]] = []
    exec(compile(program[1], "README.md", "exec"), {"print": lambda *words: said.append(words)})
    assert said == [({"id": 1}, 1, 0)]
