"""Everything of the native engine that has a thread, a wake-up, a real clock or a socket.

The rule of this room: it decides *when* and *where* the broker's state machine runs, never *what* it does.
One lock guards one broker; callbacks run outside of it, one at a time and in order for each session; each
buffer and each wait has a bound. What does not belong here: the meaning of an operation, a file format.

`session` is the door. Behind it: `rooms` (which broker of this process, or none), `local` (lock and ticker),
`host` and `remote` (the two ends of the socket), `wire` (the bytes on it), `outlet` (bytes on their way out),
`address` (where the socket is), `callbacks` (order), `forks` (what a forked child must let go), `links` (what
they have in common).
"""
