"""Administering queues and exchanges. The rules: what must be exact is asked over AMQP, what AMQP cannot tell over the
management API, and a look creates nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mqbridge.errors import Denied, Mismatch, MqbridgeError, NotFound, Unreachable
from mqbridge.spi import Completion, ExchangeDescription, QueueDescription, StoredMessage
from mqbridge.topology import Binding, Exchange, Queue
from mqbridge_rabbitmq import dead_letters, errors, naming, queue_specs
from mqbridge_rabbitmq.management import Management

if TYPE_CHECKING:
    from mqbridge_rabbitmq.engine import RabbitConnection

log = logging.getLogger("mqbridge.rabbitmq")


class QueueAdmin:
    """The SPI's Admin calls for queues and exchanges."""

    def __init__(self, connection: RabbitConnection) -> None:
        self.connection = connection

    # --- queues

    def create_queue(self, queue: Queue[Any], done: Completion[Queue[Any]]) -> None:
        try:
            arguments = queue_specs.queue_arguments(queue)
        except MqbridgeError as error:
            done(None, error)
            return
        name = naming.queue_name(queue)

        def looked(found: tuple[int, int] | None, error: MqbridgeError | None) -> None:
            if isinstance(error, NotFound):
                self._declare(queue, arguments, done)
            elif error is not None:
                done(None, error)
            elif self.connection.management.away:
                self._declare(queue, arguments, done)
            else:
                self.connection.management.ask(f"reading {queue}", lambda api: self._read(api, queue), read)

        def read(found: Queue[Any] | None, error: MqbridgeError | None) -> None:
            if isinstance(error, NotFound | Unreachable | Denied):
                self._declare(queue, arguments, done)  # the broker compares, and names the first difference
            else:
                done(found, error)

        self._passive(f"looking for {queue}", name, looked)

    def _declare(self, queue: Queue[Any], arguments: dict[str, Any], done: Completion[Queue[Any]]) -> None:
        name = naming.queue_name(queue)

        def declared(_found: bool | None, error: MqbridgeError | None) -> None:
            if error is None:
                self.connection.known_queues[name] = queue
            if isinstance(error, Mismatch):
                error = errors.caused(
                    queue_specs.mismatch(str(queue), errors.reply(error.__cause__)[1]), error.__cause__
                )
            done(None, error)

        self.connection.asking.rpc(
            f"making {queue}",
            lambda channel, finish: channel.queue_declare(
                name, durable=True, arguments=arguments, callback=lambda _frame: finish(True)
            ),
            declared,
        )

    def _read(self, api: Management, queue: Queue[Any]) -> Queue[Any]:
        name = naming.queue_name(queue)
        found = api.queue(name)
        read = queue_specs.read_queue(
            queue.name, found.get("arguments") or {}, found.get("effective_policy_definition"), queue
        )
        self.connection.known_queues[name] = read
        return read

    def _passive(self, what: str, name: str, done: Completion[tuple[int, int]]) -> None:
        """How many messages are ready, and how many consumers there are; `NotFound`."""
        self.connection.asking.rpc(
            what,
            lambda channel, finish: channel.queue_declare(
                name,
                passive=True,
                callback=lambda frame: finish((frame.method.message_count, frame.method.consumer_count)),
            ),
            done,
            outcome="not_applied",
        )

    def delete_queue(self, queue: Queue[Any], done: Completion[None]) -> None:
        """AMQP's delete of a queue that is missing succeeds, so it is looked for first."""
        name = naming.queue_name(queue)

        def steps(channel: Any, finish: Callable[[None], None]) -> None:
            channel.queue_declare(
                name, passive=True, callback=lambda _frame: channel.queue_delete(name, callback=lambda _f: finish(None))
            )

        self.connection.known_queues.pop(name, None)
        self.connection.asking.rpc(f"deleting {queue}", steps, done)

    def list_queues(self, done: Completion[Sequence[Queue[Any]]]) -> None:
        def question(api: Management) -> list[Queue[Any]]:
            queues = (
                queue_specs.portable_queue(
                    one["name"], one.get("arguments") or {}, one.get("effective_policy_definition")
                )
                for one in api.queues()
                if not one.get("exclusive")
            )
            return [queue for queue in queues if queue is not None]

        self.connection.management.ask("listing queues", question, done)

    def describe_queue(self, queue: Queue[Any], done: Completion[QueueDescription]) -> None:
        """Ready messages and consumers are exact; what is out comes from the API's last sample. Without the API the
        specification is the caller's own, for sending and consuming are to work all the same."""
        management = self.connection.management

        def looked(found: tuple[int, int] | None, error: MqbridgeError | None) -> None:
            if found is None:
                done(None, error)
                return
            ready, consumers = found

            def asked(read: tuple[Queue[Any], int | None] | None, error: MqbridgeError | None) -> None:
                if isinstance(error, Unreachable | Denied):
                    log.warning("%s is taken to be as the program specifies it: %s", queue, error)
                    done(QueueDescription(queue, ready, None, None, consumers), None)
                elif read is None:
                    done(None, error)
                else:
                    done(QueueDescription(read[0], ready, read[1], None, consumers), None)

            if management.away:
                done(QueueDescription(queue, ready, None, None, consumers), None)
                return
            management.ask(f"describing {queue}", self._examine(queue), asked)

        self._passive(f"describing {queue}", naming.queue_name(queue), looked)

    def _examine(self, queue: Queue[Any]) -> Callable[[Management], tuple[Queue[Any], int | None]]:
        def question(api: Management) -> tuple[Queue[Any], int | None]:
            name = naming.queue_name(queue)
            found = api.queue(name)
            read = queue_specs.read_queue(
                queue.name, found.get("arguments") or {}, found.get("effective_policy_definition"), queue
            )
            self.connection.known_queues[name] = read
            return read, found.get("messages_unacknowledged")

        return question

    def purge(self, queue: Queue[Any], done: Completion[int]) -> None:
        self.connection.asking.rpc(
            f"purging {queue}",
            lambda channel, finish: channel.queue_purge(
                naming.queue_name(queue), callback=lambda frame: finish(int(frame.method.message_count))
            ),
            done,
        )

    # --- dead letters

    def browse(self, queue: Queue[Any], max_messages: int, done: Completion[Sequence[StoredMessage]]) -> None:
        dead_letters.browse(self.connection, queue, max_messages, done)

    def move(
        self,
        queue: Queue[Any],
        tokens: Sequence[int] | None,
        to: Queue[Any] | None,
        max_messages: int,
        done: Completion[int],
    ) -> None:
        dead_letters.move(self.connection, queue, tokens, to, max_messages, done)

    # --- exchanges

    def create_exchange(self, exchange: Exchange, done: Completion[Exchange]) -> None:
        management = self.connection.management

        def looked(_found: bool | None, error: MqbridgeError | None) -> None:
            if isinstance(error, NotFound) or (error is None and management.away):
                self._declare_exchange(exchange, done)
            elif error is not None:
                done(None, error)
            else:
                management.ask(f"reading {exchange}", lambda api: _read_exchange(api, exchange), read)

        def read(found: Exchange | None, error: MqbridgeError | None) -> None:
            if isinstance(error, NotFound | Unreachable | Denied):
                self._declare_exchange(exchange, done)
            else:
                done(found, error)

        self._passive_exchange(f"looking for {exchange}", exchange, looked)

    def _declare_exchange(self, exchange: Exchange, done: Completion[Exchange]) -> None:
        def declared(_found: bool | None, error: MqbridgeError | None) -> None:
            if isinstance(error, Mismatch):
                error = errors.caused(
                    queue_specs.mismatch(str(exchange), errors.reply(error.__cause__)[1]), error.__cause__
                )
            done(None, error)

        self.connection.asking.rpc(
            f"making {exchange}",
            lambda channel, finish: channel.exchange_declare(
                naming.exchange_name(exchange),
                exchange_type=exchange.type,
                durable=True,
                arguments=queue_specs.exchange_arguments(exchange),
                callback=lambda _frame: finish(True),
            ),
            declared,
        )

    def _passive_exchange(self, what: str, exchange: Exchange, done: Completion[bool]) -> None:
        self.connection.asking.rpc(
            what,
            lambda channel, finish: channel.exchange_declare(
                naming.exchange_name(exchange), passive=True, callback=lambda _frame: finish(True)
            ),
            done,
            outcome="not_applied",
        )

    def delete_exchange(self, exchange: Exchange, done: Completion[None]) -> None:
        name = naming.exchange_name(exchange)

        def steps(channel: Any, finish: Callable[[None], None]) -> None:
            channel.exchange_declare(
                name,
                passive=True,
                callback=lambda _frame: channel.exchange_delete(name, callback=lambda _f: finish(None)),
            )

        self.connection.asking.rpc(f"deleting {exchange}", steps, done)

    def list_exchanges(self, done: Completion[Sequence[Exchange]]) -> None:
        def question(api: Management) -> list[Exchange]:
            found = (
                queue_specs.read_exchange(one["name"], one, None)
                for one in api.exchanges()
                if naming.is_portable_exchange(one["name"])
            )
            return [exchange for exchange in found if exchange is not None]

        self.connection.management.ask("listing exchanges", question, done)

    def describe_exchange(self, exchange: Exchange, done: Completion[ExchangeDescription]) -> None:
        """Its bindings can be seen over the management API alone."""

        def question(api: Management) -> ExchangeDescription:
            found = _read_exchange(api, exchange)
            bindings = (
                queue_specs.read_binding(found, one) for one in api.bindings_from(naming.exchange_name(exchange))
            )
            return ExchangeDescription(found, tuple(binding for binding in bindings if binding is not None))

        def looked(_found: bool | None, error: MqbridgeError | None) -> None:
            if error is not None:
                done(None, error)
            else:
                self.connection.management.ask(f"describing {exchange}", question, done)

        self._passive_exchange(f"describing {exchange}", exchange, looked)

    # --- bindings

    def bind(self, binding: Binding, done: Completion[None]) -> None:
        self._binding(binding, "binding", "bind", done)

    def unbind(self, binding: Binding, done: Completion[None]) -> None:
        self._binding(binding, "unbinding", "unbind", done)

    def _binding(self, binding: Binding, what: str, verb: str, done: Completion[None]) -> None:
        source = naming.exchange_name(binding.exchange)
        arguments = queue_specs.binding_arguments(binding)

        def steps(channel: Any, finish: Callable[[None], None]) -> None:
            target = binding.destination
            if isinstance(target, Queue):
                method, name = getattr(channel, f"queue_{verb}"), naming.queue_name(target)
            else:
                method, name = getattr(channel, f"exchange_{verb}"), naming.exchange_name(target)
            method(name, source, routing_key=binding.key, arguments=arguments, callback=lambda _frame: finish(None))

        self.connection.asking.rpc(f"{what} {binding.exchange} to {binding.destination}", steps, done)


def _read_exchange(api: Management, exchange: Exchange) -> Exchange:
    found = api.exchange(naming.exchange_name(exchange))
    read = queue_specs.read_exchange(exchange.name, found, exchange)
    if read is None:
        raise Mismatch(
            f"{exchange} exists with the type {found.get('type')!r}, which the portable API does not know. Nothing was "
            "changed.",
            engine=errors.ENGINE,
            differences=(("type", exchange.type, found.get("type")),),
        )
    return read
