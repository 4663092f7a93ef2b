"""Brokers with a second way to them, which can be broken without stopping them.

The rule: the plain `url` goes on working whatever happens to the link, so that observers see what is there meanwhile.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mqbridge_conformance.brokers import settings
from mqbridge_conformance.brokers.containers import Container
from mqbridge_conformance.brokers.links import AmqpFrames, KafkaFrames, Proxy
from mqbridge_conformance.brokers.servers import KafkaContainer, RabbitMQContainer, when_ready

__all__ = ["LinkedKafka", "LinkedRabbitMQ"]


class LinkedKafka(KafkaContainer):
    """One Kafka node with a second listener behind a proxy."""

    link: Proxy

    @classmethod
    def begin(cls) -> LinkedKafka:
        proxy = Proxy.listen(KafkaFrames)
        try:
            container = Container.start(
                settings.KAFKA_IMAGE,
                ports={"kafka": None, "linked": settings.KAFKA_LINKED_PORT},
                environment=lambda ports: settings.linked_kafka_environment(ports["kafka"], proxy.port),
                files={},
                user=settings.KAFKA_CONTAINER_USER,
            )
        except BaseException:
            proxy.close()
            raise
        proxy.lead_to("127.0.0.1", container.ports["linked"])
        return when_ready(cls(container, proxy))

    def __init__(self, container: Container, proxy: Proxy) -> None:
        super().__init__(container)
        self.link = proxy

    @property
    def linked_url(self) -> str:
        return f"kafka://127.0.0.1:{self.link.port}"

    def stop(self) -> None:
        super().stop()
        self.link.close()


class LinkedRabbitMQ(RabbitMQContainer):
    """One RabbitMQ node, and a proxy before it for AMQP; its management API is asked directly."""

    link: Proxy

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.link = Proxy.listen(AmqpFrames)
        self.link.lead_to("127.0.0.1", container.ports["amqp"])

    @property
    def linked_url(self) -> str:
        parts = urlsplit(self.url)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@127.0.0.1:{self.link.port}").geturl()

    def stop(self) -> None:
        super().stop()
        self.link.close()
