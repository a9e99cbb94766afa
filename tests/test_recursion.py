"""Endless recursion raises a Python error, whatever calls what."""

import pytest
from helpers import run_script

pytest.importorskip("greenlet")
pytestmark = pytest.mark.deferrous_only

#: Programs that never end by themselves. `deeper` is called at each level.
ENDLESS = {
    "inlineCallbacks": """
@defer.inlineCallbacks
def go(_=None):
    deeper()
    yield go()
""",
    "ensureDeferred": """
async def coroutine():
    deeper()
    await defer.ensureDeferred(coroutine())
def go():
    return defer.ensureDeferred(coroutine())
""",
    "maybeDeferred": """
def go():
    deeper()
    return defer.maybeDeferred(go)
""",
    "execute": """
def go():
    deeper()
    return defer.execute(go)
""",
    "callbacks that fire": """
def go(_=None):
    deeper()
    d = D().addCallback(go)
    d.callback(1)
    return d
""",
    "errbacks that fail": """
def go(_=None):
    deeper()
    d = D().addErrback(go)
    d.errback(ValueError())
    return d
""",
    "callbacks added to what has fired": """
def go(_=None):
    deeper()
    return defer.succeed(1).addCallback(go)
""",
    "unpause": """
def go(_=None):
    deeper()
    d = D().addCallback(go)
    d.pause()
    d.callback(1)
    d.unpause()
    return d
""",
    "cancellers": """
def go(_=None):
    deeper()
    D(go).cancel()
""",
    "a canceller that is its own cancel": """
def go():
    d = D()
    d._canceller = functools.partial(lambda cancel, _: cancel(), d.cancel)
    d.cancel()
""",
    "cancel as a canceller": """
def go():
    D(D.cancel).cancel()
""",
    "gatherResults": """
def go(_=None):
    deeper()
    gathered = defer.gatherResults([defer.succeed(1).addCallback(go)])
    return gathered.addErrback(lambda f: f.value.subFailure)
""",
    "DeferredList": """
def go(_=None):
    deeper()
    return defer.DeferredList([defer.succeed(1).addCallback(go)])
""",
    "a list of an endless list": """
class Endless:
    def __iter__(self):
        deeper()
        defer.DeferredList(self)
        return iter([])
def go():
    defer.DeferredList(Endless())
""",
    "race": """
def go(_=None):
    deeper()
    return defer.race([defer.succeed(1).addCallback(go)])
""",
    "run": """
def go():
    deeper()
    return defer.DeferredLock().run(go)
""",
    "partials of native methods": """
def go():
    ds = [D() for _ in range(20_000)]
    for a, b in zip(ds, ds[1:]):
        a.addCallback(functools.partial(b.callback)).addErrback(lambda f: None)
    ds[0].callback(1)
    assert 20 < sum(d.called for d in ds) < len(ds)
""",
    "native methods that add callbacks": """
def go(_=None):
    deeper()
    d, other = D(), defer.succeed(1)
    d.addCallback(other.addCallback)
    d.callback(go)
    return other
""",
    "subclasses that make themselves": """
class Sub(D):
    def __init__(self):
        deeper()
        super().__init__()
        Sub()
def go():
    Sub()
""",
    "debug as a property": """
class Sub(D):
    @property
    def debug(self):
        deeper()
        Sub().callback(1)
def go():
    Sub().callback(1)
""",
    "a class that fires when it is asked for": """
class Asked:
    @property
    def __class__(self):
        deeper()
        D().callback(Asked())
        return object
def go():
    D().callback(Asked())
""",
}

HARNESS = """
import functools, logging, sys, threading
logging.disable(logging.CRITICAL)
D = defer.Deferred
levels = 0
def deeper():
    global levels
    levels += 1
{program}
def consistent():
    # Other objects still work, and no run is in progress.
    a, b = D(), D()
    a.addCallback(b.callback).addCallback(lambda _: "after")
    a.callback(1)
    assert (a.result, b.result) == ("after", 1)
    lock = defer.DeferredLock()
    done = []
    for i in range(300):
        lock.acquire().addCallback(lambda lock, i=i: done.append(i) or lock.release())
    assert done == list(range(300)) and not lock.locked
def check():
    try:
        d = go()
        assert not isinstance(d, D) or d.addBoth(lambda _: None) is d
    except RecursionError:
        pass
    consistent()
def in_thread(size):
    caught = []
    def run():
        try:
            check()
        except BaseException as error:
            caught.append(error)
    threading.stack_size(size << 10)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if caught:
        raise caught[0]
"""

STACKS = {
    "the default": "check()",
    "a limit of 10,000": "sys.setrecursionlimit(10_000); check()",
    "threads": "for size in (256, 512, 1024): in_thread(size)",
    "threads and a limit of 10,000": (
        "sys.setrecursionlimit(10_000)\nfor size in (256, 512, 1024): in_thread(size)"
    ),
}


@pytest.mark.parametrize("stack", STACKS, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize("name", ENDLESS, ids=lambda name: name.replace(" ", "_"))
def test_endless(name, stack):
    run_script("deferrous", HARNESS.format(program=ENDLESS[name]) + STACKS[stack])
