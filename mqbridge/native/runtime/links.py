"""What the two ways to a broker have in common: the `Link` contract, and the link that leads nowhere.

The rule of a link: `call` never blocks on a peer, and its completion comes exactly once, through the
session's mailbox. What does not belong here: threads, sockets, locks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mqbridge.errors import MqbridgeError, Rejected
from mqbridge.native.runtime.callbacks import Mailbox
from mqbridge.native.storage.batches import RecordBatch

Args = dict[str, Any]
Note = dict[str, Any]
# (reply, batches, None) or (None, [], error).
Done = Callable[[Args | None, list[RecordBatch], MqbridgeError | None], None]
NoteHandler = Callable[[Note], None]


class NoRoom(Rejected):
    """Too much waits for the host already: this call was not even begun, and may be made again when others have ended.

    A Rejected that no broker spoke: those are about the message, this one is about the moment.
    """

    retryable = True


class Link(Protocol):
    """One session's way to a broker, in this process or in another.

    Completions and notes of a session are delivered one at a time, in the order in which the broker produced
    them, those of one call being its notes first, then its completion. On a local link they run inside `call`
    before it returns, unless `call` is made from within a callback or while another thread is delivering to
    the same session: then right after what is being delivered. On a remote link they run on the reader
    thread, apart from refusals that need no host. A callback must not block and must not wait for another
    one.
    """

    session_epoch: int

    def call(self, op: str, args: Args, batches: Sequence[RecordBatch], done: Done) -> bool:
        """Submit an operation. Never blocks on a peer; `done` is called exactly once; errors come through it
        alone.

        False: it is certain already that `done` brings a refusal, so that a caller who keeps an order sends nothing
        after it. True promises nothing.
        """

    def close(self, clean: bool = True) -> None:
        """End the session. `clean`: unsettled messages go back uncounted. Calls without an answer end before
        or now.
        """


class DownLink:
    """Stands in while there is no broker: every call ends at once, not applied, with the error it was made
    with.
    """

    def __init__(self, mailbox: Mailbox, epoch: int, error: Callable[[], MqbridgeError]) -> None:
        self._mailbox = mailbox
        self._error = error
        self.session_epoch = epoch

    def call(self, op: str, args: Args, batches: Sequence[RecordBatch], done: Done) -> bool:
        """See `Link`."""
        self._mailbox.put(done, None, [], self._error())
        self._mailbox.deliver()
        return False

    def close(self, clean: bool = True) -> None:
        """See `Link`."""
