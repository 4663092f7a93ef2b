"""What can be tested: how a broker is started, reached, looked at from outside, and stopped.

The rule: a target is what an adapter adds to run every scenario, and nothing in a scenario names one. A target makes
what it needs and removes it again.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import mqbridge as mq
from mqbridge_conformance.brokers import provided
from mqbridge_conformance.brokers.clusters import Cluster
from mqbridge_conformance.brokers.links import HostProxy, Proxy
from mqbridge_conformance.brokers.native_host import NativeHost
from mqbridge_conformance.brokers.secured import KafkaSite, RabbitMQSite, Site
from mqbridge_conformance.brokers.servers import Broker
from mqbridge_conformance.brokers.transactions import KafkaTransactions, Transactions
from mqbridge_conformance.history import Recorder
from mqbridge_conformance.observers import Agreed, FileObserver, FirstToTell, Observer, ProcessObserver, PublicObserver
from mqbridge_conformance.opening import open_bus
from mqbridge_conformance.parties import Party, ProcessParty, ThreadParty
from mqbridge_conformance.results import CannotTell

__all__ = [
    "NativeClient",
    "NativeFolder",
    "NativeMemory",
    "RealBroker",
    "RealCluster",
    "Target",
    "observer_of",
    "targets_for",
]

START_S: Final = 20.0
GROUP: Final = "mqbridge.conformance_targets"
"""Entry points of adapters that are not the library's: scheme -> factory."""


class Target(ABC):
    """One broker in one arrangement; a context manager. `name` is a column of the matrix, `engine` the URL's scheme."""

    name: str
    engine: str
    url: str
    observer: Observer
    broker: Broker | None = None
    """The broker itself where it is this target's own, so that it may be stopped; from `start` on."""
    cluster: Cluster | None = None
    """Its nodes, where it has several and they may be stopped; from `start` on."""
    link: Proxy | None = None
    """The way from its parties to it, where that can be broken without disturbing others; from `start` on."""
    container_of: str | None = None
    """The engine whose container it needs, for those who say beforehand that there is none."""
    own = False
    """The broker is one that no other target uses, in an arrangement in which it may be stopped and the way to it
    broken."""
    foreign = False
    """It is somebody else's broker: no users are made there."""
    nodes = False
    """The broker has several nodes of which some may be stopped; they are `cluster` from `start` on."""
    disk = False
    """The disk that its broker writes to is this target's to fill."""
    threads = False
    """Are other parties threads of this process, which cannot be stopped or killed alone?"""

    @abstractmethod
    def start(self) -> None:
        """Start it, or reach it, and the observer with it. Errors: `CannotTell` if that is not possible, and those of
        `mqbridge.connect`."""

    @abstractmethod
    def stop(self) -> None:
        """Stop what was started; harmless if nothing was."""

    @abstractmethod
    def spawn(self, program: str, **args: Any) -> Party:
        """Run a worker program as another party of this broker."""

    def connect(self, recorder: Recorder | None = None, **options: Any) -> mq.Bus:
        """A connection under test, of this process; broken if a saboteur is in force, whose strikes `recorder` hears
        of. `options` are those of `mqbridge.connect`."""
        return open_bus(self.url, recorder=recorder, **options)

    def beside(self, recorder: Recorder | None = None) -> mq.Bus:
        """A connection under test that does not go by `link`, and is not met when the way of the parties is broken.
        `CannotTell` where there is no such way."""
        raise CannotTell(f"there is only one way to the broker of {self.name!r}")

    def alone(self) -> Target | None:
        """This target, or one like it, whose broker is its own; None where there can be none."""
        return self if self.own else None

    def secured(self) -> Site:
        """A broker of this engine that asks who is there, to be closed; `CannotTell` where the suite has none."""
        raise CannotTell(f"{self.name!r} has no broker that asks for passwords and of which the suite has the keys")

    def transactions(self, name: str, recorder: Recorder) -> Transactions:
        """Another program that sends in transactions, to be closed; `CannotTell` where the suite has none."""
        raise CannotTell(f"the suite has no client that sends in transactions to {self.name!r}")

    def versions(self) -> dict[str, str]:
        """Once it is started, what reports are to say of it: the engine's version under the engine's name, and those of
        its clients; without what cannot be told."""
        return {}

    def reach(self) -> None:
        """Look whether it can be tested at all, once it is started: the library gets in, and so does the observer.
        Errors: those of `mqbridge.connect`, and `CannotTell`."""
        mq.connect(self.url).close()
        self.observer.names()

    def __enter__(self) -> Self:
        try:
            self.start()
            self.reach()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Native(Target):
    """The engine in this library, which has its version."""

    engine = "native"

    def versions(self) -> dict[str, str]:
        return {"native": mq.__version__}


