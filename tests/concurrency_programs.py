"""Small programs of each thing in `deferrous.concurrency`, and what has to be true in the end.

Each function is given a clock, and returns a `Program`: actors, which run side by side, and what
has to be true when they have ended, one of them cancelled or none. A program ends whichever is
cancelled.
"""

from __future__ import annotations

import asyncio

from deferrous import CancelledError, Deferred, ensureDeferred, inlineCallbacks
from deferrous import concurrency as c

CANCELLED = (CancelledError, asyncio.CancelledError)


class Program:
    def __init__(self, actors, check):
        self.actors = actors
        self.check = check


PROGRAMS = []


def program(make):
    PROGRAMS.append(make)
    return make


class Use:
    """Who is in a critical section."""

    def __init__(self, most):
        self.now = 0
        self.most = most

    def enter(self, weight=1):
        self.now += weight
        assert self.now <= self.most

    def leave(self, weight=1):
        self.now -= weight


# Events.


@program
def event(clock):
    it, woken = c.Event(), []

    async def wait():
        assert await it.wait() is True
        woken.append(1)

    async def set_late():
        try:
            await c.sleep(1, clock=clock)
            await c.sleep(0, clock=clock)
        finally:
            it.set()

    def check(victim, ended):
        assert it.is_set()
        assert not it._waiting
        assert len(woken) >= 2 + (victim in (None, 3))

    return Program([wait, wait, wait, set_late], check)


@program
def semaphore(clock):
    it, use = c.Semaphore(3), Use(3)

    def worker(weight, rounds):
        async def work():
            for _ in range(rounds):
                async with it.weighing(weight):
                    use.enter(weight)
                    try:
                        await c.sleep(1, clock=clock)
                    finally:
                        use.leave(weight)

        return work

    def check(victim, ended):
        assert (it.value, len(it._waiting), use.now) == (3, 0, 0)

    return Program([worker(1, 2), worker(3, 1), worker(2, 2), worker(1, 1)], check)


@program
def semaphore_by_hand(clock):
    it, use = c.BoundedSemaphore(2), Use(2)

    async def work():
        await it.acquire()
        use.enter()
        try:
            await c.sleep(1, clock=clock)
        finally:
            use.leave()
            it.release()

    async def run():
        await it.run(c.sleep, 1, clock=clock)

    def check(victim, ended):
        assert (it.value, len(it._waiting), use.now) == (2, 0, 0)

    return Program([work, work, run, work], check)


@program
def read_write_lock(clock):
    it, reads, writes = c.ReadWriteLock(), Use(9), Use(1)

    async def read():
        async with it.reading:
            reads.enter()
            assert not writes.now
            try:
                await c.sleep(1, clock=clock)
            finally:
                reads.leave()

    async def write():
        async with it.writing:
            writes.enter()
            assert not reads.now
            try:
                await c.sleep(1, clock=clock)
            finally:
                writes.leave()

    async def write_and_read():
        await write()
        await read()

    def check(victim, ended):
        assert not it.locked()
        assert not it._waiting
        assert (reads.now, writes.now) == (0, 0)

    return Program([read, write, read, write_and_read, read, write], check)


@program
def keyed_lock(clock):
    it, uses = c.KeyedLock(limit=2), {"a": Use(2), "b": Use(2)}

    def worker(key):
        async def work():
            async with it(key):
                uses[key].enter()
                try:
                    await c.sleep(1, clock=clock)
                finally:
                    uses[key].leave()

        return work

    def check(victim, ended):
        assert len(it) == 0
        assert not any(use.now for use in uses.values())

    return Program([worker(key) for key in "aabaab"], check)


