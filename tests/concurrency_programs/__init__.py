"""Small programs that use each part of `deferrous.concurrency`, with the expected final state.

Each function is given a clock, and returns a `Program`: actors, which run side by side, and what
has to be true when they have ended, one of them cancelled or none. A program ends whichever is
cancelled.
"""

from __future__ import annotations

# In the order in which they are run. Each module adds its programs as it is imported.
# isort: off
from . import events, queues, groups, many, sharing, in_generators

# isort: on
from .base import PROGRAMS

__all__ = ["PROGRAMS", "events", "groups", "in_generators", "many", "queues", "sharing"]
