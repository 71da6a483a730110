"""The metadata pipeline: reads, updates and writes back one entry of the metadata table a clock.

See `golden/pipeline/metadata.py` for what each slot does; this file adds when.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import EMA_BITS, SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.policy import ScoreSource
from kv_endpoint.golden.events.port import Lane
from kv_endpoint.golden.pipeline.metadata import FLAGS, DataKind, Outcome, SlotKind, State
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.pipeline.score import Decay, Increment

__all__ = ["FILTER_CLOCKS", "MetadataPipeline"]

#: the stage at which the decay starts: after the table read and the age
_DECAY_STAGE = 2

_LINE_OF_SECTOR_BITS = (SECTOR_LINES - 1).bit_length()

#: clocks from a slot's question to the snoop filter to its commit
FILTER_CLOCKS = 3

#: room in the data FIFO beyond what can be in flight, so that issue need not stop while it drains
_DATA_SLACK = 8


class MetadataPipeline(wiring.Component):
    """One slot a clock, same entry back to back included; `commit_stage` clocks from issue to commit.

    A slot issues only when the data FIFO and the record FIFO have room for everything in flight; inside, nothing
    stalls. Forwarding: the entry written at commit replaces the copies that younger slots of the same block carry. All
    slots in flight share one step, so an entry that was forwarded after an event is already at now and needs no second
    decay; one forwarded after an engine slot still has its old `ema` and `step`, for which the decay on its way is
    right.

    After reset the table is cleared, one entry a clock; nothing issues before that is done.

    Members
    -------
    rwd_slots, retry_slots, req_slots, engine_slots : In(stream of slots)
        Of the host's the first goes first; engine slots and the host's take turns. `retry_slots` are held requests.
    hold_reqs : In(1)
        No new Req may issue: held ones go first.
    hold_external, hold_engine : In(1)
        From `Quiesce`: keep slots of the host, of the engines, from issuing.
    idle : Out(1)
        No slot is in flight.
    now : In(step)
        Changes only while idle.
    policy : In(policy)
        Changes only while idle.
    modes : In(heads)
        The mode (`golden.common.mode.Mode`) of each head's blocks; changes only while idle. Slots of the host get
        theirs here.
    commit : Out(commit)
        Each slot in the clock in which it commits.
    record_valid, record, record_room
        To the event port.
    host_room : In(1)
        Slots of the host may issue: the prefetch unit has room for what they ask for.
    covered_room : In(1)
        Slots that ask the snoop filter may issue: what they change in it can be counted.
    filter_question : Out, filter_verdict : In, filter_take : Out(1)
        To the snoop filter: what the slot asks, `FILTER_CLOCKS` before its commit; what it says, in the clock of the
        commit; there, whether that takes effect, which does not depend on the verdict.
    data_ops : Out(stream)
        To the datapath, in commit order.
    data_level : Out
        Operations committed and not yet taken by the datapath.
    sweep : In(TableRead)
        The victim engine's view of the table; it sees a write from the clock after its commit on.
    ready : Out(1)
        The table is cleared.
    """

    def __init__(self, *, config):
        self._config = config
        self._decay = Decay(config=config)
        self._increment = Increment()
        super().__init__(
            {
                "rwd_slots": In(layouts.slot_stream(config)),
                "retry_slots": In(layouts.slot_stream(config)),
                "req_slots": In(layouts.slot_stream(config)),
                "engine_slots": In(layouts.slot_stream(config)),
                "hold_reqs": In(1),
                "hold_external": In(1),
                "hold_engine": In(1),
                "idle": Out(1),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "modes": In(config.heads),
                "commit": Out(layouts.commit(config)),
                "record_valid": Out(1),
                "record": Out(layouts.record(config, Lane.SLOT)),
                "record_room": In(1),
                "host_room": In(1, init=1),
                "covered_room": In(1, init=1),
                "filter_question": Out(layouts.filter_question(config)),
                "filter_verdict": In(layouts.filter_verdict(), init={"owner": 1}),
                "filter_take": Out(1),
                "data_ops": Out(stream.Signature(layouts.data_op(config))),
                "data_level": Out(range(self.data_depth + 1)),
                "sweep": In(layouts.TableRead(config)),
                "ready": Out(1),
            }
        )

    @property
    def commit_stage(self):
        """Clocks from issue to commit."""
        return _DECAY_STAGE + self._decay.latency

    @property
    def data_depth(self):
        """Operations that the FIFO to the datapath holds."""
        return self.commit_stage + _DATA_SLACK

    def elaborate(self, platform):
        m = Module()
        config = self._config
        commit_stage = self.commit_stage
        entry_layout, slot_layout = layouts.entry(config), layouts.slot(config)

        m.submodules.table = table = Memory(shape=entry_layout, depth=config.blocks, init=[])
        write = table.write_port()
        read = table.read_port(transparent_for=(write,))
        sweep = table.read_port(transparent_for=(write,))
        m.submodules.decay = decay = self._decay
        m.submodules.increment = increment = self._increment
        m.submodules.data = data_fifo = fifo.SyncFIFOBuffered(width=layouts.data_op(config).size, depth=self.data_depth)

        # Clearing after reset
        clear_index = Signal(range(config.blocks))
        with m.If(~self.ready):
            m.d.sync += clear_index.eq(clear_index + 1)
            with m.If(clear_index == config.blocks - 1):
                m.d.sync += self.ready.eq(1)

        # Issue: which slot enters
        may_issue = Signal()
        host_slot = Signal(slot_layout)
        host_offered = Signal()
        host_valid = Signal()
        engine_valid = Signal()
        host_turn = Signal()
        do_host = Signal()
        do_engine = Signal()
        m.d.comb += [
            may_issue.eq(self.ready & self.record_room & (data_fifo.level < _DATA_SLACK)),
            host_valid.eq(host_offered & ~self.hold_external & self.host_room & self._filter_free(host_slot)),
            engine_valid.eq(self.engine_slots.valid & ~self.hold_engine & self._filter_free(self.engine_slots.payload)),
            do_host.eq(may_issue & host_valid & (host_turn | ~engine_valid)),
            do_engine.eq(may_issue & engine_valid & ~(host_turn & host_valid)),
            self.engine_slots.ready.eq(do_engine),
        ]
        with m.If(self.rwd_slots.valid):
            self._choose(m, self.rwd_slots, host_slot, host_offered, do_host)
        with m.Elif(self.retry_slots.valid):
            self._choose(m, self.retry_slots, host_slot, host_offered, do_host)
        with m.Elif(~self.hold_reqs):
            self._choose(m, self.req_slots, host_slot, host_offered, do_host)
        with m.If(do_host):
            m.d.sync += host_turn.eq(0)
        with m.Elif(do_engine):
            m.d.sync += host_turn.eq(1)

        slots = [Signal(slot_layout, name=f"slot{stage}") for stage in range(commit_stage + 1)]
        valid = [Signal(name=f"valid{stage}") for stage in range(commit_stage + 1)]
        m.d.comb += [
            slots[0].eq(Mux(do_engine, self.engine_slots.payload, host_slot)),
            valid[0].eq(do_host | do_engine),
            self.idle.eq(~Cat(valid[1:]).any()),
            read.addr.eq(Cat(slots[0].block, slots[0].head)),
            read.en.eq(1),
            sweep.addr.eq(self.sweep.index),
            sweep.en.eq(self.sweep.enable),
            self.sweep.entry.eq(sweep.data),
        ]
        for stage in range(commit_stage):
            m.d.sync += [slots[stage + 1].eq(slots[stage]), valid[stage + 1].eq(valid[stage])]
        # A message may be decoded before its region has another mode and commit after it.
        with m.If(do_host):
            m.d.sync += slots[1].mode.eq(self.modes.bit_select(slots[0].head, 1))

        # The entry on its way, replaced by what an older slot of the same block commits
        do_write = Signal()
        after = Signal(entry_layout)
        last = slots[commit_stage]

        def forwarded(stage, entry):
            here = slots[stage]
            match = do_write & (here.head == last.head) & (here.block == last.block)
            return Mux(match, after, entry)

        entries = [None, read.data]
        for stage in range(1, commit_stage):
            entry = Signal(entry_layout, name=f"entry{stage + 1}")
            m.d.sync += entry.eq(forwarded(stage, entries[stage]))
            entries.append(entry)
        before = entries[commit_stage]

        # EMA: the decay runs beside the entry, from the values that were read
        scored_slot = slots[_DECAY_STAGE]
        age = Signal(config.step_bits)
        read_ema = Signal(EMA_BITS)
        m.d.sync += [age.eq(self.now - entries[1].step), read_ema.eq(entries[1].ema)]
        m.d.comb += [
            decay.ema.eq(read_ema),
            decay.delta.eq(age),
            decay.lam.eq(self.policy.lam),
            increment.alpha.eq(self.policy.alpha),
            increment.value.eq(
                Mux(
                    (scored_slot.kind == SlotKind.HINT) & (self.policy.score == ScoreSource.MASS),
                    scored_slot.value,
                    0xFFFF,
                )
            ),
        ]
        gain = increment.output
        for number in range(decay.latency - increment.latency):
            delayed = Signal(EMA_BITS, name=f"gain{number}")
            m.d.sync += delayed.eq(gain)
            gain = delayed

        # Commit
        at_now = Signal()
        fresh_ema = Signal(EMA_BITS)
        announced = Signal()
        touched = Signal()
        sum_ema = Signal(EMA_BITS + 1)
        scored_ema = Signal(EMA_BITS)
        m.d.comb += [
            at_now.eq(before.step == self.now),
            fresh_ema.eq(Mux(at_now, before.ema, decay.output)),
            announced.eq(at_now & before.announced),
            touched.eq(at_now & before.touched),
            sum_ema.eq(fresh_ema + gain),
            scored_ema.eq(Mux(sum_ema[EMA_BITS], (1 << EMA_BITS) - 1, sum_ema)),
        ]

        # What the snoop filter says
        question, verdict = self.filter_question, self.filter_verdict
        asked = slots[commit_stage - FILTER_CLOCKS]
        held, refused, has_own_copy, wants_data = Signal(), Signal(), Signal(), Signal()
        grants = Signal()
        m.d.comb += [
            question.valid.eq(valid[commit_stage - FILTER_CLOCKS] & (asked.access != Access.PLAIN)),
            question.access.eq(asked.access),
            question.host.eq(asked.host),
            question.retry.eq(asked.retry),
            question.lossy.eq(asked.mode),
            question.sector.eq(Cat(asked.line[_LINE_OF_SECTOR_BITS:], asked.block, asked.head)),
            question.line.eq(asked.line[:_LINE_OF_SECTOR_BITS]),
            held.eq((last.access != Access.PLAIN) & (verdict.held != 0)),
            refused.eq((last.access != Access.PLAIN) & ~verdict.owner),
            wants_data.eq(last.access != Access.OWN),
            # What a host does with its own copy is no access of the model to the block.
            has_own_copy.eq(last.access.matches(Access.OWN, Access.WRITE_BACK, Access.WRITE_KEEP)),
        ]

        absent = Signal()
        resident = Signal()
        m.d.comb += [
            absent.eq(before.state == State.ABSENT),
            resident.eq((before.state == State.WARM) | (before.state == State.DEMOTING)),
        ]
        outcome = Signal(5)
        data_kind = Signal(3)
        touch = Signal()
        event = Signal()
        #: bring the entry to now; add the score; mark it announced or touched
        do_event = Signal()
        do_score = Signal()
        m.d.comb += [after.eq(before), outcome.eq(Outcome.DONE), data_kind.eq(DataKind.NONE)]
        with m.If(do_event):
            m.d.comb += [
                after.ema.eq(Mux(do_score, scored_ema, fresh_ema)),
                after.step.eq(self.now),
                after.announced.eq(announced),
                after.touched.eq(touched),
                event.eq(1),
            ]

        def becomes(expected, **changes):
            with m.If(before.state == expected):
                m.d.comb += [getattr(after, name).eq(value) for name, value in changes.items()]
            with m.Else():
                m.d.comb += outcome.eq(Outcome.IGNORED)

        with m.Switch(last.kind):
            with m.Case(SlotKind.HINT):
                with m.If(announced):
                    m.d.comb += outcome.eq(Outcome.IGNORED)
                with m.Else():
                    m.d.comb += [
                        do_event.eq(1),
                        do_score.eq(self.policy.score != ScoreSource.ACCESS),
                        after.announced.eq(1),
                    ]
            with m.Case(SlotKind.READ, SlotKind.WRITE):
                is_write = last.kind == SlotKind.WRITE
                with m.If(refused):
                    m.d.comb += [outcome.eq(Outcome.NOT_OWNER), data_kind.eq(DataKind.COMPLETE)]
                with m.Elif(held & (absent | resident)):
                    m.d.comb += outcome.eq(verdict.held)
                with m.Elif(absent & ~is_write):
                    m.d.comb += [
                        outcome.eq(Outcome.ZEROS),
                        data_kind.eq(Mux(wants_data, DataKind.ZEROS, DataKind.COMPLETE)),
                        grants.eq(1),
                    ]
                with m.Else():
                    first_unhinted = absent & (self.policy.score == ScoreSource.ANNOUNCED) & ~announced
                    m.d.comb += [
                        touch.eq(~touched & ~has_own_copy),
                        do_event.eq(touch),
                        do_score.eq((self.policy.score == ScoreSource.ACCESS) | first_unhinted),
                    ]
                    with m.If(touch):
                        m.d.comb += [
                            after.touched.eq(1),
                            after.announced.eq(announced | (absent & do_score)),
                        ]
                    with m.If(absent):
                        m.d.comb += outcome.eq(Outcome.FIRST_WRITE)
                    with m.Elif(resident):
                        m.d.comb += [
                            outcome.eq(Outcome.HIT),
                            data_kind.eq(
                                Mux(is_write, DataKind.WRITE, Mux(wants_data, DataKind.READ, DataKind.COMPLETE))
                            ),
                            after.state.eq(State.WARM),
                            after.dirty.eq(before.dirty | is_write),
                            after.prefetched.eq(0),
                            grants.eq(1),
                        ]
                    with m.Else():
                        # What a prefetch is still bringing comes too late to hide all of the miss.
                        m.d.comb += [outcome.eq(Outcome.MISS), after.prefetched.eq(0)]
            with m.Case(SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE):
                is_write = last.kind == SlotKind.REPLAY_WRITE
                with m.If(refused):
                    m.d.comb += [outcome.eq(Outcome.NOT_OWNER), data_kind.eq(DataKind.COMPLETE)]
                with m.Elif(held & resident):
                    m.d.comb += outcome.eq(verdict.held)
                with m.Elif(resident):
                    m.d.comb += [
                        outcome.eq(Outcome.HIT),
                        data_kind.eq(Mux(is_write, DataKind.WRITE, Mux(wants_data, DataKind.READ, DataKind.COMPLETE))),
                        after.state.eq(State.WARM),
                        after.dirty.eq(before.dirty | is_write),
                        after.prefetched.eq(0),
                        grants.eq(1),
                    ]
                with m.Else():
                    m.d.comb += outcome.eq(Outcome.MISS)
            with m.Case(SlotKind.BYPASS_READ):
                m.d.comb += data_kind.eq(DataKind.READ)
            with m.Case(SlotKind.ANSWER):
                m.d.comb += outcome.eq(last.outcome)
                with m.Switch(last.outcome):
                    with m.Case(Outcome.CONFLICT):
                        m.d.comb += data_kind.eq(DataKind.ACK)
                    with m.Case(Outcome.DROPPED, Outcome.CACHEABLE, Outcome.ILLEGAL):
                        m.d.comb += data_kind.eq(DataKind.DISCARD)
                    with m.Default():
                        m.d.comb += data_kind.eq(DataKind.COMPLETE)
                        # Bit 0 of an answer's value: a read, which wants data.
                        with m.If(~last.rwd & last.value[0]):
                            with m.If(last.outcome.matches(Outcome.NXM, Outcome.UNWRITABLE)):
                                m.d.comb += data_kind.eq(DataKind.NXM)
                            with m.If(last.outcome == Outcome.WINDOW):
                                m.d.comb += data_kind.eq(DataKind.ZEROS)
            with m.Case(SlotKind.PROMOTE):
                becomes(State.COLD, state=State.PROMOTING, frame=last.frame, prefetched=last.value[0])
            with m.Case(SlotKind.ALLOCATE):
                becomes(State.ABSENT, state=State.WARM, frame=last.frame, dirty=1, prefetched=0)
            with m.Case(SlotKind.FILL):
                becomes(State.PROMOTING, state=State.WARM)
            with m.Case(SlotKind.DEMOTE):
                becomes(State.WARM, state=State.DEMOTING)
            with m.Case(SlotKind.EVICT):
                becomes(State.DEMOTING, state=State.COLD, dirty=0, prefetched=0)
            with m.Case(SlotKind.RESTORE):
                becomes(State.DEMOTING, state=State.WARM)
            with m.Case(SlotKind.PREFETCH):
                with m.If(before.state != State.COLD):
                    m.d.comb += outcome.eq(Outcome.IGNORED)
            with m.Case(SlotKind.RELEASE):
                with m.If(held):
                    m.d.comb += outcome.eq(verdict.held)
                with m.Else():
                    m.d.comb += [data_kind.eq(DataKind.COMPLETE), grants.eq(1)]
            with m.Case(SlotKind.PIN):
                m.d.comb += after.pinned.eq(1)
            with m.Case(SlotKind.UNPIN):
                m.d.comb += after.pinned.eq(0)

        committing = valid[commit_stage]
        m.d.comb += [
            do_write.eq(committing & (last.kind != SlotKind.ANSWER)),
            write.en.eq(do_write | ~self.ready),
            write.addr.eq(Mux(self.ready, Cat(last.block, last.head), clear_index)),
            write.data.eq(Mux(self.ready, after, 0)),
            self.commit.valid.eq(committing),
            self.commit.slot.eq(last),
            self.commit.before.eq(before),
            self.commit.after.eq(after),
            self.commit.outcome.eq(outcome),
            self.commit.touch.eq(touch),
            self.commit.event.eq(event),
        ]

        # A held request leaves its mark in the filter's row too. The verdict is left out of this, since the row waits
        # for it; a write that is refused changes none.
        takes = Signal()
        with m.Switch(last.kind):
            with m.Case(SlotKind.READ):
                m.d.comb += takes.eq(absent | resident)
            with m.Case(SlotKind.WRITE, SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE):
                m.d.comb += takes.eq(resident)
            with m.Case(SlotKind.RELEASE):
                m.d.comb += takes.eq(1)
        grant = Signal(2)
        m.d.comb += [
            self.filter_take.eq(committing & takes),
            grant.eq(Mux(grants & (last.access != Access.PLAIN), verdict.grant, 0)),
            self.commit.grant.eq(grant),
        ]

        # Datapath
        op = Signal(layouts.data_op(config))
        m.d.comb += [
            op.kind.eq(data_kind),
            op.rwd.eq(last.rwd),
            op.id.eq(last.id),
            op.mode.eq(last.mode),
            op.frame.eq(Mux(last.kind == SlotKind.BYPASS_READ, last.frame, before.frame)),
            op.line.eq(last.line),
            op.grant.eq(grant),
            data_fifo.w_data.eq(op),
            data_fifo.w_en.eq(committing & (data_kind != DataKind.NONE)),
            self.data_ops.payload.eq(data_fifo.r_data),
            self.data_ops.valid.eq(data_fifo.r_rdy),
            data_fifo.r_en.eq(self.data_ops.ready),
            self.data_level.eq(data_fifo.level),
        ]

        # Record
        about_a_block = last.kind != SlotKind.ANSWER
        flags_before = Cat(getattr(before, flag) for flag in FLAGS)
        flags_after = Cat(getattr(after, flag) for flag in FLAGS)
        m.d.comb += [
            self.record_valid.eq(committing),
            self.record.kind.eq(last.kind),
            self.record.outcome.eq(outcome),
            self.record.touch.eq(touch),
            self.record.rwd.eq(last.rwd),
            self.record.tag.eq(last.tag),
            self.record.head.eq(last.head),
            self.record.block.eq(last.block),
            self.record.line.eq(last.line),
            self.record.access.eq(last.access),
            self.record.host.eq(last.host),
            self.record.retry.eq(last.retry),
            self.record.grant.eq(grant),
            self.record.value.eq(last.value),
            self.record.step.eq(self.now),
        ]
        with m.If(about_a_block):
            m.d.comb += [
                self.record.ema.eq(after.ema),
                self.record.frame.eq(op.frame),
                self.record.state_before.eq(before.state),
                self.record.flags_before.eq(flags_before),
                self.record.state_after.eq(after.state),
                self.record.flags_after.eq(flags_after),
            ]
        with m.If(last.kind.matches(SlotKind.PROMOTE, SlotKind.ALLOCATE)):
            m.d.comb += self.record.frame.eq(last.frame)
        return m

    def _filter_free(self, slot):
        """Whether a slot may issue as far as the snoop filter goes."""
        return self.covered_room | (slot.access == Access.PLAIN)

    @staticmethod
    def _choose(m, source, slot, offered, do_issue):
        """`source` is the stream of the host whose slot is offered."""
        m.d.comb += [slot.eq(source.payload), offered.eq(source.valid), source.ready.eq(do_issue)]
