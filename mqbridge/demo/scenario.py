"""The story that the demo tells: the synchronous form, then the asynchronous one with a death and a poison order in it.

The rule of this room: what is said to happen happens. Service times are waited, responses measured, processes killed;
every wait is for a condition and ends by a deadline.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import mqbridge as mq
from mqbridge.demo.checks import Check, Tally, tally, verify
from mqbridge.demo.crew import Crew, Member, News
from mqbridge.demo.front import Front
from mqbridge.demo.orders import MAX_ATTEMPTS, SAVE_S, SERVICE_BY_NAME, SERVICES, Event, Feed, with_poison, worker_scale
from mqbridge.demo.record import Moment, Record, Takeover
from mqbridge.demo.screen import Screen, counted
from mqbridge.demo.shapes import OWN_SESSION_S, PARTITIONS, SESSION_S, Dead, Shape, choose_shape
from mqbridge.demo.store import make_store, read_deliveries, read_handled, store_path

__all__ = ["Demo", "Result", "check_again"]

SYNCHRONOUS_ORDERS = 3
READY_S = 60.0
KILL_S = 60.0
DONE_S = 60.0
"""Deadlines, not times: a broker with its defaults waits 3 s before it forms a group, and makes the topic of its
offsets for the first one; what a dead member held is free after its session, or when its locks run out."""
PAYMENT = SERVICE_BY_NAME["payment"]


@dataclass(frozen=True, slots=True)
class Result:
    """A run and what came of it. `kept` is the folder, where it was asked for."""

    record: Record
    checks: list[Check]
    tallies: list[Tally]
    dead: list[Dead]
    kept: Path | None

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the story is played on."""

    bus: mq.Bus
    shape: Shape
    crew: Crew
    folder: Path


