"""Errors and refusals."""

from mqbridge_conformance.scenarios.errors.refusals_before_io import refusals_before_io

__all__ = ["ALL"]

ALL = (refusals_before_io,)
