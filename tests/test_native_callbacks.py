"""Our own bound methods as callbacks: the order of calls, and any number of them."""

import importlib

import pytest
from helpers import IMPLEMENTATIONS, run_script

PROGRAMS = {}


def program(function):
    """A program that logs what happens. Both implementations have to log the same."""
    PROGRAMS[function.__name__] = function
    return function


def noting(log, name, then=None):
    """A callback that logs what it is called with, and passes on what `then` returns."""

    def note(result, *args):
        log((name, getattr(result, "value", result), *args))
        return result if then is None else then(result)

    return note


@program
def callback_in_the_middle(defer, log):
    a, b = defer.Deferred(), defer.Deferred()
    b.addBoth(noting(log, "b"))
    a.addCallback(noting(log, "before")).addCallback(b.callback).addBoth(noting(log, "after"))
    a.callback(1)
    log((a.called, b.called, a.result, b.result))


@program
def errback_with_and_without_a_failure(defer, log):
    a, b, c = (defer.Deferred() for _ in range(3))
    b.addBoth(noting(log, "b"))
    c.addBoth(noting(log, "c"))
    a.addErrback(b.errback).addBoth(noting(log, "after"))
    a.addCallback(lambda _: ValueError("given")).addCallback(c.errback)
    a.errback(KeyError("first"))
    for d in (b, c):
        d.addErrback(noting(log, "end", lambda _: None))


@program
def fired_twice(defer, log):
    a, b = defer.Deferred(), defer.succeed("there")
    a.addCallback(b.callback)
    a.addErrback(lambda f: log(f.type.__name__))
    a.addCallback(a.callback)
    a.addErrback(lambda f: log(f.type.__name__))
    a.callback(1)
    log((a.result, b.result))


@program
def wrong_arguments(defer, log):
    for add in (
        lambda a, b: a.addCallback(b.callback, "more"),
        lambda a, b: a.addCallback(b.callback, more=1),
        lambda a, b: a.addCallback(b.errback, "more"),
        lambda a, b: a.addCallback(b.cancel),
        lambda a, b: a.addCallback(b.unpause),
        lambda a, b: a.addCallback(defer.DeferredLock().release),
        lambda a, b: a.addCallback(defer.DeferredQueue.put),
    ):
        a, b = defer.Deferred(), defer.Deferred()
        add(a, b)
        a.addBoth(lambda r: log(getattr(r, "type", r)))
        a.callback(1)
        log(b.called)


@program
def callbacks_of_both_kinds(defer, log):
    for fire in (lambda d: d.callback(1), lambda d: d.errback(ValueError("x"))):
        a, b = defer.Deferred(), defer.Deferred()
        b.addBoth(noting(log, "b", lambda _: None))
        a.addCallbacks(b.callback, b.errback).addBoth(noting(log, "after"))
        fire(a)


@program
def paused_on_the_way(defer, log):
    a, b, c = (defer.Deferred() for _ in range(3))
    a.addCallback(b.callback).addBoth(noting(log, "a"))
    b.addCallback(c.callback).addBoth(noting(log, "b"))
    c.addBoth(noting(log, "c"))
    b.pause()
    a.callback(1)
    log("fired")
    b.unpause()
    log((a.result, b.result, c.result))


@program
def a_callback_that_waits(defer, log):
    a, b, late = (defer.Deferred() for _ in range(3))
    b.addCallback(lambda _: late).addBoth(noting(log, "b"))
    a.addCallback(b.callback).addBoth(noting(log, "a"))
    a.callback(1)
    log((b.called, b.paused))
    late.callback(2)


@program
def added_to_one_that_has_fired(defer, log):
    b = defer.Deferred()
    b.addBoth(noting(log, "b"))
    a = defer.succeed(1)
    a.addCallback(b.callback)
    log((a.result, b.result))
    a.addCallback(b.callback)
    a.addErrback(lambda f: log(f.type.__name__))


