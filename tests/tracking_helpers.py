"""Helpers for the tests of `track`."""

import gc
import json
import sys

import deferrous as defer
import pytest

#: The file that what is made by these functions is made in.
FILE = __file__


@pytest.fixture(autouse=True)
def off_at_the_end():
    yield
    defer.track(False)


@pytest.fixture
def before():
    gc.collect()
    defer.track()
    return defer.pending()


def since(before):
    found = defer.pending() - before
    assert json.loads(json.dumps(found.to_dict()))["count"] == len(found)
    for each in found.deferreds:
        json.dumps(each.to_dict())
    return found


def line():
    return sys._getframe(1).f_lineno


async def wait_for(d):
    return await d


@defer.inlineCallbacks
def generator(d):
    yield d


class Own(defer.Deferred):
    pass


class WithInit(defer.Deferred):
    def __init__(self):
        super().__init__()
        self.extra = 1


def in_line():
    lock = defer.DeferredLock()
    lock.acquire().addCallback(lambda _: lock.acquire())
    return lock, lock.acquire()


MADE = {
    "plain": (defer.Deferred, 1),
    "with a canceller": (lambda: defer.Deferred(lambda d: None), 1),
    "subclass": (Own, 1),
    "subclass with __init__": (WithInit, 1),
    "by __new__": (lambda: defer.Deferred.__new__(defer.Deferred), 1),
    "generator": (lambda: generator(NEVER), 1),
    "coroutine": (lambda: defer.ensureDeferred(wait_for(NEVER)), 1),
    "fromCoroutine": (lambda: defer.Deferred.fromCoroutine(wait_for(NEVER)), 1),
    "list": (lambda: defer.DeferredList([NEVER]), 1),
    "gathered": (lambda: defer.gatherResults([NEVER]), 1),
    "race": (lambda: defer.race([NEVER]), 1),
    "lock": (in_line, 3),
    "semaphore": (lambda: [s := defer.DeferredSemaphore(1), s.acquire(), s.acquire()], 1),
    "queue": (lambda: defer.DeferredQueue().get(), 1),
    "maybeDeferred": (lambda: defer.maybeDeferred(wait_for, NEVER), 1),
    "chained": (lambda: defer.succeed(None).addCallback(lambda _: NEVER), 1),
}

NEVER = defer.Deferred()
