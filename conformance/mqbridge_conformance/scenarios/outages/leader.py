"""Of three nodes the one that leads is killed under traffic: another one leads, and what was confirmed is there."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.outages.traffic import Traffic

ALL = {1, 2, 3}


@scenario(
    "leader-failover",
    "The node that leads a topic, then the one that leads a queue, is killed under traffic: nothing confirmed is lost",
    needs=(Cap.CONFIRMED_SEND, Cap.WORK_SHARING, Cap.GROUPS, Cap.ACK, Cap.RESUMES_AFTER_RESTART),
    exercises=("leaders_killed", "other_leaders", "handled_after_a_leader_died", "confirmed"),
    fault=True,
    level="full",
    cluster=True,
)
def leader_failover(env: Env) -> None:
    cluster = env.target.cluster
    if cluster is None:
        raise CannotTell(f"{env.target.name!r} has no nodes of which one could be killed")
    traffic = Traffic(env)
    traffic.moves_on("before")
    for place in (str(traffic.topic), str(traffic.queue)):
        cluster.until(lambda place=place: cluster.in_sync_of(place), ALL, "the nodes that have it")  # type: ignore[misc]
        dead = env.faults.leader(place).kill()
        env.count("leaders_killed")

        def another(place: str = place, dead: str = dead.at) -> bool:
            found = cluster.leader_of(place)
            return found is not None and f"broker-{found.number}" != dead

        env.eventually(another, True, f"whether another node leads {place}", "starvation")
        env.count("other_leaders")
        traffic.moves_on("after a leader died")
        dead.heal()
    traffic.moves_on("when all nodes are back")
    traffic.ends()
