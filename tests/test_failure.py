"""Failures: making them, checking their class, raising them, and subclasses."""

import traceback

import pytest
from failure_helpers import FILE, Custom, make
from helpers import caught, qual, user_frames


def test_from_current_exception(failure):
    error = ValueError("x")
    f = make(failure, error)
    assert (f.value, f.type, f.captureVars) == (error, ValueError, False)
    assert f.tb is error.__traceback__
    assert user_frames(f, FILE) == ["make", "fails"]


@pytest.mark.parametrize("args", [(), (None,), (None, ValueError), (None, None, None)])
def test_without_current_exception(failure, args):
    with pytest.raises(failure.NoCurrentExceptionError) as raised:
        failure.Failure(*args)
    assert raised.value.args == ()
    assert failure.NoCurrentExceptionError.__bases__ == (Exception,)


def test_without_value_other_arguments_are_ignored(failure):
    other = caught(failure, KeyError()).tb
    error = ValueError()
    try:
        raise error
    except ValueError:
        f = failure.Failure(None, KeyError, other)
    assert (f.type, f.value, f.tb) == (ValueError, error, error.__traceback__)


def test_from_value_without_traceback(failure):
    error = ValueError("x")
    f = failure.Failure(error)
    assert (f.value, f.type, f.tb, f.frames) == (error, ValueError, None, [])
    assert f.pickled == 0


def test_from_value_with_traceback(failure):
    error = caught(failure, ValueError()).value
    assert failure.Failure(error).tb is error.__traceback__ is not None


def test_explicit_traceback_wins(failure):
    other = caught(failure, KeyError()).tb
    error = caught(failure, ValueError()).value
    assert failure.Failure(error, None, other).tb is other
    assert failure.Failure(error, ValueError, other).tb is other
    assert failure.Failure(exc_value=error, exc_tb=other).tb is other
    assert failure.Failure(error, ValueError, None).tb is error.__traceback__


def test_keyword_names(failure):
    error = ValueError()
    f = failure.Failure(exc_value=error, exc_type=Custom, exc_tb=None, captureVars=True)
    assert (f.value, f.type, f.tb, f.captureVars) == (error, Custom, None, True)
    with pytest.raises(TypeError):
        failure.Failure(value=error)
    with pytest.raises(TypeError):
        failure.Failure(1, 2, 3, 4, 5)


@pytest.mark.parametrize("value", ["text", 7, [1], object], ids=repr)
def test_from_anything(failure, value):
    f = failure.Failure(value)
    assert f.value is value
    assert f.type is type(value)
    assert f.tb is None


def test_type_need_not_be_a_class(failure):
    """Perspective Broker names types it does not have."""
    f = failure.Failure("message", "remote.Type")
    assert f.type == "remote.Type"
    assert f.parents == ["remote.Type"]
    assert f.check("remote.Type") == "remote.Type"


def test_count(failure):
    before = failure.count
    first = failure.Failure(ValueError())
    second = failure.Failure(ValueError())
    assert (first.count, second.count) == (before + 1, before + 2)
    assert failure.count == before + 2


def test_count_counts_failed_attempts(failure):
    before = failure.count
    with pytest.raises(failure.NoCurrentExceptionError):
        failure.Failure()
    assert failure.count == before + 1


def test_deferred_failures_are_counted(defer, failure):
    before = failure.count
    d = defer.Deferred()
    d.errback(ValueError())
    assert d.result.count == before + 1 == failure.count
    d.addErrback(lambda _: 1 / 0)
    assert d.result.count == before + 2 == failure.count
    d.addErrback(lambda _: None)


def raised_again(failure, f):
    try:
        raise f
    except failure.Failure:
        return failure.Failure()


@pytest.mark.parametrize("how", ["wrapped", "raised", "with type"])
def test_of_a_failure_is_like_the_original(failure, how):
    original = make(failure, ValueError("x"), captureVars=True)
    original.request = "free attribute"
    if how == "wrapped":
        f = failure.Failure(original)
    elif how == "with type":
        f = failure.Failure(original, KeyError, None, False)
    else:
        f = raised_again(failure, original)
    assert f is not original
    assert f.count == original.count
    for name in ("value", "type", "tb", "captureVars", "request"):
        assert getattr(f, name) is getattr(original, name)
    f.request = "another"
    assert original.request == "free attribute"


