"""Asks another process what it is waiting for: by its socket, or by `sys.remote_exec`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ._ask_by_script import by_script
from ._ask_by_socket import by_socket
from ._asked_process import CannotAsk, Limit, owner_of, word
from ._deferrous import __version__

__all__ = ["CannotAsk", "ask"]


def ask(pid: int, question: Mapping[str, object], seconds: float = 10.0) -> dict[str, Any]:
    """Ask a process and return its answer."""
    if sys.platform == "win32":
        raise CannotAsk("processes cannot be asked on Windows: it lacks what that needs")
    limit = Limit(seconds)
    uid = owner_of(pid)
    text = json.dumps(question)
    sent, stale = by_socket(pid, uid, text, limit)
    if sent is None:
        sent = by_script(pid, uid, text, limit, stale)
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
            f"process {pid} has deferrous {word(answer.get('deferrous'))}, which cannot be asked "
            f"by this one, {__version__}"
        )
    if error is not None:
        raise CannotAsk(f"process {pid}: {word(error)}")
    if answer.get("protocol") != 1:
        raise CannotAsk(
            f"process {pid} has deferrous {word(answer.get('deferrous'))}, which answers in "
            f"another form than this one, {__version__}, understands"
        )
    return answer
