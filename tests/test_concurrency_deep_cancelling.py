"""Cancelling thousands of nested groups, maps and the like.

They nest no more calls than the interpreter allows: what is deep is done by the outermost.
"""

import sys
import threading

import deferrous as defer
import pytest
from deferrous import CancelledError, Deferred, concurrency, ensureDeferred
from deferrous.concurrency import cancellation
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only

DEEP = 4_000

FORMS = {}


def form(function):
    """A function that makes a Deferred which ends, if it is cancelled, when the inner one has."""
    FORMS[function.__name__] = function
    return function


@form
def mapped(inner):
    return concurrency.map(lambda it: it, [inner], limit=1)


@form
def mapped_beside_another(inner):
    return concurrency.map(lambda it: it, [Deferred(), inner, Deferred()], limit=3)


@form
def called_by_a_map(inner):
    return concurrency.map(lambda _: inner, range(2), limit=1)


async def items(inner):
    yield await inner


@form
def from_items(inner):
    return concurrency.map(lambda it: it, items(inner), limit=1)


@form
def joined(inner):
    group = concurrency.TaskGroup().open()
    group.create_task(inner)
    return group.join()


@form
def joined_beside_another(inner):
    group = concurrency.TaskGroup().open()
    group.create_task(Deferred())
    group.create_task(inner)
    return group.join()


@form
def task_in_a_block(inner):
    async def run():
        async with concurrency.TaskGroup() as group:
            group.create_task(inner)

    return ensureDeferred(run())


@form
def awaited_in_a_block(inner):
    async def run():
        async with concurrency.TaskGroup() as group:
            group.create_task(Deferred())
            await inner

    return ensureDeferred(run())


@form
def task_within_a_timeout(inner):
    async def run():
        async with concurrency.timeout(10, clock=Clock()), concurrency.TaskGroup() as group:
            group.create_task(inner)

    return ensureDeferred(run())


@form
def gathered(inner):
    return concurrency.gather(inner, return_exceptions=True)


@form
def gathered_with_losers(inner):
    return concurrency.gather(Deferred(), inner, cancel_losers=True)


@form
def observed(inner):
    return concurrency.Observable(inner, cancel_unobserved=True).observe()


@form
def limited(inner):
    return concurrency.wait_for(inner, 5, clock=Clock())


TURN = 0


@form
def mixed(inner):
    global TURN
    TURN += 1
    forms = list(FORMS.values())[:-1]
    return forms[TURN % len(forms)](inner)


def nest(make, inner, depth=DEEP):
    for _ in range(depth):
        inner = make(inner)
    return inner


def result_of(d):
    found = []
    d.addBoth(found.append)
    return found


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_all_are_cancelled(make):
    innermost = Deferred()
    outermost = nest(make, innermost)
    found = result_of(outermost)
    outermost.cancel()
    assert innermost.called
    (failure,) = found
    failure.trap(CancelledError)


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_what_ends_late(make):
    """All wait for the innermost, and then end, one after the other."""
    work = Deferred()
    outermost = nest(make, concurrency.delay_cancellation(work))
    found = result_of(outermost)
    outermost.cancel()
    assert not work.called
    if make not in (observed, mixed):
        # Who observes does not wait for the end.
        assert found == []
    work.callback(None)
    (failure,) = found
    failure.trap(CancelledError)


def test_what_is_delayed_within_another():
    work = Deferred()
    delayed = [work]
    for _ in range(DEEP):
        delayed.append(concurrency.delay_cancellation(delayed[-1]))
    for each in delayed[1:]:
        each.cancel()
    found = result_of(delayed[-1])
    work.callback(1)
    (failure,) = found
    failure.trap(CancelledError)


@pytest.mark.parametrize("make", [mapped, joined, task_in_a_block, gathered])
def test_failing_cancels_all(make):
    """The task of a group fails: what is beside it is nested deep, and is cancelled."""
    innermost, fails = Deferred(), Deferred()
    group = concurrency.TaskGroup().open()
    group.create_task(nest(make, innermost))
    group.create_task(fails)
    found = result_of(group.join())
    fails.errback(ValueError("why"))
    assert innermost.called
    (failure,) = found
    (error,) = failure.value.exceptions if sys.version_info >= (3, 11) else [None]
    assert error is None or isinstance(error, ValueError)


