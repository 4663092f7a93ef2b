"""Errors of connecting, as a user meets them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import mqbridge as mq


def test_unknown_scheme_names_the_nearest() -> None:
    """A misspelt scheme is a configuration error that names the scheme that was meant."""
    with pytest.raises(mq.ConfigurationError, match="'native'"):
        mq.connect("nativ:")


@pytest.mark.parametrize(("url", "extra"), [("kafka://localhost:9092", "kafka"), ("amqp://localhost/", "rabbitmq")])
def test_a_tree_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    """Without the entry points of an installation the error says what to install, and what runs all the same."""
    monkeypatch.setattr("mqbridge.engines.entry_points", lambda group: [])
    with pytest.raises(mq.ConfigurationError, match=f"extra {extra!r}.*native:"):
        mq.connect(url)


@pytest.mark.parametrize(
    ("url", "extra", "client"),
    [("kafka://localhost:1", "kafka", "confluent_kafka"), ("amqps://localhost:1/", "rabbitmq", "pika")],
)
def test_the_engine_is_there_and_its_client_is_missing(url: str, extra: str, client: str) -> None:
    """What a bare installation has: the error names the client and the extra that brings it."""
    program = f"import sys; sys.modules[{client!r}] = None; import mqbridge; mqbridge.connect({url!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"needs {client!r}, which is not installed: install mqbridge with its extra {extra!r}" in done.stderr


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose client library is missing names the library and the extra that brings it."""
    point = EntryPoint("kafka", "mqbridge_of_nobody.engine:ENGINE", "mqbridge.engines")
    monkeypatch.setattr("mqbridge.engines.entry_points", lambda group: [point])
    with pytest.raises(mq.ConfigurationError, match=r"'mqbridge_of_nobody'.*extra 'kafka'") as caught:
        mq.connect("kafka://localhost")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("url", "options"),
    [(5, {}), (Path("x"), {}), ("native:\0", {}), ("native:", {"connect_timeout_s": -1}), ("native:", {"hooks": [7]})],
)
def test_what_cannot_be_meant_is_a_configuration_error(url: Any, options: dict[str, Any]) -> None:
    """Arguments of the wrong kind are refused by name, not by whatever they break further in."""
    with pytest.raises(mq.ConfigurationError):
        mq.connect(url, **options)


def test_a_folder_stays_the_same_when_the_program_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder is the one that was meant at connect, whatever directory the program is in later."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with mq.connect("native:./db") as bus:
        monkeypatch.chdir(tmp_path / "elsewhere")
        bus.admin.ensure(mq.Topic("orders"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with mq.connect(f"native:{tmp_path / 'db'}") as bus:
        assert bus.admin.list_topics() == [mq.Topic("orders")]


@pytest.mark.parametrize("url", ["", "orders", "native://host/folder", "native:?name=a&name=b"])
def test_what_is_not_a_url_is_refused(url: str) -> None:
    """Text that is no URL of the engine says what one looks like, or what is wrong with it."""
    with pytest.raises(mq.ConfigurationError):
        mq.connect(url)


def test_a_password_is_not_shown() -> None:
    """Neither an error nor a repr shows the password of a URL."""
    with pytest.raises(mq.ConfigurationError) as caught:
        mq.connect("native://user:secret@host/x")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


def test_unknown_option_names_the_nearest() -> None:
    """An unknown option is refused and the closest known one is named."""
    with pytest.raises(mq.UnsupportedOption, match="durability") as caught:
        mq.connect("native:?durabilty=disk")
    assert caught.value.nearest == "durability"
    assert caught.value.code == "unsupported_option"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("native:?durability=maybe", {}),
        ("native:?segment_bytes=many", {}),
        ("native:./x?name=y", {}),
        ("native:?name=x", {"name": "y"}),
    ],
)
def test_bad_and_contradicting_options_are_refused(url: str, options: dict[str, str]) -> None:
    """Values that make no sense, and options that contradict each other, never connect."""
    with pytest.raises(mq.ConfigurationError):
        mq.connect(url, options=options)


def test_a_file_in_place_of_the_folder_is_unreachable(tmp_path: Path) -> None:
    """A path that is a file cannot be opened as a folder, and the file is left alone."""
    place = tmp_path / "file"
    place.write_text("mine")
    with pytest.raises((mq.Unreachable, mq.ConfigurationError)) as caught:
        mq.connect(f"native:{place}")
    assert str(place) in str(caught.value)
    assert place.read_text() == "mine"


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with other files in it is refused, and nothing is written there."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(mq.ConfigurationError, match="thesis"):
        mq.connect(f"native:{tmp_path}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


NO_RIGHTS = """
import os, sys
import mqbridge as mq
mq.connect("native:").close()  # all that is imported on the way is imported now, while it can be read
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    mq.connect("native:" + sys.argv[1])
except mq.MqbridgeError as error:
    print(type(error).__name__, isinstance(error, PermissionError), error.__cause__ is not None)
"""


def test_a_folder_without_rights_is_denied(tmp_path: Path) -> None:
    """A folder that this user may not write is Denied, which is a PermissionError, with the system's error as cause."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    for part in (tmp_path, *list(tmp_path.parents)[:4]):
        part.chmod(part.stat().st_mode | 0o011)
    here = Path(mq.__file__).parent.parent
    command = [sys.executable, "-c", NO_RIGHTS, str(locked / "db")]
    result = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(here)}, check=False)
    assert result.stdout.split() == ["Denied", "True", "True"], result.stderr
