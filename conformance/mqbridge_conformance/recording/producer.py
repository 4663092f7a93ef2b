"""A producer whose sends and their ends are written down.

The rule: the invoke is written before the send, its end when the receipt has one. Looking at a receipt for the history
must not count as having seen its failure, or `SendFailed` would be hidden; so its state is read and not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import mqbridge as mq
from mqbridge_conformance.history import Recorder, identify
from mqbridge_conformance.recording.describing import encoded, plain

__all__ = ["RecordedProducer"]

TOLD = ("routing_key", "expires_in_s", "delay_s", "priority")


def _key(key: Any) -> str | None:
    """One that is none is told as it was given, for the producer to refuse it."""
    if isinstance(key, str):
        key = key.encode()
    return identify(key) if key is None or isinstance(key, bytes) else repr(key)


class RecordedProducer:
    """Stands for a `Producer`; what is not here is the producer's own."""

    def __init__(self, producer: mq.Producer, recorder: Recorder, options: dict[str, Any]) -> None:
        self._producer = producer
        self._recorder = recorder
        self.ended = False
        self._client = recorder.client("producer")
        recorder.write("ok", "open", client=self._client, more={"role": "producer", **plain(options)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def send(self, destination: Any, value: Any, **options: Any) -> mq.Receipt:
        op = self._invoke(destination, value, options)
        try:
            receipt = self._producer.send(destination, value, **options)
        except BaseException as error:
            self._recorder.failed("send", op, error)
            raise
        self._follow(op, receipt)
        return receipt

    def try_send(self, destination: Any, value: Any, **options: Any) -> mq.Receipt | None:
        op = self._invoke(destination, value, options)
        try:
            receipt = self._producer.try_send(destination, value, **options)
        except BaseException as error:
            self._recorder.failed("send", op, error)
            raise
        if receipt is None:
            self._recorder.write("fail", "send", op=op)
        else:
            self._follow(op, receipt)
        return receipt

    def send_many(self, destination: Any, messages: Iterable[Any]) -> mq.BatchReceipt:
        every = list(messages)
        ops = [self._invoke_one(destination, message) for message in every]
        try:
            receipts = self._producer.send_many(destination, every)
        except BaseException as error:
            sent = error.__dict__.get("sent", 0)
            for number, op in enumerate(ops):
                if number >= sent:
                    self._recorder.failed("send", op, error)
                else:  # sent, and nobody has a receipt of it
                    self._recorder.write("info", "send", op=op)
            raise
        for op, receipt in zip(ops, receipts, strict=True):
            self._follow(op, receipt)
        return receipts

    def _invoke_one(self, destination: Any, message: Any) -> int:
        if not isinstance(message, mq.Message):
            return self._invoke(destination, message, {})
        return self._invoke(destination, message.value, message._asdict())

    def _invoke(self, destination: Any, value: Any, options: dict[str, Any]) -> int:
        key = options.get("key")
        more = {name: options[name] for name in TOLD if options.get(name) not in (None, "")}
        if options.get("message_id") is not None:
            more["id"] = options["message_id"]
        return self._recorder.invoke(
            "send",
            client=self._client,
            dest=str(destination),
            key=_key(key),
            val=encoded(destination, value),
            more=plain(more),
        )

    def _follow(self, op: int, receipt: mq.Receipt) -> None:
        def ended(receipt: mq.Receipt) -> None:
            chunk, index = receipt._chunk, receipt._index
            error = chunk.errors.get(index)
            if error is not None:
                self._recorder.failed("send", op, error)
                return
            partitions, offsets = chunk.partitions, chunk.offsets
            self._recorder.write(
                "ok",
                "send",
                op=op,
                part=None if partitions is None else partitions[index],
                off=None if offsets is None else offsets[index],
            )

        receipt.add_done_callback(ended)

    def flush(self, timeout: float | None = None) -> None:
        self._doing("flush", lambda: self._producer.flush(timeout))

    def close(self, timeout: float | None = 30.0) -> None:
        self.ended = True
        self._doing("close", lambda: self._producer.close(timeout))

    def ending(self) -> Callable[[BaseException | None], None]:
        """Its bus begins to close it; what is given back is called with how that ended."""
        self.ended = True
        op = self._recorder.invoke("close", client=self._client)

        def end(error: BaseException | None) -> None:
            if error is None:
                self._recorder.write("ok", "close", op=op, client=self._client)
            else:
                self._recorder.failed("close", op, error)

        return end

    def _doing(self, f: str, call: Any) -> None:
        op = self._recorder.invoke(f, client=self._client)
        try:
            call()
        except BaseException as error:
            self._recorder.failed(f, op, error)
            raise
        self._recorder.write("ok", f, op=op, client=self._client)

    def __enter__(self) -> RecordedProducer:
        self._producer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended = True
        self._doing("close", lambda: self._producer.__exit__(kind, error, trace))