@program
def condition(clock):
    it, items, got, use, finished = c.Condition(), [], [], Use(1), []

    async def take():
        async with it:
            use.enter()
            try:
                while not items and not finished:
                    use.leave()
                    try:
                        await it.wait()
                    finally:
                        # Whatever has happened, the lock is held.
                        assert it.locked()
                        use.enter()
                if items:
                    got.append(items.pop())
            finally:
                use.leave()

    async def put():
        put_in = 0
        try:
            for _ in range(3):
                async with it:
                    use.enter()
                    items.append(put_in)
                    put_in += 1
                    it.notify()
                    use.leave()
                await c.sleep(1, clock=clock)
        finally:
            finished.append(put_in)
            ensureDeferred(tell_all())

    async def tell_all():
        async with it:
            it.notify_all()

    def check(victim, ended):
        assert not it.locked()
        assert not it._waiting
        assert not it._lock.waiting
        assert use.now == 0
        assert len(got) + len(items) == finished[0] if finished else victim == 3
        if victim is None:
            assert len(got) == 3

    return Program([take, take, take, put], check)


@program
def condition_wait_for(clock):
    it, state = c.Condition(), []

    async def wait():
        async with it:
            assert await it.wait_for(lambda: len(state) >= 2)
            assert it.locked()

    async def change():
        try:
            await c.sleep(1, clock=clock)
        finally:
            state.append(1)
            ensureDeferred(tell())

    async def tell():
        async with it:
            it.notify_all()

    async def rescue():
        try:
            await c.sleep(5, clock=clock)
        finally:
            state.extend([1, 1])
            ensureDeferred(tell())

    def check(victim, ended):
        assert not it.locked()
        assert not it._waiting
        assert not it._lock.waiting

    return Program([wait, change, wait, change, rescue], check)


@program
def barrier(clock):
    it, through, broken, left = c.Barrier(3), [], [], [3]

    async def come():
        try:
            try:
                through.append(await it.wait())
            except c.BrokenBarrierError:
                broken.append(1)
        finally:
            left[0] -= 1

    async def abort():
        try:
            for _ in range(3):
                await c.sleep(1, clock=clock)
        finally:
            if left[0]:
                await it.abort()

    def check(victim, ended):
        assert it.n_waiting == 0
        assert sorted(through) in ([], [0, 1, 2], [0, 1], [0, 2], [1, 2])
        if victim is None:
            assert sorted(through) == [0, 1, 2]

    return Program([come, come, come, abort], check)


# Queues.


def queue_program(kind, maxsize):
    @program
    def queue(clock):
        it = kind(maxsize)
        put, got, done = [], [], [0]

        def producer(numbers):
            async def produce():
                try:
                    for number in numbers:
                        putting = it.put(number)
                        try:
                            await putting
                        except c.QueueShutDown:
                            return
                        except CANCELLED:
                            # It may be in, if it was when this was cancelled.
                            if putting.called and number in [*it._queue, *got]:
                                put.append(number)
                            raise
                        put.append(number)
                        await c.sleep(0, clock=clock)
                finally:
                    done[0] += 1
                    if done[0] == 2:
                        it.shutdown()

            return produce

        async def consume():
            async for item in it:
                got.append(item)
                await c.sleep(1, clock=clock)
                it.task_done()

        async def consume_one():
            try:
                got.append(await it.get())
            except c.QueueShutDown:
                return
            it.task_done()

        def check(victim, ended):
            left = []
            while not it.empty():
                left.append(it.get_nowait())
            assert not it._getting
            assert not it._putting
            everything = sorted(got + left)
            if done[0] == 2 and victim not in (0, 1):
                assert everything == sorted(put)
            assert len(set(everything)) == len(everything)
            if victim not in (2, 3):
                assert not left or done[0] < 2

        return Program(
            [producer(range(4)), producer(range(10, 13)), consume, consume, consume_one], check
        )

    queue.__name__ = f"{kind.__name__}_of_{maxsize}"
    return queue


for _kind in (c.Queue, c.LifoQueue, c.PriorityQueue):
    for _maxsize in (0, 1):
        queue_program(_kind, _maxsize)


@program
def queue_handed_over(clock):
    """Consumers that take one each, and a producer who puts as many as there are, and one more."""
    it, got = c.Queue(), []

    async def consume():
        got.append(await it.get())
        it.task_done()

    async def produce():
        await c.sleep(1, clock=clock)
        it.put_nowait(1)
        it.put_nowait(2)
        await c.sleep(1, clock=clock)
        it.put_nowait(3)

    async def rescue():
        await c.sleep(5, clock=clock)
        it.shutdown()

    async def consume_or_not():
        try:
            await consume()
        except c.QueueShutDown:
            pass

    def check(victim, ended):
        left = []
        while not it.empty():
            left.append(it.get_nowait())
        assert sorted(got + left) == [1, 2, 3] or victim == 3
        # What nobody came for stands in front, in order.
        assert left == sorted(left)
        assert it._unfinished == len(left)

    return Program([consume_or_not, consume_or_not, consume_or_not, produce, rescue], check)


