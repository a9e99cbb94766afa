"""Assertions about the results of Deferreds, and a clock, for tests that never wait.

The assertions accept Deferreds, and coroutines and generators, which they run as far as possible.
They raise AssertionError, so they work with any test framework. `DeferredAssertions` offers them as
methods.

The pytest plugin is described in docs/testing.md.
"""

from __future__ import annotations

import heapq
import sys
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from . import _deferrous
from ._call_graph import describe
from ._reflect import qual, safe_repr
from ._waiting import deferred_types, name_of
from ._wrong_thread import WrongThreadError, WrongThreadWarning, adopt, checkThreads
from .failure import Failure

__all__ = [
    "Clock",
    "DeferredAssertions",
    "WrongThreadError",
    "WrongThreadWarning",
    "adopt",
    "assertNoResult",
    "checkThreads",
    "failureResultOf",
    "successResultOf",
]

# unittest omits the frames of modules with this name from tracebacks.
__unittest = True

_T = TypeVar("_T")

#: Something that has a result, or will have one.
Eventual: TypeAlias = _deferrous.Deferred[_T] | Coroutine[Any, Any, _T] | Generator[Any, Any, _T]


def successResultOf(deferred: Eventual[_T]) -> _T:
    """Return the result of a Deferred that has succeeded. Its `result` is None afterwards.

    Arguments:

    - `deferred`: the Deferred. A coroutine or generator is run.

    Errors:

    - AssertionError: it has failed, or has no result. The text has the traceback, or what it
      waits for. A failure counts as handled.
    - NotACoroutineError: it is not a Deferred, coroutine or generator.

    ```python
    from deferrous import succeed, testing

    print(testing.successResultOf(succeed(42)))
    ```

    This prints 42.
    """
    __tracebackhide__ = True
    expected = f"{name_of(deferred)} was expected to have succeeded"
    running = as_deferred(deferred)
    results = _take(running)
    if not results:
        raise AssertionError(f"{expected}, but has no result yet:\n{describe(running)}")
    if is_failure(results[0]):
        raise AssertionError(f"{expected}, but it failed:\n{format_failure(results[0])}")
    result: _T = results[0]
    return result


def failureResultOf(
    deferred: Eventual[Any], *expectedExceptionTypes: type[BaseException]
) -> Failure:
    """Return the Failure of a Deferred that has failed. The failure counts as handled.

    Arguments:

    - `deferred`: the Deferred. A coroutine or generator is run.
    - `expectedExceptionTypes`: if given, the exception has to be of one of these classes.

    Errors:

    - AssertionError: it has succeeded, has no result, or has failed with another exception.
    - NotACoroutineError: it is not a Deferred, coroutine or generator.

    ```python
    from deferrous import fail, testing

    print(testing.failureResultOf(fail(KeyError("name")), KeyError).value)
    ```

    This prints `'name'`.
    """
    __tracebackhide__ = True
    expected = f"{name_of(deferred)} was expected to have failed"
    if expectedExceptionTypes:
        expected += f" with {' or '.join(map(_name_of_type, expectedExceptionTypes))}"
    running = as_deferred(deferred)
    results = _take(running)
    if not results:
        raise AssertionError(f"{expected}, but has no result yet:\n{describe(running)}")
    if not is_failure(results[0]):
        raise AssertionError(f"{expected}, but it succeeded with {safe_repr(results[0])}")
    failure: Failure = results[0]
    if expectedExceptionTypes and not failure.check(*expectedExceptionTypes):
        raise AssertionError(
            f"{expected}, but it failed with {_name_of_type(failure.type)}:\n"
            f"{format_failure(failure)}"
        )
    return failure


def assertNoResult(deferred: Eventual[Any]) -> None:
    """Assert that a Deferred has no result yet.

    Arguments:

    - `deferred`: the Deferred. A coroutine or generator is run.

    The Deferred's later result is left as it is.

    Errors:

    - AssertionError: it has a result or a failure. The failure counts as handled.
    - NotACoroutineError: it is not a Deferred, coroutine or generator.

    ```python
    from deferrous import Deferred, testing

    testing.assertNoResult(Deferred())
    ```
    """
    __tracebackhide__ = True
    expected = f"{name_of(deferred)} was expected to have no result yet"
    running = as_deferred(deferred)
    results: list[Any] = []

    def see(result: Any) -> Any:
        results.append(result)
        return result

    running.addBoth(see)
    if not results:
        return
    if not is_failure(results[0]):
        raise AssertionError(f"{expected}, but it has succeeded with {safe_repr(results[0])}")
    running.addErrback(_ignore)
    raise AssertionError(f"{expected}, but it has failed:\n{format_failure(results[0])}")


