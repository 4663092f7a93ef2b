"""The front: exit codes, errors as sentences, and commands of other packages."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

import mqbridge as mq
from mqbridge import __main__ as front_door
from mqbridge.cli import errors, main
from mqbridge.cli.context import URLS
from tests.cli.running import environment, invoke


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (mq.ConfigurationError("x"), 2),
        (mq.InvalidSpec("x"), 2),
        (mq.NotFound("x"), 3),
        (mq.Mismatch("x"), 3),
        (mq.Unreachable("x"), 4),
        (mq.Denied("x"), 4),
        (mq.Unsupported("x", capability="Y"), 5),
        (mq.Rejected("x"), 1),
        (mq.OperationTimeout("x"), 1),
        (mq.CorruptLog("x", file="f", offset_bytes=1), 1),
    ],
)
def test_exit_codes(error: mq.MqbridgeError, code: int) -> None:
    """The documented code of each kind of error, and a command to try next for every one."""
    assert errors.exit_code(error) == code
    assert errors.next_step(error, "mqbridge", "mqbridge topic list").startswith("mqbridge")


def test_no_url_is_a_clear_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is guessed: without --url and MQBRIDGE_URL a command says what to write."""
    monkeypatch.delenv("MQBRIDGE_URL", raising=False)
    result = invoke(None, "topic", "list")
    assert result.exit_code == 2
    help_text = invoke(None, "topic", "list", "--help").stdout
    for url in URLS:
        assert url in result.stderr
        assert url.partition(":")[0] + ":" in help_text


