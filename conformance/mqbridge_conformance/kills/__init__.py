"""SIGKILL at random moments under load, and what must be true afterwards.

Producers, group workers, queue workers and a standing host work on one folder; one of them after another is killed
(half of the time the one that hosts) and a new one started in its place; then all is drained and judged:

- no confirmed message is lost, from topic or queue;
- no offset is used twice: what was confirmed at an offset is what is read there;
- the records of one producer stand in its order in each partition;
- the group handled every confirmed message, and its committed offsets reached the end;
- while a partition is one worker's, its offsets rise.

The rule: every program writes down what it knows before it goes on (one line, one write), and the judge reads only
those lines, and the topic through a fresh process.
"""

from mqbridge_conformance.kills.judging import KillReport
from mqbridge_conformance.kills.running import run

__all__ = ["KillReport", "run"]
