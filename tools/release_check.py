"""Checks whether this checkout can be released: `make release-check`, also with QUICK=1.

The source distribution and a wheel are built twice, each time from nothing in another folder, and
have to be the same, byte for byte, but for the name of that folder in a wheel's SBOM. Then they are
looked at by the tools that this machine has. What is built is left in target/release-check.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "target" / "release-check"

#: What a packager looks for in the source distribution.
IN_SDIST = (
    "Cargo.lock",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "THIRD-PARTY-LICENSES.txt",
    "deny.toml",
    "docs/tutorial/index.md",
    "examples/introduction.py",
    "mkdocs.yml",
    "tests/core_chain.rs",
    "tests/test_deferred.py",
    "tools/look_first.sh",
)

failed: list[str] = []
skipped: list[str] = []


def check(name: str, good: bool, why: str = "") -> None:
    """Say how a check went."""
    print(f"{'ok' if good else 'FAILED'}: {name}{f': {why}' if why else ''}", flush=True)
    if not good:
        failed.append(name)


def run(*command: str | Path, **options: object) -> None:
    """Run what has to succeed for the rest to make sense."""
    subprocess.run([*map(str, command)], check=True, **options)  # type: ignore[call-overload]


def look(name: str, *command: str | Path, needs: str | None = None, expected: str = "") -> None:
    """Run a check of a tool's, if the tool is here. What it says has to have `expected` in it."""
    tool = needs or str(command[0])
    if shutil.which(tool) is None:
        print(f"skipped: {name}: there is no {tool} here", flush=True)
        skipped.append(name)
        return
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    good = done.returncode == 0 and expected in done.stdout
    if not good:
        print(done.stdout)
    said = [line for line in done.stdout.splitlines() if line.strip() and expected in line]
    check(name, good, said[-1].strip()[:100] if said else "")


def digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_sdist(out: Path) -> Path:
    """Build a source distribution."""
    run(sys.executable, "-m", "maturin", "sdist", "--out", out, cwd=ROOT)
    [path] = out.glob("*.tar.gz")
    return path


def build_wheel(sdist: Path, folder: Path, profile: str) -> Path:
    """Build a wheel of a source distribution, from nothing."""
    shutil.unpack_archive(sdist, folder)
    [source] = folder.iterdir()
    out = folder / "out"
    env = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target"), "MATURIN_NO_INSTALL_RUST": "1"}
    run(
        sys.executable, "-m", "maturin", "build", "--locked", "--profile", profile,
        "--interpreter", sys.executable, "--out", out,
        cwd=source, env=env,
    )  # fmt: skip
    [path] = out.glob("*.whl")
    return path


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="release", help="the profile of Cargo.toml")
    profile = parser.parse_args().profile
    # The tools are in this Python's environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")
    os.environ["PYO3_PYTHON"] = sys.executable
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = build_sdist(folder / "a"), build_sdist(folder / "b")
        same = digest(first) == digest(second)
        check("the source distribution is built the same twice", same, digest(first)[:16])
        sdist = Path(shutil.copy(first, OUTPUT))
        with tarfile.open(sdist) as archive:
            there = {path.partition("/")[2] for path in archive.getnames()}
        lacking = sorted(set(IN_SDIST) - there)
        check("it has all that a packager needs", not lacking, ", ".join(lacking))
        odd = sorted(path for path in there if "__pycache__" in path or path.endswith(".so"))
        check("and nothing else", not odd, ", ".join(odd[:3]))
        wheels = [build_wheel(sdist, folder / each, profile) for each in ("first", "second-folder")]
        check("a wheel is built the same twice", *same_wheels(*wheels))
        wheel = Path(shutil.copy(wheels[0], OUTPUT))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for needed in ("LICENSE", "THIRD-PARTY-LICENSES.txt"):
        check(f"the wheel has {needed}", any(name.endswith("licenses/" + needed) for name in names))
    check("the wheel has an SBOM", any(".dist-info/sboms/" in name for name in names))
    run(sys.executable, "tools/third_party.py", "--check", cwd=ROOT)
    check("THIRD-PARTY-LICENSES.txt is up to date", True)

    look("twine", "twine", "check", "--strict", sdist, wheel)
    look("check-wheel-contents", "check-wheel-contents", wheel)
    look("pyroma", "pyroma", "--min=10", sdist, expected="Final rating: 10/10")
    if sys.platform == "linux":
        look("auditwheel", "auditwheel", "show", wheel, expected="linux_")
    look(
        "cargo deny", "cargo", "deny", "--locked", "check", "licenses", "bans", "sources",
        needs="cargo-deny",
    )  # fmt: skip
    look("cargo publish --dry-run", "cargo", "publish", "--dry-run", "--allow-dirty", "--locked")
    look("zizmor", "zizmor", "--offline", "--no-progress", ".")
    look("actionlint", "actionlint")

    print(f"\n{sdist}\n{wheel}")
    if skipped:
        print("skipped: " + ", ".join(skipped))
    if failed:
        sys.exit("FAILED: " + ", ".join(failed))
    print("all that could be looked at is well")


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel, without the name of the folder that it was built in.

    Its SBOM has that name. So RECORD, which has the SBOM's hash, is compared without that line.
    """
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    for name, data in found.items():
        if ".dist-info/sboms/" in name:
            found[name] = re.sub(rb"path\+file://[^#\"]*", b"path+file://", data)
        elif name.endswith(".dist-info/RECORD"):
            lines = data.splitlines()
            found[name] = b"\n".join(line for line in lines if b".dist-info/sboms/" not in line)
    return found


def same_wheels(first: Path, second: Path) -> tuple[bool, str]:
    """Return whether two wheels are the same; and their hash, or what differs."""
    if digest(first) == digest(second):
        return True, digest(first)[:16]
    one, other = contents(first), contents(second)
    differ = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    if differ or list(one) != list(other):
        return False, ", ".join(differ) or "in another order"
    return True, "but for the folder that they were built in, which the SBOM names"


if __name__ == "__main__":
    main()
