"""Wrong, hostile and re-entrant use: a clear answer, and never a crash."""

import functools
import gc
import os
import subprocess
import sys
import sysconfig
import textwrap
import types
import warnings
import weakref

import pytest
from helpers import Recorder, ignore, outcome, raiser, run_script, shown
from twisted.internet.task import Clock

# --- wrong types -----------------------------------------------------------

NOT_CALLABLE = [None, 1, "text", [], object()]


@pytest.mark.parametrize("value", NOT_CALLABLE, ids=shown)
@pytest.mark.parametrize("method", ["addCallback", "addBoth", "addCallbacks"])
def test_callback_that_cannot_be_called(defer, method, value):
    """It is found out when its turn comes, and is then an error like any other."""
    d = defer.Deferred()
    getattr(d, method)(value)
    d.callback(1)
    [f] = outcome(d)
    assert f.check(TypeError)
    assert "not callable" in f.getErrorMessage()


@pytest.mark.parametrize("value", NOT_CALLABLE, ids=shown)
def test_errback_that_cannot_be_called(defer, value):
    assert defer.succeed(1).addErrback(value).result == 1
    [f] = outcome(defer.fail(ValueError()).addErrback(value))
    assert f.check(TypeError)


@pytest.mark.parametrize(
    "options",
    [
        {"callbackArgs": 1},
        {"callbackArgs": ignore},
        {"callbackKeywords": 1},
        {"callbackKeywords": [1]},
        {"callbackKeywords": {1: 2}},
        {"callbackKeywords": {"_": "given twice"}},
        {"callbackArgs": ("one too many",)},
        {"callbackKeywords": {"unknown": 1}},
    ],
    ids=shown,
)
def test_arguments_that_do_not_fit(defer, options):
    d = defer.Deferred()
    d.addCallbacks(ignore, **options)
    d.callback(None)
    [f] = outcome(d)
    assert f.check(TypeError)


def test_iterator_of_arguments_that_raises(defer):
    def arguments():
        yield 1
        raise ValueError("from the iterator")

    d = defer.succeed(None).addCallbacks(Recorder(), callbackArgs=arguments())
    [f] = outcome(d)
    assert f.getErrorMessage() == "from the iterator"


def test_mapping_of_keywords_that_raises(defer):
    class Mapping:
        def keys(self):
            return ["key"]

        def __getitem__(self, key):
            raise ValueError("from the mapping")

    d = defer.succeed(None).addCallbacks(Recorder(), callbackKeywords=Mapping())
    [f] = outcome(d)
    assert f.getErrorMessage() == "from the mapping"


@pytest.mark.parametrize("value", [1, "text", object()], ids=shown)
def test_canceller_that_cannot_be_called(defer, value):
    d = defer.Deferred(value)
    with pytest.raises(TypeError):
        d.cancel()
    assert not d.called


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.callback(1, 2),
        lambda d: d.errback(1, 2),
        lambda d: d.pause(1),
        lambda d: d.cancel(1),
        lambda d: d.callback(value=1),
        lambda d: d.addTimeout(),
        lambda d: d.chainDeferred(),
        lambda d: d.addCallbacks(ignore, callbackArgz=()),
    ],
)
def test_wrong_number_or_names_of_arguments(defer, call):
    d = defer.Deferred()
    with pytest.raises(TypeError):
        call(d)
    assert (d.called, d.paused) == (False, 0)


@pytest.mark.parametrize("target", [None, 1, object()], ids=shown)
def test_chain_deferred_to_no_deferred(defer, target):
    with pytest.raises(AttributeError):
        defer.Deferred().chainDeferred(target)


def test_chain_deferred_to_something_like_one(defer):
    target = types.SimpleNamespace(callback=Recorder(), errback=Recorder())
    source = defer.Deferred()
    source.chainDeferred(target)
    assert target._chainedTo is source
    source.callback("value")
    assert target.callback.calls == ["value"]


def test_clock_without_call_later(defer):
    d = defer.Deferred()
    with pytest.raises(AttributeError):
        d.addTimeout(1, object())
    d.callback("unharmed")
    assert d.result == "unharmed"


@pytest.mark.parametrize("fires", ["before", "at"])
def test_on_timeout_cancel_that_cannot_be_called(defer, fires):
    clock = Clock()
    d = defer.Deferred().addTimeout(1, clock, "not callable")
    d.callback(1) if fires == "before" else clock.advance(1)
    [result] = outcome(d)
    assert result == 1 if fires == "before" else result.check(TypeError)


def test_methods_on_something_else(defer):
    for method in ("addCallback", "callback", "cancel", "pause", "__iter__"):
        with pytest.raises((TypeError, AttributeError)):
            result = getattr(defer.Deferred, method)(object(), ignore)
            next(result)


