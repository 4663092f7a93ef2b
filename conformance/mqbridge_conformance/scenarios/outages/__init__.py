"""Under traffic the broker dies, stands still, is far away, cut off, has no room, or loses the node that leads."""

from mqbridge_conformance.scenarios.outages.cut import cut_short, queue_cut_long, topic_cut_long
from mqbridge_conformance.scenarios.outages.disk_full import disk_full
from mqbridge_conformance.scenarios.outages.killed import broker_killed
from mqbridge_conformance.scenarios.outages.latency import added_latency
from mqbridge_conformance.scenarios.outages.leader import leader_failover
from mqbridge_conformance.scenarios.outages.paused import broker_paused

__all__ = ["ALL"]

ALL = (
    broker_killed,
    broker_paused,
    cut_short,
    queue_cut_long,
    topic_cut_long,
    added_latency,
    leader_failover,
    disk_full,
)
