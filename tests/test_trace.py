"""trace: what happens to Deferreds, one event after the other."""

import gc
import io
import json
import os
import subprocess
import sys
import threading
import weakref
from functools import partial

import deferrous as defer
import pytest
from deferrous import _trace, concurrency
from helpers import ignore, raiser, run_script
from test_tracking import MADE, NEVER, Own, WithInit, wait_for

pytestmark = pytest.mark.deferrous_only


def kinds(t):
    for each in t.events:
        json.dumps(each.to_dict())
        repr(each)
    check(t.to_chrome())
    return [each.kind for each in t.events]


def words(t):
    return [str(each).partition(", File")[0] for each in t.events]


#: What each kind of event has, as Google's "Trace Event Format" says, and of which type.
FORMAT = {
    "M": {"args": dict},
    "X": {"ts": float, "dur": float, "args": dict},
    "b": {"ts": float, "cat": str, "id2": dict, "args": dict},
    "e": {"ts": float, "cat": str, "id2": dict, "args": dict},
    "s": {"ts": float, "cat": str, "id": int},
    "f": {"ts": float, "cat": str, "id": int, "bp": str},
    "i": {"ts": float, "s": str, "args": dict},
}


def check(chrome):
    """Look at all that the format asks of a file, and Perfetto, which cuts times to nanoseconds."""
    text = json.dumps(chrome, allow_nan=False)
    chrome = json.loads(text)
    assert set(chrome) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert chrome["displayTimeUnit"] in ("ms", "ns")
    opened, ended, flows = {}, set(), {}
    slices, named, strands = {}, set(), set()
    for place, event in enumerate(chrome["traceEvents"]):
        phase = event["ph"]
        asked = {"ph": str, "name": str, "pid": int, "tid": int, **FORMAT[phase]}
        assert set(event) == set(asked)
        assert all(type(event[key]) is kind for key, kind in asked.items())
        if phase == "M":
            named.add((event["name"], event["tid"]))
            assert set(event["args"]) == {"name"}
            continue
        strands.add(event["tid"])
        assert all(type(it) in (str, bool, int) for it in event.get("args", {}).values())
        event["at"] = at = int(event["ts"] * 1000)
        assert at >= 0
        if phase == "X":
            end = at + int(event["dur"] * 1000)
            assert end > at
            slices.setdefault(event["tid"], []).append((at, end, place))
        elif phase == "b":
            (local,) = event["id2"].values()
            assert event["id2"] == {"local": local}
            assert local not in opened
            assert local not in ended
            opened[local] = event
        elif phase == "e":
            local = event["id2"]["local"]
            begun = opened.pop(local)
            ended.add(local)
            assert (begun["cat"], begun["name"]) == (event["cat"], event["name"])
            assert begun["at"] < at
        elif phase in "sf":
            flows.setdefault(event["id"], []).append((event, place))
        else:
            assert event["s"] == "t"
    assert not opened
    assert ("process_name", 0) in named
    assert {("thread_name", each) for each in strands} <= named
    # What is in a thread is nested.
    for each in slices.values():
        inner = []
        for begin, end, _ in sorted(each):
            while inner and inner[-1] <= begin:
                inner.pop()
            assert not inner or end <= inner[-1]
            inner.append(end)
    # Each arrow begins and ends once, with a slice of its thread that comes before it in the file.
    for (begin, first), (end, second) in flows.values():
        assert (begin["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert (begin["cat"], begin["name"]) == (end["cat"], end["name"])
        assert begin["at"] < end["at"]
        for event, written in ((begin, first), (end, second)):
            assert any(a == event["at"] and at < written for a, _, at in slices[event["tid"]])
    return flows


def add(result, more=1):
    return result + more


class Callable:
    def __call__(self, result):
        return result

    def method(self, result):
        return result


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


def test_the_last_events_are_kept():
    with defer.trace(capacity=10) as t:
        for _ in range(100):
            defer.Deferred().callback(1)
    assert len(t.events) == 10
    assert t.lost == 190
    assert t.timeline().startswith("... 190 earlier events are lost ...\n")
    kinds(t)
    with pytest.raises(ValueError, match="one event at least"):
        defer.trace(capacity=0)


def test_long_texts_are_cut():
    with defer.trace() as t:
        for _ in range(1000):
            defer.Deferred().callback(1)
    assert len(t.timeline().splitlines()) == 1001
    assert "... 1,000 events ..." in t.timeline()
    assert len(t.timeline(limit=None).splitlines()) == 2000
    assert len(t.timeline(limit=3).splitlines()) == 4


def test_traces_within_each_other():
    with defer.trace() as outer:
        defer.Deferred()
        with defer.trace(capacity=2) as inner:
            for _ in range(3):
                defer.Deferred()
            assert len(inner.events) == 2
        defer.Deferred()
        assert len(outer.events) == 5
    defer.Deferred()
    assert (len(outer.events), len(inner.events)) == (5, 2)
    with pytest.raises(RuntimeError), outer, outer:
        pass


def test_with_tracking():
    with defer.track(), defer.trace() as t:
        d = defer.Deferred()
        assert d in {each.deferred for each in defer.pending().deferreds}
        with defer.trace():
            pass
        assert d in {each.deferred for each in defer.pending().deferreds}
        defer.track(False)
        defer.Deferred()
        defer.track()
    assert kinds(t) == ["made", "made"]
    defer.track(False)
    del d


def test_nothing_is_kept_alive():
    class Thing:
        def method(self, result):
            return result

        def __call__(self, result):
            return result

    thing = Thing()
    with defer.trace() as t:
        d = Own()
        d.addCallback(thing.method).addCallback(thing).addCallback(partial(thing.method))
        d.callback(1)
        reference, of_d = weakref.ref(thing), weakref.ref(d)
        del thing, d
        assert reference() is None
        assert of_d() is None
    assert kinds(t).count("callback") == 3


def test_nobody_is_asked():
    class Meta(type):
        def __getattribute__(cls, name):
            raise AssertionError(name)

    class Hostile(metaclass=Meta):
        def __getattribute__(self, name):
            raise AssertionError(name)

        def __repr__(self):
            raise AssertionError

        def __call__(self, result):
            return result

    class Partial(partial):
        def __getattribute__(self, name):
            raise AssertionError(name)

    with defer.trace() as t:
        d = defer.Deferred()
        d.addCallback(Hostile()).addCallback(Partial(add))
        d.callback(1)
    assert kinds(t).count("callback ended") == 2
    assert d.result == 2


def test_results_are_the_same():
    """What is watched runs another way."""

    def run():
        log = []

        @defer.inlineCallbacks
        def work(d):
            try:
                log.append((yield d))
            except ValueError:
                log.append("error")
            log.append((yield defer.succeed(3)))
            return "done"

        for fire in ("callback", "errback"):
            d = WithInit()
            d.addCallback(add, 2).addCallback(add, more=3).addErrback(lambda f: f)
            d.addBoth(lambda r: r)
            result = work(d)
            getattr(d, fire)(1 if fire == "callback" else ValueError())
            result.addBoth(log.append)
            other = defer.Deferred()
            other.addCallback(NEVER.__class__().callback)
            defer.succeed(4).addCallback(other.callback)
            log.append(other.called)
            again = defer.succeed(5)
            again.addCallback(lambda r, d=again: d.addCallback(log.append) and r)
        return log

    plain = run()
    with defer.trace() as t:
        assert run() == plain
    kinds(t)


def test_a_callback_may_turn_it_on_and_off():
    t = defer.trace()
    d = defer.Deferred()
    d.addCallback(lambda _: t.__enter__() and None)
    d.addCallback(ignore)
    d.addCallback(lambda _: t.__exit__(None, None, None))
    d.addCallback(ignore)
    d.callback(1)
    kinds(t)
    assert "callback" in kinds(t)


def test_threads():
    def work():
        for _ in range(100):
            d = defer.Deferred()
            d.addCallback(add)
            d.callback(1)

    with defer.trace() as t:
        threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert t.events is not None
        for thread in threads:
            thread.join()
    assert len({each.strand for each in t.events}) >= 1
    assert len(t.events) == 1200
    kinds(t)


def test_greenlets():
    greenlet = pytest.importorskip("greenlet")
    main = greenlet.getcurrent()

    def switch(result):
        main.switch()
        return result

    def work():
        d = defer.Deferred()
        d.addCallback(switch)
        d.callback(1)

    with defer.trace() as t:
        some = [greenlet.greenlet(work) for _ in range(3)]
        for each in some:
            each.switch()
        for each in some:
            each.switch()
    assert len({each.strand for each in t.events}) == 3
    assert kinds(t).count("callback ended") == 3


def test_one_that_cannot_begin():
    """It has not begun, and does not end another."""
    never = defer.trace(capacity=2**70)
    with defer.trace() as other:
        with pytest.raises(OverflowError), never:
            pass
        assert never.events == []
        never.__exit__(None, None, None)
        defer.Deferred()
        with pytest.raises(OverflowError), never:
            pass
    assert [each.kind for each in other.events] == ["made"]


def test_times_are_not_cut():
    """Perfetto makes nanoseconds of microseconds, and cuts off what is behind the point."""
    for first in (0, 10**6, 10**9, 3_600 * 10**9, 10**15):
        for number in range(first, first + 3000):
            assert int(_trace._microseconds(number) * 1000) == number


def test_many_slices_within_each_other():
    """As short as they are, each is in its outer one."""

    def inner(_, depth):
        for _ in range(3):
            d = defer.Deferred()
            if depth:
                d.addCallback(inner, depth - 1)
            d.addCallback(add)
            d.callback(1)

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


def test_the_environment(tmp_path):
    script = "import deferrous\nd = deferrous.Deferred()\nd.addCallback(print)\nd.callback(1)\n"

    def run(file, more=""):
        environment = dict(os.environ, DEFERROUS_TRACE=str(file))
        return subprocess.run(
            [sys.executable, "-c", script + more],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )

    done = run(tmp_path / "trace {pid}.json")
    assert (done.stdout, done.stderr) == ("1\n", "")
    (file,) = tmp_path.iterdir()
    check(json.loads(file.read_text(encoding="utf-8")))
    file.unlink()
    assert "cannot be written" in run(tmp_path / "no" / "such" / "folder").stderr
    assert run("").stderr == ""
    if hasattr(os, "fork"):
        run(tmp_path / "one", "import os, sys\nif not os.fork(): sys.exit()\nos.wait()\n")
        check(json.loads((tmp_path / "one").read_text(encoding="utf-8")))


def test_a_collection_meanwhile():
    class Ring(defer.Deferred):
        def __del__(self):
            defer.Deferred().addCallback(add).callback(1)

    with defer.trace() as t:
        for _ in range(100):
            ring = Ring()
            ring.addCallback(lambda _, ring=ring: ring)
        del ring
        gc.collect()
    assert kinds(t).count("callback ended") == 100


def test_without_memory():
    script = """
    try:
        import _testcapi
    except ImportError:
        raise SystemExit
    def work():
        d = defer.Deferred()
        d.addCallback(str)
        d.callback(1)
    for start in range(1, 80):
        t = defer.trace()
        try:
            _testcapi.set_nomemory(start, start + 3)
            try:
                with t:
                    for _ in range(5):
                        work()
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            pass
        try:
            t.events
        except MemoryError:
            pass
    assert not defer._deferrous._trace_strands() or True
    with defer.trace() as t:
        work()
    assert len(t.events) == 4
    """
    run_script("deferrous", script)


def test_hostile_names():
    names = {}
    exec(compile("def new(r): return r", "a\n\ud800", "exec"), names)
    with defer.trace() as t:
        defer.Deferred().addCallback(names["new"]).callback(1)
    kinds(t)
    t.timeline().encode("utf-8")
    assert "\n" not in str(t.events[2])