@program
def queue_join(clock):
    it, joined = c.Queue(), []
    for number in range(3):
        it.put_nowait(number)

    async def consume():
        while not it.empty():
            it.get_nowait()
            try:
                await c.sleep(1, clock=clock)
            finally:
                it.task_done()

    async def join():
        await it.join()
        joined.append(1)

    async def rescue():
        await c.sleep(20, clock=clock)
        it.shutdown(immediate=True)

    def check(victim, ended):
        assert it._unfinished == 0
        assert joined or victim == 1
        assert all(each.called for each in it._joining)

    return Program([consume, join, rescue], check)


def channel_program(capacity):
    @program
    def channel(clock):
        it, sent, got = c.Channel(capacity), [], []

        async def send():
            try:
                for number in range(4):
                    sending = it.send(number)
                    try:
                        await sending
                    except CANCELLED:
                        if sending.called and not sending.paused:
                            sent.append(number)
                        raise
                    sent.append(number)
                    await c.sleep(0, clock=clock)
            finally:
                it.close()

        async def receive():
            async for item in it:
                got.append(item)
                await c.sleep(1, clock=clock)

        async def rescue():
            await c.sleep(50, clock=clock)
            it.close()

        def check(victim, ended):
            left = []
            while it._buffer or it._returned:
                it.receive().addCallback(left.append)
            everything = got + left
            assert sorted(set(everything)) == sorted(everything)
            assert set(everything) >= set(sent[:-1])
            if victim is None:
                assert sorted(got) == list(range(4))
            assert not it._getting
            assert not it._putting

        return Program([send, receive, receive, rescue], check)

    channel.__name__ = f"channel_of_{capacity}"


for _capacity in (0, 1, 3):
    channel_program(_capacity)


def broadcast_program(maxsize):
    @program
    def broadcast(clock):
        it, got = c.Broadcast(maxsize), {}
        readers = [it.subscribe() for _ in range(3)]

        async def send():
            try:
                for number in range(4):
                    await it.send(number)
            finally:
                it.close()

        def reader(number):
            async def read():
                got[number] = []
                try:
                    async for item in readers[number]:
                        got[number].append(item)
                        await c.sleep(number, clock=clock)
                finally:
                    readers[number].close()

            return read

        def check(victim, ended):
            for number in range(3):
                seen = got.get(number, [])
                assert seen == list(range(len(seen)))
                if victim is None:
                    assert len(seen) == 4
            assert not it._sending
            assert it._full == 0
            assert not it._readers

        return Program([send, reader(0), reader(1), reader(2)], check)

    broadcast.__name__ = f"broadcast_of_{maxsize}"


for _maxsize in (0, 1, 2):
    broadcast_program(_maxsize)


# Groups and time.


@program
def group(clock):
    begun, ended_ones = [], []

    async def child(number):
        begun.append(number)
        try:
            await c.sleep(number, clock=clock)
            await c.sleep(0, clock=clock)
        finally:
            ended_ones.append(number)

    async def parent():
        try:
            async with c.TaskGroup() as it:
                for number in range(3):
                    it.create_task(child(number))
                    await c.sleep(0, clock=clock)
        finally:
            assert sorted(begun) == sorted(ended_ones)

    return Program([parent], lambda victim, ended: None)


@program
def group_that_fails(clock):
    begun, ended_ones = [], []

    async def child(number, error=None):
        begun.append(number)
        try:
            await c.sleep(number, clock=clock)
            if error is not None:
                raise error
        finally:
            ended_ones.append(number)

    async def parent():
        try:
            async with c.TaskGroup() as it:
                it.create_task(child(3))
                it.create_task(child(1, KeyError("x")))
                it.create_task(child(2))
                await Deferred()
        except Exception as error:
            if isinstance(error, CANCELLED):
                raise
            errors = getattr(error, "exceptions", None) or [f.value for f in error.failures]
            assert [type(each) for each in errors] == [KeyError]
        finally:
            assert sorted(begun) == sorted(ended_ones)

    return Program([parent], lambda victim, ended: None)


