"""Texts, frames and copies of failures, both the native and the general ones.

Most failures are of plain exceptions, and everything about them is made natively. These are the
cases in which a program has a say, and the edges between the two.
"""

import copy
import copyreg
import io
import linecache
import pickle
import subprocess
import sys
import traceback
import types

import pytest
from deferrous import _reflect
from deferrous import failure as ours
from helpers import normalise
from twisted.python import failure as twisteds


class Custom(Exception):
    """An exception without a text of its own."""


class WithText(Exception):
    def __str__(self):
        return "its own text"


class WithArgs(Exception):
    args = ("other arguments",)


class Text(str):
    """A string of a program's own."""

    def __str__(self):
        return "its own string"


class Pieces:
    """A file that remembers how it was written to."""

    def __init__(self):
        self.pieces = []

    def write(self, text):
        self.pieces.append(text)


def raised(error, depth=0):
    if depth:
        raised(error, depth - 1)
    raise error


def make(failure, error, depth=0, **options):
    try:
        raised(error, depth)
    except BaseException:
        return failure.Failure(**options)


ERRORS = [
    lambda: ValueError(),
    lambda: ValueError("why"),
    lambda: ValueError("why", 1, None, True, 1.5),
    lambda: ValueError(1),
    lambda: ValueError(10**50),
    lambda: ValueError([1]),
    lambda: ValueError(Text("why")),
    lambda: ValueError("ünïcödé \N{SNOWMAN}"),
    lambda: ValueError("half \udc80"),
    lambda: ValueError("two\nlines"),
    lambda: KeyError("name"),
    lambda: KeyError("name", 2),
    lambda: KeyError(),
    lambda: OSError(2, "No such file", "name"),
    lambda: Custom("why"),
    lambda: WithText("why"),
    lambda: WithArgs("why"),
    lambda: KeyboardInterrupt("why"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
]

SHOWN = {
    "str": str,
    "repr": repr,
    "message": lambda f: f.getErrorMessage(),
    "brief": lambda f: f.getBriefTraceback(),
    "default": lambda f: f.getTraceback(),
    "verbose": lambda f: f.getTraceback(detail="verbose"),
    "by place": lambda f: f.getTraceback(0, "default"),
}


def show(failure, error, way, **options):
    """A text of a failure of such an error, in which the numbers of failures are left out."""
    made = make(failure, error(), **options)
    text = SHOWN[way](made).replace(f"#{made.count}", "#")
    return text.replace("twisted.python.failure", "failure").replace("deferrous.failure", "failure")


@pytest.mark.parametrize("way", SHOWN)
@pytest.mark.parametrize("error", ERRORS, ids=range(len(ERRORS)))
def test_texts_are_twisteds(error, way):
    assert normalise(show(ours, error, way)) == normalise(show(twisteds, error, way))


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 20])
def test_repeated_frames(depth):
    # Where Twisted is in use, as here, all are shown.
    for way in ("default", "brief", "verbose"):
        one, other = (show(it, ERRORS[1], way, depth=depth) for it in (ours, twisteds))
        assert one == other


@pytest.mark.parametrize("detail", ["default", "brief", "verbose"])
def test_pieces(detail):
    pieces, made = Pieces(), make(ours, ValueError("why"), depth=2)
    made.printTraceback(pieces, detail=detail)
    assert "".join(pieces.pieces) == made.getTraceback(detail=detail)
    theirs = Pieces()
    make(twisteds, ValueError("why"), depth=2).printTraceback(theirs, detail=detail)
    assert len(pieces.pieces) == len(theirs.pieces)


@pytest.mark.parametrize("detail", ["default", "brief", "verbose", "verbose-vars-not-captured"])
def test_pieces_of_frames(detail):
    frames = make(ours, ValueError("why"), depth=2, captureVars=True).frames
    for these in (frames, tuple(frames), iter(frames), [], [list(frames[0])]):
        these = list(these)
        again = list(these)
        one, other = [], []
        ours.format_frames(these, one.append, detail)
        twisteds.format_frames(again, other.append, detail)
        assert one == other


@pytest.mark.parametrize("name", ["getTraceback", "getBriefTraceback", "printTraceback", "frames"])
def test_what_a_subclass_says(failure, name):
    texts = {
        "getTraceback": lambda self, *args, **kwargs: "its own",
        "getBriefTraceback": lambda self: "its own",
        "printTraceback": lambda self, file=None, *args, **kwargs: file.write("its own"),
        "frames": property(lambda self: [("function", "file", 1, (), ())]),
    }
    subclass = type("Subclass", (failure.Failure,), {name: texts[name]})
    made = make(types.SimpleNamespace(Failure=subclass), ValueError("why"))
    shown = [SHOWN[way](made).replace(f"#{made.count}", "") for way in ("str", "brief", "default")]
    plain = make(failure, ValueError("why"))
    assert any("its own" in text or "file" in text for text in shown)
    assert SHOWN["default"](plain) not in shown or name == "getBriefTraceback"


