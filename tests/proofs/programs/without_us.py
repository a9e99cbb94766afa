"""Programs that start before deferrous is imported, or use only Python."""

from __future__ import annotations

import _imp
import sys
import types

from .base import fresh, plain


def native_half(names):
    """Import it without the Python half of CPython's import, which goes round in circles where it
    has no memory."""
    spec = types.SimpleNamespace(name="deferrous._deferrous", origin=names.native_half)
    module = _imp.create_dynamic(spec)
    _imp.exec_dynamic(module)
    return module


@fresh
def native_half_imported(names, keep):
    """Where that fails, it succeeds the next time."""
    module, seen = native_half(names), []
    first, second = module.Deferred(), keep(module.Deferred())
    first.addCallback(second.callback)
    second.addCallbacks(seen.append, seen.append)
    first.callback(5)
    return seen, second.called, len(dir(module)), module.DeferredLock().acquire().called


@plain
def warning_given(_names, keep):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("this is old", DeprecationWarning, stacklevel=2)
    return True


@plain
def block_that_ends_in_an_error(_names, _keep):
    """CPython 3.11 forgets the error if it cannot make the frame object for its traceback."""
    seen = []

    class Block:
        async def __aenter__(self):
            pass

        async def __aexit__(self, kind, error, traceback):
            self.__exit__(kind, error, traceback)

        def __exit__(self, kind, error, traceback):
            raise LookupError from error

    async def run():
        async with Block():
            raise ValueError

    try:
        run().send(None)
    except (LookupError, MemoryError, SystemError) as error:
        seen.append(repr(error) if isinstance(error, SystemError) else type(error).__name__)
    return seen


@plain
def finally_far_away(_names, keep):
    """So far from its beginning that where a block is left is no integer that is always there."""
    made = []
    try:
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
    finally:
        made.append(0)
    return len(made)


if sys.version_info[:2] == (3, 13):

    @plain
    def stack_formatted(_names, keep):
        """The first time in a process this crashes, for one or another of its allocations."""
        import traceback

        return len(traceback.format_stack()) > 0
