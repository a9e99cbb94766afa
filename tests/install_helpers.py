"""Helpers for the tests of `install`."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

STARTUP_FILE = Path(__file__).resolve().parents[1] / "python" / "deferrous_install.pth"


def python(*arguments, cwd=None, stdin="", **environment):
    """Run Python on its own, and return what came of it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DEFERROUS_", "PYTHON"))}
    env |= {"PYTHONIOENCODING": "utf-8"} | environment
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )


def run(script, *options, **environment):
    """Run a script that has to succeed, and return what it printed."""
    done = python("-X", "faulthandler", *options, "-c", textwrap.dedent(script), **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: On the first line, so that the lines of what follows keep their numbers.
INSTALL = "import deferrous; deferrous.install(); "


def run_installed(script, *options, **environment):
    return run(INSTALL + textwrap.dedent(script), *options, **environment)
