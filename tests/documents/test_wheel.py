"""The package as people install it: a wheel, built and installed offline, in an environment that has NumPy alone."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import kv_endpoint
from tests.support.paths import ROOT

#: folder of the checkout -> of the wheel
FOLDERS = {
    "kv_endpoint": "kv_endpoint",
    "golden": "kv_endpoint/golden",
    "hw": "kv_endpoint/hw",
    "sim": "kv_endpoint/sim",
    "tb": "kv_endpoint/tb",
}
#: what the package reads besides its modules
DATA = ("hw/registers/csr.rdl", "sim/data/attention-a.npz", "tb/hdl/*.v", "tb/hdl/*.vh")
OFFLINE = ("--disable-pip-version-check", "--quiet", "--no-deps", "--no-index")
GOLDEN_RUN = ("run", "--simulator", "golden", "--steps", "8")
#: a golden run takes half a second on an idle machine
SECONDS_MAX = 20
OF_RTL = (["run"], ["run", "--simulator", "icarus"], ["waves"], ["bench"], ["coverage"], ["trace", "nowhere"])


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}{done.stdout}"


@dataclass(frozen=True)
class Environment:
    """A virtual environment with NumPy, which it shares with the one that runs the tests."""

    folder: Path

    @classmethod
    def made(cls, folder, *shared):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        environment = cls(folder)
        source = Path(np.__file__).parents[1]
        for pattern in ("numpy", "numpy.libs", "numpy-*.dist-info", *shared):
            for path in source.glob(pattern):
                (environment.packages / path.name).symlink_to(path)
        return environment

    @property
    def packages(self):
        (folder,) = self.folder.glob("lib/python*/site-packages")
        return folder

    def install(self, *arguments):
        # Not compiled: a module that is compiled when it is imported shows where that writes.
        pip("--python", self.folder / "bin" / "python", "install", *OFFLINE, "--no-compile", *arguments)

    def contents(self):
        """Of each file and folder of the installed packages, when and how large it was last written."""
        found = {}
        for folder, folders, names in os.walk(self.packages):
            for path in (Path(folder), *(Path(folder, name) for name in (*folders, *names))):
                status = path.lstat()
                found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def protect(self, writable=False):
        """Take from everybody the right to write to the installed packages, or give it back to the owner."""
        for path in self.contents():
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | 0o200 if writable else mode & ~0o222)

    def run(self, program, *arguments, folder):
        """A program of the environment as a user starts it in `folder`; it may write nothing to the packages."""
        # Root writes all the same, so they are compared, and compiled modules go where they do not count.
        before = self.contents()
        done = subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPYCACHEPREFIX": f"{self.folder}.compiled"},
            capture_output=True,
            text=True,
        )
        assert self.contents() == before, "the installed packages were changed"
        return done


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what git has, or would be given, of the project, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("sources")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    for package in ("pip", "setuptools", "wheel"):
        assert find_spec(package), f"a wheel cannot be built here: no {package}: scripts/setup.sh installs it"
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", *OFFLINE, "--no-build-isolation", "-w", folder, sources)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    environment = Environment.made(tmp_path_factory.mktemp("environment") / "venv")
    environment.install(wheel)
    environment.protect()
    yield environment
    environment.protect(writable=True)


def refuse(path):
    """A module that must not be imported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("raise SystemExit(f'{__name__} of the work folder was imported')\n")


@pytest.fixture
def work(tmp_path):
    """A user's folder with files whose names are ours. A folder without `__init__.py` can be imported as well."""
    refuse(tmp_path / "sim.py")
    refuse(tmp_path / "tb" / "__init__.py")
    for name in ("golden", "sim", "settings"):
        refuse(tmp_path / "kv_endpoint" / f"{name}.py")
    return tmp_path


def test_the_wheel_holds_every_module_and_data_file_and_nothing_else(wheel):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    modules = {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert modules == {name for name in names if name.endswith(".py")}
    data = {f"kv_endpoint/{path.relative_to(ROOT).as_posix()}" for kind in DATA for path in ROOT.glob(kind)}
    assert len(data) > len(DATA)
    assert {name for name in names if not name.endswith(".py")} == data | {"kv_endpoint/sim/data/README.md"}


def check_golden_run(environment, work, *program):
    start = time.monotonic()
    done = environment.run(*program, *GOLDEN_RUN, "--out", work / "out", folder=work)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - start < SECONDS_MAX
    assert sorted(path.name for path in (work / "out").iterdir()) == [".kv-endpoint.json", "results.json"]


@pytest.mark.parametrize("program", [["kv-endpoint"], ["python", "-m", "kv_endpoint.sim"]], ids=" ".join)
def test_a_golden_run_works_from_any_folder_and_writes_to_its_own_alone(installed, work, program):
    check_golden_run(installed, work, *program)


def test_the_program_works_beside_a_package_of_its_name(installed, work):
    refuse(work / "kv_endpoint" / "__init__.py")
    check_golden_run(installed, work, "kv-endpoint")


def test_every_way_to_ask_gives_the_version(installed, work):
    for program in (["kv-endpoint", "--version"], ["python", "-m", "kv_endpoint.sim", "--version"]):
        done = installed.run(*program, folder=work)
        assert (done.returncode, done.stdout) == (0, f"kv-endpoint {kv_endpoint.__version__}\n")
    done = installed.run("python", "-c", "import kv_endpoint; print(kv_endpoint.__version__)", folder=work)
    assert done.stdout.strip() == kv_endpoint.__version__


@pytest.mark.parametrize(
    "command",
    [*(["kv-endpoint", *arguments] for arguments in OF_RTL), ["python", "-m", "kv_endpoint.hw.verilog"]],
    ids=" ".join,
)
def test_without_its_extra_a_command_says_what_to_install_in_one_line(installed, tmp_path, command):
    done = installed.run(*command, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "pip install kv-endpoint[rtl]" in done.stderr, done.stderr


def test_an_editable_installation_finds_every_part_in_the_checkout(sources, work, tmp_path_factory):
    # Pip builds with what the environment has, so it needs setuptools as well.
    shared = ("_distutils_hack", "setuptools", "setuptools-*.dist-info", "wheel", "wheel-*.dist-info")
    environment = Environment.made(tmp_path_factory.mktemp("editable") / "venv", *shared)
    environment.install("--no-build-isolation", "-e", sources)
    places = {
        "kv_endpoint": "kv_endpoint/__init__.py",
        "kv_endpoint.golden.endpoint": "golden/endpoint.py",
        "kv_endpoint.hw.verilog": "hw/verilog.py",
        "kv_endpoint.sim.cli": "sim/cli.py",
        "kv_endpoint.tb": "tb/__init__.py",
    }
    code = f"import sys, {', '.join(places)}\nfor name in sys.argv[1:]: print(sys.modules[name].__file__)"
    done = environment.run("python", "-c", code, *places, folder=tmp_path_factory.mktemp("elsewhere"))
    assert done.stdout.splitlines() == [str(sources / place) for place in places.values()], done.stderr
    check_golden_run(environment, work, "kv-endpoint")
