"""Programs about locks, semaphores, queues and timeouts."""

from __future__ import annotations

import copy
import sys

from .base import Clock, kind, nothing, oops, ours, pass_on, program


@program
def locks(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []
    for i in range(4):
        keep(lock.acquire()).addCallback(lambda _, i=i: seen.append(i))
    for _ in range(4):
        lock.release()
    return seen, lock.locked, len(lock.waiting)


@program
def lock_runs(defer, keep):
    lock, seen, inner = keep(defer.DeferredLock()), [], keep(defer.Deferred())
    keep(lock.run(lambda: inner)).addCallback(seen.append)
    keep(lock.run(pass_on, 2, key=3)).addCallback(seen.append)
    keep(lock.run(oops)).addErrback(lambda f: seen.append(kind(f)))
    inner.callback(1)
    return seen, lock.locked


@program
def lock_cancelled(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []
    keep(lock.acquire())
    d = keep(lock.acquire())
    d.addErrback(lambda f: seen.append(kind(f)))
    d.cancel()
    lock.release()
    return seen, lock.locked


@program
def lock_entered(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []

    async def use(i):
        async with lock:
            seen.append(i)

    for i in range(3):
        keep(defer.ensureDeferred(use(i)))
    return seen


@ours
def hand_overs_deep(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []

    def use(_, i):
        seen.append(i)
        lock.release()

    held = keep(lock.acquire())
    for i in range(12):
        keep(lock.acquire()).addCallback(use, i)
    # So few frames are left that not all of them can be nested.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(frames() + 130)
    try:
        held.addCallback(lambda _: lock.release())
    finally:
        sys.setrecursionlimit(limit)
    return seen, lock.locked


def frames() -> int:
    frame, count = sys._getframe(), 0
    while frame:
        frame, count = frame.f_back, count + 1
    return count


@program
def lock_not_held(defer, keep):
    try:
        defer.DeferredLock().release()
    except AssertionError as error:
        return str(error)
    return None


@program
def semaphores(defer, keep):
    semaphore, seen = keep(defer.DeferredSemaphore(2)), []
    for i in range(4):
        keep(semaphore.acquire()).addCallback(lambda _, i=i: seen.append(i))
    for _ in range(4):
        semaphore.release()
    keep(semaphore.run(len, "abc")).addCallback(seen.append)
    return seen, semaphore.tokens, semaphore.limit


@program
def queues(defer, keep):
    queue, seen = keep(defer.DeferredQueue()), []
    for _ in range(3):
        keep(queue.get()).addCallback(seen.append)
    for i in range(6):
        queue.put(i)
    for _ in range(2):
        keep(queue.get()).addCallback(seen.append)
    return seen, list(queue.pending), len(queue.waiting)


@program
def queues_long(defer, keep):
    queue, seen = keep(defer.DeferredQueue()), []
    waiting = [keep(queue.get()) for _ in range(12)]
    for d in waiting:
        d.addErrback(lambda f: seen.append(kind(f)))
    for d in waiting[3:9]:
        d.cancel()
    for i in range(20):
        queue.put(i)
    return seen, list(queue.pending), len(queue.waiting), [d.result for d in waiting]


@program
def queue_limits(defer, keep):
    queue, out = keep(defer.DeferredQueue(size=1, backlog=1)), []
    queue.put(1)
    try:
        queue.put(2)
    except defer.QueueOverflow:
        out.append("over")
    keep(queue.get())
    d = keep(queue.get())
    try:
        queue.get()
    except defer.QueueUnderflow:
        out.append("under")
    d.addErrback(nothing)
    d.cancel()
    return out, list(queue.waiting)


@program
def lines(defer, keep):
    queue = defer.DeferredQueue()
    for i in range(5):
        queue.put(i)
    line = queue.pending
    line.append(5)
    line.remove(2)
    line.insert(0, 9)
    out = [line[0], line[-1], line[1:3], line.pop(), line.pop(0), 3 in line, line.index(3)]
    line.reverse()
    line.sort()
    del line[0]
    line[0] = 7
    out += [list(line), line == [7, 4], repr(line)]
    queue.pending = [1, 2]
    return out, list(queue.pending)


@program
def queue_copied(defer, keep):
    queue = copy.copy(defer.DeferredQueue(3, 4))
    lock = copy.copy(defer.DeferredLock())
    return queue.size, queue.backlog, lock.locked


@program
def timeouts(defer, keep):
    clock, seen = Clock(), []
    d = keep(defer.Deferred())
    d.addTimeout(1, clock)
    d.addErrback(lambda f: seen.append(kind(f)))
    e = keep(defer.Deferred())
    e.addTimeout(1, clock, lambda result, timeout: (type(result).__name__, timeout))
    e.addCallback(seen.append)
    f = keep(defer.Deferred())
    f.addTimeout(1, clock)
    f.addCallback(seen.append)
    f.callback("in time")
    clock.advance()
    return seen
