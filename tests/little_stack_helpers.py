"""Operations of `deferrous.concurrency` where hardly any of the machine's stack is left."""

from __future__ import annotations

import logging
import sys
import threading

import test_concurrency_recursion as recursion
import test_concurrency_recursion_firing as firing
from deferrous import Deferred, DeferredSemaphore, Failure, gatherResults
from deferrous import concurrency as c
from test_concurrency_refused import LOCKS as KINDS


class Descends:
    """Compared with another, it uses some of the stack, which Python's own limit does not count."""

    def __init__(self, levels, function):
        self.levels = levels
        self.function = function

    def __eq__(self, other):
        if self.levels:
            return Descends(self.levels - 1, self.function) == other
        self.function()
        return True


def below(levels, function):
    """Call a function so deep in the stack, within a callback. Return whether it was refused."""
    refused = []

    def operate():
        try:
            function()
        except RecursionError:
            refused.append(True)

    deferred = Deferred().addCallback(lambda _: Descends(levels, operate) == None)  # noqa: E711
    deferred.callback(None)
    if isinstance(deferred.result, Failure):
        refused.append(True)
        deferred.addErrback(id)
    return bool(refused)


def first_refused():
    """How deep the callbacks of a Deferred are not called any more."""

    def fire():
        Deferred().addCallback(id).callback(None)

    levels = 10
    while not below(levels, fire):
        levels += 1
    return levels


def is_free(lock):
    acquired = lock.acquire()
    if acquired.called:
        lock.release()
        return True
    acquired.addErrback(id).cancel()
    return False


def running(make, later):
    """Run a function with a lock: now, or when it is released; or release it later."""

    def operation():
        lock, done = make(), Deferred()
        if later == "done":
            lock.run(lambda: done).addErrback(id)
            return lambda: done.called or done.callback(None), lambda: is_free(lock)
        if later == "acquired":
            lock.acquire()
            lock.run(int).addErrback(id)
            return lock.release, lambda: is_free(lock)
        return lambda: lock.run(int).addErrback(id), lambda: is_free(lock)

    return operation


def leaving(make, waits):
    """Leave a block: nobody else would release the lock. Somebody may be waiting for it."""

    def operation():
        lock, begun = make(), []
        lock.acquire()
        waiting = lock.acquire() if waits else None

        def leave():
            # Where CPython itself refuses a call of this kind, the block's end has not begun.
            begun.clear()
            begun.append(True)
            lock.__aexit__(None, None, None)

        def has_left():
            return waiting.called if waits else is_free(lock)

        return leave, lambda: not begun or has_left()

    return operation


def gathering(fires):
    def operation():
        one, other = Deferred(), Deferred()
        waits = gatherResults([one, other], consumeErrors=True).addErrback(id)
        return lambda: fires(one, waits), lambda: (one.called, waits.called)

    return operation


def with_many_tokens(left):
    """A semaphore whose numbers are not all small ints, which are the quick case."""
    semaphore = DeferredSemaphore(100_000)
    semaphore.tokens = left
    return semaphore


#: Those of test_concurrency_refused, and a semaphore of many tokens.
LOCKS = KINDS | {"one of many tokens": lambda: with_many_tokens(1)}
RUNNING = {
    f"{name}, {later}": running(make, later)
    for name, make in LOCKS.items()
    for later in ("now", "acquired", "done")
    # Who reads keeps nobody from reading.
    if name != "reading"
}
LEAVING = {
    f"{name}, left{' to another' * waits}": leaving(make, waits)
    for name, make in LOCKS.items()
    for waits in (False, True)
    if name != "reading"
}
GATHERING = {
    "a failure": gathering(lambda one, _: one.errback(KeyError())),
    "cancelling": gathering(lambda _, waits: waits.cancel()),
    "cancelling what is gathered": lambda: (
        (waits := c.gather(Deferred(), Deferred())).addErrback(id).cancel,
        lambda: waits.called,
    ),
}
#: What fires a Deferred may be refused after that, as with Twisted: then its callbacks do not run.
FIRING = {*firing.OPERATIONS, *RUNNING, *GATHERING}
OPERATIONS = recursion.OPERATIONS | firing.OPERATIONS | RUNNING | GATHERING | LEAVING


def wrong_near_the_end(name, refused):
    make = OPERATIONS[name]
    operate, state = make()
    before = state()
    operate()
    after = state()
    for levels in range(refused - 30, refused + 4):
        operate, state = make()
        raised = below(levels, operate)
        if raised and name in FIRING:
            continue
        if raised and state() == before:
            operate()
        if state() != after:
            yield name, levels - refused, raised, state()


def check(kib):
    """Do each with any little stack that is left of so much: it is whole, or can be done again."""
    logging.disable()
    found = ["not run"]

    def run():
        refused = first_refused()
        found[:] = [wrong for name in OPERATIONS for wrong in wrong_near_the_end(name, refused)]

    # Only the machine's stack is to be the limit.
    sys.setrecursionlimit(100_000)
    threading.stack_size(kib << 10)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not found, found
