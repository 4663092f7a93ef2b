"""mqbridge beside the raw clients on real brokers, doing the same work, in one interleaved run.

The rule: every contender sends and consumes the same values of 100 bytes on the same broker, what a broker holds is
counted by a raw client, and a figure is a ratio of the same round. README.md says what each row does.

    python benchmarks/brokers.py --kafka kafka://127.0.0.1:9092 --rabbitmq amqp://127.0.0.1:5672/
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree, not an installed one

import mqbridge
from benchmarks.environment import look

VALUE_BYTES = 100
POOL = 1000
LINGER_S = 0.005
WINDOW = 1000
PREFETCH = 500
ACK_EVERY = 100
WAIT_S = 120.0


class Wrong(Exception):
    """What the broker holds, or gave, is not what went in: the figures would mean nothing."""


@dataclass(frozen=True)
class Taken:
    """What one contender took in one round: wall seconds, CPU seconds of all threads of this process, messages."""

    seconds: float
    cpu_s: float
    count: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.count * 1e6


class Watch:
    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._start_s = time.perf_counter()

    def stop(self, count: int) -> Taken:
        return Taken(time.perf_counter() - self._start_s, time.process_time() - self._cpu_s, count)


@dataclass
class Case:
    """A contender: `run(values)` does the work once. `base` names the row it is divided by."""

    phase: str
    name: str
    count: int
    run: Callable[[list[bytes]], Taken]
    base: str | None = None
    rounds: list[Taken] = field(default_factory=list)


def _check(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found} where {wanted} went in")


# --- mqbridge ----------------------------------------------------------------------------------------------------


def _ours_send(url: str, kind: Callable[[str], Any], held: Callable[[str], int]) -> Callable[[list[bytes]], Taken]:
    def run(values: list[bytes]) -> Taken:
        destination = kind(f"bench-{secrets.token_hex(4)}")
        with mqbridge.connect(url) as bus:
            bus.admin.ensure(destination)
            with bus.producer(linger_s=LINGER_S) as producer:
                send = producer.send
                watch = Watch()
                for value in values:
                    send(destination, value)
                producer.flush()
                taken = watch.stop(len(values))
            _check("mqbridge sent", held(destination.name), len(values))
            bus.admin.delete(destination)
        return taken

    return run


def _ours_consume(url: str, kind: Callable[[str], Any], fill: Callable[[str, list[bytes]], None]) -> Any:
    def run(values: list[bytes]) -> Taken:
        destination = kind(f"bench-{secrets.token_hex(4)}")
        with mqbridge.connect(url) as bus:
            bus.admin.ensure(destination)
            fill(destination.name, values)
            taken = _consumed(bus, destination, len(values))
            bus.admin.delete(destination)
        return taken

    return run


def _consumed(bus: mqbridge.Bus, destination: Any, count: int) -> Taken:
    """From the first delivery on: joining and the first fetch are not what is measured, for nobody here."""
    got = 0
    with _consumer(bus, destination) as consumer:
        stream = consumer.stream(idle_timeout_s=WAIT_S)
        first = next(stream)
        watch = Watch()
        first.ack()
        for delivery in islice(stream, count - 1):
            got += len(delivery.value) > 0 and (delivery.offset is None or delivery.offset >= 0)
            delivery.ack()
        consumer.commit()
        taken = watch.stop(count - 1)
    _check("mqbridge consumed", got, count - 1)
    return taken


def _consumer(bus: mqbridge.Bus, destination: Any) -> Any:
    if isinstance(destination, mqbridge.Topic):
        return bus.consumer(destination, group=destination.name, start=mqbridge.EARLIEST)
    return bus.consumer(destination, prefetch=PREFETCH)


# --- Kafka -------------------------------------------------------------------------------------------------------


class Kafka:
    """The raw client's part, on confluent-kafka."""

    def __init__(self, url: str) -> None:
        from confluent_kafka.admin import AdminClient

        self.url = url
        self.base: dict[str, Any] = {"bootstrap.servers": url.partition("//")[2].partition("?")[0].rstrip("/")}
        self._admin = AdminClient(self.base)

    def cases(self, scale: float) -> list[Case]:
        count = max(1000, int(200_000 * scale))
        raw = "confluent-kafka"
        return [
            Case("Kafka send", f"{raw} produce with on_delivery", count, self.send),
            Case("Kafka send", "mqbridge", count, _ours_send(self.url, self.topic, self.held), raw),
            Case("Kafka consume", f"{raw} consume(500), tuned", count, self.consume),
            Case("Kafka consume", "mqbridge with ack", count, _ours_consume(self.url, self.topic, self.fill), raw),
        ]

    @staticmethod
    def topic(name: str) -> mqbridge.Topic[bytes]:
        return mqbridge.Topic(name, partitions=1)

    def _producer(self) -> Any:
        from confluent_kafka import Producer

        more = {"enable.idempotence": True, "linger.ms": LINGER_S * 1000, "allow.auto.create.topics": False}
        return Producer({**self.base, **more})

    def _made(self) -> str:
        from confluent_kafka.admin import NewTopic

        name = f"bench-{secrets.token_hex(4)}"
        self._admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
        return name

    def _removed(self, name: str) -> None:
        self._admin.delete_topics([name])[name].result(30)

    def held(self, name: str) -> int:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({**self.base, "group.id": "bench-look", "enable.auto.commit": False})
        low, high = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=30)
        consumer.close()
        return int(high - low)

    def fill(self, name: str, values: list[bytes]) -> None:
        producer = self._producer()
        for number, value in enumerate(values):
            _produce(producer, name, value, None)
            if number % 1000 == 0:
                producer.poll(0)
        _check("left in the client", producer.flush(60), 0)

    def send(self, values: list[bytes]) -> Taken:
        name, producer, confirmed = self._made(), self._producer(), 0

        def delivered(error: Any, _message: Any) -> None:
            nonlocal confirmed
            if error is None:
                confirmed += 1

        watch = Watch()
        for number, value in enumerate(values):
            _produce(producer, name, value, delivered)
            if number % 1000 == 0:
                producer.poll(0)
        producer.flush(60)
        taken = watch.stop(len(values))
        _check("confluent-kafka confirmed", confirmed, len(values))
        _check("confluent-kafka sent", self.held(name), len(values))
        self._removed(name)
        return taken

    def consume(self, values: list[bytes]) -> Taken:
        from confluent_kafka import Consumer

        name = self._made()
        self.fill(name, values)
        own = {
            "group.id": name,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.min.messages": 1_000_000,
            "fetch.queue.backoff.ms": 10,
        }
        consumer = Consumer({**self.base, **own})
        consumer.subscribe([name])
        first: list[Any] = []
        while not first:
            first = consumer.consume(1, 0.1)
        got, want, watch = 0, len(values) - 1, Watch()
        while got < want:
            for message in consumer.consume(500, 0.1):
                message.key()
                got += message.value() is not None and message.offset() is not None
        consumer.commit(asynchronous=False)
        taken = watch.stop(want)
        consumer.close()
        self._removed(name)
        return taken


