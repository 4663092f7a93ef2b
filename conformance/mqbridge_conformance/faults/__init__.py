"""What goes wrong on purpose: parties, brokers and the way to them; when it does; and whether it had an effect."""

from mqbridge_conformance.faults.control import Faults
from mqbridge_conformance.faults.effects import FaultEffect, effects
from mqbridge_conformance.faults.fault import Fault
from mqbridge_conformance.faults.plan import Plan
from mqbridge_conformance.faults.watching import Step, Watch, When

__all__ = ["Fault", "FaultEffect", "Faults", "Plan", "Step", "Watch", "When", "effects"]
