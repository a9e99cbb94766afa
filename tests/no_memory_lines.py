"""Such programs, of what waits in lines: see no_memory_cases.py."""

from __future__ import annotations

from functools import partial

from deferrous import Deferred, DeferredLock, DeferredQueue, DeferredSemaphore, ensureDeferred
from deferrous import concurrency as c
from deferrous.failure import Failure


def fire(deferreds):
    for each in deferreds:
        if not each.called:
            each.callback(1)


def cancel(deferred):
    if not deferred.called:
        deferred.cancel()


def lock(how, make, side):
    it = make()
    this = side(it)
    ended, last = Deferred(), []

    async def block():
        async with this:
            await ended

    if how == "block":
        ensureDeferred(block()).addErrback(lambda _: None)
        yield partial(ended.callback, None)
    elif how == "run":
        this.run(lambda: ended).addErrback(lambda _: None)
        last.append(this.run(int))
        yield partial(ended.callback, None)
    elif how == "at once":
        yield partial(this.run, int)
    else:
        this.acquire()
        last.append(this.acquire())
        raised, _ = yield this.release
        if raised and not last[0].called:
            this.release()
        this.release()
    fire([ended])
    yield last
    assert not it.locked()


def events(how):
    event = c.Event()
    waiting = [event.wait() for _ in range(3)]
    yield event.set if how == "set" else waiting[1].cancel
    cancel(waiting[1])
    event.set()
    yield waiting


def queue(how, kind):
    it = kind(1)
    puts = [it.put(number) for number in range(3)]
    step = {"get": it.get, "shut down": it.shutdown, "cancel": puts[1].cancel}[how]
    raised, value = yield step
    got = [] if value is None else [value]
    if how == "cancel":
        cancel(puts[1])
    if how == "shut down":
        if raised:
            it.shutdown()
        yield puts
        return
    while it.qsize():
        got.append(it.get())
    # Who puts is told if that was not possible.
    assert len(got) >= sum(each.called and not isinstance(each.result, Failure) for each in puts)
    yield [*puts, *got]


def broadcast(how):
    it = c.Broadcast(1)
    readers = [it.subscribe(), it.subscribe()]
    sent = [it.send(number) for number in range(2)]
    raised, _ = yield {"close": it.close, "cancel": sent[1].cancel, "read": readers[0].get}[how]
    if how == "close" and raised:
        it.close()
    cancel(sent[1])
    while any(each.qsize() for each in readers):
        for each in readers:
            each.get().addErrback(lambda _: None)
    yield sent


def condition(how):
    it = c.Condition()
    waiting = []
    for _ in range(3):
        it.acquire()
        waiting.append(it.wait())
    it.acquire()
    if how == "woken":
        # It has been notified, and waits for the lock.
        it.notify()
    yield {
        "notify": it.notify,
        "all": it.notify_all,
        "cancel": waiting[1].cancel,
        "woken": waiting[0].cancel,
    }[how]
    cancel(waiting[1])
    it.notify_all()
    it.release()
    # Each that has ended has the lock.
    seen = []
    for _ in waiting:
        for each in waiting:
            if each.called and not each.paused and each not in seen:
                seen.append(each)
                it.release()
    yield waiting
    assert not it.locked()


def barrier(how):
    it = c.Barrier(3)
    waiting = [it.wait(), it.wait()]
    step = {"last": it.wait, "abort": it.abort, "reset": it.reset, "cancel": waiting[1].cancel}[how]
    raised, last = yield step
    if how == "cancel":
        cancel(waiting[1])
        waiting += [it.wait(), it.wait()]
    elif raised:
        waiting.append(step())
    yield [*waiting, last] if isinstance(last, Deferred) else waiting


def channel(how, capacity):
    it = c.Channel(capacity)
    sent, got = [], []
    if how == "send":
        got = [it.receive(), it.receive()]
    else:
        sent = [it.send(number) for number in range(3)]
    step = {"receive": it.receive, "send": partial(it.send, 1), "close": it.close}
    raised, value = yield step.get(how) or sent[1].cancel
    if isinstance(value, Deferred):
        (sent if how == "send" else got).append(value)
    if how == "close":
        if raised:
            it.close()
    elif how == "send":
        sent += [it.send(2) for _ in range(1 + raised)]
    else:
        if how == "cancel" and not sent[1].called:
            sent[1].cancel()
        so_many = sum(1 for each in sent if not isinstance(getattr(each, "result", 0), Failure))
        got += [it.receive() for _ in range(so_many - len(got))]
    yield [*sent, *got]


def native(how, kind):
    it = kind()
    ended, last = Deferred(), []

    async def block():
        async with it:
            await ended

    if how == "block":
        ensureDeferred(block()).addErrback(lambda _: None)
        last.append(it.acquire())
        yield partial(ended.callback, None)
    elif how == "run":
        it.run(lambda: ended).addErrback(lambda _: None)
        last.append(it.acquire())
        yield partial(ended.callback, None)
    else:
        it.acquire()
        last += [it.acquire(), it.acquire()]
        raised, _ = yield last[0].cancel if how == "cancel" else it.release
        if how == "cancel":
            cancel(last[0])
        elif raised:
            it.release()
        it.release()
    fire([ended])
    yield last
    it.release()
    now = it.acquire()
    assert now.called


def native_queue(how):
    it = DeferredQueue()
    got = [it.get() for _ in range(3)]
    yield partial(it.put, 0) if how == "put" else got[1].cancel
    if how == "cancel":
        cancel(got[1])
    for number in range(3):
        it.put(number)
    yield got


LOCKS = {
    "writing": (c.ReadWriteLock, lambda it: it.writing),
    "weights": (partial(c.Semaphore, 1 << 40), lambda it: it.weighing(1 << 40)),
    "bounded": (partial(c.BoundedSemaphore, 300), lambda it: it.weighing(300)),
    "semaphore": (c.Semaphore, lambda it: it),
}


def cases():
    """Return the programs, by name."""
    return {
        "lock": [
            partial(lock, how, *make)
            for how in ("block", "run", "at once", "release")
            for make in LOCKS.values()
        ],
        "event": [partial(events, how) for how in ("set", "cancel")],
        "queue": [
            partial(queue, how, kind)
            for how in ("get", "shut down", "cancel")
            for kind in (c.Queue, c.LifoQueue, c.PriorityQueue)
        ],
        "broadcast": [partial(broadcast, how) for how in ("close", "cancel", "read")],
        "condition": [partial(condition, how) for how in ("notify", "all", "cancel", "woken")],
        "barrier": [partial(barrier, how) for how in ("last", "abort", "reset", "cancel")],
        "channel": [
            partial(channel, how, capacity)
            for how in ("receive", "send", "close", "cancel")
            for capacity in (0, 1)
        ],
        "native": [
            partial(native, how, kind)
            for how in ("release", "block", "cancel", "run")
            for kind in (DeferredLock, partial(DeferredSemaphore, 1))
        ],
        "native queue": [partial(native_queue, how) for how in ("put", "cancel")],
    }
