"""Cached facts about a class are forgotten when the class changes, as on Twisted."""

import gc
import itertools
import pickle
import sys
import sysconfig
import warnings

import pytest
from helpers import Recorder, caught, ignore


def new_class(name="Mistake", *bases, **members):
    return type(name, bases or (ValueError,), {"__module__": "program", **members})


# Failure.check: classes by their names.


@pytest.mark.parametrize("attribute", ["__name__", "__module__"])
@pytest.mark.parametrize("renamed", ["raised", "base", "wanted"])
def test_check_after_a_class_was_renamed(failure, renamed, attribute):
    base = new_class("Base")
    raised, wanted = new_class("Raised", base), new_class("Wanted")
    f = [failure.Failure(raised()) for _ in range(4)]
    assert [each.check(wanted, "program.Wanted") for each in f[:2]] == [None, None]
    pairs = {"raised": (raised, wanted), "base": (base, wanted), "wanted": (wanted, base)}
    one, other = pairs[renamed]
    one.__module__ = other.__module__ = "elsewhere"
    one.__name__ = other.__name__
    assert f[2].check(wanted) is wanted
    assert f[2].trap(wanted) is wanted
    # As before, for one that has been asked: its names are kept.
    assert f[0].check(wanted) == f[1].check(wanted)
    setattr(one, attribute, "another")
    assert f[3].check(wanted) is None
    assert f[3].parents[0] == f"{raised.__module__}.{raised.__name__}"


def test_check_after_renaming_again_and_again(failure):
    raised, wanted = new_class("Raised"), new_class("Wanted")
    for i in range(300):
        raised.__name__ = f"Name{i % 7}"
        wanted.__name__ = f"Name{i % 5}"
        f = failure.Failure(raised())
        assert f.check(wanted) is (wanted if i % 7 == i % 5 else None)
        assert f.check(f"program.Name{i % 7}") == f"program.Name{i % 7}"
        assert f.check(f"program.Name{(i + 1) % 7}") is None


def test_check_after_the_bases_changed(failure):
    one, other = new_class("One"), new_class("Other")
    raised = new_class("Raised", one)
    assert failure.Failure(raised()).check(one, other) is one
    raised.__bases__ = (other,)
    f = failure.Failure(raised())
    assert f.check(one) is None
    assert f.check(other) is other


def test_many_classes(failure):
    """More than are remembered."""
    classes = [new_class(f"Class{i}") for i in range(600)]
    for _ in range(2):
        for one, other in itertools.pairwise(classes):
            f = failure.Failure(one())
            assert f.check(other) is None
            assert f.check(other, one) is one
            assert f.check(f"program.{one.__name__}")


def test_a_class_in_the_place_of_another(failure):
    for i in range(200):
        raised = new_class(f"Raised{i % 3}")
        wanted = new_class(f"Wanted{i % 2}")
        f = failure.Failure(raised())
        assert f.check(wanted) is None
        assert f.check(raised) is raised
        assert f.check(f"program.Raised{i % 3}", "program.Raised") == f"program.Raised{i % 3}"
        del f, raised, wanted
        gc.collect(0)


def test_check_of_classes_with_names_of_their_own(failure):
    class Meta(type):
        count = 0

        @property
        def __module__(cls):
            Meta.count += 1
            return f"module{Meta.count}"

    odd = Meta("Odd", (ValueError,), {})
    f = failure.Failure(odd())
    assert f.check(odd) is None
    assert f.check(KeyError) is None
    assert f.check(Exception) is Exception


@pytest.mark.parametrize("module", ["a.b", ""])
def test_check_with_a_module_of_any_kind(failure, module):
    raised = new_class("Raised", __module__=module)
    twin = new_class("Raised", __module__=module)
    f = failure.Failure(raised())
    assert f.check(twin) is twin
    assert f.check(f"{module}.Raised") == f"{module}.Raised"
    assert f.check(KeyError) is None


def test_trap_by_truth(failure):
    class Meta(type):
        def __bool__(cls):
            return False

    false = Meta("False_", (ValueError,), {})
    f = failure.Failure(false())
    assert f.check(false) is false
    with pytest.raises(false):
        f.trap(false)


@pytest.mark.parametrize("wanted", [KeyboardInterrupt, int, object, 3, b"ValueError", None, ()])
def test_check_of_what_names_nothing(failure, wanted):
    f = failure.Failure(ValueError())
    for _ in range(3):
        assert f.check(wanted) is None
        assert f.check(wanted, ValueError) is ValueError


def test_check_of_what_equals_a_name(failure):
    class Name:
        def __eq__(self, other):
            return other == "builtins.ValueError"

    class Text(str):
        pass

    f, name, text = failure.Failure(ValueError()), Name(), Text("builtins.ValueError")
    assert f.check(name) is name
    assert f.check(text) is text


# Failures of subclasses.


def test_check_asks_a_subclass_for_parents(failure):
    class Subclass(failure.Failure):
        @property
        def parents(self):
            return ["builtins.KeyError"]

    f = Subclass(ValueError())
    for _ in range(2):
        assert f.check(ValueError) is None
        assert f.check(KeyError) is KeyError


