"""Two things about pika's channels that everybody who opens one must know. The rule: nothing else lives here."""

from __future__ import annotations

from typing import Any


def usable(channel: Any) -> bool:
    """May something be sent on it? While a connection ends, pika still calls its channels open."""
    return channel is not None and channel.is_open and channel.connection.is_open


def shut(channel: Any) -> None:
    """Close it, without the basic.cancel that pika sends for each consumer before Channel.Close.

    Between the two a quorum queue's next consumer is active while this channel still holds what it had not
    acknowledged: the new owner of a token queue would find it empty. pika sends none for a consumer that it takes for
    cancelled.
    """
    if usable(channel):
        channel._cancelled.update(channel.consumer_tags)
        channel.close()
