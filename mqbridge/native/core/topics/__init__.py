"""Topics: partition logs with retention, and the consumer groups that share them.

`room` dispatches the operations on topics, `partition` is one log with its watchers, `retention` decides what
is old. `groups` dispatches the operations on groups; `membership` is who holds what, `offsets` is how far
they are.
"""
