"""Taking lines back from hosts: of covered blocks that should leave, and of copies that differ from memory."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.coherency import SECTORS_PER_BLOCK
from hw import layouts
from hw.layouts import FilterOp
from hw.snoop_table import done_layout

__all__ = ["Recall", "recall_candidate"]


def recall_candidate(config):
    """A block that would leave were it not covered; `needed`: a request found none that may leave."""
    return layouts.layout((("valid", 1), ("needed", 1), ("head", config.head_bits), ("block", config.block_bits)))


class Recall(wiring.Component):
    """Issues RECALL operations for the sectors of a block, and SCRUB operations for all sets.

    One operation is on its way at a time, which takes 5 clocks if the filter takes it at once; where both kinds are
    wanted they take turns.

    **Recall.** A pass over the block's sectors asks for the lines that one host holds of each; an operation that finds
    no place for its snoop is repeated, a sector whose snoop is outstanding passed over. For a block that is needed the
    passes go on until some block is covered no longer: whoever needed it asks again then. One more that is needed waits
    for the end of a pass; all others that come meanwhile are left out.

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
    ops : Out(stream of filter_op), done : In(done_layout)
        Of `SnoopFilter`; `done` may tell of operations of others.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "candidate": In(recall_candidate(config)),
                "pressure": In(1),
                "uncovered": In(1),
                "stale": In(1),
                "recall_all": In(1),
                "ops": Out(stream.Signature(layouts.filter_op(config))),
                "done": In(done_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, candidate, op, done = self._config, self.candidate, self.ops.payload, self.done
        recalled, scrubbed = Signal(), Signal()

        # The block that is taken back, and the one that comes next
        block, following = Signal(recall_candidate(config)), Signal(recall_candidate(config))
        local = Signal(range(SECTORS_PER_BLOCK))
        needs = candidate.valid & candidate.needed
        with m.If(recalled):
            m.d.sync += local.eq(local + 1)
            with m.If(local == SECTORS_PER_BLOCK - 1):
                m.d.sync += block.valid.eq(block.needed & ~following.valid)
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

        # One operation
        is_scrub, everything = Signal(), Signal()
        m.d.comb += [
            recalled.eq(done.valid & (done.op.kind == FilterOp.RECALL) & ~done.full),
            scrubbed.eq(done.valid & (done.op.kind == FilterOp.SCRUB)),
        ]
        with m.FSM():
            with m.State("CHOOSE"):
                with m.If(block.valid | scrubs):
                    m.d.sync += [
                        is_scrub.eq(scrubs & ~(block.valid & is_scrub)),
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
