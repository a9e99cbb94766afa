"""Deferreds and futures, and help for tests."""

import asyncio
import concurrent.futures

import deferrous
from deferrous import Deferred, Failure
from deferrous.testing import assertNoResult, failureResultOf, successResultOf
from typing_extensions import assert_type


def to_future(d: Deferred[int], loop: asyncio.AbstractEventLoop) -> None:
    assert_type(d.asFuture(loop), asyncio.Future[int])


def from_future(
    future: asyncio.Future[int],
    task: asyncio.Task[str],
    other: concurrent.futures.Future[bytes],
    loop: asyncio.AbstractEventLoop,
) -> None:
    assert_type(Deferred.fromFuture(future), Deferred[int])
    assert_type(Deferred.fromFuture(task), Deferred[str])
    assert_type(Deferred.fromFuture(other, loop), Deferred[bytes])
    assert_type(Deferred.fromFuture(other, scheduler=lambda f: f()), Deferred[bytes])


async def in_a_task(d: Deferred[int], future: asyncio.Future[str]) -> None:
    async def waiting() -> int:
        return await d

    assert_type(await asyncio.create_task(waiting()), int)
    assert_type(await future, str)


async def coroutine() -> str: ...  # type: ignore[empty-body]


def tested(d: Deferred[int]) -> None:
    assert_type(successResultOf(d), int)
    assert_type(successResultOf(coroutine()), str)
    assert_type(failureResultOf(d), Failure)
    assert_type(failureResultOf(d, ValueError, KeyError), Failure)
    assert_type(assertNoResult(d), None)


def put_in_place() -> None:
    assert_type(deferrous.installed(), bool)
    try:
        assert_type(deferrous.install(), None)
    except deferrous.InstallError:
        assert_type(deferrous.__version__, str)
