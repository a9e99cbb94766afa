"""Programs of `deferrous.concurrency` in the midst of which there is no memory, for a while.

Each is a generator. It yields the step that is done without memory, and gets whether that has
raised a MemoryError, and what it has returned. Then it yields the Deferreds that must have ended by
then.
Run as a program, this sweeps those that are named. See test_concurrency_no_memory.py.
"""

from __future__ import annotations

import _testcapi
import gc
import logging
import sys
from functools import partial

import no_memory_lines
from deferrous import (
    Deferred,
    DeferredList,
    ensureDeferred,
    fail,
    gatherResults,
    race,
)
from deferrous import concurrency as c
from no_memory_lines import cancel, fire

#: How many allocations fail in a row, from each one on. The last is all that a step does. (If none
#: ever succeeded, CPython 3.11 would hang where a long function of Python handles an exception: it
#: needs an int for that, and handles the MemoryError at the same place.)
WIDTHS = (1, 3, 30, 3000)
#: From which allocations on.
PLACES = range(70)


class Call:
    """What a clock returns."""

    def __init__(self, calls, function, args):
        self.calls, self.function, self.args = calls, function, args

    def active(self):
        return self in self.calls

    def cancel(self):
        self.calls.remove(self)


class Clock:
    """A clock that goes on, as a reactor does, if a call raises something.

    It takes no memory itself.
    """

    def __init__(self):
        self.calls = []

    def seconds(self):
        return 0

    def callLater(self, _, function, *args):
        self.calls.append(Call(self.calls, function, args))
        return self.calls[-1]

    def strike(self):
        calls = self.calls
        while calls:
            call = calls[0]
            function, args = call.function, call.args
            del calls[0]
            try:
                function(*args)
            except MemoryError:
                pass


def several(count=3):
    return [Deferred() for _ in range(count)]


def ways(deferreds, result, clock=None):
    """Return what may happen to something that waits for these."""
    return {
        "one": partial(deferreds[0].callback, 1),
        "all": lambda: [each.callback(1) for each in deferreds],
        "fail": partial(deferreds[0].errback, KeyError()),
        "cancel": result.cancel,
        "time": clock.strike if clock else None,
    }


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


def maps(how, asynchronous):
    deferreds = several(5)
    result = feed(c.map, deferreds, asynchronous)
    yield ways(deferreds, result)[how]
    if how == "cancel":
        cancel(result)
    fire(deferreds)
    yield [result]


def streams(how, asynchronous):
    deferreds = several(5)
    stream = feed(c.stream, deferreds, asynchronous)
    waiting = [stream.__anext__(), stream.__anext__()]
    raised, _ = yield stream.close if how == "close" else ways(deferreds, waiting[0])[how]
    if how == "cancel":
        cancel(waiting[0])
    elif how == "close" and raised:
        stream.close()
    fire(deferreds)
    yield waiting + [stream.__anext__() for _ in range(6)]


def group(how, as_block):
    deferreds = several()
    tasks = c.TaskGroup()

    async def block():
        async with tasks:
            for each in deferreds:
                tasks.create_task(each)

    if as_block:
        result = ensureDeferred(block())
    else:
        tasks.open()
        for each in deferreds:
            tasks.create_task(each)
        result = tasks.join()
    yield tasks.cancel if how == "group" else ways(deferreds, result)[how]
    if how == "cancel":
        cancel(result)
    fire(deferreds)
    yield [result]


def several_at_once(how, make):
    deferreds, clock = several(), Clock()
    result = make(deferreds, clock)
    yield ways(deferreds, result, clock)[how]
    if how == "cancel":
        cancel(result)
    if how == "time":
        yield [result]
        return
    fire(deferreds)
    # Nobody has forgotten the rest.
    yield [result, c.wait(deferreds)]


def completed(how):
    deferreds, clock = several(), Clock()
    given = list(c.as_completed(deferreds, timeout=3, clock=clock))
    yield ways(deferreds, given[0], clock)[how]
    if how == "cancel":
        cancel(given[0])
    if how != "time":
        fire(deferreds)
    yield given


def in_time(how, make):
    deferred, clock = Deferred(), Clock()
    result = make(deferred, clock)
    yield ways([deferred], result, clock)[how]
    if how == "cancel":
        cancel(result)
    if how != "time":
        fire([deferred])
    yield [result]


