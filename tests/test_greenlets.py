"""Greenlets that switch wherever code of the program runs."""

from __future__ import annotations

import asyncio
import gc
import importlib
import random

import pytest
from helpers import IMPLEMENTATIONS

greenlet = pytest.importorskip("greenlet").greenlet
getcurrent = pytest.importorskip("greenlet").getcurrent


def back():
    """Go on where this greenlet was switched to."""
    current = getcurrent()
    if current.parent is not None:
        return current.parent.switch()
    return None


@pytest.mark.parametrize("where", ["callback", "errback", "generator", "coroutine", "canceller"])
def test_a_switch(defer, where):
    log = []

    def switching(result, *_):
        log.append("before")
        back()
        log.append("after")
        return result

    @defer.inlineCallbacks
    def generator():
        got = yield d
        switching(None)
        got = yield second
        return got

    async def coroutine():
        await d
        switching(None)
        return await second

    second = defer.Deferred()
    d = defer.Deferred(switching if where == "canceller" else None)
    done = d
    if where == "callback":
        d.addCallback(switching)
    elif where == "errback":
        d.addErrback(switching)
    elif where == "generator":
        done = generator()
    elif where == "coroutine":
        done = defer.ensureDeferred(coroutine())

    def fire():
        if where == "canceller":
            d.cancel()
        elif where == "errback":
            d.errback(KeyError())
        else:
            d.callback(1)
        log.append("fired")

    done.addBoth(lambda result: log.append("done"))
    other = greenlet(fire)
    other.switch()
    log.append("main")
    other.switch()
    second.callback(2)
    expected = ["before", "main", "after"]
    if where in ("generator", "coroutine"):
        assert log == [*expected, "fired", "done"]
    else:
        assert log == [*expected, "done", "fired"]


class Program:
    """Greenlets that fire, cancel, wait, lock and put, and switch in the midst of it all."""

    def __init__(self, defer, seed):
        self.defer, self.rng, self.log = defer, random.Random(seed), []
        self.deferreds = [defer.Deferred(self.canceller) for _ in range(4)]
        self.lock, self.semaphore = defer.DeferredLock(), defer.DeferredSemaphore(2)
        self.queue = defer.DeferredQueue()
        self.greenlets, self.puts = [], 0

    def note(self, *what):
        self.log.append(what)

    def maybe_switch(self):
        if self.rng.random() < 0.6:
            back()

    def canceller(self, d):
        self.note("cancel", self.deferreds.index(d) if d in self.deferreds else -1)
        self.maybe_switch()

    def callback(self, result, name):
        kind = result.type.__name__ if isinstance(result, self.failure) else type(result).__name__
        self.note("callback", name, kind)
        self.maybe_switch()
        act = self.rng.randrange(5)
        if act == 0:
            raise KeyError(name)
        if act == 1:
            return self.rng.choice(self.deferreds)
        return result

    async def coroutine(self, name):
        for d in self.rng.sample(self.deferreds, 2):
            try:
                await d
                self.note("awaited", name)
            except Exception:
                # Of what, Twisted cannot always say.
                self.note("raised", name)
            self.maybe_switch()
        async with self.lock:
            self.maybe_switch()
            self.note("locked", name)
        return name

    def generator(self, name):
        try:
            yield self.rng.choice(self.deferreds)
        except Exception as error:
            self.note("thrown", name, type(error).__name__)
        self.maybe_switch()
        item = yield self.queue.get()
        self.note("got", name, item)
        self.maybe_switch()
        yield self.semaphore.acquire()
        self.maybe_switch()
        self.semaphore.release()
        return name

    def act(self, name):
        rng, defer = self.rng, self.defer
        what = rng.randrange(8)
        self.note("act", name, what)
        try:
            if what == 0:
                rng.choice(self.deferreds).callback(name)
            elif what == 1:
                rng.choice(self.deferreds).errback(ValueError(name))
            elif what == 2:
                rng.choice(self.deferreds).cancel()
            elif what == 3:
                rng.choice(self.deferreds).addBoth(self.callback, name)
            elif what == 4:
                done = defer.ensureDeferred(self.coroutine(name))
                done.addBoth(lambda result: self.note("ended", name, type(result).__name__))
            elif what == 5:
                done = defer.inlineCallbacks(self.generator)(name)
                done.addBoth(lambda result: self.note("ended", name, type(result).__name__))
            elif what == 6:
                self.puts += 1
                self.queue.put(self.puts)
            else:
                self.deferreds[rng.randrange(4)] = defer.Deferred(self.canceller)
        except Exception as error:
            self.note("refused", name, type(error).__name__)

    def several(self, name):
        for number in range(self.rng.randrange(1, 6)):
            self.act(f"{name}.{number}")
            self.maybe_switch()

    def run(self, failure):
        self.failure = failure
        for name in range(self.rng.randrange(2, 8)):
            self.greenlets.append(greenlet(lambda name=name: self.several(name)))
        for _ in range(60):
            alive = [each for each in self.greenlets if not each.dead]
            if not alive:
                break
            each = self.rng.choice(alive)
            self.note("switch", self.greenlets.index(each))
            each.switch()
        for each in self.greenlets:
            for _ in range(200):
                if each.dead:
                    break
                each.switch()
        self.note(len(self.lock.waiting), self.lock.locked, self.semaphore.tokens)
        self.note(len(self.queue.waiting), list(self.queue.pending))
        return self.log


