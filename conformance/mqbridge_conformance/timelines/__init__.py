"""A piece of a history as a person reads it: what to show of a failure, in words, as lines of text, as a picture."""

from mqbridge_conformance.timelines.around import Shown, before_the_end, what_to_show
from mqbridge_conformance.timelines.text import timeline

__all__ = ["Shown", "before_the_end", "timeline", "what_to_show"]
