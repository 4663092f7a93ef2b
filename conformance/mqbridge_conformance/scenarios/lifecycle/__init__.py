"""From making to closing: flushing, draining, back pressure, and going on after the broker was away."""

from mqbridge_conformance.scenarios.lifecycle.closing import close_flushes, close_from_another_thread, unseen_failures
from mqbridge_conformance.scenarios.lifecycle.pressure import back_pressure, confirmed_in_a_pipeline
from mqbridge_conformance.scenarios.lifecycle.restart import resumes_after_restart
from mqbridge_conformance.scenarios.lifecycle.states import states_told
from mqbridge_conformance.scenarios.lifecycle.stopping import run_drains

__all__ = ["ALL"]

ALL = (
    close_flushes,
    unseen_failures,
    close_from_another_thread,
    run_drains,
    back_pressure,
    confirmed_in_a_pipeline,
    resumes_after_restart,
    states_told,
)
