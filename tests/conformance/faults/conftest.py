"""A history to write to, and the faults of a target that has none of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mqbridge_conformance.history import Event, Recorder, load


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    folder = tmp_path / "history"
    folder.mkdir()
    found = Recorder(folder, "scenario")
    yield found
    found.close()


@pytest.fixture
def told(recorder: Recorder) -> Callable[[], list[Event]]:
    """What has been written so far."""
    return lambda: load(recorder.folder).events
