"""Interpreter exit: with threads that are still running, and with late errors.

Each program ends many times, at a moment that differs a little each time.
"""

import signal
import subprocess
import sys
import textwrap

import pytest
from helpers import IMPLEMENTATIONS

#: How often each program has to end well.
TIMES = 6

#: Daemon threads that do the same again and again. Each is at it when the program ends.
THREADS = """
import sys
import threading
import time

ready = threading.Semaphore(0)

def busy(result=None):
    for _ in range(int(sys.argv[1]) % 7 * 100):
        pass
    return result

def start(work, count=6):
    def loop():
        work()
        ready.release()
        while True:
            work()

    for _ in range(count):
        threading.Thread(target=loop, daemon=True).start()
    for _ in range(count):
        ready.acquire()
"""

WORK = {
    "callbacks": """
        def work():
            d = defer.Deferred()
            d.addCallback(busy).addBoth(busy).addCallbacks(busy, busy)
            d.callback(1)
            d.addCallback(busy)
    """,
    "callbacks that block": """
        import socket

        ours, theirs = socket.socketpair()

        def send():
            while True:
                theirs.send(b".")

        threading.Thread(target=send, daemon=True).start()

        def work():
            d = defer.Deferred().addCallback(lambda _: time.sleep(0))
            d.addCallback(lambda _: ours.recv(1))
            d.callback(1)
    """,
    "callbacks that wait for threads": """
        def join(_):
            thread = threading.Thread(target=busy, daemon=True)
            thread.start()
            thread.join()

        def work():
            defer.succeed(1).addCallback(join)
    """,
    "callbacks that never return": """
        for_good = threading.Lock()
        for_good.acquire()
        begun = threading.Semaphore(0)

        def hang():
            begun.release()
            for_good.acquire()

        def work():
            thread = threading.Thread(target=defer.execute, args=(hang,), daemon=True)
            thread.start()
            begun.acquire()
    """,
    "errors": """
        def work():
            d = defer.maybeDeferred(lambda: busy() / 0)
            d.addErrback(lambda f: (f.check(ValueError), f.trap(ZeroDivisionError)))
            d.addCallback(lambda _: 1 / 0)
            d.addErrback(lambda f: (repr(f), f.getTraceback(), busy()) and None)
    """,
    "generators": """
        @defer.inlineCallbacks
        def generator(n):
            if n:
                yield generator(n - 1)
            busy()
            return (yield defer.succeed(n))

        def work():
            generator(3)
    """,
    "coroutines": """
        async def coroutine(n):
            if n:
                await coroutine(n - 1)
            d = defer.Deferred()
            d.callback(busy(n))
            return await d

        def work():
            defer.Deferred.fromCoroutine(coroutine(3))
    """,
    "finalizers": """
        class Dies:
            def __del__(self):
                busy()

        def work():
            d = defer.Deferred()
            d.attribute = Dies()
            d.addCallback(lambda _: Dies())
            d.callback(Dies())
            del d
            defer.Deferred(lambda _, dies=Dies(): busy()).cancel
    """,
    "cancellers": """
        def work():
            defer.Deferred(busy).addErrback(lambda _: busy()).cancel()
            race = defer.race([defer.Deferred(busy) for _ in range(3)])
            race.addErrback(lambda _: busy())
            race.cancel()
    """,
    "lists": """
        def work():
            all = [defer.Deferred() for _ in range(4)]
            defer.gatherResults(all).addCallback(busy)
            defer.DeferredList(all).addCallback(busy)
            for d in all:
                d.callback(1)
    """,
    "locks and queues": """
        lock, semaphore = defer.DeferredLock(), defer.DeferredSemaphore(2)

        def work():
            lock.run(busy)
            semaphore.run(busy)
            queue = defer.DeferredQueue()
            queue.get().addCallback(busy)
            queue.put(1)
    """,
    "methods of objects in our hands": """
        class Odd:
            def __repr__(self):
                busy()
                return "odd"

            def __eq__(self, other):
                busy()
                return False

        queue = defer.DeferredQueue()
        queue.put(Odd())

        def work():
            repr(queue.pending)
            Odd() in queue.pending
            str(defer.succeed(Odd()))
    """,
    "asyncio": """
        import asyncio

        async def main():
            for _ in range(5):
                d = defer.Deferred().addCallback(busy)
                asyncio.get_running_loop().call_soon(d.callback, 1)
                await d.asFuture(asyncio.get_running_loop())

        def work():
            asyncio.run(main())
    """,
}


