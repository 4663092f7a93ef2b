"""Looking from outside: what an engine holds, seen by somebody other than the connection under test.

`seen` says what an observer is; `native`, `kafka` and `rabbitmq` look at one engine each, the last two with clients of
others. They are imported by those who need them, for their clients may not be installed.
"""

from mqbridge_conformance.observers.native import FileObserver, ProcessObserver, PublicObserver
from mqbridge_conformance.observers.nodes import FirstToTell
from mqbridge_conformance.observers.recorded import RecordedObserver
from mqbridge_conformance.observers.seen import Agreed, Counts, Disagreement, Letter, Names, Observer, Record

__all__ = [
    "Agreed",
    "Counts",
    "Disagreement",
    "FileObserver",
    "FirstToTell",
    "Letter",
    "Names",
    "Observer",
    "ProcessObserver",
    "PublicObserver",
    "Record",
    "RecordedObserver",
]
