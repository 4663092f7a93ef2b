"""How the brokers of tests are set up.

The rule: every setting that differs from the broker's default is here and nowhere else, with its reason. No setting
loosens what a broker promises: only waiting is made shorter, and a single node made sufficient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "KAFKA_ADMIN",
    "KAFKA_CONTAINER_USER",
    "KAFKA_IMAGE",
    "KAFKA_RETENTION_MS",
    "KAFKA_LINKED_PORT",
    "KAFKA_STRANGER",
    "NEW_USERS_PASSWORD",
    "RABBITMQ_CLUSTER_FILES",
    "RABBITMQ_FILES",
    "RABBITMQ_IMAGE",
    "RABBITMQ_PASSWORD",
    "RABBITMQ_USER",
    "kafka_cluster_environment",
    "kafka_environment",
    "linked_kafka_environment",
    "secured_kafka_environment",
    "secured_kafka_files",
]

KAFKA_IMAGE: Final = "apache/kafka:4.3.1"
KAFKA_CONTAINER_USER: Final = "0"
"""The start script copies the image's configuration with its permissions and then writes to the copy. Where an image
was built from read-only files, root alone can."""
RABBITMQ_IMAGE: Final = "rabbitmq:4-management"

KAFKA_RETENTION_MS: Final = 100 * 365 * 86_400 * 1000
"""How long a topic keeps its records that was not told: a hundred years, where Kafka's own default is a week."""

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
    # Retention and compaction take whole segments, of a gigabyte by default, and come every five minutes or every 15 s,
    # the first time after 30 s.
    "KAFKA_LOG_SEGMENT_BYTES": "2097152",
    "KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS": "500",
    "KAFKA_LOG_INITIAL_TASK_DELAY_MS": "500",
    "KAFKA_LOG_CLEANER_BACKOFF_MS": "500",
    # Looked after that often, a record with a time of long ago would be gone before a test could read it.
    "KAFKA_LOG_RETENTION_MS": str(KAFKA_RETENTION_MS),
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


_SEVERAL_NODES: Final = {
    **{name: value for name, value in _ONE_NODE.items() if "FACTOR" not in name and "ISR" not in name},
    "KAFKA_CONTROLLER_QUORUM_VOTERS": ",".join(f"{node}@kafka-{node}:9093" for node in (1, 2, 3)),
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
    # What is acknowledged is on two nodes at least: the usual setting of three nodes.
    "KAFKA_DEFAULT_REPLICATION_FACTOR": "3",
    "KAFKA_MIN_INSYNC_REPLICAS": "2",
    # Three nodes that start at once on a small machine are slow to find each other, and one that is late gives up.
    "KAFKA_INITIAL_BROKER_REGISTRATION_TIMEOUT_MS": "300000",
    "KAFKA_HEAP_OPTS": "-Xms192m -Xmx384m",
}


def kafka_cluster_environment(node: int, port: int, cluster_id: str) -> Mapping[str, str]:
    """One of three nodes, each broker and controller, called ``kafka-NODE`` by the others, and reached from outside at
    ``127.0.0.1:port``."""
    return {
        **_SEVERAL_NODES,
        **_SHORT_WAITS,
        # A follower that is frozen for a moment stays in sync; one that is dead is given up after that time.
        "KAFKA_BROKER_SESSION_TIMEOUT_MS": "6000",
        "CLUSTER_ID": cluster_id,
        "KAFKA_NODE_ID": str(node),
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{port},INTERNAL://0.0.0.0:29092,CONTROLLER://0.0.0.0:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port},INTERNAL://kafka-{node}:29092",
    }


KAFKA_LINKED_PORT: Final = 19092
"""Where the Kafka with a second listener listens inside its container for those who come by the proxy."""


def linked_kafka_environment(port: int, proxy_port: int) -> Mapping[str, str]:
    """The same broker with a second listener, whose clients are told to come back by ``127.0.0.1:proxy_port``: a client
    of Kafka goes on at the address that the broker advertises, whatever it came by."""
    own = kafka_environment(port)
    return {
        **own,
        "KAFKA_LISTENERS": f"{own['KAFKA_LISTENERS']},LINKED://0.0.0.0:{KAFKA_LINKED_PORT}",
        "KAFKA_ADVERTISED_LISTENERS": f"{own['KAFKA_ADVERTISED_LISTENERS']},LINKED://127.0.0.1:{proxy_port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": f"{own['KAFKA_LISTENER_SECURITY_PROTOCOL_MAP']},LINKED:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
    }


