"""`deferrous.concurrency` at the recursion limit, and nested groups.

Each operation is done as a whole, or refused as a whole: then it can be done again.
"""

from __future__ import annotations

import pytest
from concurrency_helpers import held, result_of, wrong_near_the_limit
from deferrous import Deferred, ensureDeferred
from deferrous import concurrency as c

pytestmark = pytest.mark.deferrous_only


def releasing_a_semaphore():
    it = c.Semaphore(1)
    [waits] = held(it, it)
    return it.release, lambda: (waits.called, it.value, len(it._waiting))


def releasing_a_bounded_semaphore():
    it = c.BoundedSemaphore(2)
    both = held(it.weighing(2), it, it, it)
    return lambda: it.release(2), lambda: ([d.called for d in both], it.value, len(it._waiting))


def releasing_a_weight():
    it = c.Semaphore(3)
    [waits] = held(it.weighing(2), it.weighing(2))
    return it.weighing(2).release, lambda: (waits.called, it.value, len(it._waiting))


def leaving_a_semaphore():
    it = c.Semaphore(2)
    heavy, light = held(it, it.weighing(2), it)
    heavy.addErrback(id)
    return heavy.cancel, lambda: (light.called, it.value, len(it._waiting))


def acquiring_a_semaphore():
    it, got = c.Semaphore(1), []
    return lambda: got.extend([it.acquire()]), lambda: (len(got), it.value)


def releasing_what_is_written():
    it = c.ReadWriteLock()
    both = held(it.writing, it.reading, it.reading)
    return it.writing.release, lambda: ([d.called for d in both], it.readers, it.locked())


def releasing_what_is_read():
    it = c.ReadWriteLock()
    [waits] = held(it.reading, it.writing)
    return it.reading.release, lambda: (waits.called, it.readers, it.locked())


def leaving_a_line_of_readers():
    it = c.ReadWriteLock()
    writer, reader = held(it.reading, it.writing, it.reading)
    writer.addErrback(id)
    return writer.cancel, lambda: (reader.called, it.readers, len(it._waiting))


def releasing_a_key():
    it = c.KeyedLock()
    [waits] = held(it("key"), it("key"))
    return it("key").release, lambda: (waits.called, it.locked("key"), it.waiting("key"))


class Key:
    """One whose hash is a function of Python."""

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return isinstance(other, Key)


def releasing_the_last_key():
    it = c.KeyedLock()
    held(it(Key()))
    return it(Key()).release, lambda: (len(it), it.locked(Key()))


def setting_an_event():
    it = c.Event()
    both = [it.wait(), it.wait()]
    return it.set, lambda: ([d.called for d in both], it.is_set(), len(it._waiting))


def notifying():
    it = c.Condition()
    held(it)
    both = [it.wait()]
    held(it)
    both.append(it.wait())
    held(it)
    return it.notify_all, lambda: (len(it._waiting), len(it._lock.waiting))


def waiting_to_be_notified():
    it, waiting = c.Condition(), []
    [others] = held(it, it)
    wait = it.wait
    return lambda: waiting.extend([wait()]), lambda: (
        len(waiting),
        others.called,
        len(it._waiting),
    )


def leaving_a_condition():
    it = c.Condition()
    held(it)
    waits = it.wait().addErrback(id)
    held(it)
    return waits.cancel, lambda: (waits.called, bool(waits.paused), len(it._waiting))


def coming_to_a_barrier():
    it, got = c.Barrier(3), []
    both = [it.wait(), it.wait()]
    return lambda: got.extend([it.wait()]), lambda: (
        [d.called for d in both],
        len(got),
        it.n_waiting,
    )


def aborting_a_barrier():
    it = c.Barrier(3)
    both = [it.wait(), it.wait()]
    return it.abort, lambda: ([d.called for d in both], it.broken, it.n_waiting)


def resetting_a_barrier():
    it = c.Barrier(3)
    both = [it.wait(), it.wait()]
    return it.reset, lambda: ([d.called for d in both], it.broken, it.n_waiting)


def putting(make):
    def operation():
        it = make()
        return lambda: it.put(1), lambda: (it.qsize(), it._unfinished)

    return operation


def putting_for_one_that_waits():
    it = c.Queue()
    waits = it.get()
    return lambda: it.put(1), lambda: (waits.called, it.qsize(), it._unfinished)


def getting(make, method):
    def operation():
        it, got = make(1), []
        it.put(1)
        waits = it.put(2)
        get = getattr(it, method)
        return lambda: got.extend([get()]), lambda: (
            len(got),
            waits.called,
            it.qsize(),
            it._unfinished,
        )

    return operation


