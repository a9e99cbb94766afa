"""Twisted on deferrous: `install()`, `python -m deferrous`, and how others inherit it.

Each test is about whole processes, so each has processes of its own.
"""

import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.deferrous_only

STARTUP_FILE = Path(__file__).resolve().parents[1] / "python" / "deferrous_install.pth"


def python(*arguments, cwd=None, stdin="", **environment):
    """Run Python on its own, and return what came of it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DEFERROUS_", "PYTHON"))}
    env |= {"PYTHONIOENCODING": "utf-8"} | environment
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )


def run(script, *options, **environment):
    """Run a script that has to succeed, and return what it printed."""
    done = python("-X", "faulthandler", *options, "-c", textwrap.dedent(script), **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: On the first line, so that the lines of what follows keep their numbers.
INSTALL = "import deferrous; deferrous.install(); "


def run_installed(script, *options, **environment):
    return run(INSTALL + textwrap.dedent(script), *options, **environment)


# --- install ---------------------------------------------------------------


def test_importing_deferrous_imports_no_twisted():
    run("""
        import sys, deferrous, deferrous.twisted
        assert not deferrous.installed()
        deferrous.install()
        assert not [name for name in sys.modules if name.split(".")[0] == "twisted"]
        """)


def test_install_is_idempotent():
    run("""
        import sys, deferrous, deferrous.twisted
        before = list(sys.meta_path)
        for _ in range(3):
            deferrous.install()
            assert deferrous.installed() and deferrous.twisted.installed()
        assert len(sys.meta_path) == len(before) + 1
        import twisted.internet.defer
        deferrous.install()
        assert deferrous.installed()
        """)


def test_the_objects_are_the_same_everywhere():
    run_installed("""
        import sys, types
        import deferrous.failure
        from twisted.internet import defer, reactor, protocol, task, threads, utils
        from twisted.logger import _logger
        from twisted.python import failure, log
        from twisted.spread import pb
        from twisted.trial import unittest
        from twisted.web import client, server

        assert isinstance(defer, types.ModuleType) and isinstance(failure, types.ModuleType)
        assert type(defer) is types.ModuleType
        for name in deferrous.__all__:
            assert getattr(defer, name) is getattr(deferrous, name), name
        for name in deferrous.failure.__all__:
            assert getattr(failure, name) is getattr(deferrous.failure, name), name
        for module in list(sys.modules.values()):
            for name, ours in (
                ("Deferred", deferrous.Deferred),
                ("Failure", deferrous.failure.Failure),
                ("inlineCallbacks", deferrous.inlineCallbacks),
            ):
                if isinstance(module, types.ModuleType):
                    assert vars(module).get(name, ours) is ours, (module, name)

        assert issubclass(pb.CopyableFailure, failure.Failure)
        d = defer.fail(ValueError(1))
        assert isinstance(d, deferrous.Deferred) and isinstance(d.result, failure.Failure)
        d.addErrback(lambda f: None)

        assert defer._DEFERRED_SUBCLASSES is deferrous._DEFERRED_SUBCLASSES
        class Mine(defer.Deferred): pass
        assert defer._DEFERRED_SUBCLASSES[-1] is Mine
        """)


def test_nothing_left_is_built_on_what_was_replaced():
    """No class of Twisted's own that remains has a base that is not in the module any more."""
    run_installed("""
        import inspect
        from twisted.internet import defer
        from twisted.python import failure

        for module in (defer, failure):
            for name, value in vars(module).items():
                if inspect.isclass(value) and value.__module__ == module.__name__:
                    for base in value.__mro__:
                        if base.__module__ == module.__name__:
                            assert getattr(module, base.__name__) is base, (name, base)
        """)


def test_every_name_of_twisteds_is_there():
    script = """
        from twisted.internet import defer
        from twisted.python import failure
        print(sorted((m.__name__, n) for m in (defer, failure) for n in {*dir(m), *vars(m)}))
        """
    missing = {*eval(run(script))} - {*eval(run_installed(script))}
    assert missing - {("twisted.python.failure", "count")} == set()
    run_installed("from twisted.python.failure import count, Failure, _extraneous")


