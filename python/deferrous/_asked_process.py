"""The process to inspect: permissions, its state, and why it does not answer."""

from __future__ import annotations

import os
import time

__all__ = [
    "LOOK",
    "MOST_BYTES",
    "CannotAsk",
    "Limit",
    "no_answer",
    "owner_of",
    "state_of",
    "status_of",
    "word",
]

#: The longest accepted answer.
MOST_BYTES = 16_000_000
#: How often to look for the answer, in seconds.
LOOK = 0.02


class CannotAsk(Exception):
    """There is no answer. The message is the reason, in one line."""


class Limit:
    """The time that an answer may take, however it is asked for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; 0 or less if the time is over."""
        return self._end - time.monotonic()

    def rest(self) -> float:
        """Return the seconds that are left.

        Errors:

        - TimeoutError: the time is over.
        """
        left = self.left()
        if left <= 0:
            raise TimeoutError
        return left


def word(found: object) -> str:
    text = str(found)[:200]
    return text if text.isprintable() else repr(text)


def owner_of(pid: int) -> int:
    """Return the user of a process, after checking that it exists and may be asked."""
    me = os.geteuid()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        raise CannotAsk(f"there is no process {pid}") from None
    except PermissionError:
        pass
    if state_of(pid) in ("Z", "X"):
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


def status_of(pid: int, key: str) -> str:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name == key:
                    return rest.strip()
    except OSError:
        pass
    return ""


def state_of(pid: int) -> str:
    """Return the state of a process's main thread: R, S, D, T, Z, or nothing if unknown."""
    return status_of(pid, "State")[:1]


def no_answer(pid: int, limit: Limit) -> CannotAsk:
    state = state_of(pid)
    start = f"process {pid} did not answer within {limit.seconds:g} seconds: "
    if state in ("T", "t"):
        return CannotAsk(f"{start}it is stopped, by a signal or a debugger")
    if state in ("", "Z", "X"):
        return CannotAsk(f"{start}it has ended meanwhile")
    if state == "S":
        return CannotAsk(f"{start}it sleeps in native code, and could not be woken")
    return CannotAsk(f"{start}it is busy in native code, which lets no Python code run meanwhile")
