"""Notes on exceptions: which callback raised one, if no Python frame shows it."""

import functools
import inspect
import re
import sys

import deferrous as defer
import pytest
from deferrous import _notes, concurrency
from deferrous.testing import Clock
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

HERE = f'file "{__file__}"'


def takes_nothing():
    pass


class Service:
    def takes_nothing(self):
        pass

    def __call__(self):
        pass


class MadeOfTwo:
    def __init__(self, one, other):
        pass


class Meta(type):
    pass


class MadeByNew(metaclass=Meta):
    def __new__(cls):
        return object.__new__(cls)


def line_of(function):
    return inspect.getsourcelines(function)[1]


def failure_of(d):
    failures = []
    d.addErrback(failures.append)
    return failures[0]


def notes_of(d):
    return [
        re.sub(r"0x[0-9a-f]+", "0x?", each)
        for each in failure_of(d).value.__notes__
        if not each.startswith("With setDebugging")
    ]


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (takes_nothing, f"takes_nothing, {HERE}, line {line_of(takes_nothing)}"),
        (
            Service().takes_nothing,
            f"Service.takes_nothing, {HERE}, line {line_of(Service.takes_nothing)}",
        ),
        (
            functools.partial(takes_nothing, 1),
            f"partial of takes_nothing, {HERE}, line {line_of(takes_nothing)}",
        ),
        (Service(), f"<Service at 0x?>, {HERE}, line {line_of(Service.__call__)}"),
        (int, "int"),
        (MadeOfTwo, f"MadeOfTwo, {HERE}, line {line_of(MadeOfTwo.__init__)}"),
        (MadeByNew, f"MadeByNew, {HERE}, line {line_of(MadeByNew.__new__)}"),
        (len, "len"),
        ({}.pop, "dict of 0.pop"),
    ],
    ids=[
        "function",
        "method",
        "partial",
        "callable",
        "class",
        "class with __init__",
        "class with __new__",
        "builtin",
        "bound builtin",
    ],
)
@pytest.mark.parametrize("fired", [True, False])
@pytest.mark.parametrize("way", ["addCallback", "addBoth", "addCallbacks"])
def test_callbacks(callback, text, fired, way):
    d = defer.succeed("no number") if fired else defer.Deferred()
    if callback is len:
        d = defer.succeed(5) if fired else defer.Deferred()
    getattr(d, way)(callback)
    if not fired:
        d.callback(5 if callback is len else "no number")
    assert notes_of(d) == [f"raised by the callback {text}"]


def test_what_cannot_be_called():
    d = defer.Deferred()
    d.addCallback(5)
    d.callback(None)
    assert notes_of(d) == ["raised by the callback 5"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: defer.maybeDeferred(takes_nothing, 1),
        lambda: defer.maybeDeferred(takes_nothing, name=1),
        lambda: defer.DeferredLock().run(takes_nothing, 1),
        lambda: defer.DeferredSemaphore(1).run(takes_nothing, 1),
        lambda: concurrency.Semaphore().run(takes_nothing, 1),
        lambda: concurrency.KeyedLock()("key").run(takes_nothing, 1),
        lambda: concurrency.map(takes_nothing, [1], limit=1),
        lambda: concurrency.once(takes_nothing)(1),
    ],
)
def test_functions_that_are_no_callbacks(call):
    text = f"raised by the function takes_nothing, {HERE}, line {line_of(takes_nothing)}"
    assert notes_of(call()) == [text]


def test_a_function_that_waits_for_a_lock():
    lock = defer.DeferredLock()
    lock.acquire()
    d = lock.run(takes_nothing, 1)
    lock.release()
    text = f"raised by the function takes_nothing, {HERE}, line {line_of(takes_nothing)}"
    assert notes_of(d) == [text]
    assert not lock.locked


def test_functions_that_have_frames_get_no_note():
    def fails():
        raise ValueError

    for d in (defer.maybeDeferred(fails), defer.DeferredLock().run(fails)):
        assert not hasattr(failure_of(d).value, "__notes__")


def test_errbacks_and_arguments():
    d = defer.fail(KeyError("name"))
    d.addErrback(takes_nothing, 1, two=2)
    (note,) = notes_of(d)
    assert note.startswith("raised by the callback takes_nothing, file")


@pytest.mark.parametrize("fired", [True, False])
@pytest.mark.parametrize("how", ["addCallback", "chainDeferred"])
def test_one_that_was_fired_before(how, fired):
    other = defer.succeed(None)
    d = defer.succeed(1) if fired else defer.Deferred()
    if how == "addCallback":
        d.addCallback(other.callback)
    else:
        d.chainDeferred(other)
    if not fired:
        d.callback(1)
    assert notes_of(d) == ["raised by the callback <Deferred at 0x?>.callback"]


def test_where_they_were_made():
    with defer.track():
        other = defer.Deferred()
        d = defer.Deferred()
    other.callback(None)
    d.addCallback(other.callback)
    d.callback(1)
    (note,) = notes_of(d)
    line = line_of(test_where_they_were_made)
    function = "test_where_they_were_made"
    places = [f'File "{__file__}", line {line + each}, in {function}' for each in (2, 3)]
    if "which" in note:
        # It is forgotten when a Deferred has been fired.
        assert places[0] in note
    assert note.startswith("raised by the callback <Deferred at 0x?>.callback")


