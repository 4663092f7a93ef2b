"""Stopping a broker under traffic, again and again: all clients go on by themselves, and nothing confirmed is lost."""

from mqbridge_conformance.restarts.running import MOVED, RestartReport, run

__all__ = ["MOVED", "RestartReport", "run"]
