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


REFUSED = f"""{FIRST}
from deferrous import concurrency, ensureDeferred

# As if a method of ours had no memory.
left = [MemoryError] * 30
release = concurrency.Semaphore.release

def refuse(self):
    if left:
        raise left.pop()
    release(self)

refuse.__module__ = release.__module__
concurrency.Semaphore.release = refuse
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


def test_it_is_done_if_the_loop_is_closed_after_it_was_told():
    run_script(
        "deferrous",
        f"""{FIRST}
async def main():
    step("late", 30)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
for _ in range(1_000):
    pass
assert not done
loop.close()
wait(lambda: done)
""",
    )


def test_a_loop_that_stops_does_it_when_it_runs_again():
    run_script(
        "deferrous",
        f"""{FIRST}
async def main():
    step("late", 30)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
while not done:
    loop.run_until_complete(asyncio.sleep(0))
loop.close()
""",
    )


IN_A_THREAD = f"""{FIRST}
class Loop(asyncio.SelectorEventLoop):
    told = 0

    def call_soon_threadsafe(self, *args, **kwargs):
        self.told += 1
        if self.told == 1:
            # So the main thread is asked.
            raise MemoryError
        self.before_it_is_told()
        handle = super().call_soon_threadsafe(*args, **kwargs)
        self.after_it_was_told()
        return handle

    def before_it_is_told(self):
        pass

    after_it_was_told = before_it_is_told

idents = []

async def main(refusals=30):
    idents.append(threading.get_ident())
    step("in a loop", refusals)
    while not done:
        await asyncio.sleep(0)

def run_in_thread(loop, **kwargs):
    work = main(**kwargs)
    threading.Thread(target=loop.run_until_complete, args=[work], daemon=True).start()
"""


def test_a_loop_that_begins_while_it_is_being_told_finds_it():
    run_script(
        "deferrous",
        f"""{IN_A_THREAD}
class Quick(Loop):
    def after_it_was_told(self):
        if threading.current_thread() is threading.main_thread():
            wait(lambda: done)

run_in_thread(Quick(), refusals=5)
wait(lambda: done)
assert [ident for _, ident in done] == idents
""",
    )


def test_an_interrupt_while_a_loop_is_told_is_raised_and_the_loop_told_again():
    run_script(
        "deferrous",
        f"""{IN_A_THREAD}
class Interrupted(Loop):
    def before_it_is_told(self):
        if self.told == 2:
            raise KeyboardInterrupt

try:
    run_in_thread(Interrupted(), refusals=5)
    wait(lambda: done)
except KeyboardInterrupt:
    wait(lambda: done)
else:
    raise AssertionError("it was not raised")
assert [ident for _, ident in done] == idents
""",
    )


def test_a_loop_that_can_never_be_told_has_it_done_elsewhere():
    run_script(
        "deferrous",
        f"""{IN_A_THREAD}
class Never(Loop):
    def before_it_is_told(self):
        raise MemoryError

run_in_thread(Never())
wait(lambda: done)
[(name, ident)] = done
assert ident == threading.main_thread().ident
""",
    )


def test_a_block_that_is_left_without_memory_is_left_once():
    """And no error says that it was not: a program could release the next holder's lock."""
    run_script(
        "deferrous",
        f"""{REFUSED}
semaphore = concurrency.Semaphore(1)

async def block():
    async with semaphore:
        pass

left_it = ensureDeferred(block())
assert left_it.called and left_it.result is None
wait(lambda: not semaphore.locked())
assert [semaphore.acquire().called for _ in range(2)] == [True, False]
""",
    )


def test_a_blocked_main_thread_does_not_stop_a_release_in_a_loop():
    run_script(
        "deferrous",
        f"""{REFUSED}

async def main():
    semaphore = concurrency.Semaphore(1)
    async with semaphore:
        pass
    while semaphore.locked():
        await asyncio.sleep(0)

thread = threading.Thread(target=asyncio.run, args=[main()])
thread.start()
thread.join()
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
        f"""{REFUSED}
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