def test_the_modules_look_as_ever():
    script = """
        import inspect, pkgutil
        from twisted.internet import defer
        from twisted.python import failure
        for m in (defer, failure):
            print(m.__name__, m.__file__, m.__doc__, m.__package__, m.__spec__.name)
            print(m.__spec__.origin, type(m.__spec__.loader), type(m.__loader__))
            print(m.__spec__.cached, getattr(m, "__cached__", "none since 3.15"))
            print(m, len(inspect.getsource(m)), m.__spec__.loader is m.__loader__)
            print(pkgutil.resolve_name(m.__name__) is m)
        print(defer.__all__)
        """
    assert run(script) == run_installed(script)


def test_names_in_messages_reprs_and_deprecations():
    script = r"""
        import re, sys, warnings
        import twisted
        from twisted.internet import defer
        from twisted.python import failure

        def show(*what):
            print(*(re.sub("0x[0-9a-f]+", "0x", str(each)) for each in what))

        for module in (defer, failure):
            for name in sorted(getattr(module, "__all__", ("Failure", "startDebugMode"))):
                value = getattr(module, name)
                show(name, getattr(value, "__module__", value), getattr(value, "__name__", ""))
        for value in (
            defer.Deferred(), defer.DeferredLock(), defer.Deferred, defer.DeferredList([]),
            defer.CancelledError(), defer.CancelledError, failure.Failure(ValueError(1)),
            failure.Failure(defer.AlreadyCalledError()), failure.Failure, defer.QueueOverflow,
            defer.Deferred[int], defer.FirstError,
        ):
            show(repr(value), value)
        for expression in (
            "defer.Deferred().nothing", "defer.Deferred.nothing", "defer.DeferredList.nothing",
            "defer.DeferredLock().nothing", "failure.Failure(ValueError()).nothing",
            "defer.ensureDeferred(1)", "defer.Deferred().callback(defer.Deferred())",
            "defer.DeferredSemaphore(0)", "defer.nothing", "failure.nothing",
        ):
            try:
                eval(expression)
            except BaseException as error:
                show(type(error), error)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if twisted.version.major > 24:
                defer.Deferred().callbacks
            defer.timeout(defer.Deferred().addErrback(lambda _: None))
            try:
                defer.returnValue(1)
            except BaseException as error:
                show(type(error))
            failure.Failure(ValueError()).stack
            for each in caught:
                show(each.category, each.message, each.filename, each.lineno)
        """
    assert run_installed(script) == run(script)


PICKLES = """
    import pickle, re, sys
    from twisted.internet import defer, error
    from twisted.python import failure
    try:
        raise defer.AlreadyCalledError("once")
    except Exception:
        one = failure.Failure()
    things = [
        defer.Deferred, defer.DeferredList, defer.CancelledError, defer.succeed, failure.Failure,
        defer.inlineCallbacks, defer.gatherResults, defer.maybeDeferred, defer.DeferredLock,
        defer.CancelledError("x"), one, failure.Failure(error.ConnectionLost("gone")),
    ]
    """


@pytest.mark.parametrize("writer", [run, run_installed])
@pytest.mark.parametrize("reader", [run, run_installed])
def test_pickles_go_both_ways(writer, reader, tmp_path):
    path = tmp_path / "pickles"
    writer(
        textwrap.dedent(PICKLES)
        + f"open({str(path)!r}, 'wb').write(b''.join(map(pickle.dumps, things)))"
    )
    stocked = reader(
        textwrap.dedent(PICKLES)
        + textwrap.dedent(f"""
            with open({str(path)!r}, 'rb') as file:
                for thing in things:
                    found = pickle.load(file)
                    if isinstance(thing, type) or callable(thing):
                        assert found is thing, thing
                    else:
                        assert type(found) is type(thing), thing
                    if isinstance(thing, failure.Failure):
                        assert found.getErrorMessage() == thing.getErrorMessage()
                        assert found.check(thing.type) is thing.type
                        lines = [re.sub("line [0-9]+", "", each.getTraceback())
                                 for each in (found, thing)]
                        assert lines[0] == lines[1]
            print("deferrous" in sys.modules)
            """)
    )
    assert stocked.strip() == str(reader is run_installed)


def test_our_own_pickles_are_the_same_objects():
    run_installed("""
        import pickle, deferrous, deferrous.failure
        before = pickle.dumps([deferrous.CancelledError, deferrous.Deferred, deferrous.succeed])
        from twisted.internet import defer
        assert pickle.loads(before) == [defer.CancelledError, defer.Deferred, defer.succeed]
        assert b"deferrous" not in pickle.dumps([deferrous.CancelledError, deferrous.succeed])
        """)


