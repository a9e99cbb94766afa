"""Asks another process what it is waiting for: by its socket, or by `sys.remote_exec`."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from ._deferrous import __version__
from ._folders import NotSafe, candidates, check_folder, peer_of, socket_name

__all__ = ["CannotAsk", "ask"]

#: The longest accepted answer.
_MOST_BYTES = 16_000_000
#: How long to wait for a process asked through `remote_exec` before waking it.
_DOZE = 0.3
#: How often to look for the answer in a file.
_LOOK = 0.02

#: What the other process runs, in a namespace of its own. It does not import deferrous if the
#: process does not use it.
_SCRIPT = """\
import json, os, sys
def answer():
    module = sys.modules.get("deferrous")
    if module is None:
        return json.dumps({{"error": "no deferrous"}})
    try:
        from deferrous._survey import answer_text
    except ImportError:
        return json.dumps({{"error": "other version", "deferrous": str(module.__version__)}})
    return answer_text({question!r})
try:
    text = answer()
except Exception as error:
    text = json.dumps({{"error": "the question could not be answered: " + type(error).__name__}})
try:
    with open({file!r} + ".part", "w") as file:
        file.write(text)
    os.rename({file!r} + ".part", {file!r})
except OSError:
    pass  # Nobody waits for it any more.
"""


class CannotAsk(Exception):
    """There is no answer. The message is the reason, in one line."""


def ask(pid: int, question: Mapping[str, object], seconds: float = 10.0) -> dict[str, Any]:
    """Ask a process and return its answer."""
    if sys.platform == "win32":
        raise CannotAsk("processes cannot be asked on Windows: it lacks what that needs")
    uid = _owner_of(pid)
    text = json.dumps(question)
    sent, stale = _by_socket(pid, uid, text, seconds)
    if sent is None:
        sent = _by_script(pid, uid, text, seconds, stale)
    try:
        answer = json.loads(sent)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CannotAsk(f"process {pid} gave an answer that is none: another version, perhaps")
    error = answer.get("error")
    if error == "no deferrous":
        raise CannotAsk(f"process {pid} has not imported deferrous")
    if error == "other version":
        raise CannotAsk(
            f"process {pid} has deferrous {_word(answer.get('deferrous'))}, which cannot be asked "
            f"by this one, {__version__}"
        )
    if error is not None:
        raise CannotAsk(f"process {pid}: {_word(error)}")
    if answer.get("protocol") != 1:
        raise CannotAsk(
            f"process {pid} has deferrous {_word(answer.get('deferrous'))}, which answers in "
            f"another form than this one, {__version__}, understands"
        )
    return answer


def _word(found: object) -> str:
    text = str(found)[:200]
    return text if text.isprintable() else repr(text)


# -------------------------------------------------------------------------------------------------
# What is known of a process


def _owner_of(pid: int) -> int:
    """Return the user of a process, after checking that it exists and may be asked."""
    me = os.geteuid()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        raise CannotAsk(f"there is no process {pid}") from None
    except PermissionError:
        pass
    if _state_of(pid) in ("Z", "X"):
        raise CannotAsk(f"process {pid} has ended")
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        # Not Linux. The process itself will refuse other users.
        return me
    if me not in (uid, 0):
        raise CannotAsk(
            f"process {pid} is another user's: only that user ({uid}) and root may ask it"
        )
    return uid


def _status_of(pid: int, key: str) -> str:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name == key:
                    return rest.strip()
    except OSError:
        pass
    return ""


def _state_of(pid: int) -> str:
    """Return the state of a process's main thread: R, S, D, T, Z, or nothing if unknown."""
    return _status_of(pid, "State")[:1]


def _no_answer(pid: int, seconds: float) -> CannotAsk:
    state = _state_of(pid)
    start = f"process {pid} did not answer within {seconds:g} seconds: "
    if state in ("T", "t"):
        return CannotAsk(f"{start}it is stopped, by a signal or a debugger")
    if state in ("", "Z", "X"):
        return CannotAsk(f"{start}it has ended meanwhile")
    if state == "S":
        return CannotAsk(f"{start}it sleeps in native code, and could not be woken")
    return CannotAsk(f"{start}it is busy in native code, which lets no Python code run meanwhile")


# -------------------------------------------------------------------------------------------------
# By its socket


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