@program
def locks(defer, log):
    lock = defer.DeferredLock()
    waiting = [lock.acquire() for _ in range(4)]
    for i, d in enumerate(waiting):
        d.addCallback(lambda lock, i=i: log(i) or lock)
        d.addCallback(defer.DeferredLock.release).addBoth(noting(log, f"after {i}"))
    log((lock.locked, [d.called for d in waiting]))
    d = defer.succeed(lock).addCallback(defer.DeferredLock.release)
    d.addErrback(lambda f: log((f.type.__name__, f.getErrorMessage())))


@program
def semaphores(defer, log):
    semaphore = defer.DeferredSemaphore(2)
    for i in range(5):
        d = semaphore.acquire()
        d.addCallback(lambda s, i=i: log(i))
        d.addBoth(semaphore._releaseAndReturn).addBoth(noting(log, f"after {i}"))
    log(semaphore.tokens)
    d = defer.fail(ValueError("passed on")).addBoth(semaphore._releaseAndReturn)
    d.addErrback(lambda f: log((f.type.__name__, f.getErrorMessage())))


@program
def a_release_of_its_own(defer, log):
    class Lock(defer.DeferredLock):
        def release(self):
            log("release")
            super().release()

    lock = Lock()
    for i in range(3):
        lock.acquire().addCallback(lambda _, i=i: log(i)).addBoth(lock._releaseAndReturn)
    lock.acquire().addCallback(defer.DeferredLock.release)


@program
def queues(defer, log):
    first, second = defer.DeferredQueue(), defer.DeferredQueue(size=1)
    for _ in range(3):
        d = first.get().addCallback(second.put)
        d.addErrback(lambda f: log(f.type.__name__)).addBoth(noting(log, "after"))
    second.get().addBoth(noting(log, "second"))
    for i in range(3):
        first.put(i)
    log(list(second.pending))


@program
def callbacks_of_lists(defer, log):
    ds = [defer.Deferred(), defer.Deferred()]
    gathered = defer.DeferredList(ds, consumeErrors=True)
    gathered.addBoth(lambda r: log([(ok, getattr(v, "value", v)) for ok, v in r]))
    extra = defer.Deferred()
    extra.addCallback(gathered._cbDeferred, 0, True).addBoth(noting(log, "extra"))
    extra.callback("first")
    ds[1].errback(ValueError("second"))
    log(ds[1].result)


@program
def cancellers(defer, log):
    class Queue(defer.DeferredQueue):
        pass

    queue, other = Queue(), defer.Deferred()
    queue.get().addCallback(lambda d: log("in the queue") or other.callback(1))
    other.addBoth(noting(log, "other"))
    d = defer.Deferred(queue.put)
    d.addErrback(lambda f: log(f.type.__name__))
    d.cancel()
    full = defer.Deferred(defer.DeferredQueue(size=0).put)
    try:
        full.cancel()
    except defer.QueueOverflow:
        log(("refused", full.called))


@program
def insisting_on_callbacks(defer, log):
    class Insisting(defer.Deferred):
        def addCallbacks(self, *args, **kwargs):
            log("addCallbacks")
            return super().addCallbacks(*args, **kwargs)

        def addBoth(self, *args, **kwargs):
            log("addBoth")
            return super().addBoth(*args, **kwargs)

    @defer.inlineCallbacks
    def waiting(d):
        log((yield d))

    d, other = Insisting(), defer.Deferred()
    waiting(d).addBoth(noting(log, "ended"))
    defer.DeferredList([d]).addBoth(noting(log, "list"))
    defer.race([d, other]).addBoth(noting(log, "race"))
    other.addErrback(lambda f: log(f.type.__name__))
    d.callback("here")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_happens(name):
    logs = []
    for modules in IMPLEMENTATIONS.values():
        logs.append([])
        PROGRAMS[name](importlib.import_module(modules[0]), lambda it: logs[-1].append(str(it)))
    theirs, ours = logs
    assert ours == theirs
    assert ours


