"""Where this project is: one address, said in pyproject.toml, and repeated where pages need it.

    python tools/address.py                          # what it is, and in which files
    python tools/address.py https://host/of/project  # make it that, in all of them

The package index shows README.md where no relative link works; so its links have the address, too.
Until the project has an address, it is a placeholder.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def address() -> str:
    """Return the address of the repository, without a slash at its end."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "([^"]+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def files() -> list[Path]:
    """Return the files that have it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    here = address()
    found = []
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        try:
            if here in (ROOT / name).read_text(encoding="utf-8"):
                found.append(ROOT / name)
        except (OSError, UnicodeDecodeError):
            pass  # Deleted, or no text.
    return found


def main() -> None:
    """Say or change it."""
    before = address()
    for path in files():
        print(path.relative_to(ROOT))
        if len(sys.argv) > 1:
            text = path.read_text(encoding="utf-8")
            text = text.replace(before, sys.argv[1].rstrip("/"))
            path.write_text(text, encoding="utf-8")
    print(address())


if __name__ == "__main__":
    main()
