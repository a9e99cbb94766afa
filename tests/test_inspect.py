"""`python -m deferrous ps`, `pstree`, `top`: what waits in another process."""

import contextlib
import errno
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import weakref

import deferrous as defer
import pytest
from deferrous import _deferrous, _ps, _survey, inspect

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked on Windows"),
]

#: A lock that nobody releases, and those that wait for it.
STUCK = """
import sys
import deferrous as defer

lock = defer.DeferredLock()

async def write(text):
    await lock.acquire()

async def save(text):
    await write(text)

lock.acquire()
requests = [defer.ensureDeferred(save("a page")) for _ in range(3)]
"""
#: How a child waits for its end: until its standard input is closed.
WAIT = """
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(monkeypatch):
    # Not that of pytest: the names of sockets have to be short.
    path = tempfile.mkdtemp(prefix="dfr")
    monkeypatch.setenv("XDG_RUNTIME_DIR", path)
    monkeypatch.delenv("DEFERROUS_INSPECT", raising=False)
    yield os.path.join(path, "deferrous")
    shutil.rmtree(path)


@contextlib.contextmanager
def child(script, *options, inspect="1", wait=WAIT):
    """A process that runs a script, says that it is ready, and ends when it is let go."""
    environment = dict(os.environ)
    if inspect:
        environment["DEFERROUS_INSPECT"] = inspect
    process = subprocess.Popen(
        [sys.executable, *options, "-c", textwrap.dedent(script) + wait],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        if not line.startswith("ready"):
            pytest.fail(f"{line}{process.communicate()[1]}")
        process.said = line.split()[1:]
        yield process
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate("", timeout=60)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


def run(capsys, command, pid, *options):
    """What a command prints, and its exit status."""
    status = _ps.main(command, [*options, str(pid)])
    out, err = capsys.readouterr()
    return status, out, err


def plain(text):
    """A text without what differs."""
    text = re.sub(r"0x[0-9a-f]+", "0x?", text)
    return re.sub(r"process \d+", "process N", text)


def refused(capsys, pid, *options):
    """The one line that says why a process cannot be asked."""
    status, out, err = run(capsys, "ps", pid, *options)
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    return line.removeprefix("python -m deferrous ps: ")


# --- The questions


def test_ps(folder, capsys):
    with child(STUCK) as process:
        status, out, err = run(capsys, "ps", process.pid)
    assert (status, err) == (0, "")
    title, heading, *rows = out.splitlines()
    version = ".".join(map(str, sys.version_info[:3]))
    assert title == (
        f"process {process.pid}: 6 wait (deferrous {defer.__version__}, Python {version}; "
        "no ages: DEFERROUS_TRACK is off)"
    )
    assert heading.split() == ["COUNT", "WAITS"]
    assert [re.sub(", line .*", "", row.strip()) for row in rows] == [
        "3  Deferred: stands in line at <DeferredLock>",
        '3  Deferred: waits for coroutine, File "<string>"',
    ]


def test_pstree(folder, capsys):
    with child(STUCK) as process:
        _, out, _ = run(capsys, "pstree", process.pid)
    _, _, *lines = plain(out).splitlines()
    assert re.sub(r"line \d+", "line ?", "\n".join(lines)) == (
        "<Deferred at 0x?> waits for coroutine save  (2 more wait alike)\n"
        '├── File "<string>", line ?, in coroutine save\n'
        '├── File "<string>", line ?, in coroutine write\n'
        "└── awaits: <Deferred at 0x?> stands in line at <DeferredLock at 0x?>, place 1 of 3 "
        "(it is locked)"
    ).replace("place 1", re.search(r"place \d", out).group())


def test_each_way_to_wait_is_in_a_tree(folder, capsys):
    # Those at the top wait alike, but not those below them.
    script = STUCK + (
        "queue = defer.DeferredQueue()\n"
        "async def fetch():\n    await queue.get()\n"
        "requests.append(defer.succeed(1).addCallback(lambda _: defer.Deferred()))\n"
        "requests.append(defer.succeed(1).addCallback(lambda _: defer.ensureDeferred(fetch())))\n"
    )
    with child(script) as process:
        _, out, _ = run(capsys, "pstree", process.pid)
    assert "in coroutine fetch" in out and "in coroutine save" in out
    assert re.search("└── awaits: .* stands in line at <DeferredQueue", out)


def test_top_in_a_pipe_shows_it_once(folder, capsys):
    with child(STUCK) as process:
        status, out, _ = run(capsys, "top", process.pid, "--sort", "age")
    assert status == 0
    assert "\x1b" not in out
    assert "stands in line" in out


def test_top_on_a_terminal(folder, monkeypatch):
    shown = []

    class Terminal:
        def isatty(self):
            return True

        def write(self, text):
            shown.append(text)

        def flush(self):
            pass

    def interval(_):
        if len(shown) == 2:
            raise KeyboardInterrupt

    with child(STUCK) as process, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Terminal())
        patched.setattr(_ps.time, "sleep", interval)
        assert _ps.main("top", [str(process.pid)]) == 0
    first, second = shown
    assert first.startswith("\x1b[2J\x1b[H") and second.startswith("\x1b[H")
    assert "CHANGE" in second and "CHANGE" not in first


@pytest.mark.parametrize("command", ["ps", "pstree", "top"])
def test_json(folder, capsys, command):
    with child(STUCK) as process:
        _, out, _ = run(capsys, command, process.pid, "--json")
    answer = json.loads(out)
    assert (answer["pid"], answer["waiting"], answer["protocol"]) == (process.pid, 6, 1)
    assert ("trees" in answer) == (command == "pstree")


def test_the_command_itself(folder):
    with child(STUCK) as process:
        done = subprocess.run(
            [sys.executable, "-m", "deferrous", "ps", str(process.pid)],
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 wait" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["x"], ["0"], ["-5"], ["1", "--timeout", "x"], ["1", "--timeout", "nan"]]
)
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as exited:
        _ps.main("ps", arguments)
    assert exited.value.code == 2
    assert "usage: python -m deferrous ps" in capsys.readouterr().err


REACTOR = """
import sys
from twisted.internet import reactor, stdio, protocol

