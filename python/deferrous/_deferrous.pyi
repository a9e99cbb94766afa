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
from types import GenericAlias, TracebackType
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
    "_Race",
    "_Task",
    "__version__",
    "_build",
    "_cancellableInlineCallbacks",
    "_driven",
    "_hand_over",
    "_parseDeferredListResult",
    "_runInlineCallbacks",
    "_task_for",
    "ensureDeferred",
    "execute",
    "fail",
    "failure_count",
    "gatherResults",
    "getDebugging",
    "has_room_for_text",
    "look_all_up",
    "maybeDeferred",
    "race",
    "register_failure_class",
    "setDebugging",
    "set_namespace",
    "succeed",
]
if sys.platform == "linux" and sys.version_info < (3, 14):
    __all__ += ["keep_threads"]

_T = TypeVar("_T")
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

# A reactor, as something that other threads may have a function called by.
@type_check_only
class _Threaded(Protocol):
    @property
    def callFromThread(self) -> Callable[..., Any]: ...

__version__: str
_build: Literal["plain", "profile-guided", "quick"]
_DEFERRED_SUBCLASSES: list[type[Deferred[Any]]]

class AlreadyCalledError(Exception): ...
class CancelledError(Exception): ...
class TimeoutError(Exception): ...
class NotACoroutineError(TypeError): ...
class QueueOverflow(Exception): ...
class QueueUnderflow(Exception): ...
class NoCurrentExceptionError(Exception): ...
class _InternalInlineCallbacksCancelledError(Exception): ...

@disjoint_base
class Deferred(Generic[_T]):
    debug: bool
    called: bool
    paused: int
    # While this waits for another Deferred, that one; None once that one's waiter has taken it.
    result: _T | Failure
    _debugInfo: DebugInfo | None
    _canceller: Callable[[Deferred[Any]], object] | None
    _chainedTo: Deferred[Any] | None

    def __init__(self, canceller: Callable[[Deferred[Any]], object] | None = None) -> None: ...
    def __init_subclass__(cls, **_kwargs: Any) -> None: ...
    @property
    @deprecated("Twisted has deprecated it in version 25.5.0")
    def callbacks(self) -> list[Any]: ...

    # In each group of overloads, the function returns: a Deferred, a Failure or either; these or a
    # plain result of the same type; these or a plain result of another type.
    @overload
    def addCallback(
        self,
        callback: Callable[Concatenate[_T, _P], _DeferredOf[_N] | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]: ...
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
    ) -> Deferred[_T | _N]: ...
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
    ) -> Deferred[_N]: ...
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
    ) -> Deferred[_N]: ...
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
    def chainDeferred(self, d: Deferred[_T]) -> Deferred[None]: ...
    @overload
    def addTimeout(
        self, timeout: float, clock: _Clock | None = None, onTimeoutCancel: None = None
    ) -> Deferred[_T]: ...
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
    def callback(self, result: _T | Failure) -> None: ...
    def errback(self, fail: Failure | BaseException | None = None) -> None: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...
    def cancel(self) -> None: ...
    def __iter__(self) -> Generator[Deferred[_T], Any, _T]: ...
    def __await__(self) -> Generator[Deferred[_T], Any, _T]: ...
    @classmethod
    def fromCoroutine(
        cls, coro: Coroutine[Any, Any, _R] | Generator[Any, Any, _R]
    ) -> Deferred[_R]: ...
    def asFuture(self, loop: AbstractEventLoop) -> asyncio.Future[_T]: ...
    @classmethod
    def fromFuture(
        cls,
        future: asyncio.Future[_R] | concurrent.futures.Future[_R],
        scheduler: (_Clock | _Threaded | Callable[[Callable[[], None]], object] | None) = None,
    ) -> Deferred[_R]: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