def test_raised_failure(failure):
    f = make(failure, ValueError("x"))
    assert issubclass(failure.Failure, BaseException)
    assert not issubclass(failure.Failure, Exception)
    with pytest.raises(failure.Failure) as raised:
        raise f
    assert raised.value is f


def test_raise_exception_then_failure_has_the_original_frames(failure):
    """The frames of where it was raised again come before those it had."""
    original = make(failure, ValueError("x"))
    try:
        original.raiseException()
    except ValueError:
        f = failure.Failure()
    assert f.value is original.value
    names = user_frames(f, __file__, FILE)
    assert names[0] == "test_raise_exception_then_failure_has_the_original_frames"
    assert names[-2:] == ["make", "fails"]


def test_raised_failure_in_a_callback(defer, failure):
    f = make(failure, ValueError("x"))

    def again(_):
        raise f

    d = defer.succeed(None).addCallback(again)
    assert (d.result.value, d.result.type) == (f.value, ValueError)
    d.addErrback(lambda _: None)


def test_parents(failure):
    f = failure.Failure(Custom())
    assert f.parents == [
        qual(Custom),
        "builtins.ValueError",
        "builtins.Exception",
        "builtins.BaseException",
        "builtins.object",
    ]
    assert f.parents is f.parents
    f.parents = ["something.Else"]
    assert f.check("something.Else") == "something.Else"
    assert f.check(Custom) is None


def test_parents_of_a_base_exception(failure):
    """Only Exceptions are known by their names."""
    assert failure.Failure(SystemExit()).parents == [SystemExit]


@pytest.mark.parametrize(
    "wanted, found",
    [
        ((Custom,), Custom),
        ((ValueError,), ValueError),
        ((KeyError, Exception), Exception),
        ((Exception, Custom), Exception),
        (("builtins.ValueError",), "builtins.ValueError"),
        ((f"{Custom.__module__}.Custom",), f"{Custom.__module__}.Custom"),
        (("builtins.object",), "builtins.object"),
        (("builtins.BaseException",), "builtins.BaseException"),
        ((KeyError, "builtins.KeyError"), None),
        (("ValueError",), None),
        ((), None),
        # Classes above Exception are compared as they are, and names are not.
        ((BaseException,), None),
        ((object,), None),
        ((1, None, "", []), None),
    ],
)
def test_check_and_trap(failure, wanted, found):
    error = Custom("x")
    f = failure.Failure(error)
    assert f.check(*wanted) == found
    if found is None:
        with pytest.raises(Custom) as raised:
            f.trap(*wanted)
        assert raised.value is error
    else:
        assert f.trap(*wanted) == found


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_check_of_base_exceptions(failure, error):
    """Those outside of Exception are found by their own class only."""

    class Below(error):
        pass

    f = failure.Failure(error())
    assert f.check(error) is error
    assert f.check(BaseException, Exception, f"builtins.{error.__name__}") is None
    assert failure.Failure(Below()).check(error) is None


def test_check_goes_by_qualified_name(failure):
    """Another class of the same name, as after a reload, is the same error."""
    twin = type("Custom", (Exception,), {"__module__": Custom.__module__})
    assert failure.Failure(Custom()).check(twin) is twin


def test_trap_keeps_the_traceback(failure):
    f = make(failure, ValueError())
    with pytest.raises(ValueError) as raised:
        f.trap(KeyError)
    names = [entry.name for entry in traceback.extract_tb(raised.value.__traceback__)]
    assert names[-2:] == ["make", "fails"]


def test_trap_in_an_errback(defer):
    d = defer.fail(ValueError("x")).addErrback(lambda f: f.trap(KeyError))
    assert d.result.check(ValueError)
    d.addErrback(lambda f: f.trap(KeyError, ValueError))
    assert d.result is ValueError


