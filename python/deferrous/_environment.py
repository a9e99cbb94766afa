"""Environment variables that turn something on."""

from __future__ import annotations

import os
import sys

__all__ = ["OFF", "setting_of"]

#: The values of a variable that mean no.
OFF = ("0", "no", "false", "off")


def setting_of(variable: str) -> str:
    """Return the value of a variable in lower case, or "" if it means no.

    With Python's options `-E` and `-I`, variables are ignored.
    """
    setting = os.environ.get(variable, "").strip().lower()
    return "" if setting in OFF or sys.flags.ignore_environment else setting
