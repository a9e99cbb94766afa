"""What nests without end, or deep: an error where the stack ends, and nothing that stands still."""

import os
import sys
import textwrap

import pytest
from helpers import LITTLE_STACK, run_script

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
    # What was not harmed works as ever, and nothing is being run.
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


#: Handing over from one to the next, thousands of times, each by a release of the one before.
HANDED_OVER = """
import sys, threading
N = {count}
done = []

def coroutines(lock, frames=0):
    async def hold(i, frames):
        if frames:
            return await hold(i, frames - 1)
        async with lock:
            done.append(i)
    lock.acquire()
    ds = [defer.ensureDeferred(hold(i, frames)) for i in range(N)]
    lock.release()
    assert all(d.called for d in ds)

def generators(lock):
    @defer.inlineCallbacks
    def hold(i):
        yield lock.acquire()
        try:
            done.append(i)
        finally:
            lock.release()
    lock.acquire()
    ds = [hold(i) for i in range(N)]
    lock.release()
    assert all(d.called for d in ds)

def callbacks(lock):
    lock.acquire()
    ds = [lock.acquire() for i in range(N)]
    for i, d in enumerate(ds):
        d.addCallback(lambda _, i=i: done.append(i) or lock.release())
    lock.release()
    assert all(d.called for d in ds)

def items(queue):
    def got(i):
        done.append(i)
        queue.put(i + 1)
    for _ in range(N):
        queue.get().addCallback(got)
    queue.put(0)
    assert list(queue.pending) == [N]

class OwnCallback(defer.Deferred):
    def callback(self, result):
        return super().callback(result)

class NoDeferred:
    def __init__(self):
        self.callbacks = []
    def addCallback(self, callback):
        self.callbacks.append(callback)
    def callback(self, result):
        for each in self.callbacks:
            each(result)

def others(kind, queue):
    # Those whose callback is called, as it is not the one of the class.
    def got(i):
        done.append(i)
        queue.put(i + 1)
    for _ in range(N):
        queue.waiting.append(kind())
        queue.waiting[-1].addCallback(got)
    queue.put(0)
    assert list(queue.pending) == [N]

def other_holders(lock):
    lock.acquire()
    for i in range(N):
        lock.waiting.append(OwnCallback())
        lock.waiting[-1].addCallback(lambda _, i=i: done.append(i) or lock.release())
    lock.release()

def check(work, *args):
    del done[:]
    work(*args)
    assert done == list(range(N)), len(done)

def all_of_them(frames=5):
    check(coroutines, defer.DeferredLock())
    check(coroutines, defer.DeferredSemaphore(1), frames)
    check(generators, defer.DeferredSemaphore(1))
    check(callbacks, defer.DeferredLock())
    check(items, defer.DeferredQueue())
    check(others, OwnCallback, defer.DeferredQueue())
    check(others, NoDeferred, defer.DeferredQueue())
    check(other_holders, defer.DeferredLock())
    check(other_holders, defer.DeferredSemaphore(1))

def deep(frames):
    return deep(frames - 1) if frames else all_of_them()
"""


@pytest.mark.parametrize(
    "how",
    [
        "all_of_them()",
        "all_of_them(50)",
        "deep(300)",
        "deep(700)",
        "sys.setrecursionlimit(250); all_of_them()",
        "sys.setrecursionlimit(10**6); all_of_them()",
    ],
)
def test_all_get_their_turn(how):
    run_script("deferrous", HANDED_OVER.format(count=5000) + how)


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
def test_all_get_their_turn_on_a_thread(size):
    end = f"""
caught = []
def run():
    try:
        all_of_them()
    except BaseException as error:
        caught.append(error)
threading.stack_size({size} << 10)
thread = threading.Thread(target=run)
thread.start()
thread.join()
assert not caught, caught
"""
    run_script("deferrous", HANDED_OVER.format(count=2000) + end)


def order_of_hand_overs(defer, count):
    """Who begins and ends when, where each releases before it is done."""
    log, lock = [], defer.DeferredLock()
    lock.acquire()

    def held(lock, i):
        log.append(("begins", i))
        lock.release()
        log.append(("ends", i))
        return i

    for i in range(count):
        lock.acquire().addCallback(held, i).addCallback(lambda i: log.append(("after", i)))
    lock.release()
    return log