class Demo:
    """One run."""

    def __init__(
        self, url: str | None, wanted: str | None, feed: Feed, scale: float, keep: bool, screen: Screen
    ) -> None:
        self._url = url
        self._wanted = wanted
        self._feed = feed
        self._scale = scale
        self._keep = keep
        self._screen = screen
        self._began_s = time.monotonic()
        self._first_s = 0.0

    def run(self) -> Result:
        """Run it, check it, clean up. Raises `MqbridgeError` where it could not be run to its end."""
        folder = Path(tempfile.mkdtemp(prefix="mqbridge-demo-"))
        try:
            result = self._run_in(folder)
        except BaseException:
            if self._keep:
                self._screen.note(f"what there is of this run stays in {folder}", lasting=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if not self._keep:
            shutil.rmtree(folder)
        return result

    def _run_in(self, folder: Path) -> Result:
        # A folder, not memory: the workers are processes, and reach its engine through a socket in it.
        own = self._url is None
        url = f"native:{folder / 'broker'}" if self._url is None else self._url
        with ExitStack() as cleanup:
            self._screen.stage("connecting")
            bus = cleanup.enter_context(mq.connect(url))
            # In a broker of somebody else the names of a run must not meet others.
            prefix = "" if own else f"demo-{secrets.token_hex(3)}."
            shape = choose_shape(bus, self._wanted, prefix, OWN_SESSION_S if own else SESSION_S)
            events = self._fitting(with_poison(self._feed.events), bus)
            lanes = worker_scale(events)
            record = Record(bus.engine, shape.name, shape.prefix, self._scale, self._scale * lanes)
            record.source, record.too_long, record.cut = self._feed.source, self._feed.too_long, self._feed.cut
            record.too_long += len(self._feed.events) + 1 - len(events)
            if not own and not self._keep:
                cleanup.callback(_remove, shape, bus, self._screen)
            bus.admin.ensure(*shape.specs())
            for service in SERVICES:
                make_store(store_path(folder, service.name))
            crew = self._crew(folder, url, shape, record)
            with crew:
                self._start(crew, len(events))
                self._synchronous(record)
                crew.wait("the workers did not get ready", lambda: _ready(crew, shape), READY_S)
                self._asynchronous(record, _Stage(bus, shape, crew, folder), events)
                self._screen.stage("letting the workers finish")
                crew.finish()
            self._screen.stage("checking")
            record.duration_s = time.monotonic() - self._began_s
            record.save(folder)
            return _result(record, folder, bus, shape, folder if self._keep else None)

    def _fitting(self, events: Sequence[Event], bus: mq.Bus) -> tuple[Event, ...]:
        room = bus.limits.max_message_bytes - 1024
        return tuple(event for event in events if len(event.body) <= room)

    # --- the workers

    def _crew(self, folder: Path, url: str, shape: Shape, record: Record) -> Crew:
        arguments = ("--shape", shape.name, "--prefix", shape.prefix, "--scale", repr(record.worker_scale))
        session_timeout_s = getattr(shape, "session_timeout_s", SESSION_S)
        return Crew(folder, url, (*arguments, "--session-timeout", str(session_timeout_s)))

    def _start(self, crew: Crew, events: int) -> None:
        # Early, so that there is work left for the sibling; later than the first, where there are more.
        crash_at = max(1, min(5, events // 8))
        for service in SERVICES:
            for number in range(1, service.processes + 1):
                name = service.name if service.processes == 1 else f"{service.name}-{number}"
                crew.start(service, name, *(("--crash-at", str(crash_at)) if service is PAYMENT else ()))

    # --- the two forms

    def _synchronous(self, record: Record) -> None:
        self._screen.stage(f"synchronous form: {SYNCHRONOUS_ORDERS} orders, one after another, through five services")
        through = dict.fromkeys(SERVICES, 0)
        for number in range(1, SYNCHRONOUS_ORDERS + 1):
            began_s = time.perf_counter()
            # The services are not here, their stated times are: to wait them is what the caller of each would do.
            time.sleep(SAVE_S * self._scale)
            for service in SERVICES:
                time.sleep(service.service_time_s * self._scale)
                through[service] = number
                self._screen.progress([(s.label, done, SYNCHRONOUS_ORDERS) for s, done in through.items()])
            record.synchronous_ms.append((time.perf_counter() - began_s) * 1000)

    def _asynchronous(self, record: Record, stage: _Stage, events: Sequence[Event]) -> None:
        self._screen.stage(f"asynchronous form: {len(events)} orders go out, five services take them up")
        self._first_s = time.monotonic()
        front = Front(stage.bus, stage.shape, record, self._scale)
        thread = threading.Thread(target=front.send, args=(events,), name="demo-front")
        thread.start()
        bad = sum(event.cents is None for event in events)
        self._tell(
            record,
            self._first_s,
            f"{counted(len(events) - bad, 'order')} to go out, and {bad} that payment cannot process",
        )

        def look() -> None:
            front.check()
            self._show(stage.folder, len(events), bad)

        try:
            window = self._kill(record, stage, look)
            self._take_over(record, stage, window, look)
            stage.crew.wait("the orders could not be sent", _then(look, front.done.is_set), KILL_S)
            front.check()
        finally:
            front.stop.set()
            thread.join()
        self._rest(record, stage)

    def _show(self, folder: Path, events: int, bad: int) -> dict[str, int]:
        handled = {service.name: read_handled(store_path(folder, service.name)) for service in SERVICES}
        due = {service.name: events - bad if service is PAYMENT else events for service in SERVICES}
        self._screen.progress([(service.label, handled[service.name], due[service.name]) for service in SERVICES])
        return {name: due[name] - handled[name] for name in due}

    def _kill(self, record: Record, stage: _Stage, look: Callable[[], None]) -> News:
        """When a payment worker says that it has charged and not acked, it is killed."""
        crew = stage.crew
        crew.wait("no payment worker charged an order", _then(look, lambda: crew.heard("window") is not None), KILL_S)
        window = crew.heard("window")
        assert window is not None
        victim = crew.member(window.worker)
        killed_s = crew.kill(victim)
        key = window.facts["key"]
        held = _in_hand(stage.folder, victim, key)
        more = f", {held} more in hand" if held else ""
        self._tell(record, killed_s, f"{victim.name} charged {key}; SIGKILL before its ack{more}")
        return window

    def _take_over(self, record: Record, stage: _Stage, window: News, look: Callable[[], None]) -> None:
        """The sibling gets the victim's partitions, where there are any, and the order that was charged and not
        acked."""
        crew, key = stage.crew, str(window.facts["key"])
        victim = crew.member(window.worker)
        survivor = next(member for member in crew.of(PAYMENT) if member is not victim)
        assert victim.killed_s is not None
        owned = victim.partitions or frozenset()
        owned_after_s: float | None = None
        if owned:
            crew.wait(
                "nobody took the partitions of the killed worker over",
                _then(look, lambda: owned <= (survivor.partitions or frozenset())),
                KILL_S,
            )
            at_s = max(news.at_s for news in crew.heard_all("assigned") if news.worker == survivor.name)
            owned_after_s = at_s - victim.killed_s
            places = " ".join(str(number) for number in sorted(owned))
            text = f"{survivor.name} takes over partitions {places}, {owned_after_s:.2f} s after the kill"
            self._tell(record, at_s, text)
        crew.wait(
            "the order of the killed worker did not come again",
            _then(look, lambda: crew.heard("duplicate", key=key) is not None),
            KILL_S,
        )
        again = crew.heard("duplicate", key=key)
        assert again is not None
        self._tell(record, again.at_s, f"{key} comes again, to {again.worker}: not charged again")
        record.takeover = Takeover(
            victim.name,
            survivor.name,
            victim.process.returncode,
            key,
            tuple(sorted(owned)),
            owned_after_s,
            again.at_s - victim.killed_s,
        )

    def _rest(self, record: Record, stage: _Stage) -> None:
        """Until every service is through with every order, and what is poison is a dead letter."""
        left: dict[str, int] = {}

        def through() -> bool:
            left.update(self._show(stage.folder, len(record.sent), len(record.poison)))
            if any(left.values()):
                return False
            return {letter.key for letter in stage.shape.dead_letters(stage.bus, PAYMENT)} >= record.poison

        stage.crew.wait(
            "the services did not get through with the orders",
            through,
            DONE_S,
            lambda: ", ".join(f"{name} has {count} left" for name, count in left.items()),
        )
        self._tell_poison(record, stage.crew)
        self._tell(record, time.monotonic(), "all five services are through with everything")
        record.moments.sort(key=lambda moment: moment.at_s)

    def _tell_poison(self, record: Record, crew: Crew) -> None:
        last = [news for news in crew.heard_all("failed") if news.facts["attempt"] >= MAX_ATTEMPTS]
        if last:
            more = f" (and {len(record.poison) - 1} more)" if len(record.poison) > 1 else ""
            self._tell(record, last[0].at_s, f"{last[0].facts['key']} failed for the third time: dead-lettered{more}")

    def _tell(self, record: Record, at_s: float, text: str) -> None:
        record.moments.append(Moment(at_s - self._first_s, text))
        self._screen.note(text)


def _then(look: Callable[[], None], condition: Callable[[], bool]) -> Callable[[], bool]:
    """Show how far things are, then ask."""

    def asked() -> bool:
        look()
        return condition()

    return asked


def _ready(crew: Crew, shape: Shape) -> bool:
    """Every worker is a member, and in a group of several each has its share."""
    if shape.name == "queue":
        return all(member.partitions is not None for member in crew.members)
    return all(
        all(member.partitions for member in crew.of(service))
        and sum(len(member.partitions or ()) for member in crew.of(service)) == PARTITIONS
        for service in SERVICES
    )


def _in_hand(folder: Path, victim: Member, key: str) -> int:
    """Orders that the victim had begun and not finished, as its store says after its death."""
    rows = read_deliveries(store_path(folder, PAYMENT.name))
    return sum(row.worker == victim.name and row.outcome is None and row.key != key for row in rows)


def _result(record: Record, folder: Path, bus: mq.Bus, shape: Shape, kept: Path | None) -> Result:
    dead = [letter for service in SERVICES for letter in shape.dead_letters(bus, service)]
    checks = verify(record, folder, bus, shape, dead)
    return Result(record, checks, [tally(folder, service) for service in SERVICES], dead, kept)


def _remove(shape: Shape, bus: mq.Bus, screen: Screen) -> None:
    try:
        shape.remove(bus)
    except mq.MqbridgeError as error:
        screen.note(f"the destinations named {shape.prefix}* could not all be removed: {error}", lasting=True)


def check_again(folder: Path, url: str | None) -> Result:
    """Check a kept run once more. `url` names its engine, where that was not the folder's own."""
    record = Record.load(folder)
    with mq.connect(url or f"native:{folder / 'broker'}") as bus:
        shape = choose_shape(bus, record.shape, record.prefix)
        return _result(record, folder, bus, shape, folder)
