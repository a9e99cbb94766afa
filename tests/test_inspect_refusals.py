"""Processes that cannot be inspected, and invalid questions."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from deferrous import _ps, inspect
from inspect_helpers import BUSY, STUCK, WAIT, child, folder, leave_a_socket, refused, run, send

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked on Windows"),
]


def test_a_process_that_is_not_there(folder, capsys):
    done = subprocess.Popen([sys.executable, "-c", ""])
    if sys.platform == "linux":
        os.waitid(os.P_PID, done.pid, os.WEXITED | os.WNOWAIT)
        assert refused(capsys, done.pid) == f"process {done.pid} has ended"
    done.wait()
    assert refused(capsys, done.pid) == f"there is no process {done.pid}"
    assert refused(capsys, 10**20) == f"there is no process {10**20}"


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="it can be asked otherwise")
@pytest.mark.parametrize("script", ["import sys", STUCK], ids=["without", "with deferrous"])
def test_a_process_that_does_not_listen(folder, capsys, script):
    with child(script, inspect="") as process:
        assert refused(capsys, process.pid).startswith(
            f"process {process.pid} does not listen: start it with DEFERROUS_INSPECT=1"
        )


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="it can be asked otherwise")
def test_a_socket_at_which_nobody_listens(folder, capsys):
    with child("import sys", inspect="") as process:
        leave_a_socket(folder, process.pid)
        assert "has a socket at which nobody listens any more" in refused(capsys, process.pid)


def test_what_others_have_left_is_removed(folder):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    path = leave_a_socket(folder, done.pid)
    other = os.path.join(folder, "other")
    with open(other, "w"):
        pass
    with child(STUCK) as process:
        assert not os.path.exists(path)
        assert os.path.exists(other)
        assert os.listdir(folder).count(f"{process.pid}.sock") == 1
    assert os.listdir(folder) == ["other"]


def test_a_folder_that_others_get_into(folder, capsys):
    with child(STUCK) as process:
        os.chmod(folder, 0o755)
        assert "may be anybody's: others may get into" in refused(capsys, process.pid)
        os.chmod(folder, 0o700)
        assert run(capsys, "ps", process.pid)[0] == 0


def test_such_a_folder_is_not_used(folder, tmp_path, monkeypatch):
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    elsewhere = tempfile.mkdtemp(prefix="dfr")
    monkeypatch.setenv("TMPDIR", elsewhere)
    try:
        assert inspect.listen().startswith(elsewhere)
        inspect.stop()
    finally:
        shutil.rmtree(elsewhere)


def test_a_name_that_is_too_long(folder, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(OSError, match="the name of the socket is too long"):
        inspect.listen()
    assert inspect.listening() is None


def test_the_environment_asks_for_what_cannot_be(folder, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.path.join(folder, "x" * 100))
    monkeypatch.setenv("TMPDIR", "/proc")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os; os.mkdir = lambda *_: exec('raise PermissionError(13, \"no\")')\n"
            "import deferrous",
        ],
        env={**os.environ, "DEFERROUS_INSPECT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="needs root, to be somebody else",
)
def test_another_users_process(folder, capfd):
    with child(STUCK) as process:
        pid = os.fork()
        if pid == 0:
            try:
                os.setuid(65534)
                os._exit(_ps.main("ps", [str(process.pid)]))
            finally:
                os._exit(99)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "is another user's: only that user (0) and root may ask it" in capfd.readouterr().err


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs root, to be somebody else"
)
def test_others_get_no_answer(folder):
    with child(STUCK) as process:
        path = os.path.join(folder, f"{process.pid}.sock")
        for each in (os.path.dirname(folder), folder, path):
            os.chmod(each, 0o777)
        pid = os.fork()
        if pid == 0:
            try:
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(path)
                    try:
                        connection.sendall(b'{"ask": "ps"}\n')
                        os._exit(connection.recv(1) != b"")
                    except (BrokenPipeError, ConnectionResetError):
                        os._exit(0)
            finally:
                os._exit(99)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_another_version(folder, capsys):
    script = STUCK + "from deferrous import _survey; _survey.PROTOCOL = 99\n"
    with child(script) as process:
        assert "which answers in another form than this one" in refused(capsys, process.pid)


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"1" * 5000])
def test_an_answer_that_is_none(folder, capsys, answer):
    script = (
        "import select, sys\nfrom deferrous import inspect\n"
        "def read(self):\n"
        "    self.socket.recv(1000)\n"
        f"    self._answer, self.wants = memoryview({answer!r}), select.POLLOUT\n"
        "    return self._write()\n"
        "inspect._Client._read = read\n"
    )
    with child(script) as process:
        line = refused(capsys, process.pid)
    assert line.startswith("process") or line.startswith("the process"), line


@pytest.mark.skipif(sys.platform != "linux", reason="needs the C library")
def test_a_process_that_is_busy_in_c(folder, capsys):
    with child(BUSY, wait="") as process:
        assert "did not answer within 0.3 seconds" in refused(
            capsys, process.pid, "--timeout", "0.3"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="the state is that of Linux")
def test_a_process_that_is_stopped(folder, capsys):
    with child(STUCK) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        line = refused(capsys, process.pid, "--timeout", "0.3")
    assert line.endswith("within 0.3 seconds: it is stopped, by a signal or a debugger")


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"\n",
        b"import os\n",
        b"[1]\n",
        b"null\n",
        b'"ps"\n',
        b'{"ask": 1}\n',
        b'{"ask": ["ps"]}\n',
        b'{"ask": {"ask": "ps"}}\n',
        b'{"ask": "exec", "code": "1"}\n',
        b'{"ask": "ps"',
        b"\xff\x00\xfe\n",
        b"[" * 900 + b"\n",
        b"x" * 100_000,
        b"x" * 100_000 + b"\n",
    ],
    ids=range(15),
)
def test_what_is_no_question(folder, capsys, asked):
    with child(STUCK) as process:
        received = send(folder, process.pid, asked)
        assert received == b"" or "error" in json.loads(received)
        assert run(capsys, "ps", process.pid)[0] == 0


def test_one_who_does_not_listen(folder, capsys):
    with child(STUCK) as process:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(os.path.join(folder, f"{process.pid}.sock"))
                connection.sendall(b'{"ask": "pstree"}\n')
        assert run(capsys, "ps", process.pid)[0] == 0


@pytest.mark.parametrize("number", [1, 150])
@pytest.mark.parametrize("sent", [b"", b'{"ask": ', b'{"ask": "pstree"}\n'])
def test_those_who_say_nothing_keep_nobody_waiting(folder, capsys, sent, number):
    """However many they are, and whether they do not ask or do not take the answer."""
    script = STUCK + "requests += [defer.Deferred() for _ in range(3)]\n"
    with child(script) as process, contextlib.ExitStack() as stack:
        for _ in range(number):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(os.path.join(folder, f"{process.pid}.sock"))
            connection.sendall(sent)
        # In less time than any one of them is given.
        status, out, err = run(capsys, "ps", process.pid, "--timeout", "4.5")
        assert (status, err) == (0, "")
        assert "9 wait" in out


def test_a_fork_between_a_question_and_its_answer(folder):
    script = STUCK + (
        "import os\nprint('ready', flush=True)\nsys.stdin.readline()\npid = os.fork()\n"
        "if not pid: os._exit(0)\nos.waitpid(pid, 0)\n"
    )
    # CPython 3.12 and newer warn of any thread, such as the one that answers.
    with child(script, "-Wignore::DeprecationWarning") as process:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(folder, f"{process.pid}.sock"))
            connection.sendall(b'{"ask": ')
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            connection.sendall(b'"ps"}\n')
            assert connection.makefile().readline().startswith('{"protocol": 1')


def test_a_file_that_has_the_number_of_one_who_asked(folder, capsys):
    """A program has closed all files, and has others by the same numbers."""
    script = STUCK + (
        "import os\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "os.closerange(3, 100)\nothers = [os.open('/dev/null', os.O_RDWR) for _ in range(20)]\n"
    )
    end = WAIT + "assert all(os.write(each, b'x') == 1 for each in others)\n"
    with child(script, wait=end) as process, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.join(folder, f"{process.pid}.sock"))
        connection.sendall(b'{"ask": ')
        # It has been let in when the next one is answered. In the midst of that nothing could tell
        # whose the number is.
        assert run(capsys, "ps", process.pid)[0] == 0
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