def test_the_order_is_twisted_s_as_far_as_twisted_manages():
    script = """
import sys
import textwrap
sys.path.insert(0, {path!r})
from twisted.internet import defer as theirs
from test_recursion import order_of_hand_overs
for count in (1, 5, 50, 99):
    assert order_of_hand_overs(defer, count) == order_of_hand_overs(theirs, count), count
assert sorted(order_of_hand_overs(defer, 3000)) == sorted(
    (what, i) for what in ("after", "begins", "ends") for i in range(3000)
)
"""
    run_script("deferrous", script.format(path=os.path.dirname(__file__)))


def test_greenlets_that_stop_within_a_hand_over():
    """Their levels are not those of the one that goes on; what they put off, they do."""
    script = """
import greenlet
main = greenlet.getcurrent()
sleepers = []
for i in range(150):
    queue = defer.DeferredQueue()
    log = []
    def sleep(_, queue=queue, log=log):
        log.append("asleep")
        main.switch()
        log.append("awake")
        queue.put("second")
        log.append("put")
    queue.get().addCallback(sleep)
    queue.get().addCallback(log.append)
    sleeper = greenlet.greenlet(queue.put)
    sleeper.switch("first")
    assert log == ["asleep"]
    sleepers.append((sleeper, log))
done = []
lock = defer.DeferredLock()
lock.acquire()
for i in range(1000):
    lock.acquire().addCallback(lambda _, i=i: done.append(i) or lock.release())
lock.release()
assert done == list(range(1000)) and not lock.locked
for sleeper, log in sleepers[::2] + sleepers[1::2]:
    sleeper.switch()
    assert sleeper.dead and sorted(log) == ["asleep", "awake", "put", "second"], log
queue = defer.DeferredQueue()
queue.get().addCallback(done.append)
queue.put("last")
assert done[-1] == "last"
"""
    run_script("deferrous", script)


def test_an_error_on_the_way_loses_nothing():
    """`Failure` cannot be made for one of those that were put off: the others run all the same."""
    script = """
def broken(self, *args, **kwargs):
    raise MemoryError("no failure")
init = failure.Failure.__init__
lock = defer.DeferredLock()
lock.acquire()
done = []
def held(_, i):
    done.append(i)
    lock.release()
    if i == 150:
        failure.Failure.__init__ = broken
        raise ValueError(i)
    failure.Failure.__init__ = init
ds = [lock.acquire().addCallback(held, i) for i in range(1000)]
lock.release()
assert done == list(range(1000)) and not lock.locked
failure.Failure.__init__ = init
d = ds[150]
seen = []
d.addBoth(seen.append)
assert len(seen) == 1, "it is not being run"
errors = []
for d in ds:
    d.addErrback(lambda f: errors.append(f.type))
assert errors == [MemoryError]
"""
    run_script("deferrous", script)


