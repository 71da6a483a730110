"""Records keep what is packed into them, and refuse what does not fit."""

import random

import pytest

from kv_endpoint.golden.common.config import PRESETS
from kv_endpoint.golden.events.port import Lane, pack, record_fields, unpack, width


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("name", PRESETS)
def test_unpack_gives_what_was_packed(name, lane):
    config, rng = PRESETS[name], random.Random(f"{name} {lane}")
    for _ in range(200):
        values = {field: rng.getrandbits(bits) for field, bits in record_fields(config, lane)}
        if "key" in values:
            values["key"] -= 1 << config.key_bits - 1
        record = pack(config, lane, **values)
        assert record < 1 << width(config, lane)
        assert unpack(config, lane, record) == values


def test_values_that_do_not_fit_are_refused():
    config = PRESETS["tiny"]
    with pytest.raises(ValueError, match="tag must fit 16 bits, not 65536"):
        pack(config, Lane.SLOT, tag=65536)
    with pytest.raises(ValueError, match="aux must fit 32 bits, not -1"):
        pack(config, Lane.ENGINE, aux=-1)
    with pytest.raises(ValueError, match="no field tga"):
        pack(config, Lane.SLOT, tga=1)
