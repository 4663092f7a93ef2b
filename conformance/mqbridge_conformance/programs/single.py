"""Programs made for one behaviour each: to host, to observe, to hold, to share, to join, to produce in rounds.

The rule: see `workers`; what several behaviours need is in `traffic`.
"""

from __future__ import annotations

from typing import Final

import mqbridge as mq
from mqbridge_conformance.observers import PublicObserver
from mqbridge_conformance.parties import Link

__all__ = ["hold", "host", "join", "observe", "produce", "share"]

POLL_S: Final = 0.05
SESSION_TIMEOUT_S: Final = 2.0
"""Short, so that the place of a killed member is soon free; not so short that a slow machine loses a living one."""


def host(link: Link, url: str) -> None:
    """Hold a connection open and do nothing else: on a folder, be its host."""
    with link.connect(url) as bus:
        link.emit("ready", health=dict(bus.admin.health()))
        link.wait("end")


def observe(link: Link, url: str) -> None:
    """Answer an observer's questions."""
    with link.connect(url) as bus:
        observer = PublicObserver(bus)
        link.emit("ready")
        while True:
            ask = link.wait("ask")
            try:
                link.emit("answer", value=getattr(observer, ask["question"])(*ask["args"]))
            except mq.MqbridgeError as error:
                link.emit("answer", refused=f"{type(error).__name__}: {error}")


def produce(link: Link, url: str, topic: str, producer: str, keys: list[str], per_key: int) -> None:
    """At each ``go`` send `per_key` messages for each key, numbered on from the round before; wait for all of them."""
    with link.connect(url) as bus, bus.producer() as sender:
        sent = 0
        link.emit("ready")
        while True:
            link.wait("go")
            receipts = [
                sender.send(mq.Topic(topic), f"{producer}:{key}:{number}".encode(), key=key)
                for number in range(sent, sent + per_key)
                for key in keys
            ]
            sent += per_key
            for receipt in receipts:
                receipt.result(30)
            link.emit("sent", count=len(receipts))


def share(link: Link, url: str, queue: str, prefetch: int) -> None:
    """Hold as many as `prefetch` allows until ``go``, then ack all that comes until ``finish``; tell what came.

    At each ``progress`` tell how many are settled for certain.
    """
    with link.connect(url) as bus, bus.consumer(mq.Queue(queue), prefetch=prefetch) as consumer:
        held: list[mq.Delivery[bytes]] = []
        while len(held) < prefetch:
            held += consumer.poll(prefetch - len(held), timeout=POLL_S)
            link.check()
        link.emit("holding", count=len(held))
        link.wait("go")
        values: list[bytes | None] = []
        attempts: list[int] = []
        while True:
            for delivery in held:
                values.append(delivery.raw)
                attempts.append(delivery.attempt)
                delivery.ack()
            if link.asked("progress"):
                consumer.commit(30)
                link.emit("progress", settled=len(values))
            if link.asked("finish"):
                break
            held = consumer.poll(timeout=POLL_S)
        consumer.commit(30)
        link.emit("done", values=values, attempts=attempts)


def hold(link: Link, url: str, queue: str, take: int, ack: int) -> None:
    """Take `take` messages, ack `ack` of them for certain, and keep the rest until the end, whatever it is."""
    with link.connect(url) as bus, bus.consumer(mq.Queue(queue), prefetch=take) as consumer:
        held: list[mq.Delivery[bytes]] = []
        while len(held) < take:
            held += consumer.poll(take - len(held), timeout=POLL_S)
            link.check()
        for delivery in held[:ack]:
            delivery.ack()
        consumer.commit(30)
        link.emit("held", acked=[d.raw for d in held[:ack]], kept=[d.raw for d in held[ack:]])
        link.wait("end")


def join(link: Link, url: str, topic: str, group: str) -> None:
    """Join a group at LATEST, and receive nothing."""
    with (
        link.connect(url) as bus,
        bus.consumer(mq.Topic(topic), group=group, start=mq.LATEST, session_timeout_s=SESSION_TIMEOUT_S) as consumer,
    ):
        assigned = consumer.wait_assigned(30)
        link.emit("assigned", partitions=[list(partition) for partition in assigned])
        link.wait("end")
