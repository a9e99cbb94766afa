"""Programs of `shield`, `Observable`, `once` and the like."""

from __future__ import annotations

from deferrous import concurrency as c

from .base import Program, _equal, program


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
