"""Context variables in generators, and what a finished generator keeps alive."""

import contextvars
import gc
import weakref

from generator_helpers import no_collections, waits_for

variable = contextvars.ContextVar("variable", default="default")


def in_context(value, function, *args):
    context = contextvars.copy_context()
    context.run(variable.set, value)
    return context.run(function, *args)


def test_context_is_kept_across_waiting(defer):
    @defer.inlineCallbacks
    def generator(d):
        seen = [variable.get()]
        yield d
        seen.append(variable.get())
        variable.set("own")
        yield defer.succeed(None)
        seen.append(variable.get())
        return seen

    async def coroutine(d):
        seen = [variable.get()]
        await d
        seen.append(variable.get())
        variable.set("own")
        await defer.succeed(None)
        seen.append(variable.get())
        return seen

    for start in (generator, lambda d: defer.ensureDeferred(coroutine(d))):
        d = defer.Deferred()
        result = in_context("starter's", start, d)
        in_context("firer's", d.callback, None)
        assert result.result == ["starter's", "starter's", "own"]
        assert variable.get() == "default"


def test_context_when_an_error_is_thrown_in(defer):
    @defer.inlineCallbacks
    def function(d):
        variable.set("own")
        try:
            yield d
        except ValueError:
            return variable.get()

    d = defer.Deferred()
    result = function(d)
    in_context("firer's", d.errback, ValueError())
    assert result.result == "own"


def test_context_of_a_nested_call_is_a_copy(defer):
    @defer.inlineCallbacks
    def inner():
        seen.append(variable.get())
        variable.set("inner")
        yield

    @defer.inlineCallbacks
    def outer():
        variable.set("outer")
        yield inner()
        return variable.get()

    seen = []
    assert outer().result == "outer"
    assert seen == ["outer"]
    assert variable.get() == "default"


def test_awaited_coroutine_shares_the_context(defer):
    async def inner():
        variable.set("inner")

    async def outer():
        await inner()
        return variable.get()

    assert defer.ensureDeferred(outer()).result == "inner"


def test_callbacks_run_in_the_firers_context(defer):
    """Only functions that wait have a context of their own."""
    seen = []

    @defer.inlineCallbacks
    def function(d):
        variable.set("own")
        yield d

    d = defer.Deferred()
    function(d).addCallback(lambda _: seen.append(variable.get()))
    in_context("firer's", d.callback, None)
    assert seen == ["firer's"]


def test_reset_works_across_waiting(defer):
    @defer.inlineCallbacks
    def function(d):
        token = variable.set("temporary")
        yield d
        variable.reset(token)
        return variable.get()

    d = defer.Deferred()
    result = function(d)
    d.callback(None)
    assert result.result == "default"


class Value:
    """Something that weak references can watch."""


def test_finished_call_is_no_cycle(defer, waits_for, no_collections):
    value = Value()
    d = defer.Deferred()
    result = waits_for(d)
    references = [weakref.ref(x) for x in (value, d, result)]
    d.callback(value)
    del value, d, result
    assert [r() for r in references] == [None] * 3


def test_finished_call_releases_its_generator(defer, no_collections):
    def make(d):
        local = Value()
        references.append(weakref.ref(local))
        yield d
        return local is None

    references = []
    d = defer.Deferred()
    result = defer.inlineCallbacks(make)(d)
    assert references[0]() is not None
    d.callback(None)
    assert references[0]() is None
    assert result.result is False


def test_cancelled_call_is_no_cycle(defer, waits_for, no_collections):
    """Of the Deferreds only: an exception holds the frames it went through."""
    d = defer.Deferred(lambda d: d.callback(None))
    result = waits_for(d)
    references = [weakref.ref(d), weakref.ref(result)]
    result.cancel()
    del d, result
    assert [r() for r in references] == [None, None]


def test_abandoned_call_is_collected(defer, waits_for):
    """What waits for something that nobody holds any longer is a plain cycle."""
    value = Value()
    d = defer.Deferred()
    d.addCallback(lambda _, v: v, value)
    result = waits_for(d)
    references = [weakref.ref(x) for x in (value, d, result)]
    del value, d, result
    gc.collect()
    assert [r() for r in references] == [None] * 3
