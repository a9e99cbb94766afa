"""Deferreds and asyncio in one program, each waiting for the other.

A task awaits Deferreds. An `inlineCallbacks` function waits for asyncio's coroutines and
futures. A coroutine run by `ensureDeferred` uses asyncio's own tools. Cancelling works in
both directions. The program checks each result; its exit status is 0 if all are right.

It needs only deferrous and the standard library:  python examples/asyncio_tasks.py
"""

import asyncio
import faulthandler
import sys

import deferrous as defer

right = True


def show(title, value, expected):
    global right
    same = value == expected
    right = right and same
    print(f"{title}: {value}" + ("" if same else f"  WRONG, should be {expected}"))


def later(value, seconds=0.01):
    """Return a Deferred that asyncio's loop fires, as a protocol or a driver would."""
    d = defer.Deferred()
    call = d.errback if isinstance(value, Exception) else d.callback
    asyncio.get_running_loop().call_later(seconds, call, value)
    return d


async def double(number):
    await asyncio.sleep(0.01)
    return 2 * number


@defer.inlineCallbacks
def old_style(number):
    """Wait for a Deferred, a coroutine, and a Deferred made from a future."""
    first = yield later(number)
    second = yield double(first)
    third = yield defer.Deferred.fromFuture(asyncio.ensure_future(double(second)))
    return [first, second, third]


async def new_style(number):
    """Use asyncio and Deferreds in a coroutine that `ensureDeferred` runs."""
    results = await asyncio.gather(double(number), double(number + 1))
    async with defer.DeferredLock():
        results.append(await later("locked"))
    return results


async def main():
    loop = asyncio.get_running_loop()

    show("a task awaits a Deferred", await later("here"), "here")
    try:
        await later(ValueError("no luck"))
        show("its failure", "it did not fail", None)
    except ValueError as e:
        show("its failure", str(e), "no luck")

    show("a generator waits for asyncio", await old_style(1), [1, 2, 4])
    show("so does a coroutine", await defer.ensureDeferred(new_style(1)), [2, 4, "locked"])

    both = asyncio.gather(old_style(2).asFuture(loop), double(8))
    show("gathered by asyncio", await both, [[2, 4, 8], 16])
    both = defer.gatherResults(
        [old_style(2), defer.Deferred.fromFuture(loop.create_task(double(8)))]
    )
    show("gathered by Deferreds", await both, [[2, 4, 8], 16])

    cancelled = []
    waits = defer.Deferred(cancelled.append)
    try:
        await asyncio.wait_for(waits.asFuture(loop), 0.01)
    except asyncio.TimeoutError:
        show("asyncio's timeout cancels a Deferred", cancelled == [waits], True)

    task = loop.create_task(asyncio.sleep(60))
    unwanted = defer.Deferred.fromFuture(task)
    unwanted.cancel()
    try:
        await unwanted
    except asyncio.CancelledError:
        show("cancelling a Deferred cancels a task", task.cancelled(), True)
    show("all of it in one thread", len(sys._current_frames()), 1)
    return right


if __name__ == "__main__":
    faulthandler.dump_traceback_later(55, exit=True)
    sys.exit(not asyncio.run(main()))
