"""Garbage collections at any moment, and other unusual states of the interpreter."""

import gc
import os
import subprocess
import sys
import sysconfig
import textwrap
import weakref

import pytest
from helpers import ignore, run_script


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_base_exceptions_do_not_stop_the_program(implementation, error):
    script = f"""
        def stop(_):
            raise {error}
        d = defer.succeed(None).addCallback(stop).addErrback(lambda f: f.type)
        print(d.result.__name__)

        @defer.inlineCallbacks
        def function():
            yield
            raise {error}

        print(function().addErrback(lambda f: f.type).result.__name__)
    """
    assert run_script(implementation, script).stdout.split() == [error, error]


HAMMER = """
    import contextvars, copy, gc, pickle, weakref
    warnings = __import__("warnings")
    warnings.simplefilter("ignore")
    kept = []

    @defer.inlineCallbacks
    def generator(d, depth):
        if depth:
            return (yield generator(d, depth - 1))
        try:
            return (yield d)
        except ValueError as e:
            return e.args

    async def coroutine(d):
        return await d

    class Sub(defer.Deferred):
        def __init__(self):
            super().__init__(lambda d: None)
            self.me = self

    def go():
        for cls in (defer.Deferred, Sub):
            d, e = cls(), cls()
            d.addCallback(lambda r, *a, **k: (r, a, k), 1, [2], key={3})
            d.addCallbacks(lambda r: e, lambda f: e, callbackArgs=())
            d.loop = weakref.ref(d), [d]
            e.addCallback(lambda _: 1 / 0)
            d.callback(object())
            e.callback([])
            assert d.result.check(ZeroDivisionError), d
            copy.copy(d.result)
            d.addErrback(lambda f: pickle.loads(pickle.dumps(f)).getTraceback())
            assert "ZeroDivisionError" in d.result
            a, b, c = cls(), cls(), cls()
            runs = [generator(a, 3), defer.ensureDeferred(coroutine(b)),
                    generator(c, 1)]
            a.callback("value")
            b.errback(ValueError("b"))
            runs[2].cancel()
            assert runs[0].result == "value"
            assert runs[1].result.check(ValueError)
            for run in runs:
                run.addErrback(lambda f: f.cleanFailure())
            cls().pause()
            w = cls()
            w.addCallback(lambda _: w)
            w.callback(None)
            kept[:] = [cls().addCallback(kept.append, d) for _ in range(3)]
            defer.fail(ValueError()).addBoth(lambda f: None)
            iter(cls())
            f = failure.Failure.__new__(failure.Failure)
            f.me = f
            f.__dict__ = {"me": f}

    for threshold in (1, 2, 7):
        gc.set_threshold(threshold, 1, 1)
        for _ in range(ROUNDS):
            go()
    gc.set_threshold(700, 10, 10)
    kept.clear()
    gc.collect()
    left = [o for o in gc.get_objects() if isinstance(o, defer.Deferred)]
    assert len(left) == 0, left
    print("survived")
"""


def test_collections_at_every_allocation(implementation):
    done = run_script(implementation, HAMMER.replace("ROUNDS", "5"))
    assert done.stdout == "survived\n"
    assert done.stderr == ""


def test_collected_with_all_kinds_of_edges(defer):
    """A cycle through anything that a Deferred holds is found."""

    class Value:
        """Weakly referenceable, and can hold attributes."""

    def build(holder):
        yield defer.succeed(holder)
        yield defer.Deferred(lambda d: holder)
        yield defer.Deferred().addCallback(lambda _: holder)
        yield defer.Deferred().addErrback(lambda _: holder)
        yield defer.Deferred().addCallback(ignore, holder)
        yield defer.Deferred().addBoth(ignore, key=holder)
        yield defer.Deferred().addCallbacks(ignore, ignore, errbackArgs=(holder,))
        yield defer.Deferred().addCallbacks(ignore, ignore, callbackKeywords={"key": holder})
        d = defer.Deferred()
        d.attribute = holder
        yield d
        inner = defer.Deferred()
        inner.attribute = holder
        yield defer.succeed(None).addCallback(lambda _: inner)
        handled = defer.fail(ValueError(holder))
        handled.addErrback(lambda f: [f])
        yield handled
        waiting = defer.Deferred()

        async def coroutine(holder):
            await waiting
            return holder

        yield defer.ensureDeferred(coroutine(holder))
        yield iter(waiting)

    count = sum(1 for _ in build(Value()))
    for n in range(count):
        holder = Value()
        holder.edge = list(build(holder))[n]
        reference = weakref.ref(holder)
        assert reference() is not None
        del holder
        gc.collect()
        assert reference() is None, n