@program
def group_of_slow_ones(clock):
    """Tasks that take their time to end."""
    under_way = Use(3)

    async def child(number):
        under_way.enter()
        try:
            await c.sleep(number, clock=clock)
        finally:
            try:
                await c.shield(c.sleep(2, clock=clock))
            finally:
                under_way.leave()

    async def parent():
        try:
            async with c.TaskGroup() as it:
                for number in range(3):
                    it.create_task(child(number))
        finally:
            assert under_way.now == 0

    return Program([parent], lambda victim, ended: None)


@program
def group_joined(clock):
    under_way = Use(2)

    async def child():
        under_way.enter()
        try:
            await c.sleep(1, clock=clock)
        finally:
            under_way.leave()

    async def parent():
        it = c.TaskGroup().open()
        it.create_task(child())
        it.create_task(child())
        try:
            await it.join()
        finally:
            assert under_way.now == 0

    return Program([parent], lambda victim, ended: None)


@program
def timeouts(clock):
    seen = []

    async def limited():
        try:
            async with c.timeout(2, clock=clock):
                try:
                    async with c.timeout(1, clock=clock):
                        await c.sleep(3, clock=clock)
                except TimeoutError:
                    seen.append("inner")
                await c.sleep(3, clock=clock)
        except TimeoutError:
            seen.append("outer")
        await c.sleep(1, clock=clock)
        seen.append("after")

    async def in_time():
        async with c.timeout(5, clock=clock) as it:
            await c.sleep(1, clock=clock)
            it.reschedule(None)
            await c.sleep(1, clock=clock)
        assert not it.expired()

    def check(victim, ended):
        full = ["inner", "outer", "after"]
        assert seen == full[: len(seen)]
        if victim != 0:
            assert seen == full

    return Program([limited, in_time], check)


@program
def waits_for(clock):
    async def late():
        ended_ones = []

        async def work():
            try:
                await c.sleep(5, clock=clock)
            finally:
                ended_ones.append(1)

        try:
            await c.wait_for(work(), 1, clock=clock)
        except TimeoutError:
            assert ended_ones == [1]
        else:
            raise AssertionError

    async def early():
        assert await c.wait_for(c.sleep(1, "x", clock=clock), 5, clock=clock) == "x"

    return Program([late, early], lambda victim, ended: None)


# Many.


@program
def wait(clock):
    ds = [c.sleep(number, number, clock=clock) for number in range(3)]

    def waiter(how, timeout=None):
        async def work():
            done, pending = await c.wait(ds, return_when=how, timeout=timeout, clock=clock)
            assert done | pending == set(ds)

        return work

    async def cancel_none():
        await c.sleep(5, clock=clock)

    def check(victim, ended):
        assert [d.result for d in ds] == [0, 1, 2]

    return Program(
        [
            waiter(c.FIRST_COMPLETED),
            waiter(c.ALL_COMPLETED),
            waiter(c.ALL_COMPLETED, 1.5),
            cancel_none,
        ],
        check,
    )


@program
def as_completed(clock):
    ds = [c.sleep(number, number, clock=clock) for number in (2, 0, 1)]
    it = c.as_completed(ds)
    taken = []

    async def take():
        async for each in it:
            taken.append(await each)

    async def stay():
        await c.sleep(5, clock=clock)

    def check(victim, ended):
        assert sorted(set(taken)) == sorted(taken)
        rest = list(it)
        assert len(taken) + len(rest) >= 2
        if victim not in (0, 1):
            assert sorted(taken) == [0, 1, 2]

    return Program([take, take, stay], check)


