"""The operating system's part of `DeferredFilesystemLock`: file locks and processes."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

WINDOWS: Final = sys.platform == "win32"

if sys.platform == "win32":
    import ctypes
    import msvcrt

    BUSY = (errno.EACCES, errno.EDEADLK)
    FLAGS = os.O_RDWR | os.O_BINARY | os.O_NOINHERIT

    def lock_file(file: int) -> None:
        # A byte where nothing is written.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def is_alive(pid: int) -> bool:
        synchronize, invalid_parameter, timeout = 0x100000, 87, 0x102
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        process = kernel.OpenProcess(synchronize, False, pid)
        if not process:
            # Any other error means that the process exists.
            return ctypes.get_last_error() != invalid_parameter
        process = ctypes.c_void_p(process)
        try:
            return bool(kernel.WaitForSingleObject(process, 0) == timeout)
        finally:
            kernel.CloseHandle(process)

else:
    import fcntl

    BUSY = (errno.EWOULDBLOCK,)
    FLAGS = os.O_RDWR | os.O_NOFOLLOW

    def lock_file(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Another user's process.
            return True
        return True
