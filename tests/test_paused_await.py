"""Awaiting a Deferred that one of its own callbacks pauses."""

import pytest
from helpers import outcome

pytestmark = pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)


async def wait(deferred):
    return await deferred


async def wait_in_a_generator(deferred):
    return await wait(deferred)


def class_of(defer, subclass):
    """Return a class of Deferreds."""

    class Sub(defer.Deferred):
        pass

    class Adds(defer.Deferred):
        def addBoth(self, callback, *args, **kwargs):
            return super().addBoth(callback, *args, **kwargs)

    class Wraps(defer.Deferred):
        def addBoth(self, callback, *args, **kwargs):
            return super().addBoth(lambda result: callback(result, *args, **kwargs))

    classes = {"no": defer.Deferred, "yes": Sub, "with its own addBoth": Adds, "that wraps": Wraps}
    return classes[subclass]


@pytest.mark.parametrize("subclass", ["no", "yes", "with its own addBoth", "that wraps"])
@pytest.mark.parametrize("begun", ["before", "in the callback", "in the next"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("wait", [wait, wait_in_a_generator])
@pytest.mark.parametrize("chained", [False, True])
def test_it_goes_on_when_that_goes_on(defer, subclass, begun, fails, wait, chained):
    awaited = class_of(defer, subclass)()
    log, results = [], []

    async def waits():
        try:
            return await wait(awaited)
        finally:
            log.append("resumed")

    def begin(result):
        results.extend([outcome(defer.ensureDeferred(waits()))])
        return result

    def pause(result):
        awaited.pause()
        if begun == "in the callback":
            begin(None)
        if fails:
            raise KeyError("failed")
        return result

    if begun == "before":
        awaited.addCallback(pause)
        begin(None)
    else:
        awaited.addCallback(pause)
        if begun == "in the next":
            awaited.addBoth(begin)
    awaited.addBoth(lambda result: log.append("behind") or result)
    others = []
    if chained:
        # What it is part of goes on.
        inner = defer.Deferred()
        inner.addCallback(awaited.callback)
        inner.addCallback(lambda _: others.append("inner"))
        inner.callback(1)
        assert others == ["inner"]
    else:
        awaited.callback(1)
    # A failure is thrown in at once, as with Twisted; a result is taken when there is no pause.
    assert ("resumed" in log) == fails
    awaited.addBoth(lambda result: log.append("last") or result)
    assert "last" not in log
    awaited.unpause()
    assert "resumed" in log
    ((result,),) = results
    if fails:
        assert result.check(KeyError)
    else:
        assert result == 1 or chained
    assert log[-1] == "last"
    assert awaited.paused == 0
