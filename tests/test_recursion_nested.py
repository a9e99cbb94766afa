"""Nested calls through Python's own protocols, on small and on growing stacks."""

import sys
import textwrap

import pytest
from helpers import LITTLE_STACK, run_script

pytestmark = pytest.mark.deferrous_only

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
import logging, sys
{LITTLE_STACK}
def nest(levels):
    if levels:
        defer.succeed(levels - 1).addCallback(nest)

class Reported(logging.Handler):
    # CPython 3.12 counts calls of C functions as well: it may be `append` that is one too many.
    def emit(self, record):
        reasons.append(record.exc_info[0])

logging.getLogger().addHandler(Reported())
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


#: Our functions that call a special method of an object. `again` calls the function again.
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
    "a flag for a list": "defer.DeferredList([D()], consumeErrors=again)",
    "whether it succeeded": "defer.DeferredList([D()])._cbDeferred(1, 0, again)",
    "a place": "defer.DeferredList([D()])._cbDeferred(1, again, True)",
    "tokens": "defer.DeferredSemaphore(again)",
    "a backlog": "defer.DeferredQueue(backlog=again).get()",
    "a size": "defer.DeferredQueue(size=again).put(1)",
    "pending": "q = defer.DeferredQueue(); q.pending = again; q.put(1)",
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
            queue.pending.extend([*items, 1, 2])
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
