"""Small programs that together use every part of the API, on Twisted or on deferrous.

Each takes the names of one implementation, and `keep`, to which it gives what is to be looked at
afterwards: each Deferred must be able to go on, whatever has happened to the program. What it
returns is the same each time that it is run.

    python -m tests.proofs.programs            each, three times: for a build that checks itself
"""

from __future__ import annotations

import _imp
import asyncio
import copy
import importlib
import itertools
import sys
import types
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

Keep = Callable[[Any], Any]
Program = Callable[[Any, Keep], Any]

#: Import names of each implementation: its Deferreds, its Failure.
IMPLEMENTATIONS = {
    "twisted": ("twisted.internet.defer", "twisted.python.failure"),
    "deferrous": ("deferrous", "deferrous.failure"),
}

PROGRAMS: dict[str, Program] = {}

#: Programs that are to find nothing imported of deferrous. They are run where they are named.
FRESH: dict[str, Program] = {}

#: What uses nothing but Python: to see what CPython does by itself.
PLAIN: dict[str, Program] = {}

#: Programs that use what Twisted's Deferreds cannot do, and those of them that asyncio can.
OURS_ONLY = set()
ASYNCIO_TOO = set()


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def ours(function: Program) -> Program:
    OURS_ONLY.add(function.__name__)
    return program(function)


def asyncio_too(function: Program) -> Program:
    ASYNCIO_TOO.add(function.__name__)
    return ours(function)


def fresh(function: Program) -> Program:
    FRESH[function.__name__] = function
    OURS_ONLY.add(function.__name__)
    return function


def plain(function: Program) -> Program:
    PLAIN[function.__name__] = function
    return function


def load(name: str) -> types.SimpleNamespace:
    """Return all public names of an implementation, and its Failure."""
    if name == "asyncio":
        return ASYNCIO
    if name == "plain":
        return types.SimpleNamespace()
    if name == "fresh":
        package = PathFinder.find_spec("deferrous").submodule_search_locations[0]
        return types.SimpleNamespace(native_half=str(next(Path(package).glob("_deferrous.*.so"))))
    defer, failure = map(importlib.import_module, IMPLEMENTATIONS[name])
    names = {each: getattr(defer, each) for each in dir(defer)}
    names["Failure"] = failure.Failure
    names["NoCurrentExceptionError"] = failure.NoCurrentExceptionError
    names["failure"] = failure
    return types.SimpleNamespace(**names)


class Clock:
    """What `addTimeout` takes: calls nothing before it is told to."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callLater(self, _seconds: float, function: Any, *args: Any) -> Any:
        call = Call(function, args)
        self.calls.append(call)
        return call

    def advance(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            if call.active():
                call.live = False
                call.function(*call.args)


class Call:
    def __init__(self, function: Any, args: Any) -> None:
        self.function, self.args, self.live = function, args, True

    def active(self) -> bool:
        return self.live

    def cancel(self) -> None:
        self.live = False


class Oops(Exception):
    """What these programs raise."""


def oops(*_: Any) -> None:
    raise Oops("oops")


def pass_on(result: Any, *_: Any, **__: Any) -> Any:
    return result


def sort(result: Any) -> str:
    """The name of a result's class, and what :func:`kind` has of a failure."""
    name = type(result).__name__
    return name if name != "Failure" or kind(result) in USUAL else f"{name} {kind(result)}"


#: What these programs make of an error that they expect.
USUAL = ("Oops", "KeyError", "TypeError", "ValueError", "CancelledError")


def kind(failure: Any) -> str:
    """The name of a failure's class; more, if it is none of what these programs raise."""
    unexpected = failure.type in (MemoryError, SystemError)
    return repr(failure.value) if unexpected else failure.type.__name__


def nothing(*_: Any) -> None:
    return None


def turns(loop: Any, count: int = 6) -> None:
    """Let a loop make some turns. None waits for anything, so none can hang.

    As `run_forever` does, but for its `finally`: in it CPython 3.11 goes round in a circle where it
    has no memory, and takes a loop to be running for ever where it had none for a moment.
    """
    asyncio._set_running_loop(loop)
    loop._stopping = True
    for _ in range(count):
        loop._run_once()
    asyncio._set_running_loop(None)


LOOP: list[asyncio.AbstractEventLoop] = []


def loop() -> asyncio.AbstractEventLoop:
    """A loop that is made once: what it takes to make one is no part of the programs."""
    if not LOOP:
        LOOP.append(asyncio.new_event_loop())
        LOOP[0].set_exception_handler(lambda *_: None)
        turns(LOOP[0])
    return LOOP[0]


class Future(asyncio.Future):
    """A future of asyncio's as the programs for ours use a Deferred."""

    def __init__(self) -> None:
        super().__init__(loop=loop())

    called = property(asyncio.Future.done)
    paused = 0

    def callback(self, result: Any) -> None:
        self.set_result(result)

    def errback(self, error: Exception) -> None:
        self.set_exception(error)

    def addBoth(self, function: Any) -> None:
        if self.done():
            function(None if self.cancelled() else self.exception() or self.result())

    def addErrback(self, function: Any) -> None:
        if self.done() and not self.cancelled() and self.exception():
            function(self.exception())


def task_of(coroutine: Any) -> Future:
    """Run a coroutine in a task of asyncio's."""
    future, task = Future(), loop().create_task(coroutine)
    task.add_done_callback(lambda _: future.set_result(None))
    return future


