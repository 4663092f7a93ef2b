"""Destinations as values: checked when made, frozen, equal by kind and name."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import mqbridge as mq
from mqbridge import topology

FULL_TOPIC = mq.Topic("orders", partitions=6, retention=mq.Retention(max_age_s=60.0), codec=mq.codecs.json)


def test_equality_is_kind_and_name() -> None:
    """A bare name means what a full specification means; another kind of the same name is another thing."""
    assert mq.Topic("orders") == FULL_TOPIC
    assert hash(mq.Topic("orders")) == hash(FULL_TOPIC)
    kinds = {mq.Topic("x"), mq.Queue("x"), mq.Exchange("x")}
    assert len(kinds) == 3
    assert mq.Topic("orders") != "orders"


@pytest.mark.parametrize("spec", [FULL_TOPIC, mq.Queue("q", max_attempts=3), mq.Exchange("e", type="fanout")])
def test_frozen(spec: Any) -> None:
    """A specification that is a key in a dictionary cannot change under it."""
    with pytest.raises(AttributeError):
        spec.name = "other"
    with pytest.raises(AttributeError):
        del spec.name


@pytest.mark.parametrize(
    "spec",
    [
        FULL_TOPIC,
        mq.Queue("q", max_attempts=3, message_ttl_s=2.5, retry_backoff=mq.RetryPolicy()),
        mq.Exchange("e", type="topic", alternate=mq.Exchange("rest")),
    ],
)
def test_pickles_whole(spec: Any) -> None:
    """A specification goes to a worker process with all that it says, its codec included."""
    for twin in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert twin == spec
        assert topology.diff(spec, twin) == ()
        assert twin.specified().keys() == spec.specified().keys()


def test_pickled_codecs_stay_themselves() -> None:
    """The built-in codecs come back as the same objects: the bytes codec's fast path is a test of identity."""
    for codec in (mq.codecs.bytes, mq.codecs.text, mq.codecs.json):
        twin = pickle.loads(pickle.dumps(mq.Topic("t", codec=codec)))
        assert twin.codec is codec


def test_specified_leaves_out_what_says_nothing() -> None:
    """None says nothing; zero, False and empty say something."""
    assert "partitions" not in mq.Topic("orders").specified()
    assert mq.Queue("q", message_ttl_s=0).specified()["message_ttl_s"] == 0


def test_dead_letter_true_is_a_queue() -> None:
    """True stands for NAME.dlq, which itself dead-letters nothing."""
    queue = mq.Queue("emails", max_attempts=3)
    assert queue.dead_letter == mq.Queue("emails.dlq")
    assert queue.dead_letter is not None
    assert queue.dead_letter.dead_letter is None
    assert mq.Queue("emails", dead_letter=None).dead_letter is None


@pytest.mark.parametrize(
    "name", ["", "-x", "a b", "a/b", "x" * 182, "é", "x.mqq", "x.mqt", "x.mqt-0", None, 3, "x\n"]
)
@pytest.mark.parametrize("kind", [mq.Topic, mq.Queue, mq.Exchange])
def test_bad_names_are_refused(kind: Any, name: Any) -> None:
    """What could not be a name on every engine, or is one of the library's own, is refused when made."""
    with pytest.raises(mq.InvalidSpec) as caught:
        kind(name)
    assert caught.value.field == "name"


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: mq.Topic("t", partitions=0), "partitions"),
        (lambda: mq.Topic("t", partitions=1.5), "partitions"),  # type: ignore[call-overload]
        (lambda: mq.Topic("t", partitions=True), "partitions"),
        (lambda: mq.Topic("t", cleanup="both"), "cleanup"),  # type: ignore[call-overload]
        (lambda: mq.Queue("q", max_attempts=0), "max_attempts"),
        (lambda: mq.Queue("q", max_attempts=2, dead_letter=None), "dead_letter"),
        (lambda: mq.Queue("q", max_priority=256), "max_priority"),
        (lambda: mq.Queue("q", expires_s=0), "expires_s"),
        (lambda: mq.Queue("q", overflow="explode"), "overflow"),  # type: ignore[call-overload]
        (lambda: mq.Exchange("e", type="rubber"), "type"),  # type: ignore[arg-type]
        (lambda: mq.Retention(max_age_s=-1), "retention.max_age_s"),
        (lambda: mq.Retention(max_bytes="many"), "retention.max_bytes"),  # type: ignore[arg-type]
        (lambda: mq.Binding("e", mq.Queue("q")), "exchange"),  # type: ignore[arg-type]
        (lambda: mq.Binding(mq.Exchange("e"), mq.Topic("t")), "destination"),  # type: ignore[arg-type]
        (lambda: mq.Binding(mq.Exchange("e"), mq.Queue("q"), match="some"), "match"),  # type: ignore[arg-type]
    ],
)
def test_impossible_specifications_name_their_field(make: Any, field: str) -> None:
    """What cannot be carried out is refused at once, and the error says which field it is."""
    with pytest.raises(mq.InvalidSpec) as caught:
        make()
    assert caught.value.field == field


def test_diff_compares_only_what_is_specified() -> None:
    """A bare name agrees with anything; each difference comes as field, wanted, found."""
    there = mq.Topic("orders", partitions=2, retention=mq.Retention(max_age_s=60.0, max_bytes=10))
    assert topology.diff(mq.Topic("orders"), there) == ()
    wanted = mq.Topic("orders", partitions=3, retention=mq.Retention(max_age_s=61.0))
    assert topology.diff(wanted, there) == (("partitions", 3, 2), ("retention.max_age_s", 61.0, 60.0))


def test_diff_ignores_what_is_the_programs_own() -> None:
    """Codec and nullability are not the engine's business."""
    assert topology.diff(mq.Topic("t", codec=mq.codecs.json, nullable=False), mq.Topic("t")) == ()


def test_bindings_are_values() -> None:
    """Equal by what they say; the headers given are copied, so a later change of them changes nothing."""
    headers: dict[str, str | None] = {"a": "1"}
    first = mq.Binding(mq.Exchange("e", type="headers"), mq.Queue("q"), headers=headers)
    headers["a"] = "2"
    assert first == mq.Binding(mq.Exchange("e"), mq.Queue("q"), headers={"a": "1"})
    assert hash(first) == hash(mq.Binding(mq.Exchange("e"), mq.Queue("q"), headers={"a": "1"}))
    assert first != mq.Binding(mq.Exchange("e"), mq.Queue("q"), headers={"a": "2"})


@pytest.mark.parametrize(
    ("text", "made"),
    [("topic:orders", mq.Topic("orders")), ("queue:a.b", mq.Queue("a.b")), ("exchange:e", mq.Exchange("e"))],
)
def test_parse(text: str, made: Any) -> None:
    """Text names a destination of bytes, and str() gives the text back."""
    assert mq.parse(text) == made
    assert str(mq.parse(text)) == text


@pytest.mark.parametrize("text", ["orders", "topic:", "Topic:orders", "kafka:orders", ":", "topic:a:b", ""])
def test_parse_refuses_the_rest(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(mq.InvalidSpec):
        mq.parse(text)