@pytest.mark.parametrize(
    "words", [("topic", "create", "x"), ("queue", "create", "x"), ("copy", "file:f", "native:", "topic:x", "--create")]
)
def test_what_is_made_in_memory_is_told_to_be_gone(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, for the broker ends with the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_bytes(b"a\n")
    result = invoke("native:", *words)
    assert result.exit_code == 0
    assert result.stderr.count("is memory that ends with this command") == 1
    assert "memory" not in invoke(f"native:{tmp_path}/data", "topic", "create", "x").stderr


def test_memory_is_never_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would find nothing, typed or from the environment: a folder is shown instead."""
    sent = invoke("native:", "produce", "topic:x", stdin=b"a\n")
    assert "is memory that ends" in sent.stderr
    monkeypatch.setenv("MQBRIDGE_URL", "native:?name=x")
    for result in (sent, invoke("native:", "topic", "list"), invoke(None, "topic", "list")):
        assert "mqbridge --url native:./data topic" in result.stderr
        assert "--url native: " not in result.stderr


@pytest.mark.parametrize("url", ["nosuch://host", "native:?durability=x", "amqp://", "kafka://host?nosuch=1"])
def test_a_wrong_url_is_what_to_mend(url: str) -> None:
    """Exit code 2; the help of the command that was tried would tell nothing about it."""
    result = invoke(url, "topic", "list")
    assert result.exit_code == 2
    assert "try:   mend the URL" in result.stderr
    assert "--help" not in result.stderr


@pytest.mark.parametrize(("url", "package"), [("kafka://h", "confluent_kafka"), ("amqps://h", "pika")])
def test_a_missing_extra_is_what_to_install(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is right then, and mending it would not help."""
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("mqbridge_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = invoke(url, "topic", "list")
    assert result.exit_code == 2
    extra = "kafka" if package == "confluent_kafka" else "rabbitmq"
    assert f"try:   pip install '.[{extra}]'" in result.stderr


@pytest.mark.parametrize("noun", ["topic", "queue", "exchange"])
def test_what_is_to_be_deleted_is_not_created_first(tmp_path: Path, noun: str) -> None:
    """A name that is mistyped in `delete` leads to the list; whoever sends there is offered to make it."""
    url = f"native:{tmp_path}/a"
    invoke(url, "topic", "create", "t")
    said = invoke(url, noun, "delete", "zzz").stderr
    assert f"{noun} list" in said
    assert f"{noun} create" not in said
    assert "topic create zzz" in invoke(url, "produce", "topic:zzz", stdin=b"a\n").stderr


def test_the_url_counts_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the noun, after the verb, or in MQBRIDGE_URL; what is typed wins."""
    url = f"native:{tmp_path}/a"
    assert invoke(url, "topic", "create", "t").exit_code == 0
    monkeypatch.setenv("MQBRIDGE_URL", f"native:{tmp_path}/none")
    assert json.loads(invoke(None, "topic", "list", "--url", url, "-o", "jsonl").stdout)["topic"] == "t"
    monkeypatch.setenv("MQBRIDGE_URL", url)
    assert json.loads(invoke(None, "-o", "jsonl", "topic", "list").stdout)["topic"] == "t"


def test_looking_makes_no_folder(tmp_path: Path) -> None:
    """A mistyped path is an error with code 3, not an empty broker that is left behind."""
    result = invoke(f"native:{tmp_path}/typo", "topic", "list")
    assert result.exit_code == 3
    assert "topic create" in result.stderr
    assert not (tmp_path / "typo").exists()


def test_an_error_is_one_sentence_and_a_command(tmp_path: Path) -> None:
    """No traceback: what happened, then what to try."""
    url = f"native:{tmp_path}/a"
    invoke(url, "topic", "create", "t")
    result = invoke(url, "topic", "describe", "nope")
    assert result.exit_code == 3
    assert "Traceback" not in result.output
    assert f"try:   mqbridge --url {url} topic list" in result.stderr
    assert result.stdout == ""


def test_a_password_is_never_repeated() -> None:
    """Neither the error nor the command to try shows the password of the URL."""
    result = invoke("nosuch://user:geheim@host/", "topic", "list")
    assert result.exit_code == 2
    assert "geheim" not in result.output


def _points(**values: str) -> object:
    found = [EntryPoint(name, value, main.COMMANDS) for name, value in values.items()]
    return lambda group: found if group == main.COMMANDS else []


@click.command("guest")
def guest() -> None:
    """Say hello."""
    click.echo("hello")


NO_COMMAND = 3


def test_commands_of_other_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered under mqbridge.commands is listed, and runs."""
    monkeypatch.setattr(main, "entry_points", _points(guest=f"{__name__}:guest"))
    assert "guest" in invoke(None, "--help").stdout
    assert invoke(None, "guest").stdout == "hello\n"
    assert "Say hello" in invoke(None, "guest", "--help").stdout


@pytest.mark.parametrize("value", ["no_such_package.cli:x", f"{__name__}:missing", f"{__name__}:NO_COMMAND"])
def test_a_broken_command_breaks_only_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    """It is said on stderr when that command is called, and nowhere else."""
    monkeypatch.setattr(main, "entry_points", _points(broken=value))
    listing = invoke(None, "--help")
    assert listing.exit_code == 0
    assert listing.stderr == ""
    assert invoke(f"native:{tmp_path}/a", "topic", "create", "t").exit_code == 0
    result = invoke(None, "broken", "--any", "thing")
    assert result.exit_code == 1
    assert "'broken'" in result.stderr
    assert result.stdout == ""


def test_an_own_command_wins_over_a_foreign_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package cannot take over `topic`."""
    monkeypatch.setattr(main, "entry_points", _points(topic=f"{__name__}:guest"))
    assert "hello" not in invoke(None, "topic", "--help").stdout


def test_a_shell_completes_the_url_of_each_engine() -> None:
    """`--url k` and Tab: the way in which a URL begins is no secret."""
    words = {"_MQBRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "mqbridge --url k", "COMP_CWORD": "2"}
    code = "import sys; from mqbridge.cli.main import run; sys.exit(run([]))"
    found = subprocess.run([sys.executable, "-c", code], env=environment() | words, check=False, capture_output=True)
    assert b"kafka://localhost:9092" in found.stdout


def test_without_click_the_front_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence and exit code 2; the version needs nothing."""
    found = importlib.util.find_spec
    monkeypatch.setattr(front_door, "find_spec", lambda name: None if name == "rich" else found(name))
    assert front_door.main(["topic", "list"]) == 2
    assert "pip install '.[cli]'" in capsys.readouterr().err
    assert front_door.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mqbridge {mq.__version__}\n"


def test_the_front_returns_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """`main` is a function that returns: for the console script, and for programs."""
    assert front_door.main(["topic", "--help"]) == 0
    assert front_door.main(["topic", "nonsense"]) == 2
    assert "Exit codes" not in capsys.readouterr().err


def test_the_help_documents_exit_codes() -> None:
    """Codes are a contract with scripts."""
    help_text = invoke(None, "--help").stdout
    for code in ("1 failed", "2 wrong usage", "3 not found", "4 unreachable", "5", "130 interrupted"):
        assert code in " ".join(help_text.split())


def test_the_command_line_imports_where_there_is_no_fcntl() -> None:
    """Windows has none; only a copy to a file needs it."""
    code = "import sys; sys.modules['fcntl'] = None; from mqbridge.cli.main import run; sys.exit(run(['--help']))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_library_imports_no_click() -> None:
    """Core and front door need the standard library alone until a command of the CLI is called."""
    code = "import sys, mqbridge.__main__, mqbridge.serving; sys.exit(bool({'click', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