#: What the programs for ours use, of asyncio alone.
ASYNCIO = types.SimpleNamespace(Deferred=Future, DeferredLock=asyncio.Lock, ensureDeferred=task_of)


# --------------------------------------------------------------------------------------------
# Callbacks


@program
def callbacks(defer, keep):
    d = keep(defer.Deferred())
    seen = []
    d.addCallback(lambda r: r + 1)
    d.addBoth(lambda r, *a, **k: (r, a, tuple(k)), 1, 2, key=3)
    d.addCallbacks(seen.append, oops)
    d.callback(1)
    return seen


@program
def called_at_once(defer, keep):
    d = keep(defer.succeed(1))
    seen = []
    d.addCallback(lambda r: [r, r])
    d.addBoth(seen.append)
    d.addErrback(seen.append)
    return seen, d.called, d.paused


@program
def many_callbacks(defer, keep):
    d = keep(defer.Deferred())
    seen = []
    for i in range(20):
        d.addCallback(lambda r, i: seen.append(i), i)
    d.callback(None)
    return seen


@program
def arguments_of_all_kinds(defer, keep):
    d = keep(defer.Deferred())
    seen = []

    def note(*args, **kwargs):
        seen.append((len(args), sorted(kwargs)))

    d.addCallbacks(note, note, (1, 2), {"a": 1}, (3,), {"b": 2})
    d.addCallbacks(note, note, [1], None, [2], None)
    d.addCallback(note, 1, a=2)
    d.addErrback(note, 1, a=2)
    d.addBoth(note, 1, 2, 3, 4, 5, 6, 7, 8, a=2)
    d.callback(1)
    return seen


@program
def errbacks(defer, keep):
    d = keep(defer.Deferred())
    seen = []
    d.addCallback(oops)
    d.addErrback(lambda f: seen.append((f.check(Oops, KeyError), f.getErrorMessage())))
    d.addCallback(oops)
    d.addErrback(lambda f: seen.append(f.trap(KeyError, Oops)))
    d.callback(1)
    return seen


@program
def fails_to_trap(defer, keep):
    d = keep(defer.fail(Oops()))
    d.addErrback(lambda f: f.trap(KeyError))
    d.addErrback(lambda f: f.check("tests.Nothing", Oops))
    return d.result


@program
def errback_of_current(defer, keep):
    d, seen = keep(defer.Deferred()), []
    try:
        raise Oops("current")
    except Oops:
        d.errback()
    d.addErrback(lambda f: seen.append(f.value.args))
    return seen


@program
def called_twice(defer, keep):
    d = keep(defer.Deferred())
    d.callback(1)
    try:
        d.callback(2)
    except defer.AlreadyCalledError as error:
        return type(error).__name__
    return None


@program
def no_current_exception(defer, keep):
    try:
        keep(defer.Deferred()).errback()
    except defer.NoCurrentExceptionError:
        return "none"
    return None


@program
def no_result(defer, keep):
    try:
        return keep(defer.Deferred()).result
    except AttributeError as error:
        return str(error)


@program
def chained(defer, keep):
    first, second = keep(defer.Deferred()), keep(defer.Deferred())
    seen = []
    first.addCallback(lambda _: second)
    first.addCallback(seen.append)
    first.callback(1)
    state = first.paused, second.called
    second.callback("two")
    return seen, state


@program
def chained_to_fired(defer, keep):
    seen = []
    for inner in (defer.succeed(1), defer.fail(Oops())):
        d = keep(defer.Deferred())
        d.addCallback(lambda _, inner=inner: inner)
        d.addBoth(lambda r: seen.append(sort(r)))
        d.callback(None)
    return seen


@program
def chain_deferred(defer, keep):
    a, b = keep(defer.Deferred()), keep(defer.Deferred())
    seen = []
    a.chainDeferred(b)
    b.addCallback(seen.append)
    a.callback(3)
    return seen, a.result


@program
def deep_chain(defer, keep):
    ends = [keep(defer.Deferred()) for _ in range(12)]
    seen = []
    for d, following in itertools.pairwise(ends):
        d.addCallback(lambda _, following=following: following)
    ends[0].addCallback(seen.append)
    for d in ends:
        d.callback(None)
    return seen


@program
def paused(defer, keep):
    d, seen = keep(defer.Deferred()), []
    d.addCallback(seen.append)
    d.pause()
    d.callback(1)
    before = len(seen)
    d.unpause()
    return before, seen