def ended(implementation, program, *arguments):
    """Run a program to its end."""
    defer, failure = IMPLEMENTATIONS[implementation]
    program = f"import {defer} as defer\nimport {failure} as failure\n" + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def run(implementation, program, *arguments):
    """Run a program to its end. Returns what it wrote to standard error."""
    done = ended(implementation, program, *arguments)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("work", WORK)
@pytest.mark.deferrous_only
def test_daemon_threads(work):
    """A thread that is to end while a Deferred calls it takes nobody else with it."""
    program = THREADS + textwrap.dedent(WORK[work]) + "\nstart(work)\n"
    crashes = 0
    for moment in range(TIMES):
        done = ended("deferrous", program, moment)
        # CPython 3.10 itself crashes now and then: so do, in 1 of 50 runs, daemon threads that
        # compare objects in a list, or run an asyncio loop.
        if sys.version_info < (3, 11) and done.returncode == -signal.SIGSEGV:
            crashes += 1
            continue
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert crashes <= 1


def test_the_first_failure_at_exit(implementation):
    """Nothing of what reports has to be imported then."""
    written = run(
        implementation,
        """
        class Last:
            def __del__(self, maybe=defer.maybeDeferred):
                maybe(lambda: 1 / 0)

        last = Last()
        last.itself = last
        """,
    )
    if implementation == "deferrous":
        assert "Unhandled error in Deferred" in written
        assert "ZeroDivisionError" in written


@pytest.mark.deferrous_only
@pytest.mark.parametrize(
    "make",
    [
        "defer.fail(ValueError('lost?'))",
        "defer.succeed(1).addCallback(lambda _, error=ValueError('lost?'): throw(error))",
        "defer.execute(throw, ValueError('lost?'))",
        "defer.ensureDeferred(coroutine(ValueError('lost?')))",
        "defer.Deferred().errback(ValueError('lost?'))",
        "setattr(defer.fail(ValueError('lost?')), 'attribute', 1)",
    ],
)
@pytest.mark.parametrize("when", ["a finalizer", "a callback at exit", "a thread"])
def test_failures_at_exit(make, when):
    """Whatever fails in whichever way, it is reported."""
    program = f"""
import atexit, sys, threading

def throw(error):
    raise error

async def coroutine(error):
    raise error

def fail(defer=defer, throw=throw, coroutine=coroutine):
    {make}

class Last:
    def __del__(self, fail=fail):
        fail()

if sys.argv[1] == "a finalizer":
    last = Last()
    last.itself = last
elif sys.argv[1] == "a callback at exit":
    atexit.register(fail)
else:
    threading.Thread(target=fail).start()
"""
    written = run("deferrous", program, when)
    assert "Unhandled error in Deferred" in written
    assert "lost?" in written


@pytest.mark.deferrous_only
def test_what_is_left_in_modules():
    """Deferreds in globals, pending and failed, with callbacks, in threads that have ended."""
    written = run(
        "deferrous",
        """
        import threading

        kept = []

        def fill():
            pending = defer.Deferred().addCallback(kept.append)
            chained = defer.succeed(1).addCallback(lambda _: pending)
            failed = defer.fail(ValueError("kept"))
            kept.extend([pending, chained, failed, defer.gatherResults([pending, chained])])

        threads = [threading.Thread(target=fill) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
    )
    assert written.count("Unhandled error in Deferred") == 3


@pytest.mark.deferrous_only
def test_failures_still_unwind_after_exit_has_begun():
    """The unwind information that we register harms neither panics nor exceptions."""
    written = run(
        "deferrous",
        """
        import atexit

        def late():
            defer.succeed(1).addCallback(lambda _: 1 / 0).addErrback(lambda f: f.trap(OSError))

        # Called after what deferrous itself does at exit.
        class Last:
            def __del__(self, late=late):
                late()

        import builtins
        builtins.last = Last()
        """,
    )
    assert "ZeroDivisionError" in written
