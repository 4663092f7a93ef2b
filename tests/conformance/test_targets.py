"""What a name or a URL means."""

from __future__ import annotations

from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge_conformance.targets import targets_for


def test_targets_are_found_by_name_and_by_url(tmp_path: Path) -> None:
    """Three arrangements, all of them by one word, a folder by its URL, and nothing for what is not known."""
    assert [target.name for target in targets_for("native")] == [
        "native, memory",
        "native, folder",
        "native, client of a host",
    ]
    (given,) = targets_for(f"native:{tmp_path}/own")
    with given as target:
        target.connect().close()
        assert target.observer.names().topics == {}
    assert (tmp_path / "own").is_dir(), "a folder that was given is not removed"
    assert targets_for("native:")[0].url != targets_for("native:")[0].url, "two runs would meet"
    assert [targets_for(text)[0].engine for text in ("kafka", "kafka://h:1", "rabbitmq", "amqps://h/")] == [
        "kafka",
        "kafka",
        "rabbitmq",
        "rabbitmq",
    ]
    with pytest.raises(mq.ConfigurationError, match="no conformance target"):
        targets_for("mqtt://localhost/")