def test_check_asks_a_subclass_for_its_type(failure):
    class Subclass(failure.Failure):
        type = KeyError

        def __init__(self):
            self.value = KeyError()

    f = Subclass()
    for _ in range(2):
        assert f.check(ValueError) is None
        assert f.check(KeyError) is KeyError


def test_parents_of_a_class(failure):
    class Subclass(failure.Failure):
        pass

    assert Subclass(ValueError()).check(KeyError) is None
    Subclass._parents = ["builtins.KeyError"]
    f = Subclass(ValueError())
    assert f.check(KeyError) is KeyError
    assert f.check(ValueError) is None


def test_check_and_raise_are_replaced(failure, monkeypatch):
    f = failure.Failure(ValueError())
    with pytest.raises(ValueError):
        f.trap(KeyError)
    monkeypatch.setattr(failure.Failure, "check", lambda self, *types: types[0])
    assert f.trap(KeyError) is KeyError
    monkeypatch.undo()
    with pytest.raises(ValueError):
        f.trap(KeyError)
    monkeypatch.setattr(failure.Failure, "raiseException", lambda self: None)
    assert f.trap(KeyError) is None
    monkeypatch.undo()
    with pytest.raises(ValueError):
        f.trap(KeyError)


def test_raise_exception_asks_the_exception(failure):
    class Own(Exception):
        def with_traceback(self, traceback):
            return KeyError("another")

    with pytest.raises(KeyError, match="another"):
        failure.Failure(Own()).raiseException()
    with pytest.raises(KeyError, match="another"):
        failure.Failure(Own()).trap(ValueError)


def test_state_of_a_failure_that_was_asked(failure):
    f = failure.Failure(ValueError())
    assert "_parents" not in vars(failure.Failure(ValueError()))
    f.check(KeyError)
    f.type = KeyError
    assert f.check(KeyError) is None
    assert vars(f)["_parents"][0] == "builtins.ValueError"
    f = failure.Failure(ValueError())
    f.value = f.tb = None
    f.check(KeyError)
    assert list(vars(f))[:5] == ["count", "type", "value", "captureVars", "tb"]
    assert vars(f)["value"] is vars(f)["tb"] is f.value is f.tb is None


def test_parents_are_kept_and_changed(failure):
    f = failure.Failure(ValueError())
    f.parents.append("one.More")
    assert f.check("one.More") == "one.More"
    f.parents = ["builtins.KeyError"]
    assert f.check(ValueError) is None
    assert f.check(KeyError) is KeyError
    f.parents = None
    assert f.check(ValueError) is ValueError
    again = pickle.loads(pickle.dumps(f))
    assert again.check(KeyError, ValueError) is ValueError


# Deferreds of subclasses.


def test_init_is_replaced(defer):
    class Subclass(defer.Deferred):
        pass

    canceller = Recorder()
    assert Subclass(canceller)._canceller is canceller
    assert Subclass(canceller=canceller)._canceller is canceller
    Subclass.__init__ = lambda self, name, *, kind=None: setattr(self, "name", (name, kind))
    assert Subclass("a", kind=1).name == ("a", 1)
    with pytest.raises(TypeError):
        Subclass()
    del Subclass.__init__
    assert Subclass(None)._canceller is None
    with pytest.raises(TypeError):
        Subclass(1, 2)


def test_new_is_replaced(defer):
    class Subclass(defer.Deferred):
        pass

    Subclass()
    Subclass.__new__ = lambda cls, *args: 3
    assert Subclass("anything") == 3


def test_init_that_returns_something(defer):
    class Subclass(defer.Deferred):
        def __init__(self):
            return 3

    with pytest.raises(TypeError, match=r"__init__\(\) should return None, not 'int'"):
        Subclass()


def test_metaclass_that_calls(defer):
    class Meta(type(defer.Deferred)):
        def __call__(cls, *args, **kwargs):
            return args, kwargs

    class Subclass(defer.Deferred, metaclass=Meta):
        pass

    assert Subclass(1, two=2) == ((1,), {"two": 2})


def test_init_without_its_base(defer):
    class Subclass(defer.Deferred):
        def __init__(self):
            pass

    class Called(Subclass):
        def __init__(self, *args, **kwargs):
            defer.Deferred.__init__(self, *args, **kwargs)

    recorder = Recorder()
    for d in (Called(), Called(recorder), Called(canceller=recorder)):
        d.addBoth(recorder)
        d.callback(1)
    assert recorder.calls == [1, 1, 1]
    with pytest.raises(TypeError):
        Called(1, 2)
    with pytest.raises(TypeError):
        Called(nothing=1)


@pytest.mark.parametrize("how", ["class", "instance", "property"])
def test_debug_of_a_subclass(defer, how):
    class Subclass(defer.Deferred):
        pass

    def fired_twice():
        d = Subclass()
        if how == "instance":
            d.debug = True
        d.callback(1)
        with pytest.raises(defer.AlreadyCalledError) as raised:
            d.callback(1)
        return str(raised.value)

    if how != "instance":
        assert fired_twice() == ""
    if how == "class":
        Subclass.debug = True
    if how == "property":
        Subclass.debug = property(lambda self: True)
    assert "C: " in fired_twice() or "I: " in fired_twice()


