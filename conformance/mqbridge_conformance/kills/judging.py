"""What must be true after a run of kills. The rule: only the diaries, and the topic as it is read, say what was."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mqbridge as mq
from mqbridge_conformance.kills.programs import TOPIC

__all__ = ["KillReport", "judge", "judge_handled", "judge_log", "lines_of"]


@dataclass
class KillReport:
    """What a run of kills found; `violations` is empty when all that was promised held."""

    seed: int
    kills: int = 0
    host_kills: int = 0
    seconds: float = 0.0
    confirmed_topic: int = 0
    confirmed_queue: int = 0
    failed_unknown: int = 0
    failed_not_applied: int = 0
    records_in_log: int = 0
    handled_topic: int = 0
    redelivered_topic: int = 0
    handled_queue: int = 0
    redelivered_queue: int = 0
    epochs: int = 0
    violations: list[str] = field(default_factory=list)


def lines_of(diaries: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(diaries.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # the last line of a killed process may be torn
                yield {"who": path.stem, **json.loads(line)}


def judge(url: str, diaries: Path, report: KillReport) -> None:
    log: dict[tuple[int, int], str] = {}
    with mq.connect(url) as bus:
        for delivery in bus.replay(TOPIC, mq.EARLIEST):
            log[delivery.partition or 0, delivery.offset or 0] = (delivery.raw or b"").decode()
    report.records_in_log = len(log)
    lines = list(lines_of(diaries))
    confirmed_queue = judge_log(lines, log, report)
    judge_handled(lines, log, confirmed_queue, report)
    for line in lines:
        if line["f"] == "died":
            report.violations.append(f"{line['who']} died of {line['error']}: {line['text']}")


def judge_log(lines: list[dict[str, Any]], log: dict[tuple[int, int], str], report: KillReport) -> set[str]:
    """What was confirmed is there, where it was confirmed, in its producer's order."""
    confirmed_queue: set[str] = set()
    claimed: dict[tuple[int, int], str] = {}
    for line in lines:
        if line["f"] == "failed":
            if line["outcome"] == "unknown":
                report.failed_unknown += 1
            else:
                report.failed_not_applied += 1
        if line["f"] != "confirmed":
            continue
        value = f"{line['p']} {line['n']}"
        if line["kind"] == "q":
            confirmed_queue.add(value)
            continue
        report.confirmed_topic += 1
        place = (line["part"], line["off"])
        if place in claimed:
            report.violations.append(f"offset {place} was confirmed for {claimed[place]!r} and for {value!r}")
        claimed[place] = value
        if log.get(place) != value:
            report.violations.append(f"{value!r} was confirmed at {place}, where {log.get(place)!r} is read")
    report.confirmed_queue = len(confirmed_queue)
    last: dict[tuple[str, int], int] = {}
    for (partition, offset), value in sorted(log.items()):
        producer, _, number = value.partition(" ")
        if int(number) <= last.get((producer, partition), 0):
            report.violations.append(
                f"partition {partition}: {value!r} at {offset} stands behind number {last[producer, partition]}"
            )
        last[producer, partition] = int(number)
    offsets: dict[int, list[int]] = defaultdict(list)
    for partition, offset in sorted(log):
        offsets[partition].append(offset)
    for partition, found in offsets.items():
        if found != list(range(len(found))):
            report.violations.append(f"partition {partition} has gaps in its offsets")
    return confirmed_queue


def judge_handled(
    lines: list[dict[str, Any]], log: dict[tuple[int, int], str], confirmed_queue: set[str], report: KillReport
) -> None:
    """Everything was handled, and in order while a partition was one worker's."""
    seen_topic: Counter[str] = Counter()
    seen_queue: Counter[str] = Counter()
    highest: dict[tuple[str, int, int], int] = {}
    for line in lines:
        if line["f"] != "handled":
            continue
        if line["kind"] == "q":
            seen_queue[line["v"]] += 1
            continue
        seen_topic[line["v"]] += 1
        if log.get((line["part"], line["off"])) != line["v"]:
            place = f"{line['part']}/{line['off']}"
            report.violations.append(f"{line['who']} read {line['v']!r} at {place}: not what is there")
        lease = (line["who"], line["part"], line["lease"])
        if line["off"] <= highest.get(lease, -1):
            report.violations.append(f"{line['who']} read {line['part']}/{line['off']} after {highest[lease]}")
        highest[lease] = line["off"]
    for value in log.values():
        if value not in seen_topic:
            report.violations.append(f"{value!r} is in the log, and the group has committed past it unhandled")
    for value in confirmed_queue - set(seen_queue):
        report.violations.append(f"{value!r} was confirmed by the queue and never handled")
    report.handled_topic = len(seen_topic)
    report.redelivered_topic = sum(seen_topic.values()) - len(seen_topic)
    report.handled_queue = len(seen_queue)
    report.redelivered_queue = sum(seen_queue.values()) - len(seen_queue)
