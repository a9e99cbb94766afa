"""Deferreds and futures: the bodies of `Deferred.asFuture` and `Deferred.fromFuture`.

There are two kinds of futures. asyncio's call back in the thread of their loop, so their Deferreds
need nothing more. All others (`concurrent.futures.Future`, or any object with `cancel`, `result`
and `add_done_callback`) may call back in another thread. Deferreds are not made for that, so their
results are handed to the thread of a scheduler.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from types import MethodType
from typing import TYPE_CHECKING, Any

from . import _deferrous
from ._reasons import cancel_as, takes_reason
from .failure import Failure

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

__all__ = ["as_future", "from_future", "held_by_link", "passes_on_only", "wake_elsewhere"]

#: The interval for polling a future if there is only a clock, in seconds.
_POLL_INTERVAL = 0.01

#: Calls a function without arguments in the right thread.
_Post = Callable[[Callable[[], None]], object]
#: Makes a poster, given a function that tells whether the result is still wanted.
_Poster = Callable[[Callable[[], bool]], _Post]


def as_future(deferred: Any, loop: AbstractEventLoop) -> Future[Any]:
    """The body of `Deferred.asFuture`.

    The future takes the Deferred's result or failure: callbacks that are added afterwards get
    None. Cancelling the future cancels the Deferred.
    """
    link = _AsFuture(deferred, loop)
    deferred.addCallbacks(link.succeed, link.fail)
    link.future.add_done_callback(link.pass_on_cancellation)
    return link.future


class _AsFuture:
    """A Deferred, and the future made for it."""

    __slots__ = ("deferred", "future", "loop")

    def __init__(self, deferred: Any, loop: AbstractEventLoop) -> None:
        self.deferred = deferred
        self.loop = loop
        self.future = loop.create_future()

    @_deferrous._never_refused
    def succeed(self, result: Any) -> None:
        future, loop = self.future, self.loop
        if not future.cancelled():
            # Checked here as well, which saves two calls.
            if loop is _deferrous._running_loop():
                future.set_result(result)
            else:
                _finish(loop, future, future.set_result, result)

    @_deferrous._never_refused
    def fail(self, failure: Any) -> None:
        future = self.future
        if future.cancelled():
            return
        exception = _for_future(failure)
        try:
            _finish(self.loop, future, future.set_exception, exception)
        except Exception as error:
            # Somebody else has set its result, or its loop is closed.
            error.__context__ = exception
            raise

    def pass_on_cancellation(self, future: Future[Any]) -> None:
        if future.cancelled():
            cancelled = None
            try:
                future.result()
            except BaseException as error:
                # Its traceback would refer to this frame, and the frame to the traceback.
                cancelled = error.with_traceback(None)
            cancel_as(self.deferred, cancelled)


def passes_on_only(callback: Any) -> bool:
    """Return whether this is the callback of a future of `asFuture`, which passes on that the
    future was cancelled. It waits for nothing.
    """
    return type(callback) is MethodType and callback.__func__ is _AsFuture.pass_on_cancellation


def _finish(
    loop: AbstractEventLoop,
    future: Future[Any],
    method: Callable[[Any], None],
    value: Any,
) -> None:
    """Set the result of a future, in the thread of its loop."""
    if loop is not _deferrous._running_loop() and _runs_elsewhere(loop):
        # Futures belong to the thread of their loop, which otherwise would not wake up.
        loop.call_soon_threadsafe(lambda: None if future.cancelled() else method(value))
    else:
        method(value)


def _for_future(failure: Any) -> BaseException:
    """Return the exception of a failure in a form that a future accepts."""
    value = failure.value
    if isinstance(value, StopIteration):
        # A coroutine that awaits the future would take it for a result.
        error = RuntimeError(
            "StopIteration interacts badly with generators and cannot be raised into a Future"
        )
        error.__context__ = error.__cause__ = value
        return error
    if not isinstance(value, BaseException):
        # The failure is from another process, and decides itself what is raised.
        try:
            failure.throwExceptionIntoGenerator(_Thrower())
        except BaseException as raised:
            return raised.with_traceback(None)
    exception: BaseException = value
    return exception


class _Thrower:
    """An object with the `throw` method of generators."""

    def throw(self, exception: BaseException) -> None:
        raise exception


def from_future(cls: Any, future: Any, scheduler: Any = None) -> Any:
    """The body of `Deferred.fromFuture`: return a `cls` that fires with the outcome of a future.

    `scheduler` decides in which thread the Deferred fires, if the future may call back in another
    one. It is a Twisted reactor or any object with `callFromThread`; an asyncio loop or any object
    with `call_soon_threadsafe`; a function that can be called from any thread and calls another in
    the right one; or, for tests, a clock with only `callLater`, which is used to poll the future.
    By default it is the asyncio loop that runs in this thread, or else the Twisted reactor, if one
    is installed.

    An asyncio future needs no scheduler, unless its loop runs in another thread.

    Raises AttributeError if `future` is not a future; RuntimeError if a scheduler is needed and
    there is neither an argument nor a default; and TypeError if `scheduler` cannot be one.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not (type(future) is asyncio.Future or asyncio.isfuture(future)):
        _ = future.add_done_callback  # the first of its attributes that are used
        return _from_thread(cls, future, _poster(scheduler))
    loop = future.get_loop()
    elsewhere = loop is not _deferrous._running_loop() and _runs_elsewhere(loop)
    if scheduler is None and not elsewhere:
        return _from_loop(cls, future)
    return _from_thread(cls, future, _poster(scheduler), loop if elsewhere else None)


