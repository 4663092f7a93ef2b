"""URLs and options, before any I/O."""

from __future__ import annotations

from typing import Any

import pytest

from mqbridge.errors import ConfigurationError
from mqbridge.spi import ConnectRequest
from mqbridge.urls import parse_url
from mqbridge_rabbitmq.settings import OPTIONS, read_settings


def settings_of(url: str, **options: Any) -> Any:
    parsed = parse_url(url)
    return read_settings(ConnectRequest(parsed, {**parsed.query, **options}, "allow", 10.0, lambda _state, _why: None))


@pytest.mark.parametrize(
    ("url", "vhost"),
    [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2F", "/"), ("amqp://h/a", "a"), ("amqp://h/a%2Fb", "a/b")],
)
def test_the_path_is_the_virtual_host(url: str, vhost: str) -> None:
    """No path and a bare slash are the default one."""
    assert settings_of(url).vhost == vhost


def test_hosts_ports_and_the_management_api_have_defaults() -> None:
    """The first host serves the API; TLS has ports of its own."""
    plain = settings_of("amqp://one,two:5673/")
    assert plain.hosts == (("one", 5672), ("two", 5673))
    assert plain.management == "http://one:15672"
    tls = settings_of("amqps://one/")
    assert (tls.hosts, tls.management) == ((("one", 5671),), "https://one:15671")
    assert settings_of("amqp://[::1]/").management == "http://[::1]:15672"


def test_a_password_is_in_no_text() -> None:
    """Neither the settings' repr nor pika's parameters show it."""
    settings = settings_of("amqp://me:s3cr3t@h/")
    parameters = settings.parameters(("h", 5672), "publish")
    assert "s3cr3t" not in repr(settings) + repr(parameters) + repr(parameters.credentials)
    assert parameters.credentials.password == "s3cr3t"
    assert parameters.blocked_connection_timeout == 300


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("amqp:", {}, "names no broker"),
        ("amqp://h/", {"heartbeat_s": "0"}, "heartbeat_s"),
        ("amqp://h/", {"heartbeat_s": "nan"}, "heartbeat_s"),
        ("amqp://h/", {"window": "many"}, "window"),
        ("amqp://h/", {"ca": "x.pem"}, "amqps://"),
        ("amqps://h/", {"ca": "/no/such/file.pem"}, "/no/such/file.pem"),
        ("amqps://h/", {"verify": "maybe"}, "verify"),
        ("amqp://h/", {"management": "h:15672"}, "management"),
        ("amqp://h/", {"management": "http://u:secret@h:1"}, "takes no user"),
        ("amqp://h/" + "v" * 256, {}, "virtual host"),
    ],
)
def test_what_is_wrong_is_said_at_once(url: str, options: dict[str, str], said: str) -> None:
    """Each wrong option is refused by name, without a password in the text."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        settings_of(url, **options)
    assert "secret" not in str(caught.value)


def test_tls_is_verified_unless_it_is_turned_off() -> None:
    """verify=no is said by name; the default checks certificate and name."""
    assert settings_of("amqps://h/").tls.check_hostname
    assert not settings_of("amqps://h/", verify="no").tls.check_hostname


def test_every_option_has_a_line_of_help() -> None:
    """`mqbridge doctor` and the error for an unknown option show them."""
    assert all(line and not line.endswith(".") for line in OPTIONS.values())