@program
def as_completed_by_next(clock):
    ds = [c.sleep(number, number, clock=clock) for number in (2, 0, 1)]
    it = c.as_completed(ds)
    taken = []

    async def take():
        for each in it:
            taken.append(await each)

    async def stay():
        await c.sleep(5, clock=clock)

    def check(victim, ended):
        rest = []
        for each in it:
            each.addCallback(rest.append)
        # Nothing is lost: what was to go to the one that was cancelled goes to the other.
        assert sorted(taken + rest) == [0, 1, 2]

    return Program([take, take, stay], check)


@program
def gather(clock):
    begun, ended_ones = [], []

    async def child(number, error=None):
        begun.append(number)
        try:
            await c.sleep(number, clock=clock)
            if error is not None:
                raise error
        finally:
            ended_ones.append(number)

    async def plain():
        assert await c.gather(child(0), child(1)) == [None, None]

    async def losers():
        try:
            await c.gather(child(3), child(1, KeyError()), child(2), cancel_losers=True)
        except KeyError:
            assert not {1, 2, 3} - set(ended_ones)

    return Program([plain, losers], lambda victim, ended: _equal(sorted(begun), sorted(ended_ones)))


def _equal(one, other):
    assert one == other


def map_program(asynchronous, failing):
    @program
    def mapped(clock):
        under_way, closed = Use(2), []

        async def items():
            try:
                for number in range(5):
                    await c.sleep(0, clock=clock)
                    yield number
            finally:
                closed.append(1)

        def plain_items():
            try:
                yield from range(5)
            finally:
                closed.append(1)

        async def work(number):
            under_way.enter()
            try:
                await c.sleep(number % 3, clock=clock)
                if failing and number == 3:
                    raise KeyError(number)
                return 10 * number
            finally:
                under_way.leave()

        async def main():
            try:
                result = await c.map(work, items() if asynchronous else plain_items(), limit=2)
            except KeyError:
                assert failing
            else:
                assert result == [0, 10, 20, 30, 40]
            finally:
                assert under_way.now == 0
                assert closed == [1]

        return Program([main], lambda victim, ended: None)

    mapped.__name__ = f"map{'_asynchronous' * asynchronous}{'_failing' * failing}"


def stream_program(asynchronous):
    @program
    def streamed(clock):
        under_way, closed, got = Use(2), [], []

        async def items():
            try:
                number = 0
                while True:
                    await c.sleep(0, clock=clock)
                    yield number
                    number += 1
            finally:
                closed.append(1)

        def plain_items():
            try:
                number = 0
                while True:
                    yield number
                    number += 1
            finally:
                closed.append(1)

        async def work(number):
            under_way.enter()
            try:
                await c.sleep(number % 3, clock=clock)
                return number
            finally:
                under_way.leave()

        async def main():
            it = c.stream(work, items() if asynchronous else plain_items(), limit=2)
            try:
                async for result in it:
                    got.append(result)
                    if result == 4:
                        break
                    await c.sleep(0, clock=clock)
            finally:
                it.close()

        def check(victim, ended):
            assert got == list(range(len(got)))
            assert under_way.now == 0
            assert closed in ([1], [])

        return Program([main], check)

    streamed.__name__ = f"stream{'_asynchronous' * asynchronous}"


for _asynchronous in (False, True):
    stream_program(_asynchronous)
    for _failing in (False, True):
        map_program(_asynchronous, _failing)


# Cancellation and sharing.


@program
def shield(clock):
    work = c.sleep(3, "done", clock=clock)

    async def wait():
        assert await c.shield(work) == "done"

    async def stay():
        await c.sleep(5, clock=clock)

    return Program([wait, wait, stay], lambda victim, ended: _equal(work.result, "done"))


@program
def delay_cancellation(clock):
    ended_ones = []

    async def work():
        await c.sleep(2, clock=clock)
        ended_ones.append(1)

    async def wait():
        begun = c.delay_cancellation(work())
        try:
            await begun
        finally:
            assert ended_ones == [1]

    async def stay():
        await c.sleep(5, clock=clock)

    return Program([wait, stay], lambda victim, ended: None)


@program
def observable(clock):
    shared = c.Observable(c.sleep(2, "result", clock=clock))
    seen = []

    async def observe():
        seen.append(await shared.observe())

    async def stay():
        await c.sleep(5, clock=clock)

    def check(victim, ended):
        assert len(seen) >= 2
        assert set(seen) == {"result"}
        assert shared.observers() == 0

    return Program([observe, observe, observe, stay], check)


