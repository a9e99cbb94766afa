"""`trace` changes nothing for the program, and survives whatever the program does."""

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from functools import partial

import deferrous as defer
import pytest
from helpers import ignore, run_script
from trace_helpers import add, check, kinds
from tracking_helpers import NEVER, Own, WithInit

pytestmark = pytest.mark.deferrous_only


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
