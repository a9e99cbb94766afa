"""References: each program, run again and again, leaves as many as there were before.

    make proof-references                  builds for a debug build of CPython, and runs this

A debug build (Debian: `apt install python3.11-dbg`, then `python3.11d`) counts all references
there are, `sys.gettotalrefcount()`. What leaks one, or gives up one too many, moves that number.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import traceback

from deferrous import (
    Deferred,
    DeferredLock,
    capture_call_graph,
    deadlocks,
    ensureDeferred,
    format_call_graph,
    inlineCallbacks,
    inspect,
    pending,
    trace,
    track,
)

from .. import concurrency_programs
from ..concurrency_worlds import in_generators, in_tasks, on_a_fake_clock
from .memory_child import logging_off
from .programs import LOOP, PROGRAMS, load, loop, turns

#: How often a program is run between two looks.
RUNS = 20
#: These have classes listed as Deferreds for good, as with Twisted.
KEEPS = ("subclasses",)


def total() -> int:
    """All references but those to `True`, `False` and the small ints, which a slot holds without
    counting them (`src/binding/capi/shown.rs`)."""
    gc.collect()
    uncounted = sum(map(sys.getrefcount, (False, True, *range(257))))
    return sys.gettotalrefcount() - uncounted


def growth(names, program, runs: int) -> list[int]:
    """Return by how much the number grows in each of some rounds, after others to settle."""
    for _ in range(10):
        program(names, lambda d: d)
    grown = []
    for _ in range(5):
        before = total()
        for _ in range(runs):
            program(names, lambda d: d)
        grown.append(total() - before)
    return grown


def wait_for(deferred):
    """Three that wait: a generator for a coroutine for a Deferred."""

    async def coroutine():
        return await deferred

    @inlineCallbacks
    def generator():
        return (yield ensureDeferred(coroutine()))

    return generator()


def looked_at(names, keep):
    """What waits is tracked, found, drawn and told, and then goes on."""
    with track():
        first = Deferred()
        last = wait_for(first)
        for found in (pending(), pending(older_than=0), pending(made_in=__file__)):
            str(found), [str(each) for each in found.deferreds]
        capture_call_graph(last), format_call_graph(last), format_call_graph(first)
        first.callback(5)
    return last.result


def locked_for_good(names, keep):
    one, other = DeferredLock(), DeferredLock()

    async def both(first, second):
        async with first:
            await second.acquire()

    with track():
        stuck = [ensureDeferred(both(one, other)), ensureDeferred(both(other, one))]
        found = deadlocks()
    for each in stuck:
        each.addErrback(lambda failure: None)
        each.cancel()
    return len(found)


def traced(names, keep):
    with trace() as it:
        first = Deferred()
        last = wait_for(first)
        first.errback(ValueError(5))
        # With notes of how it came here.
        "".join(traceback.format_exception(last.result.value))
        last.addErrback(lambda failure: failure.type)
    events = it.events
    with tempfile.TemporaryFile("w+") as file:
        it.write(file)
    return len(events), len(it.timeline())


def listened(names, keep):
    inspect.listen()
    there = inspect.listening() is not None
    inspect.stop()
    return there


def in_world(make, world):
    def run(names, keep):
        world(make)

    return run


#: What Twisted has not, and what is looked at in another way: by the Python half.
OTHERS = {it.__name__: it for it in (looked_at, locked_for_good, traced, listened)}
for _make in concurrency_programs.PROGRAMS:
    for _world in on_a_fake_clock, in_generators, in_tasks:
        OTHERS[f"{_make.__name__}.{_world.__name__}"] = in_world(_make, _world)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", action="append", choices=sorted(PROGRAMS | OTHERS))
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--twisted", action="store_true", help="on Twisted instead")
    options = parser.parse_args()
    if not hasattr(sys, "gettotalrefcount"):
        print("this needs a debug build of CPython, such as python3.11d")
        return 2
    logging_off()
    names = load("twisted" if options.twisted else "deferrous")
    bad = 0
    programs = PROGRAMS if options.twisted else PROGRAMS | OTHERS
    chosen = options.program or list(programs)
    for name in chosen:
        if LOOP:
            turns(loop())
        grown = growth(names, programs[name], options.runs)
        # The looks themselves keep two or three numbers. What leaks does so in each run.
        if name not in KEEPS and min(map(abs, grown)) >= options.runs:
            bad += 1
            print(f"{name}: {grown}")
    print(f"{len(chosen)} programs, {bad} bad")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
