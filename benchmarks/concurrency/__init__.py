"""The cost of `deferrous.concurrency`, compared with asyncio.

`python -m benchmarks concurrency` prints a table, and keeps it for the page. Each row does the same
with both, in coroutines: ours are driven by Deferreds, on no loop, and, where it says so, in tasks
of asyncio.
"""

from __future__ import annotations

# In the order of the table. Each module adds its rows as it is imported.
# isort: off
from . import free, waiting, many, tasks, twisted_too

# isort: on
from .measuring import run, run_ours, table
from .rows import ROWS, Row

__all__ = ["ROWS", "Row", "free", "many", "run", "run_ours", "table", "tasks", "twisted_too"]
__all__ += ["waiting"]