class Clock:
    """A clock that stands still until a test advances it.

    It is accepted wherever a reactor or an asyncio loop is accepted as a clock: by `addTimeout`,
    and by the functions of `deferrous.concurrency` that take a `clock`.

    ```python
    from deferrous import Deferred, testing

    clock = testing.Clock()
    d = Deferred().addTimeout(60, clock)
    clock.advance(59)
    testing.assertNoResult(d)
    clock.advance(1)
    print(testing.failureResultOf(d).type.__name__)
    ```

    This prints TimeoutError.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._number = 0
        self._calls: list[tuple[float, int, _DelayedCall]] = []
        self._cancelled = 0

    def seconds(self) -> float:
        """Return the current time."""
        return self._now

    def callLater(
        self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> _DelayedCall:
        """Call a function after so many seconds.

        Raises ValueError for a negative delay.
        """
        if not delay >= 0:
            raise ValueError(f"delay has to be zero or more, not {delay!r}")
        call = _DelayedCall(self, self._now + delay, function, args, kwargs)
        # Calls at the same time are made in the order in which they were requested.
        self._number += 1
        heapq.heappush(self._calls, (call.time, self._number, call))
        return call

    def advance(self, seconds: float) -> None:
        """Advance the time, and make all calls that are due, in the order of their times.

        Calls that these request are made, too, if they are due. While they run, the time is already
        the final one. If a call raises, the exception propagates; the remaining calls wait for the
        next `advance`.
        """
        # At the recursion limit, a call must not be removed if it cannot be made.
        _deferrous._check_depth()
        self._now += seconds
        while self._calls and self._calls[0][0] <= self._now:
            call = heapq.heappop(self._calls)[2]
            if call.active():
                call._call()
            else:
                self._cancelled -= 1

    def pump(self, timings: Iterable[float]) -> None:
        """Advance by each of these amounts in turn."""
        for seconds in timings:
            self.advance(seconds)

    def getDelayedCalls(self) -> list[_DelayedCall]:
        """Return the pending calls, the next one first."""
        return [call for _, _, call in sorted(self._calls) if call.active()]

    def _forget(self) -> None:
        """If most of the calls have been cancelled, remove them."""
        if 2 * self._cancelled > len(self._calls):
            self._calls = [each for each in self._calls if each[2]._what is not None]
            heapq.heapify(self._calls)
            self._cancelled = 0


class _DelayedCall:
    """The result of `Clock.callLater`."""

    def __init__(
        self,
        clock: Clock,
        time: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._clock = clock
        self.time = time
        self._what: tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]] | None = (
            function,
            args,
            kwargs,
        )

    def active(self) -> bool:
        """Return whether the call is still pending."""
        return self._what is not None

    def getTime(self) -> float:
        """Return the time of the call."""
        return self.time

    def cancel(self) -> None:
        """Cancel the call. Raises ValueError if it has been made or cancelled."""
        if self._what is None:
            raise ValueError("the call has come already, or was cancelled before")
        self._what = None
        clock = self._clock
        clock._cancelled += 1
        if clock._cancelled > 64:
            clock._forget()

    def _call(self) -> None:
        assert self._what is not None
        (function, args, kwargs), self._what = self._what, None
        function(*args, **kwargs)


class DeferredAssertions:
    """The assertions of this module as methods, for a `unittest.TestCase`.

    ```python
    import unittest
    from deferrous import succeed, testing


    class TestPage(testing.DeferredAssertions, unittest.TestCase):
        def test_title(self):
            self.assertEqual(self.successResultOf(succeed("title")), "title")
    ```
    """

    if TYPE_CHECKING:
        # Type checkers lose the type variables of functions that are assigned below.
        @staticmethod
        def successResultOf(deferred: Eventual[_T]) -> _T:
            """The same as the function of this name."""
            ...

        @staticmethod
        def failureResultOf(
            deferred: Eventual[Any], *expectedExceptionTypes: type[BaseException]
        ) -> Failure:
            """The same as the function of this name."""
            ...

        @staticmethod
        def assertNoResult(deferred: Eventual[Any]) -> None:
            """The same as the function of this name."""
            ...
    else:
        successResultOf = staticmethod(successResultOf)
        failureResultOf = staticmethod(failureResultOf)
        assertNoResult = staticmethod(assertNoResult)


def as_deferred(eventual: Any) -> Any:
    """Return a Deferred, ours or Twisted's, for an object that is one or can be run."""
    if isinstance(eventual, deferred_types()):
        return eventual
    return _deferrous.ensureDeferred(eventual)


def is_failure(result: object) -> bool:
    """Return whether a result is a Failure, ours or Twisted's."""
    theirs = getattr(sys.modules.get("twisted.python.failure"), "Failure", Failure)
    return isinstance(result, (Failure, theirs))


def format_failure(failure: Any) -> str:
    """Return the traceback of a Failure, including the exception's causes."""
    value = failure.value
    if isinstance(value, BaseException):
        try:
            lines = traceback.format_exception(type(value), value, failure.getTracebackObject())
            return "".join(lines).rstrip("\n")
        except Exception:
            # The module traceback cannot format an exception or Failure of this kind.
            pass
    return str(failure.getTraceback()).rstrip("\n")


def _take(deferred: Any) -> list[Any]:
    """Take the result of a Deferred: a list, which is empty if there is none."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def _ignore(_: object) -> None:
    pass


def _name_of_type(kind: Any) -> str:
    if not isinstance(kind, type):
        return str(kind)
    return kind.__qualname__ if kind.__module__ == "builtins" else qual(kind)


for _object in (WrongThreadError, WrongThreadWarning, adopt, checkThreads):
    # Public names belong to the public module.
    _object.__module__ = __name__
del _object
