"""The lines of locks and queues behave like lists in everything but their class."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import sys
from collections.abc import MutableSequence, Sequence

import deferrous
import pytest
from deferrous import Deferred, DeferredLock, DeferredQueue, DeferredSemaphore
from helpers import run_script
from lines_helpers import Item, Line, items_of, one_step

pytestmark = pytest.mark.deferrous_only


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_on_a_line_and_a_list(seed):
    for number in range(seed * 100, seed * 100 + 100):
        logs = []
        for make in (list, Line):
            rng = random.Random(number)
            line = make()
            items = items_of(line, rng)
            log = []
            for _ in range(8):
                log.append(one_step(line, items, rng))
                log.append([it.name for it in list(line)])
            logs.append(log)
        assert logs[0] == logs[1], number


def test_iteration_sees_what_changes():
    line = Line([1, 2, 3])
    seen = []
    for item in line:
        seen.append(item)
        if item == 2:
            line.append(4)
            line.remove(1)
    assert seen == [1, 2, 4]
    assert line == [2, 3, 4]


def test_the_same_object_twice():
    a, b, c = Deferred(), Deferred(), Deferred()
    for make in (list, Line):
        line = make([a, b, c])
        line.remove(b)
        line.append(a)
        line.remove(a)
        assert list(line) == [c, a]


def test_the_same_deferred_twice_in_a_long_line():
    deferreds = [Deferred() for _ in range(200)]
    lock = DeferredLock()
    expected = []
    for made in (lock.waiting, expected):
        for d in deferreds:
            made.append(d)
        made.remove(deferreds[150])
        made.append(deferreds[3])
        made.remove(deferreds[3])
        made.append(deferreds[3])
        made.remove(deferreds[3])
        made.remove(deferreds[199])
    assert lock.waiting == expected


def test_the_first_that_is_equal_is_removed():
    q = DeferredQueue()
    for item in (1.0, 1, True):
        q.put(item)
    q.pending.remove(1)
    assert [type(it) for it in q.pending] == [int, bool]


def test_something_equal_to_a_deferred_stands_before_it():
    class Equal:
        def __eq__(self, other):
            return True

    d, equal = Deferred(), Equal()
    lock = DeferredLock()
    lock.waiting.append(equal)
    lock.waiting.append(d)
    lock.waiting.remove(d)
    assert lock.waiting[0] is d


def test_deferreds_with_an_equality_of_their_own():
    run_script(
        "deferrous",
        """
        defer.Deferred.__eq__ = lambda self, other: True
        lock = defer.DeferredLock()
        lock.acquire()
        first, second = lock.acquire(), lock.acquire()
        lock.waiting.remove(second)
        assert lock.waiting[0] is second
        """,
    )


def test_an_item_put_while_another_is_removed():
    q = DeferredQueue()
    items = [Item("a", act=lambda: q.put("late")), Item("b", equal=("x",)), Item("c")]
    for item in items:
        q.put(item)
    q.pending.remove(Item("x"))
    assert q.pending[-1] == "late"
    assert [it.name for it in list(q.pending)[:-1]] == ["a", "c"]


def test_a_line_that_holds_itself():
    line = Line([1])
    line.append(line)
    assert repr(line) == "[1, [...]]"
    twin = copy.deepcopy(line)
    assert twin[0] == 1
    assert twin[1] is twin
    assert pickle.loads(pickle.dumps(Line([1, 2]))) == [1, 2]


def test_a_line_goes_on_as_one_after_it_was_a_list():
    """Looking through it costs what a list costs, and no more from then on."""
    q = DeferredQueue()
    for number in range(2000):
        q.put(number)
    assert 1999 in q.pending
    iterator = iter(q.pending)
    assert [q.get().result for _ in range(500)] == list(range(500))
    # The list that an iterator reads stays what it is.
    assert next(iterator) == 500
    del iterator
    assert [q.get().result for _ in range(1500)] == list(range(500, 2000))
    assert not q.pending


@pytest.mark.parametrize("threshold", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("what", ["lock", "semaphore", "get"])
def test_a_waiter_that_joins_while_another_joins(what, fresh, threshold):
    """A collection in the midst of it runs a finalizer, which joins, too."""
    made = {
        "lock": DeferredLock,
        "semaphore": lambda: DeferredSemaphore(1),
        "get": DeferredQueue,
    }[what]()
    join = made.get if what == "get" else made.acquire
    if what != "get":
        join()
    joined, fired = [], []

    def note(d):
        joined.append(d)
        d.addCallback(lambda _: fired.append(d))

    if not fresh:
        note(join())

    class Finalized:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            note(join())

    before = gc.get_threshold()
    gc.collect()
    Finalized()
    gc.set_threshold(threshold)
    try:
        for _ in range(5):
            note(join())
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(joined) == (6 if fresh else 7)
    order = list(made.waiting)
    assert set(order) == set(joined)
    for _ in joined:
        made.put(None) if what == "get" else made.release()
    assert fired == order


def test_released_while_another_joins():
    """By a finalizer in a collection: the one that joins has it then."""
    for _ in range(3):
        lock = DeferredLock()
        lock.acquire()

        class Finalized:
            def __init__(self):
                self.cycle = self

            def __del__(self):
                lock.release()  # noqa: B023

        Finalized()
        before = gc.get_threshold()
        gc.set_threshold(1)
        try:
            d = lock.acquire()
        finally:
            gc.set_threshold(*before)
        gc.collect()
        assert d.called
        assert lock.locked


def test_the_size_is_asked_while_somebody_joins():
    class Size(int):
        def __gt__(self, other):
            got.append(q.get())
            return True

    got = []
    q = DeferredQueue(size=Size(3))
    q.put("item")
    assert got[0].result == "item"
    assert not q.pending


def test_the_backlog_is_asked_while_something_is_put():
    class Backlog(int):
        def __gt__(self, other):
            q.put("item")
            return True

    q = DeferredQueue(backlog=Backlog(3))
    assert q.get().result == "item"


def test_a_lock_that_can_be_called_as_a_canceller():
    class Callable(DeferredLock):
        def __call__(self, deferred):
            called.append(deferred)

    called = []
    lock = Callable()
    d = Deferred(lock)
    d.addErrback(lambda _: None)
    d.cancel()
    assert called == [d]
    # As one that is waited for it is left all the same.
    lock.acquire()
    waiting = lock.acquire()
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert called == [d]
    assert not lock.waiting


def test_numbers_of_tokens_beyond_the_machine():
    with pytest.raises(OverflowError):
        DeferredSemaphore(2**100)
    s = DeferredSemaphore(2**63 - 1)
    s.acquire()
    s.release()
    assert s.tokens == s.limit == 2**63 - 1
    with pytest.raises(AssertionError):
        s.release()
    s.tokens = -(2**100)
    with pytest.raises(OverflowError):
        s.acquire()
    assert s.tokens == -(2**100)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit that holds")
def test_a_queue_without_end():
    run_script(
        "deferrous",
        """
        import resource
        q = defer.DeferredQueue()
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 200_000_000, now + 200_000_000))
        put = q.put
        try:
            while True:
                put(None)
        except MemoryError:
            pass
        else:
            raise AssertionError
        resource.setrlimit(resource.RLIMIT_AS, (now + 200_000_000, now + 200_000_000))
        assert len(q.pending) > 1_000_000
        assert q.get().result is None
        """,
    )


def test_the_cost_of_giving_up_in_a_long_line():
    """Each a constant, with what a program looks at in between."""
    lock = DeferredLock()
    lock.acquire()
    waiting = [lock.acquire() for _ in range(20_000)]
    random.Random(1).shuffle(waiting)
    for d in waiting:
        assert lock.waiting[0] is not None
        assert lock.waiting[-1] is not None
        d.addErrback(lambda _: None)
        d.cancel()
    assert not lock.waiting


def test_what_it_hands_over_cannot_be_asked_what_it_is():
    class Odd:
        @property
        def __class__(self):
            raise ValueError("no class")

    odd = Odd()
    q = DeferredQueue()
    got = []
    q.get().addCallback(got.append)

    @deferrous.inlineCallbacks
    def taker():
        got.append((yield q.get()))
        got.append((yield odd))
        return odd

    result = taker()
    for _ in range(2):
        # As with Twisted, who puts it is told.
        with pytest.raises(ValueError, match="no class"):
            q.put(odd)
    assert got == [odd] * 3
    assert result.result is odd
    q.put(odd)
    assert q.get().result is odd
    assert deferrous.succeed(odd).result is odd
    assert deferrous.maybeDeferred(lambda: odd).result is odd
    assert deferrous.succeed(1).addCallback(lambda _: odd).result is odd
    assert deferrous.gatherResults([deferrous.succeed(odd)]).result == [odd]
    lock = DeferredLock()
    assert lock.run(lambda: odd).result is odd
    assert not lock.locked


@pytest.mark.parametrize("attribute", ["pending", "waiting"])
def test_it_is_a_sequence(attribute):
    queue = DeferredQueue()
    setattr(queue, attribute, [1, 2, 3])
    line = getattr(queue, attribute)
    assert isinstance(line, Sequence)
    assert isinstance(line, MutableSequence)
    assert issubclass(type(line), MutableSequence)
    match line:
        case [first, *rest]:
            assert (first, rest) == (1, [2, 3])
        case _:
            raise AssertionError("no sequence")
    match DeferredLock().waiting:
        case []:
            pass
        case _:
            raise AssertionError("no empty sequence")
