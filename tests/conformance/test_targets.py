"""What a name or a URL means."""

from __future__ import annotations

from pathlib import Path

import pytest

import mqbridge as mq
from mqbridge_conformance.observers import PublicObserver
from mqbridge_conformance.results import CannotTell
from mqbridge_conformance.targets import RealBroker, observer_of, targets_for


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
    assert [target.threads for target in targets_for("native")] == [True, False, False]
    assert targets_for("native:")[0].url != targets_for("native:")[0].url, "two runs would meet"
    assert [targets_for(text)[0].engine for text in ("kafka", "kafka://h:1", "rabbitmq", "amqps://h/")] == [
        "kafka",
        "kafka",
        "rabbitmq",
        "rabbitmq",
    ]
    assert [targets_for(f"{engine}-cluster")[0].name for engine in ("kafka", "rabbitmq")] == [
        "kafka, cluster",
        "rabbitmq, cluster",
    ]
    with pytest.raises(mq.ConfigurationError, match="no conformance target"):
        targets_for("mqtt://localhost/")


def test_brokers_at_urls_have_names_of_their_own_and_no_passwords_in_them() -> None:
    """Two of one engine are two columns, which are shown to everybody."""
    texts = ("kafka", "kafka://a:1", "kafka://b:1,c:2", "amqp://user:secret@h/vhost?management=15672")
    assert [targets_for(text)[0].name for text in texts] == ["kafka", "kafka, a:1", "kafka, b:1,c:2", "rabbitmq, h"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafkas://me:secret@h:1?sasl=SCRAM-SHA-512&ca=nowhere.pem", "does not take this configuration"),
        ("kafka://h:1?sasl=NOPE", "sasl must be one of"),
        ("kafka://:secret@h:1?sasl=PLAIN", "does not take this configuration"),
        ("amqp://h:99999", "is not host:port"),
        ("amqps://h?ca=nowhere.pem", "the TLS files cannot be used"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_by_the_library(url: str, words: str) -> None:
    """Before an observer makes anything of it, and by an error that a run takes for a target that cannot be used."""
    (target,) = targets_for(url)
    with pytest.raises(mq.ConfigurationError, match=words), target:
        pass


@pytest.mark.parametrize(
    ("engine", "url"),
    [
        ("kafka", "kafka://h:1?sasl=NOPE&librdkafka=nope=1"),
        ("kafka", "kafkas://me:secret@h:1?ca=nowhere.pem"),
        ("rabbitmq", "amqp://h:99999"),
    ],
)
def test_an_observer_that_makes_nothing_of_a_url_cannot_tell(engine: str, url: str) -> None:
    """Whatever error its client has for that."""
    with pytest.raises(CannotTell, match=r"what the URL says|makes nothing of that URL"):
        observer_of(engine, url)


class Told(PublicObserver):
    """An observer that knows versions, or cannot be asked."""

    def __init__(self, found: dict[str, str] | None) -> None:
        self._found = found

    def versions(self) -> dict[str, str]:
        if self._found is None:
            raise CannotTell("it is away")
        return dict(self._found)


@pytest.mark.parametrize(
    ("told", "image", "wanted"),
    [
        ({"kafka": "4.3", "client": "2"}, "", {"kafka": "4.3", "client": "2"}),
        ({"kafka": "4.3", "client": "2"}, "4.3.1", {"kafka": "4.3.1", "client": "2"}),
        ({"kafka": "", "client": "2"}, "", {"client": "2"}),
        (None, "4.3.1", {}),
    ],
)
def test_the_version_of_a_broker_is_told_as_exactly_as_it_is_known(
    told: dict[str, str] | None, image: str, wanted: dict[str, str]
) -> None:
    """By the image, else by the observer, else not at all: never guessed, and never a reason not to run."""
    target = RealBroker("kafka", "kafka://a:1")
    target.observer = Told(told)
    target._image_version = image
    assert target.versions() == wanted


def test_the_native_engine_has_the_version_of_the_library() -> None:
    """In all its arrangements."""
    assert [target.versions() for target in targets_for("native")] == [{"native": mq.__version__}] * 3
