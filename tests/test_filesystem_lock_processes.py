"""`DeferredFilesystemLock` in several processes."""

import os
import signal

import pytest
from filesystem_lock_helpers import (
    beside,
    clock,
    dead_number,
    dead_process,
    holder,
    lock,
    name,
    ours,
    posix_only,
    second,
)
from helpers import outcome


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
    monkeypatch.setattr(lockfile, "is_alive", is_dead)
    lock = ours()
    assert lock.lock() is (winner == "us")
    assert answers[moment] == str(winner == "holder")
    assert os.readlink(name) == str(os.getpid() if winner == "us" else process.process.pid)


@pytest.mark.deferrous_only
@posix_only
def test_warrant_removed_before_it_could_be_locked(ours, name, monkeypatch):
    """By who had it locked until then: a lock of a file that nobody finds is worth nothing."""
    warrants = pytest.importorskip("deferrous._lock_warrants")
    lock_file = warrants.lock_file
    files = []

    def remove_and_lock(file):
        if not files:
            os.remove(f"{name}.warrant")
        files.append(file)
        lock_file(file)

    monkeypatch.setattr(warrants, "lock_file", remove_and_lock)
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
