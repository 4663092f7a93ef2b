"""Dead letters: why, how often tried, browsed, redriven."""

from mqbridge_conformance.scenarios.dead_letters.dead_letters import dead_letters
from mqbridge_conformance.scenarios.dead_letters.full import dead_letter_queue_full
from mqbridge_conformance.scenarios.dead_letters.missing import dead_letter_queue_missing
from mqbridge_conformance.scenarios.dead_letters.poison import poison_message
from mqbridge_conformance.scenarios.dead_letters.reasons import dead_letter_reasons
from mqbridge_conformance.scenarios.dead_letters.redrive import redrive

__all__ = ["ALL"]

ALL = (
    dead_letters,
    dead_letter_reasons,
    redrive,
    poison_message,
    dead_letter_queue_missing,
    dead_letter_queue_full,
)
