"""Errors and refusals, and what is at hand where the portable API ends."""

from mqbridge_conformance.scenarios.errors.closed import closed_objects
from mqbridge_conformance.scenarios.errors.concurrent_use import concurrent_use
from mqbridge_conformance.scenarios.errors.emulation import emulation_forbidden
from mqbridge_conformance.scenarios.errors.escape_hatch import escape_hatch
from mqbridge_conformance.scenarios.errors.hooks import hooks
from mqbridge_conformance.scenarios.errors.mismatch import mismatch
from mqbridge_conformance.scenarios.errors.refusals_before_io import refusals_before_io
from mqbridge_conformance.scenarios.errors.specifications import bad_specifications
from mqbridge_conformance.scenarios.errors.too_large import too_large

__all__ = ["ALL"]

ALL = (
    refusals_before_io,
    emulation_forbidden,
    closed_objects,
    concurrent_use,
    bad_specifications,
    too_large,
    mismatch,
    escape_hatch,
    hooks,
)
