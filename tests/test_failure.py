"""Failure: construction, identification, raising, formatting, copying."""

import copy
import io
import pickle
import re
import sys
import traceback
import warnings
import weakref

import pytest
from helpers import caught, normalise, qual, run_script, user_frames
from twisted.python import log


class Custom(ValueError):
    """An exception of this module, to be found by name."""


class BrokenStr(Exception):
    def __str__(self):
        raise RuntimeError("no str")


def fails(error):
    local = "a local variable"  # noqa: F841 - seen in reports
    raise error


def make(failure, error, **options):
    """A Failure of an error raised two of this file's functions deep."""
    try:
        fails(error)
    except BaseException:
        return failure.Failure(**options)


# --- construction ----------------------------------------------------------


def test_from_current_exception(failure):
    error = ValueError("x")
    f = make(failure, error)
    assert (f.value, f.type, f.captureVars) == (error, ValueError, False)
    assert f.tb is error.__traceback__
    assert user_frames(f, __file__) == ["make", "fails"]


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


# --- a Failure of a Failure ------------------------------------------------


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
    names = user_frames(f, __file__)
    assert names[0] == "test_raise_exception_then_failure_has_the_original_frames"
    assert names[-2:] == ["make", "fails"]


def test_raised_failure_in_a_callback(defer, failure):
    f = make(failure, ValueError("x"))

    def again(_):
        raise f

    d = defer.succeed(None).addCallback(again)
    assert (d.result.value, d.result.type) == (f.value, ValueError)
    d.addErrback(lambda _: None)


# --- state -----------------------------------------------------------------


@pytest.mark.parametrize("args, kwargs", [((), {}), ((1, 2, 3, 4, 5), {}), ((), {"any": 1})])
def test_new_without_init(failure, args, kwargs):
    """Remote failures are made empty, whatever the arguments, and then filled."""
    before = failure.count
    f = failure.Failure.__new__(failure.Failure, *args, **kwargs)
    assert f.__dict__ == {}
    assert failure.count == before
    for name in ("value", "type", "tb", "count", "captureVars"):
        assert not hasattr(f, name)
    assert f.pickled == 0


def test_new_inside_a_handler_looks_for_nothing(failure):
    try:
        raise ValueError
    except ValueError:
        f = failure.Failure.__new__(failure.Failure)
    assert f.__dict__ == {}


def test_state_assigned_as_a_dict(failure):
    error = Custom("x")
    f = failure.Failure.__new__(failure.Failure)
    f.__dict__ = {
        "value": error,
        "type": Custom,
        "tb": None,
        "count": 3,
        "captureVars": False,
        "other": 1,
    }
    assert (f.value, f.type, f.count, f.other) == (error, Custom, 3, 1)
    assert f.check(ValueError) is ValueError
    assert f.getErrorMessage() == "x"
    assert repr(f) == f"<{qual(failure.Failure)} {qual(Custom)}: x>"
    # Once asked for, the parents are kept.
    f.__dict__.update(value=KeyError("k"), type=KeyError)
    assert f.check(KeyError) is None
    with pytest.raises(KeyError):
        f.raiseException()


def test_state_is_seen_in_the_dict(failure):
    error = ValueError()
    f = failure.Failure(error)
    state = vars(f)
    assert state["value"] is error
    assert state["type"] is ValueError
    assert state["tb"] is None
    assert state["count"] == f.count
    assert state["captureVars"] is False


@pytest.mark.parametrize("name", ["value", "type", "tb", "count", "captureVars"])
def test_attributes_can_be_set_and_deleted(failure, name):
    f = failure.Failure(ValueError())
    setattr(f, name, "new")
    assert getattr(f, name) == vars(f)[name] == "new"
    delattr(f, name)
    assert not hasattr(f, name)
    assert name not in vars(f)


def test_assigned_value_is_what_counts(failure):
    f = failure.Failure(ValueError("old"))
    f.value, f.type = KeyError("new"), KeyError
    assert f.check(ValueError) is None
    assert f.trap(KeyError) is KeyError
    with pytest.raises(KeyError):
        f.raiseException()
    assert "new" in f.getTraceback()


def test_free_attributes_and_weak_reference(failure):
    f = failure.Failure(ValueError())
    f.request = 1
    assert vars(f)["request"] == 1
    reference = weakref.ref(f)
    del f
    assert reference() is None


