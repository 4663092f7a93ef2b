"""What a forked child must let go of: its copies of the folder's lock and of the sockets.

The rule: a child closes its copies without flushing, unlocking or unlinking, for the originals are the
parent's. A copy kept would hold the folder's lock, or keep a connection from ending, after the parent has
died. Source: flock(2), a lock belongs to the open file description, which fork shares; `os.register_at_fork`.
"""

from __future__ import annotations

import os
import selectors
import threading
import weakref
from contextlib import suppress
from typing import Protocol


class Forkable(Protocol):
    """Something that holds descriptors or locks which a child must not keep."""

    def abandon_in_child(self) -> None:
        """Close inherited descriptors; take no lock, its holder does not exist here; never raise."""


# Held while a descriptor is opened and registered, and across each fork: no fork sees one that is not
# registered yet.
guard = threading.RLock()
_alive: weakref.WeakSet[Forkable] = weakref.WeakSet()


def register(held: Forkable) -> None:
    """Have `held` abandoned in every child forked from now on, while it lives or until `forget`."""
    with guard:
        _alive.add(held)


def forget(held: Forkable) -> None:
    """The descriptors are closed; there is nothing to abandon any more."""
    with guard:
        _alive.discard(held)


def close_inherited(fd: int) -> None:
    """Close a descriptor in the child, whatever state it is in."""
    # One that was closed already at the moment of the fork is in the state we want.
    with suppress(OSError):
        os.close(fd)


def close_selector(selector: selectors.BaseSelector) -> None:
    """Close an inherited selector; a kqueue is not inherited, and closing what stands for it may fail."""
    with suppress(OSError):
        selector.close()


def _in_child() -> None:
    for held in list(_alive):
        held.abandon_in_child()
    _alive.clear()
    guard.release()


os.register_at_fork(before=guard.acquire, after_in_parent=guard.release, after_in_child=_in_child)
