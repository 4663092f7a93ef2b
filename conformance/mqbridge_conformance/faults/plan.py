"""Faults in an order, each at its event of the history.

The rule: a step's trigger counts from when the step before it was done, the first one's from when the plan began; what
a fault makes impossible cannot be the trigger that heals it, and a count of 0 is met at once. A plan that was not
carried out to its end proves nothing: leaving it raises `CannotTell`, unless something else was raised already.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType

from mqbridge_conformance.faults.fault import Fault
from mqbridge_conformance.faults.watching import Step, Watch

__all__ = ["Plan"]


class Plan:
    """Carries the steps out on a thread of its own while its body runs: ``with Plan(watch, steps, 60): ...``.

    The end of the body waits for the last step, each for `patience_s` seconds at most; a body that raised does not
    wait. Whatever a step raised is raised at the end.
    """

    def __init__(self, watch: Watch, steps: Sequence[Step], patience_s: float) -> None:
        self._watch = watch
        self._steps = steps
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="conformance-plan", daemon=True)

    def _run(self) -> None:
        try:
            since = self._watch.now()
            in_force: list[Fault] = []
            for step in self._steps:
                self._watch.until(step.when, self._patience_s, since=since, stop=self._stop)
                if self._stop.is_set():
                    return
                if step.action is None:
                    in_force.pop().heal()
                elif (fault := step.action()) is not None:
                    in_force.append(fault)
                since = self._watch.now()
        except Exception as error:  # noqa: BLE001 - raised where the plan ends
            self._failure = error

    def __enter__(self) -> Plan:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop.set()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure
