"""What this engine claims, one row a capability.

The rule: a claim is true or it is not made, for the conformance suite finds out.
"""

from __future__ import annotations

from typing import Final

from mqbridge.capabilities import Capability as Cap
from mqbridge.capabilities import Support, direct, later, never

__all__ = ["CLAIMS"]

_CLAIMED: Final = {
    Cap.CONFIRMED_SEND: direct("when it is in the queue", "until the process ends"),
    Cap.BINARY_VALUES: direct("as they are"),
    Cap.NULL_VALUE: direct("as it is"),
    Cap.EMPTY_KEY: direct("as it is"),
    Cap.REPEATED_HEADERS: direct("as they are"),
    Cap.WORK_SHARING: direct("whoever asks first"),
    Cap.ACK: direct("by message"),
    Cap.RELEASE_UNCOUNTED: direct("back to its place"),
    Cap.RETRY_COUNTED: direct("back to its place"),
    Cap.MAX_ATTEMPTS: direct("counted with the message"),
    Cap.ATTEMPT_NUMBER: direct("counted with the message", "a consumer that dies costs an attempt"),
    Cap.REDELIVERED: direct("kept with the message"),
    Cap.PREFETCH: direct("no more is taken"),
    Cap.LONG_HANDLERS: direct("a message stays with its consumer as long as that lives"),
    Cap.DEAD_LETTER: direct("put there with its reason"),
    Cap.BROWSE_DEAD_LETTERS: direct("a look that takes nothing"),
    Cap.ORDER_IN_QUEUE: direct("first in, first out", "one sender, one consumer, nothing returned"),
    Cap.DEPTH: direct("exact"),
    Cap.PURGE: direct("all that is not out"),
    Cap.UNWRAP: direct("the broker itself"),
}
_TO_COME: Final = {
    Cap.REDRIVE: later("moving dead letters back is not built yet"),
    Cap.MESSAGE_TTL: later("expiry is not built yet"),
}
_ELSEWHERE: Final = {
    Cap.SEVERAL_PROCESSES: never("the broker lives in one process", "native:./folder"),
    Cap.TLS: never("nothing leaves the process"),
    Cap.PASSWORDS: never("nothing leaves the process"),
    Cap.PERMISSIONS: never("nothing leaves the process"),
    Cap.RESUMES_AFTER_RESTART: never("the broker ends with its process", "native:./folder"),
}
CLAIMS: Final[dict[Cap, Support]] = {
    capability: _CLAIMED.get(capability)
    or _TO_COME.get(capability)
    or _ELSEWHERE.get(capability)
    or never("this broker has queues and nothing else", "native:")
    for capability in Cap
}
