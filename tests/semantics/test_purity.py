"""The room keeps its rule: it imports nothing impure, and the seed of Python's hashes changes no result."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mqbridge.semantics.routing

ROOM = Path(mqbridge.semantics.routing.__file__).parent
PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "datetime",
    "difflib",
    "heapq",
    "itertools",
    "math",
    "re",
    "struct",
    "types",
    "typing",
}
PROGRAM = """
from mqbridge.semantics.assignors import cooperative_step, range_assign, round_robin_assign, sticky_assign
from mqbridge.semantics.naming import nearest
from mqbridge.semantics.routing import ExchangeTable
topics = {f"t{n}": n + 1 for n in range(6)}
members = {f"m{n}": [t for t in topics if (n * 7 + topics[t]) % 3 or t == "t5"] for n in range(5)}
owned = {"m0": {(t, n) for t in topics for n in range(topics[t])}}
for how in (range_assign, round_robin_assign):
    print(how(members, topics))
print(sticky := sticky_assign(members, topics, owned))
print(sticky_assign({m: topics for m in members}, topics, owned))
print(cooperative_step(owned, sticky))
print(nearest("ab1", {"ab2", "ab3", "ab4"}))
table = ExchangeTable()
for name, type in (("t", "topic"), ("h", "headers"), ("f", "fanout")):
    table.add_exchange(name, type)
for n in range(20):
    table.bind("ht"[n % 2], "queue", f"q{n}", key="a.#" if n % 3 else "*.b", headers={"k": "v"})
    table.bind("f", "exchange", "ht"[n % 2], key=str(n))
print(table.route("f", "a.b", {"k": b"v"}), table.bindings(), table.remove_exchange("t"))
"""


@pytest.mark.parametrize("module", sorted(ROOM.glob("*.py")), ids=lambda path: path.stem)
def test_modules_import_pure_parts_only_and_ask_no_hash_or_id(module: Path) -> None:
    """No clock, random number, thread, I/O or other room comes in, not even inside a function."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            assert name.split(".")[0] in PURE or name.startswith("mqbridge.semantics."), name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("hash", "id", "open", "print", "__import__")
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("now", "today", "utcnow"), "a clock is read"


def test_results_do_not_depend_on_the_seed_of_hashes() -> None:
    """Two interpreters whose sets and dict probes run in different orders print the same."""

    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOM.parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    first = run("1")
    assert first.count("\n") == 7
    assert first == run("2") == run("77")
