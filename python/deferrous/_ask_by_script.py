"""Asks a process by a script that it runs: `sys.remote_exec`."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from ._asked_process import LOOK, MOST_BYTES, CannotAsk, Limit, no_answer, state_of, status_of, word

__all__ = ["by_script"]

#: How long to wait before waking the process.
_DOZE = 0.3

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


def by_script(pid: int, uid: int, question: str, limit: Limit, stale: bool) -> bytes:
    """Have a process run a script that writes the answer."""
    remote_exec: Any = getattr(sys, "remote_exec", None)
    if remote_exec is None:
        was = "has a socket at which nobody listens any more" if stale else "does not listen"
        raise CannotAsk(
            f"process {pid} {was}: start it with DEFERROUS_INSPECT=1, or have it call "
            "deferrous.inspect.listen(). Without that, Python 3.14 and newer can be asked by a "
            "Python of the same version"
        )
    with _turn(pid, limit):
        return _by_script(remote_exec, pid, uid, question, limit)


@contextlib.contextmanager
def _turn(pid: int, limit: Limit) -> Iterator[None]:
    """Wait until nobody else asks a process. It has room for one script: a second one replaces it.

    Whoever has its turn holds the name of a socket, which the system frees when this process ends.
    In the last quarter of the time, or where there are no such names, it asks without a turn:
    whoever has it may be stopped.
    """
    last = limit.seconds / 4
    with socket.socket(socket.AF_UNIX) as turn:
        while sys.platform == "linux" and limit.left() > last:
            try:
                turn.bind(f"\0deferrous-ask-{pid}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    break
                time.sleep(min(LOOK, max(limit.left() - last, 0)))
            else:
                break
        yield


def _by_script(remote_exec: Any, pid: int, uid: int, question: str, limit: Limit) -> bytes:
    """Let a process run a script, while nobody else does."""
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
        taken = _wait_for(pid, file, limit)
        if not taken:
            raise no_answer(pid, limit)
        with open(file, "rb") as answer:
            return answer.read(MOST_BYTES)
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
    reason = word(error)
    return (
        f"process {pid} does not listen (DEFERROUS_INSPECT=1), and does not take questions by "
        f"sys.remote_exec: is it Python {sys.version_info[0]}.{sys.version_info[1]}, as this one? "
        f"({reason})"
    )


def _wait_for(pid: int, file: str, limit: Limit) -> bool:
    """Wait until there is an answer. A sleeping process is woken."""
    begin = time.monotonic()
    woken = 0
    while not os.path.exists(file):
        left = limit.left()
        if left <= 0:
            return False
        if time.monotonic() - begin > _DOZE * 2**woken and state_of(pid) == "S":
            _wake(pid, harder=woken > 0)
            woken += 1
        time.sleep(min(LOOK, left))
    return True


def _wake(pid: int, harder: bool) -> None:
    """Interrupt the system call that a process sleeps in, so that it returns to Python.

    If it handles SIGCHLD, as Twisted's reactor does, that signal is sent: the handler finds no
    ended child. Otherwise the process is stopped for a moment and continued.
    """
    try:
        caught = int(status_of(pid, "SigCgt") or "0", 16)
        if caught >> (signal.SIGCHLD - 1) & 1 and not harder:
            os.kill(pid, signal.SIGCHLD)
        else:
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
    except (OSError, ValueError):
        pass
