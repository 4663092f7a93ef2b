"""The connection's own client: the handshake, and whether the brokers are there.

The rule of this room: one client administers for the whole connection, and one thread serves its logs and errors. Who
finds the brokers away says so here (`trouble`); this room finds out when they are back, and tells everybody.
"""

from __future__ import annotations

import ctypes
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from mqbridge.errors import ConfigurationError, Denied, MqbridgeError, OperationTimeout, Unreachable
from mqbridge.spi import State
from mqbridge_kafka.cut_off import NOT_YET, REPLACED, Lifeline
from mqbridge_kafka.errors import ENGINE, native_error, refused_by_tls, translate
from mqbridge_kafka.naming import REGISTRY
from mqbridge_kafka.settings import Settings, log

T = TypeVar("T")

POLL_S: Final = 0.25
PROBE_S: Final = 1.0
"""While brokers are away: how long a question whether they are back waits."""
DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's own default of `message.max.bytes`, where the broker does not let us look."""
_REFUSED: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.UNSUPPORTED_SASL_MECHANISM)


class Watch:
    """Owns the AdminClient. `on_state` hears of changes; so do the `listeners`, as (away, reason)."""

    def __init__(self, settings: Settings, on_state: Callable[[State, str], None]) -> None:
        self._on_state = on_state
        self._text = settings.text
        self._lock = threading.Lock()
        self._refusal: KafkaError | None = None
        self._silence: KafkaError | None = None
        self._last: KafkaError | None = None
        self._away = False
        self._ended = False
        self.listeners: list[Callable[[bool, str], None]] = []
        self.cluster_id: str | None = None
        self.brokers: tuple[str, ...] = ()
        self.broker_configs: Mapping[str, str] = {}
        self._settings = settings
        self._readers: dict[str, Consumer] = {}
        self._lifelines: dict[str, Lifeline] = {}
        # So that looking at a topic makes none.
        self._config = settings.config("admin") | {"error_cb": self._on_error, "allow.auto.create.topics": False}
        self._lifeline = Lifeline(partial(settings.config, "probe"))
        try:
            self.client = AdminClient(self._config)
        except KafkaException as error:
            raise _unusable(error, settings) from error

    def reader(self, isolation: str) -> Consumer:
        """A consumer that joins no group and reads nothing: it asks for offsets. One for each isolation, because that
        decides which end of a log it is told."""
        with self._lock:
            found = self._readers.get(isolation)
            if found is None:
                found = self._readers[isolation] = self._new_reader(isolation)
                self._lifelines[isolation] = Lifeline(partial(self._settings.config, "probe"))
            return found

    def _new_reader(self, isolation: str) -> Consumer:
        config = self._settings.config("reader") | {
            "group.id": f"mqbridge-reader-{secrets.token_hex(8)}",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "allow.auto.create.topics": False,
            "error_cb": self._on_error,
        }
        return Consumer(config)

    def _mind_the_clients(self) -> None:
        """One that is cut off goes with the last question that is asked of it; the next question has a new one. One is
        looked after in a turn, so that `_answers` is asked soon. Where no new one can be made, the old one stays."""
        readers = list(self._readers.items())
        for _isolation, reader in readers:
            reader.poll(0)
        if self._lifeline.due:
            if self._lifeline.cut_off(self.client, REGISTRY):
                self._replace(partial(AdminClient, self._config), partial(setattr, self, "client"), self._lifeline)
            return
        for isolation, reader in readers:
            if self._lifelines[isolation].due:
                lifeline = self._lifelines[isolation]
                if lifeline.cut_off(reader, REGISTRY):
                    self._replace(partial(self._new_reader, isolation), partial(self._read_by, isolation), lifeline)
                return

    def _replace(self, make: Callable[[], T], use: Callable[[T], None], lifeline: Lifeline) -> None:
        try:
            made = make()
        except KafkaException as error:
            log.warning("asking %s: %s: %s", self._text, NOT_YET, error)
            return
        log.warning("asking %s: %s", self._text, REPLACED)
        use(made)
        lifeline.heard()

    def _read_by(self, isolation: str, reader: Consumer) -> None:
        with self._lock:
            if not self._ended:
                self._readers[isolation] = reader

    # --- connecting

    def handshake(self, timeout_s: float) -> None:
        """Reach a broker and ask what it is, or raise why not. Blocks, at most `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        metadata = self._await(self._look(timeout_s), deadline_s)
        self.brokers = tuple(f"{node.id} {node.host}:{node.port}" for node in metadata.brokers.values())
        self.cluster_id = metadata.cluster_id
        resource = ConfigResource(ResourceType.BROKER, str(next(iter(metadata.brokers))))
        left_s = max(deadline_s - time.monotonic(), 0.1)
        try:
            futures = self.client.describe_configs([resource], request_timeout=left_s)
            entries = self._await(futures[resource], deadline_s)
        except Denied as error:  # to look at a broker's settings is a permission of its own; to use it is another
            log.info("%s: the broker's settings may not be read (%s); its defaults are assumed", self._text, error)
        else:
            self.broker_configs = {name: entry.value for name, entry in entries.items() if entry.value is not None}
        threading.Thread(target=self._run, name="mqbridge-kafka-watch", daemon=True).start()

    @property
    def away(self) -> bool:
        """Were the brokers away when somebody looked the last time?"""
        return self._away

    @property
    def max_message_bytes(self) -> int:
        """The broker's `message.max.bytes`: the largest batch, so also the largest batch of one."""
        return int(self.broker_configs.get("message.max.bytes", DEFAULT_MAX_MESSAGE_BYTES))

    def _look(self, timeout_s: float) -> Future[Any]:
        """The brokers' metadata, asked on a thread of its own: what is wrong is said to who polls meanwhile."""
        future: Future[Any] = Future()

        def ask() -> None:
            try:
                future.set_result(self.client.list_topics(REGISTRY, timeout=timeout_s))
            except KafkaException as error:
                future.set_exception(error)

        threading.Thread(target=ask, name="mqbridge-kafka-connect", daemon=True).start()
        return future

    def _await(self, future: Future[Any], deadline_s: float) -> Any:
        while not future.done():
            self.client.poll(0.02)
            if self._refusal is not None:
                raise translate(self._refusal, f"connecting to {self._text}", outcome="not_applied")
            if self._silence is not None:
                raise self._unreachable(self._silence)
            if time.monotonic() >= deadline_s:
                raise self._nothing_heard()
        try:
            return future.result(0)
        except KafkaException as error:
            made = translate(error, f"connecting to {self._text}", outcome="not_applied")
            raise self._nothing_heard() if isinstance(made, OperationTimeout | FutureTimeout) else made from error

    def _unreachable(self, error: KafkaError) -> MqbridgeError:
        why = self._last or error
        made = Unreachable(
            f"no broker of {self._text} can be reached: {why.str()}. Nothing was done. Check host and port, that the "
            "broker runs and advertises an address that this machine reaches, and that the port speaks what the "
            "scheme says (kafka:// plain text, kafkas:// TLS). A broker that asks for user and password hangs up "
            "without them: kafka://user:password@host.",
            engine=ENGINE,
        )
        made.__cause__ = KafkaException(why)
        return made

    def _nothing_heard(self) -> MqbridgeError:
        if self._last is not None:
            return self._unreachable(self._last)
        return Unreachable(
            f"{self._text} took the connection and did not answer in time. Nothing was done. Check that a Kafka broker "
            "listens there, or give it more time with connect_timeout_s=.",
            engine=ENGINE,
        )

    # --- watching

    def _on_error(self, error: KafkaError) -> None:
        error = refused_by_tls(error)
        code = error.code()
        if code in _REFUSED:
            self._refusal = error
        elif code == KafkaError._ALL_BROKERS_DOWN:
            self._silence = error
        else:
            self._last = error
        if code == KafkaError._ALL_BROKERS_DOWN or code in _REFUSED:
            self.trouble(error.str())

    def trouble(self, reason: str) -> None:
        """A client of this connection found all brokers away. Any thread."""
        with self._lock:
            if self._away or self._ended:
                return
            self._away = True
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        away = self._away
        self._on_state("reconnecting" if away else "connected", reason)
        for listener in list(self.listeners):
            listener(away, reason)

    def _run(self) -> None:
        self._away = False  # what was tried before a broker answered is no news
        while not self._ended:
            self.client.poll(POLL_S)
            self._mind_the_clients()
            if self._away and not self._ended and self._answers():
                with self._lock:
                    self._away = False
                self._tell("the brokers answer again")

    def _answers(self) -> bool:
        """Asked by the thread of this room, by a plain question for metadata: see asking.py."""
        try:
            self.client.list_topics(REGISTRY, timeout=PROBE_S)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """The thread ends by itself, soon; the client goes with the last that holds it."""
        with self._lock:
            self._ended = True
            self._readers.clear()  # joined nothing; they go with the last question that is asked of them
        self.listeners.clear()

    def abandon(self) -> None:
        """After a fork: the client's threads are in the parent, and to destroy it here would wait for them."""
        self._ended = True
        for client in (self.client, *self._readers.values()):
            never_destroy(client)


def never_destroy(client: object) -> None:
    """Keep a client for the rest of this process, whatever happens to its owners."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


def _unusable(error: KafkaException, settings: Settings) -> MqbridgeError:
    native = native_error(error)
    if native is not None and native.code() == KafkaError._INVALID_ARG:
        return ConfigurationError(
            f"{settings.text}: the client does not take this configuration: {native.str()}. Nothing was done.",
            engine=ENGINE,
        )
    return translate(error, f"connecting to {settings.text}", outcome="not_applied")