def test_frames_are_cached_and_mutable(failure):
    f = make(failure, ValueError())
    frames = f.frames
    assert isinstance(frames, list)
    assert frames is f.frames
    name, filename, line, local_items, global_items = frames[-1]
    assert (name, filename) == ("fails", __file__)
    assert line == fails.__code__.co_firstlineno + 2
    assert (local_items, global_items) == ((), ())
    frames.pop()
    assert f.frames[-1][0] == "make"


def test_frames_can_be_set(failure):
    f = failure.Failure(ValueError())
    frames = [("name", "file.py", 1, (), ())]
    f.frames = frames
    assert f.frames is frames
    assert 'File "file.py", line 1, in name' in f.getTraceback()


def test_captured_variables(failure):
    f = make(failure, ValueError(), captureVars=True)
    _, _, _, local_items, global_items = f.frames[-1]
    assert ("local", "a local variable") in local_items
    names = [name for name, _ in global_items]
    assert "fails" in names
    assert "__builtins__" not in names


def test_stack_is_deprecated(failure):
    f = failure.Failure(ValueError())
    for use in (lambda: f.stack, lambda: setattr(f, "stack", [1])):
        with pytest.warns(DeprecationWarning) as caught_warnings:
            result = use()
        [warning] = caught_warnings
        assert str(warning.message) == (
            f"{qual(failure.Failure)}.stack was deprecated in Twisted 24.10.0"
        )
        assert warning.filename == __file__
        assert not result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert f.stack == []


# --- which error is it -----------------------------------------------------


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
        ((f"{__name__}.Custom",), f"{__name__}.Custom"),
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
    twin = type("Custom", (Exception,), {"__module__": __name__})
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


# --- raising ---------------------------------------------------------------


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
    assert user_frames(f, __file__) == ["make", "fails"]


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
            seen.append(user_frames(again, __file__))
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


# --- cleaning, copying, pickling -------------------------------------------


@pytest.mark.parametrize("capture", [False, True])
def test_clean_failure(failure, capture):
    f = make(failure, ValueError("x"), captureVars=capture)
    f.extra = 1
    before = [frame[:3] for frame in f.frames]
    shown = f.getTraceback()
    f.cleanFailure()
    assert f.tb is None
    assert f.value.__traceback__ is None
    assert f.pickled == 1
    assert f.extra == 1
    assert [tuple(frame[:3]) for frame in f.frames] == before
    assert f.getTraceback() == shown
    assert f.check(ValueError)
    if capture:
        assert ("local", "'a local variable'") in f.frames[-1][3]


def test_clean_failure_lets_go_of_locals(failure):
    class Held:
        pass

    def fails_holding():
        held = Held()
        references.append(weakref.ref(held))
        raise ValueError

    references = []
    try:
        fails_holding()
    except ValueError:
        f = failure.Failure()
    assert references[0]() is not None
    f.cleanFailure()
    assert references[0]() is None


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(failure, protocol, capture):
    f = make(failure, Custom("x"), captureVars=capture)
    f.extra = [1]
    loaded = pickle.loads(pickle.dumps(f, protocol))
    assert type(loaded) is failure.Failure
    assert type(loaded.value) is Custom and loaded.value.args == ("x",)
    assert (loaded.type, loaded.count, loaded.extra) == (Custom, f.count, [1])
    assert (loaded.tb, loaded.pickled) == (None, 1)
    assert loaded.parents == f.parents
    assert user_frames(loaded, __file__) == ["make", "fails"]
    assert loaded.getTraceback() == f.getTraceback()
    if capture:
        assert ("local", "'a local variable'") in loaded.frames[-1][3]
    assert f.tb is not None and f.pickled == 0


def test_pickle_of_a_subclass_is_a_failure(failure):
    class Local(failure.Failure):
        pass

    loaded = pickle.loads(pickle.dumps(Local(ValueError("x"))))
    assert type(loaded) is failure.Failure
    assert loaded.check(ValueError)


def test_class_pickles_by_reference(failure):
    for cls in (failure.Failure, failure.NoCurrentExceptionError):
        assert pickle.loads(pickle.dumps(cls)) is cls


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copy(failure, copier):
    f = make(failure, ValueError("x"))
    f.extra = [1]
    other = copier(f)
    assert type(other) is failure.Failure
    assert (other.value is f.value) == (copier is copy.copy)
    assert (other.extra is f.extra) == (copier is copy.copy)
    assert (other.tb, other.pickled) == (None, 1)
    assert user_frames(other, __file__) == ["make", "fails"]
    assert f.tb is not None


