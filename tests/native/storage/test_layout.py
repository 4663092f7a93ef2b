"""Foreign and newer folders are refused untouched, and no two names share a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mqbridge import errors
from mqbridge.native.storage.layout import IDENTITY, inspect_folder, prepare_folder, quote

names = st.text(max_size=30) | st.text("aA=%.~-", max_size=5) | st.text("aBc", min_size=100, max_size=300)


@settings(deadline=None)
@given(names, names)
@example("Orders", "orders")
@example("=o", "O")
@example("%41", "A")
@example("ä", "Ä")
@example("straße", "strasse")
@example("x" * 300, "x" * 299 + "y")
@example("X" * 181, "x" * 181)
def test_no_two_names_share_a_file_even_without_case(one: str, other: str) -> None:
    """Names that differ are quoted differently even when letter case is ignored, safely and within
    200 bytes.
    """
    if one != other:
        assert quote(one).casefold() != quote(other).casefold()
    for quoted in (quote(one), quote(other)):
        assert quoted.isascii()
        assert len(quoted) <= 200
        assert "/" not in quoted
        assert not quoted.startswith(".")


def test_ordinary_names_stay_readable() -> None:
    """A portable name in small letters is its own file name."""
    assert quote("orders.eu-1_x") == "orders.eu-1_x"
    assert quote("Orders") == "=orders"


def test_a_foreign_folder_is_refused_untouched(tmp_path: Path) -> None:
    """A folder with anything else in it is ConfigurationError, and nothing is made in it."""
    (tmp_path / "thesis.tex").write_text("years of work")
    for call in (inspect_folder, prepare_folder):
        with pytest.raises(errors.ConfigurationError, match=r"thesis\.tex"):
            call(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_newer_format_is_refused_untouched(tmp_path: Path) -> None:
    """A folder of a later format is ConfigurationError naming it; one that makes no sense is CorruptLog."""
    path = tmp_path / IDENTITY
    path.write_text(json.dumps({"format": 7}))
    with pytest.raises(errors.ConfigurationError, match="format 7"):
        prepare_folder(tmp_path)
    assert os.listdir(tmp_path) == [IDENTITY]
    for nonsense in ("", "{}", "[]", '{"format": "1"}', '{"format": 0}'):
        path.write_text(nonsense)
        with pytest.raises(errors.CorruptLog):
            prepare_folder(tmp_path)


def test_a_new_folder_becomes_ours(tmp_path: Path) -> None:
    """A missing or empty folder, also one that holds only a lock, is taken; afterwards it is recognised."""
    for folder in (tmp_path / "deep" / "new", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
            (folder / "mqbridge.lock").touch()
        assert not inspect_folder(folder)
        prepare_folder(folder)
        assert inspect_folder(folder)


def test_a_file_in_place_of_the_folder_is_unreachable(tmp_path: Path) -> None:
    """A path that is no folder, or leads through a file, is Unreachable with the system's reason as cause."""
    path = tmp_path / "file"
    path.touch()
    for wrong in (path, path / "below"):
        with pytest.raises(errors.Unreachable) as caught:
            prepare_folder(wrong)
        assert isinstance(caught.value.__cause__, OSError)