def test_unhandled_errors_are_reported_as_twisted_does():
    script = """
        import re
        from twisted.internet import defer
        from twisted.logger import globalLogPublisher, formatEvent

        events = []
        globalLogPublisher.addObserver(events.append)
        defer.fail(ValueError("lost"))
        defer.setDebugging(True)
        defer.fail(ValueError("lost"))
        defer.setDebugging(False)
        defer.fail(ValueError("told")).addErrback(defer.logError).addErrback(lambda _: None)
        for event in events:
            text = re.sub('(?m)^.*File "(?!<string>).*$\\n?.*$', "", formatEvent(event))
            print(event["log_namespace"], event["log_level"].name, event.get("isError"),
                  text[:40], event.get("log_failure"), sorted(event))
        """
    assert run_installed(script) == run(script)


def test_what_programs_patch():
    run_installed("""
        from unittest import mock
        import deferrous, deferrous.failure
        from twisted.internet import defer
        from twisted.python import failure

        reports = []
        class Info:
            failResult = None
            def __del__(self):
                if self.failResult is not None:
                    reports.append(self.failResult.value)
        with mock.patch.object(defer, "DebugInfo", Info):
            defer.fail(ValueError(1))
        assert [type(each) for each in reports] == [ValueError]

        logged = []
        class Log:
            def critical(self, *args, **kwargs):
                logged.append("critical")
            def failure(self, *args, **kwargs):
                logged.append("failure")
        with mock.patch.object(defer, "log", Log()):
            defer.fail(ValueError(2))
            defer.logError(failure.Failure(ValueError(3)))
            def broken(d):
                raise ValueError(4)
            defer.DeferredList([defer.Deferred(broken)]).cancel()
        assert logged == ["critical", "failure", "failure", "failure"], logged

        wrapped = []
        original = defer.inlineCallbacks
        def wrapper(f):
            wrapped.append(f)
            return original(f)
        with mock.patch.object(defer, "inlineCallbacks", wrapper):
            from twisted.internet.defer import inlineCallbacks
            @inlineCallbacks
            def generator():
                yield
            generator()
        assert len(wrapped) == 1 and defer.inlineCallbacks is original

        made = []
        init = failure.Failure.__init__
        def patched(self, *args, **kwargs):
            made.append(self)
            init(self, *args, **kwargs)
        with mock.patch.object(failure.Failure, "__init__", patched):
            defer.execute(lambda: 1 / 0).addErrback(lambda _: None)
        assert len(made) == 1

        assert failure.DO_POST_MORTEM is True
        with mock.patch.object(failure, "DO_POST_MORTEM", False):
            assert deferrous.failure.DO_POST_MORTEM is False
        assert deferrous.failure.DO_POST_MORTEM is True
        count = failure.count
        failure.Failure(ValueError())
        assert failure.count == count + 1
        """)


def test_reload_and_a_second_import():
    run_installed("""
        import importlib, sys
        import deferrous, deferrous.failure
        from twisted.internet import defer
        from twisted.python import failure

        for module in (failure, defer):
            assert importlib.reload(module) is module
        assert defer.Deferred is deferrous.Deferred
        assert failure.Failure is deferrous.failure.Failure and failure.count >= 0
        for name in [name for name in sys.modules if name.split(".")[0] == "twisted"]:
            del sys.modules[name]
        from twisted.internet import defer as again
        assert again is not defer and again.Deferred is defer.Deferred and deferrous.installed()
        """)


def test_without_twisted_nothing_happens():
    run_installed("""
        import sys
        class Nowhere:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "twisted":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Nowhere())
        try:
            import twisted.internet.defer
        except ModuleNotFoundError:
            pass
        import deferrous
        assert deferrous.installed() and deferrous.succeed(1).result == 1
        """)


def test_an_import_that_fails_leaves_nothing_behind():
    run_installed("""
        import sys
        sys.modules["twisted.logger"] = None
        try:
            import twisted.internet.defer
        except ImportError:
            pass
        assert "twisted.internet.defer" not in sys.modules and deferrous.installed()
        del sys.modules["twisted.logger"]
        import twisted.internet.defer
        assert twisted.internet.defer.Deferred is deferrous.Deferred
        """)


