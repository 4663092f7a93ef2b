"""Routing by exchanges and bindings."""

from mqbridge_conformance.scenarios.routing.between_exchanges import alternate_exchange, exchange_to_exchange
from mqbridge_conformance.scenarios.routing.direct_fanout import route_direct, route_fanout
from mqbridge_conformance.scenarios.routing.headers import route_headers
from mqbridge_conformance.scenarios.routing.topics import route_topic
from mqbridge_conformance.scenarios.routing.unroutable_and_missing import unroutable_and_missing

__all__ = ["ALL"]

ALL = (
    unroutable_and_missing,
    route_direct,
    route_fanout,
    route_topic,
    route_headers,
    exchange_to_exchange,
    alternate_exchange,
)
