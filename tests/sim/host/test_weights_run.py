"""Runs of the RTL with weights: what a stream does for them, in lock-step, and that the KV cache does not notice."""

import json

import numpy as np
import pytest

from kv_endpoint.sim.cli import main
from kv_endpoint.sim.results.report import summary


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """An attention trace of 80 tokens that leaves two heads of preset `tiny` to weights."""
    rng, steps = np.random.default_rng(1), 80
    mass = np.zeros((steps, 2, 1, 5))
    for t in range(steps):
        weights = rng.random((2, 1, t // 16 + 1)) ** 4
        mass[t, :, :, : t // 16 + 1] = weights / weights.sum(axis=-1, keepdims=True)
    scalars = {"block_tokens": 16, "layers": 2, "kv_heads": 1, "head_dim": 8, "tokens": steps}
    path = tmp_path_factory.mktemp("attention") / "trace.npz"
    np.savez(path, mass=mass.astype(np.float16), kv=rng.standard_normal((steps, 2, 1, 2, 8)), **scalars)
    return path


def run(attention, out, *options, simulator="verilator", steps=10):
    arguments = ["--preset", "tiny", "--workload", str(attention), "--simulator", simulator, "--out", str(out)]
    arguments += ["--frames-share", "0.6", "--prefill", "64", "--prefill-chunk", "16", "--steps", str(steps)]
    assert main(["run", *arguments, *options]) == 0
    return json.loads((out / "results.json").read_text())


def checked(result):
    """Nothing was left out: every record, every victim, every line that was read."""
    assert result["golden"]["checked"] == result["events"] and result["golden"]["mismatches"] == 0
    assert result["evictions"]["count"] == result["evictions"]["exact"]
    assert result["reads_compared"] * 64 == result["host"]["bytes_read"]
    return not any(result["errors"].values())


def test_weights_are_read_and_compared_a_stream_makes_most_resident_and_the_summary_tells_them_apart(
    attention, tmp_path_factory
):
    """Of the same run without weights, and with weights by what is fetched ahead."""
    cases = {"no weights": (), **{name: ("--weights", "12", "--prefetch", name) for name in ("off", "streams")}}
    results = {name: run(attention, tmp_path_factory.mktemp("run"), *options) for name, options in cases.items()}
    _every_block_is_read_in_every_step_and_every_value_compared(results)
    _a_stream_makes_most_of_the_weights_resident_when_they_are_read(results)
    _the_summary_tells_weights_apart(results)


def _every_block_is_read_in_every_step_and_every_value_compared(results):
    for name in ("off", "streams"):
        result = results[name]
        assert checked(result)
        weights = result["weights"]
        assert (weights["layers"], weights["blocks"], weights["heads"], weights["frames"]) == (2, 24, 2, 17)
        assert weights["reads"]["hits"] + weights["reads"]["misses"] == 10 * 24
        assert result["reads_compared"] - results["no weights"]["reads_compared"] == 10 * 24 * 128


def _a_stream_makes_most_of_the_weights_resident_when_they_are_read(results):
    """Two prefetches at once, as `tiny` has it, are too slow for some."""
    without, streamed = results["off"]["weights"], results["streams"]["weights"]
    fate = streamed["prefetch"]["stream"]
    assert fate["issued"] == sum(fate[end] for end in ("useful", "late", "met", "unused", "unread"))
    assert fate["useful"] > 0.8 * fate["issued"] > 10 * 8, "in every step, not in the first alone"
    assert streamed["reads"]["hits"] > without["reads"]["hits"] + 10 * 6
    assert results["streams"]["cycles"] < results["off"]["cycles"]


def test_the_kv_cache_hits_what_it_hits_without_weights(attention, tmp_path):
    """Where requests take no time; in the RTL the weights move the KV cache's misses in time, and so a few hits."""
    plain = run(attention, tmp_path, simulator="golden")
    beside = run(attention, tmp_path, "--weights", "12", simulator="golden")
    assert beside["demand"] == plain["demand"] and plain["demand"]["misses"] > 0
    assert beside["baselines"] == plain["baselines"] and beside["frames"] == plain["frames"]
    assert beside["prefetch"] == plain["prefetch"]
    assert beside["evictions"]["count"] - beside["weights"]["evictions"] == plain["evictions"]["count"] > 0
    assert "weights" not in plain and "weights" not in plain["settings"]


def _the_summary_tells_weights_apart(results):
    text = summary(results["streams"])
    found = results["streams"]["weights"]["reads"]
    rate = f"{found['hit_rate']:.3f}: {found['hits']:,} of 240 blocks read"
    assert "weights, in no number above: 2 layers x 12 blocks, 17 frames of their own" in text and rate in text
    above, below = text.split("weights, in no number above")
    assert f"{results['streams']['demand']['hit_rate']:.3f}" in above
    assert below.count("stream: ") == 1
    assert "weights" not in summary(results["no weights"])


def test_beside_a_compressed_kv_cache_weights_are_exact_and_have_their_own_pool(attention, tmp_path):
    result = run(attention, tmp_path, "--weights", "12", "--prefetch", "streams", "--mode", "mxint8")
    assert checked(result), "what was written is what is read, while lines of KV come back as they were stored"
    assert result["weights"]["reads"]["hits"] > 100
    pages = result["flash"]["pages_read"] - result["weights"]["flash"]["pages_read"]
    moved = pages * 66 + result["weights"]["flash"]["pages_read"] * 129
    assert result["ddr"]["bytes_written"] - result["ddr"]["port_bytes_written"] == 64 * moved


@pytest.mark.parametrize("order", ["heads", "layers"])
def test_streams_in_either_order_are_checked_with_weights_beside_them(attention, tmp_path, order):
    result = run(attention, tmp_path, "--weights", "6", "--prefetch", "streams", "--stream-order", order)
    assert checked(result)
    assert result["prefetch"]["stream"]["candidates"] > 0
    assert result["settings"].get("stream_order", "heads") == order