@program
def once(clock):
    calls, ended_ones = [], []

    @c.once
    async def fetch(name):
        calls.append(name)
        try:
            return await c.sleep(2, name, clock=clock)
        finally:
            ended_ones.append(name)

    async def ask():
        assert await fetch("page") == "page"

    async def ask_later():
        await c.sleep(3, clock=clock)
        assert await fetch("page") == "page"

    def check(victim, ended):
        assert len(calls) == len(ended_ones)
        assert len(calls) <= 2

    return Program([ask, ask, ask_later], check)


# The same in generators, which yield what they wait for.


def generators(*functions):
    """Actors of generator functions."""
    return [inlineCallbacks(function) for function in functions]


@program
def locks_by_yield(clock):
    semaphore, lock, keyed, use = c.Semaphore(2), c.ReadWriteLock(), c.KeyedLock(), Use(2)

    def with_semaphore():
        yield semaphore.acquire()
        use.enter()
        try:
            yield c.sleep(1, clock=clock)
        finally:
            use.leave()
            semaphore.release()

    def read():
        yield lock.reading.acquire()
        try:
            yield c.sleep(1, clock=clock)
        finally:
            lock.reading.release()
        yield keyed("key").run(c.sleep, 1, clock=clock)

    def write():
        yield lock.writing.acquire()
        try:
            assert lock.readers == 0
            yield c.sleep(1, clock=clock)
        finally:
            lock.writing.release()
        yield keyed("key").run(c.sleep, 1, clock=clock)

    def check(victim, ended):
        assert (semaphore.value, len(semaphore._waiting), use.now) == (2, 0, 0)
        assert not lock.locked()
        assert not lock._waiting
        assert len(keyed) == 0

    actors = [with_semaphore, with_semaphore, with_semaphore, read, write, read]
    return Program(generators(*actors), check)


@program
def events_by_yield(clock):
    happened, condition, barrier = c.Event(), c.Condition(), c.Barrier(2)
    ready, through = [], []

    def wait():
        assert (yield happened.wait()) is True
        yield condition.acquire()
        try:
            yield condition.wait_for(lambda: ready)
            assert condition.locked()
        finally:
            condition.release()

    def set_late():
        try:
            yield c.sleep(1, clock=clock)
        finally:
            happened.set()

    def notify():
        try:
            yield c.sleep(2, clock=clock)
        finally:
            ready.append(1)
            ensureDeferred(tell())

    async def tell():
        async with condition:
            condition.notify_all()

    def meet():
        try:
            through.append((yield barrier.wait()))
        except c.BrokenBarrierError:
            pass

    def break_off():
        try:
            yield c.sleep(3, clock=clock)
        finally:
            barrier.abort()

    def check(victim, ended):
        assert not condition.locked()
        assert not condition._waiting
        assert not happened._waiting
        assert barrier.n_waiting == 0

    return Program(generators(wait, set_late, notify, meet, meet, break_off), check)


@program
def queues_by_yield(clock):
    queue, channel, news, got = c.Queue(1), c.Channel(), c.Broadcast(1), []
    reader = news.subscribe()

    def put():
        try:
            for number in range(3):
                yield queue.put(number)
            yield queue.join()
        except c.QueueShutDown:
            pass
        finally:
            queue.shutdown(immediate=True)

    def get():
        try:
            while True:
                got.append((yield queue.get()))
                try:
                    yield c.sleep(1, clock=clock)
                finally:
                    queue.task_done()
        except c.QueueShutDown:
            pass
        finally:
            queue.shutdown(immediate=True)

    def send():
        try:
            for number in range(3):
                yield channel.send(number)
                yield news.send(number)
        except c.ChannelClosed:
            pass
        finally:
            channel.close()
            news.close()

    def receive():
        try:
            while True:
                yield channel.receive()
                yield reader.get()
        except c.ChannelClosed:
            pass
        finally:
            channel.close()
            reader.close()

    def check(victim, ended):
        assert sorted(set(got)) == sorted(got)
        if victim is None:
            assert got == [0, 1, 2]
        assert not queue._getting
        assert not queue._putting
        assert not channel._getting
        assert not channel._putting
        assert not news._sending

    return Program(generators(put, get, send, receive), check)


