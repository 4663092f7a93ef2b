"""Transactions among each other: circles of reads are errors, circles that need the order of writes are counted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mqbridge_conformance.checkers.log_cycles import components, log_cycles
from tests.conformance.checkers.stories import Story, findings, value

CHECKS = (log_cycles,)


def told(story: Story) -> list[tuple[str, bool]]:
    """Anomalies, and whether each is an error."""
    return [(finding.anomaly, not finding.legal) for finding in findings(story.history(), CHECKS)]


def transactions(writes: list[tuple[str, int, int]], reads: list[tuple[str, int, int]], **options: str) -> Story:
    """Two transactions a and b: (transaction, number, partition) each; offsets in the order of the writes."""
    story = Story(partitions=3)
    story.producer()
    story.consumer(**options)
    for txn in "ab":
        story.did("begin", "p", txn=txn)
    ends = [0, 0, 0]
    for txn, number, part in writes:
        story.send(value(number), ends[part], part=part, txn=txn)
        ends[part] += 1
    for txn, off, part in reads:
        story.poll("c", off, part=part, txn=txn)
    for txn in "ab":
        story.did("end", "p", txn=txn, more={"commit": True})
    return story


def test_two_that_read_of_each_other_are_an_error() -> None:
    """G1c of reads alone; one that reads of the other, or an uncommitted reader, is none."""
    writes = [("a", 0, 0), ("b", 1, 1)]
    assert told(transactions(writes, [("a", 0, 1), ("b", 0, 0)])) == [("G1c", True)]
    assert told(transactions(writes, [("b", 0, 0)])) == []
    story = transactions(writes, [("a", 0, 1), ("b", 0, 0)], isolation="read_uncommitted")
    assert told(story) == [("G1c", False)]


def test_the_circle_is_the_witness() -> None:
    """Who wrote, and who read it within which transaction."""
    (finding,) = findings(transactions([("a", 0, 0), ("b", 1, 1)], [("a", 0, 1), ("b", 0, 0)]).history(), CHECKS)
    assert [(event.f, event.txn) for event in finding.witness] == [
        ("send", "a"),
        ("send", "b"),
        ("deliver", "a"),
        ("deliver", "b"),
    ]


def test_what_was_acked_within_a_transaction_was_read_by_it() -> None:
    """G1c: by deliveries that say no transaction, and acks that do; what it read of itself is no circle."""
    story = Story(partitions=2)
    story.producer()
    story.consumer()
    for txn, part in (("a", 0), ("b", 1)):
        story.did("begin", "p", txn=txn)
        story.send(value(part), 0, part=part, txn=txn)
    for txn, part in (("a", 0), ("a", 1), ("b", 0)):
        story.did("ack", "c", dest="topic:t", part=part, off=0, val=value(part), txn=txn)
        if (txn, part) == ("a", 1):
            assert told(story) == []
    for txn in "ab":
        story.did("end", "p", txn=txn, more={"commit": True})
    (finding,) = findings(story.history(), CHECKS)
    assert finding.text.count(" of main") == 2
    assert not finding.legal


def test_writes_may_interleave() -> None:
    """G0 is counted: a before b in one partition, b before a in another."""
    writes = [("a", 0, 0), ("b", 1, 0), ("b", 2, 1), ("a", 3, 1)]
    assert told(transactions(writes, [])) == [("G0", False)]
    assert told(transactions(writes[:3], [])) == []


def test_a_circle_that_needs_the_order_of_writes_is_counted() -> None:
    """G1c with one edge of each kind."""
    assert told(transactions([("a", 0, 0), ("b", 1, 0), ("b", 2, 1)], [("a", 0, 1)])) == [("G1c", False)]


def test_an_aborted_transaction_is_in_no_circle() -> None:
    """What it read and wrote is undone."""
    story = Story(partitions=2)
    story.producer()
    story.consumer()
    for txn, part in (("a", 0), ("b", 1)):
        story.did("begin", "p", txn=txn)
        story.send(value(part), 0, part=part, txn=txn)
    story.poll("c", 0, part=1, txn="a")
    story.poll("c", 0, part=0, txn="b")
    story.did("end", "p", txn="a", more={"commit": False})
    story.did("end", "p", txn="b", more={"commit": True})
    assert told(story) == []


def test_a_long_path_is_no_recursion() -> None:
    """Components of a chain of twenty thousand, with a circle at its end."""
    size = 20_000
    graph = {("p", str(n)): [("p", str(n + 1))] for n in range(size)}
    graph["p", str(size)] = [("p", str(size - 2))]
    (found,) = components(graph)
    assert set(found) == {("p", str(n)) for n in (size, size - 2, size - 1)}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.dictionaries(st.integers(0, 6), st.sets(st.integers(0, 6)), max_size=7))
def test_components_are_what_can_be_reached_both_ways(edges: dict[int, set[int]]) -> None:
    """The same groups as by definition."""
    graph = {("p", str(n)): [("p", str(other)) for other in sorted(out)] for n, out in edges.items()}
    nodes = sorted({*edges, *(other for out in edges.values() for other in out)})
    reach = {n: {n} for n in nodes}
    for _ in nodes:
        reach = {n: far.union(*(edges.get(other, set()) for other in far)) for n, far in reach.items()}
    wanted = {frozenset(m for m in nodes if m in reach[n] and n in reach[m]) for n in nodes}
    found = {frozenset(int(name) for _, name in group) for group in components(graph)}
    assert found == {group for group in wanted if len(group) > 1}
