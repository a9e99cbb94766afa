"""The structures that test_dying.py builds and drops: long chains of objects."""

KINDS = '''
import gc
import sys
import threading
import weakref

from deferrous import (
    Deferred, DeferredList, DeferredLock, DeferredQueue, DeferredSemaphore, ensureDeferred,
    gatherResults, inlineCallbacks, race,
)
from deferrous.failure import Failure


class Error(Exception):
    pass


class Anything:
    pass


def subclasses(base):
    """Those that Python makes of a class."""
    class Sub(base):
        pass
    class Slots(base):
        __slots__ = ("more",)
    class Finalized(base):
        def __del__(self):
            pass
    class SubSub(Anything, Sub):
        pass
    return Sub, Slots, Finalized, SubSub


KINDS = {}


def kind(function):
    """A function that makes something which holds its argument."""
    KINDS[function.__name__] = function
    return function


def of_attribute(cls, *args):
    def holder(inner):
        outer = cls(*args)
        outer.kept = inner
        return outer
    return holder


for base, args in [
    (Deferred, ()), (DeferredList, ([],)), (DeferredLock, ()), (DeferredSemaphore, (1,)),
    (DeferredQueue, ()), (Failure, (Error(),)),
]:
    for cls in (base, *subclasses(base)):
        KINDS[f"attribute of {base.__name__} {cls.__name__}"] = of_attribute(cls, *args)


def holding(inner):
    """A Deferred that holds something."""
    d = Deferred()
    d.kept = inner
    return d


def as_deferred(inner):
    return inner if isinstance(inner, Deferred) else holding(inner)


@kind
def result(inner):
    d = Deferred()
    d.callback(Anything())
    d.result = inner
    return d

@kind
def result_in_a_tuple(inner):
    d = Deferred()
    d.callback((inner,))
    return d

@kind
def result_in_a_list_and_a_dict(inner):
    d = Deferred()
    d.callback([{1: inner}])
    return d

@kind
def attribute_of_something_else(inner):
    d, between = Deferred(), Anything()
    between.kept = inner
    d.callback(between)
    return d

@kind
def canceller(inner):
    return Deferred(lambda _: inner)

@kind
def callback(inner):
    return Deferred().addCallback(lambda _: inner)

@kind
def bound_method(inner):
    return Deferred().addCallback(as_deferred(inner).callback)

@kind
def errback(inner):
    return Deferred().addErrback(lambda _: inner)

@kind
def argument(inner):
    return Deferred().addCallback(print, inner)

@kind
def argument_by_keyword(inner):
    return Deferred().addCallbacks(print, print, errbackKeywords={"a": inner})

@kind
def second_of_many_callbacks(inner):
    d = Deferred().addCallback(print).addBoth(print, inner)
    for _ in range(8):
        d.addErrback(print)
    return d

@kind
def waits(inner):
    d = Deferred()
    d.addCallback(lambda _: as_deferred(inner))
    d.callback(None)
    return d

@kind
def is_waited_for(inner):
    d, awaited = holding(inner), Deferred()
    d.addCallback(lambda _: awaited)
    d.callback(None)
    return awaited

@kind
def chained(inner):
    d = Deferred()
    as_deferred(inner).chainDeferred(d)
    return d

@kind
def queue_item(inner):
    q = DeferredQueue()
    q.put(inner)
    return q

@kind
def queue_size(inner):
    q = DeferredQueue()
    q.size = inner
    return q

@kind
def queue_backlog(inner):
    return DeferredQueue(None, inner)

@kind
def queue_waiting(inner):
    q = DeferredQueue()
    q.waiting = [inner]
    return q

@kind
def queue_getter(inner):
    q = DeferredQueue()
    q.get().kept = inner
    return q

@kind
def lock_waiting(inner):
    lock = DeferredLock()
    lock.waiting = [inner]
    return lock

@kind
def lock_run(inner):
    lock = DeferredLock()
    lock.acquire()
    lock.run(print, inner)
    return lock

@kind
def semaphore_waiting(inner):
    semaphore = DeferredSemaphore(1)
    semaphore.waiting.append(inner)
    return semaphore

@kind
def line(inner):
    line = DeferredQueue().pending
    line.append(inner)
    return line

@kind
def deferred_list(inner):
    return DeferredList([as_deferred(inner)])

@kind
def results_of_a_deferred_list(inner):
    d = DeferredList([Deferred(), Deferred()])
    d.resultList[0] = inner
    return d

@kind
def gathered(inner):
    return gatherResults([holding(inner)])

@kind
def a_race(inner):
    return race([holding(inner)])

@kind
def race_itself(inner):
    return race([holding(inner)])._canceller

@kind
def iterator(inner):
    return holding(inner).__await__()

@kind
def failure(inner):
    return Failure(Error(inner))

@kind
def handled_failure(inner):
    d = Deferred()
    d.addErrback(lambda failure: None)
    d.errback(Failure(Error(inner)))
    d.result = Failure(Error(inner))
    return d

@inlineCallbacks
def generator_of(held):
    yield Deferred()

@kind
def generator(inner):
    return generator_of(inner)

@kind
def generator_that_waits(inner):
    @inlineCallbacks
    def wait(d):
        yield d
    return wait(as_deferred(inner))

async def coroutine_of(held):
    await Deferred()

@kind
def coroutine(inner):
    return ensureDeferred(coroutine_of(inner))

@kind
def task_itself(inner):
    return ensureDeferred(coroutine_of(inner))._canceller

@kind
def coroutine_that_waits(inner):
    async def wait(d):
        await d
    return ensureDeferred(wait(as_deferred(inner)))

ALL = list(KINDS.values())
TURN = 0

@kind
def mixed(inner):
    global TURN
    TURN += 1
    return ALL[TURN % len(ALL)](inner)


def build(kind, count):
    head = end = Anything()
    seen = weakref.ref(end)
    for _ in range(count):
        head = kind(head)
    return head, end, seen


def drop(kind, count):
    """By their last reference."""
    head, end, seen = build(kind, count)
    del end
    del head
    if seen() is not None:
        # Some kinds make cycles.
        gc.collect()
    assert seen() is None


def collect(kind, count):
    """By the collector, which takes a ring apart."""
    head, end, seen = build(kind, count)
    end.head = head
    del head, end
    gc.collect()
    assert seen() is None


def in_thread(size, function, *args):
    errors = []
    def body():
        try:
            function(*args)
        except BaseException as error:
            errors.append(error)
    threading.stack_size(size * 1024)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    for error in errors:
        raise error
'''
