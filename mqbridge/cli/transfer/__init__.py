"""Copying messages between any two places, at least once.

The rules of this room: the source is settled only after the target has confirmed, and each end remembers how far that
is where it belongs: a group's offsets, a queue's acks, a small file beside a file.
"""
