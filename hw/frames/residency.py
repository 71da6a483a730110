"""Which blocks are in a frame: misses, migration and allocator behind one set of ports."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import Hold
from kv_endpoint.hw.frames.allocator import Allocator
from kv_endpoint.hw.frames.migration import Migration
from kv_endpoint.hw.frames.misses.engine import MissEngine
from kv_endpoint.hw.lib.arbiter import Arbiter
from kv_endpoint.hw.lib.gate import Gate
from kv_endpoint.hw.lib.hold_grants import Share

__all__ = ["Residency"]


class Residency(wiring.Component):
    """Joins `MissEngine`, `Migration` and `Allocator`, and shares the outer ports among them.

    Whoever of them holds the pipeline has engine slots and notes for itself: the others' streams are closed first, then
    the pipeline is asked for. So between a decision's look at the state and its note or slot nothing happens. Everybody
    else waits for no more than the end of that decision.

    No latency is added to any stream.

    Members
    -------
    commit : In(commit), now : In(step), policy : In(policy)
    commands : In(stream), command_answers : Out(stream)
        `Allocator`.
    modes : In(heads)
        The mode of each head.
    inspect_head : In, inspect_held, inspect_minimum, inspect_maximum : Out(32)
        `Allocator`.
    above_min : Out(heads)
        To the victim engine.
    held, free, pool_frames, pins, has_minimum, unwritable : Out
        For the CSR block: of each pool frames held, free frames and size; pinned blocks; heads with a minimum quota;
        flash counts as unwritable.
    pool_full : Out(array by mode)
        Frames held have reached the pool's size; a clock after `held`.
    uncovered : In(1)
        Hosts may no longer hold lines of some block. Misses that could get nothing are tried again.
    victim_request : Out(stream), victim_answer : In(stream)
        Only while `hold` is granted.
    prefetch_first : In(struct valid, request), prefetch_take : Out(1), prefetch_lock : Out(Hold)
        `MissEngine`.
    migrating_index : In(index), migrating : Out(1)
        Whether the block has an open miss or a demotion in progress. No latency.
    migration_ended : Out(struct valid, head)
        One clock for each miss closed and each demotion ended, when `migrating` says so; of two at once one follows.
    engine_slots, notes : Out(stream)
    page_commands : Out(stream), page_done : In(stream)
    sidecar_ops : Out(stream), sidecar_done, sidecar_failed : In(1)
        One operation at a time: the next is offered when the last is done.
    hold : Out(Hold)
        The pipeline.
    drain : Out(Hold)
        The datapath.
    """

    def __init__(self, *, config):
        self._config = config
        self._misses = MissEngine(config=config)
        self._migration = Migration(config=config)
        self._allocator = Allocator(config=config)
        passed = {
            name: self._allocator.signature.members[name]
            for name in (
                "commands", "command_answers", "inspect_head", "inspect_held", "inspect_minimum", "inspect_maximum",
                "modes", "cached", "above_min", "has_minimum", "held", "free", "pool_frames", "pins",
            )
        }  # fmt: skip
        super().__init__(
            passed
            | {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "unwritable": Out(1),
                "pool_full": Out(data.ArrayLayout(1, len(Mode))),
                "uncovered": In(1),
                "victim_request": Out(stream.Signature(layouts.victim_request(config))),
                "victim_answer": In(stream.Signature(layouts.victim_answer(config))),
                "prefetch_first": In(data.StructLayout({"valid": 1, "request": layouts.prefetch_request(config)})),
                "prefetch_take": Out(1),
                "prefetch_lock": Out(Hold()),
                "migrating_index": In(config.index_bits),
                "migrating": Out(1),
                "migration_ended": Out(data.StructLayout({"valid": 1, "head": config.head_bits})),
                "engine_slots": Out(layouts.slot_stream(config)),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "page_commands": Out(stream.Signature(layouts.page_command(config))),
                "page_done": In(stream.Signature(layouts.page_done(config))),
                "sidecar_ops": Out(stream.Signature(layouts.sidecar_op(config))),
                "sidecar_done": In(1),
                "sidecar_failed": In(1),
                "hold": Out(Hold()),
                "drain": Out(Hold()),
            }
        )
        self._passed = tuple(passed)

    def elaborate(self, platform):
        m = Module()
        m.submodules.misses = misses = self._misses
        m.submodules.migration = migration = self._migration
        m.submodules.allocator = allocator = self._allocator

        outside = flipped(self)
        for name in self._passed:
            member = self.signature.members[name]
            ours, its = getattr(self, name), getattr(allocator, name)
            if not member.is_port:
                connect(m, getattr(outside, name), its)
            elif member.flow == In:
                m.d.comb += its.eq(ours)
            else:
                m.d.comb += ours.eq(its)
        connect(m, misses.query, allocator.query)
        connect(m, allocator.availability, misses.availability)
        connect(m, misses.victim_request, outside.victim_request)
        connect(m, outside.victim_answer, misses.victim_answer)
        connect(m, misses.prefetch_lock, outside.prefetch_lock)
        m.d.comb += [
            *(part.commit.eq(self.commit) for part in (misses, migration, allocator)),
            misses.now.eq(self.now),
            misses.policy.eq(self.policy),
            misses.quotas_changed.eq(allocator.quotas_changed),
            misses.demotion_free.eq(migration.slot_free),
            misses.demoting.eq(migration.active),
            misses.unwritable.eq(migration.unwritable),
            misses.demotion_ended.eq(migration.ended.valid),
            misses.demotions.eq(migration.count),
            misses.uncovered.eq(self.uncovered),
            misses.prefetch_first.eq(self.prefetch_first),
            self.prefetch_take.eq(misses.prefetch_take),
            self.unwritable.eq(migration.unwritable),
            misses.lookup_index.eq(self.migrating_index),
            migration.lookup_index.eq(self.migrating_index),
            self.migrating.eq(misses.lookup | migration.lookup),
        ]

        m.d.sync += [self.pool_full[mode].eq(self.held[mode] >= self.pool_frames[mode]) for mode in Mode]

        # Two blocks that leave in one clock are told one after the other; the next is more than a clock away.
        late = Signal(self.migration_ended.shape())
        m.d.sync += late.valid.eq(misses.ended.valid & migration.ended.valid)
        m.d.sync += late.head.eq(migration.ended.head)
        with m.If(late.valid):
            m.d.comb += self.migration_ended.eq(late)
        with m.Elif(misses.ended.valid):
            m.d.comb += self.migration_ended.eq(misses.ended)
        with m.Else():
            m.d.comb += self.migration_ended.eq(migration.ended)

        # The pipeline, engine slots and notes
        m.submodules.holds = holds = Share(count=2)
        connect(m, misses.hold, holds.clients[0])
        connect(m, allocator.hold, holds.clients[1])
        users = (misses, allocator, migration)
        others_busy = Signal()
        for name in ("engine_slots", "notes"):
            port = getattr(outside, name)
            arbiter = Arbiter(port.payload.shape(), count=len(users))
            m.submodules[f"{name}_arbiter"] = arbiter
            connect(m, arbiter.output, port)
            for number, user in enumerate(users):
                gate = Gate(port.payload.shape())
                m.submodules[f"{name}_gate{number}"] = gate
                connect(m, getattr(user, name), gate.source)
                connect(m, gate.output, arbiter.sources[number])
                others = holds.owner & ~(1 << number) if number < 2 else holds.owner
                m.d.comb += gate.open.eq(~others.any())
                with m.If(gate.busy & others.any()):
                    m.d.comb += others_busy.eq(1)
        asked = Signal()
        m.d.comb += [
            self.hold.request.eq(holds.output.request & (asked | ~others_busy)),
            holds.output.granted.eq(self.hold.granted),
        ]
        m.d.sync += asked.eq(self.hold.request)

        # Datapath, sidecar and flash: misses and migration
        m.submodules.drains = drains = Share(count=2)
        connect(m, misses.drain, drains.clients[0])
        connect(m, migration.drain, drains.clients[1])
        connect(m, drains.output, outside.drain)

        m.submodules.sidecar_arbiter = sidecar = Arbiter(self.sidecar_ops.payload.shape(), count=2)
        sidecar_busy = Signal()
        sidecar_user = Signal()
        for number, user in enumerate((misses, migration)):
            source = sidecar.sources[number]
            m.d.comb += [
                source.payload.eq(user.sidecar_ops.payload),
                source.valid.eq(user.sidecar_ops.valid & ~sidecar_busy),
                user.sidecar_ops.ready.eq(source.ready & ~sidecar_busy),
                user.sidecar_done.eq(self.sidecar_done & (sidecar_user == number)),
            ]
        connect(m, sidecar.output, outside.sidecar_ops)
        m.d.comb += migration.sidecar_failed.eq(self.sidecar_failed)
        with m.If(sidecar_busy):
            m.d.sync += sidecar_busy.eq(~self.sidecar_done)
        with m.Elif(self.sidecar_ops.valid & self.sidecar_ops.ready):
            m.d.sync += [sidecar_busy.eq(1), sidecar_user.eq(~misses.sidecar_ops.ready)]

        m.submodules.page_arbiter = pages = Arbiter(self.page_commands.payload.shape(), count=2)
        connect(m, misses.page_commands, pages.sources[0])
        connect(m, migration.page_commands, pages.sources[1])
        connect(m, pages.output, outside.page_commands)
        is_write = self.page_done.payload.tag[-1]
        m.d.comb += [
            misses.page_done.payload.eq(self.page_done.payload),
            migration.page_done.payload.eq(self.page_done.payload),
            misses.page_done.valid.eq(self.page_done.valid & ~is_write),
            migration.page_done.valid.eq(self.page_done.valid & is_write),
            self.page_done.ready.eq(Mux(is_write, migration.page_done.ready, misses.page_done.ready)),
        ]
        return m
