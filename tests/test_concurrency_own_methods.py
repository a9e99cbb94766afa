"""Subclasses of queues with methods of their own, and locks of a program's in a Condition: they are
asked wherever asyncio asks them, and what they raise leaves nobody waiting for ever.
"""

import asyncio

import pytest
from deferrous import CancelledError, DeferredLock, Failure, concurrency, fail

KINDS = ["Queue", "PriorityQueue", "LifoQueue"]
QUIET_ENDS = [KeyboardInterrupt, SystemExit, GeneratorExit]


def outcome_of(deferred):
    """What a Deferred has fired with."""
    results = []
    deferred.addCallback(results.append)
    (result,) = results
    return result


def shown(results):
    return [type(each.value) if isinstance(each, Failure) else each for each in results]


# What asyncio asks a subclass of its queues for


def gated(base):
    """A queue that says itself whether there is room, and whether there is something."""

    class Gated(base):
        open_to_put = open_to_get = True

        def full(self):
            return not self.open_to_put or super().full()

        def empty(self):
            return not self.open_to_get or super().empty()

    return Gated


def doubling(base):
    """A queue that keeps something else than what is put, and gives something else again."""

    class Doubling(base):
        def _put(self, item):
            super()._put(item * 2)

        def _get(self):
            return super()._get() + 1

    return Doubling


def weighing(base):
    """A queue whose size is not the number of its items."""

    class Weighing(base):
        def qsize(self):
            return sum(self._queue)

    return Weighing


def dropping(base):
    """A queue that takes an item, and has not got it then."""

    class Dropping(base):
        def _put(self, item):
            if item % 2:
                super()._put(item)

    return Dropping


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "maxsize"),
    # asyncio lets in one putter for each item that is got: too few where items are dropped; and one
    # that is woken, but finds no room, goes to the end of the line.
    [(doubling, size) for size in range(4)]
    + [(weighing, size) for size in range(3)]
    + [(dropping, 0)],
)
def test_as_with_asyncio(kind, make, maxsize):
    async def theirs():
        queue = make(getattr(asyncio, kind))(maxsize)
        done = []
        tasks = []

        async def do(number, name, *args):
            done.append((number, await getattr(queue, name)(*args)))

        async def act(name, *args):
            tasks.append(asyncio.ensure_future(do(len(tasks), name, *args)))
            for _ in range(4):
                await asyncio.sleep(0)

        await act("get")
        for item in (1, 2, 3, 4, 5):
            await act("put", item)
        for _ in range(5):
            await act("get")
        for task in tasks:
            task.cancel()
        return sorted(done), queue._unfinished_tasks, list(queue._queue)

    def ours():
        queue = make(getattr(concurrency, kind))(maxsize)
        done = []
        calls = []

        def act(name, *args):
            number = len(calls)
            calls.append(getattr(queue, name)(*args))
            calls[-1].addCallback(lambda result: done.append((number, result)))

        act("get")
        for item in (1, 2, 3, 4, 5):
            act("put", item)
        for _ in range(5):
            act("get")
        return sorted(done), queue._unfinished, list(queue._queue)

    assert ours() == asyncio.run(theirs())


@pytest.mark.parametrize("kind", KINDS)
def test_full_is_asked_when_others_are_let_in(kind):
    queue = gated(getattr(concurrency, kind))()
    queue.open_to_put = False
    put = queue.put(1)
    assert not put.called
    queue.open_to_put = True
    assert outcome_of(queue.put(2)) is None
    queue.open_to_put = False
    assert outcome_of(queue.get()) == 2
    assert not put.called
    assert queue.qsize() == 0
    queue.open_to_put = True
    queue.put(3)
    assert queue.get_nowait() == 3
    assert put.called
    assert queue.get_nowait() == 1
    with pytest.raises(concurrency.QueueEmpty):
        queue.get_nowait()


@pytest.mark.parametrize("kind", KINDS)
def test_empty_is_asked_before_an_item_is_given(kind):
    queue = gated(getattr(concurrency, kind))()
    queue.open_to_get = False
    got = queue.get()
    queue.put(1)
    assert not got.called
    with pytest.raises(concurrency.QueueEmpty):
        queue.get_nowait()
    queue.open_to_get = True
    queue.put(1)
    assert outcome_of(got) == 1
    assert outcome_of(queue.get()) == 1
    assert not queue.get().called


def test_size_is_asked():
    class Weighing(concurrency.Queue):
        def qsize(self):
            return sum(self._queue)

    queue = Weighing(5)
    assert queue.put(4).called
    assert queue.put(4).called
    waiting = queue.put(1)
    assert queue.full()
    assert not waiting.called
    with pytest.raises(concurrency.QueueFull):
        queue.put_nowait(1)
    assert queue.get_nowait() == 4
    assert waiting.called


@pytest.mark.parametrize("kind", KINDS)
def test_what_get_raises_is_for_the_one_that_waits(kind):
    class Refusing(getattr(concurrency, kind)):
        refuses = True

        def _get(self):
            if self.refuses:
                raise ValueError("no")
            return super()._get()

    queue = Refusing()
    first, second = queue.get(), queue.get()
    results = []
    first.addBoth(results.append)
    second.addBoth(results.append)
    assert outcome_of(queue.put(1)) is None
    assert shown(results) == [ValueError, ValueError]
    Refusing.refuses = False
    assert outcome_of(queue.get()) == 1