KAFKA_ADMIN: Final = ("admin", "admin-pass-word")
"""User and password of the secured Kafka's super user, which the broker itself is too."""
KAFKA_STRANGER: Final = ("stranger", "stranger-pass-word")
"""A user whom the secured Kafka lets in, and who has no permission there."""

_KEYSTORE: Final = "/etc/kafka/secrets/mqbridge-keystore.pem"


def secured_kafka_environment(port: int, tls_port: int) -> Mapping[str, str]:
    """The same broker behind passwords (PLAIN; SCRAM for users whom a test makes) and access lists, once in plain text
    and once over TLS. It expects its key and certificate in the file of `secured_kafka_files`.

    The listeners have names of their own, for the image's start script asks for more files where one is called SSL or
    SASL_SSL.
    """
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required " + " ".join(
        [f'username="{KAFKA_ADMIN[0]}" password="{KAFKA_ADMIN[1]}"']
        + [f'user_{name}="{password}"' for name, password in (KAFKA_ADMIN, KAFKA_STRANGER)]
    )
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    logins = {
        f"KAFKA_LISTENER_NAME_{listener}_{mechanism}_SASL_JAAS_CONFIG": f"{module};"
        for listener in ("LOGIN", "CLOAK")
        for mechanism, module in (("PLAIN", plain), ("SCRAM___SHA___256", scram), ("SCRAM___SHA___512", scram))
    }
    return {
        **kafka_environment(port),
        **logins,
        "KAFKA_LISTENERS": f"LOGIN://0.0.0.0:{port},CLOAK://0.0.0.0:{tls_port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"LOGIN://127.0.0.1:{port},CLOAK://127.0.0.1:{tls_port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CLOAK:SASL_SSL",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "LOGIN",
        "KAFKA_SASL_MECHANISM_INTER_BROKER_PROTOCOL": "PLAIN",
        "KAFKA_SASL_ENABLED_MECHANISMS": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "KAFKA_SSL_KEYSTORE_TYPE": "PEM",
        "KAFKA_SSL_KEYSTORE_LOCATION": _KEYSTORE,
        "KAFKA_AUTHORIZER_CLASS_NAME": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Nobody but the node itself reaches the controller's listener, which asks for no password.
        "KAFKA_SUPER_USERS": f"User:{KAFKA_ADMIN[0]};User:ANONYMOUS",
    }


def secured_kafka_files(key_and_certificate: str) -> Mapping[str, str]:
    """What the secured Kafka's container needs beside its environment."""
    return {_KEYSTORE: key_and_certificate}


NEW_USERS_PASSWORD: Final = "pass-Word-of-Tests"
"""Of the users that a test makes."""

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
%% A dead letter that its queue refused is tried again after three minutes by default.
[{rabbit, [
  {quorum_tick_interval, 200},
  {stream_tick_interval, 200},
  {dead_letter_worker_publisher_confirm_timeout, 1000}
]}].
"""

RABBITMQ_FILES: Final[Mapping[str, str]] = {
    # Topics are streams, which need no plugin over AMQP; the plugin is on because a user's broker will have it on.
    "/etc/rabbitmq/enabled_plugins": "[rabbitmq_management,rabbitmq_stream].\n",
    "/etc/rabbitmq/conf.d/90-mqbridge-tests.conf": _RABBITMQ_CONF,
    "/etc/rabbitmq/advanced.config": _RABBITMQ_ADVANCED,
}
"""The consumer timeout (30 minutes) and every limit stay at the broker's defaults."""

_RABBITMQ_CLUSTER: Final = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = rabbit@rabbitmq-1
cluster_formation.classic_config.nodes.2 = rabbit@rabbitmq-2
cluster_formation.classic_config.nodes.3 = rabbit@rabbitmq-3
# Otherwise all leaders are where the client that declares is connected, and every kill is of all or of none.
queue_leader_locator = balanced
"""

_RABBITMQ_CLUSTER_ADVANCED: Final = """\
%% The same ticks, and a node that stands still is noticed in seconds, not in a minute.
[{rabbit, [{quorum_tick_interval, 200}, {stream_tick_interval, 200}]}, {kernel, [{net_ticktime, 5}]}].
"""

RABBITMQ_CLUSTER_FILES: Final[Mapping[str, str]] = {
    **RABBITMQ_FILES,
    "/etc/rabbitmq/conf.d/91-mqbridge-cluster.conf": _RABBITMQ_CLUSTER,
    "/etc/rabbitmq/advanced.config": _RABBITMQ_CLUSTER_ADVANCED,
}
"""For nodes whose hosts are called ``rabbitmq-1`` to ``rabbitmq-3``."""
