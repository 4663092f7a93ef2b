"""What happened in a run: events, written down by every process, put together to be judged."""

from mqbridge_conformance.history.events import Error, Event, Kind, identify
from mqbridge_conformance.history.loading import History, Operation, load
from mqbridge_conformance.history.payload import Damaged, Payload
from mqbridge_conformance.history.recorder import Recorder, error_of

__all__ = [
    "Damaged",
    "Error",
    "Event",
    "History",
    "Kind",
    "Operation",
    "Payload",
    "Recorder",
    "error_of",
    "identify",
    "load",
]
