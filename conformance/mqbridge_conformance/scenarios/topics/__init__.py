"""Administration of topics: what they are said to be, how far groups are behind, growing them, deleting records."""

from mqbridge_conformance.scenarios.topics.compaction import compaction
from mqbridge_conformance.scenarios.topics.lag import lag_is_truth
from mqbridge_conformance.scenarios.topics.more_partitions import partitions_added
from mqbridge_conformance.scenarios.topics.records_deleted import records_deleted
from mqbridge_conformance.scenarios.topics.retention import retention_by_age, retention_by_size
from mqbridge_conformance.scenarios.topics.specified import topic_specified

__all__ = ["ALL"]

ALL = (
    topic_specified,
    lag_is_truth,
    partitions_added,
    records_deleted,
    retention_by_size,
    retention_by_age,
    compaction,
)
