"""`deferrous.concurrency`: which Deferred and which task runs now, and context variables."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar, copy_context

import pytest
from deferrous import Deferred, ensureDeferred, inlineCallbacks, succeed
from deferrous import concurrency as c
from deferrous.testing import failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only


def test_current_deferred():
    seen = []

    async def inner():
        seen.append(c.current_deferred())
        await succeed(None)
        seen.append(c.current_deferred())

    async def outer(first):
        seen.append(c.current_deferred())
        await inner()
        await first
        seen.append(c.current_deferred())
        return "result"

    first = Deferred()
    d = ensureDeferred(outer(first))
    first.callback(None)
    assert seen == [d] * 4
    assert successResultOf(d) == "result"
    assert c.current_deferred() is None


@pytest.mark.parametrize("how", ["returns", "raises", "returns a Deferred"])
def test_current_deferred_of_one_that_never_waits(how, reports):
    seen = []

    @inlineCallbacks
    def generator():
        seen.append(c.current_deferred())
        if how == "raises":
            raise KeyError
        return how
        yield

    async def coroutine():
        seen.append(c.current_deferred())
        if how == "raises":
            raise KeyError
        return how

    for start in (generator, lambda: ensureDeferred(coroutine())):
        d = start()
        assert seen.pop() is d
        if how == "raises":
            failureResultOf(d, KeyError)
        else:
            assert successResultOf(d) == how
    del d
    assert reports.values() == []


def test_current_deferred_leaves_no_cycle():
    class Result:
        pass

    async def work(d):
        c.current_deferred()
        await d
        return Result()

    gc.collect()
    gc.disable()
    try:
        for first in (succeed(None), Deferred()):
            d = ensureDeferred(work(first))
            if not first.called:
                first.callback(None)
            died = weakref.ref(successResultOf(d))
            assert died() is None
            here = weakref.ref(d)
            del d, first
            assert here() is None
    finally:
        gc.enable()


def test_current_deferred_is_of_the_nearest():
    async def inner():
        return c.current_deferred()

    async def outer():
        d = ensureDeferred(inner())
        results = []
        d.addCallback(results.append)
        assert results == [d]
        assert c.current_deferred() is not d
        return "ok"

    assert successResultOf(outer()) == "ok"


def test_current_in_a_task():
    async def main():
        assert c.current_deferred() is None
        assert c.current_task_name() == asyncio.current_task().get_name()

        async def ours():
            return c.current_deferred() is not None, c.current_task_name()

        assert await ensureDeferred(ours()) == (True, ours.__qualname__)

    asyncio.run(main())


def test_current_task_name():
    async def work():
        return c.current_task_name()

    @inlineCallbacks
    def generator():
        yield None
        return c.current_task_name()

    assert successResultOf(work()) == work.__qualname__
    assert successResultOf(generator()) == generator.__qualname__
    assert c.current_task_name() is None
    group = c.TaskGroup().open()
    assert successResultOf(group.create_task(work(), name="mine")) == "mine"


request = ContextVar("request", default="none")


def in_request(name, function, *args):
    def run():
        request.set(name)
        return function(*args)

    import contextvars

    return contextvars.copy_context().run(run)


def test_in_context():
    d, seen = Deferred(), []
    in_request("one", lambda: d.addCallback(c.in_context(lambda _: seen.append(request.get()))))
    in_request("other", d.callback, None)
    assert seen == ["one"]
    # What one call sets, the next does not see.
    wrapped = in_request("one", c.in_context, lambda: (request.get(), request.set("changed"))[0])
    assert [wrapped(), wrapped()] == ["one", "one"]


def test_context_deferred():
    seen = []

    def see(result):
        seen.append(request.get())
        return result

    d = c.ContextDeferred()
    in_request("callback", d.addCallback, see)
    in_request("both", d.addBoth, see)
    in_request("callbacks", lambda: d.addCallbacks(see, see))
    in_request("only", lambda: d.addCallbacks(see))
    in_request("errback", d.addErrback, see)
    in_request("fires", d.callback, None)
    assert seen == ["callback", "both", "callbacks", "only"]


def test_what_is_waited_for_restores_the_callers_context():
    """Synapse's rule: after `await`, the context is the same as before, whoever fires."""

    async def work(d):
        request.set("mine")
        await d
        return request.get()

    @inlineCallbacks
    def generator(d):
        request.set("mine")
        yield d
        return request.get()

    for start in (lambda d: ensureDeferred(work(d)), generator):
        d = Deferred()
        result = start(d)
        # Calling it has not changed the context of the caller.
        assert request.get() == "none"
        in_request("another's", d.callback, None)
        assert successResultOf(result) == "mine"
    for make in (
        lambda: (lambda it: (it.wait(), it.set))(c.Event()),
        lambda: (lambda it: (it.get(), lambda: it.put(1)))(c.Queue()),
        lambda: (lambda d: (c.shield(d), lambda: d.callback(1)))(Deferred()),
        lambda: (lambda d: (c.Observable(d).observe(), lambda: d.callback(1)))(Deferred()),
        lambda: (lambda d: (c.gather(d), lambda: d.callback(1)))(Deferred()),
        lambda: (lambda d: (c.map(lambda d: d, [d], limit=1), lambda: d.callback(1)))(Deferred()),
    ):
        waiting, fire = make()
        result = ensureDeferred(work(waiting))
        in_request("another's", fire)
        assert successResultOf(result) == "mine"


def test_context_of_a_pair():
    variable = ContextVar("variable", default="none")
    for fire in (lambda d: d.callback(None), lambda d: d.errback(KeyError())):
        d = c.ContextDeferred()
        context = copy_context()
        context.run(variable.set, "at the adding")
        context.run(d.addCallbacks, lambda _: variable.get(), lambda _: variable.get())
        fire(d)
        assert successResultOf(d) == "at the adding"
