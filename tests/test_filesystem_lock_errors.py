"""Errors of `DeferredFilesystemLock`."""

import os
import subprocess
import sys
import textwrap

import pytest
from filesystem_lock_helpers import clock, dead_process, directories, name, ours, posix_only
from helpers import outcome


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
        lock = deferrous.DeferredFilesystemLock(sys.argv[1])
        try:
            lock.deferUntilLocked()
        except RuntimeError as error:
            print(error)
        print(lock.lock(), lock.unlock())
        lock = deferrous.DeferredFilesystemLock(sys.argv[1], object())
        lock.deferUntilLocked().addCallback(print)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "lock")],
        capture_output=True,
        text=True,
        check=True,
    )
    error, by_hand, fired = done.stdout.splitlines()
    assert "scheduler" in error and "callLater" in error
    assert by_hand == "True None"
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
    warrants = pytest.importorskip("deferrous._lock_warrants")

    def refuse(file):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(warrants, "lock_file", refuse)
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