def test_getstate_and_setstate(failure):
    """The state has names of its own; old states with a stack are welcome."""
    f = make(failure, ValueError("x"))
    state = f.__getstate__()
    assert (state["tb"], state["pickled"], state["stack"]) == (None, 1, [])
    assert state["parents"] == f.parents
    assert [frame[0] for frame in state["frames"]] == [x[0] for x in f.frames]
    assert state["type"] is ValueError
    other = failure.Failure.__new__(failure.Failure)
    other.__setstate__({**state, "stack": ["old"]})
    assert other.parents == f.parents
    assert user_frames(other, __file__) == ["make", "fails"]
    assert other.getErrorMessage() == "x"


def test_args(failure):
    """As BaseException keeps them: what was given by position."""
    error = ValueError()
    assert failure.Failure(error).args == (error,)
    assert failure.Failure(exc_value=error).args == ()


# --- formatting ------------------------------------------------------------


def test_traceback_default(failure):
    f = make(failure, ValueError("why"))
    first, *lines, last = f.getTraceback().splitlines()
    assert first == "Traceback (most recent call last):"
    fails_line = fails.__code__.co_firstlineno + 2
    assert lines[-2:] == [
        f'  File "{__file__}", line {fails_line}, in fails',
        "    raise error",
    ]
    assert lines[-4].endswith(", in make")
    assert last == "builtins.ValueError: why"
    assert f.getTraceback(detail="default") == f.getTraceback(0, "default")
    assert f.getTraceback(elideFrameworkCode=1) == f.getTraceback()


def test_traceback_brief(failure):
    f = make(failure, ValueError("why"))
    lines = f.getBriefTraceback().splitlines()
    assert lines[0] == "Traceback: <class 'ValueError'>: why"
    assert lines[-1] == f"{__file__}:{fails.__code__.co_firstlineno + 2}:fails"
    assert f.getTraceback(detail="brief") == f.getBriefTraceback()


def test_traceback_verbose(failure):
    f = make(failure, ValueError("why"), captureVars=True)
    text = f.getTraceback(detail="verbose")
    lines = text.splitlines()
    assert lines[0] == f"*--- Failure #{f.count} ---"
    assert f"{__file__}:{fails.__code__.co_firstlineno + 2}: fails(...)" in lines
    assert " [ Locals ]" in lines and " ( Globals )" in lines
    assert "  local : 'a local variable'" in lines
    assert lines[-2:] == [
        "builtins.ValueError: why",
        f"*--- End of Failure #{f.count} ---",
    ]
    f.cleanFailure()
    assert f.getTraceback(detail="verbose").startswith(f"*--- Failure #{f.count} (pickled) ---\n")


def test_traceback_verbose_without_variables(failure):
    f = make(failure, ValueError("why"))
    lines = f.getTraceback(detail="verbose").splitlines()
    assert lines[-3:] == [
        " [Capture of Locals and Globals disabled (use captureVars=True)]",
        "builtins.ValueError: why",
        f"*--- End of Failure #{f.count} ---",
    ]
    assert lines[-4] == f"{__file__}:{fails.__code__.co_firstlineno + 2}: fails(...)"


def test_tracebacks_without_frames(failure):
    f = failure.Failure(ValueError("why"))
    assert f.getTraceback() == (
        "Traceback (most recent call last):\nFailure: builtins.ValueError: why\n"
    )
    assert f.getBriefTraceback() == (
        "Traceback (failure with no frames): <class 'ValueError'>: why\n"
    )
    assert f.getTraceback(detail="verbose") == (
        f"*--- Failure #{f.count} ---\n"
        "Failure: builtins.ValueError: why\n"
        f"*--- End of Failure #{f.count} ---\n"
    )


def test_unknown_detail(failure):
    f = make(failure, ValueError())
    with pytest.raises(ValueError) as raised:
        f.getTraceback(detail="chatty")
    assert str(raised.value) == (
        "Detail must be default, brief, verbose, or verbose-vars-not-captured. (not 'chatty')"
    )
    # Only frames have details.
    assert "Failure: " in failure.Failure(ValueError()).getTraceback(detail="chatty")


