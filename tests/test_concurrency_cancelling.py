"""`deferrous.concurrency`: reasons of cancellations, `shield`, `delay_cancellation`."""

from __future__ import annotations

import asyncio
import sys

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


async def until_cancelled(seen, waitable):
    try:
        await waitable
    except (defer.CancelledError, asyncio.CancelledError) as error:
        seen.append((type(error).__module__.split(".")[0], error.args))
        raise


@pytest.mark.parametrize("message", [(), ("why",), (("a", "tuple"),)])
def test_message_of_asyncio_reaches_deferreds(message):
    """Cancelling any of asyncio's objects that waits for any of ours."""

    async def main():
        loop, seen = asyncio.get_running_loop(), []

        def inner():
            return ensureDeferred(until_cancelled(seen, Deferred()))

        async def cancelled(waiting):
            await asyncio.sleep(0)
            waiting.cancel(*message)
            with pytest.raises(asyncio.CancelledError) as caught:
                await waiting
            # Before, asyncio's own tasks lose it where they are waited for.
            if sys.version_info >= (3, 11):
                assert caught.value.args == message
            # What a future is cancelled for is told to others by its loop.
            await asyncio.sleep(0)
            found = seen[:]
            del seen[:]
            return found

        ours = ("deferrous", message)
        assert await cancelled(inner().asFuture(loop)) == [ours]
        assert await cancelled(loop.create_task(awaited(inner()))) == [ours]
        assert await cancelled(loop.create_task(awaited(awaited(inner())))) == [ours]
        chained = succeed(None).addCallback(lambda _: inner())
        assert await cancelled(loop.create_task(awaited(chained))) == [ours]
        # Through ours to asyncio's again.
        future = loop.create_future()
        through = ensureDeferred(until_cancelled(seen, future))
        assert await cancelled(loop.create_task(awaited(through))) == [ours]
        with pytest.raises(asyncio.CancelledError) as caught:
            future.result()
        assert caught.value.args == message

    asyncio.run(main())


def test_message_and_a_cancel_of_a_subclass():
    class Own(Deferred):
        cancelled = 0

        def cancel(self):
            self.cancelled += 1
            super().cancel()

    async def main():
        d = Own()
        task = asyncio.ensure_future(awaited(d))
        await asyncio.sleep(0)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert d.cancelled == 1
        d = Own()
        future = d.asFuture(asyncio.get_running_loop())
        future.cancel("why")
        await asyncio.sleep(0)
        assert d.cancelled == 1

    asyncio.run(main())


@pytest.mark.parametrize("given", [(), ("reason",)])
def test_reason_in_a_wait_for_a_condition(given):
    condition = c.Condition()
    condition.acquire()
    d = condition.wait()
    c.cancel(d, *given)
    assert failureResultOf(d, defer.CancelledError).value.args == given
