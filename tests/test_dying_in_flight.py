"""An exception in flight is not lost when our objects are freed.

What a frame has on its stack dies as an exception leaves it: with the exception in flight. With
that, nothing may be called: the exception would be lost, or the process would end.

Each script runs in an interpreter of its own, so that one that crashes harms no other.
"""

import importlib.util

import pytest
from dying_kinds import KINDS
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

IN_FLIGHT = '''
import asyncio
import logging
import types

import deferrous
from deferrous import concurrency, fail, succeed
from deferrous.testing import Clock

logging.disable(logging.CRITICAL)


class Arrives(Exception):
    """The one in flight."""


def failed(cls):
    def make():
        d = cls([]) if issubclass(cls, DeferredList) else cls()
        d.addBoth(lambda _: Failure(Error()))
        if not d.called:
            d.callback(None)
        return d
    return make


MORE = {}


def more(function):
    """A function that makes something which does more than let go as it dies."""
    MORE[function.__name__] = function
    return function


for base in (Deferred, DeferredList):
    for cls in (base, *subclasses(base)):
        MORE[f"failed {base.__name__} {cls.__name__}"] = failed(cls)


class Raises:
    def __del__(self):
        raise Error

class Works:
    """Uses the package as it dies."""
    def __del__(self):
        d = Deferred().addCallback(lambda _: 1 / 0).addErrback(lambda _: None)
        d.callback(None)
        fail(Error())

@more
def finalizer_that_raises():
    return succeed(Raises())

@more
def finalizer_that_works():
    return succeed(Works())

@more
def canceller_with_a_finalizer():
    return Deferred(Works().__init__)

@more
def watched_by_a_weak_reference():
    d = Deferred()
    d.ref = weakref.ref(Works())
    REFERENCES.append(weakref.ref(d, lambda _: Works()))
    return d

REFERENCES = []

@more
def failed_with_a_failed_one():
    return fail(Error(failed(Deferred)()))

@more
def failed_in_a_list():
    return DeferredList([failed(Deferred)(), Deferred()])

@more
def chained_to_a_failed_one():
    d = Deferred().addCallback(lambda _: failed(Deferred)())
    d.callback(None)
    return d

@more
def paused_with_a_failure():
    d = failed(Deferred)()
    d.pause()
    d.addErrback(lambda _: None)
    return d

class Info(deferrous.DebugInfo):
    pass

@more
def failed_with_another_debug_info():
    before, deferrous.DebugInfo = deferrous.DebugInfo, Info
    try:
        return failed(Deferred)()
    finally:
        deferrous.DebugInfo = before

@more
def failed_in_debug_mode():
    deferrous.setDebugging(True)
    try:
        return failed(Deferred)()
    finally:
        deferrous.setDebugging(False)

@more
def failure_of_an_odd_class():
    class Odd(Exception):
        def __str__(self):
            raise Error
    return fail(Odd())

@more
def cyclic():
    d = failed(Deferred)()
    d.itself = d
    return d

async def take(queue):
    return await queue.get()

@more
def coroutine_never_started():
    coroutine = take(DeferredQueue())
    d = Deferred(coroutine.close)
    coroutine.close()
    return d

@more
def coroutine_that_waits():
    coroutine = take(DeferredQueue())
    coroutine.send(None)
    return coroutine

@more
def coroutine_of_ours_that_waits():
    return ensureDeferred(take(DeferredQueue()))

def run(coroutine):
    """Under asyncio. What it leaves waiting stays so."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()

@more
def iterator_in_a_task():
    it = []
    async def main():
        it.append(Deferred().__await__())
        next(it[0])
    run(main())
    return it.pop()

@more
def iterator_in_a_task_with_a_failure():
    it, d = [], Deferred()
    async def main():
        it.append(d.__await__())
        next(it[0])
        d.errback(Error())
    run(main())
    return it.pop()

@more
def iterator_in_a_task_with_an_item():
    it, queue = [], DeferredQueue()
    async def main():
        it.append(queue.get().__await__())
        next(it[0])
        queue.put(1)
    run(main())
    assert queue.pending == []
    # Whoever waits next gets it, and fails as it does.
    queue.get().addCallback(lambda _: 1 / 0)
    return it.pop()

@more
def iterator_in_a_task_with_a_lock():
    it, lock = [], DeferredLock()
    async def main():
        lock.acquire()
        it.append(lock.acquire().__await__())
        next(it[0])
        lock.release()
    run(main())
    lock.acquire().addCallback(lambda _: 1 / 0)
    return it.pop()

@more
def timeout():
    d, clock = Deferred(), Clock()
    d.addTimeout(1, clock)
    clock.advance(2)
    return d

@more
def group():
    it = concurrency.TaskGroup().open()
    it.create_task(Deferred())
    it.create_task(failed(Deferred)())
    return it

@more
def mapped():
    return concurrency.map(lambda it: it, [failed(Deferred)(), Deferred()], limit=2)

@more
def shielded():
    return concurrency.shield(failed(Deferred)())

@more
def places():
    return [
        concurrency.Event().wait(), concurrency.Semaphore(0).acquire(),
        concurrency.Queue().get(), concurrency.Barrier(2).wait(),
    ]

@more
def failure_with_frames():
    try:
        raise Error
    except Error:
        return Failure(captureVars=True)


def make_and_raise(make, error):
    return (make(), raises(error))

def raises(error):
    raise error

def in_a_frame(make, error):
    make_and_raise(make, error)

def in_a_block(make, error):
    try:
        make_and_raise(make, error)
    finally:
        (make(), None)

def generator_that_holds(make):
    return [make(), (yield)]

def in_a_generator_thrown_into(make, error):
    generator = generator_that_holds(make)
    next(generator)
    generator.throw(error)

def in_a_generator_that_is_closed(make, error):
    """A `return` or GeneratorExit that got lost would be a SystemError."""
    generator = generator_that_holds(make)
    next(generator)
    generator.close()
    raise error

async def coroutine_that_holds(make, awaited):
    return [make(), await awaited]

def in_a_coroutine_that_is_closed(make, error):
    coroutine = coroutine_that_holds(make, Deferred())
    coroutine.send(None)
    coroutine.close()
    raise error

def in_a_coroutine_that_is_dropped(make, error):
    coroutine = coroutine_that_holds(make, Deferred())
    coroutine.send(None)
    del coroutine
    raise error

def in_a_coroutine_of_ours(make, error):
    awaited = Deferred()
    d = ensureDeferred(coroutine_that_holds(make, awaited))
    awaited.errback(error)
    found = []
    d.addErrback(found.append)
    raise found[0].value

def in_a_generator_of_ours(make, error):
    @inlineCallbacks
    def run(awaited):
        return [make(), (yield awaited)]
    awaited = Deferred()
    d = run(awaited)
    awaited.errback(error)
    found = []
    d.addErrback(found.append)
    raise found[0].value

def in_a_callback(make, error):
    d = Deferred()
    d.addCallback(lambda _: make_and_raise(make, error))
    d.callback(None)
    found = []
    d.addErrback(found.append)
    raise found[0].value

def in_a_canceller(make, error):
    Deferred(lambda _: make_and_raise(make, error)).cancel()

def within_native_calls(make, error):
    """An argument of a call that fails; what a sort, a comparison or a set holds."""
    sorted([make()], key=lambda it: raises(error))

WAYS = [
    in_a_frame, in_a_block, in_a_generator_thrown_into, in_a_generator_that_is_closed,
    in_a_coroutine_that_is_closed, in_a_coroutine_that_is_dropped, in_a_coroutine_of_ours,
    in_a_generator_of_ours, in_a_callback, in_a_canceller, within_native_calls,
]

reported = []
sys.unraisablehook = lambda it: reported.append(it.exc_value)

def look(name, make, way, number):
    # More modules than the last time: what may have been imported meanwhile is looked for anew.
    sys.modules[f"another{number}"] = types.ModuleType("another")
    error = Arrives(name, way.__name__)
    try:
        way(make, error)
    except BaseException as arrived:
        assert arrived is error, (name, way.__name__, arrived)
        context = arrived.__context__
        assert context is None or type(context) in (RuntimeError,), (name, way.__name__, context)
    else:
        raise AssertionError(f"{name} {way.__name__}: nothing arrived")
    finally:
        del sys.modules[f"another{number}"]

def look_at_all():
    number = 0
    makes = {name: lambda kind=kind: kind(Anything()) for name, kind in KINDS.items()}
    for name, make in (makes | MORE).items():
        print(name, file=sys.stderr)
        for way in WAYS:
            number += 1
            look(name, make, way, number)
    gc.collect()
    lost = [it for it in reported if type(it) not in (Error, ZeroDivisionError)]
    assert not lost, lost
'''

HOOKS = {
    "nothing": "look_at_all()",
    "tracked": "deferrous.track(); look_at_all(); deferrous.pending()",
    "traced": "with deferrous.trace() as t:\n    look_at_all()\nassert t.events",
    "both": "deferrous.track()\nwith deferrous.trace():\n    look_at_all()",
    "profiled": "sys.setprofile(lambda *_: None); look_at_all(); sys.setprofile(None)",
    "debugged": "deferrous.setDebugging(True); look_at_all()",
    "collected": "gc.set_threshold(1); look_at_all()",
}


@pytest.mark.parametrize("greenlets", [False, True])
@pytest.mark.parametrize("hooks", HOOKS)
def test_what_dies_leaves_it(hooks, greenlets):
    if greenlets and importlib.util.find_spec("greenlet") is None:
        pytest.skip("no greenlets")
    first = "import greenlet\n" if greenlets else ""
    run_script("deferrous", KINDS + first + IN_FLIGHT + HOOKS[hooks])
