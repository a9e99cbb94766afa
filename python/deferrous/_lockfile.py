"""Locks between processes, made of names in the file system.

On disk they are those of `twisted.python.lockfile`, so that a process with this module and one
with Twisted's keep each other out. The lock *is* a symbolic link whose target is the number of
the process that holds it; making one either succeeds or finds another there. On Windows it is a
directory, renamed into place, with a file "symlink" that holds the number.

A process that dies leaves its link behind. Twisted's way to find out is to ask whether there is a
process of that number. This fails in two ways. Of two processes that find a stale link, the
slower one may remove what the faster one has put in its place, and both hold the lock. And a
number is used again, by a restarted container at once, which leaves the lock locked for ever.
Both are mended with a file beside the link, its *warrant*, which is locked by means of the
operating system: such locks end with their process, but there is nothing to see of them on disk.

- Whoever holds a lock keeps its warrant locked, with the link's identity written in it. Where a
  warrant for a link is there and nobody has it locked, the holder is gone, whatever process has
  its number now. A link without a warrant, such as Twisted's, is judged by its number alone.
- Only who has the warrant locked may remove a stale link, having looked at it again. So one
  process does so at a time.

A warrant goes with its lock; only a crash leaves one lying about, for the next holder to use.

What remains is Twisted's: a process with Twisted's lock that finds a stale link may remove what
this module has just put in its place; and numbers mean nothing across machines or containers.
What Windows does here has been tried on POSIX only, as far as it can be: the directories.

Of the libraries for this, filelock, fasteners and portalocker lock a file by means of the
operating system as well, and filelock's SoftFileLock writes a file with a number and a host name.
They are well kept, and a program that starts afresh does well to use filelock in a thread. They
are not used here because none of them heeds Twisted's link, or is heeded by Twisted; because
deferrous depends on nothing; and because what they would take care of here, the warrant, is a
call of `flock`.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Any, ClassVar, Final

from . import _deferrous
from .failure import Failure

__all__ = ["AlreadyTryingToLockError", "DeferredFilesystemLock", "FilesystemLock", "isLocked"]

WINDOWS: Final = sys.platform == "win32"

# --------------------------------------------------------------------------------------
# What the operating system does: its locks and its processes.

if sys.platform == "win32":
    import ctypes
    import msvcrt

    _BUSY = (errno.EACCES, errno.EDEADLK)
    _FLAGS = os.O_RDWR | os.O_BINARY | os.O_NOINHERIT

    def _lock_file(file: int) -> None:
        # A byte where nothing is written.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _is_alive(pid: int) -> bool:
        synchronize, invalid_parameter, timeout = 0x100000, 87, 0x102
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        process = kernel.OpenProcess(synchronize, False, pid)
        if not process:
            # Any other error is about a process that is there.
            return ctypes.get_last_error() != invalid_parameter
        process = ctypes.c_void_p(process)
        try:
            return bool(kernel.WaitForSingleObject(process, 0) == timeout)
        finally:
            kernel.CloseHandle(process)

else:
    import fcntl

    _BUSY = (errno.EWOULDBLOCK,)
    _FLAGS = os.O_RDWR | os.O_NOFOLLOW

    def _lock_file(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Somebody else's.
            return True
        return True


# --------------------------------------------------------------------------------------
# The link.


class _Links:
    """Links as POSIX has them."""

    @staticmethod
    def make(pid: int, name: str) -> None:
        """Make a link. Raises FileExistsError if there is something of that name."""
        os.symlink(str(pid), name)

    @staticmethod
    def read(name: str) -> int:
        """Return what a link says. Raises FileNotFoundError if there is none."""
        return int(os.readlink(name))

    @classmethod
    def replace(cls, pid: int, name: str) -> None:
        """Put a link in the place of another, at no time leaving it empty."""
        new = f"{name}.{os.urandom(8).hex()}.newlink"
        os.symlink(str(pid), new)
        try:
            os.rename(new, name)
        except BaseException:
            os.remove(new)
            raise

    @staticmethod
    def remove(name: str) -> None:
        """Remove a link."""
        os.remove(name)


class _Directories(_Links):
    """Directories in the place of links, made at once, but removed in two steps.

    One that is empty is half removed, and as good as gone.
    """

    @staticmethod
    def make(pid: int, name: str) -> None:
        new = f"{name}.{os.urandom(8).hex()}.newlink"
        value = os.path.join(new, "symlink")
        os.mkdir(new)
        try:
            with open(value, "w", encoding="ascii") as file:
                file.write(str(pid))
            os.rename(new, name)
        except OSError as error:
            with suppress(FileNotFoundError):
                os.remove(value)
            os.rmdir(new)
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.EACCES):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            raise

    @staticmethod
    def read(name: str) -> int:
        try:
            with open(os.path.join(name, "symlink"), encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            # Half removed by a process that may have died over it.
            with suppress(OSError):
                os.rmdir(name)
            raise

    @classmethod
    def replace(cls, pid: int, name: str) -> None:
        # Not without a gap: raises FileExistsError if somebody else has been faster.
        cls.remove(name)
        cls.make(pid, name)

    @staticmethod
    def remove(name: str) -> None:
        os.remove(os.path.join(name, "symlink"))
        with suppress(FileNotFoundError):
            os.rmdir(name)


#: How often a lock that vanishes when it is looked at is tried again.
_ATTEMPTS = 100

_links: type[_Links] = _Directories if WINDOWS else _Links


def _identity(name: str) -> str:
    """Return what tells a link from others that have been or will be in its place."""
    status = os.lstat(name)
    return f"{status.st_ino} {status.st_mtime_ns}"


# --------------------------------------------------------------------------------------
# The warrant.


class _Warrant:
    """The file beside a link, locked by this object."""

    #: Those of the locks that this process holds, by the device and number of the file.
    held: ClassVar[dict[tuple[int, int], _Warrant]] = {}

    def __init__(self, path: str, file: int, status: os.stat_result) -> None:
        # Of that path, wherever the process goes.
        self._path = path if path.startswith("/") else os.path.abspath(path)
        self._file = file
        self._key = _key(status)
        self._is_empty = status.st_size == 0

    @staticmethod
    def path(name: str) -> str:
        return f"{name}.warrant"

    @classmethod
    def take(cls, name: str, create: bool) -> _Warrant | None:
        """Lock the warrant of a link; None if somebody has it locked.

        If there is none, it is made if `create` says so, else the answer is None, too.
        """
        path = cls.path(name)
        while True:
            try:
                file = _open(path, create)
            except FileExistsError:
                continue
            except OSError:
                if create and not WINDOWS:
                    raise
                return None
            try:
                _lock_file(file)
                status = os.fstat(file)
                if _key(status) == _key(os.stat(path)):
                    return cls(path, file, status)
            except FileNotFoundError:
                pass
            except OSError as error:
                os.close(file)
                if create and error.errno not in _BUSY:
                    raise
                return None
            # Somebody has removed the file before it could be locked.
            os.close(file)

    @classmethod
    def of_holder(cls, name: str) -> _Warrant | None:
        """Return the warrant of a lock that this process holds, to be given up."""
        try:
            return cls.held.pop(_key(os.stat(cls.path(name))), None)
        except OSError:
            return None

    def is_held_for(self, name: str) -> bool:
        """Return whether this process has it locked, for the link of that name, an absolute one.

        If so, it is to be given up.
        """
        if self._path != self.path(name) or self.held.get(self._key) is not self:
            return False
        del self.held[self._key]
        return True

    def is_for(self, identity: str) -> bool:
        """Return whether this is the warrant of a link of that identity."""
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.read(self._file, 100) == identity.encode()

    def keep_for(self, identity: str) -> None:
        """Let it be the warrant of a link, and keep it locked until this process gives it up."""
        if not self._is_empty:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, identity.encode())
        self.held[self._key] = self

    def give_up(self) -> None:
        """Remove the file, and unlock it."""
        # Who finds it unlocked and not yet removed must find nothing in it.
        if WINDOWS:
            os.ftruncate(self._file, 0)
            # Only a file that nobody has open can be removed there.
            self.close()
        try:
            os.remove(self._path)
        except OSError:
            if not WINDOWS:
                os.ftruncate(self._file, 0)
        if not WINDOWS:
            self.close()

    def close(self) -> None:
        os.close(self._file)


def _open(path: str, create: bool) -> int:
    if create:
        try:
            return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            pass
    try:
        # Not with O_CREAT, which may be refused for what is there already, if it is another
        # user's in a directory that everybody can write to.
        return os.open(path, _FLAGS)
    except FileNotFoundError:
        if not create:
            raise
        # It has just been removed.
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _forget_warrants() -> None:
    """Close what a forked process has got from its parent, which goes on holding the locks.

    Else the child would keep them locked after the parent's death.
    """
    while _Warrant.held:
        _Warrant.held.popitem()[1].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_warrants)


# --------------------------------------------------------------------------------------
# The locks.


class FilesystemLock:
    """A lock between processes.

    `name` is its path. `locked` says whether this object has locked it and not unlocked it;
    `clean`, after locking it, whether the holder before unlocked it, rather than died.
    """

    clean: bool | None = None
    locked: bool = False
    _warrant: _Warrant | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def lock(self) -> bool:
        """Try to acquire the lock, without waiting. Return whether it was free.

        Errors:

        - OSError: the lock cannot be made or read.
        - ValueError: the path names something else than a lock.
        """
        name = self.name if type(self.name) is str else os.fsdecode(self.name)
        clean = True
        warrant: _Warrant | None = None
        try:
            for _ in range(_ATTEMPTS):
                try:
                    _links.make(os.getpid(), name)
                    break
                except FileExistsError:
                    pass
                # Each step may find that another process has been there.
                with suppress(FileNotFoundError, FileExistsError):
                    warrant = warrant or _doubt(name)
                    if warrant is None or not _is_stale(name, warrant):
                        return False
                    _links.replace(os.getpid(), name)
                    clean = False
                    break
            else:
                return False
            # Without a warrant it is a lock all the same.
            try:
                warrant = warrant or _Warrant.take(name, create=True)
                if warrant is not None:
                    warrant.keep_for(_identity(name))
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
            # It may have been locked by means of another object.
            warrant = _Warrant.of_holder(name)
        try:
            pid = _links.read(name)
        finally:
            # If the link is not this process's any more, neither is the warrant.
            if warrant is not None:
                warrant.give_up()
        if pid != os.getpid():
            raise ValueError(f"Lock {self.name!r} not owned by this process")
        _links.remove(name)
        self.locked = False


def _doubt(name: str) -> _Warrant | None:
    """Return a link's warrant if its holder may be gone, else None."""
    try:
        pid = _links.read(name)
    except PermissionError:
        if WINDOWS:
            # It is being removed.
            return None
        raise
    return _Warrant.take(name, create=not _is_alive(pid))


