"""One package, under one name: what it consists of, what it needs, and what it says where that is missing."""

import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from importlib import import_module, metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kv_endpoint
from kv_endpoint.sim.run.tools import EXTRAS
from kv_endpoint.tb.runs.build import build, run
from tests.documents.test_rooms import files, imported
from tests.support.paths import HDL, ROOT

PARTS = ("golden", "hw", "sim", "tb")
#: what may be run under a name without the prefix, in a checkout
RUNNABLE = {"sim", "hw.verilog"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: a golden run as people start it; then the modules that it loaded, on the last line
RUN_MODULE = """
import runpy, sys
sys.argv[1:] = ["run", "--simulator", "golden", "--steps", "2"]
try:
    runpy.run_module("sim", run_name="__main__", alter_sys=True)
except SystemExit as stopped:
    assert stopped.code == 0
print(*sys.modules)
"""
RUN_FUNCTION = """
import sys
from kv_endpoint.sim.cli import main
assert main(["run", "--simulator", "golden", "--steps", "2"]) == 0
print(*sys.modules)
"""
#: the command `python -m MODULE ARGUMENTS` where PACKAGES cannot be imported
WITHOUT = """
import runpy, sys
packages, module, *arguments = sys.argv[1:]
# Both `import` and `find_spec` take it for a package that is not there.
sys.modules.update(dict.fromkeys(packages.split(",")))
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
#: commands that need the extra `rtl`
OF_RTL = {
    "run": ["sim", "run"],
    "run icarus": ["sim", "run", "--simulator", "icarus"],
    "waves": ["sim", "waves"],
    "bench": ["sim", "bench"],
    "coverage": ["sim", "coverage"],
    "trace": ["sim", "trace", "nowhere"],
    "verilog": ["hw.verilog"],
}


def python(*arguments, folder):
    """An interpreter of its own that finds the checkout, started in another folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def loaded(code, folder):
    """The modules that `code` says on its last line that it loaded."""
    done = python("-c", code, folder=folder)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def requirements():
    """(what needs it, requirement) of all that pyproject.toml names."""
    project = PROJECT["project"]
    for extra, lines in {"golden": project["dependencies"], **project["optional-dependencies"]}.items():
        yield from ((extra, Requirement(line)) for line in lines)


def pins():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_the_package_list_is_the_folders():
    folders = {path.parent.relative_to(ROOT) for part in PARTS for path in files(part) if path.name == "__init__.py"}
    names = [".".join(("kv_endpoint", *folder.parts)) for folder in folders]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(["kv_endpoint", *names])


def test_each_folder_of_modules_is_a_package():
    assert not [path.parent for part in PARTS for path in files(part) if not (path.parent / "__init__.py").is_file()]


@pytest.mark.parametrize(("extra", "needed"), list(requirements()), ids=str)
def test_a_requirement_is_a_range_and_its_pin_lies_in_it(extra, needed):
    operators = {each.operator for each in needed.specifier}
    assert ">=" in operators and not operators & {"==", "==="}
    (pin,) = (pin for pin in pins() if canonicalize_name(pin.name) == canonicalize_name(needed.name))
    ((operator, version),) = ((each.operator, each.version) for each in pin.specifier)
    assert operator == "==" and needed.specifier.contains(version)


def test_each_name_is_pinned_once():
    names = Counter(canonicalize_name(pin.name) for pin in pins())
    assert {name for name, count in names.items() if count > 1} == set()


def test_commands_look_for_the_packages_of_their_extra():
    """What `sim` looks for before it starts is what pyproject.toml would install, and all of it."""
    provided = metadata.packages_distributions()
    for extra, packages in EXTRAS.items():
        looked_for = {canonicalize_name(name) for package in packages for name in provided[package]}
        assert looked_for == {canonicalize_name(needed.name) for which, needed in requirements() if which == extra}


def test_the_version_is_said_in_one_place(tmp_path):
    done = python("-m", "sim", "--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"kv-endpoint {kv_endpoint.__version__}\n")
    assert "version" not in PROJECT["project"]


@pytest.mark.parametrize("name", kv_endpoint.EXPORTS)
def test_an_export_is_what_its_module_defines(name):
    module = import_module(f"kv_endpoint.{kv_endpoint.EXPORTS[name]}")
    assert getattr(kv_endpoint, name) is getattr(module, name)
    assert getattr(module, name).__module__ == module.__name__
    assert name in kv_endpoint.__all__


def test_exports_are_loaded_when_they_are_asked_for(tmp_path):
    modules = loaded("import sys, kv_endpoint\nprint(*sys.modules)", tmp_path)
    assert {name for name in modules if name.startswith("kv_endpoint")} == {"kv_endpoint"}


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'kv_endpoint' has no attribute 'nothing'"):
        _ = kv_endpoint.nothing


def test_no_module_names_a_part_without_the_prefix():
    """Neither in an import, nor in a string that is the name of a module, but for those that may be run."""
    string = re.compile(rf"""["']((?:{"|".join(PARTS)})(?:\.\w+)+)["']""")
    short = []
    for path in (path for part in (*PARTS, "tests") for path in files(part)):
        # A relative import would go by the name under which its file was run.
        short += [(path, name) for _, name in imported(path) if name.split(".")[0] in ("", *PARTS)]
        names = set(string.findall(path.read_text())) - RUNNABLE
        short += [(path, name) for name in names if (ROOT / f"{name.replace('.', '/')}.py").is_file()]
    assert not short, "\n".join(f"{path.relative_to(ROOT)}: {name}" for path, name in short)


def test_only_two_modules_are_run_without_the_prefix():
    """By the documents, the make file, and what the programs say."""
    texts = [
        ROOT / "Makefile",
        ROOT / "README.md",
        ROOT / ".ci" / "run",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("scripts/*"),
    ]
    texts += [path for part in (*PARTS, "tests") for kind in ("py", "md") for path in (ROOT / part).rglob(f"*.{kind}")]
    named = re.compile(rf"-m ((?:{'|'.join(PARTS)})\b(?:\.\w+)*)")
    assert {name for path in texts for name in named.findall(path.read_text())} == RUNNABLE


def test_a_run_loads_each_part_under_one_name(tmp_path):
    modules = loaded(RUN_MODULE, tmp_path)
    assert "kv_endpoint.golden.endpoint" in modules
    assert {name for name in modules if name.split(".")[0] in PARTS} == {"sim"}


def test_a_simulator_loads_each_part_under_one_name(tmp_path):
    built = build("icarus", top="stream_pass", sources={"stream_pass.v": (HDL / "stream_pass.v").read_text()})
    assert run(built, module="kv_endpoint.tb.scenarios.one_package", folder=tmp_path) == 1


def test_a_golden_run_loads_neither_rtl_nor_benches(tmp_path):
    modules = loaded(RUN_FUNCTION, tmp_path)
    assert not {name for name in modules if name.startswith(("kv_endpoint.tb", "kv_endpoint.hw"))}
    assert not modules & set(EXTRAS["rtl"])


@pytest.mark.parametrize("command", OF_RTL)
def test_without_its_extra_a_command_says_what_to_install_in_one_line(command, tmp_path):
    done = python("-c", WITHOUT, ",".join(EXTRAS["rtl"]), *OF_RTL[command], folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "pip install kv-endpoint[rtl]" in done.stderr, done.stderr


@pytest.mark.parametrize("package", EXTRAS["rtl"])
def test_one_missing_package_of_the_extra_is_named(package, tmp_path):
    done = python("-c", WITHOUT, package, "sim", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and f" {package}," in done.stderr, done.stderr
