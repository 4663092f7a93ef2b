"""Whatever the engine does not have is refused before anything happens."""

from __future__ import annotations

import mqbridge as mq
from mqbridge_conformance.env import Env
from mqbridge_conformance.refusals import prove_refusals, refused_capabilities
from mqbridge_conformance.scenario import scenario


@scenario(
    "refusals",
    "Every capability that is claimed not to be there is refused by name, and nothing has changed after it",
    exercises=("refusals", "refusals_by_operation"),
)
def refusals_before_io(env: Env) -> None:
    absent = refused_capabilities(env)
    prove_refusals(env, absent)
    error = env.raises(mq.Unsupported, lambda: env.bus.require(*absent), "requiring all of them at once")
    env.equal(error.capability, ",".join(absent), "the capabilities that are named together")
    env.bus.require(*(capability for capability in mq.Capability if capability not in absent))
    env.count("checks")