@pytest.mark.parametrize("make", [mapped, joined, task_in_a_block, observed])
def test_on_a_small_stack(make):
    errors = []

    def body():
        innermost = Deferred()
        outermost = nest(make, innermost)
        found = result_of(outermost)
        outermost.cancel()
        if not (innermost.called and len(found) == 1):
            errors.append((innermost.called, found))

    before = threading.stack_size(512 << 10)
    try:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert errors == []


@pytest.mark.parametrize("depth", [1, 5, 9, 10, 11, 12, 19, 20, 21, 50])
@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_each_canceller_is_called_once(make, depth):
    log = []
    inner = Deferred(lambda _: log.append("innermost"))
    for level in range(depth):
        beside = Deferred(lambda _, level=level: log.append(level))
        group = concurrency.TaskGroup().open()
        group.create_task(make(inner))
        group.create_task(beside)
        inner = group.join()
    found = result_of(inner)
    inner.cancel()
    assert sorted(log, key=str) == sorted(["innermost", *range(depth)], key=str)
    assert len(found) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("depth", [1, 9, 30, DEEP])
def test_an_interrupt_comes_out_when_all_are_cancelled(error, depth):
    def interrupt(_):
        raise error

    innermost, other = Deferred(interrupt), Deferred()
    outermost = nest(mapped, concurrency.map(lambda it: it, [innermost, other], limit=2), depth)
    found = result_of(outermost)
    with pytest.raises(error):
        outermost.cancel()
    assert innermost.called
    assert other.called
    assert len(found) == 1
    # What was nested is forgotten.
    test_all_are_cancelled(mapped)


def test_what_a_deep_canceller_raises_is_reported():
    def fail(_):
        raise ValueError("why")

    reported = []
    before = defer.logError
    defer.logError = lambda it: reported.append(it)
    try:
        outermost = nest(joined, Deferred(fail))
        found = result_of(outermost)
        outermost.cancel()
    finally:
        defer.logError = before
    assert len(found) == 1


def test_a_deep_canceller_that_cancels_others():
    found = []

    def cancel_another(_):
        other = nest(joined, Deferred())
        found.extend([result_of(other), other])
        other.cancel()

    outermost = nest(mapped, Deferred(cancel_another))
    ended = result_of(outermost)
    outermost.cancel()
    assert len(ended) == 1
    assert len(found[0]) == 1


def test_a_task_that_has_left_its_block_is_not_cancelled():
    """It leaves as soon as what is beside it is cancelled, before it is its turn."""
    after = Deferred()

    async def run(beside):
        try:
            async with concurrency.TaskGroup() as group:
                group.create_task(beside)
                cancels.addBoth(lambda _: group.cancel())
                await concurrency.shield(beside)
        except CancelledError:
            pass
        return await after

    cancels = Deferred()
    beside = Deferred()
    task = ensureDeferred(run(beside))
    outermost = nest(mapped, Deferred(lambda _: cancels.callback(None)), 50)
    found = result_of(task)
    result_of(outermost)
    outermost.cancel()
    assert beside.called
    assert found == []
    after.callback("went on")
    assert found == ["went on"]


def test_greenlets():
    greenlet = pytest.importorskip("greenlet")
    hub = greenlet.getcurrent()
    ended = []

    def worker(depth):
        outermost = nest(mapped, Deferred(lambda _: hub.switch()), depth)
        found = result_of(outermost)
        outermost.cancel()
        ended.append(len(found))

    workers = [greenlet.greenlet(worker) for _ in range(5)]
    for depth, each in enumerate(workers):
        each.switch(7 + 10 * depth)
    test_all_are_cancelled(joined)
    for each in workers[1:] + workers[:1]:
        each.switch()
        assert each.dead
    assert ended == [1] * 5


def test_a_greenlet_that_never_goes_on():
    greenlet = pytest.importorskip("greenlet")
    hub = greenlet.getcurrent()

    def worker():
        nest(mapped, Deferred(lambda _: hub.switch()), 30).cancel()

    for _ in range(3):
        greenlet.greenlet(worker).switch()
        # The next may be at the same address.
        test_all_are_cancelled(mapped)


def test_the_first_exception_is_raised_whatever_it_counts_as():
    """Also one that is false, as one of a class with a length may be."""

    class Interrupt(BaseException):
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

    def nested(calls):
        if calls:
            cancellation.in_turn(nested, calls - 1)
        if calls in (14, 2):
            raise Interrupt(14 - calls)

    with pytest.raises(Interrupt) as raised:
        cancellation.in_turn(nested, 14)
    assert raised.value.count == 0
