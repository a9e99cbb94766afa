"""Environment variables that turn something on."""

from __future__ import annotations

import os
import sys

__all__ = ["OFF", "setting_of"]

#: What a variable may be set to so as to say no.
OFF = ("0", "no", "false", "off")


def setting_of(variable: str) -> str:
    """Return what a variable is set to, in lower case; nothing if it says no.

    With Python's options `-E` and `-I`, no variable says anything.
    """
    setting = os.environ.get(variable, "").strip().lower()
    return "" if setting in OFF or sys.flags.ignore_environment else setting
