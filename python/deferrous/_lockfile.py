"""Locks between processes, made of names in the file system.

On disk they look like those of `twisted.python.lockfile`, so that processes with this module and
with Twisted's exclude each other. The lock is a symbolic link whose target is the id of the process
that holds it. Making the link succeeds, or finds another one there. On Windows it is a directory,
renamed into place, with a file "symlink" that contains the process id.

A process that dies leaves its link behind. Twisted detects that by asking whether a process with
this id exists. This fails in two ways. If two processes find a stale link, the slower one may
remove the link that the faster one has made instead, and both hold the lock. And process ids are
reused, in a restarted container even at once; then the lock stays locked forever. To avoid both,
there is a second file beside the link, the *warrant*, which is locked through the operating system.
Such a lock ends with its process, but leaves no trace on disk.

- The holder of a lock keeps the warrant locked, with the link's identity written in it. If there is
  a warrant for a link and nobody has locked it, the holder is gone, whichever process has its id
  now. A link without a warrant, such as Twisted's, is judged by its process id alone.
- Only a process that has locked the warrant may remove a stale link, after checking the link again.
  So only one process at a time does that.

A warrant is removed together with its lock. Only a crash leaves one behind, and the next holder
reuses it.

Two of Twisted's problems remain: a process with Twisted's module that finds a stale link may remove
the link that this module has just made instead; and process ids mean nothing across machines or
containers. The code for Windows was tested on POSIX only, as far as that is possible: the
directories.

The libraries filelock, fasteners and portalocker also lock a file through the operating system, and
filelock's SoftFileLock writes a file with a process id and a host name. They are well maintained,
and a new program can use filelock in a thread. They are not used here because none of them respects
Twisted's link, nor does Twisted respect theirs; because deferrous has no dependencies; and because
they would replace only the warrant, which is a call of `flock`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from . import _clock, _deferrous
from ._clock import AnyClock
from ._lock_links import identity_of, links
from ._lock_system import WINDOWS, is_alive
from ._lock_warrants import Warrant
from ._reasons import takes_reason
from .failure import Failure

__all__ = ["AlreadyTryingToLockError", "DeferredFilesystemLock", "FilesystemLock", "isLocked"]

#: How often to try again if a lock vanishes while it is examined.
_ATTEMPTS = 100


class FilesystemLock:
    """A lock between processes.

    `name` is its path. `locked` says whether this object has locked it and not unlocked it;
    `clean`, after locking it, whether the holder before unlocked it, rather than died.
    """

    clean: bool | None = None
    locked: bool = False
    _warrant: Warrant | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def lock(self) -> bool:
        """Try to acquire the lock, without waiting. Return whether it was free.

        Errors:

        - OSError: the lock cannot be made or read.
        - ValueError: there is something other than a lock at the path.
        """
        name = self.name if type(self.name) is str else os.fsdecode(self.name)
        clean = True
        warrant: Warrant | None = None
        try:
            for _ in range(_ATTEMPTS):
                try:
                    links.make(os.getpid(), name)
                    break
                except FileExistsError:
                    pass
                # At each step, another process may have been faster.
                with suppress(FileNotFoundError, FileExistsError):
                    warrant = warrant or _doubt(name)
                    if warrant is None or not _is_stale(name, warrant):
                        return False
                    links.replace(os.getpid(), name)
                    clean = False
                    break
            else:
                return False
            # Without a warrant, it is a lock nevertheless.
            try:
                warrant = warrant or Warrant.take(name, create=True)
                if warrant is not None:
                    warrant.keep_for(identity_of(name))
                    self._warrant, warrant = warrant, None
            except OSError:
                pass
        finally:
            if warrant is not None:
                warrant.give_up()
        self.locked = True
        self.clean = clean
        return True

    def unlock(self) -> None:
        """Release the lock.

        Errors:

        - ValueError: another process holds it.
        - OSError: nobody holds it.
        """
        name = self.name if type(self.name) is str else os.fsdecode(self.name)
        warrant, self._warrant = self._warrant, None
        if warrant is None or not warrant.is_held_for(name):
            # It may have been locked through another object.
            warrant = Warrant.of_holder(name)
        try:
            pid = links.read(name)
        finally:
            # If the link is not this process's any more, neither is the warrant.
            if warrant is not None:
                warrant.give_up()
        if pid != os.getpid():
            raise ValueError(f"Lock {self.name!r} not owned by this process")
        links.remove(name)
        self.locked = False


def _doubt(name: str) -> Warrant | None:
    """Return a link's warrant if its holder may be gone, else None."""
    try:
        pid = links.read(name)
    except PermissionError:
        if WINDOWS:
            # It is being removed.
            return None
        raise
    return Warrant.take(name, create=not is_alive(pid))


def _is_stale(name: str, warrant: Warrant) -> bool:
    """Return whether a link's holder is gone. The caller must have locked the warrant."""
    identity = identity_of(name)
    return not is_alive(links.read(name)) or warrant.is_for(identity)


def isLocked(name: str) -> bool:
    """Return whether a process holds the lock with this name.

    The lock of a dead process is removed.
    """
    lock = FilesystemLock(name)
    if lock.lock():
        lock.unlock()
        return False
    return True


def _running_loop_or_reactor() -> Any:
    """Return the running asyncio loop, or else Twisted's reactor, or None."""
    found = _clock.default()
    if found is None:
        # As in Twisted, the reactor is made if there is none so far.
        try:
            from twisted.internet import reactor as found
        except ImportError:
            return None
    return found


