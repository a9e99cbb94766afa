"""Threads and processes that end while others work: each program is a process of its own."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap

_BEGIN = """
import faulthandler, gc, os, random, signal, sys, threading, time
faulthandler.enable()
faulthandler.dump_traceback_later(60, exit=True)
from deferrous import *
from deferrous import concurrency as c
import deferrous

def use(lock, semaphore, queue, channel, event, deferreds):
    quiet = lambda _: None
    while True:
        lock.acquire().addCallback(lambda it: it.release())
        semaphore.acquire().addCallback(lambda _: semaphore.release())
        queue.put(1).addErrback(quiet)
        queue.get().addErrback(quiet).cancel()
        channel.send(1).addErrback(quiet).cancel()
        channel.receive().addErrback(quiet).cancel()
        event.wait().addErrback(quiet).cancel()
        event.set(); event.clear()
        one = Deferred()
        deferreds.append(one)
        one.addCallback(lambda _: Deferred())
        one.ring = one
        for each in deferreds[-3:]:
            each.addBoth(quiet)
            try: each.callback(1)
            except AlreadyCalledError: pass
            except Exception: pass
        del deferreds[:-50]

shared = (DeferredLock(), c.Semaphore(2), c.Queue(1), c.Channel(1), c.Event(), [])

def begin(number, daemon=True):
    threads = [threading.Thread(target=use, args=shared, daemon=daemon) for _ in range(number)]
    for thread in threads: thread.start()
    return threads
"""

#: How each ends, and what is printed last.
_ENDS = {
    "exits beside daemons": """
        begin(4)
        time.sleep(0.05)
        print("end", flush=True)
    """,
    "uses what they use at exit": """
        import atexit
        def at_exit():
            lock, semaphore, queue, channel, event, deferreds = shared
            for _ in range(200):
                semaphore.acquire().addCallback(lambda _: semaphore.release())
                queue.put(1); queue.get(); channel.send(1); channel.receive()
                event.set(); event.clear()
            print("end", flush=True)
        class Last:
            def __del__(self, at_exit=at_exit, shared=shared, quiet=lambda _: None):
                lock, semaphore, queue, channel, event, deferreds = shared
                for _ in range(200):
                    lock.acquire().addCallback(lambda it: it.release())
                    semaphore.acquire().addCallback(lambda _: semaphore.release())
                    queue.put(1).addErrback(quiet).cancel()
                    queue.get().addErrback(quiet).cancel()
                    event.set(); event.clear()
        atexit.register(at_exit)
        sys.last = Last()
        begin(4)
        time.sleep(0.05)
    """,
    "threads end with what lives on": """
        kept = []
        def work():
            for number in range(60):
                it = Deferred()
                it.addCallback(lambda _: Deferred())
                it.ring = [it]
                row = Deferred()
                for _ in range(200):
                    outer = Deferred()
                    outer.addCallback(lambda _, row=row: row)
                    outer.callback(None)
                    row = outer
                kept.append(row)
                del kept[:-5]
        for _ in range(8):
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            gc.collect()
        print("end", flush=True)
    """,
    "is interrupted": """
        begin(3)
        interrupts = 0
        def interrupt(_, frame):
            # However long it takes to get here: nothing else than this is interrupted.
            while frame is not None and frame.f_code is not use.__code__:
                frame = frame.f_back
            if frame is not None:
                raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        # Again and again, as callbacks catch some.
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        while interrupts < 50:
            try:
                use(*shared)
            except KeyboardInterrupt:
                interrupts += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        # What others use is of use still.
        lock, semaphore, queue, channel, event, deferreds = shared
        got = []
        event.set()
        event.wait().addCallback(got.append)
        assert got == [True] or not event.is_set(), got
        print("end", flush=True)
        os._exit(0)
    """,
    "is killed by exceptions": """
        import ctypes
        raised = ctypes.pythonapi.PyThreadState_SetAsyncExc
        class Stop(BaseException): pass
        ended = []
        def work():
            try:
                while True:
                    try:
                        use(*shared)
                    except Stop:
                        ended.append(1)
            except BaseException as error:
                ended.append(error)
        threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for thread in threads: thread.start()
        while len(ended) < 50:
            for thread in threads:
                raised(ctypes.c_ulong(thread.ident), ctypes.py_object(Stop))
            time.sleep(0.002)
        lock, semaphore, queue, channel, event, deferreds = shared
        print("end", flush=True)
        os._exit(0)
    """,
    "forks in a thread": """
        import warnings
        warnings.simplefilter("ignore")
        threads = begin(3)
        def fork():
            for _ in range(8):
                child = os.fork()
                if child == 0:
                    # (faulthandler's own thread is not there, and would be waited for.)
                    signal.alarm(60)
                    # The locks are of use; what was under way may be half done.
                    own = (DeferredLock(), c.Semaphore(2), c.Queue(1), c.Channel(1), c.Event(), [])
                    lock, semaphore, queue, channel, event, deferreds = shared
                    quiet = lambda _: None
                    for _ in range(30):
                        for step in (
                            lambda: lock.acquire().addCallback(lambda it: it.release()),
                            lambda: semaphore.acquire().addErrback(quiet).cancel(),
                            lambda: queue.get().addErrback(quiet).cancel(),
                            lambda: channel.receive().addErrback(quiet).cancel(),
                            lambda: event.wait().addErrback(quiet).cancel(),
                            lambda: event.set(),
                            gc.collect,
                        ):
                            try: step()
                            except Exception: pass
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                assert status == 0, status
        forker = threading.Thread(target=fork)
        forker.start(); forker.join()
        print("end", flush=True)
        os._exit(0)
    """,
    "makes threads at exit": """
        import atexit
        def more():
            done = []
            def work():
                for _ in range(50):
                    one = Deferred(); one.addCallback(done.append); one.callback(1)
            try:
                threads = [threading.Thread(target=work) for _ in range(3)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                assert len(done) == 150, len(done)
            except RuntimeError:
                work()
            print("end", flush=True)
        atexit.register(more)
        begin(2)
        failed = [fail(ValueError(number)) for number in range(5)]
        for one in failed: one.addErrback(lambda _: None)
        time.sleep(0.02)
    """,
    "many greenlets in threads": """
        try:
            import greenlet
        except ImportError:
            print("end", flush=True)
            os._exit(0)
        if sys._is_gil_enabled() and not os.environ.get("GIL_MAY_BE"):
            print("end", flush=True)
            os._exit(0)
        lock = DeferredLock(); queue = c.Queue(1); got = []
        def work():
            def other(number):
                def acquired(it):
                    greenlet.getcurrent().parent.switch()
                    it.release()
                    got.append(number)
                lock.acquire().addCallback(acquired)
            for number in range(50):
                one = greenlet.greenlet(other)
                one.switch(number)
                queue.put(number).addErrback(lambda _: None)
                # Others that wait for the lock may be called, and switch, within it.
                while not one.dead: one.switch()
                queue.get()
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(got) == 150, len(got)
        print("end", flush=True)
    """,
}


def _run(name: str) -> None:
    code = _BEGIN + textwrap.dedent(_ENDS[name])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    text = done.stdout.strip().splitlines()[-1:]
    assert done.returncode == 0 and text == ["end"], (name, done.returncode, done.stderr[-3000:])


def processes(rng: random.Random) -> None:
    """Each kind of end, one after the other."""
    for name in _ENDS:
        _run(name)


PROGRAMS = (processes,)