@pytest.mark.parametrize("value", [None, 1, "text", object()], ids=shown)
@pytest.mark.parametrize("name", ["inlineCallbacks", "timeout"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_given_no_function_or_deferred(defer, name, value):
    with pytest.raises((TypeError, AttributeError)):
        getattr(defer, name)(value)()


# --- half-made instances ---------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda d: d.callback(1),
        lambda d: d.errback(ValueError()),
        lambda d: d.addCallback(ignore),
        lambda d: d.addCallbacks(ignore, ignore),
        lambda d: d.cancel(),
        lambda d: (d.pause(), d.unpause()),
        lambda d: (repr(d), str(d)),
        lambda d: next(iter(d)),
        lambda d: d.chainDeferred(d),
        lambda d: d.addTimeout(1, Clock()),
        lambda d: d._canceller,
        lambda d: d.result,
    ],
)
def test_without_init(defer, use):
    """It may work or say that something is missing."""
    for d in (defer.Deferred.__new__(defer.Deferred), new_without_init(defer)):
        assert (d.called, d.paused) == (False, 0)
        try:
            use(d)
        except AttributeError:
            pass
        if d.called:
            try:
                d.addErrback(ignore)
            except AttributeError:
                pass


def new_without_init(defer):
    class Forgetful(defer.Deferred):
        def __init__(self, *args, **kwargs):
            """Does not call the base's."""

    return Forgetful(1, key=2)


def test_without_init_as_a_result(defer):
    half = defer.Deferred.__new__(defer.Deferred)
    d = defer.succeed(None)
    try:
        d.addCallback(lambda _: half)
    except AttributeError:
        return
    assert d.called


def test_failure_without_init(failure):
    for use in (
        str,
        repr,
        lambda f: f.check(ValueError),
        lambda f: f.trap(ValueError),
        lambda f: f.raiseException(),
        lambda f: f.getTraceback(),
        lambda f: f.cleanFailure(),
        lambda f: f.frames,
        lambda f: f.__reduce__(),
    ):
        with pytest.raises(AttributeError):
            use(failure.Failure.__new__(failure.Failure))


def test_failure_without_init_as_a_result(defer, failure, reports):
    f = failure.Failure.__new__(failure.Failure)
    recorder = Recorder(None)
    d = defer.Deferred()
    d.errback(f)
    d.addErrback(recorder)
    assert recorder.calls == [f]


def test_init_again_forgets_callbacks(defer):
    recorder = Recorder()
    d = defer.Deferred().addCallback(recorder)
    d.__init__()
    d.callback("value")
    assert recorder.calls == []
    assert d.result == "value"


# --- values that misbehave -------------------------------------------------


class Hostile:
    """Answers every question that should not be asked with an error."""

    def _refuse(self, *_):
        raise AssertionError("looked at")

    __eq__ = __ne__ = __bool__ = __len__ = __hash__ = __call__ = _refuse
    __getattr__ = __iter__ = __str__ = __repr__ = _refuse


def test_values_are_not_looked_at(defer):
    value = Hostile()
    recorder = []
    d = defer.Deferred()
    d.addCallback(lambda r: recorder.append(r) or r)
    d.addErrback(raiser(AssertionError()))
    d.callback(value)
    assert recorder[0] is value
    assert d.result is value
    outer = defer.succeed(None).addCallback(lambda _: d)
    assert outer.result is value

    @defer.inlineCallbacks
    def function():
        result = yield outer
        return result

    assert function().result is value
    assert defer.maybeDeferred(lambda: value).result is value
    with pytest.raises(AssertionError):
        repr(defer.succeed(value))


def test_class_that_lies_about_being_a_failure(defer, failure):
    """`isinstance` believes it, and so does a Deferred."""

    class Liar:
        __class__ = failure.Failure

        def throwExceptionIntoGenerator(self, g):
            return g.throw(ValueError("thrown"))

    liar = Liar()
    recorder = Recorder("handled")
    d = defer.Deferred().addCallbacks(raiser(AssertionError()), recorder)
    d.callback(liar)
    assert recorder.calls == [liar]

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError as e:
            return str(e)

    assert function(defer.succeed(liar)).result == "thrown"


def test_class_that_lies_about_being_a_deferred(defer):
    """What is waited for is told by its true type."""

    class Liar:
        __class__ = defer.Deferred

    liar = Liar()
    assert defer.succeed(None).addCallback(lambda _: liar).result is liar


