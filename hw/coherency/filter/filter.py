"""The snoop filter: which lines hosts may hold (`golden/coherency/filter.py`)."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.hw.coherency.filter.access import FilterAccess, decode
from kv_endpoint.hw.coherency.filter.bank import FilterBank
from kv_endpoint.hw.coherency.filter.lookup import FilterLookup, lookup_key, matches
from kv_endpoint.hw.coherency.filter.operation import FilterOperation, decode_op
from kv_endpoint.hw.coherency.filter.row import set_number
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.delay_line import delayed, registered
from kv_endpoint.hw.pipeline.metadata import FILTER_CLOCKS

__all__ = ["SnoopFilter"]


class SnoopFilter(wiring.Component):
    """A question of a slot each clock, answered 3 clocks later; beside it an operation each clock, in the other bank.

    The rows lie in two banks, by bit 0 of the set. Each bank takes one question or operation a clock; the question goes
    first. Everything changes in clock 3, the commit; a younger question or operation of the same set sees what the
    older ones have left. An operation gets the last place for a snoop only if no request commits in its clock.

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
        Taken when its bank has no question in that clock, and nobody on the way in clock 1 or 2 has its set; unless
        `hold`, and with `note_room`. So it may have to wait as long as there are questions, and no longer.
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
                "waits_on": Out(layouts.waits_on(config)),
                "take": In(1),
                "op": In(stream.Signature(layouts.filter_op(config))),
                "hold": In(1),
                "note_room": In(1),
                "done": Out(layouts.filter_done(config)),
                "slot_place": In(layouts.snoop_place(config)),
                "op_place": In(layouts.snoop_place(config)),
                "last_place": In(1),
                "slot_launched": Out(layouts.launched_snoop(config)),
                "op_launched": Out(layouts.launched_snoop(config)),
                "slot_covers": Out(layouts.covered_event(config)),
                "op_covers": Out(layouts.covered_event(config)),
                "stale": Out(1),
                "idle": Out(1),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.bank0, m.submodules.bank1 = self.banks
        m.submodules.lane = lane = FilterLookup(config=config)
        m.submodules.access = access = FilterAccess(config=config)
        m.submodules.operation = operation = FilterOperation(config=config)
        set_bits = config.filter_set_bits

        # Clock 0: who goes to which bank
        op, op_key = self.op.payload, Signal(lookup_key(config))
        op_keys = [op_key, *(Signal(lookup_key(config), name=f"op_key{clock}") for clock in (1, 2, 3))]
        meets, do_op = Signal(), Signal()
        m.d.comb += [
            lane.key.valid.eq(self.question.valid),
            lane.key.number.eq(set_number(config, self.question.sector)),
            lane.key.tag.eq(self.question.sector[set_bits:]),
            op_key.valid.eq(do_op),
            op_key.number.eq(set_number(config, op.snoop.sector)),
            op_key.tag.eq(op.snoop.sector[set_bits:]),
            meets.eq(
                (self.question.valid & (lane.key.number[0] == op_key.number[0]))
                | Cat(
                    key.valid & (key.number == op_key.number) for key in (lane.key1, lane.key2, op_keys[1], op_keys[2])
                ).any()
            ),
            self.op.ready.eq(self.ready & ~self.hold & self.note_room & ~meets),
            do_op.eq(self.op.valid & self.op.ready),
        ]
        with m.If(op.kind == layouts.FilterOp.SCRUB):
            m.d.comb += op_key.number.eq(op.snoop.sector)
        for number, bank in enumerate(self.banks):
            asked = self.question.valid & (lane.key.number[0] == number)
            m.d.comb += bank.number.eq(Mux(asked, lane.key.number, op_key.number)[1:])

        # Clock 1: the rows
        for number, bank in enumerate(self.banks):
            m.d.comb += [lane.rows[number].eq(bank.row), lane.written[number].eq(bank.written)]
        op_row = Signal(self.banks[0].row.shape())
        m.d.sync += [
            *(after.eq(before) for before, after in pairwise(op_keys)),
            Value.cast(op_row).eq(Mux(op_keys[1].number[0], *(Value.cast(bank.row) for bank in reversed(self.banks)))),
        ]
        m.d.comb += [
            lane.op2.eq(op_keys[2]),
            lane.op3.eq(op_keys[3]),
            lane.after.eq(access.after),
            lane.op_after.eq(operation.after),
            self.idle.eq(~Cat(key.valid for key in (lane.key1, lane.key2, lane.key3, *op_keys[1:])).any()),
            self.ready.eq(self.banks[0].ready & self.banks[1].ready),
        ]

        # Clock 2: the operation. Nothing has committed to its set since it was read.
        op1 = registered(m, op, "op1")
        order = registered(m, decode_op(m, config, op_keys[1].valid, op1), "order")
        m.d.comb += [
            operation.order.eq(order),
            operation.number.eq(op_keys[2].number),
            operation.row.eq(op_row),
            operation.match.eq(matches(op_row, op_keys[2].tag)),
        ]

        # Clock 3
        question = delayed(m, self.question, FILTER_CLOCKS - 1, "question")
        demand = registered(m, decode(m, config, question), "demand")
        m.d.comb += [
            access.demand.eq(demand),
            access.number.eq(lane.key3.number),
            access.row.eq(lane.row),
            access.match.eq(lane.match),
            access.place.eq(self.slot_place),
            access.take.eq(self.take),
            self.verdict.eq(access.verdict),
            self.waits_on.eq(access.waits_on),
            self.slot_launched.eq(access.launched),
            self.slot_covers.eq(access.covers),
            self.stale.eq(access.stale),
            operation.place.tag.eq(self.op_place.tag),
            # What the slot makes of the last place comes too late to wait for.
            operation.place.free.eq(self.op_place.free & ~(self.last_place & demand.reads)),
            self.op_launched.eq(operation.launched),
            self.op_covers.eq(operation.covers),
            self.done.valid.eq(op_keys[3].valid),
            self.done.op.eq(delayed(m, op1, FILTER_CLOCKS - 1, "op1")),
            self.done.launched.eq(operation.launched.valid),
            self.done.full.eq(operation.full),
            self.done.busy.eq(operation.busy),
        ]
        for number, bank in enumerate(self.banks):
            of_slot, of_op = (key.valid & (key.number[0] == number) for key in (lane.key3, op_keys[3]))
            m.d.comb += [
                bank.write.valid.eq(of_slot | of_op),
                bank.write.number.eq(Mux(of_slot, lane.key3.number, op_keys[3].number)[1:]),
                Value.cast(bank.write.row).eq(
                    Mux(of_slot, Value.cast(access.after), 0) | Mux(of_op, Value.cast(operation.after), 0)
                ),
            ]
        return m
