"""The traceback in the report of an unhandled error, compared with the module `traceback`."""

import sys
import textwrap

import pytest
from helpers import run_script
from report_helpers import run

pytestmark = pytest.mark.deferrous_only


def test_tracebacks_as_traceback_has_them():
    run(
        """
        for function in FUNCTIONS:
            error, f = caught(function)
            text = f.getTraceback()
            assert text == f.getTraceback(detail="default")
            for detail in ("default", "verbose"):
                shown = f.getTraceback(detail=detail)
                for line in traceback.format_exception(type(error), error, error.__traceback__):
                    own = line.startswith(("  File", "  |", "  +", "Traceback"))
                    for part in [] if own else line.splitlines():
                        part = part.replace("ValueError: second", "builtins.ValueError: second")
                        assert part in shown, (function, detail, part, shown)
            assert "KeyError" not in f.getTraceback(detail="brief") or function is group
        """
    )


def test_the_whole_text():
    done = run(
        """
        class Error(Exception):
            pass

        error = Error("outer")
        error.__cause__ = KeyError("inner")
        sys.stdout.write(failure.Failure(error).getTraceback())
        error.__cause__ = None
        error.__suppress_context__ = False
        error.__context__ = KeyError("context")
        sys.stdout.write(failure.Failure(error).getTraceback())
        error.__suppress_context__ = True
        sys.stdout.write(failure.Failure(error).getTraceback())
        """
    )
    own = "Traceback (most recent call last):\nFailure: __main__.Error: outer\n"
    assert done.stdout == (
        "KeyError: 'inner'\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        f"{own}"
        "KeyError: 'context'\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        f"{own}{own}"
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes and groups are of Python 3.11")
def test_notes_and_groups():
    done = run(
        """
        error = ExceptionGroup("several", [ValueError("one"), KeyError("two")])
        error.add_note("of all")
        error.exceptions[0].add_note("of one")
        sys.stdout.write(failure.Failure(error).getTraceback())
        """
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "Traceback (most recent call last):",
        "Failure: builtins.ExceptionGroup: several (2 sub-exceptions)",
        "of all",
    ]
    assert lines[3].startswith("  +-+---------------- 1 ----")
    assert [line.strip("| ") for line in lines[4:6]] == ["ValueError: one", "of one"]
    assert "KeyError: 'two'" in lines[7]


def test_repeated_frames_are_folded():
    """As the module traceback does, but where all frames are asked for."""
    done = run(
        """
        def deep(n):
            return deep(n - 1) if n else 1 / 0

        for n in (1, 2, 3, 4, 1000):
            try:
                sys.setrecursionlimit(5000)
                deep(n)
            except ZeroDivisionError as error:
                made = failure.Failure()
                text = made.getTraceback()
                folded = [line for line in text.splitlines() if "repeated" in line]
                expected = "".join(traceback.format_exception(None, error, made.tb))
                assert folded == [i for i in expected.splitlines() if "repeated" in i], folded
                assert bool(folded) == (n > 2)
                assert made.getTraceback(detail="verbose").count("deep(...)") == n + 1
                assert made.getBriefTraceback().count(":deep") == n + 1
        """
    )
    assert done.stdout == ""


def test_the_place_of_a_syntax_error():
    done = run(
        """
        import linecache

        for source in ("a = = 1", "def f(:", "x\\n  y"):
            try:
                compile(source, "<a file>", "exec")
            except SyntaxError as error:
                for made in (failure.Failure(), failure.Failure(error.with_traceback(None))):
                    text = made.getTraceback()
                    *place, last = traceback.format_exception_only(type(error), error)
                    assert "".join(place) in text, text
                    assert text.rstrip("\\n").endswith("builtins." + last.rstrip("\\n")), text
                    assert "<a file>, line" not in text
        print(failure.Failure(SyntaxError("no place")).getTraceback(), end="")
        print(failure.Failure(SyntaxError()).getTraceback(), end="")
        """
    )
    assert done.stdout == (
        "Traceback (most recent call last):\nFailure: builtins.SyntaxError: no place\n"
        "Traceback (most recent call last):\nFailure: builtins.SyntaxError: <no detail available>\n"
    )


def test_installed():
    """Twisted's words, before Twisted is imported, and after."""
    run_script(
        "deferrous",
        textwrap.dedent(
            """
            import sys
            from deferrous import install
            install()
            f = failure.Failure(ValueError("why"))
            f.value.__cause__ = KeyError("cause")
            assert "KeyError" not in f.getTraceback()
            from twisted.python.failure import Failure
            assert Failure is failure.Failure
            assert "KeyError" not in f.getTraceback()
            """
        ),
    )


def test_endless_exceptions():
    """A property that makes another exception each time; rings of exceptions."""
    run(
        """
        asked = []

        class Endless(Exception):
            @property
            def value(self):
                asked.append("value")
                return Endless()

            subFailure = value

        class Causes(Exception):
            @property
            def __cause__(self):
                return Causes("again")

        class Contexts(Exception):
            @property
            def __context__(self):
                return Contexts("again")

        for cls in (Endless, Causes, Contexts):
            defer.fail(cls("first"))
            assert "first" in texts.pop()
            assert "first" in failure.Failure(cls("first")).getTraceback()
            failure.Failure(cls("first")).getTraceback(detail="verbose")
        assert asked == []

        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        defer.fail(one)
        assert "one" in texts.pop()
        assert failure.Failure(one).getTraceback().count("ValueError: one") == 1

        f = failure.Failure(ValueError("ring"))
        f.value = first = defer.FirstError(f, 0)
        defer.fail(f)
        assert "FirstError" in texts.pop()
        f.value = f
        defer.fail(f)
        assert "Failure" in texts.pop()
        assert len(f.getTraceback(detail="verbose")) < 10_000
        """
    )


@pytest.mark.parametrize("size", [64, 128, 512, None])
@pytest.mark.parametrize("limit", [1000, 10_000])
def test_failures_in_failures_where_the_stack_ends(limit, size):
    """A report waits until there is stack for it. None is lost."""
    run(
        f"""
        import gc, threading
        def go(_=None):
            return defer.gatherResults([defer.succeed(1).addCallback(go)])
        def use():
            try:
                go()
            except RecursionError:
                pass
            gc.collect()
        sys.setrecursionlimit({limit})
        if {size} is None:
            use()
        else:
            threading.stack_size(({size} or 0) << 10)
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        del use, go
        lose(lambda: 1 / 0)
        for _ in range(100):
            pass
        assert records, "nothing was reported"
        assert isinstance(records[-1].exc_info[1], ZeroDivisionError)
        assert max(map(len, texts)) < 1_000_000
        """
    )


NESTED = """
    def first(inner):
        return defer.FirstError(failure.Failure(inner), 0)

    def cause(inner):
        error = ValueError()
        error.__cause__ = inner
        return error

    def context(inner):
        error = ValueError()
        error.__context__ = inner
        return error

    def group(inner):
        return ExceptionGroup("group", [inner])

    def argument(inner):
        return ValueError(inner)

    def gathered(inner):
        return defer.FailureGroup([failure.Failure(inner)])

    def failure_of_a_failure(inner):
        f = failure.Failure(ValueError())
        f.value = failure.Failure(inner)
        return ValueError(f)
"""


@pytest.mark.parametrize(
    "kind",
    ["first", "cause", "context", "group", "argument", "gathered", "failure_of_a_failure"],
)
def test_exceptions_in_each_other(kind):
    """100,000 deep, on a small stack, too."""
    if kind == "group" and sys.version_info < (3, 11):
        pytest.skip("there are no groups")
    if kind == "argument" and sys.version_info >= (3, 12):
        pytest.xfail("CPython's own repr of what is so deep crashes on a small stack")
    run(
        textwrap.dedent(NESTED)
        + textwrap.dedent(
            f"""
            import threading
            error = ValueError("innermost")
            for _ in range(100_000):
                error = {kind}(error)
            def show():
                f = failure.Failure(error)
                for text in (
                    lambda: f.getTraceback(), lambda: f.getBriefTraceback(), lambda: str(f),
                    lambda: repr(f), lambda: f.getErrorMessage(),
                    lambda: f.getTraceback(detail="verbose"),
                ):
                    try:
                        assert len(text()) < 10_000_000
                    except RecursionError:
                        pass
                defer.fail(f)
            show()
            threading.stack_size(128 << 10)
            thread = threading.Thread(target=show)
            thread.start()
            thread.join()
            defer.succeed(1)
            assert len(records) == 2
            """
        )
    )


def test_first_errors_in_each_other_have_a_repr():
    run(
        """
        error = ValueError("innermost")
        for i in range(100_000):
            error = defer.FirstError(failure.Failure(error), i % 2)
        assert repr(error) == (
            "FirstError[#1, FirstError[#0, " * 50_000 + "ValueError('innermost')" + "]" * 100_000
        )
        error.subFailure.value = error
        try:
            repr(error)
        except RecursionError:
            pass
        else:
            raise AssertionError("it ended")
        """
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups")
@pytest.mark.parametrize(
    "around",
    [
        "group",
        "ExceptionGroup('around', [group])",
        "defer.FirstError(failure.Failure(group), 0)",
        "ValueError(group)",
        "ValueError(1, [(group,)])",
        "linked(group, '__cause__')",
        "linked(group, '__context__')",
        "ExceptionGroup('around', [taken_apart(ValueError, ValueError(1))])",
        "ValueError(taken_apart(ValueError, ValueError(1)))",
    ],
)
def test_a_group_that_was_taken_apart(around):
    """By the collector, before what is in the same ring fails with it."""
    run(
        f"""
        import ctypes

        def taken_apart(cls, error):
            # As the collector does: `tp_clear` is the 23rd word after what all objects have.
            place = id(cls) + object.__basicsize__ + 22 * 8
            address = ctypes.c_void_p.from_address(place).value
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object)(address)(error)
            return error

        def linked(group, name):
            error = ValueError(1)
            setattr(error, name, group)
            return error

        group = taken_apart(BaseExceptionGroup, ExceptionGroup("lost", [KeyError(1)]))
        assert group.message is None and group.exceptions is None
        defer.fail({around})
        assert len(records) == 1
        assert texts[0].startswith("Unhandled error in Deferred:")
        """
    )


ODD = {
    "a cause that raises": "class Odd(Exception): __cause__ = property(refuse)",
    "a context that raises": "class Odd(Exception): __context__ = property(refuse)",
    "a context's traceback that raises": """
class Inner(Exception): __traceback__ = property(refuse)
class Odd(Exception): __context__ = property(lambda self: Inner())
""",
    "a name that cannot be read": """
class Meta(type):
    def __getattribute__(cls, name): refuse(cls)
class Odd(Exception, metaclass=Meta): pass
""",
}
if sys.version_info >= (3, 11):
    ODD["notes that raise"] = "class Odd(Exception): __notes__ = property(refuse)"
    ODD["members that raise"] = """
class Group(ExceptionGroup): exceptions = property(refuse)
def Odd(text): return Group(text, [KeyError()])
"""
    ODD["a group in itself"] = """
class Group(ExceptionGroup): exceptions = property(lambda self: (self,))
def Odd(text): return Group(text, [KeyError()])
"""
    ODD["groups that share their members"] = """
def Odd(text):
    error = KeyError()
    for _ in range(30): error = ExceptionGroup(text, [error, error])
    return error
"""


@pytest.mark.deferrous_only
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_exception_that_cannot_be_shown_is_told_in_the_message(odd):
    """A handler of `logging` would lose it, if it were the record's `exc_info`."""
    run_script(
        "deferrous",
        f"""
import logging

class Kept(logging.Handler):
    def emit(self, record):
        records.append(record)
        texts.append(logging.Formatter().format(record))

def refuse(*_): raise LookupError("no")
{odd}
records, texts = [], []
logging.getLogger("deferrous").addHandler(Kept())
defer.fail(Odd("what went wrong"))
assert len(texts) == 1 and "Unhandled error" in texts[0], texts
# Of a class without a name, nothing else can be told. Since 3.13, `traceback` shows some of them.
assert "what went wrong" in texts[0] or "cannot be shown" in texts[0], texts
""",
    )
