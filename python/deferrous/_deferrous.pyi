import asyncio
import builtins
import concurrent.futures
import sys
from asyncio import AbstractEventLoop
from collections.abc import (
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableSequence,
)
from types import CodeType, GenericAlias, TracebackType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    SupportsIndex,
    TypeAlias,
    final,
    overload,
    type_check_only,
)

from typing_extensions import Never, Self, TypeVar, deprecated, disjoint_base

from ._clock import AnyClock
from ._report import DebugInfo
from .failure import Failure

__all__ = [
    "_DEFERRED_SUBCLASSES",
    "AlreadyCalledError",
    "CancelledError",
    "Deferred",
    "DeferredList",
    "DeferredLock",
    "DeferredQueue",
    "DeferredSemaphore",
    "FailureBase",
    "NoCurrentExceptionError",
    "NotACoroutineError",
    "QueueOverflow",
    "QueueUnderflow",
    "TimeoutError",
    "_ConcurrencyPrimitive",
    "_Fifo",
    "_InternalInlineCallbacksCancelledError",
    "_Place",
    "_Race",
    "_Task",
    "_Timeout",
    "__version__",
    "_acquire_for",
    "_acquired_for",
    "_add_task",
    "_all_of",
    "_begin_call",
    "_begin_calls",
    "_begin_close",
    "_begin_fetch",
    "_break",
    "_build",
    "_cancel_waiting",
    "_cancellableInlineCallbacks",
    "_check_depth",
    "_close_broadcast",
    "_close_channel",
    "_close_subscription",
    "_convertTimedOut",
    "_delay",
    "_do",
    "_driven",
    "_end_all",
    "_end_call",
    "_end_delayed",
    "_end_getting",
    "_end_one",
    "_end_task",
    "_end_waiting",
    "_end_with",
    "_finish",
    "_fire_all",
    "_follow",
    "_give_back",
    "_give_done",
    "_give_first",
    "_hand_out",
    "_hand_over",
    "_happen",
    "_in_turn",
    "_knows_depth",
    "_leave",
    "_let_in",
    "_line_of",
    "_list_of",
    "_may_fire",
    "_members_of",
    "_move_key",
    "_never_refused",
    "_not_acquired_for",
    "_not_read",
    "_not_taken",
    "_notify",
    "_now",
    "_number_all",
    "_once",
    "_owed",
    "_owed_once",
    "_parseDeferredListResult",
    "_parts_of",
    "_pass_on",
    "_place",
    "_place_in",
    "_put_in",
    "_reacquire",
    "_read",
    "_receive",
    "_release_after",
    "_release_and_wait",
    "_release_key",
    "_runInlineCallbacks",
    "_runNatively",
    "_run_locked",
    "_run_of",
    "_running_loop",
    "_running_task",
    "_send_to_all",
    "_serve_rest",
    "_shut_down",
    "_state_of",
    "_stopClock",
    "_stop_waiting",
    "_take",
    "_take_fetched",
    "_take_last",
    "_take_returned",
    "_task_for",
    "_tell",
    "_trace_begin",
    "_trace_end",
    "_trace_since",
    "_trace_strands",
    "_track",
    "_track_earlier",
    "_tracked",
    "_tracked_at",
    "_tracked_one",
    "_tracking",
    "_wait_in",
    "_whole",
    "_within",
    "ensureDeferred",
    "execute",
    "fail",
    "failure_count",
    "gatherResults",
    "has_room_for_text",
    "look_all_up",
    "maybeDeferred",
    "pieces_of_frames",
    "plain_pieces",
    "plain_repr",
    "plain_state",
    "plain_traceback",
    "race",
    "register_failure_class",
    "set_namespace",
    "stands_alone",
    "succeed",
    "takes_reports",
]
if sys.platform == "linux" and sys.version_info < (3, 14):
    __all__ += ["keep_threads"]

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])
_D = TypeVar("_D", bound=Deferred[Any])
_T_co = TypeVar("_T_co", covariant=True)
_R = TypeVar("_R")
_P = ParamSpec("_P")
_E = TypeVar("_E", bound=BaseException)
_Y = TypeVar("_Y")

# What a callback (`_N`) or an errback (`_M`) comes to. Nothing, if it only ever fails.
_N = TypeVar("_N", default=Never)
_M = TypeVar("_M", default=Never)

# What a callback may return besides a Deferred of something else. mypy finds out which part of a
# union is meant only where the bound rules out all others.
_Plain = TypeVar(
    "_Plain",
    bound=complex
    | str
    | bytes
    | bytearray
    | tuple[Any, ...]
    | list[Any]
    | dict[Any, Any]
    | set[Any]
    | frozenset[Any]
    | type[Any]
    | None,
    default=Never,
)

# What a DeferredList fires with; what it does without flags, unless said.
_ListResult = TypeVar("_ListResult", default=list[tuple[bool, Any]])

# A Deferred of ours or of Twisted's, as something to be read only: a Deferred of a bool is a
# Deferred of an int then.
@type_check_only
class _DeferredOf(Protocol[_T_co]):
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def unpause(self) -> None: ...

# What `addTimeout` takes: a reactor, a `Clock`, an asyncio loop.
_Clock: TypeAlias = AnyClock
# Of the steps of deferrous.concurrency: what makes an error, begins to wait, ends, or is called.
_Error: TypeAlias = Callable[[], BaseException]
_Begin: TypeAlias = Callable[[Any], Deferred[Any]]
_End: TypeAlias = Callable[[Any, Any, dict[str, bool]], None]
_Call: TypeAlias = Callable[..., object]

# A reactor, as something that other threads may have a function called by.
@type_check_only
class _Threaded(Protocol):
    @property
    def callFromThread(self) -> Callable[..., Any]: ...

__version__: str
_build: Literal["plain", "profile-guided", "quick"]
_DEFERRED_SUBCLASSES: list[type[Deferred[Any]]]

class AlreadyCalledError(Exception):
    """A Deferred was fired that had been fired already."""

class CancelledError(Exception):
    """The operation behind a Deferred was cancelled."""

class TimeoutError(Exception):
    """The operation behind a Deferred took too long."""

class NotACoroutineError(TypeError):
    """A coroutine was expected, and something else was given."""

class QueueOverflow(Exception):
    """An object was put into a DeferredQueue that is full."""

class QueueUnderflow(Exception):
    """An object was asked of a DeferredQueue that has no room for another waiter."""

class NoCurrentExceptionError(Exception):
    """`Failure()` was called while no exception was being handled."""

class _InternalInlineCallbacksCancelledError(Exception):
    """What the Deferred of a generator comes to while the generator is being cancelled."""

