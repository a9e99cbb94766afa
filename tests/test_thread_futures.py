"""`fromFuture` of futures that other threads complete."""

import asyncio
import concurrent.futures
import gc
import queue
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
from future_helpers import LIMIT, loop, marker, turn
from helpers import ignore, outcome
from twisted.internet.task import Clock


@pytest.fixture
def ours():
    return pytest.importorskip("deferrous")


class Calls:
    """A scheduler whose thread is the one that asks it to run."""

    def __init__(self):
        self._calls = queue.SimpleQueue()

    def callFromThread(self, function, *args):
        self._calls.put((function, args))

    def run(self, count=1):
        for _ in range(count):
            function, args = self._calls.get(timeout=LIMIT)
            function(*args)

    def empty(self):
        return self._calls.empty()


class Other:
    """A future of nobody's making, with what fromFuture asks for and nothing else."""

    def __init__(self):
        self.callbacks = []
        self.cancelled = 0

    def add_done_callback(self, callback):
        self.callbacks.append(callback)

    def cancel(self):
        self.cancelled += 1

    def result(self):
        return self.value

    def finish(self, value):
        self.value = value

        def work():
            for callback in self.callbacks:
                callback(self)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.deferrous_only
@pytest.mark.parametrize("shape", ["reactor", "loop", "function"])
def test_scheduler(ours, pool, shape):
    calls = Calls()
    schedulers = {
        "reactor": calls,
        "loop": type("Loop", (), {"call_soon_threadsafe": calls.callFromThread}),
        "function": calls.callFromThread,
    }
    gate = threading.Event()
    d = ours.Deferred.fromFuture(pool.submit(gate.wait), schedulers[shape])
    thread = []
    d.addBoth(lambda result: thread.append((result, threading.get_ident())))
    gate.set()
    calls.run()
    assert thread == [(True, threading.get_ident())]
    assert calls.empty()


@pytest.mark.deferrous_only
def test_scheduler_by_name(ours):
    calls, future = Calls(), concurrent.futures.Future()
    results = outcome(ours.Deferred.fromFuture(future, scheduler=calls))
    future.set_result(7)
    assert results == []
    calls.run()
    assert results == [7]


@pytest.mark.deferrous_only
def test_error_of_a_thread(ours, pool, reports):
    calls, gate = Calls(), threading.Event()

    def culprit():
        gate.wait()
        raise ValueError("no")

    d = ours.Deferred.fromFuture(pool.submit(culprit), calls)
    gate.set()
    calls.run()
    [failure] = outcome(d)
    assert failure.check(ValueError)
    assert "culprit" in failure.getTraceback()
    d = ours.Deferred.fromFuture(pool.submit(culprit), calls)
    if not d.called:
        calls.run()
    del d
    assert len(reports.values()) == 1


@pytest.mark.deferrous_only
def test_done_already(ours):
    """Fires at once: nothing is left to wait for."""
    calls = Calls()
    future = concurrent.futures.Future()
    future.set_result(7)
    assert outcome(ours.Deferred.fromFuture(future, calls)) == [7]
    future = concurrent.futures.Future()
    future.set_exception(ValueError())
    assert outcome(ours.Deferred.fromFuture(future, calls))[0].check(ValueError)
    future = concurrent.futures.Future()
    future.cancel()
    [failure] = outcome(ours.Deferred.fromFuture(future, calls))
    assert failure.check(concurrent.futures.CancelledError)
    assert calls.empty()


@pytest.mark.deferrous_only
def test_cancel_what_has_not_begun(ours, reports):
    calls, future = Calls(), concurrent.futures.Future()
    d = ours.Deferred.fromFuture(future, calls)
    d.cancel()
    assert future.cancelled()
    assert outcome(d)[0].check(ours.CancelledError)
    assert calls.empty()


@pytest.mark.deferrous_only
@pytest.mark.parametrize("ending", ["result", "error"])
def test_cancel_what_has_begun(ours, reports, ending):
    """It goes on; what it ends with is dropped."""
    calls, future = Calls(), concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    d = ours.Deferred.fromFuture(future, calls)
    results = outcome(d)
    d.cancel()
    assert results[0].check(ours.CancelledError)
    assert not future.cancelled()
    if ending == "result":
        future.set_result(7)
    else:
        future.set_exception(ValueError("too late"))
    assert calls.empty()
    assert len(results) == 1
    assert reports.failures() == []


