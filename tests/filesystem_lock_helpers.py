"""Helpers for the tests of `DeferredFilesystemLock`."""

import os
import subprocess
import sys
import textwrap

import pytest
from helpers import IMPLEMENTATIONS
from twisted.internet.task import Clock

#: The class of each implementation that only locks.
LOCKS = {"twisted": "twisted.python.lockfile", "deferrous": "deferrous._lockfile"}

posix_only = pytest.mark.skipif(os.name != "posix", reason="symbolic links and signals")


@pytest.fixture
def name(tmp_path):
    return str(tmp_path / "lock")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lock(defer, name, clock):
    return defer.DeferredFilesystemLock(name, clock)


@pytest.fixture
def other(defer, name, clock):
    """Another lock of the same name."""
    return defer.DeferredFilesystemLock(name, clock)


class Holder:
    """A process that does what it is told with a lock, and answers each order with a line."""

    SCRIPT = textwrap.dedent(
        """
        import importlib, os, sys
        module = importlib.import_module(sys.argv[1])
        lock = module.FilesystemLock(sys.argv[2])
        for line in sys.stdin:
            order = line.strip()
            if order == "fork":
                reading, writing = os.pipe()
                answer = os.fork()
                if not answer:
                    # What is done in a child after a fork has been done.
                    os.write(writing, b"!")
                    sys.stdin.read()
                    os._exit(0)
                os.read(reading, 1)
            elif order == "clean":
                answer = lock.clean
            else:
                answer = getattr(lock, order)()
            print(answer, flush=True)
        """
    )

    def __init__(self, implementation, name):
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, LOCKS[implementation], name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def end(self):
        return self.process.stdout.readline().strip()

    def do(self, order):
        self.begin(order)
        return self.end()

    def kill(self, reap=True):
        self.process.kill()
        if reap:
            self.process.wait()
        else:
            # Dead, but still in the table of processes.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def holder(name):
    holders = []

    def start(implementation):
        holders.append(Holder(implementation, name))
        return holders[-1]

    yield start
    for each in holders:
        each.process.kill()
        each.process.communicate()


def beside(name):
    """The names of the files beside a lock."""
    directory, base = os.path.split(name)
    return sorted(set(os.listdir(directory)) - {base})


@pytest.fixture
def ours(name, clock):
    deferrous = pytest.importorskip("deferrous")
    return lambda: deferrous.DeferredFilesystemLock(name, clock)


@pytest.fixture
def directories(monkeypatch):
    """What stands for links on Windows, tried out here."""
    lockfile = pytest.importorskip("deferrous._lockfile")
    links = pytest.importorskip("deferrous._lock_links")
    monkeypatch.setattr(lockfile, "links", links.Directories)


def dead_process():
    """The number of a process that there was."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


@pytest.fixture(params=list(IMPLEMENTATIONS))
def second(request, implementation):
    """The implementation in the other process; never Twisted's in both."""
    return request.param


def dead_number(holders, _numbers=[]):  # noqa: B006  (made once)
    if not _numbers:
        _numbers.append(dead_process())
    assert int(_numbers[0]) not in [each.process.pid for each in holders]
    return _numbers[0]