@pytest.mark.parametrize("first", ["twisted.python.failure", "twisted.internet.defer"])
def test_too_late(first, tmp_path):
    (tmp_path / "program.py").write_text(f"from {first} import *\nfrom {first} import Failure\n")
    out = run(
        """
        import sys
        import program
        modules, finders = dict(sys.modules), list(sys.meta_path)
        import deferrous, deferrous.twisted
        assert not deferrous.installed()
        try:
            deferrous.install()
        except deferrous.InstallError as error:
            assert isinstance(error, RuntimeError)
            print(error)
        assert not deferrous.installed() and sys.meta_path == finders
        from twisted.internet import defer
        from twisted.python import failure
        assert defer.Deferred is not deferrous.Deferred
        assert failure.Failure is not deferrous.failure.Failure
        assert all(sys.modules[name] is module for name, module in modules.items())
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert out.startswith("twisted.python.failure was imported before deferrous.install()")
    assert ", by way of program." in out and "before it imports program or anything else" in out
    assert "python -m deferrous" in out


@pytest.mark.parametrize(
    ("version", "warned"),
    [("24.10.0", 0), ("26.10.0", 0), ("26.10.1", 0), ("24.7.0", 1), ("26.11.0", 1), ("?", 1)],
)
def test_versions(version, warned):
    out = run_installed(f"""
        import warnings, twisted
        twisted.__version__ = {version!r}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import twisted.internet.defer
        ours = [each for each in caught if "deferrous" in str(each.message)]
        print(len([each for each in ours if each.category is RuntimeWarning]))
        assert deferrous.installed()
        assert not ours or {version!r} in str(ours[0].message)
        """)
    assert out.split() == [str(warned)]


# --- python -m deferrous -----------------------------------------------------

PROGRAM = '''\
"""What it is."""
import sys

def fail():
    raise ValueError("it failed")

if __name__ == "__main__":
    import __main__
    assert __main__.fail is fail
    print(sys.argv, sys.path[:2], __file__, __package__, __doc__, type(__loader__))
    print(sorted(globals()), __spec__ and __spec__.name, __builtins__)
    exec({"": "pass", "exit": "sys.exit(7)", "say": "sys.exit('bye')", "fail": "fail()",
          "interrupt": "raise KeyboardInterrupt", "stop": "raise SystemExit"
          }.get("".join(sys.argv[1:2]), "pass"))
    if sys.argv[1:2] == ["chain"]:
        try:
            fail()
        except ValueError:
            raise KeyError("then")
'''


@pytest.fixture
def programs(tmp_path):
    """A folder with programs of each kind."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "broken.py").write_text("x = (\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "linked.py").symlink_to(tmp_path / "folder" / "__main__.py")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("other.py", PROGRAM)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    return tmp_path


def as_python(folder, *arguments, options=(), stdin=""):
    """Assert that a program ends, and says, under `python -m deferrous` what it does without."""
    theirs = python(*options, *arguments, cwd=folder, stdin=stdin)
    ours = python(*options, "-m", "deferrous", *arguments, cwd=folder, stdin=stdin)
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        theirs.returncode,
        theirs.stdout,
        theirs.stderr,
    )
    return ours


@pytest.mark.parametrize("argument", ["", "exit", "say", "stop", "fail", "chain", "interrupt"])
@pytest.mark.parametrize("program", [["program.py"], ["-m", "program"], ["program.zip"]], ids=str)
def test_ends_as_under_python(programs, program, argument):
    done = as_python(programs, *program, *([argument] if argument else []))
    expected = {"exit": 7, "say": 1, "fail": 1, "chain": 1, "interrupt": -signal.SIGINT}
    assert done.returncode == expected.get(argument, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["./program.py", "-m", "-c", "--help", "--check"],
        ["-m", "program", "-m", "--version"],
        ["-mprogram"],
        ["-m", "package", "a"],
        ["-m", "package.__main__"],
        ["folder"],
        ["linked.py"],
        ["broken.py"],
        ["-m", "broken"],
        ["missing.py"],
        ["-m", "missing"],
        ["-m", "missing.part"],
        ["-m", "folder"],
        ["-c", "import sys; print(sys.argv, sys.path[:2], sorted(globals()), __loader__)", "-m"],
        ["-cprint(1)"],
        ["-c", "1/0"],
        ["-c", "def f():\n  1/0\nf()"],
        ["-c", "x = ("],
        ["-c", "raise SystemExit(3)"],
        ["-c", "import os; os._exit(4)"],
        ["-c", "import sys; sys.excepthook = lambda *a: print(a[0]); 1/0"],
        ["-c", "import atexit; atexit.register(lambda: print(sorted(globals())))"],
        ["-c", "import warnings; warnings.warn('x')"],
        ["-c", "def f():\n  exec('def g(): 1/0', d := {}); d['g']()\nf()"],
        ["-c", "class C:\n  def f(self): pass\nimport inspect; print(inspect.getsource(C))"],
        ["-c", "  print(1)\n  print(2)"],
        ["-c", "x: int = 3\nprint(__annotations__)"],
        ["-c", r"'\d'"],
        [""],
        ["empty"],
        ["empty.zip"],
        ["./folder/", "fail"],
        ["folder", "chain"],
    ],
    ids=" ".join,
)
def test_runs_as_under_python(programs, arguments):
    as_python(programs, *arguments)


