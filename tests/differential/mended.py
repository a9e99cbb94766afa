"""Changes Twisted where we differ on purpose, so that everything else can be compared.

Each change is described in docs/differences.md, and has tests of its own.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

#: A class, or None for the module, its methods, the original code, and its replacement.
CHANGES = (
    # A failure that is awaited again, or is just passing by, is raised. Twisted asserts that it is
    # neither.
    (
        "Deferred",
        ("__iter__", "__await__"),
        r"assert (self\._debugInfo is not None)\n( +)(self\._debugInfo\.failResult = )",
        r"if \1:\n\2    \3",
    ),
    # A list that has fired passes its cancelling on to the Deferred that it waits for.
    (
        "DeferredList",
        ("cancel",),
        r"if not self\.called:",
        "if self.called: Deferred.cancel(self)\n    else:",
    ),
    # The CancelledError of a future is one as well, where the time is over.
    (
        None,
        ("_cancelledToTimedOutError",),
        r"value\.trap\(CancelledError\)",
        'value.trap(CancelledError, __import__("asyncio").CancelledError, '
        '__import__("concurrent.futures").futures.CancelledError)',
    ),
)


@lru_cache
def _changed(method: Any, pattern: str, put: str) -> Any:
    """A function with a part of its text replaced, at the same lines of the same file."""
    lines, first = inspect.getsourcelines(method)
    source, count = re.subn(pattern, put, textwrap.dedent("".join(lines)))
    if count != 1:
        raise LookupError(f"{method.__qualname__} is not what it was")
    names: dict[str, Any] = {}
    code = compile("\n" * (first - 1) + source, method.__code__.co_filename, "exec")
    exec(code, method.__globals__, names)
    return names[method.__name__]


@contextmanager
def mended(implementation: Any) -> Iterator[None]:
    """Mend Twisted for a while. What is not Twisted's is left as it is."""
    deferred = implementation.Deferred
    if deferred.__module__ != "twisted.internet.defer" or not inspect.isfunction(deferred.cancel):
        yield
        return
    before = []
    for name, methods, pattern, put in CHANGES:
        owner = getattr(implementation.defer, name) if name else implementation.defer
        changed = _changed(getattr(owner, methods[0]), pattern, put)
        for method in methods:
            before.append((owner, method, getattr(owner, method)))
            setattr(owner, method, changed)
    try:
        yield
    finally:
        for owner, method, function in before:
            setattr(owner, method, function)