class Input(protocol.Protocol):
    def connectionLost(self, reason):
        reactor.stop()

stdio.StandardIO(Input())
print("ready", flush=True)
reactor.run()
"""


def test_while_the_reactor_sleeps(folder, capsys):
    installed = "import deferrous; deferrous.install()\n"
    with child(installed + STUCK, wait=REACTOR) as process:
        _, out, _ = run(capsys, "ps", process.pid)
    assert "stands in line at <DeferredLock>" in out


MIXED = """
import asyncio, sys, threading
import deferrous as defer

async def of_asyncio(d):
    await d

async def of_ours(task):
    await task

async def main():
    d = defer.Deferred()
    task = asyncio.ensure_future(of_asyncio(d))
    ours = defer.ensureDeferred(of_ours(task))
    await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    d.callback(None)

asyncio.run(main())
"""


def test_asyncio_and_deferreds_in_one_graph(folder, capsys):
    with child(MIXED, wait="") as process:
        _, out, _ = run(capsys, "pstree", process.pid)
    tree = next(each for each in plain(out).split("\n\n") if "of_ours" in each)
    assert [line.lstrip(" └─├│").partition(" at ")[0] for line in tree.splitlines()] == [
        "<Deferred",
        'File "<string>", line 9, in coroutine of_ours',
        "awaits: <Task Task-2",
        'File "<string>", line 6, in coroutine of_asyncio',
        "awaits: <Deferred",
    ]


def test_what_is_shown_cannot_steer_a_terminal(folder, capsys):
    script = STUCK + "requests[0].__class__ = type('\\x1b[31mred', (defer.Deferred,), {})\n"
    with child(script) as process:
        for command in ("ps", "pstree"):
            _, out, _ = run(capsys, command, process.pid)
            assert "\x1b" not in out
            assert "\\x1b[31mred" in out


def test_many(folder, capsys):
    script = STUCK + (
        "from deferrous import _survey\n_survey._COUNTING = _survey._DRAWING = 600\n"
        "requests += [defer.ensureDeferred(save('')) for _ in range(20_000)]\n"
        "for number in range(300):\n"
        "    cls = type(f'Own{number}', (defer.Deferred,), {})\n"
        "    requests.append(cls())\n"
    )
    with child(script) as process:
        _, out, _ = run(capsys, "ps", process.pid)
        assert "40,306 wait" in out
        assert "... 102 more groups ..." in out
        _, out, _ = run(capsys, "pstree", process.pid, "--json")
    answer = json.loads(out)
    assert len(answer["trees"]) == 20
    assert answer["trees_left_out"] == 281


# --- Who cannot be asked


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


def leave_a_socket(folder, pid):
    """Leave what a process leaves that was killed."""
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, f"{pid}.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    return path


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


#: It says so when it is in C already. `PyDLL` keeps the GIL.
BUSY = """
import ctypes
import deferrous
ctypes.PyDLL(None).system(b"echo ready; read line")
"""


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


# --- What the process takes


def send(folder, pid, *pieces):
    """What a process answers to some bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(os.path.join(folder, f"{pid}.sock"))
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        return received


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
    with child(script) as process:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(folder, f"{process.pid}.sock"))
            connection.sendall(b'{"ask": ')
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            connection.sendall(b'"ps"}\n')
            assert connection.makefile().readline().startswith('{"protocol": 1')


