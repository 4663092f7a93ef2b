"""Consumer groups: independence, start, assignment, members that come, go and die."""

from mqbridge_conformance.scenarios.groups.start_rules import start_rules
from mqbridge_conformance.scenarios.groups.two_groups import two_groups

__all__ = ["ALL"]

ALL = (two_groups, start_rules,)
