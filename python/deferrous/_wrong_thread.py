"""Finds Deferreds that are used by another thread than their own."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, Literal

from ._deferrous import Deferred
from ._tracking import PACKAGE

__all__ = ["WrongThreadError", "WrongThreadWarning", "adopt", "checkThreads"]

#: The methods that count as using a Deferred.
_METHODS = (
    "callback",
    "errback",
    "addCallback",
    "addErrback",
    "addBoth",
    "addCallbacks",
    "addTimeout",
    "chainDeferred",
    "asFuture",
    "cancel",
    "pause",
    "unpause",
    "__await__",
)

#: How many calls of a stack are shown.
_CALLS = 12


class WrongThreadError(RuntimeError):
    """A Deferred was used by another thread than its own: see `checkThreads`."""


class WrongThreadWarning(RuntimeWarning):
    """The same, as a warning."""


class _Owner:
    """A thread, and where it began to use a Deferred."""

    __slots__ = ("stack", "thread")

    def __init__(self, frame: FrameType) -> None:
        self.thread = threading.current_thread()
        self.stack = traceback.StackSummary.extract(
            traceback.walk_stack(frame), limit=_CALLS, lookup_lines=False
        )

    def shown(self) -> str:
        return "".join(reversed(self.stack.format())).rstrip()


class _Check:
    """The owners of Deferreds since the check was turned on, and what the methods were before."""

    def __init__(self, raises: bool) -> None:
        self.raises = raises
        self.owners: dict[int, tuple[weakref.ref[Deferred[Any]], _Owner]] = {}
        self.before: dict[str, Any] = {}

    def begin(self) -> None:
        for name in ("__init__", *_METHODS):
            self.before[name] = method = Deferred.__dict__[name]
            setattr(Deferred, name, self._checked(name, method))

    def end(self) -> None:
        for name, method in self.before.items():
            setattr(Deferred, name, method)
        self.owners.clear()

    def _checked(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(deferred: Deferred[Any], *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            self.look(deferred, name, _caller())
            return method(deferred, *args, **kwargs)

        return call

    def look(self, deferred: Deferred[Any], name: str, frame: FrameType) -> None:
        key = id(deferred)
        known = self.owners.get(key)
        if known is None or known[0]() is not deferred:
            self.remember(deferred, frame)
        elif known[1].thread is not threading.current_thread():
            self.complain(known[1], _Owner(frame), name)

    def remember(self, deferred: Deferred[Any], frame: FrameType) -> None:
        key, owners = id(deferred), self.owners

        def forget(reference: object) -> None:
            if (known := owners.get(key)) is not None and known[0] is reference:
                # Another thread may have turned the check off.
                owners.pop(key, None)

        owners[key] = weakref.ref(deferred, forget), _Owner(frame)

    def complain(self, owner: _Owner, user: _Owner, name: str) -> None:
        __tracebackhide__ = True
        text = (
            f"a Deferred of thread {owner.thread.name!r}, which first used it here:\n"
            f"{owner.shown()}\n"
            f"was used by thread {user.thread.name!r}, which called {name}() here:\n"
            f"{user.shown()}"
        )
        if self.raises:
            raise WrongThreadError(text)
        warnings.warn(text, WrongThreadWarning, stacklevel=_outside())


def _caller() -> FrameType:
    """Return the frame that called our function which calls this.

    If there is none, because a thread or a greenlet starts with that function, or it is called at
    exit, this returns the function's own frame.
    """
    ours = sys._getframe(1)
    return ours.f_back or ours


def _outside() -> int:
    """Return how many calls lie between the program and the function that warns."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


#: The current check, if any.
_checks: list[_Check] = []
#: Held while the check is turned on or off.
_turn = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn._at_fork_reinit)  # type: ignore[attr-defined]


def checkThreads(action: Literal["raise", "warn"] | None = "raise") -> None:
    """Find Deferreds that are used by another thread than their own.

    Arguments:

    - `action`: "raise" raises WrongThreadError, and the method does nothing. "warn" emits a
      WrongThreadWarning, and the method continues. None turns the check off.

    A Deferred belongs to the thread that made it or, if it was not made by calling its class, to
    the thread that used it first. A thread uses a Deferred by calling a method that fires, cancels,
    pauses or awaits it, or adds something to it. What deferrous itself does, such as handing over a
    lock, is not checked. The message shows what both threads did. If you hand a Deferred to another
    thread on purpose, call `adopt` there.

    The check takes time. It applies to Deferreds that are made or used after it was turned on.

    ```python
    import threading

    from deferrous import Deferred, testing

    testing.checkThreads()
    d = Deferred()

    def work():
        try:
            d.callback(1)
        except testing.WrongThreadError as error:
            print(str(error).splitlines()[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    testing.checkThreads(None)
    ```

    This prints `a Deferred of thread 'MainThread', which first used it here:`.
    """
    if action not in ("raise", "warn", None):
        raise ValueError(f"action must be 'raise', 'warn' or None, not {action!r}")
    with _turn:
        # One thread at a time: a second one would take our replacements for the original methods.
        while _checks:
            _checks.pop().end()
        if action is not None:
            _checks.append(_Check(action == "raise"))
            _checks[0].begin()


def adopt(deferred: Deferred[Any]) -> None:
    """Let a Deferred belong to this thread from now on: see `checkThreads`.

    ```python
    from deferrous import Deferred, testing

    testing.checkThreads()
    d = Deferred()
    testing.adopt(d)
    testing.checkThreads(None)
    ```
    """
    for check in _checks:
        check.remember(deferred, _caller())