@disjoint_base
class Deferred(Generic[_T]):
    """A result that will arrive later.

    Add functions to it with `addCallback` (for a result), `addErrback` (for a failure),
    `addBoth` or `addCallbacks`. They form a chain. `callback` or `errback` fires the Deferred
    and runs the chain in the order of adding; each function gets what the one before returned.
    An exception becomes a Failure and goes to the next errback. If a function returns another
    Deferred, the chain waits for its result. In coroutines and `inlineCallbacks` functions, use
    `await` or `yield` instead.

    Arguments:

    - `canceller`: a function that `cancel()` calls with this Deferred, to stop the operation
      behind it. Optional.

    Cancelling: `cancel()` calls the canceller. If that does not fire the Deferred, `cancel()`
    fails it with CancelledError. Without a canceller, the first `callback` or `errback` after
    that is ignored.

    Threads: on a free-threaded Python, any thread may use it, and each operation is atomic. Of
    several threads that fire it, one succeeds, the others get AlreadyCalledError. Each callback
    is called once, in the order of adding, in any of the threads, by one at a time.

    Differs from Twisted: `await` also works in asyncio tasks. Deferreds may wait for each other
    to any depth; Twisted raises RecursionError at some depth.

    ```python
    from deferrous import Deferred

    d = Deferred()
    d.addCallback(lambda number: number * 2)
    d.addCallback(print)
    d.callback(21)
    ```

    This prints 42.
    """

    debug: bool
    called: bool
    """Whether this Deferred has been fired, by `callback`, `errback` or `cancel`."""
    paused: int
    """How many times this Deferred is paused. Waiting for another Deferred counts as one."""
    # While this waits for another Deferred, that one; None once that one's waiter has taken it.
    result: _T | Failure
    """The current result or Failure. There is no such attribute before the Deferred has fired."""
    _debugInfo: DebugInfo | None
    _canceller: Callable[[Deferred[Any]], object] | None
    _chainedTo: Deferred[Any] | None

    def __init__(self, canceller: Callable[[Deferred[Any]], object] | None = None) -> None: ...
    def __init_subclass__(cls, **_kwargs: Any) -> None: ...
    @property
    @deprecated("Twisted has deprecated it in version 25.5.0")
    def callbacks(self) -> list[Any]:
        """The callbacks that have not been called yet, as pairs of `(callable, args, kwargs)`.
        Deprecated.

        Differs from Twisted: each time this is a new list; changing it changes nothing.
        """

    # In each group of overloads, the function returns: a Deferred, a Failure or either; these or a
    # plain result of the same type; these or a plain result of another type.
    @overload
    def addCallback(
        self,
        callback: Callable[Concatenate[_T, _P], _DeferredOf[_N] | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]:
        """Add a callback: a function for the result.

        Arguments:

        - `callback`: it is called with the result, then `args` and `kwargs`. A Failure skips
          it.

        Returns this Deferred, so that calls can be chained. If the Deferred has fired already,
        the callback runs before this returns.

        Errors: what the callback raises is not raised here; it becomes a Failure for the next
        errback.

        ```python
        from deferrous import succeed

        d = succeed(20)
        d.addCallback(lambda number, more: number + more, 22)
        d.addCallback(print)
        ```

        This prints 42.
        """
    @overload
    def addCallback(
        self,
        callback: Callable[Concatenate[_T, _P], _DeferredOf[_N] | Failure | _N],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]: ...
    @overload
    def addCallback(
        self,
        callback: Callable[Concatenate[_T, _P], _DeferredOf[_N] | Failure | _Plain],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N | _Plain]: ...
    @overload
    def addErrback(
        self,
        errback: Callable[Concatenate[Failure, _P], _DeferredOf[_N] | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_T | _N]:
        """Add an errback: a function for the failure.

        Arguments:

        - `errback`: it is called with the Failure, then `args` and `kwargs`. A result skips it.
          What it returns is the result for the next callback; to stay failed, it returns the
          Failure or raises an exception.

        Returns this Deferred.

        Errors: what the errback raises is not raised here; it becomes a Failure for the next
        errback.

        ```python
        from deferrous import fail

        d = fail(KeyError("name"))
        d.addErrback(lambda failure: f"handled {failure.type.__name__}")
        d.addCallback(print)
        ```

        This prints `handled KeyError`.
        """
    @overload
    def addErrback(
        self,
        errback: Callable[Concatenate[Failure, _P], _DeferredOf[_N] | Failure | _N],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_T | _N]: ...
    @overload
    def addErrback(
        self,
        errback: Callable[Concatenate[Failure, _P], _DeferredOf[_N] | Failure | _Plain],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_T | _N | _Plain]: ...
    @overload
    def addBoth(
        self,
        callback: Callable[Concatenate[_T | Failure, _P], _DeferredOf[_N] | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]:
        """Add one function for both the result and the failure.

        Arguments:

        - `callback`: it is called with the result or the Failure, then `args` and `kwargs`.
          Return what it was given to leave the outcome as it is.

        Returns this Deferred.

        Errors: what the function raises is not raised here; it becomes a Failure for the next
        errback.

        ```python
        from deferrous import succeed


        def clean_up(outcome):
            print("closed")
            return outcome


        succeed("page").addBoth(clean_up).addCallback(print)
        ```

        This prints `closed` and `page`.
        """
    @overload
    def addBoth(
        self,
        callback: Callable[Concatenate[_T | Failure, _P], _DeferredOf[_N] | Failure | _N],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]: ...
    @overload
    def addBoth(
        self,
        callback: Callable[Concatenate[_T | Failure, _P], _DeferredOf[_N] | Failure | _Plain],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N | _Plain]: ...
    # For generic functions that return what they are given.
    @overload
    def addBoth(
        self,
        callback: Callable[Concatenate[_T | Failure, _P], _T | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_T]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure],
        errback: None = None,
    ) -> Deferred[_N]:
        """Add a callback and an errback as one step: exactly one of them is called.

        Arguments:

        - `callback`: it is called with a result.
        - `errback`: it is called with a Failure. Without one, a Failure is passed on.
        - `callbackArgs`, `callbackKeywords`: more arguments for the callback.
        - `errbackArgs`, `errbackKeywords`: more arguments for the errback.

        Returns this Deferred.

        Errors: what either raises is not raised here. It goes to the next errback, never to the
        errback of the same call.

        ```python
        from deferrous import fail

        d = fail(ValueError("no number"))
        d.addCallbacks(lambda number: number + 1, lambda failure: 0)
        d.addCallback(print)
        ```

        This prints 0.
        """
    @overload
    def addCallbacks(
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure | _N],
        errback: None = None,
    ) -> Deferred[_N]: ...
    @overload
    def addCallbacks(  # type: ignore[overload-cannot-match]
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure | _Plain],
        errback: None = None,
    ) -> Deferred[_N | _Plain]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure],
        errback: Callable[[Failure], _DeferredOf[_M] | Failure],
    ) -> Deferred[_N | _M]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure | _N],
        errback: Callable[[Failure], _DeferredOf[_M] | Failure],
    ) -> Deferred[_N | _M]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure],
        errback: Callable[[Failure], _DeferredOf[_M] | Failure | _M],
    ) -> Deferred[_N | _M]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[[_T], _DeferredOf[_N] | Failure | _N],
        errback: Callable[[Failure], _DeferredOf[_M] | Failure | _M],
    ) -> Deferred[_N | _M]: ...

    # With other arguments for the functions, what these come to is beyond what types can say.
    @overload
    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any] | None,
        callbackArgs: tuple[Any, ...] | None,
        callbackKeywords: Mapping[str, Any] | None = None,
        errbackArgs: tuple[Any, ...] | None = None,
        errbackKeywords: Mapping[str, Any] | None = None,
    ) -> Deferred[Any]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any] | None = None,
        *,
        callbackArgs: tuple[Any, ...] | None,
        callbackKeywords: Mapping[str, Any] | None = None,
        errbackArgs: tuple[Any, ...] | None = None,
        errbackKeywords: Mapping[str, Any] | None = None,
    ) -> Deferred[Any]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any] | None = None,
        *,
        callbackKeywords: Mapping[str, Any] | None,
        errbackArgs: tuple[Any, ...] | None = None,
        errbackKeywords: Mapping[str, Any] | None = None,
    ) -> Deferred[Any]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any] | None = None,
        *,
        errbackArgs: tuple[Any, ...] | None,
        errbackKeywords: Mapping[str, Any] | None = None,
    ) -> Deferred[Any]: ...
    @overload
    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any] | None = None,
        *,
        errbackKeywords: Mapping[str, Any] | None,
    ) -> Deferred[Any]: ...
    def chainDeferred(self, d: Deferred[_T]) -> Deferred[None]:
        """Fire another Deferred with the outcome of this one.

        Arguments:

        - `d`: the Deferred to fire. Nobody else should fire it.

        Returns this Deferred. Its later callbacks get None.

        Errors: if `d` has been fired already, the next errback of this Deferred gets an
        AlreadyCalledError.

        Cancelling `d` does not cancel this Deferred. To have both, return this Deferred from a
        callback of `d` instead.

        ```python
        from deferrous import Deferred

        first, second = Deferred(), Deferred()
        first.chainDeferred(second)
        second.addCallback(print)
        first.callback("done")
        ```

        This prints `done`.
        """
    @overload
    def addTimeout(
        self, timeout: float, clock: _Clock | None = None, onTimeoutCancel: None = None
    ) -> Deferred[_T]:
        """Cancel this Deferred if it has no result in time.

        Arguments:

        - `timeout`: the time in seconds.
        - `clock`: a reactor, an asyncio loop, a `deferrous.testing.Clock`, or anything else
          with a `callLater`. By default, the running asyncio loop, or else Twisted's reactor.
        - `onTimeoutCancel`: a function that is called with the outcome after the time has run
          out, and with `timeout`. What it returns replaces that outcome. By default, a
          CancelledError is replaced by a TimeoutError.

        Returns this Deferred. The limit covers callbacks that were added before this call, not
        later ones.

        Errors:

        - RuntimeError: there is no clock, neither given nor by default.
        - AttributeError: `clock` is not a clock.

        Cancelling the Deferred before the time is up stops the clock.

        Differs from Twisted: `clock` is optional and may be an asyncio loop. A canceller that
        raises is reported, and the Deferred fails with TimeoutError nevertheless.

        ```python
        from deferrous import Deferred
        from deferrous.testing import Clock

        clock = Clock()
        d = Deferred().addTimeout(5, clock)
        d.addErrback(lambda failure: print(failure.type.__name__))
        clock.advance(5)
        ```

        This prints `TimeoutError`.
        """
    @overload
    def addTimeout(
        self,
        timeout: float,
        clock: _Clock | None,
        onTimeoutCancel: Callable[[_T | Failure, float], _DeferredOf[_N] | Failure],
    ) -> Deferred[_T | _N]: ...
    @overload
    def addTimeout(
        self,
        timeout: float,
        clock: _Clock | None,
        onTimeoutCancel: Callable[[_T | Failure, float], _DeferredOf[_N] | Failure | _N],
    ) -> Deferred[_T | _N]: ...
    @overload
    def addTimeout(  # type: ignore[overload-cannot-match]
        self,
        timeout: float,
        clock: _Clock | None,
        onTimeoutCancel: Callable[[_T | Failure, float], _DeferredOf[_N] | Failure | _Plain],
    ) -> Deferred[_T | _N | _Plain]: ...
    def callback(self, result: _T | Failure) -> None:
        """Fire this Deferred with a result, and run its callbacks.

        Arguments:

        - `result`: what the first callback gets. A Failure is taken as a failure, as by
          `errback`.

        Errors:

        - AlreadyCalledError: the Deferred has been fired already.

        After `cancel()` of a Deferred without a canceller, the first call is ignored.

        ```python
        from deferrous import Deferred

        d = Deferred()
        d.addCallback(print)
        d.callback("hello")
        ```

        This prints `hello`.
        """
    def errback(self, fail: Failure | BaseException | None = None) -> None:
        """Fire this Deferred with a failure, and run its errbacks.

        Arguments:

        - `fail`: a Failure or an exception. By default, the exception that is being handled.

        Errors:

        - AlreadyCalledError: the Deferred has been fired already.
        - NoCurrentExceptionError: nothing is given, and no exception is being handled.

        After `cancel()` of a Deferred without a canceller, the first call is ignored.

        ```python
        from deferrous import Deferred

        d = Deferred()
        d.addErrback(lambda failure: print(failure.value))
        d.errback(ValueError("no such page"))
        ```

        This prints `no such page`.
        """
    def pause(self) -> None:
        """Hold back callbacks until `unpause()` has been called as often as this.

        ```python
        from deferrous import succeed

        d = succeed("late")
        d.pause()
        d.addCallback(print)
        print("early")
        d.unpause()
        ```

        This prints `early` and `late`.
        """
    def unpause(self) -> None:
        """Undo one `pause()`. The last one runs the callbacks that were held back.

        ```python
        from deferrous import succeed

        d = succeed("result")
        d.pause()
        d.addCallback(print)
        d.unpause()
        ```

        This prints `result`.
        """
    def cancel(self) -> None:
        """Ask for the operation behind this Deferred to stop.

        If the Deferred has not fired, its canceller is called; if that does not fire it, it
        fails with CancelledError. If it waits for another Deferred, that one is cancelled
        instead. If it has its result, nothing happens.

        Errors:

        - What the canceller raises.
        - RecursionError: the Deferred waits for itself, by way of others.

        Differs from Twisted: Deferreds that wait for each other are cancelled to any depth.

        ```python
        from deferrous import Deferred

        d = Deferred(canceller=lambda d: print("stopping"))
        d.addErrback(lambda failure: print(failure.type.__name__))
        d.cancel()
        ```

        This prints `stopping` and `CancelledError`.
        """
    def __iter__(self) -> Generator[Deferred[_T], Any, _T]: ...
    def __await__(self) -> Generator[Deferred[_T], Any, _T]: ...
    @classmethod
    def fromCoroutine(cls, coro: Coroutine[Any, Any, _R] | Generator[Any, Any, _R]) -> Deferred[_R]:
        """Run a coroutine, and return a Deferred for its result.

        Arguments:

        - `coro`: a coroutine that awaits Deferreds, or a generator that yields them.

        Returns a Deferred that fires with what the coroutine returns, or fails with what it
        raises.

        Errors:

        - NotACoroutineError: `coro` is neither.

        Cancelling the Deferred cancels the Deferred that the coroutine waits for. Unless that
        fires otherwise, CancelledError is raised at the `await`.

        ```python
        from deferrous import Deferred, succeed


        async def double(number):
            return 2 * await number


        Deferred.fromCoroutine(double(succeed(21))).addCallback(print)
        ```

        This prints 42.
        """
    def asFuture(self, loop: AbstractEventLoop) -> asyncio.Future[_T]:
        """Return an asyncio future for the outcome of this Deferred.

        Arguments:

        - `loop`: the event loop of the future.

        Returns a future that gets the result, or the exception of the Failure. This Deferred's
        later callbacks get None.

        Cancelling the future cancels this Deferred.

        Differs from Twisted: a StopIteration becomes the cause of a RuntimeError. If the loop
        runs in another thread, the future is set there.

        ```python
        import asyncio
        from deferrous import succeed


        async def main():
            print(await succeed(42).asFuture(asyncio.get_running_loop()))


        asyncio.run(main())
        ```

        This prints 42.
        """
    @classmethod
    def fromFuture(
        cls,
        future: asyncio.Future[_R] | concurrent.futures.Future[_R],
        scheduler: (_Clock | _Threaded | Callable[[Callable[[], None]], object] | None) = None,
    ) -> Deferred[_R]:
        """Return a Deferred for the outcome of a future.

        Arguments:

        - `future`: a future of asyncio or `concurrent.futures`, or another that calls back in
          any thread.
        - `scheduler`: where callbacks run, if the future is not asyncio's: an asyncio loop, a
          Twisted reactor, or a function that calls its argument in the right thread. By
          default, the asyncio loop that runs in this thread, or else Twisted's reactor.

        Errors:

        - RuntimeError: a scheduler is needed, and there is none.
        - AttributeError: `future` is not a future.
        - TypeError: `scheduler` cannot be one.

        Cancelling the Deferred cancels the future.

        Differs from Twisted: takes futures other than asyncio's, and a scheduler.

        ```python
        import asyncio
        from deferrous import Deferred


        async def main():
            future = asyncio.get_running_loop().create_future()
            d = Deferred.fromFuture(future)
            future.set_result(42)
            print(await d)


        asyncio.run(main())
        ```

        This prints 42.
        """
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

