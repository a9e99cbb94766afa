"""The claims in docs/differences.md, checked on both: ours holds, and Twisted differs."""

import asyncio
import concurrent.futures
import copy
import gc
import inspect
import itertools
import json
import os
import threading
import traceback
import types
import weakref

import pytest
from twisted.internet.error import AlreadyCalled
from twisted.internet.task import Clock

DEPTH = 20_000


def result_of(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


@pytest.fixture
def ours(implementation):
    return implementation == "deferrous"


class TestDepth:
    @pytest.fixture
    def nested(self, defer):
        """Makes generators that wait for each other, with no call in another."""

        @defer.inlineCallbacks
        def wait(deferred):
            return 1 + (yield deferred)

        def make(first):
            for _ in range(DEPTH):
                first = wait(first)
            return first

        return make

    def test_generators(self, defer, nested, ours):
        first = defer.Deferred()
        results = result_of(nested(first))
        first.callback(0)
        assert (results == [DEPTH]) is ours

    def test_cancel(self, defer, nested, ours):
        last = nested(defer.Deferred())
        results = result_of(last)
        last.cancel()
        # Twisted's has nothing or a RecursionError, as the depth of the stack will have it.
        assert ([each.type for each in results] == [defer.CancelledError]) is ours

    def test_lists(self, defer, ours):
        first = last = defer.Deferred()
        for _ in range(DEPTH):
            last = defer.gatherResults([last])
        results = result_of(last)
        first.callback(0)
        assert len(results) == ours

    def test_chained(self, defer, ours):
        deferreds = [defer.Deferred() for _ in range(DEPTH)]
        for one, other in itertools.pairwise(deferreds):
            one.chainDeferred(other)
        results = result_of(deferreds[-1])
        deferreds[0].callback(0)
        assert (results == [0]) is ours

    @pytest.mark.parametrize("depth, fits", [(300, True), (5_000, False)])
    def test_calls(self, defer, ours, depth, fits):
        @defer.inlineCallbacks
        def call(depth, first):
            if depth:
                yield call(depth - 1, first)
            yield first

        first = defer.Deferred()
        results = result_of(call(depth, first))
        first.callback(None)
        if ours and fits:
            assert results == [None]
        else:
            assert results[0].check(RecursionError)

    def test_ring(self, defer):
        one, other = defer.Deferred(), defer.Deferred()
        one.addCallback(lambda _: other)
        other.addCallback(lambda _: one)
        one.callback(None)
        other.callback(None)
        with pytest.raises(RecursionError):
            one.cancel()


class TestTracebacks:
    def test_frames(self, defer, ours):
        def fail(_):
            raise ValueError

        @defer.inlineCallbacks
        def wait(deferred):
            yield deferred

        first = defer.Deferred().addCallback(fail)
        results = result_of(wait(first))
        first.callback(None)
        names = [frame[0] for frame in results[0].frames]
        assert names == [each.name for each in traceback.extract_tb(results[0].tb)]
        machinery = {"_inlineCallbacks", "_runCallbacks", "throwExceptionIntoGenerator"}
        assert [name for name in names if name not in machinery] == ["wait", "fail"]
        assert machinery.isdisjoint(names) is ours

    def test_what_frames_keep_alive(self, defer, ours):
        @defer.inlineCallbacks
        def fail():
            yield defer.succeed(None)
            raise ValueError

        failed = []
        deferred = defer.Deferred().addCallback(lambda _: failed.append(fail()))
        deferred.callback(None)
        alive = weakref.ref(deferred)
        del deferred
        gc.collect()
        assert (alive() is None) is ours
        failed.pop().addErrback(lambda failure: failure.trap(ValueError))


class TestCompany:
    def test_asyncio_task(self, defer, ours):
        async def main():
            deferred = defer.Deferred()
            asyncio.get_running_loop().call_soon(deferred.callback, 5)
            return await deferred

        if ours:
            assert asyncio.run(main()) == 5
        else:
            with pytest.raises(RuntimeError, match="bad yield"):
                asyncio.run(main())

    def test_asyncio_sleep(self, defer, ours):
        async def sleep():
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            return 5

        async def main():
            return await defer.ensureDeferred(sleep()).asFuture(asyncio.get_running_loop())

        if ours:
            assert asyncio.run(main()) == 5
        else:
            with pytest.raises(RuntimeError):
                asyncio.run(main())

    def test_future_without_its_loop(self, defer, ours):
        async def wait(future):
            await future

        loop = asyncio.new_event_loop()
        try:
            [failure] = result_of(defer.ensureDeferred(wait(loop.create_future())))
        finally:
            loop.close()
        assert failure.check(RuntimeError)
        assert ("asyncio.run" in failure.getErrorMessage()) is ours

    def test_future_of_a_thread(self, defer, ours):
        future = concurrent.futures.Future()
        threads = []

        async def main():
            deferred = defer.Deferred.fromFuture(future)
            deferred.addCallback(lambda _: threads.append(threading.current_thread()))
            thread = threading.Thread(target=future.set_result, args=(None,))
            thread.start()
            thread.join()
            await asyncio.sleep(0.05)

        asyncio.run(main())
        assert threads
        assert (threads == [threading.current_thread()]) is ours

    def test_yielding_the_other_kind(self, implementation, ours):
        deferrous = pytest.importorskip("deferrous")
        import twisted.internet.defer

        here, there = (
            (deferrous, twisted.internet.defer) if ours else (twisted.internet.defer, deferrous)
        )

        @here.inlineCallbacks
        def wait(deferred):
            return (yield deferred)

        other = there.Deferred()
        yielded = result_of(wait(other))
        returned = result_of(here.succeed(None).addCallback(lambda _: other))
        # It is not waited for, or is.
        assert (yielded, returned) == ((([], [])) if ours else ([other], [other]))
        other.callback(None)


class TestDeferred:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_callbacks(self, defer, ours):
        deferred = defer.Deferred().addCallback(print)
        deferred.callbacks.clear()
        assert len(deferred.callbacks) == ours

    def test_called_and_paused(self, defer, ours):
        deferred = defer.Deferred()
        if ours:
            with pytest.raises(TypeError):
                deferred.paused = 0.5
            with pytest.raises(AttributeError):
                del deferred.paused
        else:
            deferred.paused = 0.5
            del deferred.paused

    def test_called_deleted(self, defer, ours):
        deferred = defer.succeed(None)
        del deferred.called
        assert hasattr(deferred, "called") is not ours
        deferred.callback(None)
        assert deferred.called is True

    def test_called_is_something_that_answers_in_python(self, defer, ours):
        class No:
            def __bool__(self):
                return False

        deferred = defer.Deferred()
        deferred.called = No()
        if ours:
            with pytest.raises(defer.AlreadyCalledError):
                deferred.callback(None)
        else:
            deferred.callback(None)

    def test_attributes_of_the_class(self, defer, ours):
        assert (defer.Deferred.called is False) is not ours
        assert (defer.Deferred.paused == 0) is not ours

    def test_called_without_a_result(self, defer, ours):
        deferred = defer.Deferred()
        deferred.called = True
        if ours:
            assert result_of(deferred) == [None]
        else:
            with pytest.raises(AttributeError):
                result_of(deferred)

    def test_copy(self, defer, ours):
        deferred = defer.Deferred()
        copy.copy(deferred).addCallback(print)
        assert (len(deferred._callbacks) == 0) is ours

    def test_private_attributes(self, defer, ours):
        deferred = defer.Deferred()
        deferred.mine = 1
        assert (vars(deferred) == {"mine": 1}) is ours
        assert hasattr(deferred, "_runCallbacks") is not ours
        for name in ("_canceller", "_chainedTo", "_debugInfo"):
            assert hasattr(deferred, name)

    def test_subclass_without_init(self, defer, ours):
        class Bare(defer.Deferred):
            def __init__(self):
                pass

        if ours:
            assert result_of(Bare()) == []
        else:
            with pytest.raises(AttributeError):
                result_of(Bare())

    def test_native(self, defer, ours):
        for native in (defer.Deferred.addCallback, defer.succeed, defer.race):
            assert inspect.isfunction(native) is not ours
        for python in (defer.inlineCallbacks, defer.returnValue, defer.logError, defer.timeout):
            assert inspect.isfunction(python)
        assert hasattr(defer.Deferred.callback, "__code__") is not ours

    def test_native_can_be_replaced(self, defer, monkeypatch):
        monkeypatch.setattr(defer.Deferred, "callback", lambda self, result: (self, result))
        deferred = defer.Deferred()
        assert deferred.callback(1) == (deferred, 1)

    def test_replaced_in_the_class(self, defer, ours, monkeypatch):
        seen = []
        add_callbacks = defer.Deferred.addCallbacks
        monkeypatch.setattr(
            defer.Deferred,
            "addCallbacks",
            lambda *args, **kwargs: seen.append(args) or add_callbacks(*args, **kwargs),
        )
        defer.Deferred().addCallbacks(print)
        assert len(seen) == 1
        defer.DeferredList([defer.Deferred()])
        assert len(seen) == (1 if ours else 2)

    def test_number_of_arguments(self, defer, ours):
        with pytest.raises(TypeError) as raised:
            defer.Deferred().callback(1, 2)
        assert ("takes 2 positional arguments but 3 were given" in str(raised.value)) is not ours


class TestGathering:
    def test_race_of_an_iterator(self, defer, ours):
        deferreds = [defer.Deferred(), defer.Deferred()]
        results = result_of(defer.race(iter(deferreds)))
        deferreds[1].callback("first")
        assert results == [(1, "first")] * ours

    def test_result_list(self, defer, ours):
        class Results(dict):
            pass

        inner = defer.Deferred()
        gathered = defer.DeferredList([inner])
        gathered.resultList = Results()
        inner.callback(1)
        assert (gathered.resultList == {0: (True, 1)}) is not ours
        assert gathered.called is not ours
        inner.addErrback(lambda failure: failure.trap(TypeError))


class TestLocks:
    def test_sequences(self, defer, ours):
        queue = defer.DeferredQueue()
        queue.put(1)
        assert queue.pending == [1]
        assert isinstance(queue.pending, list) is not ours
        assert isinstance(defer.DeferredLock().waiting, list) is not ours
        if ours:
            with pytest.raises(TypeError):
                json.dumps(queue.pending)
        else:
            json.dumps(queue.pending)
        assigned = [2]
        queue.pending = assigned
        assert queue.pending is assigned
        queue.put(3)
        assert list(queue.pending) == [2, 3]
        assert (queue.pending is assigned) is not ours

    def test_deleted(self, defer, ours):
        """What is not there counts as at first: there is no class attribute."""
        queue, lock = defer.DeferredQueue(1), defer.DeferredLock()
        lock.acquire()
        del queue.size, lock.locked
        assert hasattr(lock, "locked") is not ours
        if ours:
            queue.put(1)
            assert list(queue.pending) == [1]
        else:
            with pytest.raises(AttributeError):
                queue.put(1)
        assert result_of(lock.acquire()) == [lock]

    def test_locked_is_something_that_answers_in_python(self, defer, ours):
        class No:
            def __bool__(self):
                return False

        lock = defer.DeferredLock()
        lock.locked = No()
        assert (result_of(lock.acquire()) == []) is ours

    def test_tokens(self, defer, ours):
        semaphore = defer.DeferredSemaphore(1)
        semaphore.tokens = 1.5
        if ours:
            with pytest.raises(TypeError):
                semaphore.acquire()
        else:
            semaphore.acquire()
            assert semaphore.tokens == 0.5

    def test_filesystem_lock_after_a_timeout(self, defer, ours, tmp_path):
        clock = Clock()
        first, second = (
            defer.DeferredFilesystemLock(str(tmp_path / "lock"), clock) for _ in range(2)
        )
        first.lock()
        timed_out = result_of(second.deferUntilLocked(1))
        clock.pump([1, 1])
        assert timed_out[0].check(defer.TimeoutError)
        again = result_of(second.deferUntilLocked())
        first.unlock()
        if ours:
            clock.advance(1)
            assert again == [None]
        else:
            with pytest.raises(AlreadyCalled):
                clock.advance(1)
        second.unlock()

    def test_warrant(self, defer, ours, tmp_path):
        lock = defer.DeferredFilesystemLock(str(tmp_path / "lock"), scheduler=Clock())
        assert lock.lock()
        assert ("lock.warrant" in os.listdir(tmp_path)) is ours
        lock.unlock()
        assert os.listdir(tmp_path) == []


def test_failure_has_a_native_base(failure, ours):
    bases = [cls for cls in failure.Failure.__mro__ if cls not in (BaseException, object)]
    assert len(bases) == 1 + ours
    assert isinstance(failure.Failure.check, types.FunctionType) is not ours


class TestClasses:
    def test_methods_of_an_object(self, defer, ours):
        d, called = defer.Deferred(), []
        d.addBoth = lambda *args, **kwargs: called.append(args)

        @defer.inlineCallbacks
        def wait():
            yield d

        wait()
        assert (called == []) is ours

    def test_getattribute(self, defer, ours):
        class Asked(defer.Deferred):
            def __getattribute__(self, name):
                asked.append(name)
                return super().__getattribute__(name)

        asked = []
        d = Asked()
        asked.clear()
        defer.Deferred.callback(d, 1)
        assert ("called" not in asked) is ours

    def test_something_else_for_self(self, defer, ours):
        with pytest.raises(TypeError if ours else AttributeError):
            defer.Deferred.callback(5, 1)

    def test_class_of_another_kind(self, defer, ours):
        class Sub(defer.Deferred):
            pass

        class List(defer.DeferredList):
            pass

        d = Sub()
        d.__class__ = type("Other", (defer.Deferred,), {})
        if ours:
            with pytest.raises(TypeError):
                d.__class__ = List
        else:
            d.__class__ = List

    def test_flags_of_a_list(self, defer, ours):
        class Asked:
            def __bool__(self):
                asked.append(True)
                return True

        asked = []
        gathered = defer.DeferredList([defer.Deferred()], consumeErrors=Asked())
        assert (asked == [True]) is ours
        assert (gathered.consumeErrors is True) is ours
        for number in (-1, 2**70):
            if ours:
                with pytest.raises(OverflowError):
                    gathered.finishedCount = number
            else:
                gathered.finishedCount = number
