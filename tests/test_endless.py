"""A signal's exception ends loops of ours that may be endless and run no Python code of a program.

If they ran within a step of ours, the exception would be put back each time.
"""

from __future__ import annotations

import _thread
import builtins
import itertools
import signal
import sys
import threading

import pytest
from deferrous import Deferred, _deferrous, ensureDeferred, inlineCallbacks, succeed
from deferrous import concurrency as c
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

#: Far more than come before the signal is looked for. So a test fails, and does not go on for ever.
MANY = 100_000


@pytest.fixture(autouse=True)
def interrupts():
    """A shell starts what runs in the background with this signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Fired(Deferred):
    """Is taken by another way than one of exactly that class."""


def interrupting(items):
    """Native items, the first of which is given while a signal comes."""
    signals = builtins.map(_thread.interrupt_main, [signal.SIGINT])
    return itertools.chain(signals, itertools.repeat(items, MANY))


def is_interrupted(deferred):
    got = []
    deferred.addBoth(got.append)
    return [type(getattr(result, "value", None)) for result in got] == [KeyboardInterrupt]


def left(items):
    return sum(1 for _ in items)


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("function", [id, bool, succeed])
def test_map(function, limit):
    items = interrupting(0)
    d = c.map(function, items, limit=limit)
    assert is_interrupted(d)
    assert left(items) > MANY // 2


def test_map_whose_calls_end_later():
    """Items are taken when a call ends, too."""
    first, items = Deferred(), interrupting(0)
    d = c.map({1: first}.get, itertools.chain([1], items), limit=1)
    assert not d.called
    first.callback(None)
    assert is_interrupted(d)
    assert left(items) > MANY // 2


def test_map_of_a_stream():
    """Here Python code runs for each item, but it is all ours."""
    items = interrupting(0)
    d = c.map(id, c.stream(id, items, limit=2), limit=1)
    assert is_interrupted(d)
    assert left(items) > MANY // 2


def fired(kind):
    deferred = kind()
    deferred.callback(None)
    return deferred


#: Native iterators take None alone.
WHAT = {"None": None, "fired": fired(Deferred), "of a subclass": fired(Fired)}


@pytest.mark.parametrize("what", WHAT.values(), ids=WHAT)
def test_generator(what):
    """It is in a `yield from` of native code: the exception is raised there."""
    items, seen = interrupting(what), []

    @inlineCallbacks
    def operation():
        try:
            yield from items
        except KeyboardInterrupt:
            seen.append("interrupted")
        result = yield succeed("result")
        return result

    got = []
    operation().addBoth(got.append)
    assert (seen, got) == (["interrupted"], ["result"])
    assert left(items) > MANY // 2


@pytest.mark.parametrize("what", WHAT.values(), ids=WHAT)
def test_coroutine(what):
    items = interrupting(what)

    class Endless:
        def __await__(self):
            return items

    async def operation():
        await Endless()

    assert is_interrupted(ensureDeferred(operation()))
    assert left(items) > MANY // 2


def test_a_step_that_is_repeated():
    """What had come into the step ends the loop, too, and comes once."""
    interrupt, items, got = [KeyboardInterrupt()], itertools.repeat(0, MANY), []
    first = interrupt[0]

    @_deferrous._whole
    def step(_):
        if interrupt:
            raise interrupt.pop()
        return c.map(id, items, limit=1)

    succeed(5).addCallback(step).addBoth(got.append)
    for _ in range(1000):
        pass
    assert [failure.value for failure in got] == [first]
    assert left(items) > MANY // 2


def test_what_ends_is_not_broken_off():
    """A map of few items is done, and the exception is raised after it."""
    first, got = Deferred(), []
    items = itertools.chain([1], itertools.islice(interrupting(0), 50))
    c.map({1: first}.get, items, limit=1).addBoth(got.append)
    with pytest.raises(KeyboardInterrupt):
        first.callback(None)
        for _ in range(1000):
            pass
    assert got == [51 * [None]]


def test_in_another_thread():
    """A signal is not for that one."""
    got = []

    def work():
        c.map(bool, itertools.repeat(0, 1000), limit=1).addBoth(got.append)

    def operation():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    operation()
    assert got == [1000 * [False]]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such timer")
def test_by_a_timer():
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        d = c.map(id, itertools.repeat(0), limit=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert is_interrupted(d)


LOOPS = {
    "check": "failure.parents = items; failure.check('x')",
    "in": "'x' in items",
    "list": "list(items)",
    "deque": "collections.deque(items, maxlen=0)",
    "extend": "DeferredQueue().pending.extend(items)",
    "gather": "gatherResults(items)",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_pending_deferred_as_an_iterator(loop):
    """It yields itself until it has a result, in loops of native code as well.

    In a process without asyncio and Twisted: to see which drives it, Python code would run.
    """
    run_script(
        "deferrous",
        f"""
        import _thread, collections, itertools, signal
        from deferrous import Deferred, DeferredQueue, Failure, gatherResults

        signal.signal(signal.SIGINT, signal.default_int_handler)
        failure, numbers = Failure(ValueError()), iter(range({MANY}))
        signals = map(_thread.interrupt_main, [signal.SIGINT])
        items = itertools.chain(signals, zip(Deferred(), numbers))
        try:
            {loop}
        except KeyboardInterrupt:
            pass
        assert sum(1 for _ in numbers) > {MANY} // 2
        """,
    )
