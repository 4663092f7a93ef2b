"""The order service of the documents, run and checked: ``python -m mqbridge demo``."""

from mqbridge.demo.command import main

__all__ = ["main"]
