"""What a topic is specified to be: reading a specification, and refusing what this engine does not do.

The rule: what passes here can be kept as promised. What does not belong here: whether a topic exists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mqbridge import errors
from mqbridge.native.core import arguments
from mqbridge.native.core.topics.retention import Retention
from mqbridge.semantics.naming import check_name

MAX_PARTITIONS = 10_000
MIN_SEGMENT_BYTES = 1024
_FIELDS = ("partitions", "retention", "cleanup", "segment_bytes", "replication", "min_insync")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic's settings. `segment_bytes` None is the store's own size."""

    partitions: int
    retention: Retention
    segment_bytes: int | None

    @classmethod
    def read(cls, spec: object) -> TopicSpec:
        """Raises InvalidSpec naming the field, Unsupported naming the capability."""
        if not isinstance(spec, dict):
            raise _invalid("spec", "an object", spec)
        unknown = sorted(str(field) for field in spec if field not in _FIELDS)
        if unknown:
            raise errors.InvalidSpec(
                f"a topic has no field {unknown[0]!r}, only {', '.join(_FIELDS)}; nothing was created",
                field=unknown[0],
            )
        _refuse_unsupported(spec)
        retention = spec.get("retention") or {}
        if not isinstance(retention, dict) or not retention.keys() <= {"max_age_s", "max_bytes"}:
            raise _invalid("retention", "an object with max_age_s and max_bytes", retention)
        age, size = retention.get("max_age_s"), _whole(retention, "max_bytes", 1)
        if age is not None and (
            isinstance(age, bool) or not isinstance(age, int | float) or not 0 < age < math.inf
        ):
            raise _invalid("retention.max_age_s", "a finite number of seconds above zero", age)
        partitions = _whole(spec, "partitions", 1)
        if partitions is not None and partitions > MAX_PARTITIONS:
            raise _invalid("partitions", f"at most {MAX_PARTITIONS}", partitions)
        return cls(partitions or 1, Retention(age, size), _whole(spec, "segment_bytes", MIN_SEGMENT_BYTES))

    def to_json(self) -> dict[str, Any]:
        """The full specification, defaults filled in."""
        return {
            "partitions": self.partitions,
            "retention": {"max_age_s": self.retention.max_age_s, "max_bytes": self.retention.max_bytes},
            "cleanup": "delete",
            "segment_bytes": self.segment_bytes,
        }


def topic_name(name: str) -> str:
    try:
        return check_name("topic", name)
    except ValueError as error:
        raise errors.InvalidSpec(str(error), field="name") from None


def _refuse_unsupported(spec: Mapping[str, Any]) -> None:
    cleanup = spec.get("cleanup")
    if cleanup == "compact":
        raise errors.Unsupported(
            "the native engine does not compact topics; nothing was created: use cleanup='delete' with "
            "a retention",
            capability="COMPACTION",
            instead="cleanup='delete'",
        )
    if cleanup not in (None, "delete"):
        raise _invalid("cleanup", "delete or compact", cleanup)
    for field in ("replication", "min_insync"):
        if _whole(spec, field, 1) not in (None, 1):
            raise errors.Unsupported(
                f"the native engine keeps one copy of a topic, so {field} is 1 or left out; nothing was "
                "created",
                capability="MIN_INSYNC",
                instead=f"{field}=1",
            )


def _whole(spec: Mapping[str, Any], field: str, least: int) -> int | None:
    value = spec.get(field)
    if value is None:
        return None
    if not arguments.is_integer(value) or value < least:
        raise _invalid(field, f"an integer of at least {least}", value)
    return int(value)


def _invalid(field: str, wanted: str, found: object) -> errors.InvalidSpec:
    return errors.InvalidSpec(
        f"{field} must be {wanted}, not {found!r:.120}; nothing was created", field=field
    )
