"""The copy itself: read, write, await the confirmation, settle.

The rule: batches are settled in the order they were read, each only when all of it is confirmed; so what is not settled
when the process dies is copied again, and nothing is skipped.
"""

from __future__ import annotations

from collections import deque

from mqbridge.cli.records import Digest
from mqbridge.cli.transfer.progress import Progress
from mqbridge.cli.transfer.sinks import Sink, Ticket
from mqbridge.cli.transfer.sources import Batch, Source

WINDOW_BYTES = 64 << 20
"""Values and keys that are written and not confirmed, at most, one batch more or less: large records must not fill the
memory before they are as many as the window's count."""


def copy(source: Source, sink: Sink, progress: Progress, digest: Digest | None) -> None:
    """Until the source ends. The digest, too, is of what the target has confirmed."""
    window: deque[tuple[Batch, Ticket, int]] = deque()
    most = min(source.window, sink.window)
    unconfirmed = unconfirmed_bytes = 0

    def settle_oldest() -> tuple[int, int]:
        batch, ticket, size_bytes = window.popleft()
        try:
            sink.confirm(ticket)
        except BaseException:
            # What comes behind must not be settled before this one is: a place in a file would move past it.
            window.clear()
            raise
        moved = source.settle(batch)
        if digest is not None:
            for record in batch.records:
                digest.add(record)
        progress.step(len(batch.records), moved)
        return len(batch.records), size_bytes

    try:
        for batch in source.batches():
            if batch.records:
                size_bytes = sum([record.size_bytes for record in batch.records])
                window.append((batch, sink.write(batch.records), size_bytes))
                unconfirmed += len(batch.records)
                unconfirmed_bytes += size_bytes
            # Nothing to read just now: settle all, rather than wait with confirmations in the hand.
            allowed = most if batch.records else 0
            # And at once what is confirmed without waiting: what is not settled when the process dies comes twice.
            while window and (
                unconfirmed > allowed or unconfirmed_bytes > WINDOW_BYTES or sink.is_confirmed(window[0][1])
            ):
                count, size_bytes = settle_oldest()
                unconfirmed -= count
                unconfirmed_bytes -= size_bytes
    except KeyboardInterrupt:
        window.clear()  # the second signal: at once
        raise
    finally:
        # Also when reading or writing failed: what was written before that is confirmed and settled all the same.
        while window:
            settle_oldest()
