"""Set-up: what it says and does where something is missing, and that it is silent and quick where nothing is."""

import os
import shutil
import subprocess
import time

import pytest

from tests.support.paths import ROOT

#: what the script needs of any machine
BASE = ("sh", "cat", "cksum", "dirname", "env", "id", "mktemp", "rm", "tail")
PACKAGES = "iverilog g++ make perl python3-venv libpython3-dev"


@pytest.fixture
def machine(tmp_path):
    """A copy of the project's set-up, and a PATH that has next to nothing."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup.sh", tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in BASE:
        (programs / name).symlink_to(shutil.which(name))
    return tmp_path


def program(machine, name, body):
    path = machine / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def setup(machine):
    return subprocess.run(
        [machine / "scripts/setup.sh"],
        env={"PATH": str(machine / "bin"), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
    )


def test_without_apt_get_it_names_what_is_missing(machine):
    done = setup(machine)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "iverilog vvp g++ make perl missing" in done.stderr and PACKAGES in done.stderr


def test_without_root_it_prints_the_exact_command(machine):
    program(machine, "id", "echo 1000")
    program(machine, "apt-get", f"echo called >> {machine}/calls")
    done = setup(machine)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip().endswith(f"run: sudo apt-get install -y --no-install-recommends {PACKAGES}")
    assert not (machine / "calls").exists()


@pytest.mark.parametrize("sudo", [False, True])
def test_with_root_or_sudo_it_installs_and_checks_that_it_worked(machine, sudo):
    program(machine, "id", "echo 1000" if sudo else "echo 0")
    if sudo:
        program(machine, "sudo", '[ "$1" = -n ] && shift; exec "$@"')
        program(machine, "true", "exit 0")
    program(machine, "apt-get", f'echo "$DEBIAN_FRONTEND $*" >> {machine}/calls')
    done = setup(machine)
    assert done.returncode == 1
    calls = (machine / "calls").read_text().splitlines()
    assert calls[0] == "noninteractive update -q"
    assert calls[1] == f"noninteractive install -y --no-install-recommends {PACKAGES}"
    assert not (machine / ".venv" / ".ready").exists()
    assert "setup: " in done.stderr.splitlines()[-1]


def test_a_failing_apt_get_ends_in_the_command_to_run(machine):
    program(machine, "id", "echo 0")
    program(machine, "apt-get", "echo no network; exit 100")
    done = setup(machine)
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert "apt-get update && apt-get install" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(not (ROOT / ".venv" / ".ready").exists(), reason="the environment was not made by scripts/setup.sh")
def test_a_second_run_is_silent_and_quick():
    before = time.monotonic()
    done = subprocess.run([ROOT / "scripts/setup.sh"], env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - before < 1
