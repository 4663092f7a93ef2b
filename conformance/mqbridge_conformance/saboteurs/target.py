"""A target whose engine is broken, for the scenario's own process and for those that it starts.

The rule: what is under test is broken and what observes is not. The target starts first, with its observers, and the
saboteur is put in force after that; observers open their buses without asking for one.
"""

from __future__ import annotations

import contextlib
from typing import Any

import mqbridge as mq
from mqbridge_conformance.parties import Party
from mqbridge_conformance.saboteurs.strikes import Plan
from mqbridge_conformance.saboteurs.wrapping import in_force, open_bus
from mqbridge_conformance.targets import Target

__all__ = ["Sabotaged", "sabotaged"]


class Sabotaged(Target):
    """See the module; made by `sabotaged`."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self._force = contextlib.ExitStack()
        self.name = target.name
        self.engine = target.engine
        self.container_of = target.container_of

    def start(self) -> None:
        self._target.start()
        self.url = self._target.url
        self.observer = self._target.observer
        self._force.enter_context(in_force(self._plan))

    def stop(self) -> None:
        self._force.close()
        self._target.stop()

    def spawn(self, program: str, **args: Any) -> Party:
        return self._target.spawn(program, **args)

    def connect(self) -> mq.Bus:
        return open_bus(self.url, plan=self._plan)


def sabotaged(target: Target, plan: Plan) -> Target:
    """The target, not started, with one promise of its engine broken as the plan says."""
    return Sabotaged(target, plan)
