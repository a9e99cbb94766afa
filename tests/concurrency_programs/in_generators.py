"""The same programs as generators, which yield what they wait for."""

from __future__ import annotations

from deferrous import concurrency as c
from deferrous import ensureDeferred, inlineCallbacks

from .base import Program, Use, program


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