@pytest.mark.parametrize(
    "printer, detail",
    [
        ("printTraceback", "default"),
        ("printBriefTraceback", "brief"),
        ("printDetailedTraceback", "verbose"),
    ],
)
def test_print_to_a_file(failure, printer, detail):
    f = make(failure, ValueError("why"), captureVars=True)
    expected = f.getTraceback(detail=detail)
    for args, kwargs in [((), {"file": 0}), ((0,), {}), ((0, 1), {})]:
        stream = io.StringIO()
        args = (stream, *args[1:]) if args else args
        kwargs = {"file": stream} if kwargs else kwargs
        getattr(f, printer)(*args, **kwargs)
        assert normalise(stream.getvalue()) == normalise(expected)


def test_print_without_a_file(failure, monkeypatch):
    """Where Twisted's log is in use, that is where it goes."""
    f = make(failure, ValueError("why"), captureVars=True)
    for printer, detail in [
        (f.printTraceback, "default"),
        (f.printBriefTraceback, "brief"),
        (f.printDetailedTraceback, "verbose"),
    ]:
        stream = io.StringIO()
        monkeypatch.setattr(log, "logerr", stream)
        assert printer() is None
        assert normalise(stream.getvalue()) == normalise(f.getTraceback(detail=detail))


def test_print_without_a_file_or_twisted():
    done = run_script(
        "deferrous",
        """
        import sys
        sys.stderr = sys.stdout
        f = failure.Failure(ValueError("why"))
        f.printTraceback()
        f.printBriefTraceback()
        f.printDetailedTraceback()
        assert "twisted" not in sys.modules
        """,
    )
    assert done.stdout == (
        "Traceback (most recent call last):\nFailure: builtins.ValueError: why\n"
        "Traceback (failure with no frames): <class 'ValueError'>: why\n"
        "*--- Failure #1 ---\nFailure: builtins.ValueError: why\n*--- End of Failure #1 ---\n"
    )


def test_constants(failure):
    assert failure.traceupLength == 4
    assert failure.EXCEPTION_CAUGHT_HERE == "--- <exception caught here> ---"


def test_value_that_is_a_failure(failure):
    """Only to be had by assignment; it is printed below its outer one."""
    inner = failure.Failure(ValueError("inner"))
    f = failure.Failure(KeyError("outer"))
    f.value = inner
    assert f.getErrorMessage() == "inner"
    assert f.getTraceback().endswith(
        " (chained Failure)\n"
        "Traceback (most recent call last):\nFailure: builtins.ValueError: inner\n"
    )


def test_str_and_repr(failure):
    f = failure.Failure(ValueError("why"))
    assert repr(f) == f"<{qual(failure.Failure)} builtins.ValueError: why>"
    assert str(f) == (
        "[Failure instance: Traceback (failure with no frames): <class 'ValueError'>: why\n]"
    )
    f = make(failure, ValueError("why"))
    assert str(f) == f"[Failure instance: {f.getBriefTraceback()}]"
    assert "Traceback: <class 'ValueError'>: why\n" in str(f)

    class Sub(failure.Failure):
        pass

    assert repr(Sub(ValueError("x"))) == f"<{__name__}.Sub builtins.ValueError: x>"


@pytest.mark.parametrize(
    "value, message",
    [
        (ValueError("why"), "why"),
        (ValueError(), ""),
        (KeyError("k"), "'k'"),
        (b"bytes \xc3\xa9", "bytes é"),
        (b"\xff", repr(b"\xff")),
        (12, "12"),
    ],
    ids=repr,
)
def test_error_message(failure, value, message):
    assert failure.Failure(value).getErrorMessage() == message


def test_error_message_of_a_broken_exception(failure):
    f = failure.Failure(BrokenStr())
    message = normalise(f.getErrorMessage())
    assert message.startswith("<BrokenStr instance at 0x? with str error:\n Traceback")
    assert message.endswith("RuntimeError: no str\n>")
    for shown in (str(f), repr(f), f.getTraceback(), f.getTraceback(detail="verbose")):
        assert "RuntimeError: no str" in shown


def test_broken_repr_of_a_local(failure):
    class BrokenRepr:
        def __repr__(self):
            raise RuntimeError("no repr")

    def fails_with_it():
        broken = BrokenRepr()
        raise ValueError(broken is None)

    try:
        fails_with_it()
    except ValueError:
        f = failure.Failure(captureVars=True)
    loaded = pickle.loads(pickle.dumps(f))
    text = dict(loaded.frames[-1][3])["broken"]
    assert normalise(text).startswith("<BrokenRepr instance at 0x? with repr error")


