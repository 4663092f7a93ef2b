"""Order and partitioning: per key, per partition, in a queue."""

from mqbridge_conformance.scenarios.ordering.order_per_key import order_per_key

__all__ = ["ALL"]

ALL = (order_per_key,)
