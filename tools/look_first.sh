#!/bin/sh
# usage: look_first.sh PYTHON PIP_OF CARGO
#
# Looks for what a build needs, before anything is made or downloaded. Says what is missing, a line
# for each, with the command that brings it on this system. Without Cargo, the build's backend would
# fetch a toolchain of its own, into a folder that is not this project's.
# Where PYTHON is "", only Rust and the linker are looked for.
set -u
python=$1 pip_of=$2 cargo=$3
missing=0

# " debian 12 " or " ubuntu 24.04 debian ", on a Linux.
family=
[ ! -r "${DEFERROUS_OS_RELEASE:-/etc/os-release}" ] ||
  family=$(. "${DEFERROUS_OS_RELEASE:-/etc/os-release}" && echo " ${ID:-} ${VERSION_ID:-} ${ID_LIKE:-} ")

# What this system's packages are called: in $1 Debian's words, in $2 Fedora's, in $3 those of macOS,
# in $4 of all others.
words() {
  case "$(uname -s 2>/dev/null)$family" in
    Darwin*) echo "$3" ;;
    *" debian "* | *" ubuntu "*) echo "$1" ;;
    *" fedora "* | *" rhel "*) echo "$2" ;;
    *) echo "$4" ;;
  esac
}

lacks() {
  echo "make: $1" >&2
  missing=1
}

rust=$(words "apt install rustup && rustup default stable" "dnf install rustup && rustup-init" \
  "brew install rustup && rustup default stable" "install rustup, and: rustup default stable")
# These have a second, newer Rust for their browsers; or no rustup, and a Rust that is too old.
case "$(uname -s 2>/dev/null)$family" in
  Darwin*) ;;
  *" debian 1"[23]" "*) rust="apt install cargo-web" ;;
  *" ubuntu 2"[0123].*) rust="this system's own is too old" ;;
esac
# rustup is there, but has no toolchain yet, or an old one.
! command -v rustup >/dev/null || rust="rustup update stable && rustup default stable"
rust="$rust   (or see https://rustup.rs)"
if ! found=$($cargo --version 2>/dev/null); then
  lacks "there is no Rust ($cargo does not run): $rust"
else
  # "cargo 1.88.0 (…)": the oldest that Cargo.toml allows.
  minor=${found#cargo 1.}
  minor=${minor%%.*}
  case $minor in
    '' | *[!0-9]*) ;;
    *) [ "$minor" -ge 88 ] || lacks "Rust 1.88 or newer is needed, this is $found: $rust" ;;
  esac
fi

# Rust links with `cc`. A compiler without the C library's own files cannot.
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
echo 'int main(void) { return 0; }' >"$scratch/main.c"
if ! ${CC:-cc} -o "$scratch/main" "$scratch/main.c" 2>/dev/null; then
  lacks "there is no C compiler that works (${CC:-cc}): $(words "apt install gcc libc6-dev" \
    "dnf install gcc" "xcode-select --install" "install gcc or clang, and the C library's headers")"
fi

if [ -n "$python" ]; then
  if ! $python -c '' 2>/dev/null; then
    lacks "there is no Python ($python does not run): $(words "apt install python3 python3-venv" \
      "dnf install python3" "brew install python" "install Python 3.10 or newer"), or say make PYTHON=python3.xx"
  elif ! $python -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    lacks "Python 3.10 or newer is needed, this is $($python -V): say make PYTHON=python3.xx"
  elif ! $python -c 'import venv' 2>/dev/null || {
    ! $python -c 'import ensurepip' 2>/dev/null && ! $pip_of -c 'import ensurepip, venv' 2>/dev/null
  }; then
    lacks "$python cannot make environments (venv, ensurepip): $(words "apt install python3-venv" \
      "dnf install python3" "brew install python" "install Python's venv"), or say make PIP_OF=python3.xx with one that can"
  fi
fi
exit $missing
