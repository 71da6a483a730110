"""The event port loses no record, keeps the order, and numbers both lanes from one sequence."""

import random

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.hw.events.port import EventPort
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny")
PIPELINE_DEPTH = 7
#: added to the clock in a commit note
COMMIT_NOTE = 1 << 31


@pytest.mark.quick
@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_records_leave_in_order_with_one_sequence(stall):
    rng = random.Random(f"event port {stall}")
    dut = EventPort(config=CONFIG, pipeline_depth=PIPELINE_DEPTH)
    taken, left = [], {"slot": [], "engine": []}

    async def bench(ctx):
        in_flight = [False] * PIPELINE_DEPTH
        operations = [False] * FILTER_CLOCKS
        note = None
        for clock in range(2000):
            # A slot that issues commits PIPELINE_DEPTH clocks later, whatever the port says then.
            in_flight.append(bool(ctx.get(dut.slot_room)) and rng.random() < 0.8)
            commits = in_flight.pop(0)
            ctx.set(dut.slot_valid, commits)
            set_payload(ctx, dut.slot, {"tag": clock})
            # An operation that begins makes its note FILTER_CLOCKS later.
            operations.append(bool(ctx.get(dut.note_room)) and rng.random() < 0.3)
            noted = operations.pop(0)
            ctx.set(dut.commit_note.valid, noted)
            set_payload(ctx, dut.commit_note.note, {"aux": COMMIT_NOTE | clock})
            if note is None and rng.random() < 0.4:
                note = clock
                set_payload(ctx, dut.notes.payload, {"aux": note})
            ctx.set(dut.notes.valid, note is not None)
            ctx.set(dut.slot_record.ready, rng.random() >= stall)
            ctx.set(dut.engine_record.ready, rng.random() >= stall)
            if commits:
                taken.append(("slot", clock))
            if noted:
                taken.append(("engine", COMMIT_NOTE | clock))
                assert not ctx.get(dut.notes.ready)
            if note is not None and ctx.get(dut.notes.ready):
                taken.append(("engine", note))
                note = None
            for name, lane, field in (("slot", dut.slot_record, "tag"), ("engine", dut.engine_record, "aux")):
                if ctx.get(lane.valid) and ctx.get(lane.ready):
                    payload = ctx.get(lane.payload)
                    left[name].append((int(payload["sequence"]), int(payload[field])))
            await ctx.tick()

    simulate(dut, bench)
    for name, records in left.items():
        expected = [(sequence, value) for sequence, (lane, value) in enumerate(taken) if lane == name]
        assert records == expected[: len(records)]
        assert len(records) >= max(20, len(expected) - CONFIG.event_fifo_depth - 1)