def _produce(producer: Any, name: str, value: bytes, on_delivery: Any) -> None:
    while True:
        try:
            if on_delivery is None:
                producer.produce(name, value)
            else:
                producer.produce(name, value, on_delivery=on_delivery)
        except BufferError:
            producer.poll(0.01)
        else:
            return


# --- RabbitMQ ----------------------------------------------------------------------------------------------------


class Rabbit:
    """The raw client's part, on pika."""

    def __init__(self, url: str) -> None:
        import pika

        self.url = url
        plain = url.partition("?")[0]
        self.parameters = pika.URLParameters(plain if plain.rpartition("/")[2] else f"{plain}%2F")

    def cases(self, scale: float) -> list[Case]:
        count, few = max(500, int(20_000 * scale)), max(50, int(1_000 * scale))
        raw = "pika"
        return [
            Case("RabbitMQ send", f"{raw} SelectConnection, window of {WINDOW}", count, self.send),
            Case("RabbitMQ send", f"{raw} BlockingConnection", few, self.send_blocking),
            Case("RabbitMQ send", "mqbridge", count, _ours_send(self.url, self.queue, self.held), raw),
            Case("RabbitMQ consume", f"{raw}, one ack for {ACK_EVERY}", count, self.consume),
            Case("RabbitMQ consume", "mqbridge with ack", count, _ours_consume(self.url, self.queue, self.fill), raw),
        ]

    @staticmethod
    def queue(name: str) -> mqbridge.Queue[bytes]:
        return mqbridge.Queue(name, dead_letter=None)

    def _made(self) -> str:
        import pika

        name = f"bench-{secrets.token_hex(4)}"
        with pika.BlockingConnection(self.parameters) as connection:
            connection.channel().queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        return name

    def _removed(self, name: str) -> None:
        import pika

        with pika.BlockingConnection(self.parameters) as connection:
            connection.channel().queue_delete(name)

    def held(self, name: str) -> int:
        import pika

        with pika.BlockingConnection(self.parameters) as connection:
            return int(connection.channel().queue_declare(name, passive=True).method.message_count)

    def fill(self, name: str, values: list[bytes]) -> None:
        _Pipelined(self.parameters, name, values).run()
        _check("left in the queue", self.held(name), len(values))

    def send(self, values: list[bytes]) -> Taken:
        name = self._made()
        taken = _Pipelined(self.parameters, name, values).run()
        _check("pika sent", self.held(name), len(values))
        self._removed(name)
        return taken

    def send_blocking(self, values: list[bytes]) -> Taken:
        import pika

        name = self._made()
        with pika.BlockingConnection(self.parameters) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(delivery_mode=2)
            watch = Watch()
            for value in values:
                channel.basic_publish("", name, value, properties, mandatory=True)
            taken = watch.stop(len(values))
        _check("pika sent", self.held(name), len(values))
        self._removed(name)
        return taken

    def consume(self, values: list[bytes]) -> Taken:
        import pika

        name, want = self._made(), len(values)
        self.fill(name, values)
        watch: Watch | None = None
        got = 0
        with pika.BlockingConnection(self.parameters) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=PREFETCH)

            def arrived(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
                nonlocal got, watch
                watch = watch or Watch()
                got += len(body) > 0
                if got % ACK_EVERY == 0 or got == want:
                    channel.basic_ack(method.delivery_tag, multiple=True)
                if got == want:
                    channel.stop_consuming()

            channel.basic_consume(name, arrived)
            channel.start_consuming()
            assert watch is not None
            taken = watch.stop(want - 1)
        _check("left in the queue", self.held(name), 0)
        self._removed(name)
        return taken


class _Pipelined:
    """pika's SelectConnection with a bounded window of unconfirmed messages: what its documentation recommends."""

    def __init__(self, parameters: Any, name: str, values: list[bytes]) -> None:
        import pika

        self._name = name
        self._values = values
        self._sent = 0
        self._open: set[int] = set()
        self._lowest = 1
        self._watch: Watch | None = None
        self._taken: Taken | None = None
        self._properties = pika.BasicProperties(delivery_mode=2)
        self._failed: BaseException | None = None
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=self._closed,
            on_close_callback=self._closed,
        )

    def run(self) -> Taken:
        self._connection.ioloop.start()
        if self._taken is None:
            raise Wrong(f"the connection was lost: {self._failed}")
        return self._taken

    def _closed(self, _connection: Any, error: BaseException) -> None:
        self._failed = error
        self._connection.ioloop.stop()

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.confirm_delivery(self._confirmed, callback=lambda _ok: self._begin())

    def _begin(self) -> None:
        self._watch = Watch()
        self._publish()

    def _publish(self) -> None:
        while len(self._open) < WINDOW and self._sent < len(self._values):
            self._channel.basic_publish("", self._name, self._values[self._sent], self._properties, mandatory=True)
            self._sent += 1
            self._open.add(self._sent)

    def _confirmed(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            for known in range(self._lowest, tag + 1):
                self._open.discard(known)
            self._lowest = tag + 1
        else:
            self._open.discard(tag)
        self._publish()
        if not self._open:
            assert self._watch is not None
            self._taken = self._watch.stop(len(self._values))
            self._connection.close()


# --- running and reporting ---------------------------------------------------------------------------------------


def run_all(cases: Sequence[Case], rounds: int) -> None:
    """A short round that is thrown away, then `rounds` rounds, every other one in the opposite order."""
    pool = [random.Random(number).randbytes(VALUE_BYTES) for number in range(POOL)]
    for number in range(-1, rounds):
        for case in cases if number % 2 else reversed(cases):
            count = case.count if number >= 0 else max(100, case.count // 20)
            values = [pool[index % POOL] for index in range(count)]
            gc.collect()
            taken = case.run(values)
            if number >= 0:
                case.rounds.append(taken)
        if number >= 0:
            print(f"round {number + 1} of {rounds}", file=sys.stderr)


def ratios(case: Case, cases: Sequence[Case], beside: str) -> list[float]:
    """The rate of `case` over that of the row of its phase whose name begins with `beside`, round by round."""
    base = next(row for row in cases if row.phase == case.phase and row.name.startswith(beside))
    return [mine.rate / its.rate for mine, its in zip(case.rounds, base.rounds, strict=True)]


def report(cases: Sequence[Case]) -> None:
    for phase in dict.fromkeys(case.phase for case in cases):
        print(f"\n{phase}")
        print(f"{'':<44} {'k msg/s':>8} {'min-max':>13} {'CPU us/msg':>11}   ratio min-max")
        for case in (row for row in cases if row.phase == phase):
            rates = [taken.rate / 1000 for taken in case.rounds]
            cpu_us = median(taken.cpu_us for taken in case.rounds)
            spread = f"{min(rates):.1f}-{max(rates):.1f}"
            words = f"{case.name:<44} {median(rates):>8.1f} {spread:>13} {cpu_us:>11.2f}"
            for beside in _beside(case):
                times = ratios(case, cases, beside)
                words += f"   {median(times):.2f} ({min(times):.2f}-{max(times):.2f}) of {beside}"
            print(words)


def _beside(case: Case) -> list[str]:
    if case.base is None:
        return []
    return [case.base, "pika BlockingConnection"] if case.phase == "RabbitMQ send" else [case.base]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure mqbridge beside confluent-kafka and pika.")
    parser.add_argument("--kafka", metavar="URL")
    parser.add_argument("--rabbitmq", metavar="URL")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; 5 by default")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages of every row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there too")
    given = parser.parse_args()
    cases: list[Case] = Kafka(given.kafka).cases(given.scale) if given.kafka else []
    cases += Rabbit(given.rabbitmq).cases(given.scale) if given.rabbitmq else []
    if not cases or given.rounds < 1 or given.scale <= 0:
        parser.error("give --kafka URL, --rabbitmq URL or both; --rounds from 1 on, --scale above 0")
    environment = look(Path(tempfile.gettempdir()))
    run_all(cases, given.rounds)
    environment.finish()
    for name, text in environment.lines():
        print(f"{name:<12} {text}")
    report(cases)
    if given.json is not None:
        rows = [
            {
                "phase": case.phase,
                "name": case.name,
                "messages": case.count,
                "seconds": [taken.seconds for taken in case.rounds],
                "cpu_s": [taken.cpu_s for taken in case.rounds],
                "ratios": {beside: ratios(case, cases, beside) for beside in _beside(case)},
            }
            for case in cases
        ]
        facts = {"environment": dict(environment.lines()), "value_bytes": VALUE_BYTES, "rounds": given.rounds}
        given.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
