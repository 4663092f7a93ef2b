"""Replays against what was known of their log when they were asked for: where they begin, and where they end.

The rule: a replay is given what lies between the start and the end that it was asked for, as far as it was known by
then: confirmed, or seen by somebody. Where it begins is judged by its first record, where it ends only if it was read
out. What lies in between is judged as a gap, by `log_order`. A start or an end by time says nothing of offsets.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from mqbridge_conformance.checkers.judging import Judge
from mqbridge_conformance.checkers.log_facts import SHOWN, Client, Log, Logs, evidence, in_order, told
from mqbridge_conformance.checkers.log_promises import unconfirmed
from mqbridge_conformance.checkers.log_runs import Runs, start_of
from mqbridge_conformance.history import Event, History

__all__ = ["against_their_log"]


def against_their_log(history: History, logs: Logs, runs: Runs, judge: Judge) -> None:
    """replay-mismatch: one that begins late, or ends early."""
    given: dict[str, dict[int, dict[int, Event]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs.all:
        if run.role == "replay":
            for event in run.deliveries:
                given[run.who][run.place[1]].setdefault(event.off or 0, event)
    read_out = {event.who: event for event in history.said("read_out")}
    for client in logs.clients.values():
        log = logs.logs.get(client.sources[0])
        if client.role != "replay" or log is None:
            continue
        judge.count("read_out", client.who in read_out)
        for part in list(log.parts):
            _begins(log, client, part, given[client.who][part], judge)
            if client.who in read_out:
                _ends(logs, log, client, part, given[client.who][part], read_out[client.who], judge)


def _begins(log: Log, client: Client, part: int, given: Mapping[int, Event], judge: Judge) -> None:
    """From the earliest record on; a start at an offset is judged as the step to it."""
    if not given or start_of(client.options.get("start")) != "earliest":
        return
    first = min(given)
    present = log.present.get(part, [])
    missed = present[: bisect_left(present, first)]
    if missed:
        text = f"{client.who} asked for all from the earliest record on and began at offset {first}"
        _find(log, part, text, missed, [client.opened, given[first]], judge)


def _ends(
    logs: Logs, log: Log, client: Client, part: int, given: Mapping[int, Event], read_out: Event, judge: Judge
) -> None:
    low, high, asked_t = _low(client, part), _high(client, part), client.options.get("asked_t")
    if high is None or not isinstance(asked_t, int) or _is_open(logs, log, asked_t, read_out.t):
        return
    if given:
        low = max(given) + 1
    if low is None:
        return
    missed = [off for off in _known(logs, log, part, asked_t) if low <= off < high]
    if missed:
        ended = f"ended after offset {low - 1}" if given else "was given nothing"
        text = f"{client.who} was read out and {ended}, though more was known when it was asked for"
        _find(log, part, text, missed, [client.opened, *([given[low - 1]] if given else []), read_out], judge)


def _find(log: Log, part: int, text: str, missed: list[int], shown: list[Event], judge: Judge) -> None:
    proof = [event for off in missed[:SHOWN] for event in evidence(log, part, off)]
    judge.find("replay-mismatch", f"{log.dest}/{part}", f"{text}: without {told(missed)}", in_order(*shown, *proof))


def _low(client: Client, part: int) -> int | None:
    start = start_of(client.options.get("start"))
    if isinstance(start, dict):
        return start.get(part, 0)
    return 0 if start == "earliest" else None


def _high(client: Client, part: int) -> float | None:
    """The offset before which it was to end; infinite for all that there is. An end at offsets ends in partitions that
    it does not name at their start."""
    end: Any = client.options.get("end")
    if isinstance(end, Mapping) and end.get("name") in ("NOW", "LATEST"):
        return math.inf
    at = start_of(end)
    return at.get(part, 0) if isinstance(at, dict) else None


def _known(logs: Logs, log: Log, part: int, asked_t: int) -> Iterator[int]:
    """The offsets of which it was known before then that something lies there that everybody is given."""
    at = log.parts[part]
    for off in log.present.get(part, []):
        sent, seen = at.acked.get(off), at.seen.get(off)
        told = sent is not None and sent.known_t < asked_t and not unconfirmed(logs, sent)
        if told or (seen is not None and seen.t < asked_t):
            yield off


def _is_open(logs: Logs, log: Log, since: int, until: int) -> bool:
    """Was a transaction under way that may have held back what lies behind it?"""
    for sent in log.transactional:
        if sent.invoke.t < until:
            end = logs.transaction(sent.invoke).end
            if end is None or end.t >= since:
                return True
    return False
