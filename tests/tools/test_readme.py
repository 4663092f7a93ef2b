"""README.md tells the truth that can be checked without running anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge.capabilities import Level
from mqbridge.native import claims as native
from mqbridge_kafka import claims as kafka
from mqbridge_rabbitmq import claims as rabbitmq

README = (Path(mq.__file__).resolve().parent.parent / "README.md").read_text()
WORDS = {Level.DIRECT: "direct", Level.EMULATED: "emulated", Level.UNSUPPORTED: "refused"}


ENGINES = {"native": native.CLAIMS, "kafka": kafka.CLAIMS, "rabbitmq": rabbitmq.CLAIMS}


def rows(name: str) -> dict[str, dict[str, str]]:
    """Capability -> engine -> what is said."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found is not None
    lines = [line.strip("| ").split(" | ") for line in found[1].splitlines() if line.startswith("|")]
    return {cells[0]: dict(zip(lines[0][1:], cells[1:], strict=True)) for cells in lines[2:]}


@pytest.mark.parametrize("name", ["slice", "table"])
def test_the_tables_say_what_the_engines_claim(name: str) -> None:
    """Each row of the generated tables has the level that an engine claims now; a changed claim needs a new table."""
    for capability, said in rows(name).items():
        assert list(said) == list(ENGINES)
        for engine, claim in said.items():
            support = ENGINES[engine][mq.Capability(capability)]
            assert claim.startswith("later" if support.later else WORDS[support.level]), (engine, capability)


def test_the_whole_table_is_whole() -> None:
    """Every capability has its row, and none failed when the table was made."""
    assert list(rows("table")) == [capability.value for capability in mq.Capability]
    said = [claim for engines in rows("table").values() for claim in engines.values()]
    assert not [claim for claim in said if "FAIL" in claim or "UNKNOWN" in claim]


def test_the_shortest_program_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first program of the README runs, word for word, and prints the order."""
    monkeypatch.chdir(tmp_path)
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert program is not None
    said: list[tuple[object, ...]] = []
    exec(compile(program[1], "README.md", "exec"), {"print": lambda *words: said.append(words)})
    assert said == [({"id": 1}, 1, 0)]
