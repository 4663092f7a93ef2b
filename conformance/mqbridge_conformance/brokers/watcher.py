"""Removes a run's containers when the run is over: ``python -m mqbridge_conformance.brokers.watcher TOKEN``.

The rule: its standard input is a pipe that the run holds open and never writes to, so that it reads the end however the
run ended.
"""

from __future__ import annotations

import sys

from mqbridge_conformance.brokers.containers import remove_run

__all__ = ["watch"]


def watch(token: str) -> None:
    """Wait for the end of the run, and remove what it has left."""
    sys.stdin.read()
    remove_run(token)


if __name__ == "__main__":
    watch(sys.argv[1])
