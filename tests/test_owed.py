"""Steps of ours for which there was no memory are done when there is some: `capi/owed.rs`.

Here they say themselves that there is none.
"""

from __future__ import annotations

import os
import sys

import pytest
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

FIRST = """
import asyncio, os, sys, threading, time
from deferrous import Deferred, succeed
from deferrous._deferrous import _owed

done = []

def step(name, refusals, error=MemoryError):
    # Called by native code, as a callback is.
    left = [error] * refusals

    @_owed
    def run(_):
        if left:
            raise left.pop()
        done.append((name, threading.get_ident()))

    succeed(None).addCallback(run).addErrback(lambda _: None)

def wait(until):
    end = time.monotonic() + 60
    while not until() and time.monotonic() < end:
        pass
    assert until()
"""


def test_it_is_done_between_two_lines_of_the_program():
    run_script(
        "deferrous",
        f"""{FIRST}
step("first", 30)
step("second", 20)
wait(lambda: len(done) == 2)
assert {{name for name, _ in done}} == {{"first", "second"}}
""",
    )


def test_it_is_done_in_a_turn_of_the_loop_in_whose_thread_it_was():
    """And the main thread need not run for that."""
    run_script(
        "deferrous",
        f"""{FIRST}
turns = []

async def main():
    step("in a loop", 30)
    assert not done
    while not done:
        turns.append(len(turns))
        await asyncio.sleep(0)

def run():
    asyncio.run(main())

thread = threading.Thread(target=run)
thread.start()
thread.join()
[(name, ident)] = done
assert ident == thread.ident and turns
""",
    )


def test_it_is_done_in_a_turn_of_the_reactor():
    pytest.importorskip("twisted.internet.reactor")
    run_script(
        "deferrous",
        f"""{FIRST}
from twisted.internet import reactor

inside = []

def begin():
    step("in the reactor", 30)
    inside.append(len(done))
    reactor.callLater(0, look)

def look():
    if done:
        reactor.stop()
    else:
        reactor.callLater(0, look)

reactor.callWhenRunning(begin)
reactor.run()
assert inside == [0] and len(done) == 1
""",
    )


def test_it_is_done_with_the_next_if_the_loop_was_closed_before():
    run_script(
        "deferrous",
        f"""{FIRST}
async def main():
    step("late", 30)

asyncio.run(main())
step("next", 30)
wait(lambda: len(done) == 2)
""",
    )


def test_what_is_refused_for_ever_is_reported_and_disturbs_no_other():
    run_script(
        "deferrous",
        f"""{FIRST}
reported = []
sys.unraisablehook = lambda args: reported.append(args.exc_type)
step("never", 100_000)
step("one", 30)
wait(lambda: reported)
assert reported == [MemoryError] and len(done) == 1
step("another", 30)
wait(lambda: len(done) == 2)
""",
    )


def test_two_that_release_the_same_are_two():
    """Each leaves its own block, by the same call."""
    run_script(
        "deferrous",
        f"""{FIRST}
from deferrous import DeferredSemaphore, ensureDeferred, concurrency
from deferrous.concurrency import _base

class Refuses(concurrency.Semaphore):
    pass

# As if our own method had no memory.
left = [MemoryError] * 30
release = concurrency.Semaphore.release

def refuse(self):
    if left:
        raise left.pop()
    release(self)

refuse.__module__ = release.__module__
concurrency.Semaphore.release = refuse
semaphore = concurrency.Semaphore(2)
ends = [Deferred(), Deferred()]

async def block(end):
    async with semaphore:
        await end

for end in ends:
    ensureDeferred(block(end)).addErrback(lambda _: None)
for end in ends:
    end.callback(None)
wait(lambda: not left)
wait(lambda: semaphore._value == 2 if hasattr(semaphore, "_value") else not semaphore.locked())
assert [semaphore.acquire().called for _ in range(3)] == [True, True, False]
""",
    )


def test_an_interrupt_is_raised():
    run_script(
        "deferrous",
        f"""{FIRST}
left = [KeyboardInterrupt] + [MemoryError] * 30
raised = []

@_owed
def run(_):
    if left:
        raise left.pop()
    done.append("it")

try:
    succeed(None).addCallback(run).addErrback(lambda _: None)
    wait(lambda: done or not left)
    wait(lambda: done)
except KeyboardInterrupt:
    raised.append(1)
assert raised == [1] and not left
""",
    )


def test_the_end_of_the_process_does_not_wait_for_ever():
    run_script("deferrous", f"{FIRST}\nsys.unraisablehook = lambda _: None\nstep('never', 10**9)\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="warns of threads from 3.12 on")
def test_after_a_fork_both_do_it():
    run_script(
        "deferrous",
        f"""{FIRST}
step("both", 30)
child = os.fork()
wait(lambda: done)
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
""",
    )
