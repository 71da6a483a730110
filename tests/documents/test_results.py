"""`docs/results.md` names every field of `results.json`, and no other."""

import re
from collections import Counter

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import EngineKind, Lane, PrefetchDrop, PrefetchSource, record_fields
from kv_endpoint.sim.host.regions import weights_of
from kv_endpoint.sim.results.results import SCHEMA, results
from kv_endpoint.sim.results.statistics import Statistics
from kv_endpoint.sim.run.measured import Measured
from kv_endpoint.sim.run.timing import SCALED_TIMING
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "results.md"
SOURCES = [source.name.lower() for source in PrefetchSource]
REASONS = [drop.name.lower() for drop in PrefetchDrop]


def fields_of(value, name=""):
    """The names of all values below one; names that stand for many as the document writes them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if name.endswith("prefetch"):
                key = dict.fromkeys(SOURCES, "SOURCE")[key]
            elif name.endswith("dropped"):
                key = dict.fromkeys(REASONS, "REASON")[key]
            elif name == "errors":
                key = "ERROR"
            yield from fields_of(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for inner in value:
            yield from fields_of(inner, f"{name}[]")
    else:
        yield name


def result():
    """A result with every section."""
    config, workload, settings = preset("small"), load("attention-a"), Settings(weights=12, stream_order="layers")
    statistics = Statistics()
    victim = dict.fromkeys((name for name, _ in record_fields(config, Lane.ENGINE)), 0) | {"kind": EngineKind.VICTIM}
    statistics.record(Lane.ENGINE, victim)
    return results(
        config=config, simulator="verilator", workload=workload, settings=settings, timing=SCALED_TIMING,
        measured=Measured(statistics, 1.0, errors=Counter(read_data=1)), weights=weights_of(config, workload, settings),
        source=dict.fromkeys(("command", "workload", "workload_sha256"), ""),
    )  # fmt: skip


def documented():
    return re.findall(r"^\| `(\S+)` \|", DOCUMENT.read_text(), re.MULTILINE)


def test_every_field_has_a_row_and_every_row_is_a_field():
    fields, rows = set(fields_of(result())), documented()
    assert sorted(fields - set(rows)) == [], "without a row"
    assert sorted(set(rows) - fields) == [], "no field"
    assert len(rows) == len(set(rows))


def test_names_that_stand_for_many_are_spelled_out():
    text = DOCUMENT.read_text()
    for name in (*SOURCES, *REASONS):
        assert f"`{name}`" in text.split("| field |")[0]
    assert f"`schema` is {SCHEMA};" in text
