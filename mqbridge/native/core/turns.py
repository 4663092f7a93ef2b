"""Several things that are due at once, of which one may fail.

The rule: each has its turn, whatever fails in another, so that one damaged file does not stop what has
nothing to do with it. What does not belong here: what is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mqbridge import errors


def run_all(turns: Iterable[Callable[[], object]]) -> None:
    """Call all in order; then raise the first error of the library, with the others as notes."""
    failures: list[errors.MqbridgeError] = []
    for turn in turns:
        try:
            turn()
        except errors.MqbridgeError as error:
            failures.append(error)
    if failures:
        for further in failures[1:]:
            failures[0].add_note(f"and {further.code}: {further}")
        raise failures[0]
