"""The broker is stopped and started again under traffic: producers and consumers go on by themselves."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.outages.traffic import Traffic


@scenario(
    "resumes-after-restart",
    "A restart of the broker under traffic: what is confirmed is handled, by consumers that resume without help",
    needs=(Cap.RESUMES_AFTER_RESTART, Cap.WORK_SHARING, Cap.GROUPS, Cap.ACK),
    proves=(Cap.RESUMES_AFTER_RESTART,),
    exercises=("restarts", "handled_before", "handled_after_the_restart", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
)
def resumes_after_restart(env: Env) -> None:
    traffic = Traffic(env)
    traffic.moves_on("before")
    env.faults.broker.restart()
    env.count("restarts")
    traffic.moves_on("after the restart")
    traffic.ends()