def test_what_is_patched_in_the_class(failure, monkeypatch):
    made = make(failure, ValueError("why"))
    before = made.getTraceback()
    with monkeypatch.context() as patch:
        patch.setattr(failure.Failure, "printTraceback", lambda self, file, **_: file.write("new"))
        assert made.getTraceback() == "new"
    assert made.getTraceback() == before


@pytest.mark.parametrize("name", ["getline", "getlines"])
def test_lines_from_a_program(failure, monkeypatch, name):
    made = make(failure, ValueError("why"))
    made.getTraceback()
    before = getattr(linecache, name)

    def instead(*args):
        found = before(*args)
        return "line\n" if name == "getline" else ["of a list\n"] * len(found)

    monkeypatch.setattr(linecache, name, instead)
    assert "    line\n" in made.getTraceback() or "    of a list\n" in made.getTraceback()


def test_a_file_that_has_changed(failure, tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def fails():\n    raise ValueError  # once\n", encoding="utf-8")
    names = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    try:
        names["fails"]()
    except ValueError:
        made = failure.Failure()
    assert "raise ValueError  # once" in made.getTraceback()
    path.write_text("def fails():\n    raise ValueError  # twice\n", encoding="utf-8")
    linecache.checkcache(str(path))
    assert "raise ValueError  # twice" in made.getTraceback()
    path.unlink()
    linecache.clearcache()
    assert "raise" not in made.getTraceback().partition("in fails\n")[2]


@pytest.mark.parametrize("change", ["append", "names", "line", "cut"])
def test_frames_that_are_changed(change):
    texts = []
    for failure in (ours, twisteds):
        made = make(failure, ValueError("why"), depth=1)
        frames = made.frames
        assert made.frames is frames
        if change == "append":
            frames.append(("name", "no such file", 3, [], []))
        elif change == "names":
            frames[0] = (Text("name"), Text("file"), 3, [], [])
        elif change == "line":
            frames[0] = ("name", __file__, -3, [], [])
        else:
            made.frames = frames[:1]
        texts.append([SHOWN[way](made).replace(f"#{made.count}", "#") for way in SHOWN])
    assert [normalise(text) for text in texts[0]][2:] == [normalise(text) for text in texts[1]][2:]


def test_variables_are_kept_for_each_frame(failure):
    made = make(failure, ValueError("why"), depth=2, captureVars=True)
    frames = made.frames
    assert all("__builtins__" not in dict(frame[4]) for frame in frames)
    assert dict(frames[0][4])["ERRORS"] is ERRORS
    assert len({id(frame[4]) for frame in frames}) == len(frames)
    assert [dict(frame[3])["depth"] for frame in frames[1:]] == [2, 1, 0]


# Copies.


def test_a_copy(failure):
    made = make(failure, ValueError("why"))
    made.request = "free"
    again = copy.copy(made)
    assert type(again) is failure.Failure
    assert (again.tb, again.pickled, again.request) == (None, 1, "free")
    assert again.value is made.value
    assert again.frames is made.frames
    assert again.parents == made.parents
    assert (made.tb is None, made.pickled) == (False, 0)
    assert again.getTraceback() == made.getTraceback()
    state = {**again.__dict__}
    assert state.pop("_frames") is made.frames
    assert "stack" not in state


@pytest.mark.parametrize("name", ["__getstate__", "__setstate__", "__reduce__", "__reduce_ex__"])
def test_a_copy_of_a_subclass_with_a_say(failure, name):
    calls = []
    before = getattr(failure.Failure, name)

    def method(self, *args):
        calls.append(name)
        return before(self, *args)

    made = make(failure, ValueError("why"))
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(failure.Failure, name, method, raising=False)
        copy.copy(made)
    assert calls == [name]


def test_a_copy_by_what_copyreg_says(failure, monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, failure.Failure, lambda it: (list, ([1, 2],)))
    assert copy.copy(make(failure, ValueError("why"))) == [1, 2]


def test_a_copy_of_a_subclass_is_a_plain_failure(failure):
    class Subclass(failure.Failure):
        pass

    assert type(copy.copy(Subclass(ValueError()))) is failure.Failure


def test_a_copy_can_be_pickled(failure):
    made = copy.copy(make(failure, ValueError("why")))
    assert pickle.loads(pickle.dumps(made)).getTraceback() == made.getTraceback()


# Stacks.


def deep(depth):
    return deep(depth - 1) if depth else stacks()


def stacks():
    return _reflect.format_stack(), traceback.format_stack()


def test_stacks_are_those_of_the_module_traceback(tmp_path, monkeypatch):
    for _ in range(2):
        for depth in (0, 1, 2, 3, 4, 10):
            one, other = deep(depth)
            assert one == other
    names = {"stacks": stacks}
    exec("one, other = stacks()", names)
    assert names["one"] == names["other"]
    path = tmp_path / "module.py"
    for comment in ("once", "and once more"):
        path.write_text(f"one, other = stacks()  # {comment}\n", encoding="utf-8")
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
        assert names["one"] == names["other"]
        assert comment in names["one"][-2]
    monkeypatch.setattr(sys, "tracebacklimit", 2, raising=False)
    one, other = stacks()
    assert one == other


# Reports.


LOGGING = """
import logging
import deferrous

class Handler(logging.Handler):
    def emit(self, record):
        print(record.levelname, record.name, record.getMessage(), record.exc_info[0].__name__,
              record.funcName, record.module, record.filename)

"""


def test_where_a_report_says_that_it_is_from(script):
    handler = "logging.getLogger().addHandler(Handler())\n"
    said = script(LOGGING + handler + "deferrous.fail(ValueError('why'))\n")
    assert said == (
        "CRITICAL deferrous Unhandled error in Deferred: ValueError to_logging _report _report.py\n"
    )


@pytest.mark.parametrize(
    "way, shown",
    [
        ("logging.getLogger().addHandler(logging.NullHandler())", False),
        ("logging.disable(logging.CRITICAL)", False),
        ("logging.getLogger('deferrous').disabled = True", False),
        ("logging.getLogger('deferrous').setLevel(100)", False),
        (
            "logging.getLogger().addHandler(logging.NullHandler())\n"
            "logging.getLogger('deferrous').addHandler(Handler())",
            True,
        ),
        (
            "logging.getLogger().addHandler(Handler())\n"
            "logging.getLogger('deferrous').addHandler(logging.NullHandler())\n"
            "logging.getLogger('deferrous').propagate = False",
            False,
        ),
        (
            "logging.getLogger().addHandler(logging.NullHandler())\n"
            "logging.getLogger('deferrous').addFilter(lambda record: print(record.getMessage()))",
            True,
        ),
        (
            "logging.getLogger().addHandler(logging.NullHandler())\n"
            "logging.getLogger('deferrous').critical = lambda text, *args, **kwargs: print(text)",
            True,
        ),
        (
            "logging.getLogger().addHandler(logging.NullHandler())\n"
            "logging.Logger.handle = lambda self, record: print(record.getMessage())",
            True,
        ),
        (
            # The class was known to be as it is by then.
            "logging.getLogger().addHandler(logging.NullHandler())\n"
            "deferrous.logError(deferrous.Failure(ValueError()))\n"
            "logging.Logger.handle = lambda self, record: print(record.getMessage())",
            True,
        ),
        (
            "logging.getLogger().addHandler(logging.NullHandler())\n"
            "own = {'critical': lambda self, text, *args, **kwargs: print(text)}\n"
            "logging.getLogger('deferrous').__class__ = type('Own', (logging.Logger,), own)",
            True,
        ),
    ],
)
def test_whether_a_report_is_made(script, way, shown):
    said = script(LOGGING + way + "\ndeferrous.fail(ValueError('why'))\n")
    assert ("Unhandled error in Deferred:" in said) is shown


@pytest.mark.parametrize(
    "way",
    [
        "deferrous.DebugInfo.__del__ = lambda self: print('replaced', self.failResult.value)",
        "deferrous.DebugInfo._getDebugTracebacks = lambda self: print('replaced why')",
        "deferrous.DebugInfo = type('Own', (), {'__del__': lambda self: print('replaced why')})",
        "deferrous.DebugInfo.__init__ = lambda self: print('replaced why')",
        "deferrous.DebugInfo.__setattr__ = lambda self, *args: print('replaced why')",
        "deferrous.DebugInfo.failResult = property(None, lambda self, it: print('replaced why'))",
    ],
)
def test_a_debug_info_that_a_program_replaces(script, way):
    said = script(LOGGING + way + "\ndeferrous.fail(ValueError('why'))\n")
    assert "replaced why" in said


def test_a_debug_info_that_reports_nothing_any_more(script):
    said = script(LOGGING + "del deferrous.DebugInfo.__del__\ndeferrous.fail(ValueError('why'))\n")
    assert said == ""


@pytest.fixture
def script(tmp_path):
    """Runs a script in a process of its own, and gives what it prints."""

    def run(text):
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    return run


def test_texts_where_no_program_uses_twisted(script):
    said = script(
        "import deferrous\n"
        "def f(n):\n"
        "    return f(n - 1) if n else 1 / 0\n"
        "for depth in (2, 3, 4, 9):\n"
        "    try:\n"
        "        f(depth)\n"
        "    except ZeroDivisionError:\n"
        "        failure = deferrous.Failure()\n"
        "    class Own(deferrous.Failure):\n"
        "        def printBriefTraceback(self):\n"
        "            pass\n"
        "    assert failure.getTraceback() == Own(failure).getTraceback()\n"
        "    print(failure.getTraceback().count('Previous line repeated'))\n"
    )
    assert said.split() == ["0", "1", "1", "1"]


def test_a_stringio_gets_the_whole(failure):
    made, stream = make(failure, ValueError("why")), io.StringIO()
    made.printTraceback(stream)
    assert stream.getvalue() == made.getTraceback()
