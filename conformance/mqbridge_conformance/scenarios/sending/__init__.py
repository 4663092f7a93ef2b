"""What a confirmation says, by what was asked for."""

from mqbridge_conformance.scenarios.sending.acks import acks_leader, acks_none

__all__ = ["ALL"]

ALL = (acks_leader, acks_none)
