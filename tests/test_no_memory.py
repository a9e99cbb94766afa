"""Some allocations fail in a row, as Deferreds are gathered, raced, or give up places in lines.

Whoever waits gets a result, or a MemoryError, and what has raised one can be done again.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest
from helpers import run_script

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
import gc, logging, sys
import _testcapi
from deferrous import (
    Deferred, DeferredList, DeferredLock, DeferredQueue, DeferredSemaphore, ensureDeferred,
    gatherResults, race,
)
from deferrous import concurrency

logging.disable(logging.CRITICAL)
sys.unraisablehook = lambda _: None
set_nomemory, remove_mem_hooks = _testcapi.set_nomemory, _testcapi.remove_mem_hooks


def without_memory(at, width, step):
    set_nomemory(at, at + width)
    try:
        step()
    except MemoryError:
        pass
    remove_mem_hooks()


def sweep(program, widths):
    program(100_000, 1)
    for width in widths:
        for at in range(40):
            gc.collect()
            program(at, width)
"""

GATHERED = """
def fire(deferreds):
    for each in deferreds:
        if not each.called:
            each.callback(1)


def program(at, width):
    for how in ("first", "all"):
        deferreds = [Deferred() for _ in range(3)]
        waiting = {make}
        so_many = 1 if how == "first" else None
        without_memory(at, width, lambda: fire(deferreds[:so_many]))
        fire(deferreds)
        waiting.addErrback(lambda _: None)
        assert waiting.called, (how, at, width)
        for each in deferreds:
            each.addErrback(lambda _: None)


sweep(program, (1, 2, 3))
"""

MAKERS = [
    "gatherResults(deferreds)",
    "DeferredList(deferreds)",
    "DeferredList(deferreds, fireOnOneCallback=True)",
    "race(deferreds)",
    "concurrency.gather(*deferreds)",
]


@pytest.mark.parametrize("make", MAKERS)
def test_several(make):
    run_script("deferrous", START + GATHERED.replace("{make}", make))


GROUP = """
def program(at, width):
    deferreds = [Deferred() for _ in range(3)]
    group = concurrency.TaskGroup().open()
    for each in deferreds:
        group.create_task(each)
    waiting = group.join()
    failure = KeyError()
    without_memory(at, width, lambda: deferreds[1].errback(failure))
    for _ in range(1_000):
        # What is done later is done between two lines.
        pass
    if not deferreds[1].called:
        deferreds[1].errback(failure)
    waiting.addErrback(lambda _: None)
    assert waiting.called and all(each.called for each in deferreds), (at, width)


sweep(program, (1, 2, 3, 30))
"""


def test_a_task_fails_and_the_others_are_cancelled():
    run_script("deferrous", START + GROUP)


STREAM = """
def program(at, width):
    stream, asked = concurrency.stream(lambda it: it, range(3), limit=2), []

    def ask():
        for _ in range(3):
            asked.append(stream.__anext__())

    without_memory(at, width, ask)
    for _ in range(1_000):
        pass
    for each in asked:
        each.addErrback(lambda _: None)
    assert all(each.called for each in asked), (at, width)


sweep(program, (1, 2, 3, 30))
"""


def test_a_stream_is_asked():
    run_script("deferrous", START + STREAM)


LINES = """
def program(at, width):
    it = {make}
    first, second = [{wait} for _ in range(2)]
    without_memory(at, width, first.cancel)
    if not first.called:
        first.cancel()
    first.addErrback(lambda _: None)
    assert first.called and not second.called
    {release}
    assert second.called


sweep(program, (1, 3, 30, 3000))
"""

KINDS = [
    ("DeferredLock(); it.acquire()", "it.acquire()", "it.release()"),
    ("DeferredSemaphore(1); it.acquire()", "it.acquire()", "it.release()"),
    ("DeferredQueue()", "it.get()", "it.put(1)"),
    ("concurrency.Queue()", "it.get()", "it.put(1)"),
    ("concurrency.Semaphore(); it.acquire()", "it.acquire()", "it.release()"),
]


@pytest.mark.parametrize(("make", "wait", "release"), KINDS)
def test_giving_up_a_place_in_line(make, wait, release):
    script = LINES.replace("{make}", make).replace("{wait}", wait).replace("{release}", release)
    run_script("deferrous", START + script)


BLOCK = """
def program(at, width):
    lock, end = {make}, Deferred()

    async def block():
        async with lock:
            await end

    done = ensureDeferred(block())
    waiting = lock.acquire()
    without_memory(at, width, lambda: end.callback(None))
    done.addErrback(lambda _: None)
    if not end.called:
        end.callback(None)
    assert waiting.called, (at, width)


sweep(program, (1, 2, 3))
"""


@pytest.mark.parametrize("make", ["DeferredLock()", "DeferredSemaphore(1)"])
def test_leaving_a_block(make):
    run_script("deferrous", START + BLOCK.replace("{make}", make))