@program
def returns_itself(defer, keep):
    import warnings

    d = keep(defer.Deferred())
    d.addCallback(lambda _: d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        d.callback(1)
    return d.called


@program
def fires_from_callback(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    a.addCallback(lambda r: b.callback(r))
    b.addCallback(seen.append)
    a.callback(1)
    return seen


@program
def deferred_as_callback(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    a.addCallbacks(b.callback, b.errback)
    b.addBoth(seen.append)
    a.callback(1)
    return seen


def calls_that_fail(calls):
    """How many of these calls raise an exception."""
    failed = 0
    for function, args, kwargs in calls:
        try:
            function(*args, **kwargs)
        except MemoryError:
            raise
        except Exception:
            failed += 1
    return failed


@program
def bad_calls_of_deferreds(defer, keep):
    d = keep(defer.Deferred())
    return calls_that_fail(
        [
            (defer.Deferred, (1, 2, 3), {}),
            (defer.Deferred, (), {"unknown": 1}),
            (d.callback, (), {}),
            (d.callback, (1, 2), {}),
            (d.callback, (), {"unknown": 1}),
            (d.errback, (1, 2), {}),
            (d.errback, ("no exception",), {}),
            (d.addCallback, (), {}),
            (d.addErrback, (), {"unknown": 1}),
            (d.addBoth, (), {}),
            (d.addCallbacks, (), {}),
            (d.addCallbacks, (1, 2, 3, 4, 5, 6, 7), {}),
            (d.addCallbacks, (nothing,), {"unknown": 1}),
            (d.chainDeferred, (), {}),
            (d.pause, (1,), {}),
            (d.cancel, (1,), {}),
            (d.addTimeout, (), {}),
            (d.asFuture, (), {}),
            (defer.Deferred.fromFuture, (), {}),
            (defer.Deferred.fromCoroutine, (1,), {}),
            (setattr, (d, "callbacks", 1), {}),
            (setattr, (d, "nothing", 1), {}),
            (defer.Deferred.callback, (1, 2), {}),
            (defer.Deferred.callback, (), {}),
            (defer.Deferred.__init__, (1,), {}),
        ]
    )


@program
def bad_calls_of_functions(defer, keep):
    return calls_that_fail(
        [
            (defer.succeed, (), {}),
            (defer.succeed, (1, 2), {}),
            (defer.fail, (1,), {}),
            (defer.execute, (), {}),
            (defer.maybeDeferred, (), {}),
            (defer.ensureDeferred, (), {}),
            (defer.inlineCallbacks, (), {}),
            (defer.gatherResults, (), {}),
            (defer.gatherResults, ([1],), {}),
            (defer.DeferredList, (), {}),
            (defer.DeferredList, ([1],), {}),
            (defer.DeferredList, ([],), {"unknown": 1}),
            (defer.race, (), {}),
            (defer.race, ([1],), {}),
            (defer.setDebugging, (), {}),
            (defer.Failure, (1, 2, 3, 4, 5), {}),
            (defer.Failure, (), {"unknown": 1}),
            (defer.Failure(Oops()).trap, (), {}),
            (defer.Failure(Oops()).check, (), {"unknown": 1}),
            (defer.Failure(Oops()).throwExceptionIntoGenerator, (), {}),
            (defer.Failure(Oops()).throwExceptionIntoGenerator, (1,), {}),
        ]
    )


@program
def bad_calls_of_locks(defer, keep):
    lock, semaphore = keep(defer.DeferredLock()), keep(defer.DeferredSemaphore(1))
    queue = keep(defer.DeferredQueue())
    return calls_that_fail(
        [
            (defer.DeferredLock, (1, 2), {}),
            (defer.DeferredSemaphore, (), {}),
            (defer.DeferredSemaphore, ("one",), {}),
            (defer.DeferredSemaphore, (0,), {}),
            (defer.DeferredQueue, (1, 2, 3), {}),
            (defer.DeferredQueue, (), {"unknown": 1}),
            (lock.acquire, (1,), {}),
            (lock.release, (1,), {}),
            (lock.release, (), {}),
            (lock.run, (), {}),
            (semaphore.release, (), {"unknown": 1}),
            (semaphore.release, (), {}),
            (semaphore.run, (), {}),
            (queue.put, (), {}),
            (queue.put, (1, 2), {}),
            (queue.get, (1,), {}),
            (setattr, (semaphore, "nothing_else", 1), {}),
            (queue.pending.remove, (1,), {}),
            (queue.pending.pop, (), {}),
            (queue.pending.insert, (), {}),
            (queue.pending.index, (1,), {}),
            (queue.pending.__getitem__, (7,), {}),
            (queue.pending.__getitem__, ("x",), {}),
            (queue.pending.extend, (1,), {}),
            (queue.pending.sort, (1,), {}),
        ]
    )


@program
def bad_values(defer, keep):
    d, semaphore = keep(defer.Deferred()), keep(defer.DeferredSemaphore(1))
    awaiting = defer.Deferred().__await__()
    return [
        calls_that_fail([(setattr, (it, name, value), {})])
        for it, name, value in [
            (d, "__dict__", 1),
            (d, "__class__", int),
            (semaphore, "waiting", 1),
            (defer.Failure(Oops()), "__dict__", 1),
        ]
    ] + [calls_that_fail([(getattr(awaiting, "throw", None), (1,), {})])]


#: All that a program can call, set or delete of our native classes: attributes, and methods.
#: `tests/test_memory.py` sees to it that none is missing.
FORMS = {
    "Deferred": (
        "__dict__ _callbacks _canceller _chainedTo _suppressAlreadyCalled called paused result",
        "__await__ __class_getitem__ __getstate__ __init__ __iter__ __reduce__ __repr__ "
        "__setstate__ __str__ addBoth addCallback addCallbacks addErrback addTimeout asFuture "
        "callback cancel chainDeferred errback fromCoroutine fromFuture pause unpause",
    ),
    "DeferredList": (
        "_deferredList consumeErrors finishedCount fireOnOneCallback fireOnOneErrback resultList",
        "__init__ _cbDeferred cancel",
    ),
    "DeferredLock": (
        "__dict__ waiting locked",
        "__aenter__ __aexit__ __class_getitem__ __getstate__ __init__ __reduce__ __setstate__ "
        "_cancelAcquire _releaseAndReturn acquire release run",
    ),
    "DeferredSemaphore": ("limit tokens", "__init__ acquire release"),
    "DeferredQueue": (
        "__dict__ backlog pending size waiting",
        "__class_getitem__ __getstate__ __init__ __reduce__ __setstate__ _cancelGet get put",
    ),
    "_Fifo": (
        "",
        "__add__ __class_getitem__ __contains__ __delitem__ __eq__ __ge__ __getitem__ __gt__ "
        "__iadd__ __imul__ __iter__ __le__ __len__ __lt__ __mul__ __ne__ __radd__ __reduce__ "
        "__repr__ __reversed__ __rmul__ __setitem__ append clear copy count extend index insert "
        "pop remove reverse sort",
    ),
    "FailureBase": (
        "__dict__ _raised captureVars count frames parents stack tb type value",
        "__copy__ __init__ _extrapolate _withoutTraceback check getErrorMessage "
        "throwExceptionIntoGenerator trap",
    ),
    "_Task": ("_generator _running _waiting_on", "__call__ _cancel_next"),
    "_Race": ("", "__call__"),
    "_DeferredIterator": ("", "__iter__ __next__ _arrive close send throw"),
    "_Timeout": ("", "__call__"),
    "_Locked": ("", "__call__"),
}

#: And of the functions.
FUNCTIONS = (
    "_all_of _cancellableInlineCallbacks _convertTimedOut _driven _fire_all _first_waiting "
    "_follow _give_first _hand_over _members_of _next_in _now _parseDeferredListResult "
    "_parts_of _place _place_in _runInlineCallbacks _runNatively _run_of _state_of _stopClock "
    "_take_last _task_for _trace_begin _trace_end _trace_since _trace_strands _track "
    "_track_earlier _tracked _tracked_at _tracked_one _tracking _wait_in ensureDeferred execute "
    "fail failure_count gatherResults getDebugging has_room_for_text look_all_up maybeDeferred "
    "pieces_of_frames plain_pieces plain_repr plain_state plain_traceback race "
    "register_failure_class setDebugging set_namespace stands_alone succeed"
)


def object_of(defer: Any, name: str) -> Any:
    """An object of a native class, got as a program gets it."""

    def waiting():
        yield defer.Deferred()

    if name == "_Fifo":
        return defer.DeferredQueue().pending
    if name == "FailureBase":
        return defer.Failure(Oops())
    if name == "_Task":
        return defer.inlineCallbacks(waiting)()._canceller
    if name == "_Race":
        return defer.race([defer.Deferred()])._canceller
    if name == "_DeferredIterator":
        return defer.Deferred().__await__()
    if name == "_Timeout":
        return defer.Deferred().addTimeout(1, Clock())._callbacks[0][0][1][0]
    if name == "_Locked":
        lock = defer.DeferredLock()
        lock.acquire()
        return lock.run(nothing)._callbacks[0][0][1][0]
    arguments = {"DeferredList": [[]], "DeferredSemaphore": [1]}
    return getattr(defer, name)(*arguments.get(name, []))


#: More arguments than anything takes; what no keyword is called; something of no class of ours.
TOO_MANY, UNKNOWN, ALIEN = (object(),) * 9, {"unknown": 1}, object()


def attributes_refuse(name: str) -> None:
    def refuse(defer, keep):
        def change(function, *value):
            return [(function, (object_of(defer, name), each, *value), {}) for each in names]

        names = [*FORMS[name][0].split(), "none_such"]
        return calls_that_fail(change(delattr)), calls_that_fail(change(setattr, ALIEN))

    refuse.__name__ = f"attributes_of_{name}"
    ours(refuse)


def methods_refuse(name: str) -> None:
    def refuse(defer, keep):
        failed = 0
        for each in FORMS[name][1].split():
            for args, kwargs in ((ALIEN,), {}), (TOO_MANY, {}), ((), UNKNOWN):
                method = getattr(object_of(defer, name), each)
                failed += calls_that_fail([(method, args, kwargs)])
        kind = type(object_of(defer, name))
        return failed + calls_that_fail([(kind, TOO_MANY, {}), (kind, (), UNKNOWN)])

    refuse.__name__ = f"methods_of_{name}"
    ours(refuse)


def functions_refuse(number: int, names: list[str]) -> None:
    def refuse(defer, keep):
        native, failed = sys.modules["deferrous._deferrous"], 0
        for each in names:
            for args, kwargs in ((), {}), ((ALIEN,), {}), (TOO_MANY, {}), ((), UNKNOWN):
                failed += calls_that_fail([(getattr(native, each), args, kwargs)])
        native.setDebugging(False)
        native._trace_end()
        return failed

    refuse.__name__ = f"functions_{number}"
    ours(refuse)


for _name in FORMS:
    attributes_refuse(_name)
    methods_refuse(_name)
for _number in range(6):
    functions_refuse(_number, FUNCTIONS.split()[_number::6])


@program
def shown(defer, keep):
    d, f = keep(defer.Deferred()), keep(defer.fail(Oops("x")))
    repr(d), str(d), repr(f), repr(keep(defer.succeed(1)))
    failure = f.result
    f.addErrback(nothing)
    return repr(failure)[:30], str(failure)[:20], len(d.callbacks)


@program
def hand_made_state(defer, keep):
    d = keep(defer.Deferred())
    d.result, d.called, d.paused = 5, True, 0
    seen = []
    d.addCallback(seen.append)
    # A failure, which would be lost with the attribute, is shown.
    result = d.result
    del d.result
    return seen, result


# --------------------------------------------------------------------------------------------
# Functions


@program
def functions(defer, keep):
    seen = []
    for d in (
        defer.succeed(1),
        defer.fail(Oops()),
        defer.execute(len, "abc"),
        defer.execute(oops),
        defer.maybeDeferred(len, "abc"),
        defer.maybeDeferred(sorted, "ba", reverse=True),
        defer.maybeDeferred(oops, 1),
        defer.maybeDeferred(defer.succeed, 1),
        defer.maybeDeferred(pass_on, 1, key=2),
    ):
        keep(d).addBoth(lambda r: seen.append(sort(r)))
    return seen


@program
def maybe_with_failure(defer, keep):
    seen = []
    d = keep(defer.maybeDeferred(lambda: defer.Failure(Oops())))
    d.addErrback(lambda f: seen.append(kind(f)))
    return seen


@program
def failures(defer, keep):
    try:
        raise Oops("x")
    except Oops:
        f = defer.Failure()
    g = defer.Failure(KeyError("k"))
    h = defer.Failure(f)
    out = [f.check(Oops), f.check(KeyError), g.type, h.value is f.value, f.parents[:1]]
    try:
        f.raiseException()
    except Oops as error:
        out.append(error.args)
    try:
        g.trap(Oops)
    except KeyError:
        out.append("trap")
    return out


@program
def failure_texts(defer, keep):
    try:
        raise Oops("x") from KeyError("y")
    except Oops:
        f = defer.Failure()
    f.getTraceback(), f.getBriefTraceback(), f.getErrorMessage(), f.getTracebackObject()
    f.cleanFailure()
    return len(f.frames), repr(f)[:10], f.type.__name__


@program
def failure_attributes(defer, keep):
    f = defer.Failure(Oops())
    f.value, f.extra = Oops("other"), 1
    state = sorted(vars(f))
    f.tb = None
    return state, f.value.args, f.captureVars


@program
def failure_copied(defer, keep):
    f = defer.Failure(Oops("x"))
    g = copy.copy(f)
    return g.value.args, g.type


@program
def failure_thrown(defer, keep):
    def generator():
        try:
            yield 1
        except Oops:
            yield 2

    g = generator()
    next(g)
    return defer.Failure(Oops()).throwExceptionIntoGenerator(g)


@program
def copied(defer, keep):
    d = keep(defer.Deferred())
    d.addCallback(pass_on, 1, a=2)
    d.addCallbacks(pass_on, pass_on)
    e = keep(copy.copy(d))
    e.callback(4)
    return e.result


# --------------------------------------------------------------------------------------------
# Generators and coroutines


@program
def generators(defer, keep):
    @defer.inlineCallbacks
    def add(one, other):
        first = yield one
        second = yield other
        return first + second

    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    keep(add(a, b)).addCallback(seen.append)
    a.callback(1)
    b.callback(2)
    return seen


@program
def generator_that_ends(defer, keep):
    @defer.inlineCallbacks
    def now():
        got = yield defer.succeed(1)
        plain = yield 2
        return [got, plain]

    seen = []
    keep(now()).addCallback(seen.append)
    return seen


@program
def generator_that_fails(defer, keep):
    @defer.inlineCallbacks
    def bad(d):
        try:
            yield d
        except Oops:
            pass
        yield defer.fail(KeyError("k"))

    d, seen = keep(defer.Deferred()), []
    keep(bad(d)).addErrback(lambda f: seen.append(f.type))
    d.errback(Oops())
    return seen


@program
def generators_nested(defer, keep):
    @defer.inlineCallbacks
    def nest(depth, d):
        if depth:
            return (yield nest(depth - 1, d)) + 1
        return (yield d)

    d, seen = keep(defer.Deferred()), []
    keep(nest(7, d)).addCallback(seen.append)
    d.callback(0)
    return seen


@program
def generators_deep(defer, keep):
    @defer.inlineCallbacks
    def nest(depth, d):
        if depth:
            yield nest(depth - 1, d)
        else:
            yield d

    d, seen = keep(defer.Deferred()), []
    keep(nest(20, d)).addCallback(seen.append)
    d.callback(0)
    e = keep(defer.Deferred())
    outer = keep(nest(20, e))
    outer.addErrback(lambda f: seen.append(kind(f)))
    outer.cancel()
    return seen


@program
def generator_cancelled(defer, keep):
    @defer.inlineCallbacks
    def wait(d):
        yield d

    d, seen = keep(defer.Deferred()), []
    outer = keep(wait(d))
    outer.addErrback(lambda f: seen.append(kind(f)))
    outer.cancel()
    return seen


@program
def return_value(defer, keep):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        @defer.inlineCallbacks
        def old():
            yield 1
            defer.returnValue(5)

        seen = []
        keep(old()).addCallback(seen.append)
    return seen


@program
def no_generator(defer, keep):
    @defer.inlineCallbacks
    def none():
        return 1

    try:
        none()
    except TypeError as error:
        return str(error)[:30]
    return None


@program
def coroutines(defer, keep):
    async def add(one, other):
        return await one + await other

    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    keep(defer.ensureDeferred(add(a, b))).addCallback(seen.append)
    a.callback(1)
    b.callback(2)
    return seen


@program
def coroutine_that_fails(defer, keep):
    async def bad(d):
        try:
            await d
        except Oops:
            raise KeyError("k") from None

    d, seen = keep(defer.Deferred()), []
    keep(defer.Deferred.fromCoroutine(bad(d))).addErrback(lambda f: seen.append(f.type))
    d.errback(Oops())
    return seen


@program
def coroutines_nested(defer, keep):
    async def nest(depth, d):
        if depth:
            return await defer.ensureDeferred(nest(depth - 1, d)) + 1
        return await d

    d, seen = keep(defer.Deferred()), []
    keep(defer.ensureDeferred(nest(5, d))).addCallback(seen.append)
    d.callback(0)
    return seen


@program
def no_coroutine(defer, keep):
    try:
        defer.ensureDeferred(1)
    except defer.NotACoroutineError as error:
        return str(error)
    return None


@program
def awaited_results(defer, keep):
    out = []

    async def one(d):
        out.append(sort(await d))

    for result in (1, (1, 2), ValueError("v"), None):
        d = defer.Deferred()
        keep(defer.ensureDeferred(one(d)))
        d.callback(result)
    return out


@program
def stepped_by_hand(defer, keep):
    d = keep(defer.Deferred())
    it = d.__await__()
    same = next(it) is d
    d.callback((1, 2))
    try:
        next(it)
    except StopIteration as stop:
        return same, stop.value
    return None


# --------------------------------------------------------------------------------------------
# Cancelling


@program
def cancelled(defer, keep):
    asked, seen = [], []
    d = keep(defer.Deferred(asked.append))
    d.addErrback(lambda f: seen.append(f.check(defer.CancelledError) is not None))
    d.cancel()
    e = keep(defer.Deferred())
    e.addErrback(lambda f: seen.append(kind(f)))
    e.cancel()
    e.callback(1)
    return len(asked), seen


@program
def cancelled_through_chain(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    a.addCallback(lambda _: b)
    a.addErrback(lambda f: seen.append(kind(f)))
    a.callback(1)
    a.cancel()
    return seen


@program
def canceller_raises(defer, keep):
    d = keep(defer.Deferred(oops))
    try:
        d.cancel()
    except Oops:
        pass
    d.addErrback(nothing)
    return d.called


# --------------------------------------------------------------------------------------------
# Several


@program
def deferred_list(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(4)], []
    keep(defer.DeferredList(ds, consumeErrors=True)).addCallback(
        lambda r: seen.extend(success for success, _ in r)
    )
    for i, d in enumerate(ds):
        d.callback(i) if i != 2 else d.errback(Oops())
    return seen


@program
def deferred_list_of_one(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    keep(defer.DeferredList(ds, fireOnOneCallback=True)).addCallback(seen.append)
    ds[1].callback("x")
    ds[0].callback("y")
    return seen


@program
def gathered(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    keep(defer.gatherResults(ds, consumeErrors=True)).addCallback(seen.append)
    for i, d in enumerate(ds):
        d.callback(i)
    return seen


@program
def gathered_failure(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    g = keep(defer.gatherResults(ds, consumeErrors=True))
    g.addErrback(lambda f: seen.append((kind(f), f.value.index, repr(f.value))))
    ds[1].errback(Oops("o"))
    return seen


@program
def gathered_cancelled(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    for d in ds:
        d.addErrback(lambda f: seen.append(kind(f)))
    g = keep(defer.gatherResults(ds))
    g.addErrback(nothing)
    g.cancel()
    return seen


@program
def raced(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(4)], []
    keep(defer.race(ds)).addCallback(seen.append)
    ds[2].callback("won")
    return seen


@program
def many_gathered(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(12)], []
    keep(defer.gatherResults(ds, consumeErrors=True)).addCallback(lambda r: seen.append(len(r)))
    fs = [keep(defer.Deferred()) for _ in range(12)]
    keep(defer.race(fs)).addErrback(lambda f: seen.append(len(f.value.failures)))
    for d, f in zip(ds, fs, strict=True):
        d.callback(None)
        f.errback(Oops())
    return seen


@program
def raced_failures(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    keep(defer.race(ds)).addErrback(lambda f: seen.append((kind(f), len(f.value.failures))))
    for d in ds:
        d.errback(Oops())
    return seen


@program
def raced_cancelled(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    for d in ds:
        d.addErrback(lambda f: seen.append(kind(f)))
    r = keep(defer.race(ds))
    r.addErrback(nothing)
    r.cancel()
    return seen


# --------------------------------------------------------------------------------------------
# Locks, semaphores, queues


@program
def locks(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []
    for i in range(4):
        keep(lock.acquire()).addCallback(lambda _, i=i: seen.append(i))
    for _ in range(4):
        lock.release()
    return seen, lock.locked, len(lock.waiting)


@program
def lock_runs(defer, keep):
    lock, seen, inner = keep(defer.DeferredLock()), [], keep(defer.Deferred())
    keep(lock.run(lambda: inner)).addCallback(seen.append)
    keep(lock.run(pass_on, 2, key=3)).addCallback(seen.append)
    keep(lock.run(oops)).addErrback(lambda f: seen.append(kind(f)))
    inner.callback(1)
    return seen, lock.locked


@program
def lock_cancelled(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []
    keep(lock.acquire())
    d = keep(lock.acquire())
    d.addErrback(lambda f: seen.append(kind(f)))
    d.cancel()
    lock.release()
    return seen, lock.locked


@program
def lock_entered(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []

    async def use(i):
        async with lock:
            seen.append(i)

    for i in range(3):
        keep(defer.ensureDeferred(use(i)))
    return seen


@ours
def hand_overs_deep(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []

    def use(_, i):
        seen.append(i)
        lock.release()

    held = keep(lock.acquire())
    for i in range(12):
        keep(lock.acquire()).addCallback(use, i)
    # So few frames are left that not all of them can be nested.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(frames() + 130)
    try:
        held.addCallback(lambda _: lock.release())
    finally:
        sys.setrecursionlimit(limit)
    return seen, lock.locked


def frames() -> int:
    frame, count = sys._getframe(), 0
    while frame:
        frame, count = frame.f_back, count + 1
    return count


@program
def lock_not_held(defer, keep):
    try:
        defer.DeferredLock().release()
    except AssertionError as error:
        return str(error)
    return None


@program
def semaphores(defer, keep):
    semaphore, seen = keep(defer.DeferredSemaphore(2)), []
    for i in range(4):
        keep(semaphore.acquire()).addCallback(lambda _, i=i: seen.append(i))
    for _ in range(4):
        semaphore.release()
    keep(semaphore.run(len, "abc")).addCallback(seen.append)
    return seen, semaphore.tokens, semaphore.limit


@program
def queues(defer, keep):
    queue, seen = keep(defer.DeferredQueue()), []
    for _ in range(3):
        keep(queue.get()).addCallback(seen.append)
    for i in range(6):
        queue.put(i)
    for _ in range(2):
        keep(queue.get()).addCallback(seen.append)
    return seen, list(queue.pending), len(queue.waiting)


@program
def queues_long(defer, keep):
    queue, seen = keep(defer.DeferredQueue()), []
    waiting = [keep(queue.get()) for _ in range(12)]
    for d in waiting:
        d.addErrback(lambda f: seen.append(kind(f)))
    for d in waiting[3:9]:
        d.cancel()
    for i in range(20):
        queue.put(i)
    return seen, list(queue.pending), len(queue.waiting), [d.result for d in waiting]


@program
def queue_limits(defer, keep):
    queue, out = keep(defer.DeferredQueue(size=1, backlog=1)), []
    queue.put(1)
    try:
        queue.put(2)
    except defer.QueueOverflow:
        out.append("over")
    keep(queue.get())
    d = keep(queue.get())
    try:
        queue.get()
    except defer.QueueUnderflow:
        out.append("under")
    d.addErrback(nothing)
    d.cancel()
    return out, list(queue.waiting)


@program
def lines(defer, keep):
    queue = defer.DeferredQueue()
    for i in range(5):
        queue.put(i)
    line = queue.pending
    line.append(5)
    line.remove(2)
    line.insert(0, 9)
    out = [line[0], line[-1], line[1:3], line.pop(), line.pop(0), 3 in line, line.index(3)]
    line.reverse()
    line.sort()
    del line[0]
    line[0] = 7
    out += [list(line), line == [7, 4], repr(line)]
    queue.pending = [1, 2]
    return out, list(queue.pending)


@program
def queue_copied(defer, keep):
    queue = copy.copy(defer.DeferredQueue(3, 4))
    lock = copy.copy(defer.DeferredLock())
    return queue.size, queue.backlog, lock.locked


@program
def timeouts(defer, keep):
    clock, seen = Clock(), []
    d = keep(defer.Deferred())
    d.addTimeout(1, clock)
    d.addErrback(lambda f: seen.append(kind(f)))
    e = keep(defer.Deferred())
    e.addTimeout(1, clock, lambda result, timeout: (type(result).__name__, timeout))
    e.addCallback(seen.append)
    f = keep(defer.Deferred())
    f.addTimeout(1, clock)
    f.addCallback(seen.append)
    f.callback("in time")
    clock.advance()
    return seen


# --------------------------------------------------------------------------------------------
# Subclasses, debug mode, dying


@program
def subclasses(defer, keep):
    class Mine(defer.Deferred):
        def addCallbacks(self, *args, **kwargs):
            return defer.Deferred.addCallbacks(self, *args, **kwargs)

        def callback(self, result):
            return defer.Deferred.callback(self, result)

        def pause(self):
            return defer.Deferred.pause(self)

        def addBoth(self, *args, **kwargs):
            return defer.Deferred.addBoth(self, *args, **kwargs)

    @defer.inlineCallbacks
    def wait(d):
        return (yield d)

    a, b, seen = keep(Mine()), keep(Mine()), []
    keep(wait(a)).addCallback(seen.append)
    keep(defer.gatherResults([b])).addCallback(seen.append)
    a.chainDeferred(b)
    a.callback(1)
    defer.Deferred.__subclasses__()
    return len(seen)


@program
def debug_mode(defer, keep):
    defer.setDebugging(True)
    try:
        d = keep(defer.Deferred())
        d.callback(1)
        try:
            d.callback(2)
        except defer.AlreadyCalledError as error:
            text = str(error)

        @defer.inlineCallbacks
        def one():
            yield defer.succeed(1)
            raise Oops

        keep(one()).addErrback(nothing)
        return "created" in text
    finally:
        defer.setDebugging(False)


@program
def unhandled(defer, keep):
    defer.fail(Oops("lost"))
    d = defer.Deferred()
    d.addCallback(oops)
    d.callback(1)
    return None


@program
def unhandled_in_cycle(defer, keep):
    import gc

    d = defer.Deferred()
    d.me = d
    d.addCallback(oops)
    d.callback(1)
    del d
    gc.collect()
    return None


@program
def dies_deep(defer, keep):
    d = defer.Deferred()
    for _ in range(60):
        outer = defer.Deferred()
        outer.addCallback(pass_on, d)
        d = outer
    return None


@program
def dies_in_finalizer(defer, keep):
    class Last:
        def __init__(self):
            self.d = defer.Deferred()
            self.d.addBoth(seen.append)

        def __del__(self):
            self.d.callback("last")
            defer.fail(Oops())

    seen: list[Any] = []
    d = defer.Deferred()
    d.addCallback(pass_on, Last())
    del d
    return None


@program
def dies_waiting(defer, keep):
    @defer.inlineCallbacks
    def wait(d):
        yield d

    async def awaits(d):
        await d

    wait(defer.Deferred())
    defer.ensureDeferred(awaits(defer.Deferred()))
    defer.gatherResults([defer.Deferred(), defer.Deferred()])
    defer.race([defer.Deferred(), defer.Deferred()])
    queue = defer.DeferredQueue()
    queue.get()
    return None


# --------------------------------------------------------------------------------------------
# asyncio


@asyncio_too
def awaited_by_task(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []

    async def wait():
        seen.append(await a)
        try:
            await b
        except Oops:
            seen.append("oops")

    task = loop().create_task(wait())
    turns(loop(), 2)
    a.callback((1, 2))
    turns(loop(), 2)
    b.errback(Oops())
    turns(loop(), 3)
    if not task.done():
        task.cancel()
        turns(loop(), 3)
    return seen


@asyncio_too
def task_cancelled(defer, keep):
    d = keep(defer.Deferred())

    async def wait():
        await d

    task = loop().create_task(wait())
    turns(loop(), 2)
    task.cancel()
    turns(loop(), 3)
    d.addErrback(nothing)
    return task.cancelled() or repr(task.done() and task.exception())


@program
def futures(defer, keep):
    d, seen = keep(defer.Deferred()), []
    future = d.asFuture(loop())
    d.callback(1)
    other = loop().create_future()
    keep(defer.Deferred.fromFuture(other)).addCallback(seen.append)
    other.set_result(2)
    turns(loop(), 4)
    return future.done(), seen


@program
def futures_fail(defer, keep):
    d, seen = keep(defer.Deferred()), []
    future = d.asFuture(loop())
    d.errback(Oops())
    other = loop().create_future()
    keep(defer.Deferred.fromFuture(other)).addErrback(lambda f: seen.append(kind(f)))
    other.set_exception(Oops())
    turns(loop(), 4)
    return type(future.exception()).__name__, seen


@asyncio_too
def coroutine_awaits_future(defer, keep):
    future, seen = loop().create_future(), []

    async def wait():
        seen.append(await future)

    async def start():
        keep(defer.ensureDeferred(wait()))

    task = loop().create_task(start())
    turns(loop(), 2)
    future.set_result(1)
    turns(loop(), 4)
    return task.done(), seen


@ours
def coroutine_awaits_in_loop(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []

    async def wait(d):
        seen.append(await d)

    @defer.inlineCallbacks
    def within():
        keep(defer.ensureDeferred(wait(a)))
        a.callback(1)
        keep(defer.ensureDeferred(wait(b)))
        yield defer.succeed(None)

    async def start():
        keep(within())

    task = loop().create_task(start())
    turns(loop(), 2)
    b.callback(2)
    turns(loop(), 2)
    return task.done(), seen


@asyncio_too
def task_enters_lock(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []

    async def use(i):
        async with lock:
            seen.append(i)

    tasks = [loop().create_task(use(i)) for i in range(3)]
    turns(loop(), 8)
    for task in tasks:
        # One that is done would never tell of its error.
        if not task.done():
            task.cancel()
    turns(loop(), 3)
    return seen


# --------------------------------------------------------------------------------------------
# The import


@fresh
def native_half_imported(names, keep):
    """Where that fails, it succeeds the next time."""
    # Without the Python half of CPython's import, which goes round in circles without memory.
    spec = types.SimpleNamespace(name="deferrous._deferrous", origin=names.native_half)
    module = _imp.create_dynamic(spec)
    _imp.exec_dynamic(module)
    seen = []
    first, second = module.Deferred(), keep(module.Deferred())
    first.addCallback(second.callback)
    second.addCallbacks(seen.append, seen.append)
    first.callback(5)
    return seen, second.called, len(dir(module)), module.DeferredLock().acquire().called


# --------------------------------------------------------------------------------------------
# Nothing but Python


@plain
def warning_given(_names, keep):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("this is old", DeprecationWarning, stacklevel=2)
    return True


@plain
def finally_far_away(_names, keep):
    """So far from its beginning that where a block is left is no integer that is always there."""
    made = []
    try:
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
        made.append([made, made, made, [made], [made], [made], [made], [made]])
    finally:
        made.append(0)
    return len(made)


# --------------------------------------------------------------------------------------------
# All of them


def main() -> int:
    import gc
    import logging

    logging.getLogger("deferrous").addHandler(logging.NullHandler())
    logging.getLogger("deferrous").propagate = False
    names = load("deferrous")
    bad = 0
    for name, run in PROGRAMS.items():
        kept: list[Any] = []
        results = [repr(run(names, lambda d, kept=kept: kept.append(d) or d)) for _ in range(3)]
        for deferred in kept:
            deferred.addBoth(nothing)
        kept.clear()
        gc.collect()
        if len(set(results)) > 1:
            bad += 1
            print(f"{name}: {results}")
    print(f"{len(PROGRAMS)} programs, {bad} bad")
    return bad > 0


if __name__ == "__main__":
    raise SystemExit(main())
