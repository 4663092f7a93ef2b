"""Storage tests without waiting for the medium."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


def _check(fd: int) -> None:
    os.fstat(fd)


@pytest.fixture(autouse=True, scope="module")
def _no_real_flush() -> Iterator[None]:
    """Flush nothing for real: the death of a process loses no page, and losses of power are modelled (`power`).

    Processes that a test starts do flush.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, _check)
        yield
