"""Native functions called with any arguments: a result or an exception, and never a crash.

The classes are found by looking, so that a new one, or a new method, is called, too. Each class is
called in an interpreter of its own.
"""

import sysconfig

import pytest
from helpers import run_script
from hostile_calls_program import PRELUDE

pytestmark = pytest.mark.deferrous_only

CLASSES = [
    "Deferred",
    "DeferredList",
    "DeferredLock",
    "DeferredQueue",
    "DeferredSemaphore",
    "FailureBase",
    "_ConcurrencyPrimitive",
    "_DeferredIterator",
    "_Fifo",
    "_LockRun",
    "_Place",
    "_Race",
    "_Task",
    "_TaskCallback",
    "_Timeout",
    "_Wakeup",
]
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    CLASSES.insert(CLASSES.index("_Task"), "_Steps")


def test_these_are_all():
    run_script(
        "deferrous",
        f"{PRELUDE}\nnames = native_classes()\nassert names == sorted(MAKERS) == {CLASSES}, names",
    )


@pytest.mark.parametrize("name", CLASSES)
def test_methods_and_attributes(name):
    # A line times a large number is a large list.
    limit = "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))" if name == "_Fifo" else ""
    run_script("deferrous", f"{PRELUDE}\n{limit}\ncall_everything({name!r})")


def test_functions():
    run_script(
        "deferrous",
        PRELUDE
        + """
random.seed(1)
for name, function in vars(_deferrous).items():
    if not callable(function) or name in ("set_namespace", "register_failure_class", "look_all_up"):
        continue
    print(name, file=sys.stderr)
    columns = [hostile() for _ in range(4)]
    calls = [(), *((value,) for value in hostile())]
    for count in (2, 3, 4):
        for column in columns:
            random.shuffle(column)
        calls.extend(zip(*(hostile_column for hostile_column in columns[:count])))
    for args in calls:
        if name in ("_Fifo", "DeferredList") and endless(None, "__init__", args):
            continue
        if endless(None, name, args):
            continue
        made = call((name, args), function, *args)
        if type(made).__module__.startswith("deferrous"):
            use(made)
        call((name, args), function, *args, unknown=1)
gc.collect()
assert not bugs, bugs
""",
    )


def test_classes_that_are_not_what_they_are_used_for():
    """Whatever `__new__`, `__class__` and `__bases__` are given."""
    run_script(
        "deferrous",
        PRELUDE
        + """
classes = [type(makers[0]()) for makers in MAKERS.values()] + [DeferredLock.__base__]
classes += [sub(cls) for cls in classes if cls.__flags__ & 1 << 10]
classes += [object, int, type, BaseException, ValueError, Failure]
for cls in classes:
    for other in classes:
        print(cls, other, file=sys.stderr)
        made = call((cls, other), cls.__new__, other)
        if made is not None:
            use(made)
        call((cls, other), object.__new__, other)
        call((cls, other), BaseException.__new__, other)
        if cls.__name__ == "Sub":
            call((cls, other), setattr, cls, "__bases__", (other,))
        try:
            made = cls.__new__(cls)
        except TypeError:
            continue
        call((cls, other), setattr, made, "__class__", other)
        use(made)
gc.collect()
assert not bugs, bugs
""",
    )


def test_a_race_called_by_hand():
    run_script(
        "deferrous",
        PRELUDE
        + """
class Failed(Deferred):
    pass

lost = Failed()
lost.errback(ValueError())
call("failed", race([])._canceller, lost, 0)
del lost
call("late", race([Deferred()])._canceller, 1, 5)
r = race([Deferred(), Deferred()])
call("nobody's place", r._canceller, "won", 7)
gc.collect()
assert not bugs, bugs
""",
    )


def test_failure_of_a_class_that_is_none():
    """`Failure` is what the module had when it was imported, or a TypeError."""
    run_script(
        "deferrous",
        PRELUDE
        + """
import deferrous.failure
for instead in (int, object, Deferred, 1, None, type("F", (Exception,), {}), lambda *_: 1 / 0):
    deferrous.failure.Failure = instead
    made = call(instead, _deferrous.FailureBase._withoutTraceback, ValueError(1))
    assert made is None or isinstance(made, Failure), made
    if instead is not Failure:
        try:
            _deferrous.register_failure_class(instead)
        except TypeError:
            pass
        else:
            raise AssertionError(instead)
    f = Failure(ValueError(2))
    assert f.check(ValueError) is ValueError
    assert deferrous.fail(KeyError()).addErrback(lambda f: f.type).result is KeyError
""",
    )