@pytest.mark.deferrous_only
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed):
    for number in range(seed * 20, seed * 20 + 20):
        logs = []
        for names in IMPLEMENTATIONS.values():
            defer, failure = map(importlib.import_module, names)
            # Some wait for themselves and are cancelled, which recurses. No finalizer down there.
            gc.disable()
            try:
                logs.append(Program(defer, number).run(failure.Failure))
            finally:
                gc.enable()
        assert logs[0] == logs[1], number


@pytest.mark.deferrous_only
@pytest.mark.parametrize("dead", [False, True])
def test_an_await_in_a_task_while_a_greenlet_stands_in_a_generator(dead):
    """What was driven may be gone when the next await looks who drives."""
    import deferrous as defer

    async def waits(d):
        return await d

    async def switching(d):
        await d
        back()
        return "switched"

    async def main():
        for _ in range(20):
            d, other = defer.Deferred(), defer.Deferred()
            done = defer.ensureDeferred(switching(d))
            child = greenlet(d.callback)
            child.switch(None)
            task = asyncio.ensure_future(waits(other))
            await asyncio.sleep(0)
            if dead:
                # Thrown out of it: its end comes in the midst of another's.
                done.addErrback(lambda failure: failure.trap(asyncio.CancelledError))
                child.throw(asyncio.CancelledError)
            gc.collect()
            mine = defer.Deferred()
            asyncio.get_running_loop().call_soon(mine.callback, "mine")
            assert await mine == "mine"
            other.callback("other")
            assert await task == "other"
            if not dead:
                child.switch()
                assert await done == "switched"

    asyncio.run(main())


@pytest.mark.deferrous_only
def test_ends_in_another_order_than_they_began():
    import deferrous as defer

    async def switching(d, name):
        await d
        back()
        second = defer.Deferred()
        asyncio.get_running_loop().call_soon(second.callback, name)
        return await second

    async def main():
        ds = [defer.Deferred() for _ in range(3)]
        done = [defer.ensureDeferred(switching(d, i)) for i, d in enumerate(ds)]
        children = [greenlet(d.callback) for d in ds]
        for child in children:
            child.switch(None)
        for child in (children[0], children[2], children[1]):
            child.switch()
        return [await each for each in done]

    assert asyncio.run(main()) == [0, 1, 2]


@pytest.mark.deferrous_only
def test_a_bridge_from_functions_to_awaiting():
    """As in SQLAlchemy: a function in a greenlet passes awaitables to its parent."""
    import deferrous as defer

    def await_only(awaitable):
        return getcurrent().parent.switch(awaitable)

    async def spawn(function, *args):
        child = greenlet(function)
        result = child.switch(*args)
        while not child.dead:
            result = child.switch(await result)
        return result

    async def ours(d):
        await d
        return await_only(asyncio.sleep(0, "slept")), asyncio.current_task()

    def function(d):
        done = defer.ensureDeferred(ours(d))
        d.callback(None)
        return done.result, asyncio.current_task()

    async def main():
        errors = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        (slept, _), after = await spawn(function, defer.Deferred())
        assert slept == "slept"
        assert after is asyncio.current_task()
        assert errors == []

    asyncio.run(main())
