"""A chain of copies from broker to broker, each killed once in its middle, and the proof that nothing was lost.

``python -m tests.cli.copy_chain --records 100000 --out chain.jsonl native:/tmp/a kafka://h amqp://h/ native:/tmp/b``
fills a topic at the first URL and copies it along. It writes one line a leg; called again with the ``--token`` that it
printed, it goes on behind the last leg that is in the file.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge.cli.context import native_folder
from tests.cli.running import invoke, start

PARTITIONS = 3
KEYS = 97
KILL_AT = 0.4
LEG_S = 600.0
FINISH_S = 60.0


class Chain:
    """The legs of one chain; `token` names its topics and lets it be gone on with."""

    def __init__(self, urls: Sequence[str], records: int, token: str, *, kill: bool = True) -> None:
        self.urls, self.records, self.token, self.kill = list(urls), records, token, kill
        self.topic = mq.Topic(f"chain-{token}", partitions=PARTITIONS)

    def fill(self) -> dict[str, Any]:
        """Everything that a message can carry on all engines of the chain; the value says the key's count."""
        chance = random.Random(self.token)
        repeats = all(self._can(url, mq.Capability.REPEATED_HEADERS) for url in self.urls)
        with mq.connect(self.urls[0]) as bus:
            bus.admin.ensure(self.topic)
            with bus.producer() as producer:
                for number in range(self.records):
                    key = b"key-%d" % (number % KEYS) if number % 10 else None
                    value = None if number % 501 == 500 else b"%d " % number + chance.randbytes(80)
                    headers = [("number", b"%d" % number), ("binary", bytes(range(number % 7)))]
                    if repeats:
                        headers.append(("binary", b"again"))
                    identity = f"{self.token}-{number}" if number % 3 else None
                    producer.send(self.topic, value, key=key, headers=headers, message_id=identity)
        return self.digest(self.urls[0])

    @staticmethod
    def _can(url: str, capability: mq.Capability) -> bool:
        with mq.connect(url) as bus:
            return bus.capabilities[capability].level is not mq.Level.UNSUPPORTED

    def digest(self, url: str) -> dict[str, Any]:
        result = invoke(url, "digest", str(self.topic), "--unique", form="json")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return {name: found[name] for name in ("records", "distinct_records", "sha256_distinct_records")}

    def leg(self, number: int) -> dict[str, Any]:
        """One copy: killed once where that was asked for, then the same command to its end."""
        source, target = self.urls[number], self.urls[number + 1]
        words = ("copy", source, str(self.topic), target, str(self.topic), "--create", "--batch", "250")
        began_s = time.monotonic()
        killed_at = self._killed(target, words) if self.kill else None
        process = start(None, *words, "--output", "jsonl")
        out, err = process.communicate(timeout=LEG_S)
        took_s = time.monotonic() - began_s
        assert process.returncode == 0, f"leg {number} ended with {process.returncode}: {err.decode()}"
        found, wanted = self.digest(target), self.digest(source)
        return {
            "token": self.token,
            "leg": number,
            "from": source.partition(":")[0],
            "to": target.partition(":")[0],
            "killed_when_the_target_had": killed_at,
            "copied_by_the_second_run": json.loads(out)["records"],
            "in_target": found["records"],
            "distinct": found["distinct_records"],
            "repeated": found["records"] - found["distinct_records"],
            "took_s": round(took_s, 1),
            "equal": found["sha256_distinct_records"] == wanted["sha256_distinct_records"],
            "order_of_keys_kept": self.in_order(target),
            "sha256_distinct_records": found["sha256_distinct_records"],
        }

    def _killed(self, target: str, words: Sequence[str]) -> int:
        """SIGKILL when the target has about `KILL_AT` of the records; how many it had when that was seen."""
        process = start(None, *words)
        with ExitStack() as stack:
            stack.callback(process.communicate, timeout=FINISH_S)
            stack.callback(process.kill)
            give_up_s = time.monotonic() + LEG_S
            count = self._counter(target, stack)
            while (had := count()) < self.records * KILL_AT:
                if process.poll() is not None:
                    _, err = process.communicate()
                    raise AssertionError(f"the copy ended before it was killed: {err.decode()}")
                assert time.monotonic() < give_up_s, f"only {had} records arrived in {LEG_S:g} s"
                time.sleep(0.01)
            process.kill()
            assert process.wait(FINISH_S) == -signal.SIGKILL, "the copy ended before it was killed"
            return had

    def _counter(self, url: str, stack: ExitStack) -> Callable[[], int]:
        """How many records are in the topic there, seen from outside the copy.

        A native folder is looked at as files: a connection of this process might host the broker, and outlive the copy.
        """
        folder = native_folder(url)
        if folder is None:
            bus = stack.enter_context(mq.connect(url))

            def count() -> int:
                try:
                    return sum(item.end - item.start for item in bus.admin.offsets(self.topic).values())
                except mq.NotFound:
                    return 0

            return count
        place = folder / "topics" / self.topic.name
        return lambda: sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) // 150

    def in_order(self, url: str) -> bool:
        """Of each key, the records in order, each where it first appears: a copy repeats, but never overtakes."""
        found: dict[bytes | None, dict[int, None]] = {}
        with mq.connect(url) as bus:
            for delivery in bus.replay(mq.Topic(self.topic.name), mq.EARLIEST):
                found.setdefault(delivery.key, {})[int(delivery.headers["number"])] = None
        return all(list(numbers) == sorted(numbers) for key, numbers in found.items() if key is not None)

    def remove(self) -> None:
        """The topics and the groups of the copies."""
        for url in self.urls:
            with mq.connect(url) as bus:
                for group in bus.admin.list_groups():
                    if group.group.startswith("mqbridge-copy-") and self._only_ours(bus, group.group):
                        bus.admin.delete_group(group.group)
                bus.admin.delete(self.topic)

    def _only_ours(self, bus: mq.Bus, group: str) -> bool:
        committed = bus.admin.describe_group(group).committed
        return {topic for topic, _ in committed} == {self.topic.name}


def run(chain: Chain, out: Path | None = None) -> list[dict[str, Any]]:
    """All legs, or those that are not in `out` yet; each is appended to it when it is done."""
    lines = out.read_text(encoding="utf-8").splitlines() if out is not None and out.exists() else []
    legs = [line for line in map(json.loads, lines) if line["token"] == chain.token]
    if not legs:
        chain.fill()
    for number in range(len(legs), len(chain.urls) - 1):
        legs.append(chain.leg(number))
        if out is not None:
            with open(out, "a", encoding="utf-8") as file:
                file.write(json.dumps(legs[-1]) + "\n")
    return legs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cli.copy_chain", description=__doc__)
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--token", default=secrets.token_hex(4))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    sys.stderr.write(f"--token {options.token}\n")
    chain = Chain(options.urls, options.records, options.token)
    legs = run(chain, options.out)
    for leg in legs:
        sys.stdout.write(json.dumps(leg) + "\n")
    good = all(leg["equal"] and leg["order_of_keys_kept"] and leg["distinct"] == options.records for leg in legs)
    if good and not options.keep:
        chain.remove()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