def test_traceback_object(failure):
    f = make(failure, ValueError())
    assert f.getTracebackObject() is f.tb
    entries = [(e.name, e.filename, e.lineno) for e in traceback.extract_tb(f.tb)]
    f.cleanFailure()
    fake = f.getTracebackObject()
    extracted = traceback.extract_tb(fake)
    assert [(e.name, e.filename, e.lineno) for e in extracted] == entries
    frame = fake.tb_frame
    assert (frame.f_code.co_name, frame.f_back) == (entries[0][0], None)
    assert fake.tb_next.tb_frame.f_back is frame
    assert fake.tb_lineno == frame.f_lineno == entries[0][2]
    assert failure.Failure(ValueError()).getTracebackObject() is None


def test_traceback_object_with_variables(failure):
    f = make(failure, ValueError(), captureVars=True)
    f.cleanFailure()
    tb = f.getTracebackObject()
    while tb.tb_next:
        tb = tb.tb_next
    assert tb.tb_frame.f_locals["local"] == "'a local variable'"
    assert "fails" in tb.tb_frame.f_globals


@pytest.mark.parametrize("depth", [1, 2000])
def test_traceback_object_of_many_frames(failure, depth):
    f = failure.Failure(ValueError())
    f.frames = [(f"f{n}", "file.py", n, (), ()) for n in range(depth)]
    names = [entry.name for entry in traceback.extract_tb(f.getTracebackObject())]
    assert names == [f"f{n}" for n in range(depth)]


def test_format_frames(failure):
    written = []
    frames = [("name", "file.py", 3, [("a", 1)], [("b", 2)])]
    failure.format_frames(frames, written.append, "verbose")
    assert "".join(written) == (
        "file.py:3: name(...)\n [ Locals ]\n  a : 1\n ( Globals )\n  b : 2\n"
    )


# --- subclasses ------------------------------------------------------------


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


# --- debug mode ------------------------------------------------------------

DEBUG_MODE = """
    import pdb
    traced = []
    pdb.post_mortem = traced.append
    failure.startDebugMode()

    def make(error):
        try:
            raise error
        except BaseException:
            return failure.Failure()

    f = make(ValueError("why"))
    assert traced == [f.tb] and f.check(ValueError), traced

    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    make(Broken())
    failure.Failure(KeyError())
    assert len(traced) == 2
    d = defer.succeed(None)
    d.addCallback(lambda _: 1 / 0)
    d.addErrback(lambda f: None)
    failure.DO_POST_MORTEM = False
    make(ValueError())
    assert len(traced) == EXPECTED, traced
"""


def test_debug_mode(implementation):
    # A Deferred says captureVars=, and no exception: that too starts the debugger.
    script = DEBUG_MODE.replace("EXPECTED", "3")
    done = run_script(implementation, script)
    said = "Jumping into debugger for post-mortem of exception"
    assert done.stdout.splitlines() == [
        f"{said} 'why':",
        f"{said} 'broken str':",
        f"{said} 'division by zero':",
    ]


def test_module_flags(failure):
    assert failure.DO_POST_MORTEM is True
    assert failure.EXCEPTION_CAUGHT_HERE == "--- <exception caught here> ---"
    assert issubclass(failure.DefaultException, Exception)
    assert isinstance(failure.count, int)


def test_extraneous_returns_the_function(failure):
    def function():
        """Some helper that is not to be shown."""

    assert failure._extraneous(function) is function


def test_without_traceback(failure):
    error = caught(failure, ValueError()).value
    before = failure.count
    f = failure.Failure._withoutTraceback(error)
    assert (f.value, f.type, f.tb, f.captureVars) == (error, ValueError, None, False)
    assert f.count == before + 1 == failure.count


def test_source_of_the_last_line(failure):
    """Frames of code without a file have an empty line, and do no harm."""
    try:
        exec(compile("raise ValueError('x')", "<nowhere>", "exec"), {})
    except ValueError:
        f = failure.Failure()
    assert re.search(r'  File "<nowhere>", line 1, in <module>\n +\n', f.getTraceback())


def test_no_exception_is_left_being_handled(failure):
    make(failure, ValueError())
    assert sys.exc_info() == (None, None, None)
