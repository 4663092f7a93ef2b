"""The public API, with everything that goes in and comes out written into a history."""

from mqbridge_conformance.recording.bus import connect

__all__ = ["connect"]
