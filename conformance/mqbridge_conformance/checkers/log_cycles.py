"""Checker of transactions among each other: cycles of who wrote before whom, and who read what of whom.

The rule: the nodes are transactions that may have been committed. An edge *ww* goes from a write to the next one of
another transaction in the same partition, an edge *wr* from a write to the transaction that read it. Writes of
transactions interleave in every log, so a cycle that needs a *ww* edge is counted; one of *wr* edges alone says that
each read of the other what it could not have read from committed records, and is an error.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from mqbridge_conformance.checkers.judging import Judge, Judgement, Profile
from mqbridge_conformance.checkers.log_facts import Log, Logs, in_order
from mqbridge_conformance.checkers.log_lives import each_life
from mqbridge_conformance.checkers.log_promises import uncommitted_too
from mqbridge_conformance.history import Event, History

__all__ = ["components", "log_cycles"]

Node: TypeAlias = tuple[str, str]
"""A process and the name of a transaction in it."""
Graph: TypeAlias = dict[Node, dict[Node, tuple[Event, ...]]]
"""Node -> where its edges go, and what shows that they are there."""

INTERLEAVED = "writes of transactions interleave on every engine"


@each_life
def log_cycles(history: History, profile: Profile) -> Judgement:
    """G0 and G1c."""
    judge = Judge("log-cycles", profile)
    logs = history.derived(Logs)
    writes: Graph = defaultdict(dict)
    reads: Graph = defaultdict(dict)
    legal: dict[tuple[Node, Node], str] = {}
    for log in logs:
        _writes(log, writes)
        _reads(logs, log, profile, reads, legal)
    judge.count("transactions", len(logs.transactions))
    judge.count("reads_within", sum(map(len, reads.values())))
    found: set[Node] = set()
    for group in components(reads):
        cycle = _cycle(reads, group)
        edges = [*zip(cycle, [*cycle[1:], cycle[0]], strict=True)]
        why = next((legal[edge] for edge in edges if edge in legal), "")
        _tell(judge, "G1c", cycle, [reads[one][other] for one, other in edges], why)
        found.update(group)
    for group in components(writes):
        cycle = _cycle(writes, group)
        pairs = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
        _tell(judge, "G0", cycle, [writes[one][other] for one, other in pairs], INTERLEAVED)
    both = _union(writes, reads)
    for group in components(both):
        members = set(group)
        within = [(one, other) for one in group for other in reads.get(one, {}) if other in members]
        if within and not found & members:
            one, other = within[0]
            path = [one, *_path(both, members, other, one)]
            pairs = zip(path, path[1:], strict=False)
            _tell(judge, "G1c", path[:-1], [both[a][b] for a, b in pairs], INTERLEAVED)
    return judge.judgement()


def _tell(judge: Judge, name: str, cycle: Iterable[Node], edges: Iterable[tuple[Event, ...]], legal: str) -> None:
    told = " -> ".join(f"{txn} of {proc}" for proc, txn in cycle)
    witness = in_order(*(event for edge in edges for event in edge))
    where = ", ".join(sorted({event.dest for event in witness if event.dest is not None}))
    judge.find(name, where, f"transactions in a circle: {told} -> the first", witness, legal)


def _writes(log: Log, graph: Graph) -> None:
    by_part: dict[int, list[tuple[int, Node, Event]]] = defaultdict(list)
    for sent in log.written.values():
        at = log.found_at(sent)
        if sent.invoke.txn is not None and sent.outcome != "fail" and at is not None:
            by_part[at[0]].append((at[1], (sent.invoke.proc, sent.invoke.txn), sent.end or sent.invoke))
    for found in by_part.values():
        found.sort(key=lambda item: item[0])
        for (_, one, first), (_, other, second) in zip(found, found[1:], strict=False):
            if one != other:
                graph[one].setdefault(other, (first, second))


def _reads(logs: Logs, log: Log, profile: Profile, graph: Graph, legal: dict[tuple[Node, Node], str]) -> None:
    settled = (event for event in logs.history.said("ack") if event.dest == log.dest)
    for event in (*log.reads, *settled):
        sent = log.written.get(event.val or "")
        if event.txn is None or sent is None or sent.invoke.txn is None or sent.outcome == "fail":
            continue
        one, other = (sent.invoke.proc, sent.invoke.txn), (event.proc, event.txn)
        if one != other:
            graph[one].setdefault(other, (sent.invoke, event))
            why = uncommitted_too(logs, profile, logs.client(event))
            if why:
                legal.setdefault((one, other), why)


def _union(one: Graph, other: Graph) -> Graph:
    found: Graph = {node: dict(edges) for node, edges in one.items()}
    for node, edges in other.items():
        found.setdefault(node, {}).update(edges)
    return found


def components(graph: Mapping[Node, Iterable[Node]]) -> list[list[Node]]:
    """The groups of nodes, of two or more, that can all be reached from each other: Tarjan's algorithm (1972), with a
    stack of its own, for a long history has long paths."""
    number: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    on_stack: set[Node] = set()
    found: list[list[Node]] = []
    for root in graph:
        if root in number:
            continue
        work = [(root, iter(graph.get(root, ())))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, edges = work[-1]
            following = next(edges, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    group = [stack.pop()]
                    while group[-1] != node:
                        group.append(stack.pop())
                    on_stack.difference_update(group)
                    if len(group) > 1:
                        found.append(group[::-1])
            elif following not in number:
                number[following] = low[following] = len(number)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(graph.get(following, ()))))
            elif following in on_stack:
                low[node] = min(low[node], number[following])
    return found


def _cycle(graph: Graph, group: list[Node]) -> list[Node]:
    """A shortest way from the first of them back to itself."""
    members = set(group)
    start = group[0]
    ways = [_path(graph, members, other, start) for other in graph[start] if other in members]
    return [start, *min(ways, key=len)[:-1]]


def _path(graph: Graph, members: set[Node], start: Node, end: Node) -> list[Node]:
    """A shortest way from one to another, both included, within a group that is connected."""
    came: dict[Node, Node] = {start: start}
    waiting = deque([start])
    while end not in came:
        node = waiting.popleft()
        for other in graph.get(node, ()):
            if other in members and other not in came:
                came[other] = node
                waiting.append(other)
    path = [end]
    while path[-1] != start:
        path.append(came[path[-1]])
    return path[::-1]
