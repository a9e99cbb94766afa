"""`DeferredFilesystemLock` in one process: locking, and waiting."""

import os

import pytest
from filesystem_lock_helpers import LOCKS, beside, clock, lock, name, other, posix_only
from helpers import outcome
from twisted.internet import reactor


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
    for path in (tmp_path / "path", os.fsencode(tmp_path / "bytes")):
        lock = defer.DeferredFilesystemLock(path, clock)
        assert lock.lock()
        assert not defer.DeferredFilesystemLock(path, clock).lock()
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
