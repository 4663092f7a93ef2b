"""Another program, which sends in transactions: by a client that is not the library, for that has none yet.

The rule: what it does is in the history of the run, as what anybody does is. It judges nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import mqbridge as mq
from mqbridge_conformance.history import Recorder, identify
from mqbridge_conformance.observers.kafka_login import KafkaLogin
from mqbridge_conformance.results import CannotTell

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

__all__ = ["KafkaTransactions", "Transactions"]

ANSWER_S: Final = 30.0


class Transactions(ABC):
    """The transactions of one sender, one after another. Errors: `CannotTell` for what its client could not do."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._who: dict[str, Any] = {"client": recorder.client("transactional")}
        self._number = 0
        self._txn: str | None = None
        recorder.write("ok", "open", **self._who, more={"role": "producer"})

    def begin(self) -> None:
        """What is sent from now on counts when it is committed."""
        self._number += 1
        self._txn = f"{self._who['client']}-{self._number}"
        self._recorder.invoke("begin", **self._who, txn=self._txn)
        self._begin()

    def send(self, topic: mq.Topic[bytes], values: Sequence[bytes]) -> None:
        """All of them lie in the topic, in this order, when it returns; who reads what is committed is not shown them
        yet."""
        self._store(topic, [({**self._who, "dest": str(topic), "txn": self._txn}, value) for value in values])

    def commit(self) -> None:
        """The transaction counts, as a whole."""
        self._end(commit=True)

    def abort(self) -> None:
        """Nothing of the transaction is ever shown to anybody who reads what is committed."""
        self._end(commit=False)

    def _end(self, *, commit: bool) -> None:
        told = {**self._who, "txn": self._txn, "more": {"commit": commit}}
        op = self._recorder.invoke("end", **told)
        self._finish(commit)
        self._recorder.write("ok", "end", op=op, **told)
        self._txn = None

    def close(self) -> None:
        """What is open is aborted."""
        if self._txn is not None:
            self.abort()

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _store(self, topic: mq.Topic[bytes], messages: Sequence[tuple[dict[str, Any], bytes]]) -> None:
        """Each with its facts for the history."""

    @abstractmethod
    def _finish(self, commit: bool) -> None: ...


class KafkaTransactions(Transactions):
    """See `Transactions`; `name` is the transactional id."""

    def __init__(self, url: str, name: str, recorder: Recorder) -> None:
        try:
            from confluent_kafka import Producer
        except ModuleNotFoundError as error:
            raise CannotTell(f"a transaction needs {error.name}, which is not installed") from error
        super().__init__(recorder)
        self._failed: list[str] = []
        self._producer = Producer({**KafkaLogin(url).config, "transactional.id": name, "log_level": 0})
        self._producer.init_transactions(ANSWER_S)

    def _begin(self) -> None:
        self._producer.begin_transaction()

    def _store(self, topic: mq.Topic[bytes], messages: Sequence[tuple[dict[str, Any], bytes]]) -> None:
        for facts, value in messages:
            told = {**facts, "val": identify(value)}
            op = self._recorder.invoke("send", **told)
            self._producer.produce(topic.name, value, on_delivery=partial(self._stored, op, told))
        if self._producer.flush(ANSWER_S) or self._failed:
            raise CannotTell(f"a raw client could not write to {topic}: {self._failed or 'no answer'}")

    def _stored(self, op: int, told: dict[str, Any], error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error.str())
            self._recorder.write("info", "send", op=op, **told)
            return
        self._recorder.write("ok", "send", op=op, **told, part=message.partition(), off=message.offset())

    def _finish(self, commit: bool) -> None:
        if commit:
            self._producer.commit_transaction(ANSWER_S)
        else:
            self._producer.abort_transaction(ANSWER_S)
