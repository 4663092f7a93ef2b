"""How the brokers of tests are set up.

The rule: every setting that differs from the broker's default is here and nowhere else, with its reason. No setting
loosens what a broker promises: only waiting is made shorter, and a single node made sufficient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "KAFKA_CONTAINER_USER",
    "KAFKA_IMAGE",
    "RABBITMQ_FILES",
    "RABBITMQ_IMAGE",
    "RABBITMQ_PASSWORD",
    "RABBITMQ_USER",
    "kafka_environment",
]

KAFKA_IMAGE: Final = "apache/kafka:4.3.1"
KAFKA_CONTAINER_USER: Final = "0"
"""The start script copies the image's configuration with its permissions and then writes to the copy. Where an image
was built from read-only files, root alone can."""
RABBITMQ_IMAGE: Final = "rabbitmq:4-management"

_ONE_NODE: Final = {
    # One setting given through the environment switches off the image's own defaults, so all are here.
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "KAFKA_LOG_DIRS": "/tmp/kraft-combined-logs",
    # The defaults are for three nodes.
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    # 50 partitions of each are 150 logs to open and to flush, at the first use and at every restart.
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "2",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "2",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS": "2",
    # The broker's own default, written down because the suite relies on it: a bridge that asks for the metadata of a
    # topic in a way that creates it leaves one behind, and the observers see it.
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "true",
    "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
}

_SHORT_WAITS: Final = {
    # A group's first rebalance waits three seconds for more members.
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    # After a kill the broker may register again when its old session is over: 9 s.
    "KAFKA_BROKER_SESSION_TIMEOUT_MS": "3000",
    "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
    # The smallest session that a classic member may ask for: 6 s, too long to wait for in every test of a crash.
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "500",
    # With the consumer protocol (KIP-848) the broker decides: 45 s would be waited for after every killed member. The
    # upper end stays, so that a test can ask for the broker's usual.
    "KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS": "3000",
    "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "200",
    "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "500",
    "KAFKA_GROUP_CONSUMER_ASSIGNMENT_INTERVAL_MS": "0",
    # The same for share groups (KIP-932). A lock shorter than a second is refused by the broker. The default duration
    # stays at 30 s: a queue that wants another says so, and is tested for that.
    "KAFKA_GROUP_SHARE_MIN_RECORD_LOCK_DURATION_MS": "1000",
    "KAFKA_GROUP_SHARE_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_GROUP_SHARE_SESSION_TIMEOUT_MS": "3000",
    "KAFKA_GROUP_SHARE_MIN_HEARTBEAT_INTERVAL_MS": "200",
    "KAFKA_GROUP_SHARE_HEARTBEAT_INTERVAL_MS": "500",
    "KAFKA_GROUP_SHARE_ASSIGNMENT_INTERVAL_MS": "0",
    # A share partition whose first initialisation failed is tried again after 30 s.
    "KAFKA_GROUP_SHARE_INITIALIZE_RETRY_INTERVAL_MS": "500",
}


def kafka_environment(port: int) -> Mapping[str, str]:
    """The environment of a Kafka container that is reached at ``127.0.0.1:port``.

    It listens on the same port inside, so that Kafka's own tools, run in the container, find it at the advertised
    address too.
    """
    return {
        **_ONE_NODE,
        **_SHORT_WAITS,
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
    }


RABBITMQ_USER: Final = "guest"
RABBITMQ_PASSWORD: Final = "guest"

_RABBITMQ_CONF: Final = """\
# The image's own defaults let guest in from outside, and its files are read before this one.
# The management API shows what queues counted at their last report, and collects the reports as often as it keeps
# samples: twice 5 s by default. A sample a second is the most that it can be told.
collect_statistics_interval = 200
management.sample_retention_policies.global.minute = 1
management.sample_retention_policies.basic.minute = 1
management.sample_retention_policies.detailed.minute = 1
"""

_RABBITMQ_ADVANCED: Final = """\
%% The same for quorum queues and streams, which report at ticks of their own; rabbitmq.conf has no names for these.
[{rabbit, [{quorum_tick_interval, 200}, {stream_tick_interval, 200}]}].
"""

RABBITMQ_FILES: Final[Mapping[str, str]] = {
    # Topics are streams, which need no plugin over AMQP; the plugin is on because a user's broker will have it on.
    "/etc/rabbitmq/enabled_plugins": "[rabbitmq_management,rabbitmq_stream].\n",
    "/etc/rabbitmq/conf.d/90-mqbridge-tests.conf": _RABBITMQ_CONF,
    "/etc/rabbitmq/advanced.config": _RABBITMQ_ADVANCED,
}
"""The consumer timeout (30 minutes) and every limit stay at the broker's defaults."""
