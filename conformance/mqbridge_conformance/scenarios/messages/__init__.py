"""What a message carries arrives as it was sent."""

from mqbridge_conformance.scenarios.messages.round_trip import round_trip

__all__ = ["ALL"]

ALL = (round_trip,)
