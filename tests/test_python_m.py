"""`python -m deferrous`."""

import re
import signal
import sys
import zipfile

import pytest
from install_helpers import python

pytestmark = pytest.mark.deferrous_only

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
