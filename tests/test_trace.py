"""`trace`: the recorded events."""

import io
import json
import sys
from functools import partial

import deferrous as defer
import pytest
from deferrous import _perfetto, concurrency
from helpers import ignore, raiser, run_script
from trace_helpers import Callable, add, check, kinds, words
from tracking_helpers import MADE, NEVER, wait_for

pytestmark = pytest.mark.deferrous_only


def test_a_callback():
    with defer.trace() as t:
        d = defer.Deferred()
        d.addCallback(add)
        d.callback(1)
    assert kinds(t) == ["made", "fired", "callback", "callback ended"]
    assert words(t) == [
        "Deferred 1 made",
        "Deferred 1 fired with a result",
        "Deferred 1 callback add",
        "Deferred 1 callback ended with a result",
    ]
    made = t.events[0].to_dict()["place"]
    assert (made["file"], made["function"].rpartition(".")[2]) == (__file__, "test_a_callback")
    assert len(check(t.to_chrome())) == 1
    times = [each.time for each in t.events]
    assert times == sorted(times)
    assert times[0] >= 0
    assert t.lost == 0


CALLBACKS = {
    "function": (add, "add"),
    "with an argument": (add, "add"),
    "lambda": (lambda r: r, "<lambda>"),
    "method": (Callable().method, "Callable.method" if sys.version_info >= (3, 11) else "method"),
    "object": (Callable(), "Callable.__call__" if sys.version_info >= (3, 11) else "__call__"),
    "partial": (partial(add, more=2), "add"),
    "partial of a partial": (partial(partial(add), more=2), "add"),
    "builtin": (id, "id"),
    "class": (str, "str"),
    "method in C": ([].append, "append"),
    "of ours": (NEVER.addTimeout, "addTimeout"),
}


@pytest.mark.parametrize(("callback", "name"), CALLBACKS.values(), ids=CALLBACKS)
@pytest.mark.parametrize("how", ["before", "after", "both", "errback"])
def test_callbacks_of_all_kinds(callback, name, how):
    with defer.trace() as t:
        d = defer.Deferred()
        if how == "after":
            d.callback(1)
            d.addCallback(callback)
        elif how == "both":
            d.addBoth(callback)
            d.callback(1)
        elif how == "errback":
            d.addErrback(callback)
            d.errback(ValueError())
        else:
            d.addCallback(callback)
            d.callback(1)
    d.addErrback(ignore)
    found = [str(each).partition(", File")[0] for each in t.events if each.kind == "callback"]
    assert found == [f"Deferred 1 callback {name}"]
    assert kinds(t).count("callback ended") == 1


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_is_made_by_anything_is_seen(make):
    make, number = make
    with defer.trace() as t:
        kept = make()
    found = [each for each in t.events if each.kind == "made"]
    assert len(found) >= number
    kinds(t)
    del kept


@pytest.mark.parametrize(
    "make",
    [
        lambda: defer.succeed(1),
        lambda: defer.succeed(NEVER.__class__),
        lambda: defer.maybeDeferred(add, 1),
        lambda: defer.execute(add, 1),
        lambda: defer.DeferredList([]),
        lambda: defer.DeferredLock().acquire(),
        lambda: defer.DeferredQueue().put(1),
    ],
)
def test_those_made_fired(make):
    with defer.trace() as t:
        kept = make()
    found = kinds(t)
    assert found.count("made") == found.count("fired") == (0 if kept is None else 1)


def test_generators():
    @defer.inlineCallbacks
    def work(first, second):
        yield first
        yield second
        return 3

    with defer.trace() as t:
        first, second = defer.Deferred(), defer.Deferred()
        d = work(first, second)
        first.callback(1)
        second.callback(2)
    name = "test_generators.<locals>.work" if sys.version_info >= (3, 11) else "work"
    assert words(t) == [
        "Deferred 1 made",
        "Deferred 2 made",
        f"{name} 1 started",
        f"{name} 1 suspended waits for Deferred 1",
        "Deferred 3 made",
        "Deferred 1 fired with a result",
        f"{name} 1 resumed with a result",
        f"{name} 1 suspended waits for Deferred 2",
        "Deferred 2 fired with a result",
        f"{name} 1 resumed with a result",
        f"{name} 1 ended",
        "Deferred 3 fired with a result",
    ]
    kinds(t)
    flows = check(t.to_chrome())
    assert len(flows) == 2
    text = t.timeline()
    assert len(text.splitlines()) == len(t.events)
    del d


def test_coroutines_that_fail():
    async def work(d):
        inner = defer.fail(KeyError())
        try:
            await inner
        except KeyError:
            pass
        await d

    with defer.trace() as t:
        d = defer.Deferred()
        result = defer.ensureDeferred(work(d))
        d.errback(ValueError("no"))
        result.addErrback(ignore)
    found = kinds(t)
    assert found.count("handled") == 3
    assert [each.detail for each in t.events if each.kind == "ended"] == ["by an exception"]
    assert found.count("failed") == 3


def test_failures():
    with defer.trace() as t:
        d = defer.succeed(None)
        d.addCallback(raiser(ValueError()))
        d.addErrback(lambda failure: failure)
        d.addErrback(ignore)
    assert kinds(t) == [
        "made",
        "fired",
        "callback",
        "callback ended",
        "failed",
        "callback",
        "callback ended",
        "callback",
        "callback ended",
        "handled",
    ]


