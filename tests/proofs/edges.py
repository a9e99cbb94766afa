"""Unusual environments: small programs, each in a process of its own.

    python -m tests.proofs.edges

Forks in callbacks, exit with pending and failed Deferreds in several threads, development mode with
warnings as errors, subinterpreters. Each is run several times; it has to end with 0, and to say
what it should on its standard output, and nothing else there or on the other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap

#: Each: options of the interpreter, the program, what it says, and what it may say on stderr.
EDGES: dict[str, tuple[list[str], str, str, tuple[str, ...]]] = {}


def edge(name: str, program: str, says: str, *, options=(), mentions=()) -> None:
    EDGES[name] = (list(options), textwrap.dedent(program), says, tuple(mentions))


edge(
    "fork in a callback",
    """
    import os, sys
    import deferrous as defer

    def fork(result):
        child = os.fork()
        if not child:
            return "child"
        assert os.waitpid(child, 0)[1] == 0
        return "parent"

    seen = []
    d = defer.Deferred()
    d.addCallback(fork)
    d.addCallback(seen.append)

    @defer.inlineCallbacks
    def also(d):
        seen.append((yield d))

    e = defer.Deferred()
    also(e)
    d.addCallback(lambda _: e.callback(1))
    d.callback(None)
    assert seen[1] == 1 and len(seen) == 2, seen
    if seen[0] == "parent":
        print("both went on")
    """,
    "both went on",
)
edge(
    "fork in a generator",
    """
    import os
    import deferrous as defer

    @defer.inlineCallbacks
    def main(d):
        yield d
        child = os.fork()
        yield defer.succeed(None)
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print("both went on")

    d = defer.Deferred()
    done = main(d)
    d.callback(None)
    assert done.called
    """,
    "both went on",
)
edge(
    "fork while other threads fire",
    """
    import os, sys, threading
    import deferrous as defer

    sys.setswitchinterval(1e-6)
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            d = defer.Deferred()
            d.addCallback(lambda _: defer.succeed(1))
            d.callback(None)

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        child = os.fork()
        if not child:
            d = defer.fail(KeyError("k"))
            d.addErrback(lambda f: f.trap(KeyError))
            lock = defer.DeferredLock()
            lock.run(lambda: None)
            os._exit(0 if d.result is KeyError else 1)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
    print("all went on")
    """,
    "all went on",
    options=["-W", "ignore"],
)
edge(
    "exit with pending and failed Deferreds in threads",
    """
    import threading
    import deferrous as defer

    local = threading.local()
    kept = []

    @defer.inlineCallbacks
    def wait(d):
        yield d

    async def awaits(d):
        await d

    def run(i):
        local.pending = defer.Deferred()
        local.waiting = wait(local.pending)
        local.coroutine = defer.ensureDeferred(awaits(defer.Deferred()))
        local.failed = defer.fail(KeyError(i))
        cycle = defer.Deferred()
        cycle.me = cycle
        cycle.errback(ValueError(i))
        kept.append((defer.Deferred(), defer.fail(IndexError(i)), local.pending))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("the end")
    """,
    "the end",
    mentions=["KeyError: 4", "ValueError: 4", "IndexError: 4"],
)
edge(
    "exit in a callback",
    """
    import sys
    import deferrous as defer

    d = defer.Deferred()
    d.addBoth(lambda _: print("leaving") or sys.exit(0))
    d.addErrback(lambda f: f.raiseException())
    d.callback(1)
    d.result.raiseException()
    """,
    "leaving",
    mentions=["SystemExit"],
)
edge(
    "fired at exit",
    """
    import atexit, weakref
    import deferrous as defer

    seen = []
    d = defer.Deferred()
    d.addCallback(seen.append)
    atexit.register(lambda: (d.callback("at exit"), print(*seen)))

    class Last:
        def __del__(self):
            e = defer.Deferred()
            e.addCallback(lambda _: defer.maybeDeferred(len, "abc"))
            e.addCallback(print)
            e.callback(None)

    keep = Last()
    """,
    "at exit\n3",
)
edge(
    "development mode, warnings as errors",
    """
    import asyncio, copy, gc
    import deferrous as defer

    async def main():
        d = defer.Deferred()
        # A busy machine is no finding: asyncio would say that a call took long.
        asyncio.get_running_loop().slow_callback_duration = 1000
        asyncio.get_running_loop().call_soon(d.callback, 1)
        assert await d == 1
        lock = defer.DeferredLock()
        async with lock:
            pass
        return await defer.gatherResults([defer.succeed(1), defer.execute(len, "ab")])

    @defer.inlineCallbacks
    def generator():
        yield defer.succeed(1)
        raise KeyError

    print(asyncio.run(main()))
    generator().addErrback(lambda f: f.trap(KeyError))
    d = copy.copy(defer.Deferred())
    queue = defer.DeferredQueue()
    queue.get().addCallback(print)
    queue.put(5)
    defer.Deferred().cancel
    del d
    gc.collect()
    """,
    "[1, 2]\n5",
    options=["-X", "dev", "-W", "error"],
)
edge(
    "a subinterpreter",
    """
    import sys
    import deferrous

    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    program = '''if True:
        try:
            import deferrous
        except ImportError as error:
            print(error)
        sys = __import__("sys")
        sys.stdout.flush()
    '''
    sys.stdout.flush()
    try:
        each = interpreters.create("legacy")
    except (TypeError, ValueError):
        each = interpreters.create()
    if hasattr(interpreters, "run_string"):
        interpreters.run_string(each, program)
    else:
        interpreters.exec(each, program)
    interpreters.destroy(each)
    d = deferrous.succeed("the first goes on")
    d.addCallback(print)
    """,
    "ImportError\nthe first goes on",
    options=["-W", "ignore"],
)


def failed(name: str) -> str:
    """Run one. Returns what is wrong with it."""
    options, program, says, mentions = EDGES[name]
    try:
        done = subprocess.run(
            [sys.executable, *options, "-c", program], capture_output=True, text=True, timeout=100
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    said = done.stdout.strip()
    if name == "a subinterpreter":
        first, *rest = said.split("\n")
        said = "\n".join(["ImportError" if "interpreter" in first else first, *rest])
    missing = [each for each in mentions if each not in done.stderr]
    if done.returncode == 0 and said == says and not missing and (mentions or not done.stderr):
        return ""
    return f"ended with {done.returncode}, said {done.stdout!r}, {done.stderr}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    bad = 0
    for name in EDGES:
        for _ in range(options.times):
            wrong = failed(name)
            if wrong:
                bad += 1
                print(f"{name}: {wrong}")
                break
    print(f"{len(EDGES)} programs, {options.times} times each, {bad} bad")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
