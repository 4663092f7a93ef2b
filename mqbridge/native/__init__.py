"""The native reference engine: a broker in a library.

The one door in is `engine`. `core` holds state machines without thread, clock or file; `storage` holds bytes
and no meaning; `runtime` holds threads, clocks and locks. No logic belongs in this file.
"""