def test_unhandled():
    script = """
    import gc, logging
    logging.disable(logging.CRITICAL)
    with defer.trace() as t:
        defer.fail(ValueError())
        d = defer.Deferred()
        d.ring = d
        d.errback(KeyError())
        del d
        gc.collect()
        d = defer.Deferred()
        d.addCallback(lambda r, d=d: d)
        d.callback(1)
    seen = [each.subject for each in t.events if each.kind == "unhandled"]
    assert seen == ["Deferred 1", "Deferred 2"], t.timeline()
    """
    run_script("deferrous", script)


def test_cancelling():
    with defer.trace() as t:
        d = defer.Deferred()
        d.addErrback(ignore)
        d.cancel()
        d.cancel()
        result = defer.ensureDeferred(wait_for(defer.Deferred()))
        result.addErrback(ignore)
        result.cancel()
    found = words(t)
    assert found[:3] == ["Deferred 1 made", "Deferred 1 cancelled", "Deferred 1 failed"]
    assert kinds(t).count("cancelled") == 3


@pytest.mark.parametrize("canceller", [ignore, partial(ignore)], ids=["function", "partial"])
def test_cancelling_with_a_canceller(canceller):
    with defer.trace() as t:
        d = defer.Deferred(canceller)
        d.addErrback(ignore)
        d.cancel()
    found = words(t)
    assert found[:3] == ["Deferred 1 made", "Deferred 1 cancelled", "Deferred 1 failed"]


def test_chaining():
    with defer.trace() as t:
        outer, inner = defer.succeed(1), defer.Deferred()
        outer.addCallback(lambda _: inner)
        inner.callback(1)
    assert "Deferred 1 chained waits for Deferred 2" in words(t)
    kinds(t)


def test_addresses_that_others_have_got():
    with defer.trace() as t:
        for _ in range(10):
            defer.Deferred().callback(1)
    subjects = [each.subject for each in t.events if each.kind == "fired"]
    assert subjects == [f"Deferred {number}" for number in range(1, 11)]


def test_what_was_there_before():
    d = defer.Deferred()
    result = defer.ensureDeferred(wait_for(d))
    with defer.trace() as t:
        d.callback(1)
    assert words(t)[0] == "Deferred 1 fired with a result"
    assert kinds(t) == ["fired", "resumed", "ended", "fired"]
    del result


def test_times_are_not_cut():
    """Perfetto makes nanoseconds of microseconds, and cuts off what is behind the point."""
    for first in (0, 10**6, 10**9, 3_600 * 10**9, 10**15):
        for number in range(first, first + 3000):
            assert int(_perfetto.microseconds(number) * 1000) == number


def test_many_slices_within_each_other():
    """As short as they are, each is in its outer one."""

    def inner(_, depth):
        for _ in range(3):
            d = defer.Deferred()
            if depth:
                d.addCallback(inner, depth - 1)
            d.addCallback(add)
            d.callback(1)
        return 1

    with defer.trace() as t:
        inner(None, 6)
    assert len(check(t.to_chrome())) > 1000


def test_consumed_failures_are_handled():
    """Whoever takes a failure away has handled it, whatever it is."""

    def gathered(d):
        return [defer.gatherResults([d], consumeErrors=True)]

    def listed(d):
        return [defer.DeferredList([d], consumeErrors=True)]

    class List(defer.DeferredList):
        pass

    class ListOfOwn(defer.DeferredList):
        def _cbDeferred(self, result, index, succeeded):
            return super()._cbDeferred(result, index, succeeded)

    ways = {
        "gathered": gathered,
        "listed": listed,
        "a subclass": lambda d: [List([d], consumeErrors=True)],
        "one that overrides": lambda d: [ListOfOwn([d], consumeErrors=True)],
        "race": lambda d: [defer.race([d])],
        "chainDeferred": lambda d: [d.chainDeferred(other := defer.Deferred()), other][1:],
        "a coroutine": lambda d: [defer.ensureDeferred(wait_for(d))],
        "concurrency.gather": lambda d: [concurrency.gather(d, return_exceptions=True)],
    }
    for before in (True, False):
        for way, make in ways.items():
            with defer.trace() as t:
                d = defer.Deferred()
                if before:
                    made = make(d)
                d.errback(ValueError())
                if not before:
                    made = make(d)
                handled = [each for each in t.events if each.kind == "handled"]
                for each in made:
                    each.addErrback(ignore)
            assert sum(each.subject == "Deferred 1" for each in handled) == 1, (way, before)
            kinds(t)
    # Who leaves it there has not.
    with defer.trace() as t:
        d = defer.Deferred()
        made = defer.DeferredList([d])
        d.errback(ValueError())
        assert "handled" not in kinds(t)
        d.addErrback(ignore)
    del made


def test_files(tmp_path):
    path = tmp_path / "trace.json"
    with defer.trace(file=path) as t:
        defer.Deferred().callback(1)
    check(json.loads(path.read_text(encoding="utf-8")))
    file = io.StringIO()
    t.write(file)
    assert file.getvalue() == path.read_text(encoding="utf-8")
