"""Deferreds that are used by another thread than their own."""

from __future__ import annotations

import _thread
import gc
import re
import threading
import warnings

import pytest
from deferrous import Deferred, DeferredLock, ensureDeferred, gatherResults, inlineCallbacks
from deferrous import testing as t

pytestmark = pytest.mark.deferrous_only


@pytest.fixture(autouse=True)
def ends():
    yield
    t.checkThreads(None)


def in_thread(work):
    outcome = []

    def run():
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="another")
    thread.start()
    thread.join()
    return outcome[0]


USES = {
    "callback": lambda d: d.callback(1),
    "errback": lambda d: d.errback(ValueError()),
    "addCallback": lambda d: d.addCallback(print),
    "addErrback": lambda d: d.addErrback(print),
    "addBoth": lambda d: d.addBoth(print),
    "addCallbacks": lambda d: d.addCallbacks(print, print),
    "addTimeout": lambda d: d.addTimeout(1, t.Clock()),
    "chainDeferred": lambda d: d.chainDeferred(Deferred()),
    "asFuture": lambda d: d.asFuture(None),
    "cancel": lambda d: d.cancel(),
    "pause": lambda d: d.pause(),
    "unpause": lambda d: d.unpause(),
    "__await__": lambda d: d.__await__(),
}


@pytest.mark.parametrize("name", USES)
def test_use_by_another_thread_is_refused(name):
    t.checkThreads()
    d = Deferred()
    error = in_thread(lambda: USES[name](d))
    assert type(error) is t.WrongThreadError
    assert not d.called and not d.paused
    text = str(error)
    assert "a Deferred of thread 'MainThread'" in text
    assert f"was used by thread 'another', which called {name}() here:" in text
    # Both stacks end with the lines that did it.
    first, second = re.split("was used by thread", text)
    assert "d = Deferred()" in first
    assert f'"{name}": lambda d' in second


def test_a_warning_goes_on():
    t.checkThreads("warn")
    d = Deferred()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        in_thread(lambda: d.callback(1))
    assert d.called
    (warning,) = caught
    assert warning.category is t.WrongThreadWarning
    assert warning.filename == __file__
    assert "d = Deferred()" in str(warning.message)


def test_own_thread_does_all():
    t.checkThreads()
    results = []

    async def wait(d):
        return await d

    @inlineCallbacks
    def wait_too(d):
        return (yield d)

    d, e, lock = Deferred(), Deferred(), DeferredLock()
    both = gatherResults([ensureDeferred(wait(d)), wait_too(e)])
    both.addCallback(results.append)
    lock.acquire()
    lock.acquire().addCallback(lambda _: e.callback(2))
    d.callback(1)
    lock.release()
    assert results == [[1, 2]]


def test_who_uses_it_first_owns_one_that_nobody_made_by_its_class():
    d = Deferred()
    t.checkThreads()
    assert in_thread(lambda: d.addCallback(str) and None) is None
    with pytest.raises(t.WrongThreadError):
        d.callback(1)


def test_hand_over_of_a_lock_is_no_use():
    t.checkThreads()
    results = []
    lock = DeferredLock()
    lock.acquire()
    lock.acquire().addCallback(results.append)
    assert in_thread(lock.release) is None
    assert results == [lock]


def test_adopted():
    t.checkThreads()
    d = Deferred()

    def work():
        t.adopt(d)
        d.callback(1)

    assert in_thread(work) is None
    with pytest.raises(t.WrongThreadError):
        d.addCallback(str)


def test_subclass():
    class Own(Deferred):
        def callback(self, result):
            super().callback(result)

    t.checkThreads()
    d = Own()
    assert type(in_thread(lambda: d.callback(1))) is t.WrongThreadError


def test_off_again():
    before = {name: Deferred.__dict__[name] for name in USES}
    t.checkThreads()
    d = Deferred()
    t.checkThreads("warn")
    t.checkThreads(None)
    assert {name: Deferred.__dict__[name] for name in USES} == before
    assert in_thread(lambda: d.callback(1)) is None


@pytest.mark.parametrize("name", ["Deferred", "callback", "adopt"])
def test_a_method_that_a_stack_begins_with(name):
    greenlet = pytest.importorskip("greenlet")
    t.checkThreads()
    d = Deferred()
    begin, *args = {
        "Deferred": (Deferred,),
        "callback": (d.callback, 1),
        "adopt": (t.adopt, d),
    }[name]
    made = greenlet.greenlet(begin).switch(*args)
    made = made if name == "Deferred" else d
    assert made.called == (name == "callback")
    assert type(in_thread(lambda: made.addCallback(str))) is t.WrongThreadError


def test_a_method_that_a_thread_begins_with():
    done = threading.Event()
    t.checkThreads("warn")
    d = Deferred().addCallback(lambda _: done.set())
    with warnings.catch_warnings(record=True):
        _thread.start_new_thread(d.callback, (1,))
        assert done.wait(10)


def test_dead_ones_are_forgotten():
    t.checkThreads()
    from deferrous import _wrong_thread

    for _ in range(10):
        Deferred().addCallback(str)
    gc.collect()
    assert _wrong_thread._checks[0].owners == {}


def test_no_such_action():
    with pytest.raises(ValueError, match="action must be 'raise', 'warn' or None, not 'shout'"):
        t.checkThreads("shout")
