"""Functions decorated by `inlineCallbacks` behave like functions, however they run."""

import inspect
import pickle
import sys
import types

import pytest
from deferrous import Deferred, inlineCallbacks, succeed


@inlineCallbacks
def decorated(one, two=2, *rest, three=3, **others):
    """Say what it was called with."""
    yield succeed(None)
    return one, two, rest, three, others


def test_it_is_a_function():
    assert type(decorated) is types.FunctionType
    assert decorated.__name__ == "decorated"
    assert decorated.__doc__ == "Say what it was called with."
    assert str(inspect.signature(decorated)) == "(one, two=2, *rest, three=3, **others)"
    assert inspect.isgeneratorfunction(decorated.__wrapped__)
    assert inspect.unwrap(decorated) is decorated.__wrapped__
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    assert decorated.__code__.co_name == "unwindGenerator"


def test_arguments():
    call = decorated
    assert call(1).result == (1, 2, (), 3, {})
    assert call(1, 5, 6, three=7, four=8).result == (1, 5, (6,), 7, {"four": 8})
    assert call(*(1, 2), **{"three": 4}).result == (1, 2, (), 4, {})
    assert call(one=1).result == (1, 2, (), 3, {})
    for args, kwargs in [((), {}), ((1,), {"one": 1})]:
        with pytest.raises(TypeError, match="decorated"):
            call(*args, **kwargs)
    with pytest.raises(TypeError, match="keywords must be strings"):
        call(1, **{2: 3})


def test_as_a_method():
    class Object:
        @inlineCallbacks
        def method(self, *args, **kwargs):
            yield
            return self, args, kwargs

        @classmethod
        @inlineCallbacks
        def of_class(cls, arg):
            yield
            return cls, arg

    it = Object()
    assert it.method(1, two=2).result == (it, (1,), {"two": 2})
    assert Object.method(it).result == (it, (), {})
    assert Object.of_class(3).result == (Object, 3)
    assert list(map(lambda d: d.result, map(it.method, [1]))) == [(it, (1,), {})]


def test_what_it_wraps_is_replaced():
    @inlineCallbacks
    def first():
        yield
        return 1

    def second():
        yield
        return 2

    first.__wrapped__ = second
    assert first().result == 1
    (cell,) = first.__closure__
    cell.cell_contents = second
    assert first().result == 2
    del cell.cell_contents
    with pytest.raises(NameError):
        first()


def test_its_code_is_replaced():
    def make(f):
        def other(*args, **kwargs):
            return f, args, kwargs

        return other

    @inlineCallbacks
    def function():
        yield

    before = function.__code__
    function.__code__ = make(None).__code__
    assert function(1, two=2) == (function.__wrapped__, (1,), {"two": 2})
    function.__code__ = before
    assert function().result is None


def test_what_is_no_generator():
    @inlineCallbacks
    def function():
        return 1

    @inlineCallbacks
    def fails():
        raise ValueError("at once")

    with pytest.raises(TypeError, match="inlineCallbacks requires"):
        function()
    with pytest.raises(ValueError, match="at once"):
        fails()


def test_recursion_ends():
    @inlineCallbacks
    def function(depth):
        yield
        return (yield function(depth + 1))

    failures = []
    d = function(0)
    d.addErrback(failures.append)
    assert failures[0].check(RecursionError)


def test_it_does_not_outlive_itself():
    import gc
    import weakref

    @inlineCallbacks
    def function():
        yield

    function()
    weak = weakref.ref(function)
    wrapped = weakref.ref(function.__wrapped__)
    del function
    gc.collect()
    assert weak() is None
    assert wrapped() is None


def test_the_generator_is_seen_by_a_profiler():
    names = []

    @inlineCallbacks
    def function():
        yield

    sys.setprofile(lambda frame, event, arg: names.append((frame.f_code.co_name, event)))
    try:
        function()
    finally:
        sys.setprofile(None)
    assert ("function", "call") in names


def test_a_pending_one():
    d = Deferred()

    @inlineCallbacks
    def function(it):
        return (yield it)

    result = function(d)
    d.callback(4)
    assert result.result == 4
