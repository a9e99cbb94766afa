"""Locks between processes, and waiting for them; Twisted's and ours beside each other."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from helpers import IMPLEMENTATIONS, outcome
from twisted.internet import reactor
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


# --- locking, and what is on disk ---------------------------------------------


def test_new_lock(lock, name, clock):
    assert (lock.name, lock.clean, lock.locked) == (name, None, False)
    assert lock._scheduler is clock
    assert (lock._interval, lock._tryLockCall, lock._timeoutCall) == (1, None, None)
    assert not os.path.lexists(name)


def test_default_scheduler(defer, name):
    assert defer.DeferredFilesystemLock(name)._scheduler is reactor


@posix_only
def test_lock_is_a_link_to_the_process_number(lock, name):
    assert lock.lock() is True
    assert os.readlink(name) == str(os.getpid())
    assert (lock.clean, lock.locked) == (True, True)


def test_unlock_removes_everything(lock, name, tmp_path):
    lock.lock()
    assert lock.unlock() is None
    assert lock.locked is False
    assert os.listdir(tmp_path) == []
    assert lock.lock()


def test_lock_excludes(lock, other):
    assert lock.lock()
    assert not other.lock()
    assert not lock.lock()
    assert (other.clean, other.locked, lock.locked) == (None, False, True)
    lock.unlock()
    assert other.lock()
    assert other.clean is True


def test_any_object_of_the_process_may_unlock(lock, other, tmp_path):
    lock.lock()
    other.unlock()
    assert lock.locked is True
    assert os.listdir(tmp_path) == []
    assert other.lock()


def test_unlock_what_is_not_locked(lock):
    with pytest.raises(FileNotFoundError):
        lock.unlock()


@posix_only
def test_unlock_what_another_process_has_locked(lock, name):
    os.symlink(str(os.getppid()), name)
    with pytest.raises(ValueError, match=r"^Lock '.*' not owned by this process$"):
        lock.unlock()
    assert os.readlink(name) == str(os.getppid())


def test_lock_in_no_directory(defer, clock, tmp_path):
    lock = defer.DeferredFilesystemLock(str(tmp_path / "none" / "lock"), clock)
    with pytest.raises(FileNotFoundError):
        lock.lock()
    with pytest.raises(FileNotFoundError):
        lock.deferUntilLocked()


@posix_only
def test_name_of_a_file(lock, name):
    with open(name, "w"):
        pass
    with pytest.raises(OSError):
        lock.lock()
    assert lock.locked is False


@posix_only
def test_link_to_something_else(lock, name):
    os.symlink("somewhere", name)
    with pytest.raises(ValueError):
        lock.lock()
    assert os.readlink(name) == "somewhere"


@posix_only
def test_lock_of_a_process_that_is_there(lock, name):
    os.symlink(str(os.getppid()), name)
    assert not lock.lock()
    assert beside(name) == []


@posix_only
def test_lock_removed_by_hand(lock, other, name):
    """An operator's way to open a lock: the link is the lock, and nothing else is."""
    lock.lock()
    os.remove(name)
    assert other.lock()
    assert other.clean is True
    other.unlock()
    assert beside(name) == []


def test_path_and_bytes(defer, clock, tmp_path):
    for name in (tmp_path / "path", os.fsencode(tmp_path / "bytes")):
        lock = defer.DeferredFilesystemLock(name, clock)
        assert lock.lock()
        assert not defer.DeferredFilesystemLock(name, clock).lock()
        lock.unlock()
    assert os.listdir(tmp_path) == []