def test_the_way_of_a_failure():
    with defer.track():
        inner = defer.Deferred()
        middle = defer.succeed(None).addCallback(lambda _: inner)
        outer = defer.succeed(None).addCallback(lambda _: middle)
        inner.errback(KeyError("name"))
        failure = failure_of(outer)
    line = line_of(test_the_way_of_a_failure)
    function = "test_the_way_of_a_failure"
    assert failure.value.__notes__ == [
        f'passed on to a Deferred that was made at File "{__file__}", line {each}, in {function}'
        for each in (line + 3, line + 4)
    ]


def test_the_way_is_not_noted_without_tracking():
    inner = defer.Deferred()
    outer = defer.succeed(None).addCallback(lambda _: inner)
    inner.errback(KeyError("name"))
    assert not hasattr(failure_of(outer).value, "__notes__")


def test_where_it_was_made_in_debug_mode():
    defer.setDebugging(True)
    try:
        d = defer.Deferred()
    finally:
        defer.setDebugging(False)
    d.addCallback(takes_nothing)
    d.callback(1)
    (note,) = notes_of(d)
    function = "test_where_it_was_made_in_debug_mode"
    line = line_of(test_where_it_was_made_in_debug_mode) + 3
    assert note.splitlines()[1] == (
        f'in a Deferred that was made at File "{__file__}", line {line}, in {function}'
    )


def test_what_programs_compare_stays():
    failure = failure_of(defer.succeed("x").addCallback(int))
    error = failure.value
    text = "invalid literal for int() with base 10: 'x'"
    assert (str(error), error.args, repr(error)) == (text, (text,), f'ValueError("{text}")')
    assert failure.getErrorMessage() == text


def test_what_has_frames_gets_no_note():
    def raises(_):
        raise KeyError

    assert not hasattr(failure_of(defer.succeed(1).addCallback(raises)).value, "__notes__")
    memory = defer.succeed(1).addCallback(bytearray(1).__mul__).addCallback(lambda _: None)
    memory.addErrback(lambda _: None)


def test_one_that_is_raised_again_and_again():
    errors = []

    class Raises:
        __slots__ = ()

    iterator = iter([1])
    list(iterator)
    for _ in range(20):
        d = defer.succeed(None)
        d.addCallback({}.__getitem__)
        errors.append(failure_of(d).value)
    assert [len(each.__notes__) for each in errors] == [1] * 20
    error = ValueError()
    for number in range(20):
        _notes.name_callback(error, number, None)
    assert len(error.__notes__) == 5


class Frozen(Exception):
    def __setattr__(self, name, value):
        raise AssertionError("asked")

    def add_note(self, note):
        raise AssertionError("asked")

    def __getattribute__(self, name):
        raise AssertionError("asked")


@pytest.mark.parametrize("notes", [None, "text", [object()], ("a",)])
def test_exceptions_are_not_asked(notes):
    error = Frozen()
    attributes = BaseException.__dict__["__dict__"].__get__(error)
    if notes is not None:
        attributes["__notes__"] = notes
    _notes.name_callback(error, takes_nothing, None)
    found = attributes["__notes__"]
    assert found is notes if notes is not None and type(notes) is not list else len(found) >= 1


def test_the_report():
    done = run_script(
        "deferrous",
        """
        def takes_nothing():
            pass

        d = defer.succeed(1).addCallback(takes_nothing)
        del d
        """,
    )
    title, *_, error, note = done.stderr.splitlines()
    assert title == "Unhandled error in Deferred:"
    if sys.version_info < (3, 11):
        # Python does not show notes; the message does.
        _, note, *_, error = done.stderr.splitlines()
    assert error == "TypeError: takes_nothing() takes 0 positional arguments but 1 was given"
    assert note.startswith("raised by the callback takes_nothing, file")


def test_a_note_that_cannot_be_made_is_dropped():
    done = run_script(
        "deferrous",
        """
        from deferrous import _notes, concurrency

        def broken(*_):
            raise ValueError("no note")

        _notes._add = broken
        d = defer.succeed("x").addCallback(int)
        d.addErrback(lambda failure: print(failure.type.__name__, vars(failure.value)))
        """,
    )
    assert done.stdout == "ValueError {}\n"


def test_ctrl_c_while_a_note_is_made():
    done = run_script(
        "deferrous",
        """
        from deferrous import _notes, concurrency

        def interrupted(*_):
            raise KeyboardInterrupt

        _notes._add = interrupted
        d = defer.succeed("x").addCallback(int)
        d.addErrback(lambda failure: print(failure.type.__name__))
        """,
    )
    assert done.stdout == "KeyboardInterrupt\n"


def test_twisteds_own_texts_stay():
    done = run_script(
        "deferrous",
        """
        defer.install()
        from twisted.internet import defer as theirs
        failures = []
        theirs.succeed("x").addCallback(int).addErrback(failures.append)
        print(failures[0].getTraceback())
        print(failures[0].value.__notes__)
        """,
    )
    *text, notes = done.stdout.splitlines()
    assert [line for line in text if line] == [
        "Traceback (most recent call last):",
        "Failure: builtins.ValueError: invalid literal for int() with base 10: 'x'",
    ]
    assert notes == "['raised by the callback int']"


def test_that_the_time_has_run_out_needs_no_note():
    clock, d = Clock(), defer.Deferred()
    d.addTimeout(1, clock)
    clock.advance(2)
    error = failure_of(d).value
    assert type(error) is defer.TimeoutError
    assert not hasattr(error, "__notes__")
