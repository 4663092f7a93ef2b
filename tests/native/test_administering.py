"""What the native admin says about its broker."""

from __future__ import annotations

from pathlib import Path

import mqbridge as mq


def test_health_says_how_durable_a_confirmation_is(tmp_path: Path) -> None:
    """The durability in force is told to a bus that did not choose it; a broker in memory has none to tell."""
    folder = tmp_path / "f"
    with mq.connect(f"native:{folder}?durability=disk"), mq.connect(f"native:{folder}") as adopting:
        health = adopting.admin.health()
        assert (health["durability"], health["folder"], health["role"]) == ("disk", str(folder), "host")
    with mq.connect(f"native:{folder}") as bus:
        assert bus.admin.health()["durability"] == "os"
    with mq.connect("native:") as bus:
        assert "durability" not in bus.admin.health()
