"""Measures waiters on deferrous and on Twisted, in one run.

    python tools/waiters.py [--limit N]

For 10, 1,000 and 100,000 waiters each: locks, semaphores, queues, gathered Deferreds and races.
The time of a process is measured, the two in turn, the least of several rounds taken. Twisted's
locks, semaphores and queues are quadratic, so their largest size is left out above `--limit`
(default 20,000), and the ratio there is given at the limit.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from types import ModuleType

import deferrous as ours
from twisted.internet import defer as theirs

ROUNDS = 3


def lock(defer: ModuleType, n: int) -> None:
    lock = defer.DeferredLock()
    lock.acquire()
    for _ in range(n):
        lock.acquire()
    for _ in range(n):
        lock.release()


def semaphore(defer: ModuleType, n: int) -> None:
    semaphore = defer.DeferredSemaphore(2)
    for _ in range(n + 2):
        semaphore.acquire()
    for _ in range(n):
        semaphore.release()


def queue(defer: ModuleType, n: int) -> None:
    queue = defer.DeferredQueue()
    for _ in range(n):
        queue.get()
    for i in range(n):
        queue.put(i)


def cancelled_waiters(defer: ModuleType, n: int) -> None:
    queue = defer.DeferredQueue()
    waiting = [queue.get().addErrback(lambda _: None) for _ in range(n)]
    for d in reversed(waiting):
        d.cancel()


def deferred_list(defer: ModuleType, n: int) -> None:
    waiting = [defer.Deferred() for _ in range(n)]
    defer.DeferredList(waiting)
    for d in waiting:
        d.callback(1)


def gather(defer: ModuleType, n: int) -> None:
    waiting = [defer.Deferred() for _ in range(n)]
    defer.gatherResults(waiting)
    for d in waiting:
        d.callback(1)


def race(defer: ModuleType, n: int) -> None:
    waiting = [defer.Deferred() for _ in range(n)]
    defer.race(waiting)
    waiting[n // 2].callback(1)


QUADRATIC = (lock, semaphore, queue, cancelled_waiters)


def seconds(work: Callable[[ModuleType, int], None], defer: ModuleType, n: int) -> float:
    repeat = max(1, 2_000 // n)
    gc.collect()
    gc.disable()
    begin = time.process_time()
    for _ in range(repeat):
        work(defer, n)
    spent = time.process_time() - begin
    gc.enable()
    return spent / repeat / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=20_000, metavar="N")
    limit = parser.parse_args().limit
    print(f"{'':18}{'waiters':>9}{'Twisted':>12}{'deferrous':>12}{'ratio':>8}   (ns each)")
    for work in (lock, semaphore, queue, cancelled_waiters, deferred_list, gather, race):
        for n in (10, 1_000, 100_000):
            for_twisted = min(n, limit) if work in QUADRATIC else n
            best = [float("inf")] * 2
            for _ in range(ROUNDS):
                best[0] = min(best[0], seconds(work, theirs, for_twisted))
                best[1] = min(best[1], seconds(work, ours, n))
            twisted, deferrous = (each * 1e9 for each in best)
            mark = f" (Twisted at {for_twisted:,})" if for_twisted != n else ""
            print(
                f"{work.__name__:18}{n:>9,}{twisted:>12,.0f}{deferrous:>12,.0f}"
                f"{twisted / deferrous:>8.1f}{mark}",
                flush=True,
            )


if __name__ == "__main__":
    main()
