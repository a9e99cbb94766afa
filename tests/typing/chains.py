"""The types inferred for chains of callbacks."""

from collections.abc import Coroutine
from typing import Any, NoReturn

import deferrous as defer
from deferrous import Deferred, Failure
from twisted.internet.defer import Deferred as TwistedDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from typing_extensions import Never, assert_type


def plain(x: str) -> int: ...  # type: ignore[empty-body]
def optional(x: str) -> int | None: ...
def deferred(x: str) -> Deferred[int]: ...  # type: ignore[empty-body]
def failing(x: str) -> Failure: ...  # type: ignore[empty-body]
def raising(x: str) -> NoReturn: ...  # type: ignore[empty-body]
def nothing(x: str) -> None: ...
def anything(x: str) -> Any: ...
def coroutine(x: str) -> Coroutine[Any, Any, int]: ...  # type: ignore[empty-body]
def theirs(x: str) -> TwistedDeferred[int]: ...  # type: ignore[empty-body]
def deferred_or_failure(x: str) -> Deferred[int] | Failure: ...  # type: ignore[empty-body]
def plain_or_failure(x: str) -> int | Failure: ...  # type: ignore[empty-body]
def plain_or_deferred(x: str) -> int | Deferred[int]: ...  # type: ignore[empty-body]
def any_of_three(x: str) -> int | Deferred[int] | Failure: ...  # type: ignore[empty-body]
def deferred_or_none(x: str) -> Deferred[int] | None: ...
def deferred_or_other(x: str) -> Deferred[int] | bytes | Failure: ...  # type: ignore[empty-body]
def with_more(x: str, y: int, *, z: bytes = b"") -> float: ...  # type: ignore[empty-body]


class Handler:
    def method(self, x: str, y: int = 0) -> Deferred[bytes]: ...  # type: ignore[empty-body]
    def on_error(self, failure: Failure, note: str) -> int: ...  # type: ignore[empty-body]


def callbacks(d: Deferred[str], handler: Handler) -> None:
    assert_type(d.addCallback(plain), Deferred[int])
    assert_type(d.addCallback(optional), Deferred[int | None])
    assert_type(d.addCallback(deferred), Deferred[int])
    assert_type(d.addCallback(failing), Deferred[Never])
    assert_type(d.addCallback(nothing), Deferred[None])
    assert_type(d.addCallback(anything), Deferred[Any])
    assert_type(d.addCallback(coroutine), Deferred[Coroutine[Any, Any, int]])
    assert_type(d.addCallback(theirs), Deferred[int])
    assert_type(d.addCallback(deferred_or_failure), Deferred[int])
    assert_type(d.addCallback(plain_or_failure), Deferred[int])
    assert_type(d.addCallback(plain_or_deferred), Deferred[int])
    assert_type(d.addCallback(any_of_three), Deferred[int])
    assert_type(d.addCallback(deferred_or_none), Deferred[int | None])

    assert_type(d.addCallback(with_more, 1), Deferred[float])
    assert_type(d.addCallback(with_more, 1, z=b"z"), Deferred[float])
    assert_type(d.addCallback(with_more, y=1, z=b"z"), Deferred[float])
    assert_type(d.addCallback(handler.method), Deferred[bytes])
    assert_type(d.addCallback(handler.method, 1), Deferred[bytes])

    assert_type(d.addCallback(len), Deferred[int])
    assert_type(d.addCallback(str.upper), Deferred[str])
    assert_type(d.addCallback(int), Deferred[int])
    assert_type(d.addCallback(list), Deferred[list[str]])
    assert_type(d.addCallback(print), Deferred[None])
    assert_type(d.addCallback(defer.passthru), Deferred[str])

    assert_type(d.addCallback(lambda x: x), Deferred[str])
    assert_type(d.addCallback(lambda x: len(x)), Deferred[int])
    assert_type(d.addCallback(lambda _: None), Deferred[None])
    assert_type(d.addCallback(lambda x: deferred(x)), Deferred[int])
    assert_type(d.addCallback(lambda x: deferred(x).addCallback(str)), Deferred[str])
    assert_type(d.addCallback(lambda x: deferred(x) if x else None), Deferred[int | None])
    assert_type(d.addCallback(lambda x: Failure() if x else 1), Deferred[int])

    assert_type(
        d.addCallback(len).addCallback(float).addCallback(lambda x: x.hex()),
        Deferred[str],
    )


