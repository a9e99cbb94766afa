"""Threads and signals under the GIL: what is used by many, and interrupted anywhere, stays whole.

    python -m tests.proofs.threads --minutes 10 [--seed N]

Several threads fire, cancel, add to, await and drop the same Deferreds, locks and queues, and
switch as often as CPython can. In two other kinds of rounds exceptions are raised at random points
of that: by another thread (`PyThreadState_SetAsyncExc`), or by the handler of a signal
(KeyboardInterrupt).

Afterwards no callback was called twice, whatever has a result calls what is added to it, no item
of a queue came twice, and a lock was held by one at a time. Where nothing has struck, every
callback was called, every item came, and all who waited for the lock have had it. Nothing hangs.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import random
import signal
import sys
import threading
import time

from .memory_child import go_on, logging_off
from .programs import load

#: A round that takes longer hangs.
PATIENCE = 60
THREADS = 4


class Struck(Exception):
    """What another thread raises here."""


def note(result, number, seen):
    """A callback: say that it was called."""
    seen.append(number)
    return result


class Round:
    """What the threads of one round share."""

    def __init__(self, names, rng: random.Random) -> None:
        self.names = names
        self.deferreds = [names.Deferred() for _ in range(40)]
        self.seen = [[] for _ in self.deferreds]
        self.added = [[] for _ in self.deferreds]
        self.queue = names.DeferredQueue()
        self.got: list[int] = []
        self.put: list[int] = []
        self.lock = names.DeferredLock()
        self.inside = 0
        self.most_inside = 0
        self.runs = 0
        self.ended = 0
        self.kept = list(self.deferreds)
        self.numbers = iter(range(10**9))

    def act(self, rng: random.Random) -> None:
        """Do one thing."""
        names = self.names
        at = rng.randrange(len(self.deferreds))
        d, seen = self.deferreds[at], self.seen[at]
        what = rng.randrange(11)
        if what < 3:
            number = next(self.numbers)
            d.addBoth(note, number, seen)
            self.added[at].append(number)
        elif what == 3:
            try:
                d.callback(at)
            except names.AlreadyCalledError:
                pass
        elif what == 4:
            d.cancel()
        elif what == 5:
            number = next(self.numbers)
            self.put.append(number)
            self.queue.put(number)
        elif what == 6:
            self.queue.get().addCallback(self.got.append)
        elif what == 7:
            self.kept.append(names.ensureDeferred(self.hold()))
        elif what == 8:
            self.kept.append(names.ensureDeferred(self.wait(d)))
        elif what == 9:
            self.kept.append(names.gatherResults(rng.sample(self.deferreds, 3)))
        else:
            other = names.Deferred()
            other.addCallback(lambda _: self.deferreds[at])
            other.callback(None)
            names.race([names.Deferred(), other])

    async def hold(self):
        self.runs += 1
        async with self.lock:
            self.inside += 1
            self.most_inside = max(self.inside, self.most_inside)
            try:
                await self.names.succeed(None)
            finally:
                self.inside -= 1
        self.ended += 1

    async def wait(self, d):
        try:
            return await d
        except self.names.CancelledError:
            return None

    def work(self, seed: int, steps: int) -> None:
        rng = random.Random(seed)
        for _ in range(steps):
            self.act(rng)

    def finish(self) -> None:
        """Fire all that has not fired, and take what is left of the queue."""
        for d in self.deferreds:
            if not d.called:
                d.callback(None)
        while self.queue.pending:
            self.queue.get().addCallback(self.got.append)

    def check(self) -> None:
        """See that all is as it must be, where nothing has struck."""
        go_on(self.kept)
        for seen in self.seen:
            assert len(seen) == len(set(seen)), "a callback was called twice"
        for added, seen in zip(self.added, self.seen, strict=True):
            missing = set(added) - set(seen)
            assert not missing, f"callbacks were not called: {missing}"
        assert len(self.got) == len(set(self.got)), "an item came twice"
        assert set(self.put) == set(self.got), "an item was lost"
        assert self.most_inside <= 1, "a lock let two in"
        assert self.ended == self.runs, "not everybody who waited for the lock got it"
        assert not self.lock.locked, "a lock was not given back"
        for d in self.kept:
            d.addErrback(lambda _: None)


def crowd(names, rng: random.Random) -> None:
    """Let several threads do it."""
    shared = Round(names, rng)
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            shared.work(seed, 120)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rng.random(),)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    shared.finish()
    shared.check()


def settle(shared: Round) -> None:
    """See that all is whole after exceptions that have struck anywhere."""
    shared.finish()
    go_on(shared.kept)
    for seen in shared.seen:
        assert len(seen) == len(set(seen)), "a callback was called twice"
    assert len(shared.got) == len(set(shared.got)), "an item came twice"
    for d in shared.kept:
        d.addErrback(lambda _: None)


def struck_by_thread(names, rng: random.Random) -> None:
    """Let threads do it in which another raises exceptions."""
    shared = Round(names, rng)
    seeds = [rng.random() for _ in range(400)]

    def run() -> None:
        # One exception may strike where another is caught. Then the thread ends.
        while seeds:
            try:
                while seeds:
                    try:
                        shared.act(random.Random(seeds.pop()))
                    except Struck:
                        pass
            except Struck:
                pass

    before = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        while seeds:
            threads = [threading.Thread(target=run) for _ in range(2)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    if thread.ident is not None and thread.is_alive():
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(thread.ident), ctypes.py_object(Struck)
                        )
                for _ in range(rng.randrange(300)):
                    pass
            for thread in threads:
                thread.join()
    finally:
        threading.excepthook = before
    settle(shared)


def struck_by_signal(names, rng: random.Random) -> None:
    """Do it in the main thread, with KeyboardInterrupts."""
    shared = Round(names, rng)
    seeds = [rng.random() for _ in range(400)]
    done = threading.Event()
    target = threading.get_ident()
    act = Round.act.__code__

    def interrupt(_number, frame) -> None:
        while frame is not None:
            if frame.f_code is act:
                raise KeyboardInterrupt
            frame = frame.f_back

    def strike(seed: float) -> None:
        mine = random.Random(seed)
        while not done.is_set():
            signal.pthread_kill(target, signal.SIGINT)
            for _ in range(mine.randrange(300)):
                pass

    before = signal.signal(signal.SIGINT, interrupt)
    thread = threading.Thread(target=strike, args=(rng.random(),))
    thread.start()
    try:
        while seeds:
            try:
                shared.act(random.Random(seeds.pop()))
            except KeyboardInterrupt:
                pass
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    settle(shared)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="default: the time")
    parser.add_argument("--twisted", action="store_true", help="on Twisted instead")
    options = parser.parse_args()
    seed = time.time_ns() if options.seed is None else options.seed
    logging_off()
    names = load("twisted" if options.twisted else "deferrous")
    sys.setswitchinterval(1e-6)
    end = time.monotonic() + options.minutes * 60
    rounds = 0
    while rounds == 0 or time.monotonic() < end:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        for kind in (crowd, struck_by_thread, struck_by_signal):
            try:
                kind(names, random.Random(seed + rounds))
            except BaseException:
                print(f"{kind.__name__}: seed {seed + rounds}")
                raise
        rounds += 1
    faulthandler.cancel_dump_traceback_later()
    print(f"{rounds} rounds of each kind from seed {seed}, 0 bad")
    return 0


if __name__ == "__main__":
    sys.exit(main())
