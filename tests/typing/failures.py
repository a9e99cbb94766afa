"""Failures."""

from types import TracebackType
from typing import Any

from deferrous import Failure
from deferrous import failure as module
from typing_extensions import assert_type


def made(error: BaseException, tb: TracebackType) -> None:
    Failure()
    Failure(error)
    Failure(error, type(error), tb)
    Failure(exc_value=error, exc_tb=tb, captureVars=True)


def attributes(failure: Failure) -> None:
    assert_type(failure.value, Any)
    assert_type(failure.type, type[BaseException])
    assert_type(failure.tb, TracebackType | None)
    assert_type(failure.captureVars, bool)
    assert_type(failure.count, int)
    assert_type(failure.parents, list[Any])
    for name, file, line, _, _ in failure.frames:
        assert_type(name, str)
        assert_type(file, str)
        assert_type(line, int)


def asked(failure: Failure, kinds: list[type[OSError]]) -> None:
    assert_type(failure.check(ValueError), type[ValueError] | None)
    assert_type(failure.trap(ValueError), type[ValueError])
    assert_type(failure.check(*kinds), type[OSError] | None)
    assert_type(failure.check("builtins.ValueError"), str | None)
    assert_type(failure.trap("builtins.ValueError"), str)
    assert_type(failure.trap(ValueError, "x.Y"), type[ValueError] | str)
    # Of several, what they have in common.
    several: type[Exception] | None = failure.check(ValueError, KeyError)
    trapped: type[Exception] = failure.trap(ValueError, KeyError)
    assert several or trapped


def raised(failure: Failure) -> int:
    failure.raiseException()


def told(failure: Failure) -> None:
    assert_type(failure.getErrorMessage(), str)
    assert_type(failure.getTraceback(), str)
    assert_type(failure.getTraceback(detail="verbose"), str)
    assert_type(failure.getBriefTraceback(), str)
    assert_type(failure.cleanFailure(), None)
    failure.printTraceback()
    failure.printBriefTraceback()
    failure.printDetailedTraceback()


def caught() -> None:
    try:
        pass
    except Failure as failure:
        assert_type(failure, Failure)


def functions() -> None:
    assert_type(module.startDebugMode(), None)
    assert_type(module.count, int)
    module.format_frames([], print, detail="brief")
    assert issubclass(module.NoCurrentExceptionError, Exception)
    assert issubclass(module.DefaultException, Exception)
