"""The file beside a link that is locked for as long as its holder lives."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

from ._lock_system import BUSY, FLAGS, WINDOWS, lock_file


class Warrant:
    """The file beside a link, locked by this object."""

    #: The warrants of the locks that this process holds, by the device and inode of the file.
    held: ClassVar[dict[tuple[int, int], Warrant]] = {}

    def __init__(self, path: str, file: int, status: os.stat_result) -> None:
        # An absolute path, as the process may change its directory.
        self._path = path if path.startswith("/") else os.path.abspath(path)
        self._file = file
        self._key = _key(status)
        self._is_empty = status.st_size == 0

    @staticmethod
    def path(name: str) -> str:
        return f"{name}.warrant"

    @classmethod
    def take(cls, name: str, create: bool) -> Warrant | None:
        """Lock the warrant of a link. Return None if somebody else has locked it.

        If there is none, it is made if `create` is true; otherwise the result is None, too.
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
                lock_file(file)
                status = os.fstat(file)
                if _key(status) == _key(os.stat(path)):
                    return cls(path, file, status)
            except FileNotFoundError:
                pass
            except OSError as error:
                os.close(file)
                if create and error.errno not in BUSY:
                    raise
                return None
            # Somebody has removed the file before it was locked.
            os.close(file)

    @classmethod
    def of_holder(cls, name: str) -> Warrant | None:
        """Return the warrant of a lock that this process holds, to give it up."""
        try:
            return cls.held.pop(_key(os.stat(cls.path(name))), None)
        except OSError:
            return None

    def is_held_for(self, name: str) -> bool:
        """Return whether this process has locked it for the link with this absolute path.

        If so, the caller must give it up.
        """
        if self._path != self.path(name) or self.held.get(self._key) is not self:
            return False
        del self.held[self._key]
        return True

    def is_for(self, identity: str) -> bool:
        """Return whether this is the warrant of the link with this identity."""
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.read(self._file, 100) == identity.encode()

    def keep_for(self, identity: str) -> None:
        """Assign it to a link, and keep it locked until this process gives it up."""
        if not self._is_empty:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, identity.encode())
        self.held[self._key] = self

    def give_up(self) -> None:
        """Remove the file, and unlock it."""
        # Whoever finds it unlocked before it is removed must find it empty.
        if WINDOWS:
            os.ftruncate(self._file, 0)
            # Windows removes only files that nobody has open.
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
            return os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            pass
    try:
        # Without O_CREAT: in a directory that everybody can write to, that may be refused for an
        # existing file of another user.
        return os.open(path, FLAGS)
    except FileNotFoundError:
        if not create:
            raise
        # It has just been removed.
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _forget_warrants() -> None:
    """Close the files that a forked process has inherited. The parent still holds the locks.

    Otherwise, the child would keep them locked after the parent's death.
    """
    while Warrant.held:
        Warrant.held.popitem()[1].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_warrants)
