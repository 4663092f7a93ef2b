"""Reading again: by offset, by time, from the end, after records were deleted, by group reset, beside a group."""

from mqbridge_conformance.scenarios.replay.after_truncation import replay_after_truncation
from mqbridge_conformance.scenarios.replay.beside_a_group import replay_beside_a_group
from mqbridge_conformance.scenarios.replay.by_time import replay_by_time
from mqbridge_conformance.scenarios.replay.group_reset import group_reset
from mqbridge_conformance.scenarios.replay.last_records import replay_last
from mqbridge_conformance.scenarios.replay.replay_from_offset import replay_from_offset

__all__ = ["ALL"]

ALL = (replay_from_offset, replay_last, replay_by_time, replay_after_truncation, group_reset, replay_beside_a_group)
