"""Programs of groups of tasks, and of timeouts."""

from __future__ import annotations

from deferrous import Deferred
from deferrous import concurrency as c

from .base import CANCELLED, Program, Use, children, program


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
    child, begun, ended_ones = children(clock)

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
