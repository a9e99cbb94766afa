"""How much stack a nested level takes: for each kind, and for two kinds alternately."""

import json
import sys

import pytest
from helpers import run_script

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(sys.platform != "linux", reason="it is what a compiler and a system take"),
]

#: What nests, each calling the next: how many bytes a level may take on CPython 3.11, and how it is
#: written. CPython's own frames are part of that: 460 bytes, or 770 where it throws into a
#: generator.
KINDS = {
    "inlineCallbacks": (
        755,
        """
@defer.inlineCallbacks
def {go}(_=None):
    deeper()
    yield {next}()
""",
    ),
    "ensureDeferred": (
        790,
        """
async def coroutine_{go}():
    deeper()
    await {next}()
def {go}(_=None):
    return defer.ensureDeferred(coroutine_{go}())
""",
    ),
    "maybeDeferred": (
        625,
        """
def {go}(_=None):
    deeper()
    return defer.maybeDeferred({next})
""",
    ),
    "a callback that fires": (
        735,
        """
def {go}(_=None):
    deeper()
    d = D().addCallback({next})
    d.callback(1)
    return d
""",
    ),
    "an errback that fails": (
        735,
        """
def {go}(_=None):
    deeper()
    d = D().addErrback({next})
    d.errback(FAILURE)
    return d
""",
    ),
    "a callback of a subclass": (
        735,
        """
class Sub_{go}(D):
    def callback(self, result):
        super().callback(result)
def {go}(_=None):
    deeper()
    d = Sub_{go}().addCallback({next})
    d.callback(1)
    return d
""",
    ),
    "a callback of what has fired": (
        790,
        """
def {go}(_=None):
    deeper()
    return defer.succeed(1).addCallback({next})
""",
    ),
    "a callback with arguments by keyword": (
        1490,
        """
def {go}(_=None):
    deeper()
    return defer.succeed(1).addCallback(lambda _, function: function(), function={next})
""",
    ),
    "unpause": (
        735,
        """
def {go}(_=None):
    deeper()
    d = D().addCallback({next})
    d.pause()
    d.callback(1)
    d.unpause()
    return d
""",
    ),
    "a canceller": (
        700,
        """
def {go}(_=None):
    deeper()
    D({next}).cancel()
""",
    ),
    "a generator that is resumed": (
        1250,
        """
def {go}(_=None):
    d = D()
    @defer.inlineCallbacks
    def resumed():
        yield d
        deeper()
        yield {next}()
    waits = resumed()
    d.callback(1)
    return waits
""",
    ),
    "a coroutine that is resumed": (
        1250,
        """
def {go}(_=None):
    d = D()
    async def resumed():
        await d
        deeper()
        await {next}()
    waits = defer.ensureDeferred(resumed())
    d.callback(1)
    return waits
""",
    ),
    "a generator that a failure is thrown into": (
        1690,
        """
def {go}(_=None):
    d = D()
    @defer.inlineCallbacks
    def resumed():
        try:
            yield d
        except ValueError:
            deeper()
            yield {next}()
    waits = resumed()
    d.errback(FAILURE)
    return waits
""",
    ),
    "a generator that is cancelled": (
        2000,
        """
def {go}(_=None):
    @defer.inlineCallbacks
    def resumed():
        try:
            yield D()
        except defer.CancelledError:
            deeper()
            yield {next}()
    waits = resumed()
    waits.cancel()
    return waits
""",
    ),
    "a coroutine that is cancelled": (
        2000,
        """
def {go}(_=None):
    async def resumed():
        try:
            await D()
        except defer.CancelledError:
            deeper()
            await {next}()
    waits = defer.ensureDeferred(resumed())
    waits.cancel()
    return waits
""",
    ),
    "gatherResults": (
        1120,
        """
def {go}(_=None):
    deeper()
    d = D()
    gathered = defer.gatherResults([d]).addCallback({next})
    d.callback(1)
    return gathered
""",
    ),
    "race": (
        1340,
        """
def {go}(_=None):
    deeper()
    d = D()
    raced = defer.race([d]).addCallback({next})
    d.callback(1)
    return raced
""",
    ),
    "gatherResults, cancelled": (
        1450,
        """
def {go}(_=None):
    deeper()
    defer.gatherResults([D({next})]).cancel()
""",
    ),
    "race, cancelled": (
        1180,
        """
def {go}(_=None):
    deeper()
    defer.race([D({next})]).cancel()
""",
    ),
    "what is waited for": (
        1120,
        """
def {go}(_=None):
    deeper()
    inner = D()
    outer = defer.succeed(1).addCallback(lambda _: inner).addCallback({next})
    inner.callback(1)
    return outer
""",
    ),
    "what is waited for, cancelled": (
        1180,
        """
def {go}(_=None):
    deeper()
    inner = D({next})
    defer.succeed(1).addCallback(lambda _: inner).cancel()
""",
    ),
    "a method as a callback": (
        1340,
        """
def {go}(_=None):
    deeper()
    d, other = D(), D().addCallback({next})
    d.addCallback(other.callback)
    d.callback(1)
    return other
""",
    ),
    "a method that is called at once": (
        1580,
        """
def {go}(_=None):
    deeper()
    other = D().addCallback({next})
    defer.succeed(1).addCallback(other.callback)
    return other
""",
    ),
    "run": (
        2170,
        """
def {go}(_=None):
    deeper()
    return defer.DeferredLock().run({next})
""",
    ),
}

