"""A message has its time: before it is over it is there, after it it is never shown, and it ends among the dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts, Disagreement
from mqbridge_conformance.scenario import scenario

TTL_S, LONG_S = 0.5, 3600.0
LOOK_S = 0.05


@scenario(
    "message-ttl",
    "The shorter of a queue's and a message's time to live ends it: never early, never shown after, dead-lettered",
    needs=(Cap.MESSAGE_TTL, Cap.DEAD_LETTER, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.MESSAGE_TTL,),
    exercises=("expired", "lived"),
)
def message_ttl(env: Env) -> None:
    short, long = env.queue("short", message_ttl_s=TTL_S), env.queue("long", message_ttl_s=LONG_S)
    of_queue = env.send(short, [0], "queue") + env.send(short, [0], "both", expires_in_s=LONG_S)
    of_message = env.send(long, [0], "message", expires_in_s=TTL_S)
    lives = env.send(long, [0], "neither") + env.send(long, [1], "neither", expires_in_s=LONG_S)
    began_s = time.monotonic()
    (last_short,), (last_long,) = env.send(short, [1], "queue"), env.send(long, [1], "message", expires_in_s=TTL_S)
    of_queue.append(last_short)
    of_message.append(last_long)
    _not_before(env, lambda: last_short in _letters(env, short) or last_long in _letters(env, long), began_s)
    with env.bus.consumer(short) as of_short, env.bus.consumer(long) as of_long:
        kept: list[mq.Delivery[Any]] = []

        def expired() -> tuple[list[bytes], list[bytes]]:
            # Some engines look at the age on receipt, so somebody asks.
            shown = [delivery.raw for delivery in of_short.poll(timeout=0.01)]
            env.equal(shown, [], "what is shown after its time", anomaly="ttl-ignored")
            kept.extend(of_long.poll(timeout=0.01))
            return _letters(env, short), _letters(env, long)

        due = sorted(of_queue), sorted(of_message)
        env.eventually(expired, due, "dead letters of what expired", anomaly="ttl-ignored")
        env.count("expired", len(of_queue) + len(of_message))
        if len(kept) < len(lives):
            kept += env.receive(of_long, len(lives) - len(kept), "what has time left", anomaly="ttl-early")
        env.equal(sorted(d.raw or b"" for d in kept), sorted(lives), "what is shown", anomaly="ttl-ignored")
        env.count("lived", len(kept))
        env.ack(of_long, kept)
        env.drained(short)
        env.drained(long)
    for queue in (short, long):
        env.counts(queue.name, Counts(0, 0, 0), f"{queue} at the end")


def _not_before(env: Env, dead: Callable[[], bool], began_s: float) -> None:
    """Until the time of the last ones is over they have not died; and then wait until it is over for the broker too."""
    pause = threading.Event()
    while True:
        try:
            died = dead()
        except Disagreement:  # of what is under way, be it a death or not: the next look tells
            died = False
        if time.monotonic() - began_s >= TTL_S:
            break
        env.check(not died, f"a message has died within {TTL_S:g} s", anomaly="ttl-early")
        env.count("looked_before")
        pause.wait(LOOK_S)
    pause.wait(TTL_S)


def _letters(env: Env, queue: mq.Queue[Any]) -> list[bytes]:
    return sorted(letter.value or b"" for letter in env.observer.letters(queue.name) if letter.reason == "expired")
