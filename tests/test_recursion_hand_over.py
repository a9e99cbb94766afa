"""Handing over thousands of times in a row takes no stack."""

import os
import sys

import pytest
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

#: Handing over from one to the next, thousands of times, each by a release of the one before.
HANDED_OVER = """
import sys, threading
N = {count}
done = []

def coroutines(lock, frames=0):
    async def hold(i, frames):
        if frames:
            return await hold(i, frames - 1)
        async with lock:
            done.append(i)
    lock.acquire()
    ds = [defer.ensureDeferred(hold(i, frames)) for i in range(N)]
    lock.release()
    assert all(d.called for d in ds)

def generators(lock):
    @defer.inlineCallbacks
    def hold(i):
        yield lock.acquire()
        try:
            done.append(i)
        finally:
            lock.release()
    lock.acquire()
    ds = [hold(i) for i in range(N)]
    lock.release()
    assert all(d.called for d in ds)

def callbacks(lock):
    lock.acquire()
    ds = [lock.acquire() for i in range(N)]
    for i, d in enumerate(ds):
        d.addCallback(lambda _, i=i: done.append(i) or lock.release())
    lock.release()
    assert all(d.called for d in ds)

def items(queue):
    def got(i):
        done.append(i)
        queue.put(i + 1)
    for _ in range(N):
        queue.get().addCallback(got)
    queue.put(0)
    assert list(queue.pending) == [N]

class OwnCallback(defer.Deferred):
    def callback(self, result):
        return super().callback(result)

class NoDeferred:
    def __init__(self):
        self.callbacks = []
    def addCallback(self, callback):
        self.callbacks.append(callback)
    def callback(self, result):
        for each in self.callbacks:
            each(result)

def others(kind, queue):
    # Those whose callback is called, as it is not the one of the class.
    def got(i):
        done.append(i)
        queue.put(i + 1)
    for _ in range(N):
        queue.waiting.append(kind())
        queue.waiting[-1].addCallback(got)
    queue.put(0)
    assert list(queue.pending) == [N]

def other_holders(lock):
    lock.acquire()
    for i in range(N):
        lock.waiting.append(OwnCallback())
        lock.waiting[-1].addCallback(lambda _, i=i: done.append(i) or lock.release())
    lock.release()

def check(work, *args):
    del done[:]
    work(*args)
    assert done == list(range(N)), len(done)

def all_of_them(frames=5):
    check(coroutines, defer.DeferredLock())
    check(coroutines, defer.DeferredSemaphore(1), frames)
    check(generators, defer.DeferredSemaphore(1))
    check(callbacks, defer.DeferredLock())
    check(items, defer.DeferredQueue())
    check(others, OwnCallback, defer.DeferredQueue())
    check(others, NoDeferred, defer.DeferredQueue())
    check(other_holders, defer.DeferredLock())
    check(other_holders, defer.DeferredSemaphore(1))

def deep(frames):
    return deep(frames - 1) if frames else all_of_them()
"""


@pytest.mark.parametrize(
    "how",
    [
        "all_of_them()",
        "all_of_them(50)",
        "deep(300)",
        "deep(700)",
        "sys.setrecursionlimit(250); all_of_them()",
        "sys.setrecursionlimit(10**6); all_of_them()",
    ],
)
def test_all_get_their_turn(how):
    run_script("deferrous", HANDED_OVER.format(count=5000) + how)


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
def test_all_get_their_turn_on_a_thread(size):
    end = f"""
caught = []
def run():
    try:
        all_of_them()
    except BaseException as error:
        caught.append(error)
threading.stack_size({size} << 10)
thread = threading.Thread(target=run)
thread.start()
thread.join()
assert not caught, caught
"""
    run_script("deferrous", HANDED_OVER.format(count=2000) + end)


def order_of_hand_overs(defer, count):
    """Who begins and ends when, where each releases before it is done."""
    log, lock = [], defer.DeferredLock()
    lock.acquire()

    def held(lock, i):
        log.append(("begins", i))
        lock.release()
        log.append(("ends", i))
        return i

    for i in range(count):
        lock.acquire().addCallback(held, i).addCallback(lambda i: log.append(("after", i)))
    lock.release()
    return log


