"""Twisted on this package in test runners, child processes and profilers."""

import os
import struct
import sys
from pathlib import Path

import pytest
from install_helpers import STARTUP_FILE, python, run

pytestmark = pytest.mark.deferrous_only

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
