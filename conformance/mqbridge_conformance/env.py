"""What a scenario has at hand: names that nobody else uses, checks that count, waits with a deadline, other parties.

The rule: what is made here is removed here, a wait that ends at its deadline is a failure with the last thing seen, and
everything that goes in and comes out is written into the history of the run.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import mqbridge as mq
from mqbridge_conformance import recording
from mqbridge_conformance.brokers.transactions import Transactions
from mqbridge_conformance.faults import Faults
from mqbridge_conformance.history import Payload, Recorder
from mqbridge_conformance.observers import Counts, Disagreement, RecordedObserver
from mqbridge_conformance.opening import open_bus
from mqbridge_conformance.parties import Party
from mqbridge_conformance.results import CannotTell, CheckFailed, Evidence
from mqbridge_conformance.scenario import Scenario
from mqbridge_conformance.targets import Target

__all__ = ["Env"]

T = TypeVar("T")
E = TypeVar("E", bound=mq.MqbridgeError)
LOOK_EVERY_S = 0.01


class Env:
    """One run of one scenario on one target. `chance` is all the randomness that a body may use: its seed is kept.
    `guarantee` is what the program under test asks for."""

    def __init__(self, target: Target, scenario: Scenario, folder: Path, patience_s: float, seed: int) -> None:
        self.target = target
        self.patience_s = patience_s
        self.guarantee = scenario.guarantee
        self.chance = random.Random(seed)
        self.evidence = Evidence()
        self.recorder = Recorder(folder, "main")
        self.observer = RecordedObserver(target.observer, self.recorder, target.observer.names().groups)
        self.before = self.observer.names()
        """What there was before it did anything."""
        self.faults = Faults(target, self.recorder)
        self.blind: list[str] = []
        """What nobody could look at in the end though it can be told: then no pass means anything."""
        self._token = secrets.token_hex(4)
        self._parties: list[Party] = []
        self._programs: Counter[str] = Counter()
        self._buses: list[mq.Bus] = []
        self.bus = self.connect()
        self.recorder.write(
            "ok",
            "run",
            more={
                "run": self._token,
                "engine": target.engine,
                "target": target.name,
                "scenario": scenario.name,
                "seed": seed,
                "guarantee": scenario.guarantee,
                "patience_s": patience_s,
                "legal": dict(scenario.legal),
                "claims": {cap.value: support.level.value for cap, support in self.bus.capabilities.items()},
            },
        )
        self._made: list[mq.Topic[Any] | mq.Queue[Any] | mq.Exchange] = []
        self._groups: list[str] = []

    # --- names and destinations

    def name(self, stem: str) -> str:
        """A name that no other run uses."""
        return f"mqc-{self._token}-{stem}"

    def topic(self, stem: str = "topic", **spec: Any) -> mq.Topic[bytes]:
        """A topic, made now and removed at the end."""
        return self.make(mq.Topic(self.name(stem), **spec))

    def queue(self, stem: str = "queue", **spec: Any) -> mq.Queue[bytes]:
        """A queue, with its dead-letter queue unless `dead_letter=None`; made now and removed at the end."""
        return self.make(mq.Queue(self.name(stem), **spec))

    def exchange(self, stem: str = "exchange", **spec: Any) -> mq.Exchange:
        """An exchange, made now and removed at the end."""
        return self.make(mq.Exchange(self.name(stem), **spec))

    def make(self, destination: T) -> T:
        """Ensure it, and remember to remove it."""
        self.remember(destination)
        self.bus.admin.ensure(destination)  # type: ignore[arg-type]
        return destination

    def remember(self, destination: Any) -> None:
        """Remove it at the end, if it is there then."""
        if isinstance(destination, mq.Topic | mq.Queue | mq.Exchange):
            self._made.append(destination)
        if isinstance(destination, mq.Queue) and destination.dead_letter is not None:
            self._made.append(destination.dead_letter)

    def group(self, stem: str = "group") -> str:
        """A group's name, forgotten at the end."""
        self._groups.append(self.name(stem))
        return self._groups[-1]

    def payload(self, destination: object, producer: str, number: int, *, key: str = "-", pad: int = 0) -> bytes:
        """A value that says where it belongs, who sent it as the how-manieth, and whether it is whole."""
        return Payload(self._token, str(destination), key, producer, number).encode(pad)

    def send(
        self, destination: Any, numbers: Iterable[int], producer: str = "one", *, key: str | None = None, **each: Any
    ) -> list[bytes]:
        """Payloads with these numbers, sent and confirmed; `each` are further arguments of every send."""
        values = [self.payload(destination, producer, number, key=key or "-") for number in numbers]
        with self.bus.producer() as sender:
            for receipt in [sender.send(destination, value, key=key, **each) for value in values]:
                receipt.result(self.patience_s)
        return values

    def ack(self, consumer: Any, deliveries: Iterable[mq.Delivery[Any]]) -> None:
        """Ack each, and wait until the broker has it."""
        for delivery in deliveries:
            delivery.ack()
        consumer.commit(self.patience_s)

    # --- parties

    def connect(self, **options: Any) -> mq.Bus:
        """Another connection of this process, closed at the end; `options` are those of `mqbridge.connect`."""
        return self._recorded(self.target.connect(self.recorder, **options))

    def connect_to(self, url: str, **options: Any) -> mq.Bus:
        """A connection to another broker of the same engine, under test as well; closed at the end."""
        return self._recorded(open_bus(url, recorder=self.recorder, **options))

    def connect_beside(self) -> mq.Bus:
        """A connection that is not met when the way of the parties is broken, made before it is; closed at the end."""
        return self._recorded(self.target.beside(self.recorder))

    def _recorded(self, bus: mq.Bus) -> mq.Bus:
        # The recorded one is closed at the end, so that its clients that are open then are told to have ended.
        self._buses.append(recording.connect(bus, self.recorder))
        return self._buses[-1]

    def transactions(self, stem: str) -> Transactions:
        """Another program, by a client that is not the library; to be closed."""
        return self.target.transactions(self.name(stem), self.recorder)

    def spawn(self, program: str, **args: Any) -> Party:
        """A worker program as another party, stopped at the end."""
        self._programs[program] += 1
        proc = f"{program}-{self._programs[program]}"
        party = self.target.spawn(program, history=str(self.recorder.folder), proc=proc, run=self._token, **args)
        self._parties.append(party)
        if party.kind == "process":
            self.count("processes")
        else:
            self.count("threads")
            self.evidence.note("there is no second process in memory: other parties are threads with own connections")
        return party

    def kill(self, party: Party) -> None:
        """As a crash would; how is told in the evidence."""
        self.count("kills")
        if party.kind == "process":
            self.faults.kill(party)
            return
        self.evidence.note(party.killed_by)
        more = {"what": "connection ended", "at": party.proc}
        op = self.recorder.invoke("fault", more=more)
        party.kill()
        self.recorder.write("ok", "fault", op=op, more=more)

    # --- checks

    def count(self, name: str, number: int = 1) -> None:
        self.evidence.count(name, number)

    def check(self, condition: object, text: str, anomaly: str = "") -> None:
        """What must be true; `anomaly` is what it is called if it is not."""
        self.count("checks")
        if not condition:
            raise CheckFailed(text, anomaly)

    def equal(self, found: object, wanted: object, what: str, anomaly: str = "") -> None:
        """What must be the same."""
        self.count("checks")
        if found != wanted:
            raise CheckFailed(f"{what}: found {_short(found)} where {_short(wanted)} is due", anomaly)

    def raises(self, kind: type[E], call: Callable[[], object], what: str, anomaly: str = "") -> E:
        """What must be refused, with that error; another of the library's is a ``wrong-error``."""
        self.count("checks")
        try:
            found = call()
        except kind as error:
            return error
        except mq.MqbridgeError as error:
            told = f"{what}: {type(error).__name__} ({error}) where {kind.__name__} is due"
            raise CheckFailed(told, "wrong-error") from error
        raise CheckFailed(f"{what}: no error, but {_short(found)}, where {kind.__name__} is due", anomaly)

    def eventually(
        self, look: Callable[[], T], wanted: T, what: str, anomaly: str = "", *, patience_s: float | None = None
    ) -> None:
        """What must come to be so, within the patience of the run, or another."""
        self.count("checks")
        self.wait_for(look, wanted, what, anomaly, patience_s=patience_s)

    def wait_for(
        self, look: Callable[[], T], wanted: T, what: str, anomaly: str = "", *, patience_s: float | None = None
    ) -> None:
        """The same, without being a check of the scenario's."""
        pause = threading.Event()
        patience_s = self.patience_s if patience_s is None else patience_s
        give_up_s = time.monotonic() + patience_s
        while True:
            late = time.monotonic() >= give_up_s
            found: object
            try:
                found = look()
            except Disagreement as disagreement:  # what is under way may have reached one observer and not the other
                found = disagreement
            if found == wanted:
                return
            if late:
                raise CheckFailed(
                    f"{what}: still {_short(found)} after {patience_s:g} s, where {_short(wanted)} is due", anomaly
                )
            pause.wait(LOOK_EVERY_S)

    def receive(
        self, consumer: Any, number: int, what: str, anomaly: str = "", due_in_s: float = 0.0
    ) -> list[mq.Delivery[Any]]:
        """Exactly `number` deliveries, none of them settled; fails when they do not come: what is due to a group and is
        not given to it is ``unseen``, what is due of a queue is ``lost``, unless it has another name here. `due_in_s`:
        what the scenario's own limits have it wait for, before patience begins."""
        missing = anomaly or ("unseen" if hasattr(consumer, "assignment") else "lost")
        patience_s = due_in_s + self.patience_s
        deadline_s = time.monotonic() + patience_s
        got: list[mq.Delivery[Any]] = []
        while len(got) < number:
            got += consumer.poll(number - len(got), timeout=0.1)
            if len(got) < number and time.monotonic() >= deadline_s:
                raise CheckFailed(f"{what}: {len(got)} of {number} came within {patience_s:g} s", missing)
        self.count("deliveries", len(got))
        return got

    def drained(self, destination: object, group: str | None = None) -> None:
        """Say that all there was has been asked for, by the consumers of that group: what did not come is missing."""
        self.recorder.write("ok", "drained", dest=str(destination), group=group)

    # --- what is seen from outside

    def can(self, *capabilities: mq.Capability) -> bool:
        """Does the engine claim all of them? What a body does only then, others speak for."""
        claims = self.bus.capabilities
        return all(claims[capability].level is not mq.Level.UNSUPPORTED for capability in capabilities)

    def counts(self, queue: str, wanted: Counts, what: str, anomaly: str = "") -> None:
        """What a queue must come to hold, as far as the observer can tell; what it cannot is noted as evidence."""
        seen = self.agreed(lambda: self.observer.counts(queue), what)
        untold = [name for name, found in zip(Counts._fields, seen, strict=True) if found is None]
        if untold:
            self.evidence.note(f"{self.observer.how} cannot tell {', '.join(untold)} messages of a queue")
        if len(untold) == len(seen):
            self._held(queue, wanted, what, anomaly)
            return

        def look() -> Counts:
            found = self.observer.counts(queue)
            return Counts(*(None if name in untold else at for name, at in zip(Counts._fields, found, strict=True)))

        told = Counts(*(None if name in untold else at for name, at in zip(Counts._fields, wanted, strict=True)))
        self.eventually(look, told, what, anomaly)
        self.count("counts_seen")

    def _held(self, queue: str, wanted: Counts, what: str, anomaly: str) -> None:
        if self.observer.held(queue) is None:
            return
        self.evidence.note(f"{self.observer.how} can tell those messages of a queue together")
        due: int | None = (wanted.ready or 0) + (wanted.unsettled or 0)
        self.eventually(lambda: self.observer.held(queue), due, f"{what}, in number", anomaly)
        self.count("counts_seen")

    def agreed(self, look: Callable[[], T], what: str) -> T:
        """What the observers see, once they see the same."""
        seen: list[T] = []

        def looked() -> bool:
            seen.append(look())
            return True

        self.wait_for(looked, True, what)
        return seen[-1]

    def committed(self, group: str, wanted: dict[str, int], what: str) -> None:
        """What a group must have committed; noted as evidence where it cannot be told while the group is active."""
        if self.observer.committed(group) is None:
            self.evidence.note(f"{self.observer.how} cannot tell the offsets of a group that has members")
            return
        self.equal(self.observer.committed(group), wanted, what)
        self.count("commits_seen")

    # --- the end

    def close(self) -> None:
        """End the parties, close the connections, look at what is left, and then, from a new one, remove what was
        made."""
        with contextlib.ExitStack() as last_first:
            last_first.callback(self.recorder.close)
            last_first.callback(self._remove)
            last_first.callback(self._look)
            for closable in self._buses:
                last_first.callback(closable.close)
            for party in self._parties:
                last_first.callback(party.stop, self.patience_s)
            last_first.callback(self.faults.close)

    def _look(self) -> None:
        """The last word, for the checkers: what is there when everybody has gone, however the body ended. What an
        observer cannot tell of a queue or a group is left out; one that sees nothing of a topic is blind."""
        names = self._seen(self.observer.names, blind=True)
        if names is None:
            return
        for made in self._made:
            if isinstance(made, mq.Topic) and made.name in names.topics:
                self._seen(partial(self.observer.records, made.name), blind=True)
            elif isinstance(made, mq.Queue) and made.name in names.queues:
                self._seen(partial(self.observer.messages, made.name))
                self._seen(partial(self.observer.counts, made.name))
                if made.dead_letter is not None and made.dead_letter.name in names.queues:
                    self._seen(partial(self.observer.letters, made.name))
        for group in self._groups:
            self._seen(partial(self.observer.committed, group))

    def _seen(self, look: Callable[[], T], *, blind: bool = False) -> T | None:
        """What `look` gives; nothing where it cannot tell, which is `blind` where it must be able to."""
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - observers are clients of many kinds; what they could not see is told
            told = f"at the end an observer could not tell something: {type(error).__name__}: {error}"
            if blind or not isinstance(error, CannotTell):
                self.blind.append(told)
            self.evidence.note(told)
            return None

    def _remove(self) -> None:
        with mq.connect(self.target.url) as bus:
            for group in self._groups:
                self._remove_group(bus.admin, group)
            for destination in reversed(self._made):
                with contextlib.suppress(mq.NotFound):
                    bus.admin.delete(destination)

    def _remove_group(self, admin: mq.Admin, group: str) -> None:
        """A member that was killed keeps its place until its session is over."""
        pause = threading.Event()
        give_up_s = time.monotonic() + self.patience_s
        while True:
            try:
                admin.delete_group(group)
            except mq.NotFound:
                return
            except mq.Rejected:
                if time.monotonic() >= give_up_s:
                    raise
                pause.wait(LOOK_EVERY_S)
            else:
                return


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"