@program
def many_by_yield(clock):
    begun, ended_ones = [], []

    def child(number):
        begun.append(number)
        try:
            yield c.sleep(number % 3, clock=clock)
        finally:
            ended_ones.append(number)
        return number

    child = inlineCallbacks(child)

    def several():
        assert (yield c.gather(child(0), child(1))) == [0, 1]
        assert (yield c.map(child, range(2, 6), limit=2)) == [2, 3, 4, 5]

    def first():
        ds = [child(7), child(8)]
        done, pending = yield c.wait(ds, return_when=c.FIRST_COMPLETED)
        assert len(done) + len(pending) == 2
        for each in c.as_completed(pending):
            assert (yield each) in (7, 8)

    def grouped():
        group = c.TaskGroup().open()
        group.create_task(child(10))
        group.create_task(child(11))
        yield group.join()

    def stay():
        yield c.sleep(9, clock=clock)

    def check(victim, ended):
        assert sorted(begun) == sorted(ended_ones)

    return Program(generators(several, first, grouped, stay), check)


@program
def time_by_yield(clock):
    def too_late():
        try:
            with c.timeout(1, clock=clock):
                yield c.sleep(5, clock=clock)
        except c.TimeoutError:
            yield c.sleep(1, clock=clock)

    def in_time():
        now = clock.time() if hasattr(clock, "time") else clock.seconds()
        with c.timeout_at(now + 5, clock=clock) as deadline:
            yield c.sleep(1, clock=clock)
        assert not deadline.expired()

    def limited():
        try:
            yield c.wait_for(c.sleep(5, clock=clock), 1, clock=clock)
        except c.TimeoutError:
            pass

    return Program(generators(too_late, in_time, limited), lambda victim, ended: None)


@program
def sharing_by_yield(clock):
    shared, work, calls = c.Observable(c.sleep(2, "one", clock=clock)), c.sleep(2, clock=clock), []

    @c.once
    @inlineCallbacks
    def load():
        calls.append(1)
        return (yield c.sleep(1, "page", clock=clock))

    def observe():
        assert (yield shared.observe()) == "one"

    def ask():
        assert (yield load()) == "page"

    def protected():
        yield c.shield(work)
        yield c.delay_cancellation(c.sleep(1, clock=clock))

    def stay():
        yield c.sleep(9, clock=clock)

    def check(victim, ended):
        assert len(calls) in (1, 2)
        assert shared.observers() == 0

    return Program(generators(observe, observe, ask, ask, protected, stay), check)


# Groups that are cancelled, and endless items.


@program
def group_cancelled(clock):
    left = []

    async def child():
        try:
            await c.sleep(9, clock=clock)
        finally:
            left.append(1)

    async def main():
        begun = 0
        try:
            async with c.TaskGroup() as group:
                group.create_task(child())
                begun += 1
                group.create_task(child())
                begun += 1
                await c.sleep(1, clock=clock)
                group.cancel()
                await c.sleep(9, clock=clock)
                raise AssertionError("not reached")
        finally:
            assert len(left) == begun
        await c.sleep(1, clock=clock)

    async def stay():
        await c.sleep(5, clock=clock)

    return Program([main, stay], lambda victim, ended: None)


@program
def map_of_endless_asynchronous_items(clock):
    under_way, closed = Use(3), []

    async def items():
        number = 0
        try:
            while True:
                await c.sleep(0, clock=clock)
                yield number
                number += 1
        finally:
            closed.append(1)

    async def work(number):
        under_way.enter()
        try:
            await c.sleep(number % 2, clock=clock)
            if number == 5:
                raise KeyError(number)
        finally:
            under_way.leave()

    async def main():
        try:
            await c.map(work, items(), limit=3)
        except KeyError:
            pass
        finally:
            assert under_way.now == 0
            assert closed == [1]

    return Program([main], lambda victim, ended: None)
