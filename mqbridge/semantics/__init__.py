"""Pure rules that several rooms share: routing, assignment, partitioning, retry, names, times.

The one rule of this room: a function of its arguments and nothing else. No clock, random number, thread or
I/O; neither `hash()`, `id()` nor the order of a set decides a result. Illegal input is a `ValueError` with a
sentence; the caller, who knows the operation and its outcome, turns that into one of the library's own
errors. Nothing else of mqbridge is imported here.
"""
