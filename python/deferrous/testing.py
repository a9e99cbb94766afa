"""Assertions about what a Deferred has come to, for tests that wait for nothing.

They take Deferreds, and coroutines and generators, which they run as far as these get. They raise
AssertionError, so they work with any test framework; `DeferredAssertions` has them as methods.
The pytest plugin is described in docs/testing.md.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from . import _deferrous
from ._reflect import qual, safe_repr
from ._waiting import deferred_types, describe, name_of
from .failure import Failure

__all__ = ["DeferredAssertions", "assertNoResult", "failureResultOf", "successResultOf"]

# unittest leaves the frames of a module with this name out of the tracebacks that it shows.
__unittest = True

_T = TypeVar("_T")

#: What has, or will have, a result.
Eventual: TypeAlias = _deferrous.Deferred[_T] | Coroutine[Any, Any, _T] | Generator[Any, Any, _T]


def successResultOf(deferred: Eventual[_T]) -> _T:
    """Return the result of a Deferred that has succeeded.

    The Deferred's result is None from then on.

    Raises AssertionError if it has failed, with the traceback, or has no result, with what it
    waits for. A failure counts as handled then. Raises NotACoroutineError for anything that is
    no Deferred, coroutine or generator.
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
    """Return the Failure of a Deferred that has failed; it counts as handled.

    If types of exceptions are given, it has to be of one of them.

    Raises AssertionError if it has succeeded, has failed with another exception (this failure,
    too, counts as handled), or has no result. Raises NotACoroutineError for anything that is no
    Deferred, coroutine or generator.
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
    """Make sure that a Deferred has no result yet.

    If so, it will have the same result later as without this.

    Raises AssertionError if it has one. A failure counts as handled then. Raises
    NotACoroutineError for anything that is no Deferred, coroutine or generator.
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


class DeferredAssertions:
    """The assertions of this module as methods, to be mixed into a `unittest.TestCase`."""

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
