"""What reaches a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from mqbridge.demo.screen import Glyphs, LiveScreen, RichScreen, Screen, clean, colours, open_screen


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, newline="\n")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


def test_control_characters_are_escaped() -> None:
    """A line of a file must not clear the screen, ring, or break the line; a lone surrogate must not end the demo."""
    assert clean("a\x1b[2J\n\x07é\ud800") == "a\\x1b[2J\\n\\x07é\\ud800"


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "✔"), ("ascii", "+"), ("latin-1", "+"), ("cp1252", "+")])
def test_marks_are_those_that_the_stream_can_encode(encoding: str, mark: str) -> None:
    """With an ASCII locale the report is ASCII, and what cannot be encoded becomes a question mark."""
    glyphs = Glyphs(Terminal(encoding))
    assert glyphs.good == mark
    glyphs.fit("日本 ✔").encode(encoding)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR, a dumb terminal and a pipe get none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colours(Terminal())
    assert not colours(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not colours(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(Terminal())


def test_a_pipe_gets_plain_lines() -> None:
    """No escape sequence, one line for each stage and each note."""
    stream = io.StringIO()
    with open_screen(stream) as screen:
        assert type(screen) is Screen
        screen.stage("working")
        screen.progress([("payment", 1, 2)])
        screen.note("a \x1b thing")
    assert [line[9:] for line in stream.getvalue().splitlines()] == ["working", "  a \\x1b thing"]


def test_a_terminal_gets_a_picture_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn with bars, erased at the end; what is lasting stays, also with rich missing."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setitem(sys.modules, "rich.live", None)
    terminal = Terminal()
    with open_screen(terminal) as screen:
        assert type(screen) is LiveScreen
        screen.stage("working")
        screen.progress([("payment", 1, 2)])
        screen.note("this happened")
        screen.note("this stays", lasting=True)
    text = terminal.text()
    assert "1 of 2" in text
    assert "this happened" in text
    assert "mqbridge demo: this stays\n" in text
    assert text.endswith("F\x1b[J")


def test_rich_draws_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture, through rich."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with open_screen(terminal) as screen:
        assert type(screen) is RichScreen
        screen.stage("working")
        screen.note("this stays", lasting=True)
    assert "this stays" in terminal.text()
