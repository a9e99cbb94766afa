"""Assertions about what a Deferred has come to, and a clock, for tests that wait for nothing.

The assertions take Deferreds, and coroutines and generators, which they run as far as these get.
They raise AssertionError, so they work with any test framework; `DeferredAssertions` has them as
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
from .failure import Failure

__all__ = ["Clock", "DeferredAssertions", "assertNoResult", "failureResultOf", "successResultOf"]

# unittest leaves the frames of a module with this name out of the tracebacks that it shows.
__unittest = True

_T = TypeVar("_T")

#: What has, or will have, a result.
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
    """A clock that stands still, until a test says how much time has passed.

    It is taken wherever a reactor or an asyncio loop is taken as a clock: by `addTimeout`, and by
    what `deferrous.concurrency` has that takes time.

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
        """Return the time."""
        return self._now

    def callLater(
        self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> _DelayedCall:
        """Have a function called when so many seconds have passed.

        Raises ValueError if that is in the past.
        """
        if not delay >= 0:
            raise ValueError(f"delay has to be zero or more, not {delay!r}")
        call = _DelayedCall(self, self._now + delay, function, args, kwargs)
        # Of those at one time, the first that was asked for is first.
        self._number += 1
        heapq.heappush(self._calls, (call.time, self._number, call))
        return call

    def advance(self, seconds: float) -> None:
        """Let time pass, and call all that is due, in the order of their times.

        What these ask for is called, too, if it is due then. To them, all the time has passed.
        What one of them raises comes out of this; the others wait for the next `advance`.
        """
        # At the recursion limit, none is taken out of line that could not be called.
        _deferrous._check_depth()
        self._now += seconds
        while self._calls and self._calls[0][0] <= self._now:
            call = heapq.heappop(self._calls)[2]
            if call.active():
                call._call()
            else:
                self._cancelled -= 1

    def pump(self, timings: Iterable[float]) -> None:
        """Advance by each of these, one after the other."""
        for seconds in timings:
            self.advance(seconds)

    def getDelayedCalls(self) -> list[_DelayedCall]:
        """Return the calls that are to come, the next one first."""
        return [call for _, _, call in sorted(self._calls) if call.active()]

    def _forget(self) -> None:
        """Many were cancelled. Where these are most, they are let go."""
        if 2 * self._cancelled > len(self._calls):
            self._calls = [each for each in self._calls if each[2]._what is not None]
            heapq.heapify(self._calls)
            self._cancelled = 0


class _DelayedCall:
    """What `Clock.callLater` returns."""

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
        """Return whether the call is still to come."""
        return self._what is not None

    def getTime(self) -> float:
        """Return when the call is to come."""
        return self.time

    def cancel(self) -> None:
        """See to it that the call does not come. Raises ValueError if it has, or will not."""
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
        # Type checkers lose the type variable of what they are told below.
        @staticmethod
        def successResultOf(deferred: Eventual[_T]) -> _T:
            """Do what the function of this name does."""
            ...

        @staticmethod
        def failureResultOf(
            deferred: Eventual[Any], *expectedExceptionTypes: type[BaseException]
        ) -> Failure:
            """Do what the function of this name does."""
            ...

        @staticmethod
        def assertNoResult(deferred: Eventual[Any]) -> None:
            """Do what the function of this name does."""
            ...
    else:
        successResultOf = staticmethod(successResultOf)
        failureResultOf = staticmethod(failureResultOf)
        assertNoResult = staticmethod(assertNoResult)


def as_deferred(eventual: Any) -> Any:
    """Return a Deferred for what is one, ours or Twisted's, or is to be run to become one."""
    if isinstance(eventual, deferred_types()):
        return eventual
    return _deferrous.ensureDeferred(eventual)


def is_failure(result: object) -> bool:
    """Return whether a result is a Failure: ours, or Twisted's where that is in use, too."""
    theirs = getattr(sys.modules.get("twisted.python.failure"), "Failure", Failure)
    return isinstance(result, (Failure, theirs))


def format_failure(failure: Any) -> str:
    """Return the traceback of a Failure, with all that its exception says of its causes."""
    value = failure.value
    if isinstance(value, BaseException):
        try:
            lines = traceback.format_exception(type(value), value, failure.getTracebackObject())
            return "".join(lines).rstrip("\n")
        except Exception:
            # The exception, or the Failure, is of a kind that the module traceback does not know.
            pass
    return str(failure.getTraceback()).rstrip("\n")


def _take(deferred: Any) -> list[Any]:
    """Take what a Deferred holds now: a list, which is empty when it holds nothing."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def _ignore(_: object) -> None:
    pass


def _name_of_type(kind: Any) -> str:
    if not isinstance(kind, type):
        return str(kind)
    return kind.__qualname__ if kind.__module__ == "builtins" else qual(kind)
