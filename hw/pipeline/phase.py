"""Prefill or decode, from the commits of reads and writes (`golden/pipeline/phase.py`)."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from kv_endpoint.golden.common.policy import policy_fields
from kv_endpoint.golden.events.port import EngineKind, Phase
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.pipeline.phase import BURST_BLOCKS, COUNT_MAX
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.arbiter import Arbiter
from kv_endpoint.hw.lib.delay_line import delayed, registered

__all__ = ["PhaseDetector"]

#: clocks from a commit to the phase that it lets the detector sense
_LATENCY = 4
_WINDOW_BITS = 14
_RATIO_BITS = dict(policy_fields())["phase_ratio"]


class PhaseDetector(wiring.Component):
    """Says of each region whether it is in prefill, one commit a clock.

    A change is offered at `notes` 5 clocks after the commit that ends the window, and takes effect in the clock in
    which it is accepted, however late that is: commits of this clock and before it still belong to the phase before.

    Members
    -------
    commit : In(layouts.commit)
        What the metadata pipeline commits in this clock.
    now, policy, regions : In
        Change only while the pipeline is held: `now` at least 3, the others 4 clocks after the last commit.
    notes : Out(stream)
        PHASE.
    prefill : Out(regions)
        Bit r: region r is in prefill.
    decode : Out(1)
        One clock after a commit: its head's region was in decode. 0 for a head of no region.
    all_prefill : Out(1)
        Every enabled region is in prefill, and there is one; a clock after `prefill` and `regions`.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "regions": In(data.ArrayLayout(layouts.region_layout(config), config.regions)),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "prefill": Out(config.regions),
                "decode": Out(1),
                "all_prefill": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.arbiter = arbiter = Arbiter(layouts.engine_note(config), count=config.regions)
        connect(m, arbiter.output, flipped(self.notes))

        slot = self.commit.slot
        # A request that is held is counted when it is let go.
        held = self.commit.outcome.matches(*(outcome for outcome in Outcome if outcome.held))
        demand = self.commit.valid & ((slot.kind == SlotKind.READ) | (slot.kind == SlotKind.WRITE)) & ~held
        index = Signal(config.index_bits)
        write = Signal()
        m.d.sync += [index.eq(Cat(slot.block, slot.head)), write.eq(slot.kind == SlotKind.WRITE)]
        stepped = self.now != registered(m, self.now, "now_before")

        holds_head = Signal(config.regions)
        enabled = Cat(region.enabled for region in self.regions)
        for number, region in enumerate(self.regions):
            detector = _RegionDetector(config=config, number=number)
            m.submodules[f"region_{number}"] = detector
            local = Signal(config.head_bits + 1, name=f"local_{number}")
            # A head below the region's first is a large number.
            m.d.comb += [
                local.eq(slot.head - region.first_head),
                holds_head[number].eq(region.enabled & ~local[-1] & (local < region.heads)),
            ]
            m.d.sync += detector.access.eq(demand & holds_head[number])
            m.d.comb += [
                detector.write.eq(write),
                detector.index.eq(index),
                detector.stepped.eq(stepped),
                detector.policy.eq(self.policy),
                self.prefill[number].eq(detector.prefill),
            ]
            connect(m, detector.notes, arbiter.sources[number])
        m.d.sync += [
            self.decode.eq((holds_head & ~self.prefill).any()),
            self.all_prefill.eq(enabled.any() & ~(enabled & ~self.prefill).any()),
        ]
        return m


