"""What the native half has from `malloc` is given back. No counter of Python's sees that."""

import ctypes
import sys

import pytest
from helpers import run_script

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
        reason="this C library does not count it",
    ),
]

USES = {
    "Event": "c.Event().set()",
    "Condition": "c.Condition().acquire()",
    "Semaphore": "c.Semaphore().acquire()",
    "KeyedLock": "k = c.KeyedLock(); k(1).acquire(); k(1).release()",
    "Queue": "q = c.Queue(); q.put(1); q.get()",
    "Channel": "c.Channel(1).send(1)",
    "Broadcast": "c.Broadcast().subscribe()",
    "as_completed": "list(c.as_completed([defer.succeed(1)]))",
    "DeferredQueue": "defer.DeferredQueue().put(1)",
    "Deferred": "defer.Deferred().addCallback(id).callback(1)",
    "a coroutine in a thread": "t = threading.Thread(target=drive); t.start(); t.join()",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_is_left(use):
    run_script(
        "deferrous",
        f"""
import ctypes, gc, threading
from deferrous import concurrency as c

class Info(ctypes.Structure):
    _fields_ = [(f"field{{number}}", ctypes.c_size_t) for number in range(10)]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info

def drive():
    async def coroutine(waited):
        await waited

    waited = defer.Deferred()
    defer.ensureDeferred(coroutine(waited))
    waited.callback(1)

def use():
    {use}

def used():
    gc.collect()
    # What is in use.
    return mallinfo2().field7

for _ in range(300):
    use()
before = used()
for _ in range(1000):
    use()
assert used() - before < 8000, used() - before
""",
    )
