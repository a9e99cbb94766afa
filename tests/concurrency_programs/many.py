"""Programs that wait for many at once: `wait`, `gather`, `map`, `stream`."""

from __future__ import annotations

from deferrous import concurrency as c

from .base import Program, Use, _equal, children, program


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
    child, begun, ended_ones = children(clock)

    async def plain():
        assert await c.gather(child(0), child(1)) == [None, None]

    async def losers():
        try:
            await c.gather(child(3), child(1, KeyError()), child(2), cancel_losers=True)
        except KeyError:
            assert not {1, 2, 3} - set(ended_ones)

    return Program([plain, losers], lambda victim, ended: _equal(sorted(begun), sorted(ended_ones)))


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
