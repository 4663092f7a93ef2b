"""Which partition a record goes to: by key as Kafka's Java client, in turns, in runs, by the application's choice."""

from mqbridge_conformance.scenarios.partitioning.by_key import partition_by_key
from mqbridge_conformance.scenarios.partitioning.custom import partition_custom
from mqbridge_conformance.scenarios.partitioning.round_robin import partition_round_robin
from mqbridge_conformance.scenarios.partitioning.sticky import partition_sticky

__all__ = ["ALL"]

ALL = (partition_by_key, partition_round_robin, partition_sticky, partition_custom)
