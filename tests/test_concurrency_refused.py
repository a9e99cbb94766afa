"""What was acquired is not lost where a callback is refused, as there is no memory for it.

Whatever is acquired or begun is released, or told, by a callback. If that cannot be added, nobody
would do it. Classes of their own stand for the lack of memory.
"""

import asyncio

import pytest
from deferrous import (
    Deferred,
    DeferredFilesystemLock,
    DeferredLock,
    DeferredSemaphore,
    ensureDeferred,
    fail,
    succeed,
)
from deferrous import concurrency as c
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only


class Refuses(Deferred):
    """One that takes no callback."""

    def addCallbacks(self, *args, **kwargs):
        raise MemoryError

    addCallback = addErrback = addBoth = addCallbacks


def refused():
    """Return one that has fired."""
    d = Refuses()
    d.callback(None)
    return d


def rw(side):
    def make():
        return getattr(c.ReadWriteLock(), side)

    return make


LOCKS = {
    "DeferredLock": DeferredLock,
    "DeferredSemaphore": lambda: DeferredSemaphore(1),
    "Semaphore": c.Semaphore,
    "BoundedSemaphore": c.BoundedSemaphore,
    "Condition": c.Condition,
    "weight": lambda: c.Semaphore(2).weighing(2),
    "reading": rw("reading"),
    "writing": rw("writing"),
    "key": lambda: c.KeyedLock()("key"),
}
locks = pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)


def is_free(lock):
    """Whether it can be had at once, as by who wants it alone."""
    if isinstance(lock, (c.Semaphore, c.BoundedSemaphore)):
        return lock.value == 1
    d = lock.acquire()
    if not d.called:
        return False
    lock.release()
    return True


@locks
@pytest.mark.parametrize("fired", [False, True])
def test_what_is_called_takes_no_callback(make, fired):
    """`run` releases, and lets the next one in."""
    lock = make()
    begun = refused() if fired else Refuses()
    failed = lock.run(lambda: begun)
    failureResultOf(failed).trap(MemoryError)
    assert begun.called
    assert is_free(lock)
    Deferred.addErrback(begun, lambda _: None)


class AddsAndRaises(Deferred):
    """One that takes a callback, and raises an error of its own after that."""

    def addCallback(self, *args, **kwargs):
        super().addCallback(*args, **kwargs)
        raise ValueError

    def addBoth(self, *args, **kwargs):
        super().addBoth(*args, **kwargs)
        raise ValueError


def is_for_one(lock):
    """Whether one can have it, and not another meanwhile."""
    first, second = lock.acquire(), lock.acquire()
    return first.called and not second.called


@locks
@pytest.mark.parametrize("fired", [False, True])
def test_what_is_called_takes_the_callback_and_raises(make, fired):
    """The callback releases. It is not done twice: then two would hold what is for one."""
    lock = make()
    begun = AddsAndRaises()
    if fired:
        begun.callback(None)
    failed = lock.run(lambda: begun)
    failureResultOf(failed).trap(ValueError)
    reading = type(lock).__name__ == "_Part" and lock._what == 1
    if not fired:
        assert not begun.called
        second = lock.run(lambda: "second")
        assert reading or not second.called
        begun.callback(None)
        assert successResultOf(second) == "second"
    assert is_free(lock)
    assert reading or is_for_one(lock)


@locks
def test_the_next_one_gets_it(make):
    lock = make()
    if type(lock).__name__ == "_Part" and lock._what == 1:
        pytest.skip("readers do not wait for each other")
    held = lock.acquire()
    begun = Refuses()
    failed = lock.run(lambda: begun)
    second = lock.run(lambda: "second")
    assertNoResult(second)
    lock.release()
    assert successResultOf(second) == "second"
    failureResultOf(failed).trap(MemoryError)
    assert held.called and is_free(lock)
    Deferred.addErrback(begun, lambda _: None)


