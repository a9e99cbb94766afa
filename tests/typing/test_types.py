"""The stubs and annotations, as type checkers see them.

The other modules here are never run. What they say with `assert_type` has to be what a type
checker infers, and the errors that they expect have to be found: both checkers complain of an
`ignore` that ignores nothing.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.same_everywhere

ROOT = Path(__file__).parents[2]


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_mypy(version: str) -> None:
    """The package and the typing tests are sound to `mypy --strict`."""
    check("mypy", "--strict", "--python-version", version, "python/deferrous", "tests/typing")


def test_pyright() -> None:
    """The typing tests are sound to a strict pyright."""
    check("pyright", "--pythonpath", sys.executable)


def test_typing_page(tmp_path: Path) -> None:
    """Both checkers accept what docs/typing.md tells people to write."""
    page = (ROOT / "docs/typing.md").read_text(encoding="utf-8")
    listings = tmp_path / "listings.py"
    listings.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), "utf-8")
    check("mypy", "--strict", str(listings))
    check("pyright", "--pythonpath", sys.executable, str(listings))


def test_stubtest() -> None:
    """The stubs agree with the runtime, and are complete."""
    check("mypy.stubtest", "deferrous", "--mypy-config-file", "pyproject.toml")
