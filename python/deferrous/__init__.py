"""Twisted's Deferreds with a Rust core.

This module offers what `twisted.internet.defer` offers, under the same names, without Twisted:

```python
import deferrous as defer
```

In the same way, `deferrous.failure` replaces `twisted.python.failure`. `deferrous.install()` makes
Twisted itself use both.

PYTEST_DONT_REWRITE: this tells pytest not to rewrite this module, because `python -m deferrous` may
have imported it already.
"""

import atexit as _atexit
import os as _os
import typing as _typing
from collections.abc import MutableSequence as _MutableSequence

from . import _deferrous
from ._callbacks import _failthru, passthru
from ._debugging import getDebugging, setDebugging
from ._deferrous import (
    _DEFERRED_SUBCLASSES,
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredList,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    NotACoroutineError,
    QueueOverflow,
    QueueUnderflow,
    TimeoutError,
    _cancellableInlineCallbacks,
    _ConcurrencyPrimitive,
    _Fifo,
    _InternalInlineCallbacksCancelledError,
    _parseDeferredListResult,
    ensureDeferred,
    execute,
    fail,
    gatherResults,
    maybeDeferred,
    race,
    succeed,
)
from ._deferrous import __version__ as __version__
from ._gathering import FailureGroup, FirstError
from ._generators import (
    DeferredCallback,
    DeferredErrback,
    _DefGen_Return,
    inlineCallbacks,
    returnValue,
)
from ._lockfile import AlreadyTryingToLockError, DeferredFilesystemLock
from ._reflect import first_weak_reference as _first_weak_reference
from ._report import DebugInfo, logError
from ._timeout import timeout
from .failure import Failure

if _typing.TYPE_CHECKING:
    from ._call_graph import capture_call_graph as capture_call_graph
    from ._call_graph import format_call_graph as format_call_graph
    from ._call_graph import print_call_graph as print_call_graph
    from ._deadlocks import deadlocks as deadlocks
    from ._pending import pending as pending
    from ._pending import track as track
    from ._trace import trace as trace
    from .twisted import InstallError as InstallError
    from .twisted import install as install
    from .twisted import installed as installed

#: Marks a result in the list that a DeferredList fires with.
SUCCESS = True
#: Marks a failure in the list that a DeferredList fires with.
FAILURE = False

__all__ = [
    "FAILURE",
    "SUCCESS",
    "AlreadyCalledError",
    "AlreadyTryingToLockError",
    "CancelledError",
    "DebugInfo",
    "Deferred",
    "DeferredCallback",
    "DeferredErrback",
    "DeferredFilesystemLock",
    "DeferredList",
    "DeferredLock",
    "DeferredQueue",
    "DeferredSemaphore",
    "Failure",
    "FailureGroup",
    "FirstError",
    "NotACoroutineError",
    "QueueOverflow",
    "QueueUnderflow",
    "TimeoutError",
    "ensureDeferred",
    "execute",
    "fail",
    "gatherResults",
    "getDebugging",
    "inlineCallbacks",
    "logError",
    "maybeDeferred",
    "passthru",
    "race",
    "returnValue",
    "setDebugging",
    "succeed",
    "timeout",
]

_DEFERRED_SUBCLASSES.append(DeferredList)
_deferrous.set_namespace(globals())
_deferrous.look_all_up()
if hasattr(_deferrous, "keep_threads"):
    # Threads that the interpreter ends at shutdown must not unwind through native frames.
    _atexit.register(_deferrous.keep_threads)
for _object in (
    inlineCallbacks,
    returnValue,
    DebugInfo,
    logError,
    timeout,
    FailureGroup,
    FirstError,
    AlreadyTryingToLockError,
    DeferredFilesystemLock,
    passthru,
    _failthru,
    _DefGen_Return,
):
    # Public names belong to the public module.
    _object.__module__ = __name__
del _object
_base: _typing.Any
for _base in (Deferred, DeferredQueue, _ConcurrencyPrimitive):
    # Classes with slots look here to find out whether their base has weak references already.
    _base.__weakref__ = property(_first_weak_reference)
del _base
# `match` statements treat registered classes as sequences, too.
_MutableSequence.register(_Fifo)
_ConcurrencyPrimitive.__abstractmethods__ = frozenset({"acquire", "release"})  # type: ignore[attr-defined]
for _class in (
    Deferred,
    DeferredList,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    _ConcurrencyPrimitive,
):
    # From now on Python says "'Deferred' object" in its messages, without the module.
    _class.__name__ = _class.__name__
del _class

if _os.environ.get("DEFERROUS_TRACK"):
    from . import _pending as _tracking_of_all

    _tracking_of_all.heed_environment()
    del _tracking_of_all
if _os.environ.get("DEFERROUS_INSPECT"):
    from . import inspect

    inspect.heed_environment()
if _os.environ.get("DEFERROUS_TRACE"):
    from . import _trace as _trace_of_all

    _trace_of_all.heed_environment()
    del _trace_of_all


if not _typing.TYPE_CHECKING:
    # Type checkers would accept any name.

    def __getattr__(name: str) -> object:
        if name in ("InstallError", "install", "installed"):
            from . import twisted

            return getattr(twisted, name)
        if name in ("capture_call_graph", "format_call_graph", "print_call_graph"):
            # Imported only when something is stuck.
            from . import _call_graph

            return getattr(_call_graph, name)
        if name == "deadlocks":
            from . import _deadlocks

            return _deadlocks.deadlocks
        if name == "trace":
            from . import _trace

            return _trace.trace
        if name in ("pending", "track"):
            from . import _pending

            return getattr(_pending, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