@pytest.mark.deferrous_only
def test_cancel_when_the_result_is_on_its_way(ours):
    calls, future = Calls(), concurrent.futures.Future()
    d = ours.Deferred.fromFuture(future, calls)
    results = outcome(d)
    future.set_result(7)
    d.cancel()
    calls.run()
    [failure] = results
    assert failure.check(ours.CancelledError)


@pytest.mark.deferrous_only
def test_cancel_that_cancels_again(ours):
    future = concurrent.futures.Future()
    d = ours.Deferred.fromFuture(future, Calls())
    future.add_done_callback(lambda _: d.cancel())
    d.cancel()
    assert outcome(d)[0].check(ours.CancelledError)


@pytest.mark.deferrous_only
def test_cancelled_by_its_owner(ours):
    calls, future = Calls(), concurrent.futures.Future()
    results = outcome(ours.Deferred.fromFuture(future, calls))
    future.cancel()
    calls.run()
    assert results[0].check(concurrent.futures.CancelledError)


@pytest.mark.deferrous_only
def test_subclass_of_a_thread(ours):
    class Mine(ours.Deferred):
        pass

    calls, future = Calls(), concurrent.futures.Future()
    d = Mine.fromFuture(future, calls)
    assert type(d) is Mine
    future.set_result(7)
    assert type(Mine.fromFuture(future, calls)) is Mine


@pytest.mark.deferrous_only
def test_context_of_a_thread(ours):
    calls, future, seen = Calls(), concurrent.futures.Future(), []
    token = marker.set("here")
    ours.Deferred.fromFuture(future, calls).addCallback(lambda _: seen.append(marker.get()))
    marker.reset(token)
    future.set_result(None)
    calls.run()
    assert seen == ["here"]


@pytest.mark.deferrous_only
def test_any_future(ours):
    calls, future = Calls(), Other()
    results = outcome(ours.Deferred.fromFuture(future, calls))
    future.finish(7)
    calls.run()
    assert results == [7]
    future = Other()
    d = ours.Deferred.fromFuture(future, calls)
    d.cancel()
    assert future.cancelled == 1
    assert outcome(d)[0].check(ours.CancelledError)
    future.finish(7)
    assert calls.empty()


@pytest.mark.deferrous_only
def test_result_is_let_go(ours):
    """Neither end keeps the other's result alive."""

    class Result:
        pass

    calls, future = Calls(), concurrent.futures.Future()
    d = ours.Deferred.fromFuture(future, calls)
    dead = weakref.ref(d), weakref.ref(future)
    future.set_result(Result())
    calls.run()
    result = weakref.ref(future.result())
    d.addCallback(ignore)
    gc.disable()
    try:
        del future
        assert dead[1]() is None
        assert result() is None
        del d
        assert dead[0]() is None
    finally:
        gc.enable()


@pytest.mark.deferrous_only
def test_deferred_is_let_go(ours):
    calls, future = Calls(), concurrent.futures.Future()
    d = ours.Deferred.fromFuture(future, calls)
    dead = weakref.ref(d)
    future.set_result(None)
    calls.run()
    gc.disable()
    try:
        del d
        assert dead() is None
    finally:
        gc.enable()


@pytest.mark.deferrous_only
def test_clock(ours):
    clock, future = Clock(), Other()
    d = ours.Deferred.fromFuture(future, clock)
    results = outcome(d)
    clock.advance(1)
    assert results == []
    future.finish(7)
    assert results == []
    clock.advance(1)
    assert results == [7]
    assert clock.getDelayedCalls() == []


@pytest.mark.deferrous_only
def test_clock_and_cancel(ours):
    clock, future = Clock(), Other()
    d = ours.Deferred.fromFuture(future, clock)
    d.cancel()
    clock.advance(1)
    assert clock.getDelayedCalls() == []
    assert outcome(d)[0].check(ours.CancelledError)


