"""Broken exchanges of the native engine.

The rule: see `in_engine`.
"""

from __future__ import annotations

from typing import Any

from mqbridge.semantics import matching
from mqbridge.semantics.matching import DirectIndex, TopicIndex
from mqbridge.semantics.routing import ExchangeTable
from tests.conformance.saboteurs.breaking import Row, around


def _whatever_case(matches: Any, self: DirectIndex, key: str, headers: Any) -> Any:
    return matches(self, key.lower(), headers)


def _empty_words_passed_over(matches: Any, self: TopicIndex, key: str, headers: Any) -> Any:
    return matches(self, ".".join(word for word in key.split(".") if word), headers)


def _any_as_all(satisfies: Any, wanted: Any, match: str, headers: Any) -> Any:
    return satisfies(wanted, match.replace("any", "all"), headers)


def _x_counted(effective: Any, headers: Any, match: str) -> Any:
    return effective(headers, "all-with-x")


def _two_copies(route: Any, self: ExchangeTable, *message: Any) -> Any:
    return route(self, *message) * 2


def _stays_bound(unbind: Any, self: ExchangeTable, *binding: Any, **terms: Any) -> bool:
    return True


def _no_alternate(add: Any, self: ExchangeTable, name: str, **spec: Any) -> Any:
    return add(self, name, **{**spec, "alternate": None})


SABOTEURS: list[Row] = [
    (
        "route-direct",
        "does not look at case",
        around(DirectIndex, "matches", _whatever_case),
        "memory",
        "'RED'.* where Unroutable is due|what . gets",
    ),
    ("route-fanout", "keeps the unbound", around(ExchangeTable, "unbind", _stays_bound), "memory", "nobody .*is due"),
    ("route-fanout", "gives two copies", around(ExchangeTable, "route", _two_copies), "memory", "what a gets"),
    (
        "route-topic",
        "passes over empty words",
        around(TopicIndex, "matches", _empty_words_passed_over),
        "memory",
        "what .* gets",
    ),
    ("route-headers", "takes any for all", around(matching, "_satisfies", _any_as_all), "memory", "nobody .* is due"),
    (
        "route-headers",
        "counts names that begin with x-",
        around(matching, "_effective", _x_counted),
        "memory",
        "what is due to .*x-passed-over",
    ),
    (
        "exchange-to-exchange",
        "gives a copy a way",
        around(ExchangeTable, "route", _two_copies),
        "memory",
        "what near gets",
    ),
    (
        "alternate-exchange",
        "has no alternates",
        around(ExchangeTable, "add_exchange", _no_alternate),
        "memory",
        "the end of sending two|alternate",
    ),
]
