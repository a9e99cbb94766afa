"""Helpers for the tests of `deferrous.inspect`."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap

import pytest
from deferrous import _ps

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
        ended = (process.returncode, errors)
        assert ended == (0, ""), ended
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


def leave_a_socket(folder, pid):
    """Leave what a process leaves that was killed."""
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, f"{pid}.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    return path


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

#: It says so when it is in C already. `PyDLL` keeps the GIL.
BUSY = """
import ctypes
import deferrous
ctypes.PyDLL(None).system(b"echo ready; read line")
"""