#: How many levels fit on a thread's stack, with no other limit.
LEVELS = """
import gc, itertools, json, logging, sys, threading, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
sys.setrecursionlimit(10**8)
D = defer.Deferred
levels = 0
def deeper():
    global levels
    levels += 1
try:
    raise ValueError
except ValueError:
    FAILURE = failure.Failure()
def levels_on(size):
    global levels
    levels = 0
    def run():
        try:
            d = one()
            isinstance(d, D) and d.addBoth(lambda _: None)
        except RecursionError:
            pass
    threading.stack_size(size)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return levels
# A collection frees the tracebacks of earlier levels, on CPython 3.13 a thousand within each other:
# not where little of the stack is left.
gc.disable()
# The C library may keep a stack for the next thread, but not one that is so much larger.
SMALL, LARGE = 1 << 18, 5 << 18
def size_of_level(kind, other):
    exec(KINDS[kind].format(go="one", next="two"), globals())
    exec(KINDS[other].format(go="two", next="one"), globals())
    few, many = levels_on(SMALL), levels_on(LARGE)
    gc.collect()
    return (LARGE - SMALL) // (many - few)
"""


def sizes(program: str):
    kinds = {name: text for name, (_, text) in KINDS.items()}
    done = run_script("deferrous", f"KINDS = {kinds!r}\n{LEVELS}\n{program}")
    return json.loads(done.stdout)


def test_two_kinds_in_turn_take_what_each_does():
    """All pairs: between any two of them there is a call of Python's, and nothing else."""
    alone, together = sizes("""
alone = {name: size_of_level(name, name) for name in KINDS}
pairs = itertools.combinations(KINDS, 2)
print(json.dumps([alone, [(*pair, size_of_level(*pair)) for pair in pairs]]))
""")
    more = [
        (one, other, size)
        for one, other, size in together
        if size > (alone[one] + alone[other]) / 2 * 1.02 + 16
    ]
    assert more == []


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="most of it is CPython's own, each version's another"
)
def test_a_level_takes_little_of_the_stack():
    """Of each kind. (Builds that optimise less take more.)"""
    alone = sizes("print(json.dumps({name: size_of_level(name, name) for name in KINDS}))")
    assert {name: size for name, size in alone.items() if size > KINDS[name][0]} == {}
