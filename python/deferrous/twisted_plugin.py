"""A pytest plugin: Twisted on deferrous, from before the first test is collected.

    pytest -p deferrous.twisted_plugin

pytest loads it before any plugin that is installed, pytest-twisted for one. Processes that tests
start run on deferrous, too.
"""

from __future__ import annotations

import os

from . import __version__
from .twisted import ENVIRONMENT_VARIABLE, install, installed

__all__ = ["pytest_report_header"]

install()
os.environ[ENVIRONMENT_VARIABLE] = "1"


def pytest_report_header() -> str:
    """Mention it in the header."""
    return f"deferrous {__version__}: {'in' if installed() else 'NOT in'} the place of Twisted's"
