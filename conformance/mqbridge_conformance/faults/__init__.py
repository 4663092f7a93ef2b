"""What goes wrong on purpose: parties, brokers and the way to them; and whether it had an effect."""

from mqbridge_conformance.faults.control import Faults
from mqbridge_conformance.faults.effects import FaultEffect, effects
from mqbridge_conformance.faults.fault import Fault

__all__ = ["Fault", "FaultEffect", "Faults", "effects"]
