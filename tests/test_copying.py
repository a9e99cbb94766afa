"""Copies and pickles of Deferreds, locks, semaphores and queues."""

import copy
import gc
import pickle
from types import MethodType

import pytest
from helpers import ignore

PICKLES = {
    f"pickle {number}": lambda obj, number=number: pickle.loads(pickle.dumps(obj, number))
    for number in range(pickle.HIGHEST_PROTOCOL + 1)
}
WHOLE = {"deepcopy": copy.deepcopy, **PICKLES}
EVERY = {"copy": copy.copy, **WHOLE}

whole = pytest.mark.parametrize("again", WHOLE.values(), ids=WHOLE)
every = pytest.mark.parametrize("again", EVERY.values(), ids=EVERY)


def outcome(deferred):
    """What a Deferred holds; afterwards it holds nothing."""
    results = []
    deferred.addBoth(results.append)
    (result,) = results
    return result


def add(result, number):
    return result + number


def failing(result):
    raise ValueError(result)


def trap(failure):
    failure.trap(ValueError)
    return "trapped"


def give_up(deferred):
    deferred.callback("given up")


class Box:
    """Has what a callback returns."""

    def give(self, _):
        return self.content


def new(deferred):
    """Have a copy's callbacks be its own: Twisted's shares them with what `copy.copy` copied."""
    deferred._callbacks = list(deferred._callbacks)
    return deferred


def skip_twisted(defer):
    if "twisted" in defer.__name__:
        pytest.skip("its callbacks hold a mappingproxy, which cannot be copied")


@every
def test_before_firing(defer, again):
    original = defer.Deferred().addCallback(add, 1).addErrback(trap).addBoth(add, number=2)
    other = new(again(original))
    assert type(other) is defer.Deferred
    assert (other.called, other.paused, hasattr(other, "result")) == (False, 0, False)
    other.callback(1)
    assert outcome(other) == 4
    assert not original.called
    original.callback(5)
    assert outcome(original) == 8


@every
def test_failing_callback(defer, again):
    other = new(again(defer.Deferred().addCallback(failing).addErrback(trap)))
    other.callback(1)
    assert outcome(other) == "trapped"


@every
def test_after_firing(defer, again):
    other = again(defer.succeed([1]))
    assert (other.called, other.result) == (True, [1])
    with pytest.raises(defer.AlreadyCalledError):
        other.callback(2)
    assert outcome(other.addCallback(len)) == 1


@every
def test_paused(defer, again):
    original = defer.succeed(1)
    original.pause()
    original.addCallback(add, 1)
    other = new(again(original))
    assert (other.paused, other.result) == (1, 1)
    other.unpause()
    assert (other.result, original.result) == (2, 1)


@every
def test_canceller(defer, again):
    other = again(defer.Deferred(give_up))
    other.cancel()
    assert outcome(other) == "given up"


@every
def test_cancelled_without_a_canceller(defer, again):
    original = defer.Deferred()
    original.cancel()
    other = again(original.addErrback(ignore))
    other.callback("ignored")
    with pytest.raises(defer.AlreadyCalledError):
        other.callback("too late")


@every
def test_attributes(defer, again):
    original = defer.Deferred()
    original.mine = ["x"]
    assert again(original).mine == ["x"]
    assert (again(original).mine is original.mine) is (again is copy.copy)


@every
def test_failure_is_reported_once_nobody_has_it(defer, reports, again):
    original = defer.fail(ValueError("lost"))
    other = again(original)
    del original
    gc.collect()
    # A shallow copy shares the report.
    assert len(reports.values()) == (again is not copy.copy)
    del other
    gc.collect()
    assert len(reports.values()) == 1 + (again is not copy.copy)


@every
def test_failure_handled_in_the_copy(defer, reports, again):
    original = defer.fail(ValueError("lost"))
    other = again(original)
    assert outcome(other).check(ValueError)
    del other
    gc.collect()
    assert reports.values() == []
    original.addErrback(ignore)


@whole
def test_waiting_for_another(defer, again):
    skip_twisted(defer)
    box = Box()
    box.content = inner = defer.Deferred()
    outer = defer.succeed(1).addCallback(box.give).addCallback(add, "!")
    outer_again, inner_again = again((outer, inner))
    assert outer_again._chainedTo is inner_again is not inner
    inner_again.callback("here")
    assert outcome(outer_again) == "here!"
    assert not inner.called
    inner.callback("there")
    assert outcome(outer) == "there!"


