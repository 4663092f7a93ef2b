"""Checker of where the records of logs come from: nothing lies in a topic that nobody sent there.

Anomaly: ``phantom``: its value was sent by nobody, comes from another run, is no payload any more, or is there before
it was sent. One that says that it belongs elsewhere is in a wrong place, and one with a wrong checksum is damaged: both
are said by `log_payloads`. To a topic of dead letters comes what was sent anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, in_order
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_payloads import buries, is_damaged
from mqbridge_conformance.history import Event, History

__all__ = ["log_origin"]


@each_life
def log_origin(history: History, profile: Profile) -> Judgement:
    """See the module; one finding a value and topic."""
    judge = Judge("log-origin", profile)
    logs = history.derived(Logs)
    anywhere: Mapping[str | None, Event] | None = None
    for log in logs:
        if buries(logs, log.dest):
            anywhere = anywhere or _sent(history)
            _unsent(logs, log, anywhere, judge)
        else:
            _unsent(logs, log, _first(log), judge)
    return judge.judgement()


def _first(log: Log) -> Mapping[str | None, Event]:
    """Value -> the first send of it to this topic."""
    found: dict[str | None, Event] = {}
    for sent in log.sends:
        found.setdefault(sent.invoke.val, sent.invoke)
    return found


def _sent(history: History) -> Mapping[str | None, Event]:
    """Value -> the first send of it to whatever place."""
    found: dict[str | None, Event] = {}
    for event in history.of("send"):
        if event.kind == "invoke":
            found.setdefault(event.val, event)
    return found


def _unsent(logs: Logs, log: Log, first: Mapping[str | None, Event], judge: Judge) -> None:
    told: set[str | None] = set()
    for event in log.reads:
        judge.count("records")
        sent = first.get(event.val)
        if (sent is not None and sent.t <= event.t) or event.val in told:
            continue
        payload = logs.payload(event.val)
        if payload is not None and payload.dest != log.name and not buries(logs, log.dest):
            continue
        if is_damaged(event.val):
            continue
        told.add(event.val)
        why = "nobody sent it" if sent is None else "it is there before it was sent"
        if payload is not None and sent is None and payload.run != logs.run:
            why = f"it comes from run {payload.run!r}"
        where = log.dest if event.part is None else f"{log.dest}/{event.part}"
        text = f"{_short(event.val)} is there, and {why}"
        judge.find("phantom", where, text, in_order(event, *(() if sent is None else (sent,))))


def _short(value: str | None) -> str:
    return repr(value) if value is None or len(value) <= 60 else f"{value[:60]!r}..."