@pytest.mark.deferrous_only
def test_default_is_the_running_loop(ours, loop, pool):
    gate = threading.Event()

    @ours.inlineCallbacks
    def main():
        waiting = ours.Deferred.fromFuture(pool.submit(gate.wait))
        loop.call_soon(gate.set)
        yield waiting
        assert asyncio.get_running_loop() is loop
        done = concurrent.futures.Future()
        done.set_result(2)
        two = yield ours.Deferred.fromFuture(done)
        return two, threading.get_ident()

    async def run():
        return await main().asFuture(loop)

    assert loop.run_until_complete(run()) == (2, threading.get_ident())


def run_python(script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.deferrous_only
@pytest.mark.parametrize("which", ["asyncioreactor", "selectreactor"])
def test_default_is_the_reactor(which):
    script = f"""
        import concurrent.futures, threading
        from twisted.internet import {which}
        {which}.install()
        from twisted.internet import reactor
        import deferrous

        gate = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        d = deferrous.Deferred.fromFuture(pool.submit(gate.wait))
        d.addBoth(lambda result: print(result, threading.current_thread().name))
        d.addBoth(lambda _: reactor.stop())
        reactor.callWhenRunning(gate.set)
        reactor.run()
        pool.shutdown()
    """
    assert run_python(script) == ["True MainThread"]


@pytest.mark.deferrous_only
def test_no_default():
    """An error whatever the future's state, which may depend on who was faster."""
    script = """
        import concurrent.futures, sys
        import deferrous

        for done in False, True:
            future = concurrent.futures.Future()
            if done:
                future.set_result(7)
            try:
                deferrous.Deferred.fromFuture(future)
            except RuntimeError as error:
                print(error)
        print("asyncio" in sys.modules, "twisted" in sys.modules)
    """
    first, second, imported = run_python(script)
    assert first == second
    assert "scheduler=" in first and "reactor" in first and "loop" in first
    assert imported == "False False"


@pytest.mark.deferrous_only
def test_no_scheduler(ours):
    for nothing in (7, "reactor", object()):
        with pytest.raises(TypeError, match="scheduler"):
            ours.Deferred.fromFuture(concurrent.futures.Future(), nothing)


@pytest.fixture
def distant(loop):
    """A loop that runs in another thread."""
    running = threading.Event()
    loop.call_soon(running.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert running.wait(LIMIT)
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def there(loop, function, *args):
    """Call a function in a loop's thread, and return what it returns."""
    result = queue.SimpleQueue()
    loop.call_soon_threadsafe(lambda: result.put(function(*args)))
    return result.get(timeout=LIMIT)


@pytest.mark.deferrous_only
def test_loop_of_another_thread(ours, distant):
    # Debug mode checks that futures are not touched from the wrong thread.
    distant.set_debug(True)
    calls, future = Calls(), there(distant, distant.create_future)
    thread = []
    d = ours.Deferred.fromFuture(future, calls)
    d.addCallback(lambda result: thread.append((result, threading.get_ident())))
    distant.call_soon_threadsafe(future.set_result, 7)
    calls.run()
    assert thread == [(7, threading.get_ident())]


@pytest.mark.deferrous_only
def test_cancel_in_a_loop_of_another_thread(ours, distant):
    distant.set_debug(True)
    future = there(distant, distant.create_future)
    d = ours.Deferred.fromFuture(future, Calls())
    d.cancel()
    assert outcome(d)[0].check(ours.CancelledError)
    assert there(distant, future.cancelled)


@pytest.mark.deferrous_only
def test_loop_of_another_thread_to_ours(ours, distant):
    future = there(distant, distant.create_future)

    async def main():
        d = ours.Deferred.fromFuture(future)
        distant.call_soon_threadsafe(future.set_result, 7)
        return await d.asFuture(asyncio.get_running_loop()), threading.get_ident()

    assert asyncio.run(main()) == (7, threading.get_ident())


@pytest.mark.deferrous_only
def test_scheduler_for_an_asyncio_future(ours, loop):
    calls, future = Calls(), loop.create_future()
    results = outcome(ours.Deferred.fromFuture(future, calls))
    future.set_result(7)
    turn(loop)
    assert results == []
    calls.run()
    assert results == [7]