def errbacks(d: Deferred[str], handler: Handler) -> None:
    def recover(failure: Failure) -> int: ...  # type: ignore[empty-body]
    def retry(failure: Failure) -> Deferred[bytes]: ...  # type: ignore[empty-body]
    def retry_same(failure: Failure) -> Deferred[str] | Failure: ...  # type: ignore[empty-body]
    def retry_or_none(failure: Failure) -> Deferred[bytes] | None: ...
    def pass_on(failure: Failure) -> Failure: ...  # type: ignore[empty-body]

    assert_type(d.addErrback(recover), Deferred[str | int])
    assert_type(d.addErrback(retry), Deferred[str | bytes])
    assert_type(d.addErrback(retry_same), Deferred[str])
    assert_type(d.addErrback(retry_or_none), Deferred[str | bytes | None])
    assert_type(d.addErrback(pass_on), Deferred[str])
    assert_type(d.addErrback(defer.logError), Deferred[str])
    assert_type(d.addErrback(lambda _: None), Deferred[str | None])
    assert_type(d.addErrback(lambda f: f.getErrorMessage()), Deferred[str])
    assert_type(d.addErrback(handler.on_error, "note"), Deferred[str | int])
    assert_type(d.addCallback(failing).addErrback(recover), Deferred[int])


def both(d: Deferred[str]) -> None:
    def either(result: str | Failure) -> int: ...  # type: ignore[empty-body]
    def again(result: str | Failure, times: int) -> Deferred[bytes]: ...  # type: ignore[empty-body]

    assert_type(d.addBoth(either), Deferred[int])
    assert_type(d.addBoth(again, 3), Deferred[bytes])
    assert_type(d.addBoth(lambda x: x), Deferred[str])
    assert_type(d.addBoth(lambda _: 3), Deferred[int])
    assert_type(d.addBoth(print), Deferred[None])
    assert_type(d.addBoth(defer.passthru), Deferred[str])


def pairs(d: Deferred[str], other: Deferred[str]) -> None:
    def recover(failure: Failure) -> bytes: ...  # type: ignore[empty-body]
    def retry(failure: Failure) -> Deferred[bytes]: ...  # type: ignore[empty-body]
    def pass_on(failure: Failure) -> Failure: ...  # type: ignore[empty-body]
    def with_note(failure: Failure, note: str) -> bytes: ...  # type: ignore[empty-body]

    assert_type(d.addCallbacks(plain), Deferred[int])
    assert_type(d.addCallbacks(deferred), Deferred[int])
    assert_type(d.addCallbacks(deferred_or_none), Deferred[int | None])
    assert_type(d.addCallbacks(plain, recover), Deferred[int | bytes])
    assert_type(d.addCallbacks(plain, retry), Deferred[int | bytes])
    assert_type(d.addCallbacks(deferred, recover), Deferred[int | bytes])
    assert_type(d.addCallbacks(deferred, retry), Deferred[int | bytes])
    assert_type(d.addCallbacks(deferred, pass_on), Deferred[int])
    assert_type(d.addCallbacks(plain, errback=pass_on), Deferred[int])
    assert_type(d.addCallbacks(lambda x: len(x), lambda f: f), Deferred[int])
    assert_type(
        d.addCallbacks(with_more, with_note, (1,), {"z": b"z"}, errbackArgs=("note",)),
        Deferred[Any],
    )
    assert_type(d.addCallbacks(with_more, callbackArgs=(1,)), Deferred[Any])
    assert_type(d.addCallbacks(with_more, callbackKeywords={"y": 1}), Deferred[Any])
    assert_type(d.addCallbacks(plain, with_note, errbackArgs=("note",)), Deferred[Any])
    assert_type(d.addCallbacks(plain, with_note, errbackKeywords={"note": ""}), Deferred[Any])
    assert_type(d.addCallbacks(with_more, None, (1,), None, None, None), Deferred[Any])
    assert_type(d.addCallbacks(other.callback, other.errback), Deferred[None])
    assert_type(d.chainDeferred(other), Deferred[None])