class NativeMemory(_Native):
    """``native:`` in memory. There is no other process, so parties are threads and the observer a second connection."""

    threads = True

    def __init__(self, url: str = "native:") -> None:
        self.name = "native, memory"
        self.url = url if "?" in url else f"native:?name=conformance-{secrets.token_hex(4)}"
        self._bus: mq.Bus | None = None

    def start(self) -> None:
        self._bus = mq.connect(self.url)
        self.observer = PublicObserver(self._bus)

    def stop(self) -> None:
        if self._bus is not None:
            self._bus.close()

    def spawn(self, program: str, **args: Any) -> Party:
        return ThreadParty(program, {"url": self.url, **args})


class NativeFolder(_Native):
    """A folder whose broker is in this process; seen by its files and by a second process."""

    role = "host"

    def __init__(self, url: str = "native:") -> None:
        given = url.removeprefix("native:")
        self.name = f"native, {given}" if given else "native, folder"
        self._given = Path(given) if given else None
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        folder = self._given or Path(tempfile.mkdtemp(prefix="mqbridge-conformance-"))
        if self._given is None:
            self._stack.callback(shutil.rmtree, folder)
        self.url = f"native:{folder}"
        self._host()
        watcher = ProcessObserver(self.spawn("observe"), START_S)
        self._stack.callback(watcher.close)
        self.observer = Agreed([FileObserver(folder), watcher])

    def _host(self) -> None:
        bus = mq.connect(self.url)
        self._stack.callback(bus.close)
        self._is(bus.admin.health()["role"], self.role)

    def _is(self, found: str, wanted: str) -> None:
        if self._given is None and found != wanted:
            raise CannotTell(f"this process is to be {wanted!r} of {self.url}, and is {found!r}")

    def stop(self) -> None:
        self._stack.close()

    def spawn(self, program: str, **args: Any) -> ProcessParty:
        return ProcessParty(program, {"url": self.url, **args})


class NativeClient(NativeFolder):
    """A folder whose broker is in another process, so that all that is under test goes through its socket; with `own`
    a proxy stands before that."""

    role = "client"

    def __init__(self, url: str = "native:", *, own: bool = False) -> None:
        super().__init__(url)
        self.own = self.disk = own
        self.name = "native, client of a host" + (", own" if own else "")

    def alone(self) -> Target | None:
        if self.own or self._given is not None:
            return super().alone()
        found = NativeClient(own=True)
        found.name = self.name
        return found

    def start(self) -> None:
        super().start()
        if self.own:  # after the observer, which is connected and stays so
            self._proxy = self.link = HostProxy(Path(self.url.removeprefix("native:")))
            self._stack.callback(self.link.close)

    def beside(self, recorder: Recorder | None = None) -> mq.Bus:
        if not self.own:
            return super().beside(recorder)
        with self._proxy.stepped_aside():
            return open_bus(self.url, recorder=recorder)

    def _host(self) -> None:
        folder = Path(self.url.removeprefix("native:"))
        self.broker = NativeHost(folder, lambda: self.spawn("host"))
        self._stack.callback(self.broker.stop)
        self.broker.start()
        super()._host()


class RealBroker(Target):
    """Kafka or RabbitMQ: the run's container, or the broker at a URL; with `own` a container that may be stopped, and
    a proxy before it. Other parties are processes; the observer uses clients that are not the library, and no proxy."""

    def __init__(self, engine: str, url: str | None = None, *, own: bool = False) -> None:
        self.engine = engine
        self.name = engine if url is None else f"{engine}, {urlsplit(url).netloc.rpartition('@')[2]}"
        self.name += ", own" if own else ""
        self._given = url
        self._image_version = ""
        self.own = own
        self.foreign = url is not None
        if url is None:
            self.container_of = engine

    def start(self) -> None:
        if self.own:
            broker = self.broker = provided.broker(self.engine, own=True)
            self.url, self.link, self._image_version = broker.linked_url, broker.link, broker.version
            self._look_at(broker.url)
            return
        if self._given is None:
            broker = provided.broker(self.engine)
            self.url, self._image_version = broker.url, broker.version
        else:
            self.url = self._given
        self._look_at(self.url)

    def _look_at(self, *nodes: str) -> None:
        """The library is let in first: it says best what is wrong with a URL."""
        mq.connect(self.url).close()
        observers = [observer_of(self.engine, node) for node in nodes]
        self.observer = observers[0] if len(observers) == 1 else FirstToTell(observers)

    def reach(self) -> None:
        self.observer.names()

    def beside(self, recorder: Recorder | None = None) -> mq.Bus:
        if self.broker is None:
            return super().beside(recorder)
        return open_bus(self.broker.url, recorder=recorder)

    def alone(self) -> Target | None:
        if self.own or self._given is not None:
            return super().alone()
        found = RealBroker(self.engine, own=True)
        found.name = self.name
        return found

    def versions(self) -> dict[str, str]:
        try:
            found = self.observer.versions()
        except CannotTell:
            return {}
        found[self.engine] = self._image_version or found[self.engine]
        return {name: version for name, version in found.items() if version}

    def stop(self) -> None:
        """The container is the run's, and ends with it."""

    def secured(self) -> Site:
        if self.engine == "kafka":
            return KafkaSite(provided.secured_kafka())
        return RabbitMQSite(self.url)

    def transactions(self, name: str, recorder: Recorder) -> Transactions:
        if self.engine != "kafka":
            return super().transactions(name, recorder)
        return KafkaTransactions(self.url, name, recorder)

    def spawn(self, program: str, **args: Any) -> Party:
        return ProcessParty(program, {"url": self.url, **args})


