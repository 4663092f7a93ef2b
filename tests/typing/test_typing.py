"""mypy sees what the API promises."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(180)
def test_the_types_of_the_api() -> None:
    """Topic[Order] flows to Delivery[Order], queue_consumer.seek is a type error, and so on: api.py type-checks, and
    each of its ignores is needed."""
    api = pytest.importorskip("mypy.api")
    root = HERE.parents[1]
    arguments = ["--config-file", str(root / "pyproject.toml"), "--cache-dir", str(root / ".mypy_cache")]
    said, failed, status = api.run([*arguments, str(HERE / "api.py")])
    assert status == 0, said + failed
