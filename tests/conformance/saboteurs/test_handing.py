"""Each saboteur that settles too early does so, and nothing else."""

from __future__ import annotations

from pathlib import Path

import mqbridge as mq
from tests.conformance.saboteurs.broken import fill, member, nothing_more, pair, receive

QUEUE = mq.Queue("q", dead_letter=None)


def test_s71_acks_what_it_hands_out(tmp_path: Path) -> None:
    """What was handed out is gone when its consumer gives it back."""
    with pair("S71", tmp_path) as bus:
        bus.clean.admin.ensure(QUEUE)
        with bus.clean.producer() as producer:
            producer.send_many(QUEUE, [b"1", b"2"])
        with bus.broken.consumer(QUEUE) as consumer:
            acked, released = receive(consumer, 2)
            acked.ack()
            released.release()
            consumer.commit()
        with bus.clean.consumer(QUEUE) as consumer:
            assert nothing_more(consumer)
        assert len(bus.strikes) == 2


def test_s72_commits_what_it_hands_out(tmp_path: Path) -> None:
    """Nothing was acked, and the next member goes on behind it; what is acked after that moves nothing back."""
    with pair("S72", tmp_path) as bus:
        fill(bus)
        with member(bus.broken) as reader:
            got = receive(reader, 6)
            got[0].ack()
            reader.commit()
            assert reader.committed() == {("t", 0): 6}
        assert bus.strikes