# Arguments.


def given(result, *args, **kwargs):
    return result, args, kwargs


def test_arguments_by_keyword(defer):
    for fired in (True, False):
        for add in ("addCallback", "addBoth"):
            d = defer.Deferred()
            if fired:
                d.callback(1)
            getattr(d, add)(given, 2, 3, four=4, result_=5)
            if not fired:
                d.callback(1)
            assert d.result == (1, (2, 3), {"four": 4, "result_": 5})
    d = defer.Deferred().addErrback(given, errback_=1)
    d.errback(ValueError())
    assert d.result[1:] == ((), {"errback_": 1})


def test_arguments_by_keyword_are_shown(defer):
    d = defer.Deferred().addCallback(given, 1, two=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((callback, _),) = d.callbacks
    assert callback == (given, (1,), {"two": 2})


def test_arguments_of_both_may_change_until_they_are_needed(defer):
    kwargs = {}
    d = defer.Deferred().addCallbacks(given, ignore, (2,), kwargs)
    kwargs["three"] = 3
    d.callback(1)
    assert d.result == (1, (2,), {"three": 3})


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((given, ignore, (1,), {"a": 2}, (3,), {"b": 4}), {}),
        ((given,), {"callbackArgs": (1,), "callbackKeywords": {"a": 2}}),
        ((given,), {"errback": ignore, "errbackArgs": (3,)}),
        ((), {"callback": given, "errback": ignore}),
        ((given, None, None, None, None, None), {}),
        ((given, ignore, [1], {}), {}),
        ((given, ignore), {"callbackKeywords": {}}),
    ],
)
def test_add_callbacks(defer, args, kwargs):
    d = defer.Deferred()
    assert d.addCallbacks(*args, **kwargs) is d
    d.callback(0)
    all_args = dict(
        zip(["callback", "errback", "callbackArgs", "callbackKeywords"], args, strict=False)
    )
    all_args.update(kwargs)
    expected = tuple(all_args.get("callbackArgs") or ()), all_args.get("callbackKeywords") or {}
    assert d.result == (0, *expected)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((), {"errback": ignore}),
        ((given,), {"callback": given}),
        ((given,), {"other": 1}),
        ((given, ignore, (), {}, (), {}, 1), {}),
        ((given, ignore, (), {}, (), {}), {"errbackKeywords": {}}),
    ],
)
def test_add_callbacks_refuses(defer, args, kwargs):
    with pytest.raises(TypeError):
        defer.Deferred().addCallbacks(*args, **kwargs)


def test_keywords_that_are_no_strings(defer):
    d = defer.Deferred().addCallbacks(given, ignore, (), {1: 2})
    d.callback(1)
    assert caught_type(d) is TypeError


def caught_type(d):
    found = []
    d.addErrback(lambda failure: found.append(failure.type))
    return found[0]


def test_calls_by_keyword(defer):
    assert defer.maybeDeferred(given, 1, two=2).result == (1, (), {"two": 2})
    assert defer.execute(given, 1, two=2).result == (1, (), {"two": 2})
    assert defer.maybeDeferred(f=lambda: 3).result == 3
    assert defer.execute(callable=lambda: 3).result == 3
    for call in (defer.maybeDeferred, defer.execute):
        assert caught_type(call(given)) is TypeError
        with pytest.raises(TypeError):
            call(two=2)


# Attributes.


def test_attributes_are_read_from_subclasses(defer, failure):
    class Subclass(defer.Deferred):
        pass

    for cls in (defer.Deferred, Subclass):
        d = cls()
        assert (d.called, d.paused, getattr(d, "result", 3)) == (False, 0, 3)
        with pytest.raises(AttributeError) as raised:
            _ = d.result
        assert str(raised.value) == f"'{cls.__name__}' object has no attribute 'result'"
        assert raised.value.name == "result"
        assert raised.value.obj is d
        d.pause()
        d.callback(None)
        assert (d.called, d.paused, d.result) == (True, 1, None)
    d.paused = -2
    assert d.paused == -2
    f = caught(failure, ValueError())
    assert (f.value.__class__, f.type, f.tb is not None, f.captureVars) == (
        ValueError,
        ValueError,
        True,
        False,
    )
    with pytest.raises((AttributeError, TypeError)):
        defer.Deferred.called.__get__(3)


@pytest.mark.deferrous_only
@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="with the GIL, they are counted"
)
def test_no_thread_counts_references_to_our_classes():
    from deferrous import _deferrous, failure

    native = (type(len), type(str.join), type(type.__dict__["__mro__"]))
    for kind in [failure.Failure, *vars(_deferrous).values()]:
        if isinstance(kind, (type, type(len))):
            assert sys._is_immortal(kind), kind
    for kind in (_deferrous.Deferred, _deferrous.DeferredList, failure.Failure.__base__):
        for name, member in vars(kind).items():
            if isinstance(member, native):
                assert sys._is_immortal(member), name