class _RegionDetector(wiring.Component):
    """The detector of region `number`.

    Members
    -------
    access, write, index : In
        A READ or, with `write`, WRITE slot of block `index` of the region has committed, the clock before.
    stepped : In(1)
        The step counter has moved; at least a clock before an access of the new step.
    policy : In
    notes : Out(stream), prefill : Out(1)
    """

    def __init__(self, *, config, number):
        self._config, self._number = config, number
        super().__init__(
            {
                "access": In(1),
                "write": In(1),
                "index": In(config.index_bits),
                "stepped": In(1),
                "policy": In(layouts.policy_layout()),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "prefill": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        access, is_write, begins, burst = self._count_lines(m)
        sign = self._sign(m, access=access, write=is_write, begins=begins, burst=burst)
        sensed = self._sense(m, access=access, write=is_write, sign=sign)
        self._change(m, sensed)
        return m

    def _count_lines(self, m):
        """The burst of a write: two clocks, which the other signs of the access are delayed by as well.

        First the block's place among the newest of the step, of which the oldest makes room; then its count.
        """
        blocks = Array(Signal(self._config.index_bits, name=f"block_{i}") for i in range(BURST_BLOCKS))
        present = Signal(BURST_BLOCKS)
        oldest = Signal(range(BURST_BLOCKS))
        new_step = Signal()
        match = Signal(BURST_BLOCKS)
        is_new = Signal()
        begins = self.access & new_step
        m.d.comb += [
            match.eq(Cat(block == self.index for block in blocks) & present & ~new_step.replicate(BURST_BLOCKS)),
            is_new.eq(self.access & self.write & ~match.any()),
        ]
        m.d.sync += new_step.eq(self.stepped | (new_step & ~self.access))
        place = Signal(BURST_BLOCKS)
        with m.If(begins):
            m.d.sync += present.eq(is_new << oldest)
        with m.Elif(is_new):
            m.d.sync += present.eq(present | 1 << oldest)
        with m.If(is_new):
            m.d.sync += [blocks[oldest].eq(self.index), oldest.eq(oldest + 1)]
        m.d.sync += place.eq(Mux(is_new, 1 << oldest, match))

        access, write = registered(m, self.access, "counted_access"), registered(m, self.write, "counted_write")
        fresh = registered(m, is_new, "fresh")
        counts = [Signal(range(COUNT_MAX + 1), name=f"lines_{i}") for i in range(BURST_BLOCKS)]
        before, after, missing = (Signal.like(counts[0], name=name) for name in ("before", "after", "missing"))
        chosen_counts = [Mux(chosen & ~fresh, count, 0) for chosen, count in zip(place, counts, strict=True)]
        m.d.comb += [before.eq(reduce(or_, chosen_counts)), after.eq(before + (before != COUNT_MAX))]
        for chosen, count in zip(place, counts, strict=True):
            with m.If(chosen & access & write):
                m.d.sync += count.eq(after)
        m.d.sync += missing.eq(self.policy.phase_burst_lines - 1)
        burst = registered(m, access & write & (before >= missing), "burst")
        return (
            registered(m, access, "access_2"),
            registered(m, write, "write_2"),
            delayed(m, begins, 2, "begins"),
            burst,
        )

    def _sign(self, m, *, access, write, begins, burst):
        """The newest sign of the burst test, the present access included."""
        shape = data.StructLayout({"known": 1, "prefill": 1})
        kept, sign = Signal(shape), Signal(shape)
        written, any_burst = Signal(), Signal()
        m.d.comb += sign.eq(kept)
        with m.If(begins & written & ~any_burst):
            m.d.comb += [sign.known.eq(1), sign.prefill.eq(0)]
        with m.If(burst):
            m.d.comb += [sign.known.eq(1), sign.prefill.eq(1)]
        m.d.sync += [
            kept.eq(sign),
            written.eq((access & write) | (written & ~begins)),
            any_burst.eq(burst | (any_burst & ~begins)),
        ]
        return sign

    def _sense(self, m, *, access, write, sign):
        """Whether the newest window says prefill: a clock after the access that ends the window."""
        policy = self.policy
        accesses, reads = Signal(_WINDOW_BITS), Signal(_WINDOW_BITS)
        # The sum of the ratio over the window's writes, so that nothing is multiplied.
        weight = Signal(_WINDOW_BITS + _RATIO_BITS)
        last_access = Signal(_WINDOW_BITS)
        # With the present access; what starts the next window is 0.
        new_reads, new_weight = Signal(_WINDOW_BITS + 1), Signal.like(weight)
        ends = Signal()
        m.d.sync += last_access.eq((1 << policy.phase_window) - 1)
        m.d.comb += [
            new_reads.eq(reads + ~write),
            new_weight.eq(weight + Mux(write, policy.phase_ratio, 0)),
            # At least: the window may have become smaller meanwhile.
            ends.eq(access & (accesses >= last_access)),
        ]
        with m.If(access):
            m.d.sync += [accesses.eq(accesses + 1), reads.eq(new_reads), weight.eq(new_weight)]
        with m.If(ends):
            m.d.sync += [accesses.eq(0), reads.eq(0), weight.eq(0)]

        ended = registered(m, ends, "ended")
        all_reads, all_weight = registered(m, new_reads, "all_reads"), registered(m, new_weight, "all_weight")
        by_sign = registered(m, policy.phase_burst & sign.known, "by_sign")
        newest_sign = registered(m, sign.prefill, "newest_sign")
        sensed, kept = Signal(), Signal()
        m.d.comb += sensed.eq(kept)
        with m.If(ended):
            with m.If(by_sign):
                m.d.comb += sensed.eq(newest_sign)
            with m.Elif(kept):
                m.d.comb += sensed.eq(all_reads < all_weight)
            with m.Else():
                m.d.comb += sensed.eq((all_reads << 1) < all_weight)
        m.d.sync += kept.eq(sensed)
        return sensed

    def _change(self, m, sensed):
        """The phase follows the sensed one by notes.

        A note that was accepted meets the commits of its clock where what they show is sensed.
        """
        note = self.notes.payload
        accepted = [Signal(name=f"accepted_{clock}") for clock in range(_LATENCY)]
        owed = Signal()
        take = self.notes.valid & self.notes.ready
        m.d.sync += Cat(accepted).eq(Cat(take, *accepted[:-1]))
        with m.If(~owed | accepted[-1]):
            m.d.sync += owed.eq(sensed != self.prefill)
        m.d.comb += [
            self.notes.valid.eq(owed & ~Cat(accepted).any()),
            note.kind.eq(EngineKind.PHASE),
            note.key.eq(self._number),
            note.aux.eq(Mux(self.prefill, Phase.DECODE, Phase.PREFILL)),
        ]
        with m.If(take):
            m.d.sync += self.prefill.eq(~self.prefill)
