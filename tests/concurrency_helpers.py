"""Helpers for several tests of `deferrous.concurrency`."""

from __future__ import annotations

import builtins
import sys
import threading

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


def held(lock, *waiting):
    """An acquired lock, and those that wait for it."""
    lock.acquire()
    return [each.acquire() for each in waiting]


#: A limit of the nesting of calls.
LIMIT = 200


def below(calls, function):
    """Call a function within so many calls."""
    return below(calls - 1, function) if calls else function()


def near_the_limit(make):
    """What has gone wrong with an operation at any distance from the recursion limit."""
    operate, state = make()
    before = state()
    operate()
    after, wrong = state(), []
    for calls in range(LIMIT - 60, LIMIT):
        operate, state = make()
        limit, raised = sys.getrecursionlimit(), None
        sys.setrecursionlimit(LIMIT)
        try:
            below(calls, operate)
        except RecursionError:
            raised = True
        finally:
            sys.setrecursionlimit(limit)
        if raised and state() == before:
            operate()
        if state() != after:
            wrong.append((calls, raised, state()))
    return wrong


def wrong_near_the_limit(make):
    """The same, on a thread: there it is known how many calls there are already."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(near_the_limit(make)))
    thread.start()
    thread.join()
    return found