@whole
def test_chained(defer, again):
    skip_twisted(defer)
    first, second = defer.Deferred(), defer.Deferred()
    first.chainDeferred(second)
    first_again, second_again = again((first, second))
    first_again.callback(1)
    assert outcome(second_again) == 1
    assert not second.called


@whole
def test_list(defer, again):
    skip_twisted(defer)
    deferreds = [defer.Deferred() for _ in range(3)]
    gathered = defer.DeferredList(deferreds, consumeErrors=True)
    deferreds[0].callback(0)
    deferreds, gathered_again = again((deferreds, gathered))
    assert (gathered_again.finishedCount, gathered_again.consumeErrors) == (1, True)
    deferreds[1].errback(ValueError())
    deferreds[2].callback(2)
    (_, zero), (failed, _), (_, two) = outcome(gathered_again)
    assert (zero, failed, two) == (0, False, 2)
    assert deferreds[1].result is None
    assert gathered.finishedCount == 1


@every
def test_lock(defer, again):
    lock = defer.DeferredLock()
    lock.acquire()
    other = again(lock)
    assert other.locked
    other.release()
    assert (other.locked, lock.locked) == (False, True)


@whole
def test_lock_with_waiters(defer, again):
    lock = defer.DeferredLock()
    lock.acquire()
    gives_up, waits = lock.acquire(), lock.acquire()
    other = again(lock)
    first, second = other.waiting
    first.cancel()
    assert outcome(first).check(defer.CancelledError)
    assert list(other.waiting) == [second]
    other.release()
    assert outcome(second) is other
    assert list(lock.waiting) == [gives_up, waits]


@pytest.mark.parametrize("make", ["DeferredLock", "DeferredSemaphore"])
def test_a_shallow_copy_shares_the_line(defer, make):
    """Who waits is not handed both."""
    got = []
    one = defer.DeferredLock() if make == "DeferredLock" else defer.DeferredSemaphore(1)
    one.acquire()
    for _ in range(3):
        one.acquire().addCallback(got.append)
    gives_up = one.acquire()
    other = copy.copy(one)
    for each in (other, one, other):
        each.release()
    assert got == [other, one, other]
    assert list(one.waiting) == list(other.waiting) == [gives_up]
    gives_up.cancel()
    assert outcome(gives_up).check(defer.CancelledError)
    assert list(one.waiting) == list(other.waiting) == []


def test_a_shallow_copy_of_a_queue_shares_waiters_and_items(defer):
    one, got = defer.DeferredQueue(), []
    for _ in range(2):
        one.get().addCallback(got.append)
    other = copy.copy(one)
    for number, each in enumerate((other, one, one, other)):
        each.put(number)
    assert got == [0, 1]
    assert list(one.pending) == list(other.pending) == [2, 3]
    third = copy.copy(other)
    assert [outcome(each.get()) for each in (third, one)] == [2, 3]
    assert not third.pending


def test_a_line_in_an_attribute_is_the_same_in_a_copy(defer):
    queue, holder = defer.DeferredQueue(), defer.Deferred()
    holder.pending = queue.pending
    assert copy.copy(holder).pending is queue.pending


@every
def test_semaphore(defer, again):
    semaphore = defer.DeferredSemaphore(2)
    semaphore.acquire()
    other = again(semaphore)
    assert (other.tokens, other.limit, list(other.waiting)) == (1, 2, [])


@every
def test_queue(defer, again):
    queue = defer.DeferredQueue(3, 0)
    queue.put("x")
    other = again(queue)
    assert (other.size, other.backlog, list(other.pending)) == (3, 0, ["x"])


@whole
def test_queue_with_waiters(defer, again):
    queue = defer.DeferredQueue()
    queue.get()
    other = again(queue)
    (waiting,) = other.waiting
    other.put(1)
    assert outcome(waiting) == 1
    assert len(queue.waiting) == 1


