"""One allocation fails, in what ends, cancels or releases something of `deferrous.concurrency`.

Nobody waits for ever, and no lock is lost.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(
        importlib.util.find_spec("_testcapi") is None, reason="this Python has no _testcapi"
    ),
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11),
        reason="swept on 3.11: other CPythons crash by themselves (docs/proofs.md)",
    ),
]

START = """
import logging
import _testcapi
from deferrous import Deferred, concurrency as c, ensureDeferred, fail

logging.disable(logging.CRITICAL)


def without_memory(at, function, *args):
    _testcapi.set_nomemory(at, at + 1)
    try:
        function(*args)
    except MemoryError:
        pass
    finally:
        _testcapi.remove_mem_hooks()


def forget(deferreds):
    for each in deferreds:
        each.addErrback(lambda _: None)


class Items:
    def __init__(self, deferreds):
        self.rest = iter(deferreds)

    def __aiter__(self):
        return self

    def __anext__(self):
        for deferred in self.rest:
            return deferred
        return fail(StopAsyncIteration())


def feed(make, deferreds, asynchronous):
    if asynchronous:
        return make(id, Items(deferreds), limit=2)
    return make(deferreds.__getitem__, range(len(deferreds)), limit=2)


def fire_some(deferreds, how, stop):
    # Or one or all of what it waits for come.
    if how in ("cancel", "close"):
        stop()
    elif how == "fail":
        deferreds[0].errback(KeyError())
    else:
        for each in deferreds[: 1 if how == "one" else None]:
            each.callback(None)


def fire_rest(deferreds):
    for each in deferreds:
        if not each.called:
            each.callback(None)


def sweep(program, *args):
    for at in [10_000, 10_000, *range(150)]:
        assert program(at, *args), (at, args)
"""

MAP = """
def program(at, asynchronous, how):
    deferreds = [Deferred() for _ in range(5)]
    d = feed(c.map, deferreds, asynchronous)
    without_memory(at, lambda: fire_some(deferreds, how, d.cancel))
    fire_rest(deferreds)
    forget([*deferreds, d])
    return d.called and not d.paused


sweep(program, {asynchronous}, {how!r})
"""

STREAM = """
def program(at, asynchronous, how):
    deferreds = [Deferred() for _ in range(5)]
    stream = feed(c.stream, deferreds, asynchronous)
    waiting = [stream.__anext__() for _ in range(2)]
    without_memory(at, lambda: fire_some(deferreds, how, stream.close))
    fire_rest(deferreds)
    waiting += [stream.__anext__() for _ in range(6)]
    forget([*deferreds, *waiting])
    return all(each.called for each in waiting)


sweep(program, {asynchronous}, {how!r})
"""

LOCK = """
def make():
    lock = {lock}
    return lock, {side}


def released(at):
    lock, side = make()
    side.acquire()
    waiting = side.acquire()
    without_memory(at, side.release)
    if not waiting.called:
        # It was said that it is not released.
        side.release()
    return waiting.called


def run(at, at_once=False):
    lock, side = make()
    ended = Deferred()
    if at_once:
        without_memory(at, lambda: forget([side.run(int)]))
    else:
        forget([side.run(lambda: ended)])
        without_memory(at, ended.callback, None)
        forget([ended])
    return not lock.locked()


def run_at_once(at):
    return run(at, True)


def block(at):
    lock, side = make()
    ended = Deferred()

    async def hold():
        async with side:
            await ended

    forget([ensureDeferred(hold())])
    without_memory(at, ended.callback, None)
    return not lock.locked()


for program in {programs}:
    sweep(program)
"""

LOCKS = {
    "writing": ("c.ReadWriteLock()", "lock.writing", "released, run, run_at_once, block"),
    "reading": ("c.ReadWriteLock()", "lock.reading", "run, run_at_once, block"),
    "weights": ("c.Semaphore(1 << 40)", "lock.weighing(1 << 40)", "released, run, run_at_once"),
}


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", START + program], capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr.partition("AssertionError")[2]) == (0, ""), done.stderr


@pytest.mark.parametrize("asynchronous", [False, True], ids=["items", "asynchronous"])
@pytest.mark.parametrize("how", ["one", "all", "fail", "cancel"])
def test_map(asynchronous, how):
    run(MAP.format(asynchronous=asynchronous, how=how))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["items", "asynchronous"])
@pytest.mark.parametrize("how", ["one", "all", "fail", "close"])
def test_stream(asynchronous, how):
    run(STREAM.format(asynchronous=asynchronous, how=how))


@pytest.mark.parametrize(("lock", "side", "programs"), LOCKS.values(), ids=LOCKS)
def test_lock(lock, side, programs):
    run(LOCK.format(lock=lock, side=side, programs=programs))
