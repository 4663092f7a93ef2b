"""What is given up on a topic is copied to the dead-letter topic, whole, before it counts as settled."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.scenarios.arranging import acked, filled, numbers

LIMIT = 3
REJECTED, FAILED, ACKED = 0, 1, 2


@scenario(
    "topic-dead-letter",
    "What is rejected, or fails too often, is in the dead-letter topic, with the reason, when it counts as settled",
    needs=(Cap.TOPIC_DEAD_LETTER, Cap.TOPIC_RETRY, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.TOPIC_DEAD_LETTER, Cap.TOPIC_RETRY),
    exercises=("attempts", "letters", "committed_after_letters"),
)
def topic_dead_letter(env: Env) -> None:
    topic, group = env.topic(), env.group()
    grave = mq.Topic(f"{topic.name}.{group}.dlq")
    env.remember(grave)
    filled(env, topic, range(3))
    retry = mq.RetryPolicy(max_attempts=LIMIT, first_delay_s=0.01)
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, dead_letter=True, retry=retry) as consumer:
        # The member may still be joining, and not everybody see it yet.
        env.eventually(lambda: env.observer.names().topics.get(grave.name, 0), 1, "partitions of the dead-letter topic")
        got = env.receive(consumer, 3, "all of it")
        values = [one.raw for one in got]
        acked(env, consumer, [got[ACKED]])
        env.equal(consumer.next_offsets(), {(topic.name, 0): got[0].offset}, "the settled prefix, with two open")
        got[REJECTED].reject("of no use")
        env.raises(mq.AlreadySettled, got[REJECTED].ack, "ack() after reject()", "double-settle")
        failing = got[FAILED]
        for attempt in range(1, LIMIT + 1):
            env.equal(failing.attempt, attempt, "the attempt number", "attempt-wrong")
            failing.retry(error=ValueError(f"failed {attempt}"))
            env.count("attempts")
            if attempt < LIMIT:
                (failing,) = env.receive(consumer, 1, f"attempt {attempt + 1} of {LIMIT}")
        consumer.commit(env.patience_s)
        # Confirmed by now, or the commit would not have come past them.
        letters = [record.value for record in env.observer.records(grave.name)]
        env.equal(sorted(map(_text, letters)), sorted(map(_text, values[:2])), "the dead-letter topic", "dlq-lost")
        env.eventually(consumer.committed, {(topic.name, 0): (got[ACKED].offset or 0) + 1}, "what is committed then")
        env.count("committed_after_letters")
        env.equal(consumer.poll(timeout=0.05), [], "what comes after the last attempt", "attempt-wrong")
    env.drained(topic, group)
    env.observer.records(topic.name)
    _letters(env, grave, topic)


def _text(value: bytes | None) -> str:
    return repr(value)


def _letters(env: Env, grave: mq.Topic[bytes], topic: mq.Topic[bytes]) -> None:
    """Each says why it died, where, after how many attempts, of what."""
    undertakers = env.group("undertakers")
    with env.bus.consumer(grave, group=undertakers, start=mq.EARLIEST) as consumer:
        found = env.receive(consumer, 2, "the dead letters")
        told = {}
        for number, letter in zip(numbers(found), found, strict=True):
            death = letter.death
            env.check(death is not None, f"{letter} does not say why it died")
            assert death is not None
            env.check(topic.name in death.origin, f"the origin of {letter} is {death.origin!r}")
            env.check(death.at is not None, f"{letter} does not say when it died")
            told[number] = (letter.key, death.reason, death.attempts, death.error)
            env.count("letters")
        wanted = {
            REJECTED: (b"k0", "rejected", 1, "of no use"),
            FAILED: (b"k0", "max-attempts", LIMIT, f"ValueError: failed {LIMIT}"),
        }
        env.equal(told, wanted, "key, reason, attempts and error of the dead letters", "death-untold")
        acked(env, consumer, found)


@scenario(
    "topic-dead-letter-unconfirmed",
    "What cannot be copied to the dead-letter topic is not settled: it comes again, and nothing is committed past it",
    needs=(Cap.TOPIC_DEAD_LETTER, Cap.GROUPS, Cap.PARTITION_CUSTOM),
    proves=(Cap.TOPIC_DEAD_LETTER,),
    exercises=("refused_letters", "came_again"),
    level="full",
)
def topic_dead_letter_unconfirmed(env: Env) -> None:
    topic, grave, group = env.topic(), env.topic("grave"), env.group()
    filled(env, topic, range(2))
    with env.bus.consumer(topic, group=group, start=mq.EARLIEST, dead_letter=grave) as consumer:
        first, second = env.receive(consumer, 2, "all of it")
        place = {(topic.name, 0): first.offset or 0}
        env.bus.admin.delete(grave)
        first.reject("nowhere to go")
        acked(env, consumer, [second])
        env.eventually(consumer.committed, place, "what is committed, with a dead letter that nobody took", "dlq-lost")
        (again,) = env.receive(consumer, 1, "what could not be dead-lettered")
        env.equal((again.offset, again.redelivered), (first.offset, True), "what comes again", "dlq-lost")
        env.count("refused_letters")
        env.check(grave.name not in env.observer.names().topics, "the dead-letter topic was made by sending to it")
    committed = {f"{topic.name}/0": first.offset}
    env.equal(env.observer.committed(group), committed, "what is committed at the end", "committed-too-far")
    with env.bus.consumer(topic, group=group, start=mq.LATEST) as heir:
        got = env.receive(heir, 2, "what was not settled, and what lies above it")
        env.count("came_again", len(got))
        acked(env, heir, got)
    env.drained(topic, group)
    env.observer.records(topic.name)