def succeed(result: _T) -> Deferred[_T]:
    """Return a Deferred that has been fired with a result.

    Arguments:

    - `result`: the result. A Failure makes a failed Deferred.

    ```python
    from deferrous import succeed

    succeed(42).addCallback(print)
    ```

    This prints 42.
    """

def fail(result: Failure | BaseException | None = None) -> Deferred[Any]:
    """Return a Deferred that has been fired with a failure.

    Arguments:

    - `result`: a Failure or an exception. By default, the exception that is being handled.

    Errors:

    - NoCurrentExceptionError: nothing is given, and no exception is being handled.

    ```python
    from deferrous import fail

    fail(KeyError("name")).addErrback(lambda failure: print(failure.type.__name__))
    ```

    This prints `KeyError`.
    """

def execute(callable: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
    """Call a function, and return a Deferred that has been fired with its result.

    Arguments:

    - `callable`: the function. It is called with `args` and `kwargs`.

    Returns a Deferred for what the function returned or raised. A Deferred that it returns is
    not waited for: use `maybeDeferred` for that.

    ```python
    from deferrous import execute

    execute(int, "42").addCallback(print)
    ```

    This prints 42.
    """

@overload
def maybeDeferred(
    f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> Deferred[_N]:
    """Call a function that may or may not return a Deferred, and return a Deferred in any case.

    Arguments:

    - `f`: the function. It is called with `args` and `kwargs`.

    Returns a Deferred that `f` returned, as it is. If `f` returns a coroutine, that is run. A
    Failure, or an exception that `f` raises, makes a failed Deferred; anything else is a
    result.

    Cancelling the Deferred cancels what `f` waits for.

    ```python
    from deferrous import maybeDeferred

    maybeDeferred(int, "42").addCallback(print)
    maybeDeferred(int, "x").addErrback(lambda failure: print(failure.type.__name__))
    ```

    This prints 42 and `ValueError`.
    """

@overload
def maybeDeferred(
    f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure | _N],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> Deferred[_N]: ...
@overload
def maybeDeferred(
    f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure | _Plain],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> Deferred[_N | _Plain]: ...
def ensureDeferred(
    coro: Coroutine[Any, Any, _T] | Generator[Any, Any, _T] | Deferred[_T],
) -> Deferred[_T]:
    """Run a coroutine, and return a Deferred for its result.

    Arguments:

    - `coro`: a coroutine that awaits Deferreds, or a generator that yields them. A Deferred is
      returned as it is.

    Returns a Deferred that fires with what the coroutine returns, or fails with what it raises.

    Errors:

    - NotACoroutineError: `coro` is none of these.

    Cancelling the Deferred cancels the Deferred that the coroutine waits for. Unless that fires
    otherwise, CancelledError is raised at the `await`.

    Differs from Twisted: the coroutine may also await futures and coroutines of asyncio, while
    a loop is running.

    ```python
    from deferrous import ensureDeferred, succeed


    async def double(number):
        return 2 * await number


    ensureDeferred(double(succeed(21))).addCallback(print)
    ```

    This prints 42.
    """

def _cancellableInlineCallbacks(
    generator: Coroutine[Any, Any, _T] | Generator[Any, Any, _T],
) -> Deferred[_T]: ...
def _runInlineCallbacks(
    function: Callable[..., Generator[Any, Any, _T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Deferred[_T]: ...
def _runNatively(function: Callable[..., object]) -> None: ...
def _driven() -> list[Any]: ...
def _running_loop() -> Any: ...
def _running_task() -> Any: ...
def _task_for(generator: Any) -> tuple[_Task, Deferred[Any]] | None: ...

# A line's list, and the line of a list, for copies.
def _list_of(line: _Fifo[_T], /) -> list[_T]: ...
def _line_of(list: list[_T], /) -> _Fifo[_T]: ...

# What objects of ours hold, for the graph of what waits for what.
def _state_of(
    deferred: Deferred[Any], most: int
) -> tuple[str, Any, bool, int, bool, Any, Any, list[tuple[str, Any, Any]], int, int]: ...
def _members_of(collector: object, most: int) -> tuple[list[Any], int, int, bool, Any] | None: ...
def _parts_of(object: object) -> tuple[str, Any, Any, Any] | None: ...
def _place_in(line: _Fifo[Any], object: object) -> tuple[int | None, int]: ...
def _all_of(
    get_objects: Callable[[], list[Any]], classes: tuple[type, ...], most: int
) -> tuple[list[Any], int]: ...
def _may_fire(
    objects: list[Any], wanted: list[Any], own_files: str, most: int
) -> list[Deferred[Any]]: ...
def _take_last(list: list[Any]) -> list[Any]: ...
def _follow(
    deferred: Deferred[Any], up: bool, most: int
) -> tuple[list[Deferred[Any]], int] | None: ...

# When and where Deferreds were made.
def _track(on: bool, own_files: str) -> None: ...
def _track_earlier(deferreds: list[Deferred[Any]]) -> None: ...
def _tracking() -> bool: ...
def _tracked() -> tuple[int, int, list[tuple[Deferred[Any], int, int, int, int, int]]]: ...
def _tracked_one(
    deferred: Deferred[Any],
) -> tuple[int, tuple[Deferred[Any], int, int, int, int, int]] | None: ...
def _tracked_at(address: int, number: int) -> Deferred[Any] | None: ...
def _trace_begin(capacity: int, own_files: str) -> int: ...
def _trace_end() -> None: ...
def _trace_since(total: int) -> tuple[list[tuple[int, int, int, int, int, int]], int]: ...
def _trace_strands() -> list[tuple[int, int, int]]: ...
def _now() -> int: ...
def _run_of(generator: object) -> int: ...
def _place(number: int) -> tuple[CodeType | str, int] | None: ...
def _never_refused(function: _F) -> _F: ...
def _knows_depth() -> bool: ...
def _check_depth() -> None: ...
def _hand_over(deferred: Deferred[_T], result: _T | Failure) -> None: ...
def _wait_in(line: _Fifo[Deferred[_T]], owner: object, what: object) -> Deferred[_T]: ...
def _give_first(line: _Fifo[Deferred[_T]], result: _T) -> bool: ...
def _fire_all(line: _Fifo[Deferred[_T]], result: _T) -> None: ...
def _number_all(line: _Fifo[Deferred[int]]) -> Deferred[int]: ...
def _happen(event: object, line: _Fifo[Deferred[Literal[True]]]) -> None: ...
def _break(
    barrier: object, for_good: bool, error: Callable[[str], BaseException], text: str
) -> None: ...
def _close_channel(channel: object, error: _Error) -> None: ...
def _put_in(queue: object, items: Any, getting: _Fifo[Deferred[_T]], item: _T) -> bool: ...
@overload
def _take(
    queue: object, items: Any, putting: _Fifo[Deferred[None]], deferred: Literal[True]
) -> Deferred[Any]: ...
@overload
def _take(
    queue: object, items: Any, putting: _Fifo[Deferred[None]], deferred: Literal[False]
) -> Any: ...
def _end_getting(owner: object, error: _Error) -> None: ...
def _finish(queue: object, number: int) -> None: ...
def _shut_down(queue: object, at_once: bool, error: _Error) -> None: ...
def _receive(channel: object, iterating: bool) -> Deferred[Any]: ...
def _send_to_all(broadcast: object, item: object) -> None: ...
def _read(reader: object, iterating: bool) -> Deferred[Any]: ...
def _close_subscription(reader: object, error: _Error) -> None: ...
def _close_broadcast(broadcast: object, error: _Error) -> None: ...
def _release_and_wait(lock: object, waiting: _Fifo[Deferred[Any]], waiter: _D) -> _D: ...
def _stop_waiting(waiter: object) -> bool: ...
def _notify(condition: object, waiting: _Fifo[Deferred[Any]], number: int) -> None: ...
def _acquired_for(_lock: object, condition: object, waiter: object) -> None: ...
def _not_acquired_for(failure: object, waiter: object) -> None: ...
def _cancel_waiting(waiter: object, condition: object, failure: Failure) -> None: ...
def _give_back(
    owner: object,
    line: _Fifo[Deferred[bool]],
    number: float,
    bound: tuple[float, _Error] | None = None,
) -> None: ...
def _whole(function: _F) -> _F: ...
def _owed(function: _F) -> _F: ...
def _owed_once(function: _F) -> _F: ...
def _once(owner: object, name: str, work: _Call, *args: Any) -> None: ...
def _within(owner: object, name: str, work: Callable[[], object]) -> bool: ...
def _do(work: _Call, *args: Any) -> Any: ...
def _in_turn(work: _Call, *args: Any) -> None: ...
def _end_all(deferreds: Any, reason: object, otherwise: _End) -> None: ...
def _end_one(deferred: Any, reason: object, otherwise: _End) -> None: ...
def _pass_on(result: Any, outer: Deferred[Any]) -> Any: ...
def _delay(outer: Deferred[Any], reason: object) -> bool: ...
def _end_delayed(result: Any, outer: Deferred[Any]) -> Any: ...
def _not_read(place: _Place, item: Any, number: int) -> None: ...
def _not_taken(place: _Place, item: Any, number: int) -> None: ...
def _add_task(
    tasks: dict[Deferred[Any], None], ended: _Call, task: Any, begin: _Begin, context: Any
) -> Deferred[Any]: ...
def _begin_call(feed: object, otherwise: _End) -> None: ...
def _begin_calls(feed: object, iterator: Any, otherwise: _End) -> None: ...
def _end_call(feed: object, result: Any, call: Any, otherwise: _End) -> bool: ...
def _begin_fetch(
    feed: object, iterator: Any, begin: _Begin, otherwise: _End, in_a_row: int
) -> None: ...
def _begin_close(feed: object, iterator: Any, begin: _Begin) -> None: ...
def _take_fetched(feed: object, item: Any, asked: Deferred[Any]) -> None: ...
def _take_returned(owner: object) -> Deferred[Any] | None: ...
def _hand_out(stream: object) -> bool: ...
def _tell(
    watching: dict[Callable[[Deferred[Any], Any], object], None],
    deferred: Deferred[Any],
    result: Any,
) -> None: ...
def _move_key(from_: dict[_T, None], key: _T, to: Any) -> None: ...
def _give_done(done: Any, waiting: _Fifo[Deferred[Any]], pass_on: _Call) -> None: ...
def _end_waiting(waiting: _Fifo[Deferred[Any]], over: Callable[[], Failure]) -> None: ...
def _acquire_for(lock: object, release: _Call, *callback: Any) -> Deferred[Any]: ...
def _run_locked(
    _acquired: object,
    function: _Call,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    done: _Call,
    release: tuple[_Call, tuple[Any, ...]],
    method: _Call,
) -> Deferred[Any]: ...
def _leave(lock: object) -> Deferred[None]: ...
def _let_in(queue: object, putting: _Fifo[Deferred[None]]) -> None: ...
def _end_task(task: _Task, error: BaseException) -> None: ...
def _reacquire(condition: object, waiter: Deferred[Any], failure: object) -> None: ...
def _end_with(callback: _Call, error: BaseException, *rest: object) -> object: ...
def _release_after(result: Any, release: _Call, args: tuple[Any, ...], _method: _Call) -> Any: ...
def _release_key(keys: dict[Any, Any], key: Any) -> None: ...
def _serve_rest(place: _Place, _deferred: Deferred[Any]) -> None: ...
def plain_traceback(failure: FailureBase, detail: object, /) -> str | None:
    """The text of `Failure.getTraceback`, or None if Python has to make it."""

def plain_pieces(failure: FailureBase, detail: object, /) -> list[str] | None:
    """The pieces that `Failure.printTraceback` writes, or None if Python has to do it."""

def pieces_of_frames(frames: object, detail: object, /) -> list[str] | None:
    """The pieces that `format_frames` writes, or None if Python has to do it."""

def plain_repr(failure: FailureBase, /) -> str | None:
    """The text of `Failure.__repr__`, or None if Python has to make it."""

def plain_state(failure: FailureBase, /) -> dict[str, Any] | None:
    """What `Failure.__getstate__` returns, or None if Python has to do it."""

def takes_reports(logger: object, class_: type, steps: Any, null_handler: type, /) -> bool | None:
    """Whether anything takes what a logger is given: false if all of its handlers are
    `NullHandler`s. None if the logger may behave in another way than those of `logging`.

    `steps` are the names and functions of the methods that it uses. If there is no handler at all,
    `logging` prints to standard error, so that counts as true.
    """

def stands_alone(error: object, /) -> bool:
    """Whether an exception has no context, notes or group members that are to be shown with it.
    True also for what is not an exception.
    """

def set_namespace(namespace: dict[str, Any]) -> None:
    """Set the namespace of the module in which `DebugInfo` is looked up."""

def has_room_for_text() -> bool:
    """Whether enough of the machine's stack is left to make the text of a failure."""

def look_all_up() -> None:
    """Look up everything in the Python half that the native half needs."""

# Where it has something to do: on the processors and with the C library that it knows.
if sys.platform == "linux" and sys.version_info < (3, 14):
    def keep_threads() -> None:
        """From now on, threads that the interpreter ends while they run native code wait forever
        instead.
        """

# Gathering

@disjoint_base
class DeferredList(Deferred[_ListResult]):
    """A Deferred for the outcomes of several Deferreds.

    By default it fires when all of them have fired, with a list of pairs `(success, result)` in
    their order. If there are none, it fires at once with an empty list, but never with
    `fireOnOneCallback`.

    Arguments:

    - `deferredList`: an iterable of Deferreds.
    - `fireOnOneCallback`: whether to fire with the first result, as a pair `(result, index)`.
    - `fireOnOneErrback`: whether to fail with the first failure, as a FirstError.
    - `consumeErrors`: whether failures are taken from the given Deferreds: their later
      callbacks then get None, and the failures are not reported as unhandled.

    Errors:

    - TypeError: `deferredList` is not iterable, or is a single Deferred.
    - AttributeError: an item is not a Deferred.

    Cancelling it cancels all the given Deferreds. What their cancellers raise is logged.

    Differs from Twisted: if an item is not a Deferred, no callback is added to the others.

    ```python
    from deferrous import DeferredList, fail, succeed

    outcomes = DeferredList([succeed(1), fail(KeyError())], consumeErrors=True)
    outcomes.addCallback(lambda pairs: print([success for success, _ in pairs]))
    ```

    This prints `[True, False]`.
    """

    fireOnOneCallback: bool
    """Whether the list fires with the first result."""
    fireOnOneErrback: bool
    """Whether the list fails with the first failure."""
    consumeErrors: bool
    """Whether failures are taken from the given Deferreds."""
    finishedCount: int
    """How many of the Deferreds have fired."""
    resultList: list[Any]
    """The outcomes so far: for each Deferred a pair `(success, result)`, or None."""
    @property
    def _deferredList(self) -> list[Any]: ...
    @overload
    def __init__(
        self: DeferredList[tuple[_T, int]],
        deferredList: Iterable[_DeferredOf[_T]],
        fireOnOneCallback: Literal[True],
        fireOnOneErrback: bool = False,
        consumeErrors: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self: DeferredList[list[tuple[bool, _T]]],
        deferredList: Iterable[_DeferredOf[_T]],
        fireOnOneCallback: Literal[False] = False,
        fireOnOneErrback: bool = False,
        consumeErrors: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self: DeferredList[tuple[_T, int] | list[tuple[bool, _T]]],
        deferredList: Iterable[_DeferredOf[_T]],
        fireOnOneCallback: bool,
        fireOnOneErrback: bool = False,
        consumeErrors: bool = False,
    ) -> None: ...
    def _cbDeferred(self, result: _T, index: int, succeeded: bool) -> _T | None: ...

def _parseDeferredListResult(
    results: Iterable[tuple[bool, _T]], _fire_on_one_errback: bool = False, /
) -> list[_T]: ...
def gatherResults(
    deferredList: Iterable[_DeferredOf[_T]], consumeErrors: bool = False
) -> Deferred[list[_T]]:
    """Wait for several Deferreds, and return a Deferred for the list of their results.

    Arguments:

    - `deferredList`: an iterable of Deferreds.
    - `consumeErrors`: whether failures are taken from the given Deferreds: their later
      callbacks then get None, and the failures are not reported as unhandled.

    Returns a Deferred for the results, in the order of `deferredList`. It fails with a
    FirstError as soon as one of them fails. If there are none, it fires at once with an empty
    list.

    Errors:

    - TypeError: `deferredList` is not iterable, or is a single Deferred.
    - AttributeError: an item is not a Deferred.

    Cancelling the Deferred cancels all the given ones.

    Differs from Twisted: if an item is not a Deferred, no callback is added to the others.

    ```python
    from deferrous import Deferred, gatherResults

    pages = [Deferred(), Deferred()]
    gatherResults(pages).addCallback(print)
    pages[1].callback("two")
    pages[0].callback("one")
    ```

    This prints `['one', 'two']`.
    """

def race(ds: Iterable[_DeferredOf[_T]]) -> Deferred[tuple[int, _T]]:
    """Wait for the first of several Deferreds to succeed, and cancel the others.

    Arguments:

    - `ds`: an iterable of Deferreds.

    Returns a Deferred for the first result, as a pair `(index, result)`. If all fail, it fails
    with a FailureGroup. If there are none, it never fires.

    Errors:

    - TypeError: `ds` is not iterable, or is a single Deferred.
    - AttributeError: an item is not a Deferred.

    Cancelling the Deferred cancels all the given ones.

    Differs from Twisted: takes any iterable, not only sequences.

    ```python
    from deferrous import Deferred, race

    slow, fast = Deferred(), Deferred()
    race([slow, fast]).addCallback(print)
    fast.callback("here")
    ```

    This prints `(1, 'here')`.
    """

# Locks, semaphores and queues

@disjoint_base
class _ConcurrencyPrimitive:
    """Something to be acquired and released."""

    def __init__(self) -> None: ...
    @property
    def waiting(self) -> _Fifo[Deferred[Self]]:
        """The Deferreds that wait to acquire this, in the order of asking. Can be set to any
        iterable.

        Differs from Twisted: it behaves like a list, but is not one.
        """
    @waiting.setter
    def waiting(self, waiting: Iterable[Deferred[Any]]) -> None: ...
    def acquire(self) -> Deferred[Self]:
        """Return a Deferred that fires with this object when it has been acquired.

        Cancelling the Deferred while it waits gives up the place in the line.

        ```python
        from deferrous import DeferredLock

        lock = DeferredLock()
        lock.acquire().addCallback(lambda lock: print(lock.locked))
        ```

        This prints `True`.
        """
    def release(self) -> None:
        """Release this. The first that waits acquires it at once.

        Errors:

        - AssertionError: it is not held.

        Differs from Twisted: callbacks that acquire and release it in turn may be as many as you
        like; Twisted raises RecursionError at some depth.

        ```python
        from deferrous import DeferredLock

        lock = DeferredLock()
        lock.acquire()
        lock.acquire().addCallback(lambda lock: print("the second has it"))
        lock.release()
        ```

        This prints `the second has it`.
        """
    @overload
    def run(
        self,
        /,
        f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]:
        """Acquire this, call a function, and release it when the function is done.

        Arguments:

        - `f`: the function. It is called with `args` and `kwargs`. If it returns a Deferred or
          a coroutine, this is released when that has its outcome.

        Returns a Deferred for the outcome of the function.

        Cancelling the Deferred while it waits gives up the place in the line; afterwards, it
        cancels what the function waits for.

        ```python
        from deferrous import DeferredSemaphore

        semaphore = DeferredSemaphore(2)
        semaphore.run(sum, [40, 2]).addCallback(print)
        ```

        This prints 42.
        """
    @overload
    def run(
        self,
        /,
        f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure | _N],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]: ...
    @overload
    def run(
        self,
        /,
        f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure | _Plain],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N | _Plain]: ...
    def _releaseAndReturn(self, r: _T) -> _T: ...
    def _cancelAcquire(self, d: Deferred[Any]) -> None: ...
    def __aenter__(self) -> Deferred[Self]: ...
    def __aexit__(
        self,
        _exc_type: type[BaseException] | None,
        _exc_value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> Deferred[Literal[False]]: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

class DeferredLock(_ConcurrencyPrimitive):
    """A lock that is acquired with a Deferred and held by one at a time.

    Those who wait get it in the order in which they asked. Coroutines can
    use `async with`.

    Cancelling the Deferred of `acquire()` gives up the place in the line, or does nothing if
    the lock has been acquired.

    Threads: on a free-threaded Python, any thread may use it. It is handed over exactly once.

    Differs from Twisted: to wait and to give up waiting take constant time, however many wait.

    ```python
    from deferrous import DeferredLock

    lock = DeferredLock()
    lock.run(print, "one at a time")
    ```

    This prints `one at a time`.
    """

    locked: bool
    """Whether the lock is held."""

class DeferredSemaphore(_ConcurrencyPrimitive):
    """A semaphore that is acquired with a Deferred and held by a limited number at a time.

    Those who wait get it in the order in which they asked. Coroutines can
    use `async with`.

    Arguments:

    - `tokens`: how many may hold it at a time.

    Errors:

    - ValueError: `tokens` is less than 1.

    Cancelling the Deferred of `acquire()` gives up the place in the line, or does nothing if a
    token has been acquired.

    Threads: on a free-threaded Python, any thread may use it. A token is handed over once.

    Differs from Twisted: to wait and to give up waiting take constant time, however many wait.

    ```python
    from deferrous import DeferredSemaphore

    semaphore = DeferredSemaphore(2)
    semaphore.acquire()
    print(semaphore.tokens)
    ```

    This prints 1.
    """

    tokens: int
    """How many tokens are left: how many more can acquire this."""
    limit: int
    """How many can hold this at a time."""
    def __init__(self, tokens: int) -> None: ...

@disjoint_base
class DeferredQueue(Generic[_T]):
    """A queue whose `get` returns a Deferred.

    Objects come out in the order in which they were put in. Those who wait for one are served
    in the order in which they asked.

    Arguments:

    - `size`: how many objects the queue holds at most. By default, there is no limit.
    - `backlog`: how many may wait for an object at most. By default, there is no limit.

    Cancelling the Deferred of `get()` gives up the place in the line.

    Threads: on a free-threaded Python, any thread may use it. An object is handed over once.

    Differs from Twisted: `put`, `get` and giving up take constant time, however much the queue
    holds.

    ```python
    from deferrous import DeferredQueue

    queue = DeferredQueue()
    queue.get().addCallback(print)
    queue.put("item")
    ```

    This prints `item`.
    """

    size: int | None
    """How many objects the queue holds at most, or None for no limit."""
    backlog: int | None
    """How many can wait for an object at most, or None for no limit."""
    def __init__(self, size: int | None = None, backlog: int | None = None) -> None: ...
    @property
    def waiting(self) -> _Fifo[Deferred[_T]]:
        """The Deferreds that wait for an object, in the order of asking. Can be set to any
        iterable.

        Differs from Twisted: it behaves like a list, but is not one.
        """
    @waiting.setter
    def waiting(self, waiting: Iterable[Deferred[_T]]) -> None: ...
    @property
    def pending(self) -> _Fifo[_T]:
        """The objects in the queue, the next one first. Can be set to any iterable.

        Differs from Twisted: it behaves like a list, but is not one.
        """
    @pending.setter
    def pending(self, pending: Iterable[_T]) -> None: ...
    def put(self, obj: _T) -> None:
        """Put an object into the queue. If somebody waits, the first of them gets it at once.

        Arguments:

        - `obj`: the object.

        Errors:

        - QueueOverflow: the queue is full.

        ```python
        from deferrous import DeferredQueue, QueueOverflow

        queue = DeferredQueue(size=1)
        queue.put("one")
        try:
            queue.put("two")
        except QueueOverflow:
            print("full")
        ```

        This prints `full`.
        """
    def get(self) -> Deferred[_T]:
        """Return a Deferred for the next object.

        It has fired already if the queue has an object.

        Errors:

        - QueueUnderflow: as many as `backlog` wait already.

        Cancelling the Deferred while it waits gives up the place in the line.

        ```python
        from deferrous import DeferredQueue

        queue = DeferredQueue()
        queue.put("item")
        queue.get().addCallback(print)
        ```

        This prints `item`.
        """
    def _cancelGet(self, d: Deferred[_T]) -> None: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

# The canceller of the Deferred of a generator or coroutine.
@final
class _Task:
    """A generator or coroutine that is being run.

    It is a waiter in the chain of the Deferred that it waits for, and the canceller of the Deferred
    that it will fire.
    """

    @property
    def _waiting_on(self) -> Deferred[Any] | None: ...
    @property
    def _generator(self) -> Any: ...
    @property
    def _running(self) -> bool: ...
    _cancelled_by: tuple[Any, ...] | None
    def _cancel_next(self, /, cancel: bool) -> bool: ...
    def __call__(self, deferred: Deferred[Any]) -> None: ...

# What the clock of a timeout calls, and the two callbacks of a timeout.
@final
class _Timeout:
    """A timeout: called by its clock when the time has run out."""

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> None: ...

def _convertTimedOut(result: Any, timeout: _Timeout) -> Any: ...
def _stopClock(result: _T, timeout: _Timeout) -> _T: ...

# The canceller of the Deferred of a race.
@final
class _Race:
    """The waiter of `race`."""

    def __call__(self, result: Any, place: int | None = None) -> None: ...

# A place in a line: the canceller of a Deferred that waits in it.
@final
class _Place:
    """A place in a line: the canceller of a Deferred that waits in it.

    Cancelling the Deferred removes it from the line, in constant time, and calls the `_left` method
    of the line's owner, if it has one. If an asyncio task is cancelled after it was given something
    and before it runs, it does not take that: then the owner's `_not_taken` is called.
    """

    @property
    def owner(self) -> Any:
        """The owner of the line, or None."""
    @property
    def what(self) -> Any:
        """Set by the owner."""
    def __call__(self, deferred: Deferred[Any]) -> None: ...

# A list from whose front things are taken in constant time.
@final
class _Fifo(MutableSequence[_T]):
    """A mutable sequence for waiting Deferreds and queued items, used like a list.

    Removing the first item, or a cancelled Deferred, takes constant time. For everything else, the
    items are moved to a list, so that it behaves exactly like one.
    """

    def __new__(cls, iterable: Iterable[_T] | None = None, /) -> Self: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> _T: ...
    @overload
    def __getitem__(self, key: slice, /) -> list[_T]: ...
    @overload
    def __setitem__(self, key: SupportsIndex, value: _T, /) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: Iterable[_T], /) -> None: ...
    def __delitem__(self, key: SupportsIndex | slice, /) -> None: ...
    def __iter__(self) -> Iterator[_T]: ...
    def __reversed__(self) -> Iterator[_T]: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __lt__(self, value: _Fifo[_T] | list[_T], /) -> bool: ...
    def __le__(self, value: _Fifo[_T] | list[_T], /) -> bool: ...
    def __gt__(self, value: _Fifo[_T] | list[_T], /) -> bool: ...
    def __ge__(self, value: _Fifo[_T] | list[_T], /) -> bool: ...
    def __add__(self, value: _Fifo[_T] | list[_T], /) -> list[_T]: ...
    def __radd__(self, value: list[_T], /) -> list[_T]: ...
    def __iadd__(self, value: Iterable[_T], /) -> Self: ...
    def __mul__(self, value: SupportsIndex, /) -> list[_T]: ...
    def __rmul__(self, value: SupportsIndex, /) -> list[_T]: ...
    def __imul__(self, value: SupportsIndex, /) -> Self: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def append(self, object: _T) -> None:
        """Append an object."""
    def extend(self, iterable: Iterable[_T]) -> None:
        """Append several objects."""
    def insert(self, index: SupportsIndex, object: _T) -> None:
        """Insert an object before an index."""
    def pop(self, index: SupportsIndex | None = None, /) -> _T:
        """Remove and return the item at an index, by default the last one.

        Raises IndexError if there is none.
        """
    def remove(self, value: _T) -> None:
        """Remove the first item that is equal to `value`.

        Raises ValueError if there is none.
        """
    def clear(self) -> None:
        """Remove all items."""
    def index(self, *args: Any) -> int:
        """Return the index of the first item that is equal to `value`.

        Raises ValueError if there is none.
        """
    def count(self, value: _T) -> int:
        """Return the number of items that are equal to `value`."""
    def reverse(self) -> None:
        """Reverse the order of the items."""
    def sort(self, **kwargs: Any) -> None:
        """Sort the items, as `list.sort` does."""
    def copy(self) -> list[_T]:
        """Return a list with the same items."""
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

# Failure

def failure_count() -> int:
    """How many failures have been made in this process."""

def register_failure_class(class_: type[FailureBase], /) -> None:
    """Register the class `Failure`, so that calling it bypasses `__new__` and `__init__`.

    # Errors

    `TypeError` if the class does not derive from ours.
    """

@disjoint_base
class FailureBase(BaseException):
    """The native base class of Failure. Use `deferrous.failure.Failure`."""

    # Twisted says nothing of its type, and programs rely on that after `trap` or `check`.
    value: Any
    """The exception."""
    type: builtins.type[BaseException]
    """The class of the exception."""
    tb: TracebackType | None
    """The traceback, or None."""
    captureVars: bool
    """Whether `frames` keeps the variables of each frame."""
    count: int
    """The number of this Failure, counted from the start of the process."""
    parents: list[Any]
    """The full names of the exception's class and of its bases.

    If `type` is no exception class, the list has only that.
    """
    frames: list[tuple[str, str, int, Iterable[Any], Iterable[Any]]]
    """The frames of the traceback, the innermost last: one list, which can be changed.

    Each is a tuple of the function's name, the file, the line, the local and the global
    variables; these are lists of pairs if `captureVars` is set, and otherwise empty.
    """
    stack: list[Any]
    """Always empty. Deprecated."""
    @property
    def _raised(self) -> BaseException: ...
    def __init__(
        self,
        exc_value: BaseException | None = None,
        exc_type: builtins.type[BaseException] | None = None,
        exc_tb: TracebackType | None = None,
        captureVars: bool = False,
    ) -> None: ...
    @overload
    def check(self, *errorTypes: builtins.type[_E]) -> builtins.type[_E] | None:
        """Return the first of the given exception classes that the exception belongs to, or None.

        Arguments:

        - `errorTypes`: exception classes, or their full names as strings, such as
          `"builtins.KeyError"`.

        As in Twisted, classes are compared by their full names.

        ```python
        from deferrous import Failure

        failure = Failure(KeyError("name"))
        print(failure.check(ValueError, LookupError))
        ```

        This prints `<class 'LookupError'>`.
        """
    @overload
    def check(self, *errorTypes: str) -> str | None: ...
    @overload
    def check(self, *errorTypes: builtins.type[_E] | str) -> builtins.type[_E] | str | None: ...
    @overload
    def trap(self, *errorTypes: builtins.type[_E]) -> builtins.type[_E]:
        """Return the class that the exception belongs to, as `check` does, or raise the exception.

        Use it at the start of an errback, to handle some exceptions and pass on all others.

        Arguments:

        - `errorTypes`: exception classes, or their full names as strings.

        Errors:

        - The exception itself, if it belongs to none of them.

        ```python
        from deferrous import fail


        def missing(failure):
            failure.trap(LookupError)
            return "missing"


        fail(KeyError("name")).addErrback(missing).addCallback(print)
        ```

        This prints `missing`.
        """
    @overload
    def trap(self, *errorTypes: str) -> str: ...
    @overload
    def trap(self, *errorTypes: builtins.type[_E] | str) -> builtins.type[_E] | str: ...
    def __copy__(self) -> Any: ...
    def getErrorMessage(self) -> str:
        """Return the text of the exception, or of what is wrong with it. Raises nothing."""
    def throwExceptionIntoGenerator(self, g: Generator[_Y, Any, Any]) -> _Y:
        """Raise the exception inside a generator, where it is suspended.

        Arguments:

        - `g`: the generator.

        Returns what the generator yields next.

        Errors:

        - What the generator raises. StopIteration if it ends.

        ```python
        from deferrous import Failure


        def numbers():
            try:
                yield 1
            except KeyError:
                yield 2


        generator = numbers()
        next(generator)
        print(Failure(KeyError()).throwExceptionIntoGenerator(generator))
        ```

        This prints 2.
        """
    def _extrapolate(self, otherFailure: FailureBase) -> None: ...
    @staticmethod
    def _withoutTraceback(value: BaseException) -> Failure: ...
