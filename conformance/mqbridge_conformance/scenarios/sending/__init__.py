"""What a confirmation says, by what was asked for, and what is said where it was lost on its way."""

from mqbridge_conformance.scenarios.sending.acks import acks_leader, acks_none
from mqbridge_conformance.scenarios.sending.lost_answers import (
    idempotent_lost_answers,
    lost_answers_resent,
    lost_answers_told,
)
from mqbridge_conformance.scenarios.sending.min_insync import min_insync

__all__ = ["ALL"]

ALL = (acks_leader, acks_none, min_insync, idempotent_lost_answers, lost_answers_told, lost_answers_resent)