def test_the_order_is_twisted_s_as_far_as_twisted_manages():
    script = """
import sys
import textwrap
sys.path.insert(0, {path!r})
from twisted.internet import defer as theirs
from test_recursion_hand_over import order_of_hand_overs
for count in (1, 5, 50, 99):
    assert order_of_hand_overs(defer, count) == order_of_hand_overs(theirs, count), count
assert sorted(order_of_hand_overs(defer, 3000)) == sorted(
    (what, i) for what in ("after", "begins", "ends") for i in range(3000)
)
"""
    run_script("deferrous", script.format(path=os.path.dirname(__file__)))


def test_greenlets_that_stop_within_a_hand_over():
    """Their levels are not those of the one that goes on; what they put off, they do."""
    script = """
import greenlet
main = greenlet.getcurrent()
sleepers = []
for i in range(150):
    queue = defer.DeferredQueue()
    log = []
    def sleep(_, queue=queue, log=log):
        log.append("asleep")
        main.switch()
        log.append("awake")
        queue.put("second")
        log.append("put")
    queue.get().addCallback(sleep)
    queue.get().addCallback(log.append)
    sleeper = greenlet.greenlet(queue.put)
    sleeper.switch("first")
    assert log == ["asleep"]
    sleepers.append((sleeper, log))
done = []
lock = defer.DeferredLock()
lock.acquire()
for i in range(1000):
    lock.acquire().addCallback(lambda _, i=i: done.append(i) or lock.release())
lock.release()
assert done == list(range(1000)) and not lock.locked
for sleeper, log in sleepers[::2] + sleepers[1::2]:
    sleeper.switch()
    assert sleeper.dead and sorted(log) == ["asleep", "awake", "put", "second"], log
queue = defer.DeferredQueue()
queue.get().addCallback(done.append)
queue.put("last")
assert done[-1] == "last"
"""
    run_script("deferrous", script)


def test_an_error_on_the_way_loses_nothing():
    """`Failure` cannot be made for one of those that were put off: the others run all the same."""
    script = """
def broken(self, *args, **kwargs):
    raise MemoryError("no failure")
init = failure.Failure.__init__
lock = defer.DeferredLock()
lock.acquire()
done = []
def held(_, i):
    done.append(i)
    lock.release()
    if i == 150:
        failure.Failure.__init__ = broken
        raise ValueError(i)
    failure.Failure.__init__ = init
ds = [lock.acquire().addCallback(held, i) for i in range(1000)]
lock.release()
assert done == list(range(1000)) and not lock.locked
failure.Failure.__init__ = init
d = ds[150]
seen = []
d.addBoth(seen.append)
assert len(seen) == 1, "it is not being run"
errors = []
for d in ds:
    d.addErrback(lambda f: errors.append(f.type))
assert errors == [MemoryError]
"""
    run_script("deferrous", script)


@pytest.mark.parametrize("add", ["addCallback", "addBoth"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_that_cannot_be_made_does_not_stop_the_chain(add, when):
    script = f"""
def broken(self, *args, **kwargs):
    raise MemoryError("no failure")
init = failure.Failure.__init__
def raising(_):
    failure.Failure.__init__ = broken
    raise ValueError("x")
a, b, log = defer.Deferred(), defer.Deferred(), []
a.addCallback(b.callback).addBoth(log.append)
try:
    if {when!r} == "before":
        b.{add}(raising).addBoth(log.append)
        a.callback(1)
    else:
        a.callback(1)
        b.{add}(raising)
except MemoryError:
    pass
failure.Failure.__init__ = init
b.addBoth(log.append)
a.addBoth(log.append)
assert len(log) >= 2, log
"""
    run_script("deferrous", script)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is one for good")
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_a_stack_that_is_made_smaller(size):
    """A program can lower the limit of the main thread's stack."""
    run_script(
        "deferrous",
        f"""
        import resource, sys
        import deferrous as defer

        # Has been deep before.
        defer.succeed(1).addCallback(lambda _: defer.succeed(2).addCallback(lambda _: 3))
        most = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, ({size} << 10, most))
        sys.setrecursionlimit(100_000)
        ends = []

        def callbacks(_):
            d = defer.Deferred().addCallback(callbacks)
            try:
                d.callback(1)
            except RecursionError as error:
                ends.append(error)
            # On CPython 3.12, native calls may reach their limit first: then each is refused.
            if isinstance(d.result, failure.Failure):
                ends.append(d.result)
                d.addErrback(id)

        @defer.inlineCallbacks
        def generators():
            yield generators()

        callbacks(1)
        assert ends
        generators().addErrback(lambda failure: ends.append(failure.trap(RecursionError)))
        assert ends[-1] is RecursionError
        """,
    )