KINDS = {
    "DeferredLock": DeferredLock,
    "DeferredSemaphore": DeferredSemaphore,
    "Semaphore": c.Semaphore,
    "BoundedSemaphore": c.BoundedSemaphore,
}


@pytest.mark.parametrize("base", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("waits", [False, True])
def test_what_acquire_returns_takes_no_callback(base, waits):
    """`run` releases it, or gives up the place in line."""

    class Own(base):
        def acquire(self):
            d = super().acquire()
            d.__class__ = Refuses
            return d

    lock = Own(1) if base is DeferredSemaphore else Own()
    if waits:
        base.acquire(lock)
    with pytest.raises(MemoryError):
        lock.run(lambda: None)
    second = base.acquire(lock)
    assert second.called is not waits
    if waits:
        lock.release()
        assert second.called


@pytest.mark.parametrize("base", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("waits", [False, True])
def test_what_acquire_returns_takes_the_callback_and_raises(base, waits):
    """It is acquired for the call, which releases it once."""

    class Own(base):
        def acquire(self):
            d = super().acquire()
            d.__class__ = AddsAndRaises
            return d

        def get(self):
            return super().acquire()

    lock = Own(1) if base is DeferredSemaphore else Own()
    if waits:
        lock.get()
    calls = []
    with pytest.raises(ValueError):
        lock.run(calls.append, 1)
    if waits:
        assert not calls
        lock.release()
    assert calls == [1]
    first, second = lock.get(), lock.get()
    assert first.called and not second.called


def test_a_condition_whose_lock_takes_no_callback():
    """Who is notified ends, and the lock is not held by nobody."""

    class Own(DeferredLock):
        refuses = False

        def acquire(self):
            d = super().acquire()
            if self.refuses:
                d.__class__ = Refuses
            return d

    for waits in (True, False):
        lock = Own()
        condition = c.Condition(lock)
        condition.acquire()
        waiting = condition.wait()
        assertNoResult(waiting)
        holds = condition.acquire()
        assert holds.called
        lock.refuses = True
        if waits:
            condition.notify()
        else:
            with pytest.raises(MemoryError):
                waiting.cancel()
        lock.refuses = False
        failureResultOf(waiting)
        lock.release()
        assert not lock.locked and not lock.waiting


def test_a_stream_whose_failure_takes_no_callback(monkeypatch):
    """Who waits for a result that cannot be had is told. The next one gets it."""
    stream = c.stream(lambda d: d, [Deferred(), Deferred()], limit=2)
    first = stream.__anext__()
    call = stream._calls[0]
    assertNoResult(first)
    call.result = Refuses()
    call.result.errback(KeyError())
    call.is_done = True
    stream._flush()
    failureResultOf(first).trap(MemoryError)
    call.result.__class__ = Deferred
    failureResultOf(stream.__anext__()).trap(KeyError)


@pytest.mark.parametrize("done", [False, True])
def test_as_completed_of_what_takes_no_callback(done):
    """The place of `for` fails; it does not wait for ever."""
    one, other = Deferred(), Deferred()
    places = iter(c.as_completed([one, other]))
    if done:
        one.callback(1)
        one.__class__ = Refuses
        first = next(places)
    else:
        first = next(places)
        one.__class__ = Refuses
        one.callback(1)
    failureResultOf(first).trap(MemoryError)
    second = next(places)
    other.callback(2)
    assert successResultOf(second) == 2
    one.__class__ = Deferred


def test_as_completed_whose_end_cannot_be_told(monkeypatch):
    """All places of `for` fail when the time is over, if only with why they cannot be told that."""
    from deferrous.concurrency import many

    def refuse(*_):
        raise MemoryError

    clock = Clock()
    places = list(c.as_completed([Deferred(), Deferred()], timeout=1, clock=clock))
    with monkeypatch.context() as patched:
        patched.setattr(many, "Failure", refuse)
        clock.advance(1)
    for place in places:
        failureResultOf(place).trap(MemoryError)


def test_a_map_whose_call_cannot_be_made(monkeypatch):
    """Where there is no memory for the Deferred of a call, that is the call's failure."""
    from deferrous import failure

    class Failing(failure.Failure):
        def __init__(self, *args, **kwargs):
            if failing:
                failing.pop()
                raise MemoryError
            super().__init__(*args, **kwargs)

    def function(d):
        if d is None:
            raise ValueError
        return d

    failing = []
    first = Deferred()
    mapped = c.map(function, [first, None], limit=1)
    assertNoResult(mapped)
    monkeypatch.setattr(failure, "Failure", Failing)
    failing.append(1)
    first.callback(1)
    monkeypatch.undo()
    failureResultOf(mapped).trap(MemoryError, ValueError)


def test_a_group_that_cannot_be_joined(monkeypatch):
    """It stays open."""
    from deferrous.concurrency import groups

    group = c.TaskGroup().open()
    task = Deferred()
    group.create_task(task)
    with monkeypatch.context() as patched:
        patched.setattr(groups, "Delayed", lambda canceller: Refuses(canceller))
        with pytest.raises(MemoryError):
            group.join()
    joined = group.join()
    assertNoResult(joined)
    task.callback(None)
    assert successResultOf(joined) is None


def test_a_block_that_cannot_wait(monkeypatch):
    """Its tasks are cancelled, as they would be nobody's."""
    from deferrous.concurrency import groups

    def refuse(*_):
        raise MemoryError

    task = Deferred()

    async def main():
        async with c.TaskGroup() as group:
            group.create_task(task)
            monkeypatch.setattr(groups, "Deferred", refuse)

    ended = ensureDeferred(main())
    monkeypatch.undo()
    failureResultOf(ended).trap(MemoryError)
    assert task.called


def test_once_of_what_takes_no_callback():
    """The next caller begins anew."""
    calls = []

    @c.once
    def function():
        calls.append(Deferred() if calls else Refuses())
        return calls[-1]

    with pytest.raises(MemoryError):
        function()
    again = function()
    calls[1].callback("text")
    assert successResultOf(again) == "text"


@pytest.mark.parametrize("loop", [False, True])
def test_a_timeout_of_what_takes_no_callback(loop):
    """The clock's call is stopped, as nobody would do that later."""
    clock = asyncio.new_event_loop() if loop else Clock()
    try:
        with pytest.raises(MemoryError):
            Refuses().addTimeout(5, clock)
        if loop:
            assert all(call.cancelled() for call in clock._scheduled)
        else:
            assert not clock.getDelayedCalls()
    finally:
        if loop:
            clock.close()


class Refusing(Clock):
    """A clock that takes so many calls."""

    most = 0

    def callLater(self, *args, **kwargs):
        if not self.most:
            raise MemoryError
        self.most -= 1
        return super().callLater(*args, **kwargs)


def test_a_lock_file_whose_clock_takes_no_call(tmp_path):
    """Who waits is told. Nobody gets the lock whom nobody knows."""
    name = str(tmp_path / "lock")
    clock = Refusing()
    holder, lock = (DeferredFilesystemLock(name, clock) for _ in range(2))
    assert holder.lock()
    clock.most = 1
    with pytest.raises(MemoryError):
        lock.deferUntilLocked(timeout=2.5)
    holder.unlock()
    clock.advance(3)
    assert not lock.locked
    assert holder.lock()
    clock.most = 1
    waiting = lock.deferUntilLocked()
    clock.advance(1)
    failureResultOf(waiting).trap(MemoryError)
    holder.unlock()
    assert successResultOf(lock.deferUntilLocked()) is None
    lock.unlock()


def test_nothing_is_refused():
    """What stands for the lack of memory does not change what is not refused."""
    assert successResultOf(DeferredLock().run(succeed, 1)) == 1
    failureResultOf(c.Semaphore().run(fail, KeyError())).trap(KeyError)