@pytest.mark.parametrize("add", ["addCallback", "addBoth"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_that_cannot_be_made_does_not_stop_the_chain(add, when):
    script = f"""
def broken(self, *args, **kwargs):
    raise MemoryError("no failure")
init = failure.Failure.__init__
def raising(_):
    failure.Failure.__init__ = broken
    raise ValueError("x")
a, b, log = defer.Deferred(), defer.Deferred(), []
a.addCallback(b.callback).addBoth(log.append)
try:
    if {when!r} == "before":
        b.{add}(raising).addBoth(log.append)
        a.callback(1)
    else:
        a.callback(1)
        b.{add}(raising)
except MemoryError:
    pass
failure.Failure.__init__ = init
b.addBoth(log.append)
a.addBoth(log.append)
assert len(log) >= 2, log
"""
    run_script("deferrous", script)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is one for good")
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_a_stack_that_is_made_smaller(size):
    """A program can lower the limit of the main thread's stack."""
    run_script(
        "deferrous",
        f"""
        import resource, sys
        import deferrous as defer

        # Has been deep before.
        defer.succeed(1).addCallback(lambda _: defer.succeed(2).addCallback(lambda _: 3))
        most = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, ({size} << 10, most))
        sys.setrecursionlimit(100_000)
        ends = []

        def callbacks(_):
            d = defer.Deferred().addCallback(callbacks)
            try:
                d.callback(1)
            except RecursionError as error:
                ends.append(error)
            d.addErrback(ends.append)

        @defer.inlineCallbacks
        def generators():
            yield generators()

        callbacks(1)
        assert ends
        generators().addErrback(lambda failure: ends.append(failure.trap(RecursionError)))
        assert ends[-1] is RecursionError
        """,
    )


#: What nests calls without end.
NESTING = {
    "callbacks": """
        def nest(_):
            d = defer.Deferred().addCallback(nest)
            d.callback(1)
            return d
        nest(1).addErrback(ends)
    """,
    "added callbacks": """
        def nest(_):
            return defer.succeed(1).addCallback(nest)
        nest(1).addErrback(ends)
    """,
    "generators": """
        @defer.inlineCallbacks
        def nest():
            yield nest()
        nest().addErrback(ends)
    """,
    "coroutines": """
        async def nest():
            await defer.ensureDeferred(nest())
        defer.ensureDeferred(nest()).addErrback(ends)
    """,
    "maybeDeferred": """
        def nest():
            return defer.maybeDeferred(nest)
        nest().addErrback(ends)
    """,
    "cancellers": """
        def nest(d):
            other = defer.Deferred(nest)
            other.cancel()
            other.addErrback(d.errback)
        d = defer.Deferred(nest)
        try:
            d.cancel()
        except RecursionError as error:
            ends(failure.Failure(error))
        else:
            d.addErrback(ends)
    """,
    "cancellers of generators": """
        @defer.inlineCallbacks
        def wait():
            yield defer.Deferred(nest)
        def nest(_):
            wait().addErrback(ends).cancel()
        wait().addErrback(ends).cancel()
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all of a stack is there at once")
@pytest.mark.parametrize("when", ["at_once", "deep_before"])
@pytest.mark.parametrize("size", [0, 100, 500])
@pytest.mark.parametrize("how", NESTING, ids=lambda name: name.replace(" ", "_"))
def test_a_stack_that_grows_no_more(how, size, when):
    """As that of the main thread where a process may have no more memory."""
    before = "nest(50)" if when == "deep_before" else ""
    run_script(
        "deferrous",
        f"""
import sys
{LITTLE_STACK}
def nest(levels):
    if levels:
        defer.succeed(levels - 1).addCallback(nest)

{before}
stop_the_stack({size})
sys.setrecursionlimit(100_000)
reasons = []

def ends(failure):
    reasons.append(failure.type)

def run():
{textwrap.indent(textwrap.dedent(NESTING[how]), "    ")}

run()
assert RecursionError in reasons, reasons
# What comes then has the stack that there is.
run()
defer.succeed(1).addCallback(reasons.append)
assert reasons[-1] == 1
""",
    )


#: Objects that use us when they are asked for their class.
ASKED = {
    "maybeDeferred": "defer.maybeDeferred(Odd)",
    "a generator that yields it": "defer.inlineCallbacks(lambda: (yield Odd()))()",
    "a generator that returns it": "ended()",
    "a callback that returns it": "defer.succeed(1).addCallback(lambda _: Odd())",
}


@pytest.mark.parametrize("limit", [60, 1000])
@pytest.mark.parametrize("how", ASKED, ids=lambda name: name.replace(" ", "_"))
def test_a_class_that_is_asked_from_within(how, limit):
    """It is asked once at each level, and that there is no more stack is not lost."""
    run_script(
        "deferrous",
        f"""
        import deferrous as defer

        asked = 0

        class Odd:
            @property
            def __class__(self):
                global asked
                asked += 1
                if asked < {limit}:
                    nest()
                return Odd

        @defer.inlineCallbacks
        def ended():
            return Odd()
            yield

        def nest():
            d = {ASKED[how]}
            d.addErrback(lambda failure: failure.trap(RecursionError))

        try:
            nest()
        except RecursionError:
            pass
        assert asked <= 4 * {limit}, asked
        """,
    )


#: What of ours asks an object something that its class may do in Python. `again` does that again.
ENTERED = {
    "in a line": "again in line()",
    "remove": "line().remove(again)",
    "index": "line().index(again)",
    "count": "line().count(again)",
    "sort": "line().sort(key=again)",
    "extend": "line().extend(again)",
    "an index": "line()[again]",
    "pop": "line().pop(again)",
    "insert": "line().insert(again, 1)",
    "times": "line() * again",
    "a line compared": "line(again) == [3, 4, 5]",
    "a line's text": "repr(line(again))",
    "a Deferred's text": "repr(defer.succeed(again))",
    "paused": "D().paused = again",
    "_callbacks": "D()._callbacks = again",
    "result": "D().result = again",
    "_suppressAlreadyCalled": "D()._suppressAlreadyCalled = again",
    "a flag of a list": "defer.DeferredList([D()]).consumeErrors = again",
    "a flag for a list": "defer.DeferredList([D()], consumeErrors=again)",
    "whether it succeeded": "defer.DeferredList([D()])._cbDeferred(1, 0, again)",
    "a place": "defer.DeferredList([D()])._cbDeferred(1, again, True)",
    "tokens": "defer.DeferredSemaphore(again)",
    "setDebugging": "defer.setDebugging(again)",
    "a backlog": "defer.DeferredQueue(backlog=again).get()",
    "a size": "defer.DeferredQueue(size=again).put(1)",
    "pending": "defer.DeferredQueue().pending = again",
    "what is no coroutine": "defer.ensureDeferred(again)",
    "asFuture": "D().asFuture(again)",
    "fromFuture": "D.fromFuture(again, scheduler=print)",
    "chainDeferred": "D().chainDeferred(again)",
    "__setstate__": "D().__setstate__(again)",
    "a Failure": "failure.Failure(again)",
}


@pytest.mark.parametrize("limit", [1000, 100_000])
@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("what", ENTERED, ids=lambda name: name.replace(" ", "_"))
def test_what_asks_an_object_nests(what, size, limit):
    """It ends with RecursionError, also where the stack is small, and does not end the process."""
    run_script(
        "deferrous",
        f"""
        import sys
        import threading

        D = defer.Deferred
        entered = 0

        def go(*args):
            global entered
            entered += 1
            if entered > 20_000:
                raise RecursionError
            {ENTERED[what]}

        class Again(Exception):
            __hash__ = object.__hash__
            __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __index__ = __iter__ = go
            __repr__ = __getattr__ = __setattr__ = __call__ = keys = go
            __class__ = property(go)

        def line(*items):
            queue = defer.DeferredQueue()
            queue.pending = [*items, 1, 2]
            return queue.pending

        again = Again()

        def check():
            try:
                go()
            except Exception as error:
                errors.append(error)

        errors = []
        sys.setrecursionlimit({limit})
        threading.stack_size({size} << 10)
        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
        assert entered > 10 or errors, entered
        """,
    )


NESTED = {
    "Deferreds": """
        whole = 1
        for _ in range(100_000):
            whole = [defer.succeed(whole)]
        texts = [lambda: repr(whole), lambda: str(whole[0])]
    """,
    "lines": """
        def nested():
            whole = [1]
            for _ in range(100_000):
                queue = defer.DeferredQueue()
                queue.put(whole)
                whole = queue.pending
            return whole
        one, other = nested(), nested()
        texts = [lambda: repr(one), lambda: str(one), lambda: one == other]
    """,
}


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("what", NESTED)
def test_texts_and_comparisons_of_what_is_deep(what, size):
    """They end with RecursionError, too."""
    run_script(
        "deferrous",
        f"""
        import threading

        def check():
{textwrap.indent(textwrap.dedent(NESTED[what]), "            ")}
            for text in texts:
                try:
                    text()
                except RecursionError as error:
                    errors.append(error)

        errors = []
        threading.stack_size({size} << 10)
        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
        assert len(errors) >= 2
        """,
    )


@pytest.mark.parametrize("kibibytes", [64, 72, 96])
def test_one_after_the_other_on_a_very_small_stack(kibibytes):
    """Where there is no room for two that release within each other, they do so in turn."""
    run_script(
        "deferrous",
        f"""
        import threading

        def run():
            lock, count = defer.DeferredLock(), [0]

            async def hold():
                async with lock:
                    count[0] += 1

            def release(_):
                count[0] += 1
                lock.release()

            lock.acquire()
            held = [defer.ensureDeferred(hold()) for _ in range(500)]
            for _ in range(500):
                lock.acquire().addCallback(release)
            lock.release()
            counts.append(count[0])

        counts = []
        threading.stack_size({kibibytes} << 10)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert counts == [1000], counts
        """,
    )
