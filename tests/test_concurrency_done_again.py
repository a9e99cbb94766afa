"""Steps of ours that are done again, as a signal's exception has come into them: nothing is done
twice, and nothing is left out.
"""

from __future__ import annotations

import signal
import threading

import pytest
from concurrency_helpers import result_of
from deferrous import Deferred, _deferrous, succeed
from deferrous import concurrency as c
from interrupted_helpers import check_on_any_line

pytestmark = pytest.mark.deferrous_only


class Fetched:
    """Asynchronous items, each of which is waited for."""

    def __init__(self, count):
        self.count = count
        self.fetches = []

    def __aiter__(self):
        return self

    async def __anext__(self):
        number = len(self.fetches)
        if number == self.count:
            raise StopAsyncIteration
        self.fetches.append(Deferred())
        await self.fetches[number]
        return number


def fetching(streams=False):
    """An item of an asynchronous iterator comes: it is taken once, and none is left out."""

    def operation():
        items, started, got = Fetched(4), [], []
        work = started.append
        if streams:
            results = c.stream(work, items, limit=2)
            ends = [results.__anext__() for _ in range(4)]
        else:
            ends = [c.map(work, items, limit=2)]
        for each in ends:
            each.addBoth(got.append)

        def whole():
            number = 0
            while number < len(items.fetches):
                if not items.fetches[number].called:
                    items.fetches[number].callback(None)
                number += 1
            # None is left out, or taken twice, unless the program's own code was interrupted.
            is_end = any(isinstance(getattr(it, "value", it), KeyboardInterrupt) for it in got)
            count = len(started) if is_end else 4
            return started == list(range(count)) and len(got) == len(ends)

        return lambda: items.fetches[0].callback(None), whole

    return operation


def beginning_to_watch(begin):
    """Somebody begins to wait for a Deferred, or does not: the next one is told in any case."""

    def operation():
        awaited = Deferred()

        def whole():
            told = begin([awaited])
            awaited.callback(None)
            return told.called

        return lambda: begin([awaited]), whole

    return operation


CASES = {
    "wait, begun": beginning_to_watch(c.wait),
    "as_completed, begun": beginning_to_watch(lambda each: next(c.as_completed(each))),
    "map of asynchronous items": fetching(),
    "stream of asynchronous items": fetching(streams=True),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_interrupted_on_any_line(make):
    check_on_any_line(make)


def test_done_again_when_all_has_ended():
    """A call of a map has ended, and the map with it: what is done again changes nothing."""
    gates, errors = [], []

    def work(_):
        gates.append(Deferred())
        return gates[-1]

    d = c.map(work, range(1), limit=1)
    feed = d._canceller.__self__
    gates[0].callback("done")
    assert result_of(d) == ["done"]
    deferred = Deferred()
    deferred.addCallback(feed._call_ended, 0).addErrback(errors.append)
    deferred.callback("done")
    assert not errors


def test_an_earlier_call_ends_in_the_function():
    """The next item is asked for in the midst of that, and not once more while it is."""

    class Items(Fetched):
        at_once = 0

        async def __anext__(self):
            self.at_once += 1
            assert self.at_once == 1
            try:
                return await super().__anext__()
            finally:
                self.at_once -= 1

    items, gates = Items(4), []

    def work(number):
        gates.append(Deferred())
        if number == 1:
            gates[0].callback("ends in it")
        return gates[-1]

    d = c.map(work, items, limit=3)
    number = 0
    while number < len(items.fetches):
        items.fetches[number].callback(None)
        number += 1
    for gate in gates[1:]:
        gate.callback("ends")
    assert result_of(d) == ["ends in it", "ends", "ends", "ends"]


@pytest.mark.parametrize("kind", [ValueError, KeyError])
def test_an_error_of_a_programs_own_method(kind):
    """What a clock's method raises does not come out where the Deferred happens to be fired."""

    class Refusing:
        def seconds(self):
            return 0.0

        def callLater(self, *_):
            return self

        def cancel(self):
            raise kind("it has been called")

    awaited = Deferred()
    d = c.wait([awaited], timeout=1, clock=Refusing())
    awaited.callback("done")
    assert result_of(d) == ({awaited}, set())
    # It is that of the callback which has called it, as with any.
    assert isinstance(result_of(awaited), kind)


def test_interrupted_several_times_before_it_is_cancelled():
    """What has to end is cancelled all the same, and once."""
    asked = []

    def cancel(deferred, _, begun):
        asked.append(deferred)
        if len(asked) < 5:
            raise KeyboardInterrupt
        begun["is_begun"] = True
        deferred.cancel()

    d = Deferred()
    with pytest.raises(KeyboardInterrupt):
        _deferrous._end_one(d, "reason", cancel)
    assert d.called
    assert len(asked) == 5
    d.addErrback(lambda _: None)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("is_shown", [False, True])
def test_several_that_come_into_one_step(is_shown):
    """The first is raised, and shows one of another class that has come after it."""
    first, second = KeyboardInterrupt(), Stop() if is_shown else KeyboardInterrupt("again")
    coming = [first, second]
    done = []

    @_deferrous._whole
    def step(result):
        if coming:
            raise coming.pop(0)
        done.append(result)

    with pytest.raises(KeyboardInterrupt) as raised:
        succeed(5).addCallback(step)
        for _ in range(100):
            pass
    assert raised.value is first
    assert first.__context__ is (second if is_shown else None)
    assert done == [5]


def test_a_step_that_always_raises_is_given_up():
    calls, failures = [], []

    @_deferrous._whole
    def step(_):
        calls.append(1)
        raise Stop

    succeed(5).addCallback(step).addErrback(failures.append)
    assert [failure.type for failure in failures] == [Stop]
    assert 50 < len(calls) < 100


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="it has no such signal")
def test_signals_that_come_each_time():
    """A step that is never complete because of signals is done once without: they come after it."""
    done, seen = [], []

    def handler(number, frame):
        seen.append(number)
        raise Stop

    @_deferrous._whole
    def step(result):
        signal.raise_signal(signal.SIGUSR1)
        done.append(result)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Stop):
            succeed(5).addCallback(step)
            for _ in range(100):
                pass
        for _ in range(100):
            pass
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert done == [5]
    assert len(seen) > 50


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="it has no such signal")
def test_a_handler_that_is_set_without_signals():
    """It stays: what was there before is not put back."""
    handled, times = [], []

    def handler(number, frame):
        raise Stop

    @_deferrous._whole
    def step(_):
        times.append(1)
        if signal.getsignal(signal.SIGUSR1) is handler:
            signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda number, frame: handled.append(number))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Stop):
            succeed(5).addCallback(step)
            for _ in range(100):
                pass
        assert len(times) > 50
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]