@pytest.mark.parametrize("error", QUIET_ENDS)
def test_what_is_no_exception_is_the_callers_as_an_item_is_given(error):
    class Interrupted(concurrency.Queue):
        interrupts = True

        def _get(self):
            if self.interrupts:
                Interrupted.interrupts = False
                raise error
            return super()._get()

    queue = Interrupted()
    got = queue.get()
    with pytest.raises(error):
        queue.put(1)
    assert not got.called
    queue.put(2)
    assert outcome_of(got) == 1
    assert outcome_of(queue.get()) == 2


# What is no Exception, out of comparisons, is the caller's


class Compared:
    interrupts_after = None

    def __init__(self, number):
        self.number = number

    def __lt__(self, other):
        if Compared.interrupts_after is not None:
            Compared.interrupts_after -= 1
            if Compared.interrupts_after < 0:
                Compared.interrupts_after = None
                raise Compared.error
        return self.number < other.number

    def __repr__(self):
        return f"Compared({self.number})"


@pytest.mark.parametrize("error", QUIET_ENDS)
@pytest.mark.parametrize("nowait", [False, True])
@pytest.mark.parametrize("after", range(5))
def test_interrupted_as_a_putter_is_let_in(error, nowait, after):
    queue = concurrency.PriorityQueue(3)
    for number in (5, 3, 4):
        queue.put(Compared(number))
    waiting = [queue.put(Compared(number)) for number in (2, 1)]
    results = []
    for each in waiting:
        each.addBoth(results.append)
    Compared.error, Compared.interrupts_after = error, after
    got = []
    try:
        got.append(queue.get_nowait() if nowait else outcome_of(queue.get()))
    except error:
        assert results == []
    Compared.interrupts_after = None
    while queue.qsize():
        got.append(outcome_of(queue.get()))
    assert sorted(each.number for each in got) == [1, 2, 3, 4, 5]
    assert results == [None, None]


# A lock whose `acquire` fails


def refusing_lock(how):
    class Refusing(DeferredLock):
        refuses = False

        def acquire(self):
            if not self.refuses:
                return super().acquire()
            type(self).refuses = False
            return how()

    return Refusing()


def raises():
    raise ValueError("no")


def has_failed():
    return fail(ValueError("no"))


@pytest.mark.parametrize("how", [raises, has_failed])
@pytest.mark.parametrize("n", [1, 2])
def test_lock_that_refuses_one_who_is_notified(how, n):
    lock = refusing_lock(how)
    condition = concurrency.Condition(lock)
    waiting, results = [], []
    for _ in range(2):
        condition.acquire()
        waiting.append(condition.wait())
        waiting[-1].addBoth(results.append)
    condition.acquire()
    type(lock).refuses = True
    condition.notify(n)
    condition.release()
    # One has the error, as with asyncio; the others what they would have anyway.
    assert shown(results) == [ValueError, True][:n]
    assert len(condition._waiting) == 2 - n
    assert condition.locked() is (n == 2)


@pytest.mark.parametrize("how", [raises, has_failed])
def test_lock_that_refuses_one_who_is_cancelled(how):
    lock = refusing_lock(how)
    condition = concurrency.Condition(lock)
    condition.acquire()
    waiting, results = condition.wait(), []
    waiting.addBoth(results.append)
    type(lock).refuses = True
    try:
        waiting.cancel()
    except ValueError:
        assert how is raises
    assert shown(results) == [CancelledError]


@pytest.mark.parametrize("error", QUIET_ENDS)
def test_interrupted_as_one_who_is_notified_acquires_the_lock(error):
    def interrupted():
        raise error

    lock = refusing_lock(interrupted)
    condition = concurrency.Condition(lock)
    condition.acquire()
    waiting = condition.wait()
    condition.acquire()
    type(lock).refuses = True
    with pytest.raises(error):
        condition.notify()
    assert not waiting.called
    condition.notify()
    condition.release()
    assert outcome_of(waiting) is True


def test_lock_that_is_given_up_by_hand_in_front_of_one_who_was_notified():
    condition = concurrency.Condition()
    condition.acquire()
    waiting, results = condition.wait(), []
    waiting.addBoth(results.append)
    condition.acquire()
    condition.notify()
    # Its place in the line of the lock.
    condition._lock.waiting[0].cancel()
    assert len(results) == 1
    assert isinstance(results[0], Failure)
    condition.release()
    assert not condition.locked()


# How many are to be woken


class AnyNumber:
    """What can be compared as a number."""

    def __init__(self, number):
        self.number = number

    def __le__(self, other):
        return self.number <= other

    def __gt__(self, other):
        return self.number > other


@pytest.mark.parametrize(
    "number",
    [2**70, -(2**70), True, False, 0, 2, 3, 4, 1.5, 2.0, float("inf"), float("nan"), AnyNumber(2)],
)
def test_notify_so_many(number):
    async def theirs():
        condition = asyncio.Condition()
        woken = []

        async def wait():
            async with condition:
                await condition.wait()
                woken.append(True)

        tasks = [asyncio.ensure_future(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        async with condition:
            condition.notify(number)
        for _ in range(9):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        return len(woken)

    condition = concurrency.Condition()
    woken = []
    for _ in range(3):
        condition.acquire()
        condition.wait().addCallback(lambda _: (woken.append(True), condition.release()))
    condition.acquire()
    condition.notify(number)
    condition.release()
    assert len(woken) == asyncio.run(theirs())


@pytest.mark.parametrize("number", [None, "1", b"1", [], object])
def test_notify_what_is_no_number(number):
    condition = concurrency.Condition()
    condition.acquire()
    waiting = condition.wait()
    condition.acquire()
    with pytest.raises(TypeError, match="'>=' not supported between instances of 'int' and"):
        condition.notify(number)
    assert not waiting.called
    assert len(condition._waiting) == 1