def succeed(result: _T) -> Deferred[_T]: ...
def fail(result: Failure | BaseException | None = None) -> Deferred[Any]: ...
def execute(callable: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]: ...
@overload
def maybeDeferred(
    f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> Deferred[_N]: ...
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
) -> Deferred[_T]: ...
def _cancellableInlineCallbacks(
    generator: Coroutine[Any, Any, _T] | Generator[Any, Any, _T],
) -> Deferred[_T]: ...
def _runInlineCallbacks(
    function: Callable[..., Generator[Any, Any, _T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Deferred[_T]: ...
def _driven() -> list[Any]: ...
def _task_for(generator: Any) -> tuple[_Task, Deferred[Any]] | None: ...
def _hand_over(deferred: Deferred[_T], result: _T | Failure) -> None: ...
def setDebugging(on: bool) -> None: ...
def getDebugging() -> bool: ...
def set_namespace(namespace: dict[str, Any]) -> None: ...
def has_room_for_text() -> bool: ...
def look_all_up() -> None: ...

# Where it has something to do: on the processors and with the C library that it knows.
if sys.platform == "linux" and sys.version_info < (3, 14):
    def keep_threads() -> None: ...

# ---------------------------------------------------------------------------------------------
# Gathering

@disjoint_base
class DeferredList(Deferred[_ListResult]):
    fireOnOneCallback: bool
    fireOnOneErrback: bool
    consumeErrors: bool
    finishedCount: int
    resultList: list[Any]
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
) -> Deferred[list[_T]]: ...
def race(ds: Iterable[_DeferredOf[_T]]) -> Deferred[tuple[int, _T]]: ...

# ---------------------------------------------------------------------------------------------
# Locks, semaphores and queues

@disjoint_base
class _ConcurrencyPrimitive:
    def __init__(self) -> None: ...
    @property
    def waiting(self) -> _Fifo[Deferred[Self]]: ...
    @waiting.setter
    def waiting(self, waiting: Iterable[Deferred[Any]]) -> None: ...
    def acquire(self) -> Deferred[Self]: ...
    def release(self) -> None: ...
    @overload
    def run(
        self,
        /,
        f: Callable[_P, _DeferredOf[_N] | Coroutine[Any, Any, _N] | Failure],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> Deferred[_N]: ...
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
    locked: bool

class DeferredSemaphore(_ConcurrencyPrimitive):
    tokens: int
    limit: int
    def __init__(self, tokens: int) -> None: ...

@disjoint_base
class DeferredQueue(Generic[_T]):
    size: int | None
    backlog: int | None
    def __init__(self, size: int | None = None, backlog: int | None = None) -> None: ...
    @property
    def waiting(self) -> _Fifo[Deferred[_T]]: ...
    @waiting.setter
    def waiting(self, waiting: Iterable[Deferred[_T]]) -> None: ...
    @property
    def pending(self) -> _Fifo[_T]: ...
    @pending.setter
    def pending(self, pending: Iterable[_T]) -> None: ...
    def put(self, obj: _T) -> None: ...
    def get(self) -> Deferred[_T]: ...
    def _cancelGet(self, d: Deferred[_T]) -> None: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

# The canceller of the Deferred of a generator or coroutine.
@final
class _Task:
    @property
    def _waiting_on(self) -> Deferred[Any] | None: ...
    @property
    def _generator(self) -> Any: ...
    @property
    def _running(self) -> bool: ...
    def _cancel_next(self, /, cancel: bool) -> bool: ...
    def __call__(self, deferred: Deferred[Any]) -> None: ...

# The canceller of the Deferred of a race.
@final
class _Race:
    def __call__(self, result: Any, place: int | None = None) -> None: ...

# A list from whose front things are taken in constant time.
@final
class _Fifo(MutableSequence[_T]):
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
    def append(self, object: _T) -> None: ...
    def extend(self, iterable: Iterable[_T]) -> None: ...
    def insert(self, index: SupportsIndex, object: _T) -> None: ...
    def pop(self, index: SupportsIndex | None = None, /) -> _T: ...
    def remove(self, value: _T) -> None: ...
    def clear(self) -> None: ...
    def index(self, *args: Any) -> int: ...
    def count(self, value: _T) -> int: ...
    def reverse(self) -> None: ...
    def sort(self, **kwargs: Any) -> None: ...
    def copy(self) -> list[_T]: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

# ---------------------------------------------------------------------------------------------
# Failure

def failure_count() -> int: ...
def register_failure_class(class_: type[FailureBase], /) -> None: ...

@disjoint_base
class FailureBase(BaseException):
    # Twisted says nothing of its type, and programs rely on that after `trap` or `check`.
    value: Any
    type: builtins.type[BaseException]
    tb: TracebackType | None
    captureVars: bool
    count: int
    @property
    def _raised(self) -> BaseException: ...
    @property
    def parents(self) -> list[Any]: ...
    @parents.setter
    def parents(self, parents: list[Any] | None) -> None: ...
    def __init__(
        self,
        exc_value: BaseException | None = None,
        exc_type: builtins.type[BaseException] | None = None,
        exc_tb: TracebackType | None = None,
        captureVars: bool = False,
    ) -> None: ...
    @overload
    def check(self, *errorTypes: builtins.type[_E]) -> builtins.type[_E] | None: ...
    @overload
    def check(self, *errorTypes: str) -> str | None: ...
    @overload
    def check(self, *errorTypes: builtins.type[_E] | str) -> builtins.type[_E] | str | None: ...
    @overload
    def trap(self, *errorTypes: builtins.type[_E]) -> builtins.type[_E]: ...
    @overload
    def trap(self, *errorTypes: str) -> str: ...
    @overload
    def trap(self, *errorTypes: builtins.type[_E] | str) -> builtins.type[_E] | str: ...
    def throwExceptionIntoGenerator(self, g: Generator[_Y, Any, Any]) -> _Y: ...
    def _extrapolate(self, otherFailure: FailureBase) -> None: ...
    @staticmethod
    def _withoutTraceback(value: BaseException) -> Failure: ...
