"""Code that type checkers must reject. Each line names the error of mypy and that of pyright."""

from collections.abc import Generator
from typing import Any

import deferrous as defer
from deferrous import (
    Deferred,
    DeferredFilesystemLock,
    DeferredList,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    Failure,
)


def of_str(x: str) -> int: ...  # type: ignore[empty-body]
def of_two(x: str, y: int) -> int: ...  # type: ignore[empty-body]
def no_generator(x: int) -> int: ...  # type: ignore[empty-body]
def deferred(x: str) -> Deferred[int]: ...  # type: ignore[empty-body]


def firing(d: Deferred[str]) -> None:
    d.callback(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    d.callback()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    d.errback("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    defer.fail("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Deferred(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def chaining(d: Deferred[int], text: Deferred[str]) -> None:
    d.addCallback(of_str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addCallback(of_two)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    text.addCallback(of_two, "1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addCallback(of_two, z=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    text.addCallback(of_str, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    text.addCallback(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addErrback(of_str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addBoth(of_str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addCallbacks(of_str, of_str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addCallbacks(of_two)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addCallback(of_str).addCallback(of_str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addCallback(deferred).addCallback(of_str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    text.addTimeout(3, object())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    DeferredFilesystemLock("name", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    text.chainDeferred(d)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def results(d: Deferred[int]) -> Deferred[str]:
    return d.addCallback(bin).addCallback(len)  # type: ignore[call-overload, no-any-return]  # pyright: ignore[reportReturnType]


async def awaiting(d: Deferred[int]) -> str:
    return await d  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def generators() -> None:
    defer.inlineCallbacks(no_generator)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    defer.ensureDeferred(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Deferred.fromCoroutine(defer.succeed(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    defer.maybeDeferred(of_two, "x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    defer.execute(of_str, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@defer.inlineCallbacks
def decorated(x: int) -> Generator[Deferred[Any], Any, str]:
    yield defer.succeed(x)
    return ""


def calls() -> Deferred[int]:
    decorated("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return decorated(1)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def gathering(ds: list[Deferred[int]]) -> None:
    DeferredList([1, 2])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    defer.gatherResults([1, 2])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    defer.race([1, 2])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wrong: Deferred[list[str]] = defer.gatherResults(ds)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    first: Deferred[list[tuple[bool, int]]] = DeferredList(ds, True)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert wrong or first


def concurrency(queue: DeferredQueue[int]) -> None:
    queue.put("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    queue.pending = ["x"]  # type: ignore[list-item]  # pyright: ignore[reportAttributeAccessIssue]
    DeferredSemaphore()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    DeferredSemaphore("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    DeferredLock().run(of_two, "x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    DeferredQueue[int](size="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def failures(failure: Failure) -> str:
    Failure("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(defer.no_such_name)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    failure.check(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    failure.trap(of_str)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    failure.type = 3  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    return failure.trap(ValueError)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