def test_class_lookup_that_raises(defer):
    """The question "is it a failure?" has an error for an answer."""

    class Broken:
        @property
        def __class__(self):
            raise ValueError("no class")

    d = defer.Deferred()
    with pytest.raises(ValueError, match="no class"):
        d.callback(Broken())
    assert d.called


def test_class_lookup_that_reenters(defer):
    """In which order they then run is nobody's promise, but each runs once."""

    class Reentrant:
        asked = False

        @property
        def __class__(self):
            if not self.asked:
                self.asked = True
                d.addCallback(added)
            return object

    first, added = Recorder(), Recorder()
    d = defer.Deferred().addCallback(first)
    d.callback(Reentrant())
    assert len(first.calls) == len(added.calls) == 1


@pytest.mark.parametrize("where", ["result", "argument", "callback", "canceller"])
def test_destructor_that_reenters(defer, where):
    """Things are dropped only when the Deferred is in order again."""

    class Reenters:
        def __call__(self, *_):
            return "called"

        def __del__(self):
            log.append((d.called, hasattr(d, "result")))
            try:
                d.addCallback(lambda r: log.append("added") or r)
            except AttributeError:
                # Twisted drops the canceller just before it sets the result.
                pass
            d.pause()
            repr(d)

    log = []
    d = defer.Deferred(Reenters() if where == "canceller" else None)
    if where == "argument":
        d.addCallback(lambda r, _: r, Reenters())
    elif where == "callback":
        d.addCallback(Reenters())
    d.addCallback(lambda r: None)
    d.callback(Reenters() if where == "result" else 1)
    gc.collect()
    # What is added while the Deferred is between two steps may wait for the
    # next one, and so may what its pause kept.
    d.unpause()
    d.addErrback(ignore)
    assert log[0][0] is True
    assert log.count("added") == 1


def test_destructor_that_fires_another(defer):
    class Fires:
        def __del__(self):
            other.callback("from a destructor")

    other = defer.Deferred()
    recorder = Recorder()
    other.addCallback(recorder)
    d = defer.Deferred().addCallback(lambda _: None)
    d.callback(Fires())
    gc.collect()
    assert recorder.calls == ["from a destructor"]
    assert d.result is None


def test_destructor_that_raises(defer):
    class Raises:
        def __del__(self):
            raise ValueError("ignored by the interpreter")

    seen = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda u: seen.append(u.exc_type)
    try:
        d = defer.Deferred().addCallback(lambda _: 1)
        d.callback(Raises())
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert d.result == 1
    assert seen == [ValueError]


def test_type_comparison_that_raises(defer):
    """A metaclass that cannot be compared does not get in the way for long."""

    class Meta(type):
        def __eq__(cls, other):
            raise ValueError("not comparable")

        __hash__ = type.__hash__

    class Odd(metaclass=Meta):
        pass

    value = Odd()
    d = defer.Deferred()
    try:
        d.addCallback(lambda _: value)
        d.callback(None)
    except ValueError:
        pass
    assert d.called


def test_failure_subclass_that_breaks_init(defer, failure):
    class Broken(failure.Failure):
        def __init__(self):
            """Leaves everything out."""

    recorder = Recorder(None)
    broken = Broken()
    defer.succeed(None).addCallback(lambda _: broken).addErrback(recorder)
    assert recorder.calls == [broken]


# --- re-entrance -----------------------------------------------------------


def test_canceller_that_cancels_again(implementation):
    """Endless recursion in the user's code is Python's error."""
    script = """
        def canceller(d):
            d.cancel()
        d = defer.Deferred(canceller)
        try:
            d.cancel()
        except RecursionError:
            print("RecursionError")
        print(d.called)
    """
    assert run_script(implementation, script).stdout.split() == [
        "RecursionError",
        "False",
    ]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cancel_of_a_ring(implementation, length):
    """A ring of Deferreds that wait for each other has no one to cancel."""
    script = f"""
        import warnings
        warnings.simplefilter("ignore")
        ring = [defer.Deferred() for _ in range({length})]
        for n, d in enumerate(ring):
            d.addCallback(lambda _, n=n: ring[n - 1])
        for d in ring:
            d.callback(None)
        assert all(d.paused == 1 for d in ring)
        try:
            ring[0].cancel()
        except RecursionError:
            pass
        assert "waiting on Deferred" in repr(ring[0])
        del d, ring
        import gc
        gc.collect()
        print("survived")
    """
    assert run_script(implementation, script).stdout == "survived\n"


