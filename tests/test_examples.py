"""The examples, each run as a program of its own. They check their own results."""

import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "examples"

pytestmark = [pytest.mark.deferrous_only, pytest.mark.same_everywhere]


#: A part of introduction.py, and no program.
PART = "introduction_world.py"

PROGRAMS = sorted({path.name for path in FOLDER.glob("*.py")} - {PART})


@pytest.mark.parametrize("name", PROGRAMS)
def test_example(name, tmp_path):
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert "Unhandled error" not in done.stderr
