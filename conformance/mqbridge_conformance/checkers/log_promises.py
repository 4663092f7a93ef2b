"""Which producers and readers were promised less than others, and why.

The rule: each function gives a reason in words, or nothing. What is not known of a client is a reason too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mqbridge_conformance.checkers.judging import Profile
from mqbridge_conformance.checkers.log_facts import Client, Logs, Sent

__all__ = ["loose_group", "may_reorder", "may_repeat", "not_claimed", "uncommitted_too", "unconfirmed"]

UNKNOWN = "the history does not say how its producer was opened"


def _options(logs: Logs, sent: Sent) -> Mapping[str, Any] | None:
    client = logs.client(sent.invoke)
    return client.options if client is not None and client.role == "producer" else None


def may_repeat(logs: Logs, sent: Sent) -> str:
    """Why a message may be stored more than once though the application sent it once."""
    options = _options(logs, sent)
    if options is None:
        return UNKNOWN
    if options.get("on_unknown") == "resend":
        return "its producer was told to send again what it does not know about"
    return _not_idempotent(options)


def _not_idempotent(options: Mapping[str, Any]) -> str:
    """Idempotence is had with acks='all' alone, and then unless it is declined (KIP-679)."""
    if options.get("idempotent") is False:
        return "its producer was told to do without idempotence"
    acks = options.get("acks", "all")
    return "" if acks == "all" else f"with acks={acks!r} there is no idempotence"


def may_reorder(logs: Logs, profile: Profile, sent: Sent) -> str:
    """Why messages of one producer may be stored in another order than they were sent in."""
    options = _options(logs, sent)
    if options is None:
        return UNKNOWN
    if options.get("on_unknown") == "resend":
        return "its producer was told to send again what it does not know about"
    return not_claimed(profile, "ORDER_PER_PARTITION")


def unconfirmed(logs: Logs, sent: Sent) -> str:
    """Why a confirmation promises nothing."""
    options = _options(logs, sent)
    if options is None:
        return UNKNOWN
    acks = options.get("acks", "all")
    return "" if acks == "all" else f"its producer asked for no more than acks={acks!r}"


def not_claimed(profile: Profile, capability: str) -> str:
    return "" if profile.has(capability) else f"the engine does not claim {capability}"


def uncommitted_too(logs: Logs, profile: Profile, client: Client | None) -> str:
    """Why a reader may be given what is not committed."""
    if client is None:
        return "the history does not say how its reader was opened"
    if client.options.get("isolation") == "read_uncommitted":
        return "its reader asked for isolation='read_uncommitted'"
    return not_claimed(profile, "READ_COMMITTED")


def loose_group(members: Iterable[Client]) -> str:
    """Why a group may settle what its application has not seen or not settled."""
    for member in members:
        mode = member.options.get("ack", "explicit")
        if mode != "explicit":
            return f"a member was opened with ack={mode!r}"
    return ""
