"""A disk without room, for the process that hosts a native folder.

The rule: the limit is laid on a process that does nothing else (RLIMIT_FSIZE: no file may grow), so that neither this
process nor a history runs out of room. What the host is told when it writes (EFBIG) it takes for a full disk, as it
does ENOSPC and EDQUOT.
"""

from __future__ import annotations

import sys

from mqbridge_conformance.faults.fault import Fault, inject
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.parties import ProcessParty
from mqbridge_conformance.results import CannotTell

__all__ = ["fill_disk"]


def fill_disk(recorder: Recorder, host: ProcessParty) -> Fault:
    """No file of that process can be written any further; healed, there is room again."""
    if sys.platform != "linux":
        raise CannotTell("a limit can be laid on another process only by prlimit(2), which Linux alone has")
    import resource

    before = resource.prlimit(host.pid, resource.RLIMIT_FSIZE)

    def lay(soft: int) -> None:
        resource.prlimit(host.pid, resource.RLIMIT_FSIZE, (soft, before[1]))

    def make_room() -> dict[str, bool]:
        full = resource.prlimit(host.pid, resource.RLIMIT_FSIZE)[0] == 0
        lay(before[0])
        return {"full": full}

    return inject(recorder, "disk full", "broker", lambda: lay(0), make_room, pid=host.pid)
