"""The state of a Failure: attributes, copies, pickles."""

import copy
import gc
import pickle
import sysconfig
import warnings
import weakref

import pytest
from failure_helpers import FILE, Custom, fails, make
from helpers import qual, user_frames


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
    assert (name, filename) == ("fails", FILE)
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
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        # A frame is seldom freed before a collection there.
        gc.collect()
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
    assert user_frames(loaded, FILE) == ["make", "fails"]
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
    assert user_frames(other, FILE) == ["make", "fails"]
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
    assert user_frames(other, FILE) == ["make", "fails"]
    assert other.getErrorMessage() == "x"


def test_args(failure):
    """As BaseException keeps them: what was given by position."""
    error = ValueError()
    assert failure.Failure(error).args == (error,)
    assert failure.Failure(exc_value=error).args == ()
