"""A process that is inspected continues unchanged; and `sys.remote_exec`."""

import errno
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import weakref

import deferrous as defer
import pytest
from deferrous import (
    _ask_by_script,
    _ask_by_socket,
    _asked_process,
    _deferrous,
    _survey,
    inspect,
)
from deferrous._asking import CannotAsk, ask
from inspect_helpers import BUSY, REACTOR, STUCK, WAIT, child, folder, refused, run

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked on Windows"),
]


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
    # Without the GIL, the thread that has made an object frees it, which may be at once.
    assert died == [] or (died == [True] and not getattr(sys, "_is_gil_enabled", lambda: True)())
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


@pytest.mark.skipif(sys.platform != "linux", reason="the turn is a name that Linux has")
@pytest.mark.parametrize("others", [False, True])
def test_all_that_is_tried_is_in_one_time(folder, monkeypatch, tmp_path, others):
    """There is a socket at which nobody listens, somebody else's turn, and a script not run."""
    now = 1000.0

    def sleep(seconds):
        nonlocal now
        assert seconds > 0
        now += seconds

    class Socket(socket.socket):
        def connect(self, path):
            sleep(2.5)
            super().connect(path)

    pid = os.getpid()
    time = types.SimpleNamespace(monotonic=lambda: now, sleep=sleep)
    for module in (_ask_by_script, _ask_by_socket, _asked_process):
        monkeypatch.setattr(module, "time", time, raising=False)
    monkeypatch.setattr(_ask_by_socket.socket, "socket", Socket)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ran = []
    monkeypatch.setattr(sys, "remote_exec", lambda *given: ran.append(given), raising=False)
    os.mkdir(folder, 0o700)
    with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX) as turn:
        stale.bind(os.path.join(folder, f"{pid}.sock"))
        if others:
            turn.bind(f"\0deferrous-ask-{pid}")
        with pytest.raises(CannotAsk, match="did not answer within 10 seconds"):
            ask(pid, {"ask": "ps"}, 10.0)
    assert len(ran) == 1
    assert now == pytest.approx(1010.0)


@needs_remote_exec
def test_several_that_ask_at_once(folder):
    """A process has room for one script."""
    with child("import deferrous; deferrous.install()", inspect="", wait=REACTOR) as process:
        command = [sys.executable, "-m", "deferrous", "ps", "--json", "--timeout", "60"]
        command.append(str(process.pid))
        asking = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(5)]
        answers = [each.communicate()[0] for each in asking]
    assert [json.loads(each)["pid"] for each in answers] == [process.pid] * 5
