"""The broker as state machines: what happens to topics, groups, queues and exchanges, and nothing about how.

The rule: no thread, clock, file, socket or random number. Time comes in as `now`, storage and member ids come
in as ports, effects go out as replies and notes; the same calls in the same order give the same replies and
notes. `broker` is the door; `topics` and `queues` are the rooms behind it.
"""
