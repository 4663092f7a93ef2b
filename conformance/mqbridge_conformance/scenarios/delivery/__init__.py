"""Delivery: what each guarantee means when a consumer dies."""

from mqbridge_conformance.scenarios.delivery.under_kill import QUEUE, TOPIC

__all__ = ["ALL"]

ALL = (*QUEUE, *TOPIC)
