"""Where a copy comes from and goes to. The rule: a place is ``file:PATH``, ``URL DEST``, or a DEST at the ``--url``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import click

import mqbridge as mq
from mqbridge.cli.context import native_folder

TextForm = Literal["text", "jsonl"]
_KINDS = ("topic:", "queue:", "exchange:")
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Place:
    """A file, or a destination at a URL."""

    path: Path | None = None
    url: str = ""
    destination: mq.Topic[Any] | mq.Queue[Any] | mq.Exchange | None = None

    @property
    def is_file(self) -> bool:
        return self.path is not None

    @property
    def topic(self) -> mq.Topic[bytes] | None:
        return self.destination if isinstance(self.destination, mq.Topic) else None

    def __str__(self) -> str:
        if self.path is not None:
            return f"file:{self.path}"
        return f"{self.destination} at {_masked(self.url).partition('?')[0]}"

    @property
    def identity(self) -> str:
        """The same for every way to write the same place, as far as that can be told; no password is in it."""
        if self.path is not None:
            return f"file:{self.path.resolve()}"
        folder = native_folder(self.url)
        engine = f"native:{folder.resolve()}" if folder is not None else _masked(self.url).partition("?")[0]
        return f"{engine} {self.destination}"

    @property
    def digest(self) -> str:
        """Names what is kept elsewhere about a copy to here."""
        return sha256(self.identity.encode()).hexdigest()[:12]

    def form(self, asked: TextForm | None) -> TextForm:
        """How a file is written: as asked, else by its suffix."""
        assert self.path is not None
        return asked or ("jsonl" if self.path.suffix in _JSON_SUFFIXES else "text")


def _masked(url: str) -> str:
    scheme, separator, rest = url.partition("//")
    return f"{scheme}//{rest.rpartition('@')[2]}" if separator else url


def parse(words: Sequence[str], default_url: str | None, names: Sequence[str]) -> list[Place]:
    """The places in a command line; `names` says which are due, for the error."""
    places: list[Place] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("file:"):
            if len(word) == len("file:"):
                raise click.UsageError("file: needs a path, for instance file:orders.jsonl")
            places.append(Place(path=Path(word.removeprefix("file:"))))
        elif word.startswith(_KINDS):
            if not default_url:
                raise click.UsageError(f"{word} at which engine? Write URL {word}, or give --url")
            places.append(Place(url=default_url, destination=_destination(word)))
        elif not rest:
            raise click.UsageError(f"{word} needs a destination behind it, for instance: {word} topic:orders")
        else:
            places.append(Place(url=word, destination=_destination(rest.pop(0))))
    if len(places) != len(names):
        raise click.UsageError(
            f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} due, each as URL DEST (native:./data "
            f"topic:orders) or file:PATH; got {len(places)}"
        )
    return places


def _destination(word: str) -> mq.Topic[bytes] | mq.Queue[bytes] | mq.Exchange:
    try:
        return mq.parse(word)
    except mq.InvalidSpec as error:
        raise click.UsageError(str(error)) from None