def _outcome(future: Any) -> Any:
    try:
        return future.result()
    except BaseException:
        return Failure()


def _from_loop(cls: Any, future: Future[Any]) -> Any:
    """Make a Deferred for an asyncio future of this thread.

    If it is cancelled, it waits for what the future does about that: a task may need time to clean
    up, and may end with another exception or even with a result.
    """
    link = _FromLoop(future)
    deferred = link.receiver = cls(link.cancel)
    deferred.addCallback(link.wait_again)
    future.add_done_callback(link.fire)
    return deferred


class _NotCancelled:
    """Stands itself, as a class, for what is no result."""


class _FromLoop:
    """An asyncio future, and the Deferred that gets its outcome."""

    __slots__ = ("cancelled", "future", "receiver")

    receiver: Any

    def __init__(self, future: Future[Any]) -> None:
        self.future = future
        self.cancelled: object = _NotCancelled

    @takes_reason
    def cancel(self, deferred: Any, *reason: Any) -> None:
        self.future.cancel(*reason)
        # The Deferred must have fired when this returns, or cancelling would fail it at once.
        self.cancelled = object()
        deferred.callback(self.cancelled)

    @_deferrous._never_refused
    def wait_again(self, result: Any) -> Any:
        if result is self.cancelled:
            self.receiver = _deferrous.Deferred()
            return self.receiver
        return result

    def fire(self, future: Future[Any]) -> None:
        try:
            outcome = future.result()
        except BaseException:
            outcome = Failure()
        self.receiver.callback(outcome)


def held_by_link(method: MethodType) -> tuple[str, Any]:
    """Return what a method of such an object is about, after its name there: for the call graph."""
    link = method.__self__
    if type(link) is _AsFuture:
        name = "deferred" if passes_on_only(method) else "future"
    elif type(link) is _FromLoop:
        name = "future" if method.__func__ is _FromLoop.cancel else "receiver"
    else:
        return "", None
    return name, getattr(link, name, None)


def _from_thread(
    cls: Any, future: Any, poster: _Poster, loop: AbstractEventLoop | None = None
) -> Any:
    """Make a Deferred for a future that may call back in any thread.

    If it is cancelled, it fails at once with a CancelledError: work that has begun in another
    thread or process cannot be stopped, and may take long. Its result is discarded.

    The Deferred's callbacks run in a copy of the caller's context, as an asyncio future's do.

    If a loop is given, the future is used only in the thread of that loop.
    """
    if _is_plain(future) and future.done():
        deferred = cls()
        deferred.callback(_outcome(future))
        return deferred

    # The Deferred and its future, but only while one waits for the other: each refers to a result,
    # and the future refers to the functions here. Whoever takes them out, in whichever thread, is
    # the only one.
    waiting: list[tuple[Any, Any]] = []
    is_cancelled = False

    @takes_reason
    def abandon(_: Any, *reason: Any) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        # There are none if the future's callbacks cancel again.
        for _, future in _taken(waiting):
            # Only asyncio's futures accept a message.
            touch(future.cancel, *(reason if hasattr(future, "_asyncio_future_blocking") else ()))

    def fire(outcome: Any) -> None:
        for deferred, _ in _taken(waiting):
            try:
                deferred.callback(outcome)
            except _deferrous.AlreadyCalledError:
                # Another thread may have cancelled it meanwhile.
                if not is_cancelled:
                    raise

    def hand_over(future: Any) -> None:
        if waiting:
            # Fetched here: a future of a cluster may have to transfer its result first.
            outcome = _outcome(future)
            post(lambda: context.run(fire, outcome))

    def touch(method: Callable[..., object], *args: Any) -> None:
        if loop is None:
            method(*args)
        else:
            loop.call_soon_threadsafe(method, *args)

    deferred = cls(abandon)
    waiting.append((deferred, future))
    context = copy_context()
    post = poster(lambda: bool(waiting))
    touch(future.add_done_callback, hand_over)
    return deferred


