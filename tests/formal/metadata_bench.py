"""The metadata pipeline with free slots, verdicts and neighbours."""

from amaranth.hdl import Assert, Assume, Elaboratable, Module, Mux, Signal
from amaranth.lib.wiring import In

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.pipeline.metadata import DataKind, Outcome, SlotKind
from kv_endpoint.hw.pipeline.metadata import MetadataPipeline
from tests.formal.filter_bench import config_of
from tests.formal.follow import Follow
from tests.formal.free import drive, streams_of
from tests.formal.stream_rules import watch

__all__ = ["DataOperations", "RwdProgress"]

_HELD = tuple(outcome for outcome in Outcome if outcome.held)
_READS, _WRITES = (SlotKind.READ, SlotKind.REPLAY_READ), (SlotKind.WRITE, SlotKind.REPLAY_WRITE)


def _free_pipeline(m):
    m.submodules.dut = dut = MetadataPipeline(config=config_of(2))
    drive(m, dut)
    for path, flow, port in streams_of(dut):
        if flow == In:
            watch(m, f"rules_{path}", port, assume=True)
    return dut


class RwdProgress(Elaboratable):
    """RwD waits for nothing but room and hold, and then for one engine slot at most, whatever Req, held requests,
    engines and the snoop filter do (P2): so its ready in the clock after depends on none of them.
    """

    def elaborate(self, platform):
        m = Module()
        dut = _free_pipeline(m)
        rwd = dut.rwd_slots
        may, waited = Signal(), Signal()
        m.d.comb += [
            may.eq(
                rwd.valid & dut.ready & dut.record_room & dut.host_room & dut.covered_room & ~dut.hold_external
                & (dut.data_level < dut.data_depth - dut.commit_stage)
            ),
            Assert(~waited | ~may | rwd.ready),
            Assert(~rwd.ready | ~(dut.req_slots.ready | dut.retry_slots.ready | dut.engine_slots.ready)),
        ]  # fmt: skip
        m.d.sync += waited.eq(may & ~rwd.ready)
        return m


class DataOperations(Elaboratable):
    """Each slot that issues commits once, in order, as what it was; each commit that ends a message gives the one data
    operation that its kind and outcome ask for, in commit order, and no other does (P4, P8, P9).
    """

    def elaborate(self, platform):
        m = Module()
        dut = _free_pipeline(m)
        commit, ops = dut.commit, dut.data_ops

        # Slots
        m.submodules.follow_slot = slots = Follow(most=dut.commit_stage)
        issued, kept = Signal.like(commit.slot), Signal.like(commit.slot)
        streams = (dut.engine_slots, dut.rwd_slots, dut.retry_slots, dut.req_slots)
        for source in streams:
            with m.If(source.valid & source.ready):
                m.d.comb += [slots.enters.eq(1), issued.eq(source.payload)]
        m.d.comb += slots.leaves.eq(commit.valid)
        with m.If(slots.picked):
            m.d.sync += kept.eq(issued)
        with m.If(slots.here):
            m.d.comb += [
                Assert(commit.slot[name] == kept[name]) for name in ("kind", "rwd", "id", "tag", "outcome", "access")
            ]

        # Data operations
        slot, outcome = commit.slot, commit.outcome
        expected = Signal(DataKind)
        owns = slot.access == Access.OWN
        reads = ~slot.rwd & slot.value[0]
        with m.Switch(slot.kind):
            with m.Case(*_READS, *_WRITES):
                m.d.comb += Assert(
                    ~commit.valid
                    | outcome.matches(
                        Outcome.HIT, Outcome.MISS, Outcome.FIRST_WRITE, Outcome.ZEROS, Outcome.NOT_OWNER, *_HELD
                    )
                )
                with m.If(outcome == Outcome.HIT):
                    read = Mux(owns, DataKind.COMPLETE, DataKind.READ)
                    m.d.comb += expected.eq(Mux(slot.kind.matches(*_WRITES), DataKind.WRITE, read))
                with m.Elif(outcome == Outcome.ZEROS):
                    m.d.comb += expected.eq(Mux(owns, DataKind.COMPLETE, DataKind.ZEROS))
                with m.Elif(outcome == Outcome.NOT_OWNER):
                    m.d.comb += expected.eq(DataKind.COMPLETE)
            with m.Case(SlotKind.BYPASS_READ):
                m.d.comb += expected.eq(DataKind.READ)
            with m.Case(SlotKind.RELEASE):
                m.d.comb += [
                    Assert(~commit.valid | outcome.matches(Outcome.DONE, *_HELD)),
                    expected.eq(Mux(outcome == Outcome.DONE, DataKind.COMPLETE, DataKind.NONE)),
                ]
            with m.Case(SlotKind.ANSWER):
                m.d.comb += [Assert(~commit.valid | (outcome == slot.outcome)), expected.eq(DataKind.COMPLETE)]
                with m.If(outcome == Outcome.CONFLICT):
                    m.d.comb += expected.eq(DataKind.ACK)
                with m.If(outcome.matches(Outcome.ILLEGAL, Outcome.CACHEABLE, Outcome.DROPPED)):
                    m.d.comb += expected.eq(DataKind.DISCARD)
                with m.If(outcome.matches(Outcome.NXM, Outcome.UNWRITABLE) & reads):
                    m.d.comb += expected.eq(DataKind.NXM)
                with m.If((outcome == Outcome.WINDOW) & reads):
                    m.d.comb += expected.eq(DataKind.ZEROS)
        # Commits that were not yet taken, at most
        m.submodules.follow_op = follow = Follow(most=dut.data_depth)
        m.d.comb += [
            Assume(~commit.valid | (dut.filter_verdict.held == 0) | dut.filter_verdict.held.matches(*_HELD)),
            follow.enters.eq(commit.valid & (expected != DataKind.NONE)),
            follow.leaves.eq(ops.valid & ops.ready),
        ]
        op = Signal.like(ops.payload)
        with m.If(follow.picked):
            m.d.sync += [
                op.kind.eq(expected), op.rwd.eq(slot.rwd), op.id.eq(slot.id), op.grant.eq(commit.grant),
                op.line.eq(slot.line),
            ]  # fmt: skip
        with m.If(follow.here):
            m.d.comb += [Assert(ops.payload[name] == op[name]) for name in ("kind", "rwd", "id", "grant", "line")]
        return m
