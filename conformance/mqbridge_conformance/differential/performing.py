"""Performing a script on one engine: what was seen at each step, told so that engines can be compared.

The rule: names of the run, offsets and times are not told, but places in a partition and numbers of messages. How much
is waited for is what the reference saw at that step; what comes beyond it is seen too, for a moment is waited after it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import mqbridge as mq
from mqbridge_conformance.differential.scripts import Script, Step
from mqbridge_conformance.env import Env
from mqbridge_conformance.results import ScenarioResult
from mqbridge_conformance.runner import run_scenario
from mqbridge_conformance.scenario import scenario
from mqbridge_conformance.targets import Target

__all__ = ["Transcript", "perform"]

IDLE_S: Final = 0.25
"""How long nothing must come until nothing more is taken to come."""
SETTLED_S: Final = 8.0
LOOK_EVERY_S: Final = 0.05
FIRST_S: Final = 1.0
"""The same for the first message of a step that the reference saw nothing in, or of the reference itself."""


@dataclass(slots=True)
class Transcript:
    """What was seen: one entry a step, None for a step that was left out. `result` is the judged run it came from."""

    engine: str
    claims: Mapping[mq.Capability, mq.Support] = field(default_factory=dict)
    seen: list[Any] = field(default_factory=list)
    result: ScenarioResult | None = None


def perform(
    script: Script,
    target: Target,
    *,
    can: Callable[[mq.Capability], bool],
    reference: Transcript | None = None,
    patience_s: float = 20.0,
    keep: Path | None = None,
) -> Transcript:
    """Run it on a target that is started. `can` says which capabilities both engines have."""
    transcript = Transcript(target.engine)

    def body(env: Env) -> None:
        transcript.claims = env.bus.capabilities
        with contextlib.ExitStack() as last_first:
            performer = _Performer(env, last_first.enter_context(env.bus.producer()))
            for number, step in enumerate(script.steps):
                expected = None if reference is None else reference.seen[number]
                left_out = not all(can(capability) for capability in step.needs)
                transcript.seen.append(None if left_out else performer.perform(step, expected))
                env.count("steps", not left_out)
        env.check(True, "a script has no opinion: what it saw is compared")

    made = scenario("script", f"The script of seed {script.seed}", exercises=("steps",))(body)
    transcript.result = run_scenario(made, target, patience_s=patience_s, seed=script.seed, keep=keep)[0]
    return transcript


class _Performer:
    def __init__(self, env: Env, producer: mq.Producer) -> None:
        self._env = env
        self._producer = producer
        self._topics: dict[str, mq.Topic[bytes]] = {}
        self._queues: dict[str, mq.Queue[bytes]] = {}
        self._exchange: mq.Exchange | None = None
        self._groups: dict[str, str] = {}

    def perform(self, step: Step, expected: Any) -> Any:
        """What was seen, as JSON has it; a portable error is what was seen too."""
        self._expected = expected if isinstance(expected, Mapping) else {}
        try:
            seen = getattr(self, f"_{step.do}")(**step.args)
        except mq.MqbridgeError as error:
            seen = {"error": error.code, "outcome": error.outcome}
        return json.loads(json.dumps(seen))  # as the other side will be compared: tuples are lists, keys are strings

    # --- making

    def _make_topic(self, name: str, partitions: int) -> Any:
        self._topics[name] = self._env.topic(name, partitions=partitions)
        return {"partitions": self._env.observer.names().topics[self._topics[name].name]}

    def _make_queue(self, name: str, max_attempts: int) -> Any:
        self._queues[name] = self._env.queue(name, max_attempts=max_attempts)
        return {}

    def _make_exchange(self, type: Any, bindings: Sequence[Mapping[str, Any]]) -> Any:
        self._exchange = self._env.exchange("events", type=type)
        for told in bindings:
            options = {name: value for name, value in told.items() if name != "queue"}
            self._env.bus.admin.bind(mq.Binding(self._exchange, self._queues[told["queue"]], **options))
        return {}

    # --- sending

    def _send(self, kind: str, name: str, messages: Sequence[Mapping[str, Any]]) -> Any:
        if kind == "exchange":
            destination: Any = self._exchange
        else:
            destination = (self._topics if kind == "topic" else self._queues)[name]
        receipts = [
            self._producer.send(
                destination,
                b"%d" % message["number"],
                key=message["key"],
                headers=message.get("headers"),
                routing_key=message.get("routing_key", ""),
            )
            for message in messages
        ]
        return {"ends": [self._end(receipt) for receipt in receipts]}

    def _end(self, receipt: mq.Receipt) -> Any:
        error = receipt.exception(self._env.patience_s)
        if error is not None:
            return [error.code, error.outcome]
        confirmation = receipt.result(0)
        return ["confirmed", confirmation.partition, confirmation.offset]

    # --- topics

    def _read(self, topic: str, group: str, start: str, leave_out: int, release: int) -> Any:
        name = self._group(group)
        position = mq.EARLIEST if start == "earliest" else mq.LATEST
        shown: dict[int, list[Any]] = {}
        released: set[int] = set()
        with self._env.bus.consumer(self._topics[topic], group=name, start=position) as consumer:
            consumer.wait_assigned(self._env.patience_s)
            for delivery in self._all_of(consumer):
                number = int(delivery.raw or b"")
                headers = {name: value.decode() for name, value in delivery.headers.items()}
                told = [number, _text(delivery.key), headers, delivery.attempt]
                shown.setdefault(delivery.partition or 0, []).append(told)
                if release and number % release == 0 and number not in released:
                    released.add(number)
                    delivery.release()
                elif not leave_out or number % leave_out:
                    delivery.ack()
            consumer.commit(self._env.patience_s)
        return {"count": sum(map(len, shown.values())), "shown": shown, "committed": self._committed(topic, name)}

    def _committed(self, topic: str, group: str) -> Any:
        """How many records of each partition lie before what is committed."""
        offsets = self._env.observer.committed(group)
        if offsets is None:
            return None
        records = self._env.observer.records(self._topics[topic].name)
        place = self._topics[topic].name
        return {
            partition: sum(record.partition == partition and (record.offset or 0) < offset for record in records)
            for partition in range(self._topics_partitions(topic))
            for offset in [offsets.get(f"{place}/{partition}", 0)]
        }

    def _topics_partitions(self, topic: str) -> int:
        return self._topics[topic].partitions or 1

    def _group(self, stem: str) -> str:
        if stem not in self._groups:
            self._groups[stem] = self._env.group(stem)
        return self._groups[stem]

    def _replay(self, topic: str, skip: int) -> Any:
        starts = {
            number: min(at.start + skip, at.end)
            for number, at in self._env.bus.admin.offsets(self._topics[topic]).items()
        }
        shown: dict[int, list[int]] = {}
        with self._env.bus.replay(self._topics[topic], mq.At(starts)) as replay:
            for delivery in replay:
                shown.setdefault(delivery.partition or 0, []).append(int(delivery.raw or b""))
        return {"shown": shown}

    def _look_topic(self, topic: str, group: str) -> Any:
        offsets = self._env.bus.admin.offsets(self._topics[topic])
        stored: dict[int, list[Any]] = {number: [] for number in offsets}
        for record in self._env.observer.records(self._topics[topic].name):
            stored[record.partition or 0].append([int(record.value or b""), _text(record.key)])
        known = [summary.group for summary in self._env.bus.admin.list_groups()]
        return {
            "records": {number: at.end - at.start for number, at in offsets.items()},
            "stored": stored,
            "group_known": self._group(group) in known,
        }

    def _reset(self, topic: str, group: str, to: str) -> Any:
        position = mq.EARLIEST if to == "earliest" else mq.LATEST
        self._env.bus.admin.reset_offsets(self._group(group), self._topics[topic], position, dry_run=False)
        return {"committed": self._committed(topic, self._group(group))}

    def _trim(self, topic: str, records: int) -> Any:
        at = self._env.bus.admin.offsets(self._topics[topic])[0]
        self._env.bus.admin.delete_records(self._topics[topic], {0: min(at.start + records, at.end)})
        left = self._env.observer.records(self._topics[topic].name)
        return {"left": [int(record.value or b"") for record in left]}

    # --- queues

    def _take(self, queue: str, prefetch: int) -> Any:
        """By its number a message is rejected (divisible by 7), retried once (5), released once (3), else acked."""
        shown: dict[int, list[Any]] = {}
        first: list[int] = []
        with self._env.bus.consumer(self._queues[queue], prefetch=prefetch) as consumer:
            for delivery in self._all_of(consumer):
                number = int(delivery.raw or b"")
                before = len(shown.setdefault(number, []))
                shown[number].append([delivery.attempt, delivery.redelivered])
                if not before:
                    first.append(number)
                if number % 7 == 0:
                    delivery.reject("divisible by seven")
                elif number % 5 == 0 and not before:
                    delivery.retry(error="not yet")
                elif number % 3 == 0 and not before:
                    delivery.release()
                else:
                    delivery.ack()
            consumer.commit(self._env.patience_s)
        return {
            "count": sum(map(len, shown.values())),
            "first": first,
            "shown": sorted(shown.items()),
            "letters": self._letters(queue),
        }

    def _letters(self, queue: str) -> Any:
        """The dead letters as an observer sees them."""

        def look() -> Any:
            found = self._env.observer.letters(self._queues[queue].name)
            return sorted([int(letter.value or b""), letter.reason, letter.attempts, letter.error] for letter in found)

        return self._settled(look, "letters")

    def _settled(self, look: Callable[[], Any], name: str) -> Any:
        """What an observer sees reaches it a little later: what the reference saw is waited for, no longer than a
        moment, and then whatever is there is told."""
        give_up_s = time.monotonic() + SETTLED_S
        pause = threading.Event()
        while True:
            seen = look()
            wanted = self._expected.get(name, seen)
            if json.loads(json.dumps(seen)) == wanted or time.monotonic() >= give_up_s:
                return seen
            pause.wait(LOOK_EVERY_S)

    def _hold(self, queue: str) -> Any:
        """Take what comes, settle nothing, and close."""
        with self._env.bus.consumer(self._queues[queue], prefetch=100) as consumer:
            held = [int(delivery.raw or b"") for delivery in self._all_of(consumer)]
        return {"count": len(held), "held": sorted(held)}

    def _drain(self, queue: str) -> Any:
        shown = []
        with self._env.bus.consumer(self._queues[queue]) as consumer:
            for delivery in self._all_of(consumer):
                headers = {name: value.decode() for name, value in delivery.headers.items()}
                told = [int(delivery.raw or b""), _text(delivery.key), headers, delivery.routing_key]
                shown.append([*told, delivery.attempt, delivery.redelivered])
                delivery.ack()
            consumer.commit(self._env.patience_s)
        return {"count": len(shown), "shown": shown}

    def _look_queue(self, queue: str) -> Any:
        held = self._settled(lambda: self._env.observer.held(self._queues[queue].name), "held")
        return {"letters": self._letters(queue), "held": held}

    def _purge(self, queue: str) -> Any:
        return {"purged": self._env.bus.admin.purge(self._queues[queue])}

    def _redrive(self, queue: str) -> Any:
        moved = self._env.bus.admin.redrive(self._queues[queue])
        return {"moved": moved, "letters": self._letters(queue)}

    def _all_of(self, consumer: Any) -> Any:
        """What comes, one by one: as many as the reference saw, within patience, and then until nothing comes."""
        wanted, got = self._expected.get("count", 0), 0
        patience_s = self._env.patience_s if wanted else FIRST_S
        give_up_s = time.monotonic() + patience_s
        while True:
            deliveries = consumer.poll(timeout=IDLE_S)
            if not deliveries and (got >= wanted > 0 or got and not wanted or time.monotonic() >= give_up_s):
                return
            for delivery in deliveries:
                got += 1
                yield delivery

    # --- what is refused

    def _wrong(self, what: str) -> Any:
        return getattr(self, f"_{what}")()

    def _named(self, kind: type[Any]) -> Any:
        made = kind(self._env.name("missing"))
        self._env.remember(made)
        return made

    def _send_to_missing_topic(self) -> Any:
        return self._end(self._producer.send(self._named(mq.Topic), b"1"))

    def _send_to_missing_queue(self) -> Any:
        return self._end(self._producer.send(self._named(mq.Queue), b"1"))

    def _read_missing_topic(self) -> Any:
        with self._env.bus.consumer(
            self._named(mq.Topic), group=self._env.group("nobody"), start=mq.EARLIEST
        ) as consumer:
            return len(consumer.poll(timeout=IDLE_S))

    def _take_missing_queue(self) -> Any:
        with self._env.bus.consumer(self._named(mq.Queue)) as consumer:
            return len(consumer.poll(timeout=IDLE_S))

    def _routing_key_on_topic(self) -> Any:
        return self._end(self._producer.send(self._topics["log"], b"1", routing_key="key"))

    def _other_partitions(self) -> Any:
        self._env.bus.admin.ensure(mq.Topic(self._topics["single"].name, partitions=3))
        return "made"

    def _other_attempts(self) -> Any:
        self._env.bus.admin.ensure(mq.Queue(self._queues["work"].name, max_attempts=7))
        return "made"

    def _ack_twice(self) -> Any:
        queue = self._env.queue("twice")
        self._producer.send(queue, b"1").result(self._env.patience_s)
        with self._env.bus.consumer(queue) as consumer:
            (delivery,) = self._env.receive(consumer, 1, "the message to be acked twice")
            delivery.ack()
            delivery.ack()
        return "acked twice"

    def _delete_missing(self) -> Any:
        self._env.bus.admin.delete(mq.Queue(self._env.name("missing")))
        return "deleted"

    def _empty_group(self) -> Any:
        self._env.bus.admin.describe_group(self._env.name("nobody"))
        return "described"


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode()