async def block_in_time(deferred, clock):
    async with c.timeout(3, clock=clock):
        await deferred


def protected(how, make):
    deferred = Deferred()
    result = make(deferred)
    yield ways([deferred], result)[how]
    if how == "cancel":
        cancel(result)
    fire([deferred])
    yield [result]


def observers(how):
    deferred = Deferred()
    shared = c.Observable(deferred, cancel_unobserved=True)
    seen = [shared.observe() for _ in range(3)]
    yield ways([deferred], seen[0])[how]
    cancel(seen[0])
    fire([deferred])
    yield [*seen, shared.observe()]


def once(how):
    calls = []

    @c.once
    def function(_):
        calls.append(Deferred())
        return calls[-1]

    callers = [function(1) for _ in range(3)]
    yield ways(calls, callers[0])[how]
    cancel(callers[0])
    fire(calls)
    yield callers
    # What has ended is not shared any more.
    function(1)
    assert len(calls) == 2


FIRST = {"return_when": c.FIRST_COMPLETED}
SEVERAL = {
    "gather": lambda all_, _: c.gather(*all_),
    "losers": lambda all_, _: c.gather(*all_, cancel_losers=True),
    "list": lambda all_, _: DeferredList(all_),
    "first of a list": lambda all_, _: DeferredList(all_, fireOnOneCallback=True),
    "gatherResults": lambda all_, _: gatherResults(all_),
    "race": lambda all_, _: race(all_),
    "wait": lambda all_, clock: c.wait(all_, timeout=3, clock=clock),
    "first": lambda all_, clock: c.wait(all_, timeout=3, clock=clock, **FIRST),
}
IN_TIME = {
    "wait_for": lambda it, clock: c.wait_for(it, 3, clock=clock),
    "block": lambda it, clock: ensureDeferred(block_in_time(it, clock)),
    "addTimeout": lambda it, clock: it.addTimeout(3, clock),
}
PROTECTED = {"shield": c.shield, "delay": c.delay_cancellation}
ENDS = ("one", "all", "fail", "cancel")


def cases(name):
    """Return the programs of a name, each with its arguments."""
    both = (False, True)
    return {
        "map": [partial(maps, how, each) for how in ENDS for each in both],
        "stream": [partial(streams, how, each) for how in (*ENDS, "close") for each in both],
        "group": [partial(group, how, each) for how in (*ENDS, "group") for each in both],
        "several": [
            partial(several_at_once, how, make) for how in ENDS for make in SEVERAL.values()
        ],
        "wait in time": [partial(several_at_once, "time", SEVERAL[it]) for it in ("wait", "first")],
        "as_completed": [partial(completed, how) for how in (*ENDS, "time")],
        "timeout": [
            partial(in_time, how, make)
            for how in ("one", "fail", "cancel")
            for make in IN_TIME.values()
        ],
        "protected": [
            partial(protected, how, make)
            for how in ("one", "fail", "cancel")
            for make in PROTECTED.values()
        ],
        "observable": [partial(observers, how) for how in ("one", "fail", "cancel")],
        "once": [partial(once, how) for how in ("one", "fail", "cancel")],
        **no_memory_lines.cases(),
    }[name]


#: Without what takes memory to be found: the names of the module.
set_nomemory, remove_mem_hooks = _testcapi.set_nomemory, _testcapi.remove_mem_hooks


def without_memory(at, stop, step):
    raised, value = False, None
    set_nomemory(at, stop)
    try:
        value = step()
    except MemoryError:
        raised = True
    remove_mem_hooks()
    return raised, value


def run(case, at, width):
    # CPython 3.11 keeps the memory of 16 MemoryErrors. When it has none left, and another exception
    # is being handled, it aborts: "Cannot recover from stack overflow".
    gc.collect()
    program = case()
    step = next(program)
    waiting = program.send(without_memory(at, at + width, step))
    for each in waiting:
        each.addErrback(lambda _: None)
    assert all(each.called and not each.paused for each in waiting), waiting
    for _ in program:
        pass


def main(names):
    gc.freeze()
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    wrong = []
    for name in names:
        for case in cases(name):
            run(case, 100_000, 1)
            for width in WIDTHS:
                for at in PLACES:
                    try:
                        run(case, at, width)
                    except Exception as error:
                        wrong.append((name, case.args, width, at, repr(error)[:80]))
    print(*wrong, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
