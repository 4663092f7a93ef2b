"""The scenarios of security: on a broker that lets everybody in, and on brokers that others made."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mqbridge_conformance.brokers import provided
from mqbridge_conformance.brokers.certificates import make_certificates
from mqbridge_conformance.brokers.secured import RabbitMQSite, Site
from mqbridge_conformance.brokers.servers import Management, Reached
from mqbridge_conformance.brokers.tls_end import TlsEnd
from mqbridge_conformance.observers.rabbitmq import RabbitMQObserver
from mqbridge_conformance.results import CannotTell, Verdict
from mqbridge_conformance.runner import run, run_scenario
from mqbridge_conformance.saboteurs import Plan, in_force, strikes_told
from mqbridge_conformance.scenarios import ALL
from mqbridge_conformance.targets import RealBroker, targets_for

SCENARIOS = {scenario.name: scenario for scenario in ALL}


class _Open(RabbitMQSite):
    """Whoever comes is the super user, and any authority is believed."""

    def user(self, *rights: str) -> str:
        return self.url

    @contextlib.contextmanager
    def tls(self, folder: Path) -> Iterator[str]:
        with super().tls(folder) as url:
            yield f"{url}&verify=no"


class Elsewhere:
    """Another virtual host of the run's broker, and users of it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._api = Management(url)
        self.vhost = f"elsewhere-{secrets.token_hex(4)}"
        self._users: list[str] = []
        self._api.ask("PUT", f"/api/vhosts/{self.vhost}", {})

    def url_of(self, tag: str) -> str:
        """Of a new user with that tag, who may do all there."""
        name = f"other-{secrets.token_hex(4)}"
        self._api.ask("PUT", f"/api/users/{name}", {"password": "p@ss/word", "tags": tag})
        self._users.append(name)
        everything = dict.fromkeys(("configure", "write", "read"), ".*")
        self._api.ask("PUT", f"/api/permissions/{self.vhost}/{name}", everything)
        host = urlsplit(self._url).netloc.rpartition("@")[2]
        return f"amqp://{name}:p%40ss%2Fword@{host}/{self.vhost}?management={self._api.base}"

    def remove(self) -> None:
        self._api.ask("DELETE", f"/api/vhosts/{self.vhost}")
        for name in self._users:
            self._api.ask("DELETE", f"/api/users/{name}")


@pytest.fixture
def elsewhere(rabbitmq_url: str) -> Iterator[Elsewhere]:
    made = Elsewhere(rabbitmq_url)
    yield made
    made.remove()


@pytest.mark.parametrize("name", ["passwords", "permissions", "tls"])
def test_a_broker_of_the_environment_may_have_other_users(
    name: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user, virtual host and port of the management API than a container's: all of it is in the URL."""
    url = elsewhere.url_of("administrator")
    monkeypatch.setattr(provided, "broker", lambda *_args, **_options: Reached(url))
    with RealBroker("rabbitmq") as target:
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=20)
    assert (result.verdict, result.reason) == (Verdict.PASS, "")


def test_who_may_make_no_users_is_told_what_it_needs(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence with the command, and UNKNOWN."""
    url = elsewhere.url_of("management")
    monkeypatch.setattr(provided, "broker", lambda *_args, **_options: Reached(url))
    with RealBroker("rabbitmq") as target:
        result, _ = run_scenario(SCENARIOS["passwords"], target, patience_s=5)
    assert result.verdict is Verdict.UNKNOWN
    assert "need a user with the tag administrator" in result.reason


def test_whom_the_management_api_does_not_answer_is_told_before_the_run(elsewhere: Elsewhere) -> None:
    """And once: no scenario begins."""
    (target,) = targets_for(elsewhere.url_of(""))
    report = run([target], [SCENARIOS["passwords"], SCENARIOS["round-trip"], SCENARIOS["two-groups"]])
    assert "let user 'other-" in report.unusable[target.name]
    assert "?management=http://host:port in the URL" in report.unusable[target.name]
    assert [(result.verdict, result.began) for result in report.results] == [(Verdict.UNKNOWN, False)] * 2
    assert report.unasked == {("passwords", target.name): "needs users of its own"}


def test_a_broker_is_observed_over_tls(rabbitmq_url: str, tmp_path: Path) -> None:
    """AMQP and the management API, believed by the authority that the URL names."""
    made = make_certificates()
    for name, text in (("ca.pem", made.authority), ("server.pem", made.certificate), ("server.key", made.key)):
        (tmp_path / name).write_text(text)
    parts, api = urlsplit(rabbitmq_url), urlsplit(Management(rabbitmq_url).base)
    ends = [TlsEnd((str(at.hostname), at.port or 0), tmp_path) for at in (parts, api)]
    login = parts.netloc.rpartition("@")[0]
    url = f"amqps://{login}@127.0.0.1:{ends[0].port}/?management=https://127.0.0.1:{ends[1].port}"
    try:
        (target,) = targets_for(f"{url}&ca={tmp_path / 'ca.pem'}")
        report = run([target], [SCENARIOS["round-trip"]], patience_s=20)
        assert [(result.verdict, result.reason) for result in report.results] == [(Verdict.PASS_EMULATED, "")]
        with pytest.raises(CannotTell, match="CERTIFICATE_VERIFY_FAILED"):
            RabbitMQObserver(url).names()
    finally:
        for end in ends:
            end.close()


@pytest.mark.parametrize("name", ["permissions", "tls"])
def test_a_broker_that_lets_everybody_in_fails(name: str, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of what it did."""

    def opened(self: RealBroker) -> Site:
        return _Open(self.url)

    monkeypatch.setattr(RealBroker, "secured", opened)
    with RealBroker("rabbitmq") as target:
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=5)
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert "let-in" in result.anomalies, result.reason


@pytest.mark.parametrize("name", ["passwords", "permissions"])
def test_who_is_taken_for_the_first_one_is_let_in(name: str, rabbitmq_url: str, tmp_path: Path) -> None:
    """S52 has its subject where there are users, and dies there."""
    told = tmp_path / "strikes.jsonl"
    with RealBroker("rabbitmq") as target, in_force(Plan("S52", told=told)):
        result, _ = run_scenario(SCENARIOS[name], target, patience_s=5)
    assert strikes_told(told), "it never struck"
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert "let-in" in result.anomalies, result.reason
