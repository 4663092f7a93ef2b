"""The one edge of translation."""

from __future__ import annotations

import pickle

import pytest
from confluent_kafka import KafkaError, KafkaException

from mqbridge import errors
from mqbridge.errors import Outcome
from mqbridge_kafka.asking import insist
from mqbridge_kafka.errors import RULES, applied, translate


@pytest.mark.parametrize(
    ("code", "kind", "outcome", "retryable"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, errors.Rejected, "not_applied", False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, errors.NotFound, "not_applied", False),
        (KafkaError._UNKNOWN_TOPIC, errors.NotFound, "not_applied", False),
        (KafkaError.SASL_AUTHENTICATION_FAILED, errors.Denied, "not_applied", False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, errors.Denied, "not_applied", False),
        (KafkaError._MSG_TIMED_OUT, errors.OperationTimeout, "unknown", True),
        (KafkaError._PURGE_QUEUE, errors.OperationTimeout, "unknown", True),
        (KafkaError.NOT_ENOUGH_REPLICAS, errors.Rejected, "not_applied", True),
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, errors.Rejected, "unknown", True),
        (KafkaError.REBALANCE_IN_PROGRESS, errors.ConnectionLost, "not_applied", True),
        (KafkaError.FENCED_INSTANCE_ID, errors.Fenced, "not_applied", False),
        (KafkaError.INVALID_SESSION_TIMEOUT, errors.ConfigurationError, "not_applied", False),
    ],
)
def test_a_code_has_one_meaning(
    code: int, kind: type[errors.MqbridgeError], outcome: str, retryable: bool
) -> None:
    """What a program decides by follows from the code alone."""
    made = translate(KafkaError(code), "sending to topic:t")
    assert type(made) is kind
    assert (made.outcome, made.retryable, made.engine) == (outcome, retryable, "kafka")
    assert isinstance(made.__cause__, KafkaException)
    assert str(made).startswith("sending to topic:t: ")


def test_every_rule_makes_an_error_that_pickles() -> None:
    """No rule of the table names a class that cannot be made, or that a worker process could not send home."""
    for code in RULES:
        made = translate(KafkaError(code), "doing something")
        again = pickle.loads(pickle.dumps(made))
        assert (type(again), str(again), again.outcome) == (type(made), str(made), made.outcome)


def test_an_unknown_code_is_taken_carefully() -> None:
    """A code that the table does not name may have been applied, and is not to be repeated blindly."""
    made = translate(KafkaError(9999, "something new"), "sending")
    assert made.outcome == "unknown"
    assert made.retryable is False


def test_the_caller_may_know_better() -> None:
    """What only looks was not applied, whatever the code says."""
    made = translate(KafkaException(KafkaError(KafkaError._TIMED_OUT)), "looking", outcome="not_applied")
    assert made.outcome == "not_applied"
    assert "Nothing was applied" in str(made)


def test_a_closed_client_is_no_retryable_loss() -> None:
    """The client raises RuntimeError once it is closed; that is no reason to try again."""
    made = translate(RuntimeError("Producer has been closed"), "sending")
    assert isinstance(made, errors.ConnectionLost)
    assert made.retryable is False


@pytest.mark.parametrize("outcome", ["not_applied", "applied", "unknown", None])
@pytest.mark.parametrize("code", [*RULES, 9999, -9999])
def test_what_it_says_does_not_contradict_itself(code: int, outcome: Outcome | None) -> None:
    """Only where the outcome is not known does an error say that it may have been applied."""
    made = translate(KafkaError(code, "said"), "doing something", outcome=outcome)
    assert applied(made.outcome) in str(made)
    if made.outcome != "unknown":
        assert "may have been applied" not in str(made)
        assert "not known" not in str(made)


@pytest.mark.parametrize("error", [RuntimeError("Consumer closed"), ValueError("no such property")])
@pytest.mark.parametrize("outcome", ["not_applied", "unknown"])
def test_an_error_without_a_code_says_what_its_outcome_says(error: Exception, outcome: Outcome) -> None:
    """The words fit the outcome that the caller knows."""
    made = translate(error, "looking", outcome=outcome)
    assert made.outcome == outcome
    other: Outcome = "unknown" if outcome == "not_applied" else "not_applied"
    assert applied(outcome) in str(made)
    assert applied(other) not in str(made)


@pytest.mark.parametrize(("code", "tries"), [(KafkaError._TIMED_OUT, 1), (KafkaError.NOT_COORDINATOR, 2)])
def test_a_change_is_tried_again_only_where_nothing_was_applied(code: int, tries: int) -> None:
    """A change that may have been made is reported as that at once; looking is asked again after both."""
    for changes, expected in ((True, tries), (False, 2)):
        asked: list[int] = []

        def ask(asked: list[int] = asked) -> int:
            asked.append(1)
            if len(asked) == 1:
                raise KafkaException(KafkaError(code))
            return 7

        if expected == 1:
            with pytest.raises(errors.OperationTimeout) as late:
                insist(ask, "changing", lambda: False, 5.0, changes)
            assert late.value.outcome == "unknown"
        else:
            assert insist(ask, "changing", lambda: False, 5.0, changes) == 7
        assert len(asked) == expected
