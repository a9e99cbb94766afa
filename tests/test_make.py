"""The messages of `make` when something that a build needs is missing."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.same_everywhere,
    pytest.mark.skipif(sys.platform == "win32", reason="make is for Unix"),
]

ROOT = pathlib.Path(__file__).parents[1]

#: What the Makefile itself uses, besides what is looked for.
TOOLS = ("sh", "env", "find", "mkdir", "mktemp", "rm", "sed", "touch", "uname")

CARGO = 'echo "cargo 1.88.0 (873a06493 2025-05-10)"'
COMPILER = "exit 0"
# It can make environments, whether or not the one that runs this can.
PYTHON = f"""\
case "$*" in *ensurepip*) exit 0 ;; esac
exec "{sys.executable}" "$@\""""


class Machine:
    """A path with the tools that are asked for, and none other."""

    def __init__(self, folder, system="ID=debian"):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            self.bin.joinpath(tool).symlink_to(shutil.which(tool))
        self.release = folder / "os-release"
        self.release.write_text(system + "\n")

    def has(self, name, script):
        tool = self.bin / name
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    def make(self, *arguments):
        """Run make. What it makes would be in `made`."""
        return subprocess.run(
            [shutil.which("make"), *arguments, f"VENV={self.folder / 'made'}"],
            cwd=ROOT,
            env={"PATH": str(self.bin), "DEFERROUS_OS_RELEASE": str(self.release)},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )


@pytest.fixture
def machine(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    return Machine(tmp_path)


def said(done, machine):
    """Return what was said to be missing, of which nothing has been made yet."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (machine.folder / "made").exists()
    # It has not begun with anything: a step that is begun is shown.
    assert "pip" not in done.stdout and "cargo test" not in done.stdout, done.stdout
    lines = done.stderr.splitlines()
    # Make's own last word.
    assert lines[-1].startswith("make: ***") or lines[-1].startswith("gmake: ***")
    return lines[:-1]


WITHOUT_VENV = f"""\
case "$*" in *ensurepip*) exit 1 ;; esac
{PYTHON}"""


@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize(
    "lacking, script, words, command",
    [
        ("cargo", None, "there is no Rust", "apt install rustup && rustup default stable"),
        ("cargo", 'echo "cargo 1.63.0"', "this is cargo 1.63.0", "apt install rustup"),
        # Debian 13's first one. Rust has `let` in chains of conditions from 1.88 on.
        ("cargo", 'echo "cargo 1.85.1"', "Rust 1.88 or newer is needed", "apt install rustup"),
        ("cc", None, "there is no C compiler", "apt install gcc libc6-dev"),
        ("cc", "exit 1", "there is no C compiler that works", "apt install gcc libc6-dev"),
        ("python3", None, "there is no Python", "apt install python3 python3-venv"),
        ("python3", WITHOUT_VENV, "cannot make environments", "apt install python3-venv"),
    ],
)
def test_one_line_says_what_is_missing(machine, target, lacking, script, words, command):
    for name, usual in (("cargo", CARGO), ("cc", COMPILER), ("python3", PYTHON)):
        if name != lacking:
            machine.has(name, usual)
        elif script is not None:
            machine.has(name, script)
    [line] = said(machine.make(target), machine)
    assert words in line
    assert command in line


@pytest.mark.parametrize("cargo", ["exit 1", 'echo "cargo 1.85.1"'])
def test_rustup_is_there_but_not_its_rust(machine, cargo):
    for name, script in (("rustup", "exit 1"), ("cc", COMPILER), ("python3", PYTHON)):
        machine.has(name, script)
    machine.has("cargo", cargo)
    [line] = said(machine.make("demo"), machine)
    assert ": rustup update stable && rustup default stable" in line
    assert "apt install" not in line


def test_old_python(machine):
    for name, script in (("cargo", CARGO), ("cc", COMPILER)):
        machine.has(name, script)
    machine.has("python3", 'case "$*" in *version_info*) exit 1 ;; -V) echo Python 3.9.1 ;; esac')
    [line] = said(machine.make("demo"), machine)
    assert "Python 3.10 or newer is needed, this is Python 3.9.1" in line


def test_all_that_is_missing_is_said_at_once(machine):
    lines = said(machine.make("demo"), machine)
    assert [line.split()[4] for line in lines] == ["Rust", "C", "Python"]


@pytest.mark.parametrize(
    "system, command",
    [
        ("ID=ubuntu\nID_LIKE=debian", "apt install"),
        ("ID=fedora", "dnf install"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "dnf install"),
        ("ID=arch", "install rustup, and:"),
        # These have a second Rust; or no package rustup.
        ('ID=debian\nVERSION_ID="12"', "apt install cargo-web   (or see https://rustup.rs)"),
        ('ID=debian\nVERSION_ID="13"', "apt install cargo-web"),
        ('ID=debian\nVERSION_ID="14"', "apt install rustup"),
        (
            'ID=ubuntu\nVERSION_ID="22.04"\nID_LIKE=debian',
            "is too old   (or see https://rustup.rs)",
        ),
        ('ID=ubuntu\nVERSION_ID="24.04"\nID_LIKE=debian', "apt install rustup"),
    ],
)
def test_in_the_words_of_the_system(machine, system, command):
    if sys.platform == "darwin":
        command = "brew install"
    machine.release.write_text(system + "\n")
    assert command in said(machine.make("demo"), machine)[0]


def test_rust_is_not_needed_to_be_asked_for_python(machine):
    """Rust's own tests need no Python."""
    machine.has("cargo", CARGO)
    machine.has("cc", COMPILER)
    done = machine.make("test-core")
    assert done.returncode == 0, done.stderr


def test_the_oldest_rust_is_the_one_that_cargo_knows():
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    [minor] = re.findall(r'^rust-version = "1\.(\d+)"$', manifest, re.M)
    script = (ROOT / "tools/look_first.sh").read_text(encoding="utf-8")
    assert f"-ge {minor} ]" in script and f"Rust 1.{minor} or newer" in script
    assert f"Rust 1.{minor} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


# What a release consists of.


def test_licences_of_what_is_in_a_wheel_are_those_of_the_lock_file():
    """`python tools/third_party.py` writes them; `make release-check` compares the texts, too."""
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r'^name = "(.*)"\nversion = "(.*)"$', lock, re.MULTILINE))
    text = (ROOT / "THIRD-PARTY-LICENSES.txt").read_text(encoding="utf-8")
    named = re.findall(r"^=+\n(\S+) (\S+) \((.+)\)$", text, re.MULTILINE)
    assert {"pyo3", "smallvec", "stacker", "thiserror"} <= {name for name, *_ in named}
    assert {(name, version) for name, version, _ in named} <= locked
    assert all("MIT" in licence for *_, licence in named)


def test_workflows_pin_actions_and_permit_nothing_by_default():
    workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    if not (ROOT / ".github").is_dir():
        pytest.skip("a source distribution has no workflows")
    assert len(workflows) == 4
    for path in workflows:
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^permissions: \{\}$", text, re.MULTILINE), path
        for action in re.findall(r"uses: (\S+)", text):
            assert re.search(r"@[0-9a-f]{40}$", action) or action.startswith("./"), action


def test_the_address_is_the_same_everywhere():
    """It is a placeholder that `tools/address.py` replaces."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^Repository = "([^"]+)"$', project, re.MULTILINE)[1]
    crate = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    assert f'\nrepository = "{address}"\n' in crate
    for name in ("README.md", "SECURITY.md"):
        assert address in (ROOT / name).read_text(encoding="utf-8")
