"""Programs that call everything with wrong arguments."""

from __future__ import annotations

import sys
from typing import Any

from .base import Clock, Oops, nothing, ours, program
from .callbacks import calls_that_fail


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
    d = keep(defer.Deferred())
    awaiting = defer.Deferred().__await__()
    return [
        calls_that_fail([(setattr, (it, name, value), {})])
        for it, name, value in [
            (d, "__dict__", 1),
            (d, "__class__", int),
            (defer.DeferredList([]), "finishedCount", "one"),
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
    "_Task": ("_cancelled_by _generator _running _waiting_on", "__call__ _cancel_next"),
    "_Race": ("", "__call__"),
    "_DeferredIterator": ("", "__iter__ __next__ _arrive close send throw"),
    "_Timeout": ("__name__ __qualname__", "__call__"),
    "_LockRun": ("", "__call__"),
}

#: And of the functions.
FUNCTIONS = (
    "_acquire_for _acquired_for _add_task _all_of _begin_call _begin_calls _begin_close "
    "_begin_fetch _break _cancel_waiting _cancellableInlineCallbacks _check_depth "
    "_close_broadcast _close_channel _close_subscription _convertTimedOut _delay _do _driven "
    "_end_all _end_call _end_delayed _end_getting _end_one _end_task _end_waiting _end_with "
    "_finish _fire_all _follow _give_back _give_done _give_first _hand_out _hand_over "
    "_happen _in_turn _knows_depth _leave _let_in _line_of _list_of _may_fire _members_of "
    "_move_key _never_refused _not_acquired_for _not_read _not_taken _notify _now "
    "_number_all _once _owed _owed_once _parseDeferredListResult _parts_of _pass_on _place "
    "_place_in _put_in _read _reacquire _receive _release_after _release_and_wait "
    "_release_key _runInlineCallbacks _runNatively _run_locked _run_of _running_loop "
    "_running_task _send_to_all _serve_rest _shut_down _state_of _stopClock _stop_waiting "
    "_take _take_fetched _take_last _take_returned _task_for _tell _trace_begin _trace_end "
    "_trace_since _trace_strands _track _track_earlier _tracked _tracked_at _tracked_one "
    "_tracking _wait_in _whole _within ensureDeferred execute fail failure_count "
    "gatherResults has_room_for_text look_all_up maybeDeferred pieces_of_frames plain_pieces "
    "plain_repr plain_state plain_traceback race register_failure_class set_namespace "
    "stands_alone succeed takes_reports"
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
    if name == "_LockRun":
        lock = defer.DeferredLock()
        lock.acquire()
        return lock.run(nothing)._callbacks[0][0][1][0]
    arguments = {"DeferredList": [[]], "DeferredSemaphore": [1]}
    return getattr(defer, name)(*arguments.get(name, []))


#: More arguments than any function takes; an unknown keyword; an object of another class.
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
        native._trace_end()
        return failed

    refuse.__name__ = f"functions_{number}"
    ours(refuse)


for _name in FORMS:
    attributes_refuse(_name)
    methods_refuse(_name)


for _number in range(6):
    functions_refuse(_number, FUNCTIONS.split()[_number::6])
