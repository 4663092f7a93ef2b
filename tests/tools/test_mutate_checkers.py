"""What the mutation run makes of mutmut's answers: names, sentences, reasons, and a copy of the tree."""

from __future__ import annotations

import tomllib
from collections import Counter

import pytest

from tools.mutate_checkers import EXPLAINED, ROOT, Mutant, configured, explained, judge, read_diff, told, where


def test_a_name_tells_where() -> None:
    """Module and function, or method; the number of the mutant is left out, for it changes with every edit."""
    package = "mqbridge_conformance.checkers"
    assert where(f"{package}.queue_fate.x_check_fate__mutmut_3") == "queue_fate check_fate"
    assert where(f"{package}.queue_fate.x__delay__mutmut_12") == "queue_fate _delay"
    assert where(f"{package}.queue_fate.xǁ_Fatesǁ_orphan__mutmut_1") == "queue_fate _Fates._orphan"


def test_a_diff_tells_what_was_changed() -> None:
    """The lines that differ, without their indentation; several of them as one."""
    diff = "# x: survived\n--- a.py\n+++ a.py\n@@ -1,3 +1,3 @@\n def f():\n-    a = 1\n-    b = 2\n+    a = None\n"
    assert read_diff("p.m.x_f__mutmut_1", diff) == Mutant("m f", "a = 1 b = 2", "a = None")


@pytest.mark.parametrize(
    ("was", "now", "wording"),
    [
        ('say("two words")', 'say("XXtwo wordsXX")', True),
        ('say("Two words")', 'say("two words")', True),
        ('say("two words")', 'say("TWO WORDS")', True),
        ('say("one")', 'say("XXoneXX")', False),
        ('say("two words", 1)', 'say("two words", 2)', False),
        ('say("two words")', "say(None)", False),
    ],
)
def test_a_sentence_is_wording(was: str, now: str, wording: bool) -> None:
    """Text with a blank in it, in other letters; a name is none, and neither is what stands beside the text."""
    assert Mutant("m f", was, now).is_wording is wording


@pytest.mark.parametrize(
    ("was", "now", "tie"),
    [
        ("if lease.t < since:", "if lease.t <= since:", True),
        ("if until - since >= limit:", "if until - since > limit:", True),
        ("if lease.t < since:", "if lease.t > since:", False),
        ("if number >= limit:", "if number > limit:", False),
        ("if len(found) > most:", "if len(found) >= most:", False),
    ],
)
def test_a_moment_that_is_another_to_the_nanosecond_is_a_tie(was: str, now: str, tie: bool) -> None:
    """Where both sides are moments, or times; a number of something has a bound that is meant."""
    assert Mutant("m f", was, now).is_tie is tie


def test_what_lives_for_a_reason_is_explained() -> None:
    """By the same place and the same change; another one is not."""
    known = explained('[[mutant]]\nwhere = "m f"\nwas = "a"\nnow = "b"\nbecause = "it is the same"\n')
    living = [Mutant("m f", "a", "b"), Mutant("m f", "a", "c"), Mutant("m f", 's("a b")', 's("XXa bXX")')]
    kinds, unexplained = judge(living, known)
    assert kinds == Counter({"explained": 1, "unexplained": 1, "wording": 1})
    assert unexplained == [living[1]]


def test_a_reason_must_be_given() -> None:
    """An entry without one explains nothing."""
    with pytest.raises(ValueError, match="reason"):
        explained('[[mutant]]\nwhere = "m f"\nwas = "a"\nnow = "b"\nbecause = ""\n')


def test_the_copy_has_its_package_below_src() -> None:
    """In the paths of pytest, and in what mutmut is to change."""
    found = tomllib.loads(configured((ROOT / "pyproject.toml").read_text(), ["queue_fate"]))["tool"]
    assert found["pytest"]["ini_options"]["pythonpath"] == [".", "adapters", "src"]
    assert found["mutmut"]["only_mutate"] == ["src/mqbridge_conformance/checkers/queue_fate.py"]


def test_numbers_are_told_the_biggest_first() -> None:
    """And nothing is none."""
    assert told(Counter({"lived": 1, "killed": 2})) == "2 killed, 1 lived"
    assert told(Counter()) == "none"


@pytest.mark.parametrize(
    ("was", "now", "tie"),
    [
        ("if lease.t < until:", "if lease.t <= until:", True),
        ("if lease.t >= min(lost, 1):", "if lease.t > min(lost, 1):", True),
        ("if lease.t < until:", "if lease.t > until:", False),
        ("if off <= before[0]:", "if off < before[0]:", False),
        ("if lease.t < until and off < 3:", "if lease.t < until and off <= 3:", False),
    ],
)
def test_two_moments_that_are_the_same_are_a_tie(was: str, now: str, tie: bool) -> None:
    """Of moments alone; offsets and numbers may be the same."""
    assert Mutant("m f", was, now).is_tie is tie


def test_a_reason_may_stand_for_several() -> None:
    """By patterns; what is left out of them is any."""
    known = explained('[[mutant]]\nwhere = "^m f$"\nnow = "XX"\nbecause = "words"\n')
    living = [Mutant("m f", "a", "XXaXX"), Mutant("m f", "a", "b"), Mutant("m g", "a", "XXaXX")]
    assert judge(living, known)[1] == living[1:]


def test_every_reason_that_is_written_down_is_read() -> None:
    """And none of them excuses everything."""
    known = explained(EXPLAINED.read_text())
    assert known
    assert all(entry.where or entry.was or entry.now for entry in known)
