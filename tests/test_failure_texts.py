"""The texts of a Failure: tracebacks, messages, debug mode."""

import io
import pickle
import re
import sys
import traceback

import pytest
from failure_helpers import FILE, BrokenStr, fails, make
from helpers import caught, normalise, qual, run_script
from twisted.python import log


def test_traceback_default(failure):
    f = make(failure, ValueError("why"))
    first, *lines, last = f.getTraceback().splitlines()
    assert first == "Traceback (most recent call last):"
    fails_line = fails.__code__.co_firstlineno + 2
    assert lines[-2:] == [
        f'  File "{FILE}", line {fails_line}, in fails',
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
    assert lines[-1] == f"{FILE}:{fails.__code__.co_firstlineno + 2}:fails"
    assert f.getTraceback(detail="brief") == f.getBriefTraceback()


def test_traceback_verbose(failure):
    f = make(failure, ValueError("why"), captureVars=True)
    text = f.getTraceback(detail="verbose")
    lines = text.splitlines()
    assert lines[0] == f"*--- Failure #{f.count} ---"
    assert f"{FILE}:{fails.__code__.co_firstlineno + 2}: fails(...)" in lines
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
    assert lines[-4] == f"{FILE}:{fails.__code__.co_firstlineno + 2}: fails(...)"


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


@pytest.mark.parametrize("count", [True, 2**70, 1.5, None, "1", [1], object()], ids=type)
def test_traceback_verbose_with_another_count(failure, count):
    f = failure.Failure(ValueError("text"))
    f.count = count
    if isinstance(count, (int, float)):
        lines = f.getTraceback(detail="verbose").splitlines()
        assert lines[0] == f"*--- Failure #{int(count)} ---"
        assert lines[-1] == f"*--- End of Failure #{int(count)} ---"
    else:
        with pytest.raises(TypeError, match=r"%d.*real number"):
            f.getTraceback(detail="verbose")
