"""`deferrous.concurrency`: reasons of cancellations, `shield`, `delay_cancellation`."""

from __future__ import annotations

import asyncio

import deferrous as defer
import pytest
from concurrency_helpers import awaited
from deferrous import Deferred, ensureDeferred, fail, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only


def test_reason():
    lock = defer.DeferredLock()
    lock.acquire()
    queue = defer.DeferredQueue()
    waits = {
        "Deferred": Deferred(),
        "with a canceller": Deferred(lambda _: None),
        "coroutine": ensureDeferred(awaited(Deferred())),
        "coroutines": ensureDeferred(awaited(awaited(ensureDeferred(awaited(Deferred()))))),
        "chained": succeed(None).addCallback(lambda _: Deferred()),
        "lock": lock.acquire(),
        "queue": queue.get(),
        "Event": c.Event().wait(),
        "Queue": c.Queue().get(),
        "sleep": c.sleep(1, clock=Clock()),
        "shield": c.shield(Deferred()),
    }
    for name, d in waits.items():
        c.cancel(d, "reason")
        assert failureResultOf(d, defer.CancelledError).value.args == ("reason",), name
    assert len(lock.waiting) == len(queue.waiting) == 0
    d = defer.DeferredList([Deferred(), Deferred()], consumeErrors=True)
    c.cancel(d, "reason")
    assert [each.value.args for _, each in successResultOf(d)] == [("reason",)] * 2
    d = Deferred()
    c.cancel(d)
    assert failureResultOf(d).value.args == ()
    # As ever, what comes late is of no interest.
    waits["Deferred"].callback("late")


def test_reason_and_a_canceller_of_another_mind():
    d = Deferred(lambda d: d.errback(KeyError("mine")))
    c.cancel(d, "reason")
    assert failureResultOf(d, KeyError)
    d = Deferred(lambda d: d.callback("result"))
    c.cancel(d, "reason")
    assert successResultOf(d) == "result"


def test_reason_in_a_coroutine():
    async def work():
        try:
            await Deferred()
        except defer.CancelledError as error:
            return str(error)

    d = ensureDeferred(work())
    c.cancel(d, "the server stops")
    assert successResultOf(d) == "the server stops"


def test_shield(reports):
    inner = Deferred()
    outer = c.shield(inner)
    outer.cancel()
    failureResultOf(outer, defer.CancelledError)
    assert not inner.called
    inner.errback(KeyError("reported"))
    del inner, outer
    assert [type(each) for each in reports.values()] == [KeyError]


def test_shield_passes_on(reports):
    inner = Deferred()
    outer = c.shield(inner)
    inner.callback("result")
    assert successResultOf(outer) == "result"
    assert successResultOf(inner) == "result"
    failing = Deferred()
    outer = c.shield(failing)
    failing.errback(KeyError())
    failureResultOf(outer, KeyError)
    del failing
    assert reports.values() == []


def test_delay_cancellation():
    inner = Deferred()
    outer = c.delay_cancellation(inner)
    outer.cancel()
    outer.cancel()
    assertNoResult(outer)
    inner.callback("ends")
    failureResultOf(outer, defer.CancelledError)
    assert successResultOf(inner) == "ends"
    assert successResultOf(c.delay_cancellation(succeed(1))) == 1
    failureResultOf(c.delay_cancellation(fail(KeyError())), KeyError)


def test_delay_cancellation_in_a_task():
    async def main():
        inner, seen = Deferred(), []

        async def wait():
            try:
                await c.delay_cancellation(inner)
            finally:
                seen.append(inner.called)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert seen == []
        inner.callback(None)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [True]

    asyncio.run(main())