def test_canceller_that_raises_base_exception(defer):
    d = defer.Deferred(raiser(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        d.cancel()
    assert not d.called


def test_canceller_whose_truth_raises(defer):
    class Odd:
        def __bool__(self):
            raise ValueError("neither")

    d = defer.Deferred(Odd())
    with pytest.raises(ValueError, match="neither"):
        d.cancel()
    assert not d.called


def test_falsy_callable_is_no_canceller(defer):
    class Falsy:
        def __bool__(self):
            return False

        def __call__(self, d):
            raise AssertionError

    d = defer.Deferred(Falsy())
    d.cancel()
    d.callback("swallowed")
    assert outcome(d)[0].check(defer.CancelledError)


def test_canceller_that_pauses(defer):
    recorder = Recorder(None)
    d = defer.Deferred(lambda d: d.pause()).addErrback(recorder)
    d.cancel()
    assert (d.called, d.paused, recorder.calls) == (True, 1, [])
    d.unpause()
    assert recorder.calls[0].check(defer.CancelledError)


def test_canceller_that_adds_callbacks(defer):
    recorder = Recorder(None)
    d = defer.Deferred(lambda d: d.addErrback(recorder))
    d.cancel()
    assert recorder.calls[0].check(defer.CancelledError)


def test_firing_inside_a_callback_of_the_one_waited_on(defer):
    outer, inner = defer.Deferred(), defer.Deferred()
    order = []
    outer.addCallback(lambda _: inner).addCallback(order.append)
    inner.addCallback(lambda r: outer.callback(None) or order.append("in") or r)
    inner.callback("value")
    # What a running callback was given counts as the result, and is taken.
    assert order == ["value", "in"]
    assert (inner.result, outer.result) == ("value", None)


def test_callback_that_unpauses_the_one_above(defer):
    outer, inner = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    outer.callback(None)
    inner.addCallback(lambda r: outer.unpause())
    inner.callback("value")
    assert outer.paused in (0, -1)


def test_generator_that_fires_what_it_yields_next(defer):
    """Nothing resumes a generator that is running."""

    @defer.inlineCallbacks
    def function(a, b):
        yield a
        b.callback("already")
        yield b
        return "done"

    a, b = defer.Deferred(), defer.Deferred()
    result = function(a, b)
    a.callback(None)
    assert result.result == "done"


def test_one_generator_driven_twice(defer):
    def generator(d):
        yield d

    d = defer.Deferred()
    made = generator(d)
    first = defer.ensureDeferred(made)
    second = defer.ensureDeferred(made)
    assert second.called
    d.callback(None)
    assert first.called


def test_generator_closed_from_outside(defer):
    def generator(d):
        result = yield d
        return result

    d = defer.Deferred()
    made = generator(d)
    result = defer.ensureDeferred(made)
    made.close()
    d.callback("value")
    assert result.result is None


def test_generator_that_refuses_to_close(defer):
    @defer.inlineCallbacks
    def function(d):
        while True:
            try:
                yield d
            except GeneratorExit:
                yield d
                return

    seen = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda u: seen.append(u.exc_type)
    try:
        result = function(defer.Deferred())
        assert not result.called
        del result
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert seen == [RuntimeError]


def test_callback_that_removes_the_recursion_limits_headroom(implementation):
    """Running into the limit inside a callback is a failure like any other."""
    script = """
        def deep(_):
            return deep(_)
        d = defer.succeed(None).addCallback(deep)
        f = d.result
        assert f.check(RecursionError)
        d.addErrback(lambda f: None)
        print(defer.succeed(1).addCallback(lambda r: r + 1).result)
    """
    assert run_script(implementation, script).stdout == "2\n"


def test_self_return_by_things_that_are_no_functions(defer):
    """The warning about it is then itself the error."""
    d = defer.Deferred()
    d.addCallback(functools.partial(lambda d, _: d, d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        d.callback(None)
    [f] = outcome(d)
    assert f.check(AttributeError)

    def nowhere(_):
        return d

    nowhere.__module__ = "no.such.module"
    d = defer.Deferred()
    d.addCallback(nowhere)
    d.callback(None)
    assert outcome(d)[0].check(KeyError)


def test_deleted_result(defer):
    """As if there were none; whoever then wants it is told so."""
    d = defer.succeed(1)
    del d.result
    assert not hasattr(d, "result")
    assert d.called
    with pytest.raises(AttributeError):
        _ = d.result


# --- at exit, in signals' stead --------------------------------------------


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


# --- collections everywhere ------------------------------------------------

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
    """On a free-threaded build the import turns it on, or says that it may not."""
    script = """
        import sys
        try:
            import deferrous
        except ImportError as error:
            assert "needs the GIL" in str(error), error
            assert not sys._is_gil_enabled()
        else:
            assert getattr(sys, "_is_gil_enabled", lambda: True)()
        print("so")
    """
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        environment = {}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert done.stdout == "so\n", done.stderr


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
