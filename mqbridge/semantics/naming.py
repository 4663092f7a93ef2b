"""Portable names, and the names derived from them.

The one rule: a name that passes here can be created on every engine, and no two things of an application get
the same physical name. Physical names themselves belong to the adapters; `physical_name=` bypasses this room.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final, Literal, TypeAlias, get_args

DestinationKind: TypeAlias = Literal["topic", "queue", "exchange"]

MAX_NAME_CHARS: Final = 181
DEAD_LETTER_SUFFIX: Final = ".dlq"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}")
# Suffixes of derived physical names: a queue's topic on Kafka; on RabbitMQ a topic's exchange and streams, and the
# queue that holds the place of a group in a partition.
_RESERVED: Final = re.compile(r"(?:\.mqq|\.mqt(?:-[0-9]+)?|\.mqg-[0-9]+)\Z")
_KINDS: Final[tuple[DestinationKind, ...]] = get_args(DestinationKind)


def check_name(kind: str, name: str) -> str:
    """`name` if it is a portable name, else `ValueError`; `kind` ("topic", "group", ...) only words the
    sentence.

    A portable name has 1 to 181 of the ASCII letters, digits and `.`, `_`, `-`, starts with a letter or
    digit, and does not end in `.mqq`, `.mqt`, or `.mqt-` or `.mqg-` and a number. Upper and lower case differ.
    """
    if not isinstance(name, str):
        raise ValueError(f"The name of a {kind} is a str, not {name!r}.")
    if not name:
        raise ValueError(f"The name of a {kind} is empty.")
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(
            f"The {kind} name {name[:40]!r}... has {len(name)} characters; a portable name has at most "
            f"{MAX_NAME_CHARS}."
        )
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"The {kind} name {name!r} is not portable: use ASCII letters, digits, '.', '_' and '-', and "
            f"start with a letter or digit."
        )
    reserved = _RESERVED.search(name)
    if reserved:
        raise ValueError(
            f"The {kind} name {name!r} ends in {reserved.group()!r}, which is kept for names that mqbridge derives."
        )
    return name


def parse_destination(text: str) -> tuple[DestinationKind, str]:
    """`("queue", "emails")` of `"queue:emails"`; the kind is topic, queue or exchange, and never guessed."""
    kind, colon, name = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} does not say what it names: write topic:{text}, queue:{text} or exchange:{text}.")
    for known in _KINDS:
        if kind == known:
            return known, check_name(kind, name)
    meant = nearest(kind, _KINDS)
    hint = f"; did you mean {meant}:{name}?" if meant else "."
    raise ValueError(f"{kind!r} in {text!r} is none of {', '.join(_KINDS)}{hint}")


def dead_letter_queue_name(name: str) -> str:
    """The queue that takes the dead letters of queue `name`: `NAME.dlq`; `ValueError` if that is too long."""
    return _derived("queue", name, name + DEAD_LETTER_SUFFIX)


def dead_letter_topic_name(topic: str, group: str) -> str:
    """The topic that takes what `group` rejects on `topic`: `TOPIC.GROUP.dlq`; `ValueError` if that is too
    long.

    Each group has its own, since a record that one group cannot handle is none of another group's concern.
    Topic `a.b` with group `c` and topic `a` with group `b.c` share a name; who uses dots in both sets the
    topic explicitly.
    """
    return _derived("topic", f"{topic} with group {group}", f"{topic}.{group}{DEAD_LETTER_SUFFIX}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely means, whatever its case, for error messages; else None."""
    # Of words that differ in case alone the first in order stays, however `known` is ordered.
    by_folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    found = get_close_matches(word.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else None


def _derived(kind: str, source: str, name: str) -> str:
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(
            f"The dead-letter {kind} of {source} would be {name!r} with {len(name)} characters; a portable "
            f"name has at most {MAX_NAME_CHARS}. Name a dead-letter {kind} explicitly."
        )
    return check_name(f"dead-letter {kind}", name)
