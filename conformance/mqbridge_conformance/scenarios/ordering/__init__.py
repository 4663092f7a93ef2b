"""Order: per key, per partition, under concurrent producers, across restarts, under retries."""

from mqbridge_conformance.scenarios.ordering.order_across_restart import order_across_restart
from mqbridge_conformance.scenarios.ordering.order_per_key import order_per_key
from mqbridge_conformance.scenarios.ordering.order_under_failing_handlers import order_under_failing_handlers
from mqbridge_conformance.scenarios.ordering.order_under_retry import order_under_retry

__all__ = ["ALL"]

ALL = (order_per_key, order_across_restart, order_under_retry, order_under_failing_handlers)