def timeouts(d: Deferred[str], clock: Clock, reactor: IReactorTime) -> None:
    def replace(result: str | Failure, seconds: float) -> int: ...  # type: ignore[empty-body]
    def pass_on(result: str | Failure, seconds: float) -> str | Failure: ...  # type: ignore[empty-body]

    assert_type(d.addTimeout(3, clock), Deferred[str])
    assert_type(d.addTimeout(3, reactor), Deferred[str])
    assert_type(d.addTimeout(3, clock, replace), Deferred[str | int])
    assert_type(d.addTimeout(3, clock, onTimeoutCancel=pass_on), Deferred[str])


def state(d: Deferred[str]) -> None:
    assert_type(d.called, bool)
    assert_type(d.paused, int)
    assert_type(d.result, str | Failure)
    assert_type(d.callback("result"), None)
    assert_type(d.callback(Failure(ValueError())), None)
    assert_type(d.errback(), None)
    assert_type(d.errback(ValueError()), None)
    assert_type(d.errback(fail=Failure()), None)
    assert_type(d.pause(), None)
    assert_type(d.unpause(), None)
    assert_type(d.cancel(), None)
    assert_type(Deferred.debug, bool)


def made() -> None:
    first: Deferred[int] = Deferred()
    second: Deferred[int] = Deferred(lambda d: d.callback(1))
    third = Deferred[str](canceller=lambda d: d.errback(ValueError()))
    assert_type(third, Deferred[str])
    assert_type(first.addCallback(lambda x: second), Deferred[int])


def returned(d: Deferred[str], really: bool) -> Deferred[int]:
    """What is expected is taken into account."""
    if really:
        return d.addCallback(failing)
    return d.addCallback(raising)


def returned_wider(d: Deferred[str]) -> Deferred[int | None]:
    return d.addCallback(plain)


class Request(Deferred[bytes]):
    """A subclass, as programs have them."""

    def __init__(self, path: str) -> None:
        super().__init__(self.stop)
        self.path = path

    def stop(self, d: Deferred[Any]) -> None: ...


def subclass(request: Request) -> None:
    assert_type(request.addCallback(len), Deferred[int])
    assert_type(request.path, str)


async def awaited(d: Deferred[str], request: Request) -> None:
    assert_type(await d, str)
    assert_type(await request, bytes)
    assert_type(await d.addCallback(deferred).addErrback(lambda _: None), int | None)


def fired() -> None:
    assert_type(defer.succeed(1), Deferred[int])
    assert_type(defer.fail(), Deferred[Any])
    assert_type(defer.fail(ValueError()), Deferred[Any])
    assert_type(defer.fail(Failure()), Deferred[Any])
    assert_type(defer.execute(plain, "x"), Deferred[int])
    assert_type(defer.maybeDeferred(plain, "x"), Deferred[int])
    assert_type(defer.maybeDeferred(deferred, "x"), Deferred[int])
    assert_type(defer.maybeDeferred(coroutine, x="x"), Deferred[int])
    assert_type(defer.maybeDeferred(failing, "x"), Deferred[Never])
    assert_type(defer.maybeDeferred(any_of_three, "x"), Deferred[int])
    assert_type(defer.maybeDeferred(deferred_or_none, "x"), Deferred[int | None])
    assert_type(defer.maybeDeferred(with_more, "x", 1, z=b""), Deferred[float])
    assert_type(defer.maybeDeferred(lambda: 3), Deferred[int])
    assert_type(defer.passthru(1), int)
    assert_type(defer.getDebugging(), bool)
    assert_type(defer.setDebugging(True), None)
    defer.timeout(defer.succeed(1))


def later_or_other(d: Deferred[str]) -> Deferred[int | bytes]:
    # In which order a union is inferred is for the checker to choose.
    return d.addCallback(deferred_or_other)


def pass_to(d: Deferred[str], callback: defer.DeferredCallback) -> Deferred[Any]:
    errback: defer.DeferredErrback = callback
    return d.addCallbacks(callback, errback)
