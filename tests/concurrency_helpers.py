"""What several tests of `deferrous.concurrency` use."""

from __future__ import annotations

import builtins

import deferrous as defer

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
