"""What a kill in the middle of a message means under each guarantee: it is lost, or it is repeated, or neither."""

from __future__ import annotations

from collections import Counter
from typing import Any

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.programs.delivery import effects
from mqbridge_conformance.scenario import Guarantee, at_each, scenario

BEFORE, AFTER, MIDDLE = 16, 4, 6
SESSION_S = 2.0
LEVELS: tuple[Guarantee, ...] = ("at-most-once", "at-least-once", "effectively-once")


@scenario(
    "queue-under-kill",
    "A consumer of a queue is killed in the middle of a message",
    needs=(Cap.WORK_SHARING, Cap.ACK, Cap.REDELIVERED),
    proves=(Cap.ACK, Cap.REDELIVERED),
    exercises=("kills", "in_the_middle"),
    fault=True,
)
def queue_under_kill(env: Env) -> None:
    queue = env.queue(max_attempts=5) if env.can(Cap.MAX_ATTEMPTS) else env.queue()
    _run(env, queue, {"prefetch": BEFORE})
    env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")


@scenario(
    "topic-under-kill",
    "A member of a group is killed in the middle of a message",
    needs=(Cap.GROUPS,),
    exercises=("kills", "in_the_middle"),
    fault=True,
)
def topic_under_kill(env: Env) -> None:
    topic, group = env.topic(), env.group()
    _run(env, topic, {"group": group, "session_timeout_s": SESSION_S})
    env.drained(topic, group)
    env.observer.records(topic.name)


def _run(env: Env, source: mq.Topic[bytes] | mq.Queue[bytes], options: dict[str, Any]) -> None:
    database = str(env.recorder.folder / "effects.db")
    told = {"source": str(source), "database": database, "guarantee": env.guarantee, "options": options}
    sent = _send(env, source, range(BEFORE))
    victim = env.spawn("account", **told, middle=MIDDLE)
    value = victim.expect("middle", env.patience_s)["value"]
    env.kill(victim)
    sent += _send(env, source, range(BEFORE, BEFORE + AFTER))
    heir = env.spawn("account", **told)
    handled: list[bytes] = []

    def progress() -> int:
        heir.command("progress")
        event = heir.expect("progress", env.patience_s)
        handled[:] = event["handled"]
        return int(event["known"])

    _until_all_has_come(env, source, sent, handled, progress)
    known = progress()
    heir.stop(env.patience_s)
    found = Counter(effects(database))
    lost = [one for one in sent if not found[one]]
    repeated = [one for one in sent if found[one] > 1]
    if env.guarantee == "at-most-once":
        env.equal(repeated, [], "what has two effects at most once", anomaly="EOS-dup")
        env.check(value in lost, "what was settled before it was handled is handled by another", anomaly="duplicate")
        env.count("in_the_middle", len(lost))
        return
    env.equal(lost, [], "what has no effect", anomaly="EOS-lost")
    if env.guarantee == "effectively-once":
        env.equal(repeated, [], "what has two effects effectively once", anomaly="EOS-dup")
        env.check(known, "what was handled and not settled does not come again", anomaly="lost")
        env.count("in_the_middle", known)
    else:
        env.check(value in repeated, "what was handled and not settled does not come again", anomaly="lost")
        env.count("in_the_middle", len(repeated))


def _until_all_has_come(env: Env, source: Any, sent: list[bytes], handled: list[bytes], progress: Any) -> None:
    """Of a queue all that was not lost is settled; of one partition the last is handled."""
    if isinstance(source, mq.Topic):
        env.eventually(lambda: progress() >= 0 and sent[-1] in handled, True, "the last", anomaly="starvation")
    elif env.guarantee == "at-most-once":
        env.eventually(lambda: progress() >= 0 and set(sent[BEFORE:]) <= set(handled), True, "what came after")
        env.counts(source.name, Counts(0, 0, 0), "the queue when all has come")
    else:

        def without() -> int:
            progress()
            return len(set(sent) - set(effects(str(env.recorder.folder / "effects.db"))))

        env.eventually(without, 0, "messages without an effect", anomaly="EOS-lost")
        env.counts(source.name, Counts(0, 0, 0), "the queue when all has come")


def _send(env: Env, source: Any, numbers: range) -> list[bytes]:
    """Each with a name of its own, by which it is known again."""
    values = [env.payload(source, "one", number) for number in numbers]
    with env.bus.producer() as producer:
        for number, value in zip(numbers, values, strict=True):
            producer.send(source, value, message_id=f"id-{number}").result(env.patience_s)
    return values


QUEUE = at_each(queue_under_kill, *LEVELS)
TOPIC = at_each(topic_under_kill, *LEVELS)
