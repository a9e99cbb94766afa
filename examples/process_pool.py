"""Work for all processors, from an `inlineCallbacks` function.

A program with Deferreds does one thing at a time. Long calculations can run in other
processes: `concurrent.futures.ProcessPoolExecutor` runs them there.
`Deferred.fromFuture` makes a Deferred from each of its futures, which fires in the
thread of this process's asyncio loop.

The program compares the results with those of the same work done here, one piece after
the other. Its exit status is 0 if they are the same.

It needs only deferrous and the standard library:  python examples/process_pool.py
"""

import asyncio
import concurrent.futures
import multiprocessing
import os
import sys
import threading

import deferrous as defer

STEP = 5_000
PIECES = [range(start, start + STEP) for start in range(0, 40_000, STEP)]


# The work. It runs in other processes, and knows nothing of Deferreds.


def count_primes(numbers):
    """Return how many of these numbers are prime, in a slow way."""
    return sum(
        number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        for number in numbers
    )


def fail_at(number):
    raise ValueError(f"no such number: {number}")


def where_am_i():
    return os.getpid()


# The program.


@defer.inlineCallbacks
def total(run):
    """Do all pieces at once. The results are in the order of the pieces."""
    return (yield defer.gatherResults([run(count_primes, piece) for piece in PIECES]))


@defer.inlineCallbacks
def failing(run):
    """Catch an exception of another process here, at the `yield`."""
    try:
        yield run(fail_at, 13)
    except ValueError as e:
        # concurrent.futures sends the traceback of the other process as the cause.
        return str(e), str(e.__cause__)
    return None, ""


@defer.inlineCallbacks
def cancelled(run):
    """Cancel a Deferred. It fails at once, and work that has not begun is not done."""
    busy = [run(count_primes, piece) for piece in PIECES]
    unwanted = run(count_primes, PIECES[0])
    unwanted.cancel()
    try:
        yield unwanted
        outcome = "fired"
    except defer.CancelledError:
        outcome = "cancelled"
    # The other work continues.
    return outcome, (yield defer.gatherResults(busy))


@defer.inlineCallbacks
def program(pool):
    def run(function, *args):
        return defer.Deferred.fromFuture(pool.submit(function, *args))

    right = True

    def show(title, value, expected):
        nonlocal right
        same = value == expected
        right = right and same
        print(f"{title}: {value}" + ("" if same else f"  WRONG, should be {expected}"))

    serial = [count_primes(piece) for piece in PIECES]
    show("primes in each piece", (yield total(run)), serial)

    message, trace = yield failing(run)
    show("a task that fails", message, "no such number: 13")
    print("    " + trace.strip().strip('"').strip().replace("\n", "\n    "))
    show("its traceback is here", "fail_at" in trace, True)

    outcome, results = yield cancelled(run)
    show("a task that is cancelled", outcome, "cancelled")
    show("the others", results, serial)

    workers = yield defer.gatherResults([run(where_am_i) for _ in range(10)])
    show("work was done in this process", os.getpid() in workers, False)
    show("this is the main thread", threading.current_thread() is threading.main_thread(), True)
    return right


async def main():
    # Start new processes. A forked copy of this one would be unsafe if it has threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return await program(pool).asFuture(asyncio.get_running_loop())


if __name__ == "__main__":
    sys.exit(not asyncio.run(asyncio.wait_for(main(), 50)))