def test_interrupted_while_it_is_cancelled():
    """Whatever interrupts the cancelling of what has a canceller, it ends, and is asked once."""
    asked = []

    def operation():
        d = Deferred(asked.append)
        group = c.TaskGroup().open()
        group.create_task(d)
        joined, ended = group.join(), []
        joined.addBoth(ended.append)
        asked.clear()

        def whole():
            if not d.called:
                joined.cancel()
            return d.called and len(ended) == 1 and len(asked) <= 1

        return joined.cancel, whole

    check_on_any_line(operation)


def interrupted_by(coming):
    """Run a step that raises these, one after another.

    Returns the KeyboardInterrupt, and the failures that its Deferred ends with.
    """
    got = []

    @_deferrous._whole
    def step(_):
        if coming:
            raise coming.pop(0)

    d = Deferred()
    d.addCallback(step).addErrback(got.append)
    with pytest.raises(KeyboardInterrupt) as raised:
        d.callback(5)
        for _ in range(100):
            pass
    return raised.value, got


def test_a_signal_and_then_no_memory():
    """The step cannot be completed, and its error is raised. The signal's comes after it."""
    signalled = KeyboardInterrupt()
    raised, got = interrupted_by([signalled, *[MemoryError()] * 10])
    assert raised is signalled
    assert [failure.type for failure in got] == [MemoryError]


@pytest.mark.parametrize("then", [0, 1, 10])
@pytest.mark.parametrize("error", [MemoryError, ValueError])
def test_no_memory_and_then_a_signal(error, then):
    """The step's error is raised, and the signal's comes after it."""
    signalled = KeyboardInterrupt()
    raised, got = interrupted_by([error(), signalled, *[error() for _ in range(then)]])
    assert raised is signalled
    assert [failure.type for failure in got] == [error]
    assert got[0].value.__context__ is None


def test_a_signal_and_then_no_memory_elsewhere():
    """In another thread the first cannot come later: the error shows it."""
    got = []

    def work():
        coming = [KeyboardInterrupt(), *[MemoryError()] * 10]
        first = coming[0]

        @_deferrous._whole
        def step(_):
            raise coming.pop(0)

        succeed(5).addCallback(step).addErrback(lambda failure: got.append(failure.value))
        got.append(first)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    error, first = got
    assert type(error) is MemoryError
    assert error.__context__ is first


def test_no_memory_for_a_moment():
    """The step is done again."""
    coming, done, got = [MemoryError(), MemoryError()], [], []

    @_deferrous._whole
    def step(result):
        if coming:
            raise coming.pop()
        done.append(result)

    succeed(5).addCallback(step).addErrback(got.append)
    assert done == [5]
    assert [failure.type for failure in got] == [MemoryError]
