"""Sizes at which Twisted gives up: nothing here takes stack or quadratic time.

Each runs in an interpreter of its own, so that one that crashes harms no other.
"""

import pytest
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

MILLION = 1_000_000

PRELUDE = """
import gc
N = {size}

@defer.inlineCallbacks
def waits(d):
    return (yield d)

async def awaits(d):
    return await d

def nested(wrap, d):
    for _ in range(N):
        d = wrap(d)
    return d

def chained(bottom):
    d = bottom
    for _ in range(N):
        outer = defer.Deferred()
        outer.addCallback(lambda _, d=d: d)
        outer.callback(None)
        d = outer
    return d
"""

SCRIPTS = {
    "nested inlineCallbacks resumed": (
        MILLION,
        """
d = defer.Deferred()
top = nested(waits, d)
d.callback("value")
assert top.result == "value"
""",
    ),
    "nested coroutines resumed": (
        MILLION,
        """
d = defer.Deferred()
top = nested(lambda d: defer.ensureDeferred(awaits(d)), d)
d.callback("value")
assert top.result == "value"
""",
    ),
    "an error through nested inlineCallbacks": (
        100_000,
        """
d = defer.Deferred()
top = nested(waits, d)
d.errback(ValueError("x"))
assert top.result.check(ValueError)
top.addErrback(lambda f: None)
del d, top
""",
    ),
    "nested inlineCallbacks dropped": (
        MILLION,
        """
d = defer.Deferred()
top = nested(waits, d)
del d, top
gc.collect()
""",
    ),
    "nested inlineCallbacks cancelled": (
        100_000,
        """
cancelled = []
d = defer.Deferred(cancelled.append)
top = nested(waits, d)
top.cancel()
assert cancelled == [d]
assert top.result.check(defer.CancelledError)
top.addErrback(lambda f: None)
del d, top
""",
    ),
    "chained and fired": (
        MILLION,
        """
bottom = defer.Deferred()
top = chained(bottom)
assert top.paused == 1
bottom.callback("value")
assert (top.result, bottom.result) == ("value", None)
""",
    ),
    "chained and failed": (
        MILLION,
        """
bottom = defer.Deferred()
top = chained(bottom)
bottom.errback(ValueError("x"))
assert top.result.check(ValueError)
top.addErrback(lambda f: None)
""",
    ),
    "chained and cancelled": (
        100_000,
        """
bottom = defer.Deferred()
top = chained(bottom)
top.cancel()
assert top.result.check(defer.CancelledError)
top.addErrback(lambda f: None)
""",
    ),
    "chained and dropped": (
        MILLION,
        """
bottom = defer.Deferred()
top = chained(bottom)
del bottom, top
gc.collect()
""",
    ),
    "each the result of the next, dropped": (
        MILLION,
        """
d = None
for _ in range(N):
    d = defer.succeed(d)
del d
""",
    ),
    "each the result of the next, fired by callback, dropped": (
        MILLION,
        """
d = None
for _ in range(N):
    holder = defer.Deferred()
    holder.callback(d)
    d = holder
del d, holder
""",
    ),
    "each an argument of the next one's callback, dropped": (
        MILLION,
        """
d = None
for _ in range(N):
    d = defer.Deferred().addCallback(print, d)
del d
""",
    ),
    "each the result of the next, cancelled": (
        100_000,
        """
bottom = d = defer.Deferred()
for _ in range(N):
    d = defer.succeed(d)
d.cancel()
assert bottom.result.check(defer.CancelledError)
bottom.addErrback(lambda f: None)
""",
    ),
    "led on by chainDeferred": (
        100_000,
        """
first = d = defer.Deferred()
for _ in range(N):
    target = defer.Deferred()
    d.chainDeferred(target)
    d = target
first.callback("value")
assert d.result == "value"
""",
    ),
    "many callbacks on one": (
        MILLION,
        """
d = defer.Deferred()
for _ in range(N):
    d.addCallback(lambda r: r + 1)
d.callback(0)
assert d.result == N
""",
    ),
    "many fired ones yielded": (
        MILLION,
        """
@defer.inlineCallbacks
def loop():
    total = 0
    for _ in range(N):
        total += yield defer.succeed(1)
    return total
assert loop().result == N
""",
    ),
    "many waiting for one": (
        100_000,
        """
d = defer.Deferred()
waiting = [defer.succeed(None).addCallback(lambda _: d) for _ in range(N)]
d.callback("value")
assert waiting[0].result == "value"
assert all(w.called and w.paused == 0 for w in waiting)
""",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS, ids=lambda name: name.replace(" ", "_"))
def test_size(name):
    size, script = SCRIPTS[name]
    run_script("deferrous", PRELUDE.format(size=size) + script)


@pytest.mark.parametrize("wrap", ["waits", "awaits"])
def test_no_reference_cycle_after_the_end(wrap):
    """With collections off, all goes as soon as the last reference does."""
    script = PRELUDE.format(size=3) + (
        """
import sysconfig
import weakref

class Value:
    pass

gc.collect()
gc.disable()
wrap = {
    "waits": waits,
    "awaits": lambda d: defer.ensureDeferred(awaits(d)),
}[WRAP]
for how in ("callback", "already", "error", "cancel"):
    value = Value()
    d = defer.Deferred(lambda d: d.callback(None))
    error = ValueError(value)
    if how == "already":
        d.callback(value)
    top = nested(wrap, d)
    if how == "callback":
        d.callback(value)
    elif how == "error":
        d.errback(error)
        top.addErrback(lambda f: f.cleanFailure())
    elif how == "cancel":
        top.cancel()
    references = [weakref.ref(x) for x in (value, d, top)]
    del value, d, top, error
    if how == "error" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        # There, CPython frees an object's dict a little later, in case another thread reads it.
        gc.collect()
    assert [r() for r in references] == [None] * 3, how
""".replace("WRAP", repr(wrap))
    )
    run_script("deferrous", script)
