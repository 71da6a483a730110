"""Taking lines back from hosts: of covered blocks that should leave, and of copies that differ from memory."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.hw.coherency.filter.row import set_number
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import FilterOp

__all__ = ["PAUSE_CLOCKS", "Recall"]

#: clocks that passes pause when one has asked nobody: operations may take their clocks from slots, all of them of those
#: that meet one bank of the filter, and what nobody answers is asked for ever
PAUSE_CLOCKS = 8192


class Recall(wiring.Component):
    """Issues RECALL operations for the sectors of a block, and SCRUB operations for all sets.

    One operation is on its way at a time, which takes 5 clocks if the filter takes it at once; where both kinds are
    wanted they take turns. After a pass that has asked nobody its kind pauses `pause_clocks`, or until an answer that
    may matter: any if there was no place for a snoop, one of the block that is recalled, one of the last set in which
    a line had to wait for the snoop of its sector. A line that becomes STALE, and `recall_all`, end a pause too. What
    would have ended a pause and came during the pass lets the next one follow at once.

    **Recall.** A pass over the block's sectors asks for the lines that one host holds of each; an operation that finds
    no place for its snoop is repeated after a pause or an answer, a sector whose snoop is outstanding passed over. For
    a block that is needed the passes go on until some block is covered no longer: whoever needed it asks again then.
    One more that is needed waits for the end of a pass; all others that come meanwhile are left out.

    **Scrub.** Once a line has become STALE, passes over all sets go on until one of them has found nothing that is to
    be taken back, and no line has become STALE since it began. With `recall_all` they go on, and are for every line.

    Members
    -------
    candidate : In(recall_candidate)
        From `VictimEngine`.
    pressure : In(1)
        The pool of the candidate's mode is full. One that is not needed is left out where it is not.
    uncovered : In(1)
        A block is covered no longer.
    stale, recall_all : In(1)
        A line has become STALE; every line is wanted back.
    ops : Out(stream of filter_op), done : In(filter_done)
        Of `SnoopFilter`; `done` may tell of operations of others.
    """

    def __init__(self, *, config, pause_clocks=PAUSE_CLOCKS):
        if pause_clocks < 1:
            raise ValueError(f"pause_clocks must be at least 1, not {pause_clocks!r}")
        self._config, self._pause_clocks = config, pause_clocks
        super().__init__(
            {
                "candidate": In(layouts.recall_candidate(config)),
                "pressure": In(1),
                "uncovered": In(1),
                "stale": In(1),
                "recall_all": In(1),
                "ops": Out(stream.Signature(layouts.filter_op(config))),
                "done": In(layouts.filter_done(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, candidate, op, done = self._config, self.candidate, self.ops.payload, self.done
        recalled, scrubbed = Signal(), Signal()

        # The block that is taken back, and the one that comes next
        block, following = Signal(layouts.recall_candidate(config)), Signal(layouts.recall_candidate(config))
        local = Signal(range(SECTORS_PER_BLOCK))
        needs = candidate.valid & candidate.needed
        recall_pauses = Signal()
        with m.If(recalled):
            m.d.sync += local.eq(local + 1)
            with m.If(local == SECTORS_PER_BLOCK - 1):
                m.d.sync += block.valid.eq(block.needed & ~following.valid)
        with m.Elif(recall_pauses & (local == 0) & (self.uncovered | following.valid)):
            # Between two passes
            m.d.sync += block.valid.eq(0)
        with m.If(self.uncovered):
            m.d.sync += [block.needed.eq(0), following.needed.eq(0)]
        with m.If(~block.valid & following.valid):
            m.d.sync += [block.eq(following), following.eq(candidate), following.valid.eq(needs)]
        with m.Elif(~block.valid & (needs | candidate.valid & self.pressure)):
            m.d.sync += block.eq(candidate)
        with m.Elif(block.valid & needs & ~following.valid):
            m.d.sync += following.eq(candidate)

        # The sets: `again`, there has been a reason for one more pass since this one began
        number = Signal(config.filter_set_bits)
        scrubs, again = Signal(), Signal()
        with m.If(scrubbed):
            not_clean = done.launched | done.full | done.busy
            m.d.sync += [number.eq(number + 1), again.eq(again | not_clean)]
            with m.If(number == config.filter_sets - 1):
                m.d.sync += [scrubs.eq(again | not_clean), again.eq(0)]
        with m.If(self.stale | self.recall_all):
            m.d.sync += [scrubs.eq(1), again.eq(1)]

        # Pauses
        answered, of_block = Signal(), Signal()
        no_place, scrubs_pause, scrub_full, scrub_busy = Signal(), Signal(), Signal(), Signal()
        busy_set = Signal.like(number)
        m.d.comb += [
            answered.eq(done.valid & (done.op.kind == FilterOp.ANSWER)),
            of_block.eq(done.op.snoop.sector[len(local) :] == Cat(block.block, block.head)),
            no_place.eq(done.valid & (done.op.kind == FilterOp.RECALL) & done.full),
        ]
        recall_full = Signal()
        with m.If(no_place | recalled):
            m.d.sync += recall_full.eq(no_place)
        recall_matters = answered & of_block
        recall_wakes = recall_matters | answered & recall_full | ~block.valid
        recall_all_before = Signal()
        m.d.sync += recall_all_before.eq(self.recall_all)
        scrub_wakes = (
            self.stale
            | self.recall_all & ~recall_all_before
            | answered & (scrub_full | scrub_busy & (set_number(config, done.op.snoop.sector) == busy_set))
        )
        for name, pauses, done_one, last, blocked, wakes, matters in (
            ("recall", recall_pauses, recalled, local == SECTORS_PER_BLOCK - 1, no_place, recall_wakes, recall_matters),
            ("scrub", scrubs_pause, scrubbed, number == config.filter_sets - 1, 0, scrub_wakes, scrub_wakes),
        ):
            left = Signal(range(self._pause_clocks + 1), name=f"{name}_pause")
            # The pass has asked somebody, or an answer that may matter came during it.
            worthwhile = Signal(name=f"{name}_worthwhile")
            goes_on = worthwhile | done_one & done.launched | matters
            m.d.comb += pauses.eq(left != 0)
            m.d.sync += worthwhile.eq(goes_on & ~(done_one & last))
            with m.If(wakes):
                m.d.sync += left.eq(0)
            with m.Elif(blocked | done_one & last & ~goes_on):
                m.d.sync += left.eq(self._pause_clocks)
            with m.Elif(pauses):
                m.d.sync += left.eq(left - 1)
        with m.If(scrubbed):
            # Why the next answer may be worth a pass, by the one that ends or has ended
            m.d.sync += [
                scrub_full.eq(done.full | scrub_full & (number != 0)),
                scrub_busy.eq(done.busy | scrub_busy & (number != 0)),
            ]
            with m.If(done.busy):
                m.d.sync += busy_set.eq(number)

        # One operation
        is_scrub, everything = Signal(), Signal()
        recall_next, scrub_next = Signal(), Signal()
        m.d.comb += [
            recalled.eq(done.valid & (done.op.kind == FilterOp.RECALL) & ~done.full),
            scrubbed.eq(done.valid & (done.op.kind == FilterOp.SCRUB)),
            recall_next.eq(block.valid & ~recall_pauses),
            scrub_next.eq(scrubs & ~scrubs_pause),
        ]
        with m.FSM():
            with m.State("CHOOSE"):
                with m.If(recall_next | scrub_next):
                    m.d.sync += [
                        is_scrub.eq(scrub_next & ~(recall_next & is_scrub)),
                        everything.eq(self.recall_all),
                    ]
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.ops.valid.eq(1)
                with m.If(is_scrub):
                    m.d.comb += [op.kind.eq(FilterOp.SCRUB), op.snoop.sector.eq(number), op.everything.eq(everything)]
                with m.Else():
                    m.d.comb += [op.kind.eq(FilterOp.RECALL), op.snoop.sector.eq(Cat(local, block.block, block.head))]
                with m.If(self.ops.ready):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(done.valid & ((done.op.kind == FilterOp.RECALL) | (done.op.kind == FilterOp.SCRUB))):
                    m.next = "CHOOSE"
        return m