SIZES = """
import functools, threading
N = 300_000
D = defer.Deferred

def led(link):
    ds = [D() for _ in range(N)]
    for a, b in zip(ds, ds[1:]):
        link(a, b)
    return ds

def check():
{body}

check()
threading.stack_size(512 << 10)
failed = []
def in_thread():
    try:
        check()
    except BaseException as error:
        failed.append(error)
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
assert not failed, failed
"""

LED = """
ds = led(lambda a, b: {link})
ds[0].{fire}
assert ds[-1].called and all(d.result is None for d in ds[:-1])
ds[-1].addErrback(lambda f: None)
"""

BODIES = {
    "callback": LED.format(link="a.addCallback(b.callback)", fire="callback(1)"),
    "errback": LED.format(link="a.addErrback(b.errback)", fire="errback(ValueError())"),
    "addBoth": LED.format(link="a.addBoth(b.callback)", fire="callback(1)"),
    "both": LED.format(link="a.addCallbacks(b.callback, b.errback)", fire="errback(ValueError())"),
    "chainDeferred": LED.format(link="a.chainDeferred(b)", fire="callback(1)"),
    "unbound, with an argument": """
qs = [defer.DeferredQueue() for _ in range(N)]
for a, b in zip(qs, qs[2:]):
    a.get().addCallback(defer.DeferredQueue.put, b)
qs[0].put(qs[1])
assert list(qs[-2].pending) == [qs[-1]]
""",
    "the first has fired": """
ds = led(lambda a, b: a.addCallback(b.callback))
defer.succeed(1).addCallback(ds[0].callback)
assert ds[-1].called
""",
    "mixed": """
q, lock = defer.DeferredQueue(), defer.DeferredLock()
ds = led(lambda a, b: a.addCallbacks(b.callback, b.errback))
lock.acquire()
d = lock.acquire()
for i in range(N // 10):
    d.addBoth(lock._releaseAndReturn)
    d = lock.acquire()
d.addBoth(ds[0].callback)
lock.release()
assert ds[-1].called
""",
    "release of a lock": """
lock = defer.DeferredLock()
lock.acquire()
ds = [lock.acquire().addCallback(defer.DeferredLock.release) for _ in range(N)]
lock.release()
assert all(d.called for d in ds) and not lock.locked
""",
    "release of a semaphore": """
semaphore = defer.DeferredSemaphore(1)
semaphore.acquire()
ds = [semaphore.acquire().addBoth(semaphore._releaseAndReturn) for _ in range(N)]
semaphore.release()
assert all(d.called for d in ds) and semaphore.tokens == 1
""",
    "put": """
qs = [defer.DeferredQueue() for _ in range(N)]
for a, b in zip(qs, qs[1:]):
    a.get().addCallback(b.put)
qs[0].put("item")
assert list(qs[-1].pending) == ["item"]
""",
    "from a canceller": """
ds = led(lambda a, b: a.addCallback(b.callback))
queue = defer.DeferredQueue()
queue.get().addCallback(lambda d: d.callback("cancelled")).addCallback(ds[0].callback)
d = defer.Deferred(queue.put)
d.cancel()
assert d.result == "cancelled" and ds[-1].called
""",
    "run on Deferreds that insist on callbacks": """
class Insisting(D):
    def addBoth(self, *args, **kwargs):
        return super().addBoth(*args, **kwargs)

@defer.inlineCallbacks
def waits(d):
    yield d

first = d = Insisting()
for _ in range(N // 10):
    done, d = waits(d), Insisting()
    done.addCallback(d.callback)
first.callback(None)
assert d.called
""",
}


@pytest.mark.deferrous_only
@pytest.mark.parametrize("name", BODIES, ids=lambda name: name.replace(" ", "_"))
def test_any_number(name):
    body = "".join(f"    {line}\n" for line in BODIES[name].strip().splitlines())
    run_script("deferrous", SIZES.format(body=body))
