"""Rows about failures: making, checking and formatting them."""

# Attributes are read here for what it costs.
# ruff: noqa: B018

from __future__ import annotations

import copy
import pickle
from io import StringIO
from itertools import repeat
from typing import Any

from ..rows import fails, ignore, trap_and_fail
from .table import Mistake, OtherMistake, failure_of, group, raised, reads

row = group("Failure")


@row("Failure.check, a base class", 5, of="Failure.check")
def check_base(defer: Any, n: int) -> None:
    failure = defer.Failure(Mistake())
    for _ in repeat(None, n):
        failure.check(ValueError)


@row("Failure.check, Exception", 5, of="Failure.check")
def check_exception(defer: Any, n: int) -> None:
    failure = defer.Failure(Mistake())
    for _ in repeat(None, n):
        failure.check(Exception)


@row("Failure.check, a miss", 5, of="Failure.check")
def check_miss(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError)


@row("Failure.check, a miss of a program's own", 5, of="Failure.check")
def check_own_miss(defer: Any, n: int) -> None:
    failure = defer.Failure(Mistake())
    for _ in repeat(None, n):
        failure.check(OtherMistake)


@row("Failure.check, five misses", 5, of="Failure.check")
def check_five(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError, OSError, TypeError, IndexError, OtherMistake)


@row("Failure.check, the second of two", 5, of="Failure.check")
def check_second(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError, ValueError)


@row("Failure.check, a miss, then a hit", 5, of="Failure.check")
def check_twice(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError)
        failure.check(ValueError)


@row("Failure.check, a class that is no Exception", 5, of="Failure.check")
def check_no_exception(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyboardInterrupt)


