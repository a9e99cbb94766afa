"""Work for a cluster of machines, from an `inlineCallbacks` function.

A future of Dask's `distributed` stands for work on a machine of a cluster, and for its
result. `Deferred.fromFuture` makes a Deferred from it, which fires in the thread of this
process's asyncio loop. In this example, the cluster is on this machine: a scheduler and
two workers, which are processes that talk over the loopback interface. To use real
machines, give the scheduler's address to `Client` instead.

The program compares the results with those of the same work done here, one piece after
the other. Its exit status is 0 if they are the same.

It needs distributed (pip install deferrous[dask]):  python examples/dask_cluster.py
"""

import asyncio
import faulthandler
import logging
import os
import sys
import tempfile
import threading

import deferrous as defer
from distributed import Client, LocalCluster

PIECES = [range(start, start + 10_000) for start in range(0, 80_000, 10_000)]


# The work. It runs in the workers, and knows nothing of Deferreds.


def sum_of_squares(numbers):
    return sum(number * number for number in numbers)


def merge(parts):
    return sum(parts)


def fail_at(number):
    raise ValueError(f"no such number: {number}")


def where_am_i():
    return os.getpid()


# The program.


@defer.inlineCallbacks
def program(client):
    def run(function, *args):
        # `pure=False`: if the same call is made twice, it is done twice.
        return defer.Deferred.fromFuture(client.submit(function, *args, pure=False))

    right = True

    def show(title, value, expected):
        nonlocal right
        same = value == expected
        right = right and same
        print(f"{title}: {value}" + ("" if same else f"  WRONG, should be {expected}"))

    serial = [sum_of_squares(piece) for piece in PIECES]
    results = yield defer.gatherResults([run(sum_of_squares, piece) for piece in PIECES])
    show("sums of squares", results, serial)

    # Results that are needed only on the cluster stay there: pass the futures to other work.
    parts = client.map(sum_of_squares, PIECES)
    show("merged on the cluster", (yield run(merge, parts)), sum(serial))

    try:
        yield run(fail_at, 13)
        show("a task that fails", "it did not", None)
    except ValueError as e:
        show("a task that fails", str(e), "no such number: 13")
        names = []
        traceback = e.__traceback__
        while traceback is not None:
            names.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        show("it failed in", names[-1], "fail_at")

    # This would wait forever, because no worker of the cluster has a GPU.
    future = client.submit(where_am_i, resources={"GPU": 1}, pure=False)
    unwanted = defer.Deferred.fromFuture(future)
    unwanted.cancel()
    try:
        yield unwanted
        show("a task that is cancelled", "it was not", None)
    except defer.CancelledError:
        show("a task that is cancelled", future.status, "cancelled")

    workers = yield defer.gatherResults([run(where_am_i) for _ in range(10)])
    show("work was done in this process", os.getpid() in workers, False)
    show("this is the main thread", threading.current_thread() is threading.main_thread(), True)
    return right


async def main(client):
    return await program(client).asFuture(asyncio.get_running_loop())


def run():
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
            worker_dashboard_address=None,
            local_directory=directory,
        ) as cluster,
        Client(cluster) as client,
    ):
        return asyncio.run(asyncio.wait_for(main(client), 40))


if __name__ == "__main__":
    faulthandler.dump_traceback_later(55, exit=True)
    sys.exit(not run())
