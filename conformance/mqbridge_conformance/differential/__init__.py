"""The same seeded script on two engines, and what is different between them."""

from mqbridge_conformance.differential.comparing import LEGITIMATE, Comparison, Difference, compare
from mqbridge_conformance.differential.performing import Transcript, perform
from mqbridge_conformance.differential.scripts import Script, Step, write_script

__all__ = [
    "LEGITIMATE",
    "Comparison",
    "Difference",
    "Script",
    "Step",
    "Transcript",
    "compare",
    "perform",
    "write_script",
]
