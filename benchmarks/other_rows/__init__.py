"""Rows for all that the package offers beside the main rows: every public name, in its usual forms.

They are in groups, a module for each, and `--all` measures them. `test_rows.py` sees to it that no
name lacks one. What a row imports within its function is imported for that row alone: with asyncio
there, `await` looks for its loop.
"""

from __future__ import annotations

from ..rows import ROWS

# In the order in which the report shows them. Each module adds its rows as it is imported.
# isort: off
from . import failure, attributes, callbacks, forms, errors, functions, running
from . import subclasses, many, waiting

# isort: on
from .table import OTHER_ROWS

MODULES = (
    failure,
    attributes,
    callbacks,
    forms,
    errors,
    functions,
    running,
    subclasses,
    many,
    waiting,
)
ALL_ROWS = {**ROWS, **OTHER_ROWS}
