"""`returnValue`, used correctly and incorrectly."""

import warnings

import pytest
from helpers import outcome


@pytest.mark.filterwarnings("ignore:.*returnValue was deprecated:DeprecationWarning")
def test_return_value(defer):
    log = []

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
            defer.returnValue("returned")
        except Exception:
            log.append("never: it is no Exception")
        finally:
            log.append("finally")

    assert function(None).result == "returned"
    d = defer.Deferred()
    result = function(d)
    d.callback(None)
    assert result.result == "returned"
    assert log == ["finally", "finally"]


def test_return_value_is_deprecated(defer):
    @defer.inlineCallbacks
    def function():
        yield
        defer.returnValue(1)

    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        assert function().result == 1
    [warning] = caught_warnings
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    assert str(warning.message) == (
        f"{defer.returnValue.__module__}.returnValue was deprecated in "
        "Twisted 24.7.0; please use standard return statement instead"
    )


@pytest.mark.filterwarnings("ignore:.*returnValue was deprecated:DeprecationWarning")
def test_return_value_after_an_exception(defer):
    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError:
            defer.returnValue("recovered")

    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        assert function(defer.fail(ValueError())).result == "recovered"
    assert len(caught_warnings) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_return_value_by_an_exception_of_a_class_derived_from_its_own(defer):
    """As an `except` has it: a subclass is one, too."""

    class Derived(defer._DefGen_Return):
        pass

    def end():
        raise Derived("value")

    def leave():
        end()

    @defer.inlineCallbacks
    def function():
        yield 1
        leave()

    assert outcome(function()) == ["value"]


@pytest.mark.parametrize("thrown", [False, True])
def test_return_value_from_elsewhere_warns(defer, thrown):
    """It also leaves a generator that it was not written in."""

    def mistaken():
        defer.returnValue("early")

    def between():
        mistaken()

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError:
            pass
        between()
        return "never reached"

    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        d = function(defer.fail(ValueError()) if thrown else None)
    assert d.result == "early"
    misuse = [w for w in caught_warnings if "only be invoked" in str(w.message)]
    [warning] = misuse
    assert str(warning.message) == (
        "returnValue() in 'mistaken' causing 'function' to exit: returnValue "
        "should only be invoked by functions decorated with inlineCallbacks"
    )
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    assert warning.lineno == mistaken.__code__.co_firstlineno + 1


@pytest.mark.filterwarnings("ignore:.*returnValue was deprecated:DeprecationWarning")
def test_return_value_without_a_generator(defer):
    def function():
        defer.returnValue(1)

    with pytest.raises(TypeError) as raised:
        defer.inlineCallbacks(function)()
    # The missing space is Twisted's.
    assert str(raised.value) == (
        f"inlineCallbacks requires {function!r} to produce a generator; instead"
        "caught returnValue being used in a non-generator"
    )
    with pytest.raises(BaseException) as raised:
        function()
    assert not isinstance(raised.value, Exception)
    assert raised.value.value == 1
