"""The same script on two engines: alike where they keep the same promises, and told where one of them does not."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge import Capability as Cap
from mqbridge.capabilities import never
from mqbridge.native.claims import CLAIMS
from mqbridge.native.core.queues.settling import Settlement
from mqbridge_conformance.differential.running import differ
from mqbridge_conformance.differential.scripts import TOPICS
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import RealBroker, targets_for

LENGTH = 20


@pytest.mark.parametrize("seed", [3, 11])
def test_the_native_engine_in_memory_and_in_a_folder_are_alike(seed: int) -> None:
    """What a folder keeps is what memory keeps."""
    (memory,), (folder,) = targets_for("memory"), targets_for("folder")
    with memory, folder:
        found = differ(memory, folder, seed, LENGTH)
    assert found.compared > LENGTH
    assert found.differences == []


def test_a_difference_of_the_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes a release for an ack shows less of it, at the step where it was done."""
    (reference,), (broken,) = targets_for("memory"), targets_for("memory")
    original = Settlement._other

    def release_as_ack(self: Settlement, item: Any, verb: str, tag: int, message: Any) -> None:
        if verb == "release":
            self.acked.append(message)
            self._acked_tags.append(tag)
        else:
            original(self, item, verb, tag, message)

    def sabotage() -> None:
        monkeypatch.setattr(Settlement, "_other", release_as_ack)

    with reference, broken:
        found = differ(reference, broken, 1, 25, patience_s=1.5, between=sabotage)
    assert any("take(" in difference.step for difference in found.differences), found


@pytest.fixture
def without_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A native engine that claims none of what is about topics."""
    for capability in (*TOPICS, Cap.PURGE):
        monkeypatch.setitem(CLAIMS, capability, never("it has queues and nothing else"))


def test_an_engine_without_topics_is_compared_in_what_both_have(without_topics: None) -> None:
    """Queues and exchanges; each step about topics is left out, and none of it fails."""
    (first,), (second,) = targets_for("memory"), targets_for("memory")
    with first, second:
        found = differ(first, second, 1, 40)
    assert found.differences == []
    assert found.compared > 10
    assert found.left_out > 10


def test_engines_with_nothing_in_common_are_refused(without_topics: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than found alike."""
    monkeypatch.setitem(CLAIMS, Cap.WORK_SHARING, never("nor queues"))
    (first,), (second,) = targets_for("memory"), targets_for("memory")
    with first, second, pytest.raises(CannotTell, match="neither topics nor queues: nothing can be compared"):
        differ(first, second, 1, LENGTH)


def test_kafka_is_like_the_native_engine(kafka_url: str) -> None:
    """But for what is in the list, with its reason."""
    (memory,) = targets_for("memory")
    with memory, RealBroker("kafka", kafka_url) as kafka:
        found = differ(memory, kafka, 3, LENGTH)
    assert [str(difference) for difference in found.differences] == []


def test_rabbitmq_is_like_the_native_engine(rabbitmq_url: str) -> None:
    """But for what is in the list, with its reason."""
    (memory,) = targets_for("memory")
    with memory, RealBroker("rabbitmq", rabbitmq_url) as rabbitmq:
        found = differ(memory, rabbitmq, 3, LENGTH)
    assert [str(difference) for difference in found.differences] == []
    assert found.legitimate
