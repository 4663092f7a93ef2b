"""Consumer groups: independence, start, assignment, members that come, go, stall and die, seeking and pausing."""

from mqbridge_conformance.scenarios.groups.assignment import assignments
from mqbridge_conformance.scenarios.groups.coming_and_going import members_come_and_go
from mqbridge_conformance.scenarios.groups.crash import member_crash
from mqbridge_conformance.scenarios.groups.deleted import group_deleted
from mqbridge_conformance.scenarios.groups.hung_handler import hung_handler, slow_handler
from mqbridge_conformance.scenarios.groups.pause_and_seek import pause_and_resume, seek
from mqbridge_conformance.scenarios.groups.rebalance_pause import pauses
from mqbridge_conformance.scenarios.groups.rolling_restart import rolling_restart
from mqbridge_conformance.scenarios.groups.several_topics import several_topics
from mqbridge_conformance.scenarios.groups.stalled_member import stalled_member_fenced
from mqbridge_conformance.scenarios.groups.start_rules import start_rules
from mqbridge_conformance.scenarios.groups.static_member import static_member_fenced, static_member_restart
from mqbridge_conformance.scenarios.groups.stopped_member import stopped_member_fenced
from mqbridge_conformance.scenarios.groups.two_groups import two_groups

__all__ = ["ALL"]

ALL = (
    two_groups,
    several_topics,
    group_deleted,
    start_rules,
    *assignments,
    *pauses,
    members_come_and_go,
    member_crash,
    stalled_member_fenced,
    stopped_member_fenced,
    hung_handler,
    slow_handler,
    static_member_restart,
    static_member_fenced,
    rolling_restart,
    pause_and_resume,
    seek,
)
