"""The links that `DeferredFilesystemLock` makes; on Windows, directories."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from ._lock_system import WINDOWS


class Links:
    """POSIX links."""

    @staticmethod
    def make(pid: int, name: str) -> None:
        """Make a link. Raises FileExistsError if the name exists."""
        os.symlink(str(pid), name)

    @staticmethod
    def read(name: str) -> int:
        """Return the content of a link. Raises FileNotFoundError if there is none."""
        return int(os.readlink(name))

    @classmethod
    def replace(cls, pid: int, name: str) -> None:
        """Replace a link atomically."""
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


class Directories(Links):
    """Directories that replace links. They are made atomically, but removed in two steps.

    An empty one is half removed, and counts as missing.
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
            # Half removed by a process that may have died since.
            with suppress(OSError):
                os.rmdir(name)
            raise

    @classmethod
    def replace(cls, pid: int, name: str) -> None:
        # Not atomic: raises FileExistsError if somebody else was faster.
        cls.remove(name)
        cls.make(pid, name)

    @staticmethod
    def remove(name: str) -> None:
        os.remove(os.path.join(name, "symlink"))
        with suppress(FileNotFoundError):
            os.rmdir(name)


links: type[Links] = Directories if WINDOWS else Links


def identity_of(name: str) -> str:
    """Return what distinguishes a link from all earlier and later ones at the same path."""
    status = os.lstat(name)
    return f"{status.st_ino} {status.st_mtime_ns}"
