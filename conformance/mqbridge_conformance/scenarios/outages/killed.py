"""The broker dies under traffic and comes back: what it had confirmed it has."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.outages.traffic import Traffic


@scenario(
    "broker-killed",
    "SIGKILL of the broker under traffic: what is confirmed is stored and handled, in order, by clients that resume",
    needs=(Cap.RESUMES_AFTER_RESTART, Cap.WORK_SHARING, Cap.GROUPS, Cap.ACK, Cap.CONFIRMED_SEND),
    proves=(Cap.RESUMES_AFTER_RESTART, Cap.CONFIRMED_SEND),
    exercises=("broker_kills", "handled_before", "handled_after_the_kill", "confirmed"),
    fault=True,
    level="full",
    own_broker=True,
)
def broker_killed(env: Env) -> None:
    traffic = Traffic(env)
    traffic.moves_on("before")
    env.faults.broker.kill().heal()
    env.count("broker_kills")
    traffic.moves_on("after the kill")
    traffic.ends()
