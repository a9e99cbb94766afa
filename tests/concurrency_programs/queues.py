"""Programs of queues, channels and broadcasts."""

from __future__ import annotations

from deferrous import concurrency as c

from .base import CANCELLED, Program, program


async def put_one(it, number, put, got):
    """Put a number, and note it where it is in. Returns whether the queue takes more."""
    putting = it.put(number)
    try:
        await putting
    except c.QueueShutDown:
        return False
    except CANCELLED:
        # It may be in, if it was when this was cancelled.
        if putting.called and number in [*it._queue, *got]:
            put.append(number)
        raise
    put.append(number)
    return True


def queue_program(kind, maxsize):
    @program
    def queue(clock):
        it = kind(maxsize)
        put, got, done = [], [], [0]

        def producer(numbers):
            async def produce():
                try:
                    for number in numbers:
                        if not await put_one(it, number, put, got):
                            return
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
        # Items that were not taken are at the front again, in order.
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
