"""Reading again: by offset, by time, after retention, by group reset."""

from mqbridge_conformance.scenarios.replay.replay_from_offset import replay_from_offset

__all__ = ["ALL"]

ALL = (replay_from_offset,)