def test_byte_code(programs):
    python("-m", "compileall", "-q", "-b", "program.py", cwd=programs)
    as_python(programs, "program.pyc", "fail")


def test_standard_input(programs):
    source = (
        "import sys; print(sys.argv, sys.path[:2], sorted(globals()), __file__, __loader__)\n1/0\n"
    )
    as_python(programs, "-", "a", "-b", stdin=source)


#: Options of Python itself that change what a program sees, or how it ends.
OPTIONS = [["-I"], ["-E"], ["-O"], ["-X", "dev"], ["-W", "error"], ["-X", "utf8"], ["-b"]]
if sys.version_info >= (3, 11):
    OPTIONS += [["-P"], ["-X", "no_debug_ranges"], ["-X", "frozen_modules=off"]]
if sys.version_info >= (3, 15):
    OPTIONS += [["-X", "lazy_imports=all"]]

SHOWN = "import sys; print(sys.argv, sys.path, sys.flags, sorted(globals()))\n1/0"


@pytest.mark.parametrize(
    "arguments",
    [["program.py"], ["folder"], ["program.zip"], ["-c", SHOWN], ["-m", "package"]],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_with_options_of_python(programs, options, arguments):
    if options[0] in ("-I", "-P") and arguments[0] == "-m":
        pytest.skip("modules of the current folder are not found")
    as_python(programs, *arguments, "fail", options=options)


def test_it_is_installed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from twisted.internet import defer\n"
        "import deferrous, os\n"
        "assert defer.Deferred is deferrous.Deferred\n"
        "print(deferrous.installed(), os.environ['DEFERROUS_INSTALL'])\n"
    )
    for arguments in ([script], ["-m", "script"], ["-c", script.read_text()]):
        done = python("-m", "deferrous", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "True 1\n"), done.stderr


def test_check():
    done = python("-m", "deferrous", "--check")
    assert done.returncode == 0, done.stderr
    verdict, installed, *_ = done.stdout.splitlines()
    assert re.fullmatch(r"Yes: Twisted 2\S+ runs on deferrous \S+\.", verdict)
    assert installed == "installed: yes"
    # What a newcomer might take for a half-done installation.
    assert re.search(r"^    Twisted's own, which is fine, .*: \w+", done.stdout, re.MULTILINE)
    assert "twisted.internet.defer: " in done.stdout
    assert "child processes: " in done.stdout
    assert "at the start of this process: not yet installed" in done.stdout


