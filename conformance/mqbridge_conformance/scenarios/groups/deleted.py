"""A group is deleted with what it committed, when nobody is in it."""

from __future__ import annotations

from functools import partial

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

RECORDS, SETTLED = 8, 5


@scenario(
    "group-deleted",
    "A group that has a member is not deleted; one without is, and whoever comes by its name then begins anew",
    needs=(Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.GROUPS,),
    exercises=("refused", "deleted", "begun_anew"),
)
def group_deleted(env: Env) -> None:
    admin, topic, group = env.bus.admin, env.topic(), env.group()
    filled(env, topic, range(RECORDS))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as member:
        got = env.receive(member, RECORDS, "all there is")
        acked(env, member, got[:SETTLED])
        what = "deleting a group with a member"
        error = env.raises(mq.Rejected, partial(admin.delete_group, group), what, "refusal-applied")
        env.equal(error.outcome, "not_applied", f"the outcome of {what}")
        env.count("refused")
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as heir:
        got = env.receive(heir, RECORDS - SETTLED, "what was not settled when the group was not deleted")
        env.equal(numbers(got), list(range(SETTLED, RECORDS)), "what was not settled", "commit-lost")
    env.check(group in _groups(env), f"group {group} is not among those that are listed", "untrue-answer")
    env.eventually(partial(_delete, env, group), True, "whether a group is deleted that everybody has left")
    env.check(group not in _groups(env), f"group {group} is listed, and was deleted", "untrue-answer")
    env.equal(env.observer.committed(group), {}, "what a group has committed that was deleted", "untrue-answer")
    env.raises(mq.NotFound, partial(admin.delete_group, group), "deleting it again", "untrue-answer")
    env.count("deleted")
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST) as anew:
        got = env.receive(anew, RECORDS, "all there is, by a group of the same name")
        env.equal(numbers(got), list(range(RECORDS)), "what a group of the same name is given", "untrue-answer")
        acked(env, anew, got)
        env.count("begun_anew")
        env.drained(topic, group)


def _groups(env: Env) -> set[str]:
    return {one.group for one in env.bus.admin.list_groups()}


def _delete(env: Env, group: str) -> bool:
    """A member that has left may be in it for a moment still."""
    try:
        env.bus.admin.delete_group(group)
    except mq.Rejected:
        return False
    return True
