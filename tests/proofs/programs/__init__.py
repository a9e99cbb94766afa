"""Small programs that together use every part of the API, on Twisted or on deferrous.

Each takes the names of one implementation, and `keep`, to which it gives what is to be looked at
afterwards: each Deferred must be able to go on, whatever has happened to the program. What it
returns is the same each time that it is run.

    python -m tests.proofs.programs            each, three times: for a build that checks itself
"""

from __future__ import annotations

# In the order in which they are run. Each module adds its programs as it is imported.
# isort: off
from . import callbacks, refused, functions, generators, several, locks, dying, with_asyncio
from . import structured, without_us

# isort: on
from .base import ASYNCIO_TOO, FRESH, LOOP, OURS_ONLY, PLAIN, PROGRAMS, load, loop, turns
from .refused import FORMS, FUNCTIONS, object_of

__all__ = ["ASYNCIO_TOO", "FORMS", "FRESH", "FUNCTIONS", "LOOP", "OURS_ONLY", "PLAIN", "PROGRAMS"]
__all__ += ["callbacks", "dying", "functions", "generators", "load", "locks", "loop", "object_of"]
__all__ += ["refused", "several", "structured", "turns", "with_asyncio", "without_us"]
