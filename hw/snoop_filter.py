"""The snoop filter: which lines hosts may hold (`golden/snoop_filter.py`)."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.delay import delayed, registered
from hw.filter_access import FilterAccess, decode
from hw.filter_bank import FilterBank
from hw.filter_lane import FilterLane
from hw.filter_operation import FilterOperation
from hw.filter_row import covers_layout, set_number
from hw.held_requests import waits_on_layout
from hw.metadata import FILTER_CLOCKS
from hw.snoop_table import done_layout, launched_layout, place_layout

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
                "waits_on": Out(waits_on_layout(config)),
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
        m.submodules.bank0, m.submodules.bank1 = self.banks
        m.submodules.slot_lane = slot_lane = FilterLane(config=config)
        m.submodules.op_lane = op_lane = FilterLane(config=config)
        m.submodules.access = access = FilterAccess(config=config)
        m.submodules.operation = operation = FilterOperation(config=config)
        lanes = (slot_lane, op_lane)
        set_bits = config.filter_set_bits

        # Clock 0: who goes to which bank
        slot_set, op_set = Signal(set_bits), Signal(set_bits)
        op = self.op.payload
        m.d.comb += [
            slot_set.eq(set_number(config, self.question.sector)),
            op_set.eq(set_number(config, op.snoop.sector)),
            self.op.ready.eq(
                self.ready & ~self.hold & self.note_room & ~(self.question.valid & (slot_set[0] == op_set[0]))
            ),
            slot_lane.key.valid.eq(self.question.valid),
            slot_lane.key.number.eq(slot_set),
            slot_lane.key.tag.eq(self.question.sector[set_bits:]),
            op_lane.key.valid.eq(self.op.valid & self.op.ready),
            op_lane.key.number.eq(op_set),
            op_lane.key.tag.eq(op.snoop.sector[set_bits:]),
        ]
        with m.If(op.kind == layouts.FilterOp.SCRUB):
            m.d.comb += op_set.eq(op.snoop.sector)
        for number, bank in enumerate(self.banks):
            asked = self.question.valid & (slot_set[0] == number)
            m.d.comb += bank.number.eq(Mux(asked, slot_set, op_set)[1:])

        # Clocks 1 to 3: the rows, from RAM or from the commits just ahead
        for lane in lanes:
            m.d.comb += [
                lane.rows[0].eq(self.banks[0].row),
                lane.rows[1].eq(self.banks[1].row),
                *(ahead.eq(each.key2) for ahead, each in zip(lane.ahead, lanes, strict=True)),
                lane.after[0].eq(access.after),
                lane.after[1].eq(operation.after),
            ]
        m.d.comb += [
            self.idle.eq(~(slot_lane.busy | op_lane.busy)),
            self.ready.eq(self.banks[0].ready & self.banks[1].ready),
        ]

        # Clock 3
        question = delayed(m, self.question, FILTER_CLOCKS - 1, "question")
        demand = registered(m, decode(m, config, question), "demand")
        done = delayed(m, op, FILTER_CLOCKS, "op")
        m.d.comb += [
            access.demand.eq(demand),
            access.number.eq(slot_lane.key3.number),
            access.row.eq(slot_lane.row),
            access.match.eq(slot_lane.match),
            access.place.eq(self.slot_place),
            access.take.eq(self.take),
            self.verdict.eq(access.verdict),
            self.waits_on.eq(access.waits_on),
            self.slot_launched.eq(access.launched),
            self.slot_covers.eq(access.covers),
            self.stale.eq(access.stale),
            operation.valid.eq(op_lane.key3.valid),
            operation.op.eq(done),
            operation.number.eq(op_lane.key3.number),
            operation.row.eq(op_lane.row),
            operation.match.eq(op_lane.match),
            operation.place.tag.eq(self.op_place.tag),
            # What the slot makes of the last place comes too late to wait for.
            operation.place.free.eq(self.op_place.free & ~(self.last_place & demand.reads)),
            self.op_launched.eq(operation.launched),
            self.op_covers.eq(operation.covers),
            self.done.valid.eq(op_lane.key3.valid),
            self.done.op.eq(done),
            self.done.launched.eq(operation.launched.valid),
            self.done.full.eq(operation.full),
        ]
        for number, bank in enumerate(self.banks):
            writes = [lane.key3.valid & (lane.key3.number[0] == number) for lane in lanes]
            rows = [Value.cast(access.after), Value.cast(operation.after)]
            m.d.comb += [
                bank.write.valid.eq(writes[0] | writes[1]),
                bank.write.number.eq(Mux(writes[0], *(lane.key3.number for lane in lanes))[1:]),
                bank.write.row.eq(Mux(writes[0], rows[0], 0) | Mux(writes[1], rows[1], 0)),
            ]
        return m
