"""The licences of what is in a wheel besides our own code: THIRD-PARTY-LICENSES.txt.

    python tools/third_party.py           # write it anew, from Cargo.lock
    python tools/third_party.py --check   # is it as it would be written?

What only builds a wheel, or tests it, is not in it. Where a crate leaves the choice, its MIT
licence is taken.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "THIRD-PARTY-LICENSES.txt"

HEAD = """\
deferrous is under the MIT licence: LICENSE. Its wheels contain parts of these Rust crates, and of
Rust's standard library (MIT or Apache-2.0, https://www.rust-lang.org/policies/licenses), each under
the licence that follows its name. Written by tools/third_party.py.
"""


def cargo(*arguments: str) -> str:
    """Return what cargo says."""
    done = subprocess.run(
        ["cargo", *arguments, "--locked"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def linked() -> set[tuple[str, str]]:
    """Return the crates that are linked into an extension, on any system."""
    tree = cargo(
        "tree", "--edges=normal,no-proc-macro", "--target=all", "--features=python",
        "--prefix=none", "--format={p}",
    )  # fmt: skip
    found = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    return {(name, version.removeprefix("v")) for name, version in found if name != "deferrous"}


def text() -> str:
    """Return the file as it has to be."""
    packages = json.loads(cargo("metadata", "--format-version=1"))["packages"]
    there = {(package["name"], package["version"]): package for package in packages}
    parts = [HEAD]
    for key in sorted(linked()):
        package = there[key]
        folder = Path(package["manifest_path"]).parent
        files = sorted(path for path in folder.glob("*") if path.name.upper().startswith("LICENSE"))
        chosen = [path for path in files if "MIT" in path.name.upper()] or files
        if not chosen:
            raise SystemExit(f"{key[0]} {key[1]} has no licence in its folder: {folder}")
        licence = chosen[0].read_text(encoding="utf-8").replace("\r\n", "\n").strip("\n")
        parts.append(f"{'=' * 80}\n{' '.join(key)} ({package['license']})\n\n{licence}\n")
    return "\n".join(parts)


def main() -> None:
    """Write the file, or say whether it is as it has to be."""
    new = text()
    if "--check" in sys.argv[1:]:
        if not FILE.is_file() or FILE.read_text(encoding="utf-8") != new:
            raise SystemExit(f"{FILE.name} is out of date: python tools/third_party.py")
    else:
        FILE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
