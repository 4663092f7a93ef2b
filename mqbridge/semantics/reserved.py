"""The headers that carry what an engine has no field for. All start with `PREFIX`; their values are ASCII, as bytes.

They travel with a message on every engine, survive retry, dead-lettering, redrive and copy, and are not shown among the
user's headers. A message of a foreign producer lacks them, and decodes all the same.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "mqbridge-"

MESSAGE_ID: Final = "mqbridge-id"
ROUTING_KEY: Final = "mqbridge-key-routing"
EXPIRES_MS: Final = "mqbridge-expires-ms"
"""Relative time to live, in milliseconds, counted from the enqueue."""
PRIORITY: Final = "mqbridge-priority"
DELAY_MS: Final = "mqbridge-delay-ms"
ATTEMPTS: Final = "mqbridge-attempts"
"""Attempts counted before this copy was written, where an engine gives a message back by writing it anew."""
TIMESTAMP_MS: Final = "mqbridge-timestamp-ms"
"""The sender's timestamp, where the engine's own field cannot hold it."""
ENQUEUED_MS: Final = "mqbridge-enqueued-ms"
"""When it came into its queue, where the record's own timestamp says something else."""

DEATH_REASON: Final = "mqbridge-death-reason"
"""rejected, expired, max-attempts or max-length."""
DEATH_QUEUE: Final = "mqbridge-death-queue"
"""The origin: a queue's bare name, or ``topic:NAME/PARTITION/OFFSET``."""
DEATH_ATTEMPTS: Final = "mqbridge-death-attempts"
DEATH_AT_MS: Final = "mqbridge-death-at-ms"
DEATH_ERROR: Final = "mqbridge-death-error"
"""The text given to `reject` or `retry`."""

DEATH: Final = (DEATH_REASON, DEATH_QUEUE, DEATH_ATTEMPTS, DEATH_AT_MS, DEATH_ERROR)