@row("Failure.check, by name", 5, of="Failure.check")
def check_name(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check("builtins.ValueError")


@row("Failure.check, by name, a miss", 5, of="Failure.check")
def check_name_miss(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check("builtins.KeyError")


@row("Failure.check, each time of a new Failure", 5, of="Failure.check")
def check_new(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error).check(KeyError, OSError)


@row("Failure.check, a subclass of Failure", 5, of="Failure.check")
def check_subclass(defer: Any, n: int) -> None:
    class Subclass(defer.Failure):
        pass

    failure = Subclass(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError, ValueError)


@row("Failure.check, with its names kept", 2, of="Failure.check")
def check_kept(defer: Any, n: int) -> None:
    failure = pickle.loads(pickle.dumps(defer.Failure(ValueError())))
    for _ in repeat(None, n):
        failure.check(KeyError, ValueError)


@row("Failure.trap, a base class", 5, of="Failure.trap")
def trap_base(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap(Exception)


@row("Failure.trap, the second of two", 5, of="Failure.trap")
def trap_second(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap(KeyError, ValueError)


@row("Failure.trap, by name", 5, of="Failure.trap")
def trap_name(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap("builtins.ValueError")


@row("Failure.trap, a miss: raised again, caught", 3, of="Failure.trap")
def trap_miss(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        try:
            failure.trap(KeyError)
        except ValueError:
            pass


@row("an errback that traps what it does not expect", 5)
def errback_miss(defer: Any, n: int) -> None:
    fail = defer.fail
    error = KeyError()
    for _ in repeat(None, n):
        fail(error).addErrback(trap_and_fail).addErrback(ignore)


@row("Failure() in an except clause, by keyword", 1, of="Failure.captureVars")
def failure_named(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        fails()
    except ValueError:
        for _ in repeat(None, n):
            Failure(captureVars=False)


@row("Failure of an exception", 2)
def failure_of_exception(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error)


@row("Failure of three arguments")
def failure_of_three(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error, ValueError, None)


@row("Failure of a Failure")
def failure_of_failure(defer: Any, n: int) -> None:
    Failure = defer.Failure
    failure = Failure(ValueError())
    for _ in repeat(None, n):
        Failure(failure)


@row("a subclass of Failure, made")
def failure_subclass(defer: Any, n: int) -> None:
    class Subclass(defer.Failure):
        pass

    error = ValueError()
    for _ in repeat(None, n):
        Subclass(error)


@row("Failure.value, type and tb", of="Failure.value Failure.type Failure.tb")
def failure_value(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.value
        failure.type
        failure.tb


@row(
    "Failure.count, captureVars and pickled", of="Failure.count Failure.captureVars Failure.pickled"
)
def failure_count(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.count
        failure.captureVars
        failure.pickled


@row("Failure.value, set")
def failure_set(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    error = ValueError()
    for _ in repeat(None, n):
        failure.value = error


@row("an attribute of a Failure, set and read")
def failure_attribute(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.request = None
        failure.request


@row("Failure.__dict__", of="Failure.__dict__")
def failure_dict(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.__dict__


@row("Failure.__dict__ of a new Failure", of="Failure.__dict__")
def failure_new_dict(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error).__dict__


@row("Failure.parents, each time of a new Failure", of="Failure.parents")
def failure_new_parents(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = Mistake()
    for _ in repeat(None, n):
        Failure(error).parents


@row("Failure.parents, again", of="Failure.parents")
def failure_parents(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.parents


@row("Failure.frames, three, each time of a new Failure", of="Failure.frames")
def failure_new_frames(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        raised(2)
    except ValueError:
        for _ in repeat(None, n):
            Failure().frames


@row("Failure.frames, again", of="Failure.frames")
def failure_frames(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.frames


@row("Failure.frames with variables, of a new Failure", of="Failure.frames")
def failure_variables(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        raised(2)
    except ValueError:
        for _ in repeat(None, n):
            Failure(captureVars=True).frames


@row("Failure.stack", of="Failure.stack")
def failure_stack(defer: Any, n: int) -> None:
    import warnings

    failure = failure_of(defer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in repeat(None, n):
            failure.stack


@row("Failure.raiseException, caught", of="Failure.raiseException")
def failure_raise(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        try:
            failure.raiseException()
        except ValueError:
            pass
        # Or the traceback grows with each.
        failure.value.__traceback__ = None


@row("Failure.throwExceptionIntoGenerator", of="Failure.throwExceptionIntoGenerator")
def failure_throw(defer: Any, n: int) -> None:
    def generator():
        while True:
            try:
                yield
            except ValueError:
                pass

    failure = defer.Failure(ValueError())
    suspended = generator()
    next(suspended)
    for _ in repeat(None, n):
        failure.throwExceptionIntoGenerator(suspended)
        failure.value.__traceback__ = None


@row("Failure.getErrorMessage", of="Failure.getErrorMessage")
def failure_message(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getErrorMessage()


@row("repr of a Failure", of="Failure.__repr__")
def failure_repr(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        repr(failure)


@row("str of a Failure", of="Failure.__str__")
def failure_str(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        str(failure)


@row("Failure.getBriefTraceback", of="Failure.getBriefTraceback")
def failure_brief(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getBriefTraceback()


@row("Failure.getTraceback", of="Failure.getTraceback")
def failure_traceback(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getTraceback()


@row("Failure.getTraceback, verbose", of="Failure.getTraceback")
def failure_verbose(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getTraceback(detail="verbose")


@row("Failure.getTraceback, ten frames", of="Failure.getTraceback")
def failure_traceback_10(defer: Any, n: int) -> None:
    failure = failure_of(defer, 9)
    for _ in repeat(None, n):
        failure.getTraceback()


@row("Failure.printTraceback", of="Failure.printTraceback")
def failure_print(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.printTraceback(StringIO())


@row("Failure.printBriefTraceback", of="Failure.printBriefTraceback")
def failure_print_brief(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.printBriefTraceback(StringIO())


@row("Failure.printDetailedTraceback", of="Failure.printDetailedTraceback")
def failure_print_detailed(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.printDetailedTraceback(StringIO())


@row("format_frames, of three", of="format_frames")
def frames_formatted(defer: Any, n: int) -> None:
    format_frames = defer.failure.format_frames
    frames = failure_of(defer, 2).frames
    for _ in repeat(None, n):
        format_frames(frames, reads)


@row("Failure.getTracebackObject", of="Failure.getTracebackObject")
def failure_object(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getTracebackObject()


@row("Failure.getTracebackObject of a cleaned one", of="Failure.getTracebackObject")
def failure_stand_in(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    failure.cleanFailure()
    for _ in repeat(None, n):
        failure.getTracebackObject()


@row("Failure.cleanFailure of a new Failure", of="Failure.cleanFailure")
def failure_clean(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error).cleanFailure()


@row("copy.copy of a Failure", of="Failure.__reduce__ Failure.__getstate__ Failure.__setstate__")
def failure_copy(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        copy.copy(failure)


@row(
    "pickle a Failure, and back", of="Failure.__reduce__ Failure.__getstate__ Failure.__setstate__"
)
def failure_pickle(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        pickle.loads(pickle.dumps(failure))


@row("startDebugMode", of="startDebugMode")
def debug_mode_of_failures(defer: Any, n: int) -> None:
    Failure, start = defer.Failure, defer.failure.startDebugMode
    before = vars(Failure).get("__init__")
    for _ in repeat(None, n):
        start()
    if before is None:
        del Failure.__init__
    else:
        Failure.__init__ = before
