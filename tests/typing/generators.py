"""The types inferred for `inlineCallbacks` functions and coroutines."""

from collections.abc import Generator
from typing import Any

import deferrous as defer
from deferrous import Deferred, Failure, inlineCallbacks
from typing_extensions import assert_type


@inlineCallbacks
def generator(x: int, *, y: str = "") -> Generator[Deferred[Any], Any, bytes]:
    yield defer.succeed(x)
    return y.encode()


@inlineCallbacks
def of_one_type() -> Generator[Deferred[int], int, str]:
    result = yield defer.succeed(1)
    assert_type(result, int)
    return str(result)


@inlineCallbacks
def delegating(d: Deferred[int]) -> Generator[Deferred[Any], Any, str]:
    """`yield from` knows the type of the result, where `yield` cannot."""
    number = yield from d
    assert_type(number, int)
    text = yield from d.addCallback(str)
    assert_type(text, str)
    return text


@inlineCallbacks
def of_anything() -> Generator[object, Any, None]:
    yield 1
    yield coroutine(1)


@inlineCallbacks
def old_fashioned() -> Generator[Deferred[Any], Any, None]:
    yield defer.succeed(None)
    defer.returnValue(3)


class Service:
    @inlineCallbacks
    def method(self, x: int) -> Generator[Deferred[Any], Any, str]:
        yield generator(x)
        return ""


async def coroutine(x: int) -> str:
    assert_type(await generator(x), bytes)
    assert_type(await defer.gatherResults([generator(x)]), list[bytes])
    return ""


def plain_generator() -> Generator[Deferred[int], Any, float]:
    yield defer.succeed(1)
    return 1.0


def check(service: Service, d: Deferred[int]) -> None:
    assert_type(generator(1), Deferred[bytes])
    assert_type(generator(1, y="y"), Deferred[bytes])
    assert_type(of_one_type(), Deferred[str])
    assert_type(delegating(d), Deferred[str])
    assert_type(of_anything(), Deferred[None])
    assert_type(old_fashioned(), Deferred[None])
    assert_type(service.method(1), Deferred[str])
    assert_type(Service.method(service, 1), Deferred[str])

    assert_type(defer.ensureDeferred(coroutine(1)), Deferred[str])
    assert_type(defer.ensureDeferred(plain_generator()), Deferred[float])
    assert_type(defer.ensureDeferred(d), Deferred[int])
    assert_type(Deferred.fromCoroutine(coroutine(1)), Deferred[str])
    assert_type(Deferred.fromCoroutine(plain_generator()), Deferred[float])
    assert_type(defer.maybeDeferred(coroutine, 1), Deferred[str])
    assert_type(defer.maybeDeferred(generator, 1, y="y"), Deferred[bytes])
    assert_type(d.addCallback(generator), Deferred[bytes])
    assert_type(d.addCallback(generator, y="y"), Deferred[bytes])
    assert_type(d.addCallback(service.method), Deferred[str])


def thrown(failure: Failure) -> None:
    assert_type(failure.throwExceptionIntoGenerator(plain_generator()), Deferred[int])
