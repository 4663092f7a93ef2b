"""Containers begin where they can be reached and end with the run that started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import pytest

from mqbridge_conformance.brokers import containers, settings
from mqbridge_conformance.brokers.containers import RUN_LABEL, Container, docker_client
from mqbridge_conformance.results import CannotTell

STARTS_ONE = """
import sys
from mqbridge_conformance.brokers import containers, settings
environment = lambda ports: settings.kafka_environment(ports["kafka"])
containers.Container.start(settings.KAFKA_IMAGE, ports={"kafka": None}, environment=environment, files={}, user="0")
print(containers.run_token(), flush=True)
sys.stdin.read()
"""


def _until(holds: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + 30
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < give_up_s, what
        pause.wait(0.05)


def _of_run(token: str) -> list[str]:
    with closing(docker_client()) as client:
        return [c.id for c in client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={token}"})]


@pytest.mark.usefixtures("kafka_url")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "at its end"])
def test_a_run_leaves_no_container(end: signal.Signals | None) -> None:
    """However the process ends that started one, the container is removed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    with run:
        assert run.stdout is not None
        assert run.stdin is not None
        token = run.stdout.readline().strip()
        assert len(_of_run(token)) == 1
        if end is None:
            run.stdin.close()
        else:
            run.send_signal(end)
        run.wait(30)
    _until(lambda: not _of_run(token), f"the container of run {token} is still there")


HAS_A_NETWORK = """
import sys
from mqbridge_conformance.brokers import containers
containers.Network.create()
print(containers.run_token(), flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("kafka_url")
def test_a_run_leaves_no_network() -> None:
    """Killed, as all else: the watcher removes it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", HAS_A_NETWORK]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as run, closing(docker_client()) as client:  # fmt: skip
        assert run.stdout is not None
        mine = {"label": f"{RUN_LABEL}={run.stdout.readline().strip()}"}
        assert len(client.networks.list(filters=mine)) == 1
        run.kill()
        run.wait(30)
        _until(lambda: not client.networks.list(filters=mine), f"the network {mine} is still there")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _start(ports: Mapping[str, int | None]) -> Container:
    return Container.start(
        settings.KAFKA_IMAGE,
        ports=ports,
        environment=lambda ports: settings.kafka_environment(ports["kafka"]),
        files={},
        user="0",
    )


@pytest.mark.usefixtures("kafka_url")
def test_a_port_that_somebody_else_took_is_chosen_again(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice of a port and its use another process may take it."""
    free = next(containers._free_ports())
    choices = iter([taken_port, free])
    monkeypatch.setattr(containers, "_free_ports", lambda: choices)
    with closing(docker_client()) as client:
        before = {c.id for c in client.containers.list(all=True)}
        container = _start({"kafka": None})
        try:
            assert container.ports == {"kafka": free}
            now = {c.id for c in client.containers.list(all=True)}
            assert container.id in now
            assert len([c for c in _of_run(containers.run_token()) if c not in before]) == 1, "the failed try is gone"
        finally:
            container.remove()


@pytest.mark.usefixtures("kafka_url")
def test_an_image_that_cannot_be_had_is_said() -> None:
    """Neither here nor to be pulled: the reason names the image."""
    with closing(docker_client()) as client, pytest.raises(CannotTell, match=r"no image localhost:1/nothing:1"):
        containers.ensure_image(client, "localhost:1/nothing:1")


def test_ports_stay_below_those_that_systems_give_to_outgoing_connections() -> None:
    """A client that keeps calling a stopped broker would otherwise be given its port, and talk to itself."""
    for _ in range(20):
        assert next(containers._free_ports()) < 32_768


def test_an_owner_that_has_ended_is_known_by_its_number_and_its_beginning() -> None:
    """A later process of the same number is another one; one of another machine counts as alive."""
    this = containers._Owner.this()
    assert not this.gone()
    assert str(containers._Owner.parse(str(this))) == str(this)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        number = ended.pid
    host = socket.gethostname()
    assert containers._Owner(host, number, "1").gone()
    assert containers._Owner(host, os.getpid(), "1").gone()
    assert not containers._Owner("elsewhere", number, "1").gone()