def _by_socket(pid: int, uid: int, question: str, seconds: float) -> tuple[bytes | None, bool]:
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
            end = time.monotonic() + seconds
            try:
                _connect(connection, path, end)
                there = peer_of(connection)
                if there[0] not in (uid, 0) or there[1] not in (pid, 0, None):
                    raise CannotAsk(f"another process than {pid} answers at {path}")
                return _talk(connection, question, end), False
            except TimeoutError:
                raise _no_answer(pid, seconds) from None
            except ConnectionRefusedError:
                stale = True
            except OSError as error:
                if error.errno in (errno.ECONNRESET, errno.EPIPE):
                    _owner_of(pid)
                raise CannotAsk(
                    f"process {pid} cannot be asked at {path}: {error.strerror or error}"
                ) from None
    return None, stale


def _connect(connection: socket.socket, path: str, end: float) -> None:
    """Connect. Wait if too many others are connecting."""
    while True:
        connection.settimeout(max(end - time.monotonic(), 0.001))
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError from None
            time.sleep(_LOOK)
        else:
            return


def _talk(connection: socket.socket, question: str, end: float) -> bytes:
    connection.sendall(question.encode() + b"\n")
    pieces = []
    size = 0
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(65536)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise CannotAsk("the answer is too long")
    if not size:
        raise CannotAsk("the process has closed the connection: it did not like the question")
    return b"".join(pieces)


# -------------------------------------------------------------------------------------------------
# By `sys.remote_exec`


def _by_script(pid: int, uid: int, question: str, seconds: float, stale: bool) -> bytes:
    """Have a process run a script that writes the answer."""
    remote_exec: Any = getattr(sys, "remote_exec", None)
    if remote_exec is None:
        was = "has a socket at which nobody listens any more" if stale else "does not listen"
        raise CannotAsk(
            f"process {pid} {was}: start it with DEFERROUS_INSPECT=1, or have it call "
            "deferrous.inspect.listen(). Without that, Python 3.14 and newer can be asked by a "
            "Python of the same version"
        )
    folder = tempfile.mkdtemp(prefix="deferrous-ask-")
    script, file = os.path.join(folder, "script.py"), os.path.join(folder, "answer")
    taken = False
    try:
        with open(script, "w", encoding="utf-8") as stream:
            stream.write(_SCRIPT.format(question=question, file=file))
        if uid != os.geteuid():
            for path in (folder, script):
                os.chown(path, uid, -1)
        try:
            remote_exec(pid, script)
        except (OSError, RuntimeError) as error:
            taken = True
            raise CannotAsk(_refused(pid, error)) from None
        taken = _wait_for(pid, file, seconds)
        if not taken:
            raise _no_answer(pid, seconds)
        with open(file, "rb") as answer:
            return answer.read(_MOST_BYTES)
    finally:
        if taken:
            for path in (script, file):
                if os.path.lexists(path):
                    os.unlink(path)
            os.rmdir(folder)
        else:
            # The process may still run the script, and must not complain that there is none.
            with open(script, "w", encoding="utf-8") as stream:
                stream.write("")


def _refused(pid: int, error: Exception) -> str:
    """Explain why `remote_exec` cannot be used on a process."""
    if isinstance(error, ProcessLookupError):
        return f"there is no process {pid}"
    if isinstance(error, PermissionError):
        return f"the system does not let this user look into process {pid} (ptrace)"
    reason = _word(error)
    return (
        f"process {pid} does not listen (DEFERROUS_INSPECT=1), and does not take questions by "
        f"sys.remote_exec: is it Python {sys.version_info[0]}.{sys.version_info[1]}, as this one? "
        f"({reason})"
    )


def _wait_for(pid: int, file: str, seconds: float) -> bool:
    """Wait until there is an answer. A sleeping process is woken."""
    begin = time.monotonic()
    woken = 0
    while not os.path.exists(file):
        passed = time.monotonic() - begin
        if passed > seconds:
            return False
        if passed > _DOZE * 2**woken and _state_of(pid) == "S":
            _wake(pid, harder=woken > 0)
            woken += 1
        time.sleep(_LOOK)
    return True


def _wake(pid: int, harder: bool) -> None:
    """Interrupt the system call that a process sleeps in, so that it returns to Python.

    If it handles SIGCHLD, as Twisted's reactor does, that signal is sent: the handler finds no
    ended child. Otherwise the process is stopped for a moment and continued.
    """
    try:
        caught = int(_status_of(pid, "SigCgt") or "0", 16)
        if caught >> (signal.SIGCHLD - 1) & 1 and not harder:
            os.kill(pid, signal.SIGCHLD)
        else:
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
    except (OSError, ValueError):
        pass