def test_a_file_that_has_the_number_of_one_who_asked(folder):
    """A program has closed all files, and has others by the same numbers."""
    script = STUCK + (
        "import os\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "os.closerange(3, 100)\nothers = [os.open('/dev/null', os.O_RDWR) for _ in range(20)]\n"
    )
    end = WAIT + "assert all(os.write(each, b'x') == 1 for each in others)\n"
    with child(script, wait=end) as process, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.join(folder, f"{process.pid}.sock"))
        connection.sendall(b'{"ask": ')
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"


# --- The process goes on as without


def test_it_ends_and_leaves_nothing(folder):
    with child(STUCK, "-X", "dev", "-W", "error") as process:
        assert os.listdir(folder) == [f"{process.pid}.sock"]
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.listdir(folder) == []


FORKS = """
import os, sys
import deferrous
from deferrous import inspect

end, ended = os.pipe()
said, say = os.pipe()
pid = os.fork()
if not pid:
    os.close(ended)
    os.write(say, inspect.listening().encode())
    os.read(end, 1)
    sys.exit()
path = os.read(said, 1000).decode()
assert path.endswith(f"{pid}.sock"), path
assert inspect.listening().endswith(f"{os.getpid()}.sock")
print("ready", pid, flush=True)
sys.stdin.read()
os.close(ended)
_, status = os.waitpid(pid, 0)
assert status == 0
assert os.path.exists(inspect.listening())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("times", [1, 5])
def test_a_fork_has_a_socket_of_its_own(folder, capsys, times):
    # CPython 3.12 and newer warn of a fork where there are threads.
    with child(FORKS, "-W", "error", wait="") as process:
        (other,) = process.said
        for _ in range(times):
            for pid in (process.pid, int(other)):
                _, out, _ = run(capsys, "ps", pid)
                assert out.startswith(f"process {pid}: ")
    assert os.listdir(folder) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_one_that_has_stopped_listening_forks(folder):
    script = (
        "import os, sys, deferrous\nfrom deferrous import inspect\n"
        "inspect.stop()\npid = os.fork()\n"
        "if not pid:\n    os._exit(inspect.listening() is not None)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    with child(script):
        assert os.listdir(folder) == []


def test_a_process_that_closes_all_its_files(folder, capsys):
    script = STUCK + "import os; os.closerange(3, 1000)\nothers = os.pipe()\n"
    with child(script, wait=WAIT + "assert os.get_blocking(others[0])\n") as process:
        if not hasattr(sys, "remote_exec"):
            # One whose thread has not seen it yet takes the question, and no more.
            line = refused(capsys, process.pid)
            assert "nobody listens any more" in line or "Connection reset" in line


def test_its_thread_takes_no_signals(folder, capsys):
    script = """
    import select, signal, sys
    import deferrous

    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(print("taken", flush=True)))
    print("ready", flush=True)
    while True:
        signal.pause()
    """
    with child(script, wait="") as process:
        run(capsys, "ps", process.pid)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "taken\n"


def test_off(folder):
    for setting in ("0", "no", "", "off"):
        with child("import sys, deferrous", inspect=setting):
            assert not os.path.exists(folder)
    with child("import sys, deferrous", "-E"):
        assert not os.path.exists(folder)


def test_listen_and_stop(folder):
    assert inspect.listening() is None
    inspect.stop()
    path = inspect.listen()
    assert inspect.listen() == inspect.listening() == path
    threads = [each.name for each in threading.enumerate()]
    assert threads.count("deferrous.inspect") == 1
    inspect.stop()
    assert not os.path.exists(path)
    assert "deferrous.inspect" not in [each.name for each in threading.enumerate()]
    assert inspect.listen() == path
    inspect.stop()


def test_a_moment_without_files(folder, monkeypatch):
    """Whoever asks then is answered later."""
    accept, errors = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def accept_later(self):
        if errors:
            raise errors.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept_later)
    path = inspect.listen()
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(60)
            asking.connect(path)
            asking.sendall(b"ps\n")
            assert asking.recv(1)
    finally:
        inspect.stop()
    assert not errors


def test_what_is_let_go_of_dies_in_the_main_thread():
    died = []

    class Own(defer.Deferred):
        def __del__(self):
            died.append(threading.current_thread() is threading.main_thread())

    kept, other = Own(), Own()
    survey = _survey._Survey()

    def look():
        nonlocal kept
        kept = None
        survey.let_go()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert died == []
    gc.collect()
    assert died == [True]
    assert _survey._parked == [] and _survey._empty not in gc.callbacks
    del other


def test_take_last():
    class Own:
        pass

    one, other = Own(), Own()
    kept = weakref.ref(one)
    objects = [one, other, one]
    del one
    last = _deferrous._take_last(objects)
    assert objects == [] and last == [kept()]


def test_all_of_asks_nobody():
    class Hostile(type):
        def _refuse(cls, *_):
            raise AssertionError("asked")

        __instancecheck__ = __subclasscheck__ = __eq__ = _refuse
        __hash__ = type.__hash__

    class Own(metaclass=Hostile):
        pass

    objects = [Own() for _ in range(3)]
    found, count = _deferrous._all_of(gc.get_objects, (Own,), 2)
    assert (len(found), count) == (2, 3)
    assert any(found[0] is each for each in objects)


# --- By `sys.remote_exec`

needs_remote_exec = pytest.mark.skipif(
    not hasattr(sys, "remote_exec"), reason="for Python 3.14 and newer"
)


@needs_remote_exec
def test_a_process_that_nobody_prepared(folder, capsys):
    installed = "import deferrous; deferrous.install()\n"
    with child(installed + STUCK, inspect="", wait=REACTOR) as process:
        status, out, err = run(capsys, "pstree", process.pid)
        assert (status, err) == (0, "")
        assert "stands in line at <DeferredLock" in out
        assert not os.path.exists(folder)


@needs_remote_exec
def test_one_without_deferrous(folder, capsys):
    script = "import asyncio, sys\nfrom concurrent import futures\n"
    wait = """
async def main():
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    assert "deferrous" not in sys.modules
asyncio.run(main())
"""
    with child(script, inspect="", wait=wait) as process:
        assert refused(capsys, process.pid) == f"process {process.pid} has not imported deferrous"


@needs_remote_exec
def test_one_that_takes_no_scripts(folder, capsys):
    with child("import sys, deferrous", "-X", "disable-remote-debug", inspect="") as process:
        line = refused(capsys, process.pid, "--timeout", "0.3")
    assert line.startswith(f"process {process.pid} d"), line


@needs_remote_exec
def test_one_that_is_too_late(folder, capsys, monkeypatch):
    path = tempfile.mkdtemp(prefix="dfr")
    monkeypatch.setattr(tempfile, "tempdir", path)
    try:
        with child(BUSY, inspect="", wait="") as process:
            line = refused(capsys, process.pid, "--timeout", "0.3")
            assert "did not answer" in line
        # It has come to the script by now, and has nothing to complain of.
    finally:
        shutil.rmtree(path)
