"""The metadata pipeline issues a slot only when its table is clear and its data operation and its record have room."""

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.pipeline.metadata import MetadataPipeline
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny")


def run(body):
    """`body(ctx, dut)` on a pipeline whose table is clear; reads are offered in every clock, numbered by their tag."""
    dut = MetadataPipeline(config=CONFIG)

    async def bench(ctx):
        ctx.set(dut.record_room, 1)
        await ctx.tick().until(dut.ready)
        await body(ctx, dut)

    simulate(dut, bench)


async def offer_reads(ctx, dut, clocks):
    """How many of the reads, which answer zeros, issue. Their `id` counts."""
    issued = 0
    ctx.set(dut.req_slots.valid, 1)
    for _ in range(clocks):
        set_payload(ctx, dut.req_slots.payload, {"kind": SlotKind.READ, "id": issued % CONFIG.read_slots})
        issued += ctx.get(dut.req_slots.ready)
        await ctx.tick()
    ctx.set(dut.req_slots.valid, 0)
    return issued


def test_no_data_operation_is_lost_while_the_datapath_takes_none():
    async def body(ctx, dut):
        issued = await offer_reads(ctx, dut, 60)
        assert 0 < issued <= dut.data_depth
        await ctx.tick().repeat(dut.commit_stage)
        ctx.set(dut.data_ops.ready, 1)
        taken = []
        for _ in range(60):
            if ctx.get(dut.data_ops.valid):
                taken.append(int(ctx.get(dut.data_ops.payload.id)))
            await ctx.tick()
        assert taken == list(range(issued))

    run(body)


def test_nothing_issues_while_the_event_port_has_no_room():
    async def body(ctx, dut):
        ctx.set(dut.data_ops.ready, 1)
        ctx.set(dut.record_room, 0)
        assert await offer_reads(ctx, dut, 20) == 0
        ctx.set(dut.record_room, 1)
        assert await offer_reads(ctx, dut, 20) == 20

    run(body)


def test_the_host_waits_for_the_prefetch_unit_and_engines_do_not():
    async def body(ctx, dut):
        ctx.set(dut.data_ops.ready, 1)
        ctx.set(dut.host_room, 0)
        ctx.set(dut.engine_slots.valid, 1)
        assert await offer_reads(ctx, dut, 4) == 0
        assert ctx.get(dut.engine_slots.ready)
        ctx.set(dut.engine_slots.valid, 0)
        ctx.set(dut.host_room, 1)
        assert await offer_reads(ctx, dut, 4) == 4

    run(body)


@pytest.mark.quick
def test_rwd_goes_before_held_requests_and_these_before_new_ones():
    async def body(ctx, dut):
        ctx.set(dut.data_ops.ready, 1)
        streams = {"rwd": dut.rwd_slots, "retry": dut.retry_slots, "req": dut.req_slots}
        for name in streams:
            ctx.set(streams[name].valid, 1)
        for chosen in streams:
            assert [name for name in streams if ctx.get(streams[name].ready)] == [chosen]
            await ctx.tick()
            ctx.set(streams[chosen].valid, 0)

    run(body)


def test_no_new_req_issues_while_a_held_one_is_to_be_tried_again():
    async def body(ctx, dut):
        ctx.set(dut.data_ops.ready, 1)
        ctx.set(dut.hold_reqs, 1)
        assert await offer_reads(ctx, dut, 4) == 0
        for port in (dut.rwd_slots, dut.retry_slots, dut.engine_slots):
            ctx.set(port.valid, 1)
            assert ctx.get(port.ready)
            ctx.set(port.valid, 0)
        ctx.set(dut.hold_reqs, 0)
        assert await offer_reads(ctx, dut, 4) == 4

    run(body)


def test_what_asks_the_filter_waits_for_room_in_the_coverage_and_nothing_else_does():
    async def body(ctx, dut):
        ctx.set(dut.data_ops.ready, 1)
        ctx.set(dut.covered_room, 0)
        for port in (dut.rwd_slots, dut.retry_slots, dut.req_slots, dut.engine_slots):
            ctx.set(port.valid, 1)
            for access in (Access.READ_SHARED, Access.PLAIN, Access.WRITE_BACK):
                ctx.set(port.payload.access, access)
                assert ctx.get(port.ready) == (access == Access.PLAIN)
            ctx.set(dut.covered_room, 1)
            assert ctx.get(port.ready)
            ctx.set(dut.covered_room, 0)
            ctx.set(port.valid, 0)

    run(body)


def test_nothing_issues_before_the_table_is_clear_and_a_reset_clears_it():
    reset = Signal()
    dut = MetadataPipeline(config=CONFIG)

    async def clear(ctx):
        ctx.set(dut.record_room, 1)
        clocks = 0
        while not ctx.get(dut.ready):
            assert await offer_reads(ctx, dut, 1) == 0
            clocks += 1
        assert clocks == CONFIG.blocks

    async def outcome(ctx, port, kind):
        set_payload(ctx, port.payload, {"kind": kind, "head": 3, "block": 5})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        await ctx.tick().repeat(dut.commit_stage - 1)
        assert ctx.get(dut.commit.valid)
        return Outcome(ctx.get(dut.commit.outcome))

    async def bench(ctx):
        ctx.set(dut.data_ops.ready, 1)
        await clear(ctx)
        assert await outcome(ctx, dut.engine_slots, SlotKind.ALLOCATE) == Outcome.DONE
        await ctx.tick()
        assert await outcome(ctx, dut.req_slots, SlotKind.READ) == Outcome.HIT
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        await clear(ctx)
        assert await outcome(ctx, dut.req_slots, SlotKind.READ) == Outcome.ZEROS

    simulate(ResetInserter(reset)(dut), bench)
