"""What several tests of `deferrous.concurrency` use."""

from __future__ import annotations

import builtins

import deferrous as defer
from deferrous import CancelledError, Failure

#: What a group of tasks raises where several of them have failed.
GROUP = getattr(builtins, "ExceptionGroup", defer.FailureGroup)


def errors_of(failure):
    """The types of the exceptions in what a group has raised."""
    error = failure.value
    assert type(error) is GROUP
    several = error.failures if GROUP is defer.FailureGroup else error.exceptions
    return [type(getattr(each, "value", each)) for each in several]


async def awaited(waitable):
    return await waitable


def result_of(deferred):
    """What a Deferred has come to; of a failure, the exception. None if nothing has."""
    found = []
    deferred.addBoth(found.append)
    [result] = found or [None]
    return result.value if isinstance(result, Failure) else result


def raising(_):
    raise KeyError("canceller")


def ends(deferreds):
    """Whether all have ended, and nobody's failure is left."""
    return [isinstance(result_of(each), CancelledError) for each in deferreds]
