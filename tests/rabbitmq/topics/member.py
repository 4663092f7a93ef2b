"""A group member in a process of its own: obeys lines on its standard input, answers with lines of JSON.

``poll N``: receive N and ack them, answer their [partition, offset]s; ``commit``: commit, answer ok or the error's
name. It says "assigned" by itself. What does not belong here: any check.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import mqbridge as mq


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main(url: str, topic_name: str, group: str, session_timeout_s: float) -> None:
    topic = mq.Topic(topic_name)
    with mq.connect(url) as bus, bus.consumer(
        topic, group=group, start=mq.EARLIEST, session_timeout_s=session_timeout_s, settle_interval_s=60.0
    ) as consumer:
        say(assigned=sorted(partition for _, partition in consumer.wait_assigned(60)))
        for line in sys.stdin:
            words = line.split()
            if words[0] == "poll":
                got: list[mq.Delivery[bytes]] = []
                until_s = time.monotonic() + 20
                while len(got) < int(words[1]) and time.monotonic() < until_s:
                    got += consumer.poll(int(words[1]) - len(got), timeout=1.0)
                for delivery in got:
                    delivery.ack()
                say(got=[[d.partition, d.offset] for d in got])
            elif words[0] == "commit":
                try:
                    consumer.commit(20)
                except mq.MqbridgeError as error:
                    say(failed=type(error).__name__)
                else:
                    say(committed=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
    except mq.MqbridgeError as error:
        say(error=type(error).__name__, text=str(error))