@pytest.mark.deferrous_only
def test_subinterpreter():
    """It says no, instead of sharing objects between interpreters."""
    script = """
        import textwrap
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        code = textwrap.dedent('''
            try:
                import deferrous
            except ImportError as error:
                assert "subinterpreters" in str(error), error
            else:
                raise AssertionError("imported")
        ''')
        try:
            other = interpreters.create("legacy")
        except TypeError:
            other = interpreters.create()
        failed = interpreters.run_string(other, code)
        assert failed is None, failed
        interpreters.destroy(other)
        print("refused")
    """
    assert run_script("deferrous", script).stdout == "refused\n"


@pytest.mark.deferrous_only
@pytest.mark.parametrize("environment", [{"PYTHON_GIL": "0"}, {"PYTHON_GIL": "1"}, {}], ids=str)
def test_process_without_the_gil(environment):
    """On a free-threaded build the import leaves it off, or on where it was told to be."""
    script = """
        import sys
        before = getattr(sys, "_is_gil_enabled", lambda: True)()
        import deferrous, deferrous.concurrency, deferrous.testing
        assert getattr(sys, "_is_gil_enabled", lambda: True)() == before
        print("on" if before else "off")
    """
    is_free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    environment = {**os.environ, **(environment if is_free else {})}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    on = not is_free or environment.get("PYTHON_GIL") == "1"
    assert done.stdout == ("on\n" if on else "off\n"), done.stderr


@pytest.mark.deferrous_only
@pytest.mark.parametrize("clears", [0, 1, 5])
def test_type_that_changes_its_mind(clears):
    """A class of ordinary objects that from some moment on pass for failures.

    Where CPython's cache of types is cleared in between, it may count anew.
    """
    script = f"""
        import sys

        class Honest:
            pass

        class Lies:
            __class__ = property(lambda self: failure.Failure)

        classes = [type(f"C{{i}}", (Honest,), {{}}) for i in range(200)]
        for cls in classes:
            kept = cls()
            assert defer.succeed(kept).addCallback(lambda it: it).result is kept
        for cls in classes:
            cls.__bases__ = (Lies,)
        for _ in range({clears}):
            getattr(sys, "_clear_type_cache", int)()
            for cls in classes:
                cls.__name__
                got = []
                d = defer.Deferred()
                d.addCallbacks(lambda it: got.append("value"), lambda it: got.append("failure"))
                d.callback(cls())
                assert got == ["failure"], (cls, got)
    """
    run_script("deferrous", script)


@pytest.mark.parametrize("make", ["Deferred", "DeferredLock", "DeferredQueue"])
@pytest.mark.parametrize("subclass", [False, True])
def test_dict_of_two_objects(defer, make, subclass):
    """That one of them dies in a cycle takes nothing from the other."""
    cls = getattr(defer, make)
    if subclass:
        cls = type("Sub", (cls,), {})
    live, dies = cls(), cls()
    live.attribute = 1
    dies.__dict__ = live.__dict__
    if make == "Deferred":
        dies.addCallback(lambda _, it=dies: it)
    elif make == "DeferredLock":
        dies.waiting = [dies]
    else:
        dies.size = dies
    seen = weakref.ref(dies)
    del dies
    gc.collect()
    assert live.attribute == 1
    if defer.__name__ == "deferrous":
        assert seen() is None