class RealCluster(RealBroker):
    """Three nodes of Kafka or RabbitMQ in containers, of which some may be stopped; there is no way to them that could
    be broken."""

    nodes = True

    def __init__(self, engine: str) -> None:
        super().__init__(engine)
        self.name = f"{engine}, cluster"

    def alone(self) -> Target | None:
        """What is about one broker that dies is not about one of three."""
        return None

    def start(self) -> None:
        self.cluster = provided.cluster(self.engine)
        self.url = self.cluster.url
        self._look_at(*(node.url for node in self.cluster.nodes))


def observer_of(engine: str, url: str) -> Observer:
    """An observer of a real broker. Errors: `CannotTell` where the observer has no way in, or makes nothing of the
    URL."""
    try:
        if engine == "kafka":
            from mqbridge_conformance.observers.kafka import KafkaObserver

            return KafkaObserver(url)
        from mqbridge_conformance.observers.rabbitmq import RabbitMQObserver

        return RabbitMQObserver(url)
    except ModuleNotFoundError as error:
        raise CannotTell(f"the observer of {engine} needs {error.name}, which is not installed") from error
    except ValueError as error:
        raise CannotTell(f"the observer of {engine} makes nothing of that URL: {error}") from error


Factory = Callable[[str], list[Target]]


def _native(url: str) -> list[Target]:
    path = url.removeprefix("native:").partition("?")[0]
    return [NativeFolder(url)] if path else [NativeMemory(url)]


_SCHEMES: dict[str, Factory] = {
    "native": _native,
    "kafka": lambda url: [RealBroker("kafka", url)],
    "kafkas": lambda url: [RealBroker("kafka", url)],
    "amqp": lambda url: [RealBroker("rabbitmq", url)],
    "amqps": lambda url: [RealBroker("rabbitmq", url)],
}
_NAMES: dict[str, Factory] = {
    "memory": lambda _: [NativeMemory()],
    "folder": lambda _: [NativeFolder()],
    "client": lambda _: [NativeClient()],
    "native": lambda _: [NativeMemory(), NativeFolder(), NativeClient()],
    "kafka": lambda _: [RealBroker("kafka")],
    "rabbitmq": lambda _: [RealBroker("rabbitmq")],
    "kafka-cluster": lambda _: [RealCluster("kafka")],
    "rabbitmq-cluster": lambda _: [RealCluster("rabbitmq")],
}


def targets_for(text: str) -> list[Target]:
    """The targets that a name or a URL means; not started. Names: ``memory``, ``folder``, ``client``, ``native`` (all
    three), ``kafka`` and ``rabbitmq`` (a container each, or the broker that the environment names), ``kafka-cluster``
    and ``rabbitmq-cluster`` (three containers each)."""
    if text in _NAMES:
        return _NAMES[text](text)
    scheme, colon, _ = text.partition(":")
    others = {point.name: point for point in entry_points(group=GROUP)}
    if colon and scheme in _SCHEMES:
        return _SCHEMES[scheme](text)
    if colon and scheme in others:
        return _loaded(others[scheme])(text)
    known = ", ".join([*_NAMES, *(f"{name}:..." for name in dict.fromkeys([*_SCHEMES, *sorted(others)]))])
    raise mq.ConfigurationError(f"there is no conformance target for {text!r}; known: {known}")


def _loaded(point: EntryPoint) -> Factory:
    try:
        return cast(Factory, point.load())
    except (ImportError, AttributeError) as error:
        raise mq.ConfigurationError(
            f"the conformance targets of {point.name}: are {point.value}, which cannot be loaded: {error}"
        ) from error