@every
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda defer: defer.DeferredSemaphore(2), ("tokens", "limit", "waiting")),
        (lambda defer: defer.DeferredLock(), ("waiting",)),
        (lambda defer: defer.DeferredQueue(3, 4), ("size", "backlog", "waiting", "pending")),
    ],
    ids=["semaphore", "lock", "queue"],
)
def test_deleted_attributes(defer, again, make, names):
    for name in names:
        original = make(defer)
        delattr(original, name)
        other = again(original)
        assert [each for each in names if not hasattr(other, each)] == [name]


@whole
def test_what_a_generator_waits_for(defer, again):
    """A generator cannot be copied, so neither can what waits for one, or it for."""

    @defer.inlineCallbacks
    def wait(deferred):
        yield deferred

    waited_for = defer.Deferred()
    wait(waited_for)
    with pytest.raises((TypeError, pickle.PicklingError)):
        again(waited_for)


def test_shallow_copy_of_what_a_generator_waits_for(defer):
    if "twisted" in defer.__name__:
        pytest.skip("both have the same list of callbacks, and the generator is resumed twice")

    @defer.inlineCallbacks
    def wait(deferred):
        yield deferred

    waited_for = defer.Deferred()
    wait(waited_for)
    with pytest.raises(TypeError, match="cannot copy a Deferred that"):
        copy.copy(waited_for)


def test_subclass_with_a_state_of_its_own(defer):
    global Sub

    class Sub(defer.Deferred):
        def __getstate__(self):
            return {"_callbacks": [], "called": True, "result": "kept"}

    assert outcome(pickle.loads(pickle.dumps(Sub()))) == "kept"


def test_callbacks_assigned_by_hand(defer):
    deferred = defer.Deferred().addCallback(failing)
    method = MethodType(add, 1)
    deferred._callbacks = [((method, (), {}), (trap, (), {}))]
    deferred.callback(2)
    assert outcome(deferred) == 3
    if "twisted" in defer.__name__:
        return
    for wrong in (None, [1], [()], [((),)], [((1, 2), (3, 4))]):
        with pytest.raises((TypeError, ValueError)):
            deferred._callbacks = wrong


@pytest.mark.parametrize(
    "state",
    [
        None,
        1,
        [],
        {"_callbacks": 1},
        {"_callbacks": [((ignore, 1, 2), (ignore, None, None))]},
        {"paused": "x"},
        {"called": True, "_chainedTo": 1},
        {"finishedCount": "x"},
    ],
)
def test_wrong_state(defer, state):
    """It is refused, or what is wrong with it comes out as a failure."""
    if "twisted" in defer.__name__:
        pytest.skip("anything goes")
    deferred = defer.DeferredList([], fireOnOneCallback=True)
    try:
        deferred.__setstate__(state)
    except (TypeError, AttributeError):
        return
    deferred.callback(1)
    assert outcome(deferred).check(TypeError)


def test_copied_in_a_callback(defer):
    if "twisted" in defer.__name__:
        pytest.skip("the copy counts as running, for ever")
    copies = []

    def copy_it(result):
        copies.append(copy.copy(deferred))
        return result + 1

    deferred = defer.Deferred().addCallback(copy_it)
    deferred.callback(1)
    assert outcome(copies[0]) == 1
    assert outcome(deferred) == 2


def test_lines_in_a_state_are_lists(defer):
    queue, lock = defer.DeferredQueue(), defer.DeferredLock()
    queue.put(1)
    lock.acquire()
    waiting = lock.acquire()
    state = queue.__reduce_ex__(4)[2]
    assert (type(state["pending"]), state["pending"]) == (list, [1])
    assert (type(state["waiting"]), state["waiting"]) == (list, [])
    state = lock.__reduce_ex__(4)[2]
    assert (type(state["waiting"]), state["waiting"]) == (list, [waiting])


@pytest.mark.deferrous_only
def test_lines_are_lines_again_in_a_copy(defer):
    """They have a cost that does not grow."""

    class Items(list):
        pass

    class Sub(defer.Deferred):
        pass

    queue = defer.DeferredQueue()
    queue.put(1)
    assert type(copy.copy(queue).pending) is type(queue.pending)
    # Other lists are left as they are.
    queue.pending = Items([1])
    assert type(copy.copy(queue).pending) is Items
    queue.items = [1]
    assert type(copy.copy(queue).items) is list
    d = Sub()
    d.pending = [1]
    assert type(copy.copy(d).pending) is list
