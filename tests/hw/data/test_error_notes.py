"""Every error pulse is in exactly one note, whatever the event port does."""

import random

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.hw.data.error_notes import ErrorNotes
from tests.support.simulation import fields_of, simulate


@pytest.mark.quick
@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_no_error_is_lost_or_told_twice(stall):
    rng = random.Random(f"error notes {stall}")
    dut = ErrorNotes(config=preset("tiny"))
    sent, told = {ErrorKind.AXI_READ: 0, ErrorKind.AXI_WRITE: 0}, {ErrorKind.AXI_READ: 0, ErrorKind.AXI_WRITE: 0}

    async def bench(ctx):
        offered = None
        for clock in range(2000):
            kind = rng.choice([None, ErrorKind.AXI_READ, ErrorKind.AXI_WRITE]) if clock < 1800 else None
            ctx.set(dut.errors.axi_read, kind == ErrorKind.AXI_READ)
            ctx.set(dut.errors.axi_write, kind == ErrorKind.AXI_WRITE)
            if kind is not None:
                sent[kind] += 1
            ready = clock >= 1800 or rng.random() >= stall
            ctx.set(dut.notes.ready, ready)
            if ctx.get(dut.notes.valid):
                note = fields_of(ctx.get(dut.notes.payload))
                assert note["kind"] == EngineKind.ERROR and note["aux"] > 0
                assert offered is None or note == offered, "an offered note changed"
                offered = note
                if ready:
                    told[note["key"]] += note["aux"]
                    offered = None
            else:
                assert offered is None
            await ctx.tick()

    simulate(dut, bench)
    assert told == sent and min(sent.values()) > 300