def _taken(waiting: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Take the only pair out of a list. Empty if that has been done, perhaps by another thread."""
    try:
        return [waiting.pop()]
    except IndexError:
        return []


def _is_plain(future: Any) -> bool:
    """Return whether the result of a future that is done is available at once."""
    asyncio, concurrent = sys.modules.get("asyncio"), sys.modules.get("concurrent.futures")
    return (asyncio is not None and asyncio.isfuture(future)) or (
        concurrent is not None and isinstance(future, concurrent.Future)
    )


def wake_elsewhere(future: Future[Any]) -> bool:
    """Set the result of a future that a task in another thread waits for.

    Returns False if the future is done already.
    """
    if future.done():
        return False
    loop = future.get_loop()
    if _runs_elsewhere(loop):
        # Otherwise the loop would not wake up. If the task is cancelled first, what was handed over
        # to it is given back, as always.
        loop.call_soon_threadsafe(_be_done, future)
    else:
        _be_done(future)
    return True


def _be_done(future: Future[Any]) -> None:
    if not future.done():
        future.set_result(None)


#: The methods of a loop that decide how futures are made, and how and when their callbacks run.
_METHODS_OF_LOOPS = (
    "create_future",
    "call_soon",
    "_call_soon",
    "_check_closed",
    "_run_once",
    "get_debug",
)


def has_methods_of_asyncio(cls: type) -> bool:
    """Return whether a class of loops or handles inherits the methods that futures rely on.

    They must be asyncio's own: a program may have replaced them in asyncio's classes, too.
    """
    from asyncio import base_events, events, futures

    def are_own(own: type, module: Any, names: tuple[str, ...]) -> bool:
        methods = [getattr(own, name) for name in names]
        return all(
            getattr(method, "__globals__", None) is vars(module)
            and getattr(cls, name, None) is method
            for name, method in zip(names, methods, strict=True)
        )

    if cls is events.Handle:
        return are_own(cls, events, ("__init__", "_run"))
    return futures.Future is getattr(futures, "_CFuture", None) and are_own(
        base_events.BaseEventLoop, base_events, _METHODS_OF_LOOPS
    )


def wakeup_raised(
    callback: Any, future: Future[Any], context: Any, exception: BaseException
) -> None:
    """Report what the callback of a future has raised, in asyncio's words."""
    from asyncio import Handle

    loop = future.get_loop()
    handle = Handle(callback, (future,), loop, context)
    called = repr(handle).removeprefix("<Handle ").removesuffix(">")
    loop.call_exception_handler(
        {"message": f"Exception in callback {called}", "exception": exception, "handle": handle}
    )


def _runs_elsewhere(loop: AbstractEventLoop) -> bool:
    if loop is _deferrous._running_loop():
        return False
    try:
        return loop.is_running()
    except NotImplementedError:
        # The loop is run step by step, as in tests.
        return False


def _poster(scheduler: Any) -> _Poster:
    """Return a function that makes calls in a scheduler's thread. Raises errors early."""
    if scheduler is None:
        scheduler = _deferrous._running_loop()
    if scheduler is None:
        scheduler = sys.modules.get("twisted.internet.reactor")
    if scheduler is None:
        raise RuntimeError(
            "fromFuture cannot tell in which thread the Deferred is to fire: no asyncio loop "
            "runs in this thread, and no Twisted reactor is installed. Say it with scheduler=, "
            "which takes a reactor, an asyncio loop, or a function that can be called from any "
            "thread and has the function it is given called in the right one."
        )
    for name in ("callFromThread", "call_soon_threadsafe"):
        method = getattr(scheduler, name, None)
        if method is not None:
            return lambda _: method
    call_later = getattr(scheduler, "callLater", None)
    if call_later is not None:
        return lambda wanted: _polled(call_later, wanted)
    if callable(scheduler):
        return lambda _: scheduler
    raise TypeError(
        f"scheduler has to be a reactor, an asyncio loop, a clock or a function, not {scheduler!r}"
    )


def _polled(call_later: Callable[..., object], wanted: Callable[[], bool]) -> _Post:
    """Have a clock, which may be used only in its own thread, poll for one call and make it."""
    calls: deque[Callable[[], None]] = deque()

    def poll() -> None:
        if calls:
            calls.popleft()()
        elif wanted():
            call_later(_POLL_INTERVAL, poll)

    call_later(0, poll)
    return calls.append