def _is_stale(name: str, warrant: _Warrant) -> bool:
    """Return whether a link's holder is gone. To be asked by who has the warrant locked."""
    identity = _identity(name)
    return not _is_alive(_links.read(name)) or warrant.is_for(identity)


def isLocked(name: str) -> bool:
    """Return whether a process has the lock of that name locked.

    The lock of a process that has died is removed.
    """
    lock = FilesystemLock(name)
    if lock.lock():
        lock.unlock()
        return False
    return True


class AlreadyTryingToLockError(Exception):
    """A DeferredFilesystemLock is waited for already."""


class DeferredFilesystemLock(FilesystemLock):
    """A lock between processes that is acquired with a Deferred.

    Arguments:

    - `name`: the path of the lock.
    - `scheduler`: something with Twisted's `callLater`. Waiting means trying again every
      second. By default, Twisted's reactor.

    `locked` says whether this object holds the lock. After locking, `clean` says whether the
    last holder unlocked it, rather than died.

    Errors:

    - RuntimeError: no scheduler is given, and Twisted is not installed.

    Differs from Twisted: both respect each other's locks. If several processes find that the
    holder has died, only one gets the lock here. A new process with the number of a dead holder
    does not keep the lock. For that, there is a second file with the ending `.warrant` while
    the lock is held.

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

    def __init__(self, name: str, scheduler: Any = None) -> None:
        super().__init__(name)
        if scheduler is None:
            try:
                from twisted.internet import reactor as scheduler
            except ImportError as error:
                raise RuntimeError(
                    "a DeferredFilesystemLock needs a scheduler, something with callLater; "
                    "its default is Twisted's reactor, and Twisted is not installed"
                ) from error
        self._scheduler = scheduler

    def deferUntilLocked(self, timeout: float | None = None) -> _deferrous.Deferred[None]:
        """Return a Deferred that fires when the lock has been acquired.

        Arguments:

        - `timeout`: the time in seconds after which to give up. By default, there is no limit.

        The Deferred fails with:

        - TimeoutError: the time is over.
        - AlreadyTryingToLockError: another Deferred of this object waits for the lock.
        - OSError: the lock cannot be made or read. If the first attempt shows it, it is raised
          here.

        Cancelling the Deferred gives up, after one more attempt, as when the time is over. If
        that attempt succeeds, so does the Deferred.
        """
        if self._tryLockCall is not None:
            return _deferrous.fail(
                AlreadyTryingToLockError("deferUntilLocked isn't safe for concurrent use.")
            )

        def stop() -> None:
            for call in (self._tryLockCall, self._timeoutCall):
                if call is not None and call.active():
                    call.cancel()
            self._tryLockCall = self._timeoutCall = None

        def wait() -> None:
            if timeout is not None and self._timeoutCall is None:
                self._timeoutCall = self._scheduler.callLater(timeout, time_out)
            self._tryLockCall = self._scheduler.callLater(self._interval, retry)

        def retry() -> None:
            try:
                locked = self.lock()
            except Exception:
                stop()
                deferred.errback(Failure())
                return
            if locked:
                stop()
                deferred.callback(None)
            else:
                wait()

        def last_try(reason: Exception) -> None:
            stop()
            try:
                locked = self.lock()
            except Exception:
                deferred.errback(Failure())
                return
            if locked:
                deferred.callback(None)
            else:
                deferred.errback(reason)

        def time_out() -> None:
            assert timeout is not None
            last_try(
                _deferrous.TimeoutError(f"Timed out acquiring lock: {self.name} after {timeout:f}s")
            )

        deferred: _deferrous.Deferred[None]
        deferred = _deferrous.Deferred(lambda _: last_try(_deferrous.CancelledError()))
        if self.lock():
            deferred.callback(None)
        else:
            wait()
        return deferred