def test_relative_name(defer, clock, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    lock = defer.DeferredFilesystemLock("lock", clock)
    assert lock.lock()
    monkeypatch.chdir("elsewhere")
    with pytest.raises(FileNotFoundError):
        lock.unlock()
    monkeypatch.chdir(tmp_path)
    lock.unlock()
    assert os.listdir(tmp_path) == ["elsewhere"]


def test_is_locked(implementation, name):
    module = pytest.importorskip(LOCKS[implementation])
    lock = module.FilesystemLock(name)
    assert module.isLocked(name) is False
    lock.lock()
    assert module.isLocked(name) is True
    lock.unlock()
    assert module.isLocked(name) is False
    assert not os.path.lexists(name)


# --- waiting --------------------------------------------------------------------


def test_wait_for_what_is_free(lock, clock):
    assert outcome(lock.deferUntilLocked(timeout=1)) == [None]
    assert lock.locked
    assert clock.getDelayedCalls() == []
    assert (lock._tryLockCall, lock._timeoutCall) == (None, None)


def test_wait(lock, other, clock):
    other.lock()
    waiting = outcome(lock.deferUntilLocked())
    assert lock._tryLockCall.getTime() == 1
    assert lock._timeoutCall is None
    clock.pump([1] * 5)
    assert waiting == []
    other.unlock()
    clock.advance(0.5)
    assert waiting == []
    clock.advance(0.5)
    assert waiting == [None]
    assert lock.locked
    assert lock._tryLockCall is None
    assert clock.getDelayedCalls() == []


def test_interval(lock, other, clock):
    lock._interval = 7
    other.lock()
    waiting = outcome(lock.deferUntilLocked())
    other.unlock()
    lock._interval = 2
    clock.advance(6)
    assert waiting == []
    clock.advance(1)
    assert waiting == [None]


def test_time_out(defer, lock, other, clock, name):
    other.lock()
    waiting = outcome(lock.deferUntilLocked(timeout=5.5))
    clock.pump([1] * 5)
    assert lock._timeoutCall.getTime() == 5.5
    assert waiting == []
    clock.advance(0.5)
    [failure] = waiting
    assert failure.check(defer.TimeoutError)
    assert str(failure.value) == f"Timed out acquiring lock: {name} after 5.500000s"
    assert clock.getDelayedCalls() == []
    assert lock._tryLockCall is None
    assert not lock.locked


def test_time_out_tries_once_more(lock, other, clock):
    other.lock()
    waiting = outcome(lock.deferUntilLocked(timeout=0.5))
    other.unlock()
    clock.advance(0.5)
    assert waiting == [None]
    assert lock.locked


def test_time_out_is_before_an_attempt_of_the_same_time(defer, lock, other, clock):
    other.lock()
    waiting = outcome(lock.deferUntilLocked(timeout=1))
    clock.advance(1)
    assert waiting[0].check(defer.TimeoutError)


def test_locked_in_time(lock, other, clock):
    other.lock()
    waiting = outcome(lock.deferUntilLocked(timeout=10))
    clock.callLater(1.5, other.unlock)
    clock.pump([1] * 2)
    assert waiting == [None]
    assert lock._timeoutCall is None
    assert clock.getDelayedCalls() == []


def test_wait_twice(defer, lock, other, clock):
    other.lock()
    first = outcome(lock.deferUntilLocked())
    [failure] = outcome(lock.deferUntilLocked())
    assert failure.check(defer.AlreadyTryingToLockError)
    assert str(failure.value) == "deferUntilLocked isn't safe for concurrent use."
    other.unlock()
    clock.advance(1)
    assert first == [None]


def test_wait_again_from_a_callback(lock, other, clock):
    def again(_):
        lock.unlock()
        return lock.deferUntilLocked()

    other.lock()
    waiting = outcome(lock.deferUntilLocked().addCallback(again))
    other.unlock()
    clock.advance(1)
    assert waiting == [None]
    assert lock.locked


@pytest.mark.parametrize("timeout", [None, 1])
def test_cancel(defer, lock, other, clock, timeout):
    other.lock()
    deferred = lock.deferUntilLocked(timeout)
    calls = clock.getDelayedCalls()
    deferred.cancel()
    assert outcome(deferred)[0].check(defer.CancelledError)
    assert not any(call.active() for call in calls)
    assert (lock._tryLockCall, lock._timeoutCall) == (None, None)
    other.unlock()
    assert outcome(lock.deferUntilLocked()) == [None]


def test_cancel_tries_once_more(lock, other):
    other.lock()
    deferred = lock.deferUntilLocked()
    other.unlock()
    deferred.cancel()
    assert outcome(deferred) == [None]
    assert lock.locked


def test_cancel_after_locking(lock, clock):
    deferred = lock.deferUntilLocked()
    deferred.cancel()
    assert outcome(deferred) == [None]
    assert lock.locked


def test_public_classes(defer):
    for cls in (defer.DeferredFilesystemLock, defer.AlreadyTryingToLockError):
        assert cls.__name__ in defer.__all__
        assert cls.__module__ == defer.__name__
    assert issubclass(defer.AlreadyTryingToLockError, Exception)


# --- beyond Twisted's -----------------------------------------------------------


@pytest.fixture
def ours(name, clock):
    deferrous = pytest.importorskip("deferrous")
    return lambda: deferrous.DeferredFilesystemLock(name, clock)


@pytest.mark.deferrous_only
def test_time_out_twice(ours, clock):
    """Twisted's second Deferred does not time out."""
    deferrous = pytest.importorskip("deferrous")
    first, second = ours(), ours()
    first.lock()
    for _ in range(2):
        waiting = outcome(second.deferUntilLocked(timeout=0.5))
        clock.advance(0.5)
        assert waiting[0].check(deferrous.TimeoutError)
        assert second._timeoutCall is None


@pytest.mark.deferrous_only
@posix_only
@pytest.mark.parametrize("how", ["retry", "time out", "cancel"])
def test_error_in_a_later_attempt(ours, clock, name, how):
    """Where Twisted's Deferred never fires, and its lock cannot be waited for again."""
    first, second = ours(), ours()
    first.lock()
    deferred = second.deferUntilLocked(timeout=5)
    waiting = outcome(deferred)
    first.unlock()
    os.mkdir(name)
    if how == "retry":
        clock.advance(1)
    elif how == "time out":
        clock.advance(5)
    else:
        deferred.cancel()
    assert waiting[0].check(OSError)
    assert clock.getDelayedCalls() == []
    os.rmdir(name)
    assert outcome(second.deferUntilLocked()) == [None]


@pytest.mark.deferrous_only
def test_without_twisted(tmp_path):
    script = """
        import sys
        sys.modules["twisted"] = None
        import deferrous
        try:
            deferrous.DeferredFilesystemLock(sys.argv[1])
        except RuntimeError as error:
            print(error)
        lock = deferrous.DeferredFilesystemLock(sys.argv[1], object())
        lock.deferUntilLocked().addCallback(print)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "lock")],
        capture_output=True,
        text=True,
        check=True,
    )
    error, fired = done.stdout.splitlines()
    assert "scheduler" in error and "callLater" in error
    assert fired == "None"


@pytest.mark.deferrous_only
@posix_only
def test_process_of_another_user(ours, name, monkeypatch):
    def kill(pid, number):
        raise PermissionError(1, "Operation not permitted")

    os.symlink("1", name)
    monkeypatch.setattr(os, "kill", kill)
    assert not ours().lock()


@pytest.mark.deferrous_only
@posix_only
def test_without_warrants(ours, name, monkeypatch):
    """Where files cannot be locked, a lock still locks; only, a stale one is an error."""
    lockfile = pytest.importorskip("deferrous._lockfile")

    def refuse(file):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lockfile, "_lock_file", refuse)
    lock = ours()
    assert lock.lock()
    assert not ours().lock()
    lock.unlock()
    os.symlink(dead_process(), name)
    with pytest.raises(OSError, match="No locks"):
        lock.lock()


@pytest.mark.deferrous_only
def test_descriptors_do_not_pile_up(ours):
    def used():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    first, second = ours(), ours()
    before = used()
    for _ in range(10):
        first.lock()
        second.lock()
        first.unlock()
    assert used() == before


@pytest.fixture
def directories(monkeypatch):
    """What stands for links on Windows, tried out here."""
    lockfile = pytest.importorskip("deferrous._lockfile")
    monkeypatch.setattr(lockfile, "_links", lockfile._Directories)


@pytest.mark.deferrous_only
def test_directories(ours, directories, name, tmp_path):
    first, second = ours(), ours()
    assert first.lock()
    with open(os.path.join(name, "symlink")) as file:
        assert file.read() == str(os.getpid())
    assert not second.lock()
    first.unlock()
    assert os.listdir(tmp_path) == []
    assert second.lock()


@pytest.mark.deferrous_only
@posix_only
def test_stale_directory(ours, directories, name):
    os.mkdir(name)
    with open(os.path.join(name, "symlink"), "w") as file:
        file.write(dead_process())
    lock = ours()
    assert lock.lock()
    assert lock.clean is False
    assert not ours().lock()


@pytest.mark.deferrous_only
def test_half_removed_directory(ours, directories, name):
    os.mkdir(name)
    lock = ours()
    assert lock.lock()
    lock.unlock()
    with pytest.raises(FileNotFoundError):
        lock.unlock()


# --- several processes ----------------------------------------------------------


def dead_process():
    """The number of a process that there was."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


@pytest.fixture(params=list(IMPLEMENTATIONS))
def second(request, implementation):
    """The implementation in the other process; never Twisted's in both."""
    return request.param


@posix_only
def test_processes_exclude_each_other(implementation, second, holder):
    one, two = holder(implementation), holder(second)
    for _ in range(3):
        assert one.do("lock") == "True"
        assert two.do("lock") == "False"
        assert one.do("unlock") == "None"
        assert two.do("lock") == "True"
        assert two.do("clean") == "True"
        assert one.do("lock") == "False"
        assert two.do("unlock") == "None"


@posix_only
def test_killed_holder(implementation, second, holder):
    one, two = holder(implementation), holder(second)
    assert one.do("lock") == "True"
    assert two.do("lock") == "False"
    one.kill()
    assert two.do("lock") == "True"
    assert two.do("clean") == "False"
    three = holder(implementation)
    assert three.do("lock") == "False"
    assert two.do("unlock") == "None"
    assert three.do("lock") == "True"
    assert three.do("clean") == "True"


@posix_only
def test_wait_for_a_process_that_is_killed(lock, clock, implementation, second, holder):
    process = holder(second)
    assert process.do("lock") == "True"
    waiting = outcome(lock.deferUntilLocked())
    clock.advance(1)
    assert waiting == []
    process.kill()
    clock.advance(1)
    assert waiting == [None]
    assert lock.clean is False


@pytest.mark.deferrous_only
@posix_only
def test_number_used_again(ours, name, holder):
    """A link with the number of a process that is there, but did not make it."""
    process = holder("deferrous")
    process.do("lock")
    # What the holder would have left behind if it had had our number.
    process.process.send_signal(signal.SIGSTOP)
    before = os.lstat(name)
    new = f"{name}.new"
    os.symlink(str(os.getpid()), new)
    os.rename(new, name)
    after = os.lstat(name)
    with open(f"{name}.warrant") as file:
        text = file.read()
    assert text == f"{before.st_ino} {before.st_mtime_ns}"
    process.kill()
    lock = ours()
    # The warrant is for another link: as far as anybody can tell this is a live Twisted's.
    assert not lock.lock()
    with open(f"{name}.warrant", "w") as file:
        file.write(f"{after.st_ino} {after.st_mtime_ns}")
    assert lock.lock()
    assert lock.clean is False


@pytest.mark.deferrous_only
@posix_only
def test_holder_that_nobody_has_waited_for(ours, holder):
    """Its number is still taken, but the holder is dead. Twisted's lock stays locked."""
    process = holder("deferrous")
    process.do("lock")
    process.kill(reap=False)
    lock = ours()
    assert lock.lock()
    assert lock.clean is False


@pytest.mark.deferrous_only
@posix_only
def test_child_does_not_hold_on(ours, holder):
    process = holder("deferrous")
    process.do("lock")
    child = int(process.do("fork"))
    process.kill()
    try:
        os.kill(child, 0)
        assert ours().lock()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.deferrous_only
@posix_only
@pytest.mark.parametrize("moment, winner", [(0, "holder"), (1, "us")])
def test_two_find_a_stale_lock(ours, name, holder, monkeypatch, moment, winner):
    """One has found the holder dead when the other gets its turn.

    Only from the second look at it, for which the warrant is locked, does anything follow.
    """
    lockfile = pytest.importorskip("deferrous._lockfile")
    process = holder("deferrous")
    answers = []

    def is_dead(pid):
        if len(answers) == moment:
            answers.append(process.do("lock"))
        else:
            answers.append(None)
        return False

    os.symlink(dead_process(), name)
    monkeypatch.setattr(lockfile, "_is_alive", is_dead)
    lock = ours()
    assert lock.lock() is (winner == "us")
    assert answers[moment] == str(winner == "holder")
    assert os.readlink(name) == str(os.getpid() if winner == "us" else process.process.pid)


@pytest.mark.deferrous_only
@posix_only
def test_warrant_removed_before_it_could_be_locked(ours, name, monkeypatch):
    """By who had it locked until then: a lock of a file that nobody finds is worth nothing."""
    lockfile = pytest.importorskip("deferrous._lockfile")
    lock_file = lockfile._lock_file
    files = []

    def remove_and_lock(file):
        if not files:
            os.remove(f"{name}.warrant")
        files.append(file)
        lock_file(file)

    monkeypatch.setattr(lockfile, "_lock_file", remove_and_lock)
    lock = ours()
    assert lock.lock()
    assert len(files) == 2
    assert beside(name) == ["lock.warrant"]
    lock.unlock()
    assert beside(name) == []


@pytest.mark.deferrous_only
@posix_only
def test_many_processes_at_a_stale_lock(name, holder):
    """One of them gets it, and nobody takes it from that one."""
    holders = [holder("deferrous") for _ in range(8)]
    assert all(each.do("clean") == "None" for each in holders)
    for _ in range(50):
        os.symlink(dead_number(holders), name)
        for each in holders:
            each.begin("lock")
        answers = [each.end() for each in holders]
        assert sorted(answers) == ["False"] * 7 + ["True"]
        winner = holders[answers.index("True")]
        assert os.readlink(name) == str(winner.process.pid)
        assert winner.do("clean") == "False"
        assert winner.do("unlock") == "None"
        assert os.listdir(os.path.dirname(name)) == []


def dead_number(holders, _numbers=[]):  # noqa: B006  (made once)
    if not _numbers:
        _numbers.append(dead_process())
    assert int(_numbers[0]) not in [each.process.pid for each in holders]
    return _numbers[0]


@pytest.mark.deferrous_only
@posix_only
def test_killed_one_after_the_other(name, holder):
    """Each leaves a stale lock with a warrant to the rest."""
    holders = [holder("deferrous") for _ in range(6)]
    while holders:
        for each in holders:
            each.begin("lock")
        answers = [each.end() for each in holders]
        assert answers.count("True") == 1
        holders.pop(answers.index("True")).kill()
    assert beside(name) == ["lock.warrant"]
