"""Debug mode: turning it on, and the stacks that it shows."""

import pytest
from helpers import ignore, raiser
from unhandled_helpers import creates, fires


@pytest.mark.parametrize("on", [True, 1, "yes", False, 0, None, ""], ids=repr)
def test_set_debugging(defer, on):
    try:
        defer.setDebugging(on)
        assert defer.getDebugging() is defer.Deferred.debug is bool(on)
    finally:
        defer.setDebugging(False)
    assert defer.getDebugging() is False


def test_set_debugging_where_the_class_has_no_such_attribute(defer):
    del defer.Deferred.debug
    try:
        defer.setDebugging(False)
        assert defer.Deferred.__dict__["debug"] is False
    finally:
        defer.Deferred.debug = False


def test_class_attribute_is_the_switch(defer, monkeypatch):
    monkeypatch.setattr(defer.Deferred, "debug", True)
    assert defer.getDebugging() is True
    assert "Deferred was created" in str(already_called(defer, defer.Deferred()))


def already_called(defer, d):
    """The error that firing twice raises."""
    d.callback(1)
    with pytest.raises(defer.AlreadyCalledError) as raised:
        d.callback(2)
    return raised.value


def test_set_on_a_subclass(defer):
    class Debugged(defer.Deferred):
        debug = True

    assert "Deferred was created" in str(already_called(defer, Debugged()))
    assert str(already_called(defer, defer.Deferred())) == ""


def test_set_on_an_instance(defer):
    """Then only how it was fired is known."""
    d = defer.Deferred()
    d.debug = True
    text = str(already_called(defer, d))
    assert "First Invoker was" in text
    assert "Deferred was created" not in text


@pytest.mark.parametrize("second", ["callback", "errback"])
@pytest.mark.parametrize("first", ["callback", "errback"])
def test_already_called_shows_both_stacks(defer, debugging, first, second):
    d = creates(defer).addErrback(ignore)
    fires(d, first, ValueError())
    with pytest.raises(defer.AlreadyCalledError) as raised:
        fires(d, second, ValueError())
    [text] = raised.value.args
    created, invoked = text.split(" I: First Invoker was:\n")
    assert created.startswith("\n C: Deferred was created:\n C:  File ")
    lines = created.strip("\n").splitlines()
    assert all(line.startswith(" C:") for line in lines)
    assert all(line.startswith(" I:") for line in invoked.strip("\n").splitlines())
    assert text.endswith("\n")
    # Innermost last, and nothing of the implementation's at the end.
    assert f'File "{creates.__code__.co_filename}"' in lines[-2]
    assert lines[-2].endswith("in creates")
    assert "return defer.Deferred()" in lines[-1]
    place = [line for line in invoked.splitlines() if "File" in line]
    assert f'File "{fires.__code__.co_filename}"' in place[-1]
    assert place[-1].endswith("in fires")


def test_stack_of_a_subclass_ends_at_its_constructor(defer, debugging):
    class Sub(defer.Deferred):
        def __init__(self):
            super().__init__()

    text = str(already_called(defer, Sub()))
    created = text.split(" I: ")[0].splitlines()
    assert created[-2].endswith("in __init__")


def test_created_before_debugging(defer):
    d = defer.Deferred()
    defer.setDebugging(True)
    try:
        text = str(already_called(defer, d))
    finally:
        defer.setDebugging(False)
    assert text.startswith("\n I: First Invoker was:\n")
    assert "Deferred was created" not in text


def test_debugging_switched_off_before_the_error(defer):
    defer.setDebugging(True)
    d = defer.Deferred()
    defer.setDebugging(False)
    assert str(already_called(defer, d)) == ""


def test_failures_capture_variables_in_debug_mode(defer, debugging):
    def fails(_):
        local = "to be seen"
        raise ValueError(local)

    def forms():
        yield defer.succeed(None).addCallback(fails)
        yield defer.maybeDeferred(fails, None)
        d = defer.Deferred()
        try:
            fails(None)
        except ValueError:
            d.errback()
        yield d

    for d in forms():
        f = d.result
        assert f.captureVars is True
        assert ("local", "to be seen") in f.frames[-1][3]
        d.addErrback(ignore)


def test_failures_capture_nothing_otherwise(defer):
    d = defer.succeed(None).addCallback(raiser(ValueError()))
    assert d.result.captureVars is False
    d.addErrback(ignore)