class AlreadyTryingToLockError(Exception):
    """A DeferredFilesystemLock is waited for already."""


class _Attempts:
    """The attempts of `deferUntilLocked` after the first, until one succeeds or the time is up."""

    def __init__(self, lock: DeferredFilesystemLock, timeout: float | None) -> None:
        self.lock = lock
        self.timeout = timeout
        self.deferred: _deferrous.Deferred[None]
        self.deferred = _deferrous.Deferred(self.give_up)

    def wait(self) -> None:
        """Try again later."""
        lock = self.lock
        clock = _clock.resolve(lock._scheduler)
        if self.timeout is not None and lock._timeoutCall is None:
            lock._timeoutCall = _clock.later(clock, self.timeout, self.time_out)
        lock._tryLockCall = _clock.later(clock, lock._interval, self.retry)

    def stop(self, called: Any = None) -> None:
        """Cancel the delayed calls, except `called`: not every clock knows that a call was made."""
        lock = self.lock
        for call in (lock._tryLockCall, lock._timeoutCall):
            if call is not None and call is not called:
                _clock.stop(call)
        lock._tryLockCall = lock._timeoutCall = None

    def retry(self) -> None:
        called = self.lock._tryLockCall
        try:
            locked = self.lock.lock()
        except Exception:
            self.stop(called)
            self.deferred.errback(Failure())
            return
        if locked:
            self.stop(called)
            self.deferred.callback(None)
            return
        try:
            self.wait()
        except Exception:
            # The clock has refused the call, so there will be no other attempt.
            self.stop(called)
            self.deferred.errback(Failure())

    def time_out(self) -> None:
        name = self.lock.name
        text = f"Timed out acquiring lock: {name} after {self.timeout:f}s"
        self.last_try(_deferrous.TimeoutError(text), self.lock._timeoutCall)

    @takes_reason
    def give_up(self, _: Any, *reason: Any) -> None:
        self.last_try(_deferrous.CancelledError(*reason))

    def last_try(self, reason: Exception, called: Any = None) -> None:
        self.stop(called)
        try:
            locked = self.lock.lock()
        except Exception:
            self.deferred.errback(Failure())
            return
        if locked:
            self.deferred.callback(None)
        else:
            self.deferred.errback(reason)


class DeferredFilesystemLock(FilesystemLock):
    """A lock between processes that is acquired with a Deferred.

    Arguments:

    - `name`: the path of the lock.
    - `scheduler`: a reactor, an asyncio loop, a `deferrous.testing.Clock`, or anything else
      with a `callLater`. Waiting means trying again every second. By default, the asyncio
      loop that runs when `deferUntilLocked` is called, or else Twisted's reactor.

    `locked` says whether this object holds the lock. After locking, `clean` says whether the
    last holder unlocked it, rather than died.

    Differs from Twisted: the scheduler may be an asyncio loop, and is one by default where a
    loop runs. Both respect each other's locks. If several processes find that the holder has
    died, only one gets the lock. A new process that has got the id of a dead holder does not
    count as the holder. For that, a second file with the ending `.warrant` exists while the lock
    is held.

    ```python
    import tempfile
    from deferrous import DeferredFilesystemLock
    from deferrous.testing import Clock

    with tempfile.TemporaryDirectory() as folder:
        lock = DeferredFilesystemLock(f"{folder}/lock", Clock())
        lock.deferUntilLocked().addCallback(lambda _: print(lock.locked))
        lock.unlock()
    ```

    This prints `True`.
    """

    _interval: float = 1
    _tryLockCall: Any = None
    _timeoutCall: Any = None

    #: The value of `_scheduler` if none was given. The default is looked up again before waiting.
    _default_scheduler: Any = None

    def __init__(self, name: str, scheduler: AnyClock | None = None) -> None:
        super().__init__(name)
        self._scheduler: Any = scheduler
        if scheduler is None:
            self._scheduler = self._default_scheduler = _running_loop_or_reactor()

    def deferUntilLocked(self, timeout: float | None = None) -> _deferrous.Deferred[None]:
        """Return a Deferred that fires when the lock has been acquired.

        Arguments:

        - `timeout`: the time in seconds after which to give up. By default, there is no limit.

        The Deferred fails with:

        - TimeoutError: the time is over.
        - AlreadyTryingToLockError: another Deferred of this object waits for the lock.
        - OSError: the lock cannot be made or read. If the first attempt shows it, it is raised
          here.

        Errors:

        - RuntimeError: there is no scheduler, neither given nor by default.

        Cancelling the Deferred gives up, after one more attempt, as when the time is over. If
        that attempt succeeds, so does the Deferred.
        """
        if self._tryLockCall is not None:
            return _deferrous.fail(
                AlreadyTryingToLockError("deferUntilLocked isn't safe for concurrent use.")
            )
        if self._scheduler is self._default_scheduler:
            self._scheduler = self._default_scheduler = _running_loop_or_reactor()
            if self._scheduler is None:
                raise RuntimeError(
                    "a DeferredFilesystemLock needs a scheduler to wait, and there is none: no "
                    "asyncio loop runs in this thread, and Twisted is not installed. Say which is "
                    "meant with scheduler=, which takes a reactor, an asyncio loop, or anything "
                    "else with callLater, such as deferrous.testing.Clock."
                )
        if self.lock():
            return _deferrous.succeed(None)
        attempts = _Attempts(self, timeout)
        try:
            attempts.wait()
        except BaseException:
            # Nobody has the Deferred.
            attempts.stop()
            raise
        return attempts.deferred
