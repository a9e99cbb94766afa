"""No leaks: each function and method, in every way it can end, drops all its references at once.

What is let go of on a thread that PyO3 has not attached waits in a pool until something of PyO3's
is called. So each use here is looked at before anything else is, and again when it was repeated.
"""

import asyncio
import copy
import gc
import sys
import weakref

import pytest

pytestmark = pytest.mark.deferrous_only


class Error(Exception):
    """An exception that can be watched."""


class Value:
    """Any other object."""


def tuple_and_item():
    item = Value()
    return (item, 1), weakref.ref(item)


def watched(kind):
    value = kind()
    return value, weakref.ref(value)


#: What a Deferred can come to, and what tells when it is gone. The last two mean something to those
#: who raise StopIteration.
VALUES = {
    "an object": lambda: watched(Value),
    "an exception": lambda: watched(Error),
    "a tuple": tuple_and_item,
}


def drop(_):
    """A callback that returns nothing."""


def fail(value, *_):
    raise Error(value)


def attempt(function, *args, **kwargs):
    """Call a function, and ignore its exception or the outcome of its Deferred."""
    try:
        result = function(*args, **kwargs)
    except Exception:
        return None
    if hasattr(result, "addErrback"):
        result.addErrback(drop)
    return result


async def awaits(d):
    return await d


def generator_of(deferrous):
    @deferrous.inlineCallbacks
    def generator(d):
        return (yield d)

    return generator


class Clock:
    def callLater(self, *_):
        return self

    def active(self):
        return False


def put_too_much(deferrous, value):
    queue = deferrous.DeferredQueue(size=0)
    attempt(queue.put, value)


def get_too_much(deferrous, value):
    queue = deferrous.DeferredQueue(backlog=0)
    queue.attribute = value
    attempt(queue.get)


def await_pending(deferrous, value):
    d = deferrous.Deferred()
    outer = deferrous.ensureDeferred(awaits(d))
    d.callback(value)
    outer.addCallback(drop)


def await_failed(deferrous, value):
    d = deferrous.Deferred()
    outer = deferrous.ensureDeferred(awaits(d))
    d.errback(Error(value))
    outer.addErrback(drop)


def yield_pending(deferrous, value):
    d = deferrous.Deferred()
    outer = generator_of(deferrous)(d)
    d.callback(value)
    outer.addCallback(drop)


def iterate(deferrous, value):
    for d in (deferrous.succeed(value), deferrous.fail(Error(value))):
        for step in ("send", "__next__"):
            iterator = d.__await__()
            attempt(getattr(iterator, step), *([None] if step == "send" else []))
        d.addBoth(drop)


def throw(deferrous, value):
    # Nobody but the traceback has the exception then.
    for error in (Error, StopIteration):
        attempt(lambda error=error: deferrous.Deferred().__await__().throw(error(value)))


def lock_misuse(deferrous, value):
    for primitive in (deferrous.DeferredLock(), deferrous.DeferredSemaphore(1)):
        primitive.attribute = value
        attempt(primitive.release)
        primitive.run(drop, value)
        primitive.run(fail, value).addErrback(drop)


def cancel_waiters(deferrous, value):
    lock, queue = deferrous.DeferredLock(), deferrous.DeferredQueue()
    lock.acquire()
    for waits in (lock.acquire, queue.get):
        d = waits()
        d.addErrback(drop)
        d.attribute = value
        d.cancel()


def cancel_list(deferrous, value):
    ds = [deferrous.Deferred(lambda _, kept=value: None) for _ in range(3)]
    gathered = deferrous.DeferredList(ds, consumeErrors=True)
    gathered.attribute = value
    gathered.cancel()


def gather(deferrous, value):
    deferrous.gatherResults([deferrous.succeed(value)]).addCallback(drop)
    gathered = deferrous.gatherResults([deferrous.fail(Error(value))], consumeErrors=True)
    gathered.addErrback(drop)
    deferrous.race([deferrous.succeed(value)]).addCallback(drop)


def fifo(deferrous, value):
    queue = deferrous.DeferredQueue()
    for _ in range(2):
        queue.put(value)
    attempt(queue.pending.remove, Value())
    attempt(queue.pending.__getitem__, 9)
    queue.pending[0] = value
    queue.get()


def failures(deferrous, value):
    failure = deferrous.Failure(Error(value))
    failure.check(ValueError, "no.such", int)
    attempt(failure.trap, ValueError)
    attempt(failure.raiseException)
    attempt(deferrous.Failure)
    attempt(deferrous.Failure, value, value, value, value, value)
    attempt(lambda: failure.absent)
    attempt(failure.throwExceptionIntoGenerator, value)


def already_called(deferrous, value):
    d = deferrous.succeed(value)
    attempt(d.callback, value)
    attempt(d.errback, Error(value))
    d.addCallback(drop)


def wrong_arguments(deferrous, value):
    d = deferrous.Deferred()
    for method in ("callback", "addCallback", "addCallbacks", "addErrback", "addBoth", "cancel"):
        attempt(getattr(d, method), value, value, value, absent=value)
        attempt(getattr(d, method))
    for name in ("succeed", "fail", "maybeDeferred", "execute", "ensureDeferred", "race"):
        attempt(getattr(deferrous, name), value, absent=value)
        attempt(getattr(deferrous, name))
    attempt(deferrous.Deferred, value, absent=value)
    attempt(deferrous.DeferredList, value)
    attempt(deferrous.DeferredSemaphore, value)
    attempt(d.addCallbacks, value, value, value, value, value, value)