def finishing():
    it = c.Queue()
    it.put(1)
    it.get()
    waits = it.join()
    return it.task_done, lambda: (waits.called, it._unfinished)


def shutting(immediate):
    def operation():
        it, other = c.Queue(1), c.Queue(1)
        other.put(1)
        all_that_wait = [it.get(), it.__anext__(), it.get(), other.put(1), other.put(2)]
        one = it if immediate is None else other
        mine = all_that_wait[:3] if one is it else [*all_that_wait[3:], other.join()]
        return lambda: one.shutdown(bool(immediate)), lambda: (
            [d.called for d in mine[:3] if immediate or d in all_that_wait],
            one._is_shut_down,
        )

    return operation


def sending():
    it = c.Channel()
    waits = it.receive()
    return lambda: it.send(1), lambda: (waits.called, len(it._getting))


def receiving(capacity):
    def operation():
        it, got = c.Channel(capacity), []
        all_that_wait = [it.send(number) for number in range(capacity + 1)]
        receive = it.receive
        return lambda: got.extend([receive()]), lambda: (
            len(got),
            [d.called for d in all_that_wait],
            len(it._buffer),
        )

    return operation


def closing_a_channel():
    it, other = c.Channel(), c.Channel()
    both = [it.receive(), it.__anext__()]
    return it.close, lambda: ([d.called for d in both], it.closed, len(other._getting))


def closing_a_channel_with_senders():
    it = c.Channel()
    both = [it.send(1), it.send(2)]
    return it.close, lambda: ([d.called for d in both], it.closed)


def sending_to_all():
    it = c.Broadcast()
    one, other = it.subscribe(), it.subscribe()
    waits = one.get()
    return lambda: it.send(1), lambda: (waits.called, one.qsize(), other.qsize())


def getting_what_was_sent_to_all():
    it, got = c.Broadcast(1), []
    reader = it.subscribe()
    it.send(1)
    waits, get = it.send(2), reader.get
    return lambda: got.extend([get()]), lambda: (len(got), waits.called, reader.qsize(), it._full)


def closing_a_subscription():
    it = c.Broadcast(1)
    slow, fast = it.subscribe(), it.subscribe()
    it.send(1)
    fast.get()
    waits = it.send(2)
    return slow.close, lambda: (waits.called, slow.qsize(), fast.qsize(), it._full)


def closing_a_broadcast():
    it = c.Broadcast(1)
    reader = it.subscribe()
    both = [reader.get(), reader.__anext__()]
    return it.close, lambda: ([d.called for d in both], it.closed)


OPERATIONS = {
    operation.__name__.replace("_", " "): operation
    for operation in (
        releasing_a_semaphore,
        releasing_a_bounded_semaphore,
        releasing_a_weight,
        leaving_a_semaphore,
        acquiring_a_semaphore,
        releasing_what_is_written,
        releasing_what_is_read,
        leaving_a_line_of_readers,
        releasing_a_key,
        releasing_the_last_key,
        setting_an_event,
        notifying,
        waiting_to_be_notified,
        leaving_a_condition,
        coming_to_a_barrier,
        aborting_a_barrier,
        resetting_a_barrier,
        putting_for_one_that_waits,
        finishing,
        sending,
        closing_a_channel,
        closing_a_channel_with_senders,
        sending_to_all,
        getting_what_was_sent_to_all,
        closing_a_subscription,
        closing_a_broadcast,
    )
} | {
    "putting": putting(c.Queue),
    "putting by priority": putting(c.PriorityQueue),
    "getting": getting(c.Queue, "get"),
    "getting the last": getting(c.LifoQueue, "get"),
    "getting by priority": getting(c.PriorityQueue, "get"),
    "getting without waiting": getting(c.Queue, "get_nowait"),
    "iterating": getting(c.Queue, "__anext__"),
    "shutting": shutting(None),
    "shutting with putters": shutting(False),
    "shutting at once": shutting(True),
    "receiving": receiving(0),
    "receiving what is held": receiving(1),
}


@pytest.mark.parametrize("make", OPERATIONS.values(), ids=list(OPERATIONS))
def test_near_the_recursion_limit(make, reports):
    assert wrong_near_the_limit(make) == []


def test_groups_in_groups():
    innermost = last = Deferred()
    for _ in range(3000):
        group = c.TaskGroup().open()
        group.create_task(last)
        last = group.join()
    innermost.callback(None)
    assert last.called and result_of(last) is None


def test_coroutines_with_groups_in_groups():
    async def one_more(deferred):
        async with c.TaskGroup() as group:
            inner = group.create_task(deferred)
        return 1 + await inner

    innermost = last = Deferred()
    for _ in range(3000):
        last = ensureDeferred(one_more(last))
    innermost.callback(0)
    assert result_of(last) == 3000
