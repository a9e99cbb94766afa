"""The folders for sockets of processes that can be inspected, and who may connect."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping

__all__ = ["NotSafe", "candidates", "check_folder", "own_folder", "peer_of", "socket_name"]

#: For macOS and the BSDs, where the module `socket` has no names for these.
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


class NotSafe(OSError):
    """Other users can access a folder, or there is no way to tell who is asking."""


def candidates(uid: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the folders that may hold sockets of a user's processes, in order of preference."""
    run = environment.get("XDG_RUNTIME_DIR")
    if run and os.path.isabs(run):
        yield os.path.join(run, "deferrous")
    temporary = environment.get("TMPDIR")
    for folder in (temporary, "/tmp"):
        if folder and os.path.isabs(folder):
            yield os.path.join(folder, f"deferrous-{uid}")


def socket_name(folder: str, pid: int) -> str:
    """Return the path of a process's socket."""
    return os.path.join(folder, f"{pid}.sock")


def check_folder(folder: str, uid: int) -> None:
    """Check that a folder belongs to a user, and that nobody else has access."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotSafe(f"{folder} is not a folder")
    if found.st_uid != uid:
        raise NotSafe(f"{folder} belongs to another user")
    if found.st_mode & 0o077:
        raise NotSafe(f"others may get into {folder}: it needs the mode 0700")


def own_folder() -> str:
    """Return this user's folder for sockets. It is made if necessary."""
    uid = os.geteuid()
    refused: OSError | None = None
    for folder in candidates(uid, os.environ):
        try:
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                pass
            check_folder(folder, uid)
        except OSError as error:
            refused = error
            continue
        return folder
    raise refused or NotSafe("there is no folder for sockets")


def peer_of(connection: socket.socket) -> tuple[int, int | None]:
    """Return the user at the other end of a Unix socket, and the process if known."""
    if sys.platform == "linux":
        form = "3i"
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
        pid, uid, _ = struct.unpack(form, found)
        return uid, pid
    if sys.platform == "darwin" or "bsd" in sys.platform:
        # `struct xucred` begins with a version and a user.
        found = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        _, uid = struct.unpack_from("2I", found)
        return uid, None
    raise NotSafe(f"on {sys.platform} there is no way to know who asks")
