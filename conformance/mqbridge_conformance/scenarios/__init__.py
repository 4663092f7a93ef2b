"""The behaviours, one file each; `ALL` is their order in the matrix."""

from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.scenarios.competing_consumers import competing_consumers
from mqbridge_conformance.scenarios.crash_redelivers import crash_redelivers
from mqbridge_conformance.scenarios.dead_letters import dead_letters
from mqbridge_conformance.scenarios.order_per_key import order_per_key
from mqbridge_conformance.scenarios.prefetch_bound import prefetch_bound
from mqbridge_conformance.scenarios.refusals_before_io import refusals_before_io
from mqbridge_conformance.scenarios.replay_from_offset import replay_from_offset
from mqbridge_conformance.scenarios.round_trip import round_trip
from mqbridge_conformance.scenarios.start_rules import start_rules
from mqbridge_conformance.scenarios.two_groups import two_groups
from mqbridge_conformance.scenarios.unroutable_and_missing import unroutable_and_missing
from mqbridge_conformance.scenarios.verbs import verbs

__all__ = ["ALL"]

ALL: tuple[Scenario, ...] = (
    round_trip,
    order_per_key,
    two_groups,
    competing_consumers,
    crash_redelivers,
    verbs,
    dead_letters,
    prefetch_bound,
    replay_from_offset,
    start_rules,
    unroutable_and_missing,
    refusals_before_io,
)
