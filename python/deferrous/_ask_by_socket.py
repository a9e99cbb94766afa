"""Asks a process by its socket."""

from __future__ import annotations

import errno
import os
import socket
import time

from ._asked_process import LOOK, MOST_BYTES, CannotAsk, Limit, no_answer, owner_of
from ._folders import NotSafe, candidates, check_folder, peer_of, socket_name

__all__ = ["by_socket"]


def _folders(pid: int, uid: int) -> list[str]:
    """Return the folders that may hold its socket: by its environment, and the usual ones."""
    environment = {}
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read(1_000_000).split(b"\0"):
                name, _, value = entry.partition(b"=")
                environment[os.fsdecode(name)] = os.fsdecode(value)
    except OSError:
        pass
    found = list(candidates(uid, environment))
    found += candidates(uid, os.environ)
    found += candidates(uid, {"XDG_RUNTIME_DIR": f"/run/user/{uid}"})
    return list(dict.fromkeys(found))


def by_socket(pid: int, uid: int, question: str, limit: Limit) -> tuple[bytes | None, bool]:
    """Return the process's answer, and whether there is a stale socket."""
    stale = False
    for folder in _folders(pid, uid):
        path = socket_name(folder, pid)
        if not os.path.lexists(path):
            continue
        try:
            check_folder(folder, uid)
        except NotSafe as error:
            raise CannotAsk(f"what is at {path} may be anybody's: {error}") from None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                _connect(connection, path, limit)
                there = peer_of(connection)
                if there[0] not in (uid, 0) or there[1] not in (pid, 0, None):
                    raise CannotAsk(f"another process than {pid} answers at {path}")
                return _talk(connection, question, limit), False
            except TimeoutError:
                raise no_answer(pid, limit) from None
            except ConnectionRefusedError:
                stale = True
            except OSError as error:
                if error.errno in (errno.ECONNRESET, errno.EPIPE):
                    owner_of(pid)
                raise CannotAsk(
                    f"process {pid} cannot be asked at {path}: {error.strerror or error}"
                ) from None
    return None, stale


def _connect(connection: socket.socket, path: str, limit: Limit) -> None:
    """Connect. Wait if too many others are connecting."""
    while True:
        connection.settimeout(limit.rest())
        try:
            connection.connect(path)
        except BlockingIOError:
            time.sleep(min(LOOK, limit.rest()))
        else:
            return


def _talk(connection: socket.socket, question: str, limit: Limit) -> bytes:
    connection.settimeout(limit.rest())
    connection.sendall(question.encode() + b"\n")
    pieces = []
    size = 0
    while True:
        connection.settimeout(limit.rest())
        piece = connection.recv(65536)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise CannotAsk("the answer is too long")
    if not size:
        raise CannotAsk("the process has closed the connection: it did not like the question")
    return b"".join(pieces)