def test_check_where_it_does_not_work(tmp_path):
    (tmp_path / "twisted.py").write_text("raise ImportError('broken')\n")
    done = python("-m", "deferrous", "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("No: Twisted cannot be imported: broken\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "error, verdict",
    [
        ("ModuleNotFoundError('no twisted', name='twisted')", "No: there is no Twisted in this"),
        ("ModuleNotFoundError('no zope', name='zope')", "No: Twisted cannot be imported: no zope"),
        ("ZeroDivisionError('odd')", "No: Twisted cannot be imported: odd"),
    ],
)
def test_check_begins_with_a_verdict_also_without_twisted(tmp_path, error, verdict):
    # As the import fails where there is none, or half of one.
    (tmp_path / "twisted.py").write_text(f"raise {error}\n")
    done = python("-m", "deferrous", "--check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(verdict), done.stdout
    assert "Python 3" in done.stdout


def test_check_where_something_imported_twisted_before(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import twisted.internet.defer\n")
    done = python("-m", "deferrous", "--check", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith("No: twisted."), done.stdout + done.stderr
    assert "was imported before" in done.stdout.splitlines()[0]


def test_says_that_it_is_installed_at_debug_level():
    program = """
import logging
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
import deferrous
deferrous.install()
print("between", flush=True)
deferrous.install()
import twisted.internet.defer
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("deferrous ")]
    assert re.fullmatch(r"deferrous DEBUG deferrous \S+ is installed: .*", lines[0])
    assert [line.split()[2] for line in lines[1:]] == [
        "twisted.python.failure",
        "twisted.internet.defer",
    ]
    # Nothing is said to those who did not ask.
    assert python("-c", program.replace("=logging.DEBUG", "=logging.INFO")).stderr == ""


def test_options():
    import deferrous

    version = python("-m", "deferrous", "--version")
    assert (version.returncode, version.stdout) == (0, f"deferrous {deferrous.__version__}\n")
    for option in ("-h", "--help"):
        done = python("-m", "deferrous", option)
        assert done.returncode == 0 and done.stdout.startswith("usage: python -m deferrous")
    for arguments, text in (([], "usage:"), (["-x"], "no option -x"), (["-m"], "an argument")):
        done = python("-m", "deferrous", *arguments)
        assert (done.returncode, done.stdout) == (2, "") and text in done.stderr


# --- others that inherit it ---------------------------------------------------

TEST_CASE = """
from twisted.internet import defer, task
from twisted.trial import unittest
import deferrous

class Tests(unittest.TestCase):
    def test_ours(self):
        self.assertIs(defer.Deferred, deferrous.Deferred)

    @defer.inlineCallbacks
    def test_waits(self):
        from twisted.internet import reactor
        yield task.deferLater(reactor, 0)
"""


def test_trial(tmp_path):
    (tmp_path / "test_it.py").write_text(TEST_CASE)
    done = python("-m", "deferrous", "-m", "twisted.trial", "test_it", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "successes=2" in done.stdout


def test_trial_shows_no_frames_of_twisteds(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from twisted.internet import defer\n"
        "from twisted.trial import unittest\n"
        "class Tests(unittest.TestCase):\n"
        "    def test_at_once(self):\n        1 / 0\n"
        "    def test_fails(self):\n        self.fail('so')\n"
        "    def test_later(self):\n"
        "        return defer.succeed(0).addCallback(lambda x: 1 / x)\n"
        "    async def test_awaits(self):\n        1 / await defer.succeed(0)\n"
    )
    shown = []
    for options in ([], ["-m", "deferrous"]):
        done = python(*options, "-m", "twisted.trial", "test_it", cwd=tmp_path)
        shown.append([line for line in done.stdout.splitlines() if line.startswith("  File")])
    # Twisted's own may show none of the last two: it takes away six frames where there are five.
    # Older versions show the machinery of a coroutine.
    assert {line for line in shown[0] if "test_it.py" in line} <= set(shown[1])
    assert all("test_it.py" in line for line in shown[1])
    functions = {line.split()[-1] for line in shown[1]}
    assert functions >= {"test_at_once", "<lambda>", "test_awaits"}


def test_pytest_plugin(tmp_path):
    (tmp_path / "test_it.py").write_text(
        TEST_CASE + "    def test_children(self):\n"
        "        import os; assert os.environ['DEFERROUS_INSTALL'] == '1'\n"
    )
    done = python(
        "-m", "pytest", "-p", "deferrous.twisted_plugin", "-p", "no:cacheprovider", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in the place of Twisted's" in done.stdout and "3 passed" in done.stdout


def test_pytest_under_us(tmp_path):
    (tmp_path / "test_it.py").write_text(TEST_CASE)
    done = python("-m", "deferrous", "-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


#: Has Python read a folder's startup files, as it does by itself for site-packages.
READ_STARTUP_FILE = f"import site; site.addsitedir({str(STARTUP_FILE.parent)!r})\n"


@pytest.mark.skipif(not STARTUP_FILE.exists(), reason="tests run without the sources")
@pytest.mark.parametrize(
    ("setting", "expected"), [({}, "False"), ({"DEFERROUS_INSTALL": "0"}, "False")]
)
def test_startup_file_when_it_is_not_asked_for(setting, expected):
    out = run(
        "import sys; before = set(sys.modules)\n"
        + READ_STARTUP_FILE
        + "print('deferrous' in sys.modules, set(sys.modules) - before)",
        **setting,
    )
    assert out == f"{expected} set()\n"


@pytest.mark.skipif(not STARTUP_FILE.exists(), reason="tests run without the sources")
def test_startup_file():
    script = READ_STARTUP_FILE + (
        "import sys\n"
        "print('twisted' in sys.modules, sys.modules['deferrous.twisted'].installed())\n"
        "from twisted.internet import defer; import deferrous\n"
        "print(defer.Deferred is deferrous.Deferred)\n"
    )
    assert run(script, DEFERROUS_INSTALL="1") == "False True\nTrue\n"


@pytest.mark.parametrize("how", [[], ["-p", "deferrous.twisted_plugin"]], ids=["run", "plugin"])
def test_pytest_where_that_it_is_imported_already_is_an_error(how, tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    strictly = ["-W", "error::pytest.PytestAssertRewriteWarning"]
    start = ["-m", "pytest"] if how else ["-m", "deferrous", "-m", "pytest"]
    done = python(*start, *how, *strictly, "test_it.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def heeds_the_variable():
    script = "import sys; print('deferrous' in sys.modules)"
    return python("-c", script, DEFERROUS_INSTALL="1").stdout == "True\n"


@pytest.mark.skipif(not heeds_the_variable(), reason="installed without its startup file")
class TestChildren:
    @pytest.mark.parametrize("value", ["", "0", "no", "false", "off", "No", "FALSE", " off "])
    def test_off(self, value):
        done = python(
            "-c", "import sys; print('deferrous' in sys.modules)", DEFERROUS_INSTALL=value
        )
        assert (done.stdout, done.stderr) == ("False\n", "")

    @pytest.mark.parametrize("value", ["1", "yes", "true", "on"])
    def test_on(self, value):
        script = "import deferrous; print(deferrous.installed())"
        done = python("-c", script, DEFERROUS_INSTALL=value)
        assert (done.stdout, done.stderr) == ("True\n", "")

    def test_check_says_that_it_is_off(self):
        done = python("-m", "deferrous", "--check", DEFERROUS_INSTALL="off")
        assert "DEFERROUS_INSTALL is off (off)" in done.stdout
        assert "at the start of this process: not yet installed" in done.stdout

    def test_of_any_kind(self, tmp_path):
        child = "import deferrous; print(deferrous.installed())"
        script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        assert python("-m", "deferrous", "-c", script).stdout == "True\n"
        assert python("-c", script).stdout == "False\n"

    def test_check(self):
        done = python("-m", "deferrous", "--check", DEFERROUS_INSTALL="1")
        assert done.returncode == 0
        assert "DEFERROUS_INSTALL is 1" in done.stdout
        assert "at the start of this process: installed" in done.stdout

    def test_trial_workers(self, tmp_path):
        (tmp_path / "test_it.py").write_text(TEST_CASE)
        done = python("-m", "deferrous", "-m", "twisted.trial", "-j2", "test_it", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "successes=2" in done.stdout

    def test_twistd(self, tmp_path):
        (tmp_path / "it.tac").write_text(
            "from twisted.application import service\n"
            "from twisted.internet import defer, reactor\n"
            "import deferrous\n"
            "application = service.Application('it')\n"
            "print('ours:', defer.Deferred is deferrous.Deferred)\n"
            "reactor.callWhenRunning(reactor.stop)\n"
        )
        done = python(
            *["-m", "deferrous", "-c"],
            "from twisted.scripts.twistd import run; run()",
            *["--nodaemon", "--pidfile=", "--python=it.tac"],
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ours: True" in done.stdout


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="for Linux on x86-64"
)
def test_code_is_where_profilers_look_for_it():
    """`py-spy --native` takes an address in memory for a place in the file."""
    from deferrous import _deferrous

    data = Path(_deferrous.__file__).read_bytes()
    assert data[:5] == b"\x7fELF\x02"
    [first], [size, count] = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQ", data, first + size * i) for i in range(count)]
    # What is loaded (1) to be executed (1).
    [(place, address)] = [header[2:] for header in headers if header[0] == 1 and header[1] & 1]
    assert place == address
