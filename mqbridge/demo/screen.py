"""What the person sees: progress on standard error while it runs, and what standard output can show.

The rule of this room: nothing that came from a file or a broker reaches a terminal unescaped, and nothing here decides
anything. A terminal gets a live picture (drawn by rich where it is installed), a pipe gets a line for each stage.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TextIO

__all__ = ["Glyphs", "Screen", "clean", "colours", "counted", "open_screen", "paint"]

STYLES = {"bold": "1", "dim": "2", "good": "32", "bad": "1;31", "warn": "33", "accent": "36"}
FRAME_S = 0.1
NOTES = 6
BAR_WIDTH = 28


class Glyphs:
    """The marks a stream can encode: Unicode's, or ASCII's."""

    def __init__(self, stream: TextIO) -> None:
        self.encoding = getattr(stream, "encoding", None) or "ascii"
        try:
            "✔✘█░─·×".encode(self.encoding)
            self.rich = True
        except (UnicodeEncodeError, LookupError):
            self.rich = False
        self.good, self.bad, self.full, self.empty, self.rule, self.dot, self.times = (
            "✔✘█░─·×" if self.rich else "+!#.--x"
        )

    def fit(self, text: str) -> str:
        """`text` with what cannot be encoded replaced by question marks."""
        try:
            return text.encode(self.encoding, "replace").decode(self.encoding)
        except LookupError:
            return text.encode("ascii", "replace").decode("ascii")


def clean(text: str) -> str:
    """Control characters, line ends and lone surrogates as escapes: an event must not move the cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def counted(count: int, what: str) -> str:
    """``1 order``, ``2 orders``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def colours(stream: TextIO) -> bool:
    """A terminal that wants them: not with NO_COLOR (no-color.org), nor a dumb one."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, on: bool) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if on and text else text


class Screen:
    """Progress as plain lines, for a pipe or a log. A context manager."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._glyphs = Glyphs(stream)
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        self._stage = ""
        self._counts: Sequence[tuple[str, int, int]] = ()
        self._notes: deque[str] = deque(maxlen=NOTES)

    def stage(self, text: str) -> None:
        """What is being done now."""
        with self._lock:
            self._stage, self._counts = text, ()
        self._line(text)

    def note(self, text: str, *, lasting: bool = False) -> None:
        """Something that happened. The report tells it again, unless it is `lasting`: that stays on the terminal."""
        self._line(f"  {text}")

    def progress(self, counts: Sequence[tuple[str, int, int]]) -> None:
        """How far each service is: (label, done, total)."""
        with self._lock:
            self._counts = list(counts)

    def _line(self, text: str) -> None:
        print(self._glyphs.fit(f"{self._elapsed()} {clean(text)}"), file=self._stream, flush=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began_s:5.1f} s "

    def _picture(self) -> list[tuple[str, str]]:
        """(text, style) lines of the live picture."""
        with self._lock:
            stage, counts, notes = self._stage, self._counts, list(self._notes)
        lines = [(f"{self._elapsed()} {clean(stage)}", "bold")] if stage else []
        for label, done, total in counts:
            filled = BAR_WIDTH * min(done, total) // total if total else 0
            bar = self._glyphs.full * filled + self._glyphs.empty * (BAR_WIDTH - filled)
            lines.append(
                (f"         {label:<10} {bar} {done:>5} of {total}", "good" if done >= total > 0 else "accent")
            )
        return lines + [(f"  {clean(text)}", "dim") for text in notes]

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveScreen(Screen):
    """The picture is drawn again in place, by cursor movements alone; it is gone when the demo ends."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._colours = colours(stream)
        self._drawn = 0
        self._ended = threading.Event()
        self._drawing = threading.Lock()
        self._thread = threading.Thread(target=self._animate, name="demo-screen", daemon=True)

    def stage(self, text: str) -> None:
        with self._lock:
            self._stage, self._counts = text, ()
        self._draw()

    def note(self, text: str, *, lasting: bool = False) -> None:
        if lasting:
            self._draw(f"mqbridge demo: {clean(text)}")
            return
        with self._lock:
            self._notes.append(text)
        self._draw()

    def _animate(self) -> None:
        while not self._ended.wait(FRAME_S):
            self._draw()

    def _draw(self, above: str | None = None, last: bool = False) -> None:
        with self._drawing:
            width = _columns(self._stream)
            parts = [f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""]
            if above is not None:
                parts.append(self._glyphs.fit(above) + "\n")
            lines = [] if last else self._picture()
            parts += [paint(self._glyphs.fit(text)[: width - 1], style, self._colours) + "\n" for text, style in lines]
            self._drawn = len(lines)
            self._stream.write("".join(parts))
            self._stream.flush()

    def __enter__(self) -> Screen:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._draw(last=True)


class RichScreen(LiveScreen):
    """The same picture, drawn by rich, which knows more terminals."""

    def __init__(self, stream: TextIO, rich: Any) -> None:
        super().__init__(stream)
        self._rich = rich
        self._console = rich.console.Console(file=stream, highlight=False)
        self._stack = ExitStack()

    def _styled(self) -> Any:
        text = self._rich.text.Text(no_wrap=True, overflow="ellipsis")
        styles = {"bold": "bold", "good": "green", "accent": "cyan", "dim": "dim"}
        text.append_tokens((self._glyphs.fit(line) + "\n", styles[style]) for line, style in self._picture())
        return text

    def _draw(self, above: str | None = None, last: bool = False) -> None:
        if above is not None:
            self._console.print(self._rich.text.Text(self._glyphs.fit(above)), soft_wrap=True)

    def __enter__(self) -> Screen:
        live = self._rich.live.Live(
            console=self._console, get_renderable=self._styled, transient=True, refresh_per_second=1 / FRAME_S
        )
        self._stack.enter_context(live)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def open_screen(stream: TextIO | None = None) -> Screen:
    """The best screen for this stream."""
    stream = stream or sys.stderr
    if not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return Screen(stream)
    try:
        import rich.console
        import rich.live
        import rich.text
    except ImportError:
        return LiveScreen(stream)
    return RichScreen(stream, rich)


def _columns(stream: TextIO) -> int:
    try:
        return max(20, os.get_terminal_size(stream.fileno()).columns)
    except (OSError, ValueError):
        return 80
