"""A configuration that cannot be built is refused with the field, the value and the rule."""

import pytest

from kv_endpoint.golden.common.config import PRESETS, ConfigError, preset
from kv_endpoint.golden.pipeline.metadata import entry_fields


@pytest.mark.parametrize("name", PRESETS)
def test_a_metadata_entry_has_64_bits(name):
    assert sum(bits for _, bits in entry_fields(PRESETS[name])) == 64


@pytest.mark.parametrize(
    "overrides",
    [
        {"heads": 0},
        {"heads": 5000},
        {"blocks_per_head": 48},
        {"step_bits": 16},
        {"step_bits": 33},
        {"sweep_width": 3},
        {"regions": 0},
        {"read_slots": 48},
        {"miss_slots_for_writes": 16},
        {"miss_slots_for_writes": 0},
        {"reserve_frames": 0},
        {"spare_frames": -1},
        {"event_fifo_depth": 4},
        {"queue_depth": "8"},
        # so many blocks that no bits are left for their frames
        {"heads": 4096, "blocks_per_head": 65536},
    ],
)
def test_a_bad_combination_names_field_value_and_rule(overrides):
    with pytest.raises(ConfigError) as error:
        preset("small", **overrides)
    field = "step_bits" if len(overrides) > 1 else next(iter(overrides))
    assert field in str(error.value) and "must be" in str(error.value)


def test_unknown_presets_and_fields_are_refused():
    with pytest.raises(ConfigError, match="'huge'.*tiny, small"):
        preset("huge")
    with pytest.raises(ConfigError, match="no field 'blokcs'"):
        preset("tiny", blokcs=3)
