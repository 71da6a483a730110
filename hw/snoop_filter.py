"""The snoop filter: which lines hosts may hold (`golden/snoop_filter.py`)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.filter_bank import FilterBank
from hw.filter_row import (
    RowAccess,
    RowOperation,
    covers_layout,
    done_layout,
    launched_layout,
    place_layout,
    row_layout,
    set_number,
    waits_layout,
)

__all__ = ["SnoopFilter"]


class SnoopFilter(wiring.Component):
    """A question of a slot each clock, answered 3 clocks later; beside it an operation each clock, in the other bank.

    The rows lie in two banks, by bit 0 of the set. Each bank takes one question or operation a clock; the question goes
    first. Everything changes in clock 3, the commit; what a younger question or operation of the same set sees is what
    the older ones have left.

    Members
    -------
    question : In(layouts.filter_question)
        Clock 0; never refused. None before `ready`.
    verdict, waits_on : Out
        Clock 3. They mean something if there was a question, `waits_on` if it is held: to be tried again at once
        (`none`), after the end of `any` snoop, or after that of the snoop in place `tag`.
    take : In(1)
        Clock 3, may depend on `verdict`: it takes effect.
    op : In(stream of layouts.filter_op)
        Taken when its bank has no question in that clock, unless `hold`, and with `note_room`.
    hold, note_room : In(1)
        No operation is taken; the notes of all on their way, and of one more, fit.
    done : Out
        Clock 3 of an operation.
    slot_place, op_place, last_place : In
        Places of the snoop table: for a slot, for an operation, and whether both are the same one.
    slot_launched, op_launched : Out
        Clock 3: a snoop begins, in `slot_place` or `op_place`.
    slot_covers, op_covers : Out
        Clock 3: a sector of block `index` comes into use (`up`) or goes out of it.
    stale : Out(1)
        A line becomes STALE in this clock.
    idle : Out(1)
        No question or operation of an earlier clock is on its way.
    ready : Out(1)
        The rows are cleared, `filter_sets` / 2 clocks after reset.

    Attribute `banks` holds the two banks, for those who simulate the block.
    """

    def __init__(self, *, config):
        self._config = config
        self.banks = tuple(FilterBank(config=config) for _ in range(2))
        super().__init__(
            {
                "question": In(layouts.filter_question(config)),
                "verdict": Out(layouts.filter_verdict()),
                "waits_on": Out(waits_layout(config)),
                "take": In(1),
                "op": In(stream.Signature(layouts.filter_op(config))),
                "hold": In(1),
                "note_room": In(1),
                "done": Out(done_layout(config)),
                "slot_place": In(place_layout(config)),
                "op_place": In(place_layout(config)),
                "last_place": In(1),
                "slot_launched": Out(launched_layout(config)),
                "op_launched": Out(launched_layout(config)),
                "slot_covers": Out(covers_layout(config)),
                "op_covers": Out(covers_layout(config)),
                "stale": Out(1),
                "idle": Out(1),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.bank0, m.submodules.bank1 = bank0, bank1 = self.banks
        m.submodules.access = access = RowAccess(config=config)
        m.submodules.operation = operation = RowOperation(config=config)
        set_bits = config.filter_set_bits

        # Clock 0
        slot_set, op_set = Signal(set_bits), Signal(set_bits)
        do_op = Signal()
        op = self.op.payload
        m.d.comb += [
            slot_set.eq(set_number(config, self.question.sector)),
            op_set.eq(
                Mux(
                    op.kind == layouts.FilterOp.SCRUB,
                    op.snoop.sector[:set_bits],
                    set_number(config, op.snoop.sector),
                )
            ),
            self.op.ready.eq(
                self.ready & ~self.hold & self.note_room & ~(self.question.valid & (slot_set[0] == op_set[0]))
            ),
            do_op.eq(self.op.valid & self.op.ready),
        ]
        for number, bank in enumerate(self.banks):
            asked = self.question.valid & (slot_set[0] == number)
            m.d.comb += [
                bank.key.number.eq(Mux(asked, slot_set, op_set)[1:]),
                bank.key.tag.eq(Mux(asked, self.question.sector, op.snoop.sector)[set_bits:]),
            ]

        # Clocks 1 to 3
        questions = [self.question, *(Signal.like(self.question, name=f"question{clock}") for clock in (1, 2, 3))]
        slot_sets = [slot_set, *(Signal(set_bits, name=f"slot_set{clock}") for clock in (1, 2, 3))]
        ops = [op, *(Signal.like(op, name=f"op{clock}") for clock in (1, 2, 3))]
        op_sets = [op_set, *(Signal(set_bits, name=f"op_set{clock}") for clock in (1, 2, 3))]
        has_op = [do_op, *(Signal(name=f"has_op{clock}") for clock in (1, 2, 3))]
        on_the_way = 0
        for clock in range(3):
            m.d.sync += [
                questions[clock + 1].eq(questions[clock]),
                slot_sets[clock + 1].eq(slot_sets[clock]),
                ops[clock + 1].eq(ops[clock]),
                op_sets[clock + 1].eq(op_sets[clock]),
                has_op[clock + 1].eq(has_op[clock]),
            ]
            on_the_way |= questions[clock + 1].valid | has_op[clock + 1]
        m.d.comb += [self.idle.eq(~on_the_way), self.ready.eq(bank0.ready & bank1.ready)]

        # Clock 2: each bank has one row, of the slot or of the operation
        for part, bank_bit in ((access, slot_sets[2][0]), (operation, op_sets[2][0])):
            row, match = Signal(row_layout(config)), Signal(config.filter_ways)
            m.d.sync += [
                row.eq(Mux(bank_bit, bank1.row, bank0.row)),
                match.eq(Mux(bank_bit, bank1.match, bank0.match)),
            ]
            m.d.comb += [part.row.eq(row), part.match.eq(match)]

        # Clock 3
        m.d.comb += [
            access.question.eq(questions[3]),
            access.number.eq(slot_sets[3]),
            access.place.eq(self.slot_place),
            access.take.eq(self.take),
            self.verdict.eq(access.verdict),
            self.waits_on.eq(access.waits_on),
            self.slot_launched.eq(access.launched),
            self.slot_covers.eq(access.covers),
            self.stale.eq(access.stale),
            operation.valid.eq(has_op[3]),
            operation.op.eq(ops[3]),
            operation.number.eq(op_sets[3]),
            operation.place.tag.eq(self.op_place.tag),
            operation.place.free.eq(self.op_place.free & ~(self.last_place & access.launched.valid)),
            self.op_launched.eq(operation.launched),
            self.op_covers.eq(operation.covers),
            self.done.valid.eq(has_op[3]),
            self.done.op.eq(ops[3]),
            self.done.launched.eq(operation.launched.valid),
            self.done.full.eq(operation.full),
        ]
        for number, bank in enumerate(self.banks):
            of_slot, of_op = questions[3].valid & (slot_sets[3][0] == number), has_op[3] & (op_sets[3][0] == number)
            m.d.comb += [
                bank.commit.valid.eq(of_slot | of_op),
                bank.commit.number.eq(Mux(of_slot, slot_sets[3], op_sets[3])[1:]),
                bank.commit.row.eq(Mux(of_slot, access.after, operation.after)),
            ]
        return m
