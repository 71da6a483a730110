"""The bus kit on both simulators, and the builder."""

import itertools

import pytest

from kv_endpoint.tb.lib.bus import stalls
from kv_endpoint.tb.lib.payload import pack, unpack
from kv_endpoint.tb.runs.build import SIMULATORS, SimulationFailed, build, port_widths, run
from tests.support.paths import HDL


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_kit_moves_every_transaction_once_in_the_same_clocks(simulator, tmp_path):
    sources = {"stream_pass.v": (HDL / "stream_pass.v").read_text()}
    built = build(simulator, top="stream_pass", sources=sources)
    assert run(built, module="kv_endpoint.tb.scenarios.bus_kit", folder=tmp_path, seed=1) == 2


def test_a_build_with_waves_writes_raw_vcd(tmp_path):
    sources = {"stream_pass.v": (HDL / "stream_pass.v").read_text()}
    # With coverage, as the test of coverage builds it.
    built = build("verilator", top="stream_pass", sources=sources, waves=True, covered=("stream_pass.v",))
    run(built, module="kv_endpoint.tb.scenarios.bus_kit", folder=tmp_path, seed=1)
    assert "$enddefinitions" in (tmp_path / "dump.vcd").read_text()


def test_stalls_repeat_by_seed_and_differ_by_port():
    first, again, other = (list(itertools.islice(stalls(seed), 200)) for seed in ("1/req", "1/req", "1/rwd"))
    assert first == again != other
    assert 20 < sum(first) < 180
    assert stalls("1/req", 0) is None


FIELDS = (("low", 3), ("high", 8))


def test_payload_unpacks_to_what_was_packed():
    assert pack(FIELDS, {"low": 5, "high": 200}) == 5 | 200 << 3
    assert unpack(FIELDS, 5 | 200 << 3) == {"low": 5, "high": 200}
    assert pack(FIELDS, {"high": 1}) == 8


@pytest.mark.parametrize("values", [{"low": 8}, {"low": -1}, {"middle": 0}])
def test_payload_refuses_what_does_not_fit(values):
    with pytest.raises(ValueError, match="low must fit 3 bits|no field middle"):
        pack(FIELDS, values)


def test_port_widths_of_one_module_only():
    text = "module a(x);\n  input x;\nendmodule\nmodule top(p, q);\n  input [7:0] p;\n  output q;\nendmodule\n"
    assert port_widths(text, "top") == {"p": 8, "q": 1}
    with pytest.raises(ValueError, match="no module"):
        port_widths(text, "b")


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_build_that_fails_shows_the_message(simulator):
    with pytest.raises(SimulationFailed, match="syntax error"):
        build(simulator, top="bad", sources={"bad.v": "module bad(input x); wrong wrong wrong\nendmodule\n"})


def test_a_build_is_found_again():
    sources = {"stream_pass.v": (HDL / "stream_pass.v").read_text()}
    first = build("icarus", top="stream_pass", sources=sources)
    when = (first.folder / "build.log").stat().st_mtime_ns
    assert build("icarus", top="stream_pass", sources=sources) == first
    assert (first.folder / "build.log").stat().st_mtime_ns == when
    changed = {"stream_pass.v": sources["stream_pass.v"] + "// changed\n"}
    assert build("icarus", top="stream_pass", sources=changed).folder != first.folder


def test_an_unknown_simulator_is_refused():
    with pytest.raises(ValueError, match="must be one of verilator, icarus"):
        build("questa", top="bad", sources={})