def test_raise_exception(failure):
    error = ValueError()
    f = make(failure, error)
    with pytest.raises(ValueError) as raised:
        f.raiseException()
    assert raised.value is error
    names = [entry.name for entry in traceback.extract_tb(error.__traceback__)]
    assert names[0] == "test_raise_exception"
    assert names[-2:] == ["make", "fails"]
    # The failure still has the traceback that it was made with.
    assert user_frames(f, FILE) == ["make", "fails"]


def test_raise_exception_twice_does_not_pile_up(failure):
    f = make(failure, ValueError())
    depths = []
    for _ in range(3):
        with pytest.raises(ValueError) as raised:
            f.raiseException()
        depths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert len(set(depths)) == 1


def test_raise_what_is_no_exception(failure):
    with pytest.raises(AttributeError):
        failure.Failure("text").raiseException()


def test_throw_into_generator(failure):
    error = ValueError()
    f = make(failure, error)
    seen = []

    def generator():
        try:
            yield "first"
        except ValueError as e:
            seen.append(e)
            again = failure.Failure()
            seen.append(user_frames(again, __file__, FILE))
        yield "second"

    g = generator()
    next(g)
    assert f.throwExceptionIntoGenerator(g) == "second"
    assert seen[0] is error
    assert seen[1][-2:] == ["make", "fails"]
    assert "generator" in seen[1]
    with pytest.raises(ValueError):
        f.throwExceptionIntoGenerator(g)


def test_throw_into_finishing_generator(failure):
    def generator():
        try:
            yield
        except ValueError:
            return "done"

    g = generator()
    next(g)
    with pytest.raises(StopIteration) as stopped:
        failure.Failure(ValueError()).throwExceptionIntoGenerator(g)
    assert stopped.value.value == "done"


def test_throw_into_anything_with_throw(failure):
    class Thrower:
        def throw(self, error):
            return ("thrown", error)

    error = ValueError()
    f = failure.Failure(error)
    assert f.throwExceptionIntoGenerator(Thrower()) == ("thrown", error)
    with pytest.raises(AttributeError):
        f.throwExceptionIntoGenerator(object())


def test_subclass_with_second_base(failure):
    """As Perspective Broker's copied failures are."""

    class Mixin:
        def setCopyableState(self, state):
            self.__dict__ = state

    class Copied(Mixin, failure.Failure):
        def throwExceptionIntoGenerator(self, g):
            return g.throw(RuntimeError(self.value))

    f = Copied.__new__(Copied)
    f.setCopyableState({"type": "far.Away", "value": "message", "captureVars": False})
    f.tb = None
    f.frames = []
    f.parents = ["far.Away", "far.Base"]
    assert f.check("far.Base") == "far.Base"
    assert f.getErrorMessage() == "message"
    assert isinstance(f, failure.Failure)


def test_overridden_throw_is_used(defer, failure):
    class Remote(failure.Failure):
        def throwExceptionIntoGenerator(self, g):
            return g.throw(RuntimeError("from afar"))

    @defer.inlineCallbacks
    def waits(d):
        try:
            yield d
        except RuntimeError as e:
            return str(e)

    d = defer.Deferred()
    result = waits(d)
    d.errback(Remote(ValueError()))
    assert result.result == "from afar"


def test_subclass_init(failure):
    class Own(failure.Failure):
        def __init__(self, message, *, code):
            super().__init__(ValueError(message))
            self.code = code

    f = Own("x", code=3)
    assert (f.code, f.getErrorMessage()) == (3, "x")


def test_methods_can_be_patched(failure, monkeypatch):
    called = []
    monkeypatch.setattr(failure.Failure, "cleanFailure", lambda f: called.append(f))
    f = failure.Failure(ValueError())
    f.cleanFailure()
    assert called == [f]


def test_replaced_init_is_honoured(defer, failure, monkeypatch):
    """Also where a Deferred makes the Failure; startDebugMode works so."""
    original = failure.Failure.__init__
    made = []

    def noting(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(failure.Failure, "__init__", noting)
    d = defer.succeed(0).addCallback(lambda zero: 1 / zero)
    d.addErrback(lambda f: f)
    assert made == [d.result]
    d.addErrback(lambda _: None)


def test_identity(failure):
    a, b = failure.Failure(ValueError()), failure.Failure(ValueError())
    assert a == a and a != b and len({a, b}) == 2