def no_generator(deferrous, value):
    attempt(deferrous.inlineCallbacks(lambda: value))
    attempt(deferrous.inlineCallbacks(lambda: fail(value)))


def cancel(deferrous, value):
    deferrous.Deferred(lambda d: d.errback(Error(value))).addErrback(drop).cancel()
    attempt(deferrous.Deferred(lambda d: fail(value)).cancel)
    d = generator_of(deferrous)(deferrous.Deferred())
    d.attribute = value
    d.addErrback(drop).cancel()


def copies(deferrous, value):
    copy.copy(deferrous.succeed(value))
    inner = deferrous.Deferred()
    outer = deferrous.ensureDeferred(awaits(inner))
    attempt(copy.copy, outer)
    inner.callback(value)


#: Uses of every function, each with an object that must be freed afterwards.
USES = {
    "succeed": lambda defer, value: defer.succeed(value),
    "succeed, result": lambda defer, value: defer.succeed(value).result,
    "fail": lambda defer, value: defer.fail(Error(value)).addErrback(drop),
    "callback": lambda defer, value: defer.Deferred().addCallback(drop).callback(value),
    "errback": lambda defer, value: defer.Deferred().addErrback(drop).errback(Error(value)),
    "callback that raises": lambda defer, value: (
        defer.succeed(value).addCallback(fail).addErrback(drop)
    ),
    "arguments": lambda defer, value: defer.Deferred().addCallback(drop, value, k=value),
    "spread": lambda defer, value: attempt(
        defer.succeed(1).addCallbacks, drop, drop, [value], {"k": value}
    ).addErrback(drop),
    "canceller": lambda defer, value: defer.Deferred(lambda _, it=value: None),
    "attribute": lambda defer, value: setattr(defer.Deferred(), "attribute", value),
    "no attribute": lambda defer, value: attempt(lambda: defer.Deferred(lambda _: value).result),
    "maybeDeferred": lambda defer, value: defer.maybeDeferred(lambda: value),
    "maybeDeferred, raising": lambda defer, value: defer.maybeDeferred(fail, value).addErrback(
        drop
    ),
    "execute": lambda defer, value: defer.execute(fail, value).addErrback(drop),
    "timeout": lambda defer, value: defer.succeed(value).addTimeout(1, Clock()),
    "chained": lambda defer, value: defer.succeed(1).addCallback(lambda _: defer.succeed(value)),
    "chainDeferred": lambda defer, value: defer.succeed(value).chainDeferred(defer.Deferred()),
    "str": lambda defer, value: str(defer.succeed(value)),
    "already called": already_called,
    "await": await_pending,
    "await, failing": await_failed,
    "yield": yield_pending,
    "iterators": iterate,
    "throw": throw,
    "cancel": cancel,
    "locks": lock_misuse,
    "waiters": cancel_waiters,
    "lists": cancel_list,
    "gathered": gather,
    "a full queue": put_too_much,
    "an empty queue": get_too_much,
    "pending": fifo,
    "failures": failures,
    "wrong arguments": wrong_arguments,
    "no generator": no_generator,
    "copies": copies,
}


@pytest.fixture(autouse=True)
def no_collections():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def defer():
    import deferrous

    return deferrous


@pytest.mark.parametrize("make", VALUES)
@pytest.mark.parametrize("use", USES)
def test_at_once(defer, use, make):
    """What a use was given is gone when nobody else has it, without a collection."""
    use, make = USES[use], VALUES[make]
    for _ in range(3):
        value, reference = make()
        use(defer, value)
        del value
        assert reference() is None


@pytest.mark.parametrize("use", USES)
def test_repeated(defer, use):
    """Nothing grows without end, not even what nobody watches."""
    use = USES[use]

    def blocks():
        for _ in range(100):
            use(defer, Value())
        return sys.getallocatedblocks()

    # CPython keeps the memory of small objects for new ones of their kind, thousands of some, and
    # lets go of it in each collection. So the first rounds may grow, the more so the less is kept
    # from before. What is kept of each use grows by a hundred or more in every round.
    grown, before = [], blocks()
    while len(grown) < 60 and not (grown[2:] and max(grown[-2:]) < 50):
        after = blocks()
        grown.append(after - before)
        before = after
    assert max(grown[-2:]) < 50


@pytest.mark.parametrize("make", VALUES)
@pytest.mark.parametrize("pending", [True, False])
def test_await_under_asyncio(defer, make, pending):
    async def main():
        for _ in range(3):
            d = defer.Deferred()
            value, reference = VALUES[make]()
            if pending:
                asyncio.get_running_loop().call_soon(d.callback, value)
            else:
                d.callback(value)
            del value
            await d
            del d
            # The loop itself lets go of what it has called when it comes to the next.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert reference() is None

    asyncio.run(main())


@pytest.mark.parametrize("make", VALUES)
def test_future(defer, make):
    async def main():
        value, reference = VALUES[make]()
        future = defer.succeed(value).asFuture(asyncio.get_running_loop())
        del value
        await future
        del future
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reference() is None

    asyncio.run(main())


@pytest.mark.parametrize("stop", [(), (1,), ((1, 2),), (ValueError(),), (StopIteration(3),)])
def test_what_an_iterator_returns(defer, stop):
    """The exception that says so has the result for its value, whatever that is."""
    result = stop[0] if stop else None
    with pytest.raises(StopIteration) as raised:
        next(defer.succeed(result).__await__())
    assert raised.value.value is result
    with pytest.raises(StopIteration) as raised:
        defer.succeed(result).__await__().send(None)
    assert raised.value.value is result
