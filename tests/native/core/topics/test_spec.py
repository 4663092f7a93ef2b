"""Specifications of topics: what is accepted, and what names its fault."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import errors
from mqbridge.native.core.topics.spec import TopicSpec, topic_name


def test_a_specification_survives_its_json_form() -> None:
    """What is written into the journal is read back as the same."""
    spec = TopicSpec.read(
        {"partitions": 3, "retention": {"max_age_s": 1.5, "max_bytes": 9}, "segment_bytes": 2048}
    )
    assert TopicSpec.read(spec.to_json()) == spec
    assert (
        TopicSpec.read({"replication": 1, "min_insync": 1, "cleanup": None, "retention": None}).partitions
        == 1
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"partitions": 0}, "partitions"),
        ({"partitions": True}, "partitions"),
        ({"partitions": 10_001}, "partitions"),
        ({"partition": 3}, "partition"),
        ({"cleanup": "both"}, "cleanup"),
        ({"retention": 5}, "retention"),
        ({"retention": {"age": 5}}, "retention"),
        ({"retention": {"max_age_s": 0}}, "retention.max_age_s"),
        ({"retention": {"max_age_s": float("nan")}}, "retention.max_age_s"),
        ({"retention": {"max_bytes": 1.5}}, "max_bytes"),
        ({"segment_bytes": 1023}, "segment_bytes"),
        (None, "spec"),
    ],
)
def test_a_wrong_specification_names_the_field(spec: Any, field: str) -> None:
    """InvalidSpec says which field is wrong."""
    with pytest.raises(errors.InvalidSpec) as caught:
        TopicSpec.read(spec)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("spec", "capability"),
    [
        ({"cleanup": "compact"}, "COMPACTION"),
        ({"replication": 3}, "MIN_INSYNC"),
        ({"min_insync": 2}, "MIN_INSYNC"),
    ],
)
def test_what_this_engine_does_not_do_is_unsupported(spec: Any, capability: str) -> None:
    """Nothing is accepted and then not kept."""
    with pytest.raises(errors.Unsupported) as caught:
        TopicSpec.read(spec)
    assert caught.value.capability == capability


def test_names_are_portable() -> None:
    """A name that another engine could not carry is refused."""
    with pytest.raises(errors.InvalidSpec):
        topic_name("a/b")
