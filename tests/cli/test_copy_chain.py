"""Copies from broker to broker, each killed once in its middle."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.copy_chain import Chain, run


def _proven(urls: Sequence[str], records: int, *, kill: bool = True) -> None:
    chain = Chain(urls, records, secrets.token_hex(4), kill=kill)
    legs = run(chain)
    assert len({leg["sha256_distinct_records"] for leg in legs}) == 1
    for leg in legs:
        assert leg["equal"], leg
        assert leg["order_of_keys_kept"], leg
        assert leg["distinct"] == records
        assert kill or not leg["repeated"]
    chain.remove()


def test_a_chain_of_folders_ends_as_it_began(tmp_path: Path) -> None:
    """Two copies, each killed in the middle and called again: the distinct records of all three brokers are equal."""
    _proven([f"native:{tmp_path}/{name}" for name in "abc"], 15_000)


def test_a_chain_of_three_engines_ends_as_it_began(tmp_path: Path, kafka_url: str, rabbitmq_url: str) -> None:
    """Native to Kafka to RabbitMQ to native: equal by digest, nothing twice where nothing was killed."""
    _proven([f"native:{tmp_path}/a", kafka_url, rabbitmq_url, f"native:{tmp_path}/b"], 2_000, kill=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_survive_a_kill_on_each_leg(tmp_path: Path, kafka_url: str, rabbitmq_url: str) -> None:
    """100 000 messages, native to Kafka to RabbitMQ to native, each copy killed once: all are there, in their order."""
    _proven([f"native:{tmp_path}/a", kafka_url, rabbitmq_url, f"native:{tmp_path}/b"], 100_000)
