"""What a run leaves to be checked: what was sent, what was measured, who was killed. Kept as ``run.json``.

The rule of this room: plain values that survive being written and read again, so that a kept run can be checked later
by another process, and by somebody who does not trust the first one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mqbridge as mq

__all__ = ["Moment", "Record", "Sent", "Takeover"]

FILE = "run.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """A confirmed event. `cents` None: payment must refuse it. Place as the receipt said, where the engine says it."""

    key: str
    cents: int | None
    digest: str
    partition: int | None
    offset: int | None


@dataclass(frozen=True, slots=True)
class Takeover:
    """`exit_status` of the killed process; `key` of the order that was charged and not acked; seconds after the
    kill."""

    victim: str
    survivor: str
    exit_status: int
    key: str
    partitions: tuple[int, ...]
    owned_after_s: float | None
    again_after_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """Something worth telling, in seconds since the first order went out."""

    at_s: float
    text: str


@dataclass(slots=True)
class Record:
    """One run. Durations of responses in milliseconds."""

    engine: str
    shape: str
    prefix: str
    scale: float
    worker_scale: float
    source: str | None = None
    too_long: int = 0
    cut: bool = False
    synchronous_ms: list[float] = field(default_factory=list)
    response_ms: list[float] = field(default_factory=list)
    stream_s: float = 0.0
    sent: list[Sent] = field(default_factory=list)
    takeover: Takeover | None = None
    moments: list[Moment] = field(default_factory=list)
    duration_s: float = 0.0

    @property
    def good(self) -> dict[str, int]:
        """What each good order costs, in cents, by its key."""
        return {sent.key: sent.cents for sent in self.sent if sent.cents is not None}

    @property
    def poison(self) -> set[str]:
        return {sent.key for sent in self.sent if sent.cents is None}

    def save(self, folder: Path) -> None:
        text = json.dumps({"format": FORMAT, **asdict(self)})
        (folder / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Record:
        """ConfigurationError where there is no kept run."""
        try:
            values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise ValueError("another format")
            values["sent"] = [Sent(**sent) for sent in values["sent"]]
            values["moments"] = [Moment(**moment) for moment in values["moments"]]
            if values["takeover"] is not None:
                values["takeover"] = Takeover(
                    **values["takeover"] | {"partitions": tuple(values["takeover"]["partitions"])}
                )
            return cls(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise mq.ConfigurationError(
                f"{folder} holds no run of the demo that this version can read ({error}). Make one with --keep, and "
                "give the folder it names."
            ) from error
