"""Helpers for several tests of generators."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(params=["inlineCallbacks", "coroutine", "mixed"])
def waits_for(defer, request):
    """A function that starts something which waits for a Deferred and returns it.

    In each style, so that what holds for one is tried on all.
    """

    @defer.inlineCallbacks
    def generator(d):
        result = yield d
        return result

    async def coroutine(d):
        return await d

    @defer.inlineCallbacks
    def mixed(d):
        result = yield coroutine(d)
        return result

    return {
        "inlineCallbacks": generator,
        "coroutine": lambda d: defer.ensureDeferred(coroutine(d)),
        "mixed": mixed,
    }[request.param]


@pytest.fixture
def no_collections():
    gc.collect()
    gc.disable()
    yield
    gc.enable()
