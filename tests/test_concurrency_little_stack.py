"""`deferrous.concurrency` where a thread's stack ends before Python's limit is reached.

As at the recursion limit, each operation is done as a whole, or refused as a whole; and our own
callbacks are not refused, so nobody waits for ever and no lock is lost.
"""

import os

import pytest
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

FIRST = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"


# With 2,048 KiB CPython 3.12 comes to its limit of native calls first.
@pytest.mark.parametrize("kib", [256, 512, 2048])
def test_near_the_end_of_the_stack(kib):
    run_script("deferrous", f"{FIRST}from little_stack_helpers import check\ncheck({kib})")


#: Each lock is released by who was given the one before.
ONE_AFTER_ANOTHER = """
import threading
from test_concurrency_refused import LOCKS

def run(make):
    locks = [make() for _ in range(1000)]
    for lock in locks:
        lock.acquire()
    ran, failed = [], []
    ds = [lock.run(ran.append, number) for number, lock in enumerate(locks)]
    for d, following in zip(ds, locks[1:]):
        d.addCallback(lambda _, it=following: it.release()).addErrback(failed.append)
    locks[0].release()
    for lock in locks:
        lock.acquire().addBoth(lambda _, it=lock: it.release())
    done.append((len(ran), len(failed)))

done = []
threading.stack_size({kib} << 10)
for name, make in LOCKS.items():
    if name != "reading":
        thread = threading.Thread(target=run, args=[make])
        thread.start()
        thread.join()
assert done == [(1000, 0)] * (len(LOCKS) - 1), done
"""


@pytest.mark.parametrize("kib", [128, 256])
def test_each_run_releases_the_next_lock(kib):
    run_script("deferrous", FIRST + ONE_AFTER_ANOTHER.replace("{kib}", str(kib)))
