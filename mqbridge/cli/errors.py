"""How a command fails: one readable message, the next command to try, and an exit code.

The rule of this room: a person never sees a traceback for something that has a name, and a program decides by the code.
"""

from __future__ import annotations

import re

import mqbridge as mq
from mqbridge.cli.output import say

OK, FAILED, USAGE, MISSING, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

EXIT_CODES = """\
Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 not found, or not as specified; 4 unreachable or denied;
5 refused: this engine cannot do it; 130 interrupted.
"""

_CODES: tuple[tuple[type[mq.MqbridgeError] | tuple[type[mq.MqbridgeError], ...], int], ...] = (
    (mq.Unsupported, REFUSED),
    ((mq.NotFound, mq.Mismatch), MISSING),
    ((mq.Unreachable, mq.Denied), UNREACHABLE),
    (mq.ConfigurationError, USAGE),
)
_MAKERS = ("create", "bind", "produce", "consume", "copy")
"""Verbs for which what is missing may well be made; whoever deletes or describes it has mistyped its name."""
_NAMED = re.compile(r"\b(topic|queue|exchange)(?::| ')([A-Za-z0-9][A-Za-z0-9._-]*)")
_NO_PARTITION = re.compile(r"\bhas (?:the|\d+) partitions?\b")
_GROUP = re.compile(r"\bgroup '?([A-Za-z0-9][A-Za-z0-9._-]*)")


def exit_code(error: mq.MqbridgeError) -> int:
    """The documented exit code of an error."""
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    return FAILED


def named_queue(error: Exception) -> str | None:
    """The queue that an error is about, if its text names one."""
    named = _NAMED.search(str(error))
    return named[2].rstrip(".") if named is not None and named[1] == "queue" else None


def suggest(error: mq.MqbridgeError, line: str) -> None:
    """What to try after this error, said by who knows more than its text tells; the first suggestion stays."""
    vars(error).setdefault("next_line", line)


def next_step(error: mq.MqbridgeError, program: str, command: str) -> str:
    """The command to try next. `program` is how this front was called, `command` the path of what failed."""
    line: str | None = getattr(error, "next_line", None)
    if line is not None:
        return line
    said: str | None = getattr(error, "next_command", None)
    if said is not None:
        return f"{program} {said}"
    text = str(error)
    named = _NAMED.search(text)
    group = _GROUP.search(text)
    if isinstance(error, mq.NotFound):
        if named is not None:
            kind, name = named[1], named[2].rstrip(".")
            if _NO_PARTITION.search(text) is not None:
                return f"{program} {kind} describe {name}   (its partitions)"
            there = f"{program} {kind} list   (what is there)"
            makes = command.rpartition(" ")[2] in _MAKERS
            return f"{there}   or   {program} {kind} create {name}" if makes else there
        return f"{program} group list" if group is not None else f"{program} topic list"
    if isinstance(error, mq.Mismatch) and named is not None:
        return f"{program} {named[1]} describe {named[2].rstrip('.')}   (what is there)"
    if isinstance(error, mq.Unsupported):
        return f"{program} doctor --capabilities   (what this engine can do)"
    if isinstance(error, mq.ConfigurationError):
        return f"{command} --help"
    if isinstance(error, mq.OffsetLost):
        name = group[1].rstrip(".") if group is not None else "GROUP"
        return f"{program} group reset {name} TOPIC --to earliest   (shows what would change)"
    if isinstance(error, mq.LeaseLost | mq.Fenced | mq.Rejected) and group is not None:
        return f"{program} group describe {group[1].rstrip('.')}"
    if isinstance(error, mq.Rejected | mq.Unroutable) and named is not None:
        return f"{program} {named[1]} describe {named[2].rstrip('.')}"
    return f"{program} doctor"


def report(error: mq.MqbridgeError, program: str, command: str) -> int:
    """Say it on stderr; returns the exit code."""
    say(f"error: {error}")
    for note in getattr(error, "__notes__", ()):
        say(f"  {note}")
    if isinstance(error, mq.SendFailed):
        for failure in error.failures[1:4]:
            say(f"  also: {type(failure).__name__}: {failure}")
    say(f"try:   {next_step(error, program, command)}")
    return exit_code(error)
