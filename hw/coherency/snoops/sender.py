"""Sending snoops: which one leaves next, its note, and its BISnp."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK
from kv_endpoint.golden.common.messages import ADDRESS_BITS, FIELDS, BISnpOpcode
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.arbiter import Arbiter

__all__ = ["BI_TAG_BITS", "BLOCK_FORM", "SnoopSender"]

#: width of a BITag in a message
BI_TAG_BITS = dict(FIELDS["bisnp"])["bi_tag"]
#: added to the opcode of a single BISnp or BIRsp for its block form
BLOCK_FORM = BISnpOpcode.CUR_BLK - BISnpOpcode.CUR
_LINE_BITS = (SECTOR_LINES - 1).bit_length()


def _sector_layout(config):
    """Parts of a sector's number (`Config.split_sector`)."""
    local_bits = (SECTORS_PER_BLOCK - 1).bit_length()
    return layouts.layout((("sector", local_bits), ("block", config.block_bits), ("head", config.head_bits)))


class SnoopSender(wiring.Component):
    """Sends launched snoops, each once no granted request of its sector has its NDR still to come.

    One that has to wait goes to the end of a queue of its own, which takes turns with the queues of new ones, so it
    keeps no other from leaving. A BISnp every 2 clocks.
    ```
    clock  0         1                 2                      3                    4
           launched  chosen, row read  region, may it leave?  note, address added  BISnp
    ```

    Members
    -------
    launched : In(array of 2 {valid, tag})
        Places in which snoops begin.
    look : Out({valid, tag}), snoop : In(snoop)
        Reads the table: the snoop of place `tag`, from the clock after `valid` until the next.
    pending_sector : Out, pending : In(1)
        Whether a granted request of a sector is in flight, in the same clock.
    regions : In(array of regions)
        The base of a region whose lines may be cached is a multiple of a sector's size.
    in_flight, in_flight_cap : In
        Snoops sent and unanswered; one leaves while they are fewer than the cap.
    notes : Out(stream of engine_note), bisnp : Out(stream)
        BI_SNOOP, then the message.
    sent : Out(1)
        The note is taken: the snoop counts as sent.
    left : Out({valid, tag})
        The message is taken: it can be answered.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "launched": In(data.ArrayLayout(layouts.place_strobe(config), 2)),
                "look": Out(layouts.place_strobe(config)),
                "snoop": In(layouts.snoop_layout(config)),
                "pending_sector": Out(config.sector_bits),
                "pending": In(1),
                "regions": In(data.ArrayLayout(layouts.region_layout(config), config.regions)),
                "in_flight": In(range(config.snoops + 1)),
                "in_flight_cap": In(13),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "bisnp": Out(stream.Signature(layouts.message("bisnp"))),
                "sent": Out(1),
                "left": Out(layouts.place_strobe(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        tag_bits = layouts.snoop_tag_bits(config)

        # Chosen: a place is in one queue, or in none, so each has room for all.
        checks, check_tag = Signal(), Signal(tag_bits)
        stays, waits = Signal(), Signal()
        waiting = Signal(layouts.place_strobe(config))
        m.submodules.turns = turns = Arbiter(tag_bits, count=3)
        queues = ("from_slots", "from_ops", "again")
        for name, source, pushed in zip(queues, turns.sources, (*self.launched, waiting), strict=True):
            m.submodules[name] = queue = fifo.SyncFIFO(width=tag_bits, depth=config.snoops)
            m.d.comb += [
                queue.w_en.eq(pushed.valid),
                queue.w_data.eq(pushed.tag),
                source.valid.eq(queue.r_rdy),
                source.payload.eq(queue.r_data),
                queue.r_en.eq(source.ready),
            ]
        m.d.comb += [
            turns.output.ready.eq(~stays),
            self.look.valid.eq(turns.output.valid & ~stays),
            self.look.tag.eq(turns.output.payload),
            waiting.valid.eq(waits),
            waiting.tag.eq(check_tag),
        ]
        with m.If(~stays):
            m.d.sync += [checks.eq(turns.output.valid), check_tag.eq(turns.output.payload)]

        # May it leave?
        where = data.View(_sector_layout(config), self.snoop.sector)
        noted = data.StructLayout(
            {
                "tag": tag_bits,
                "snoop": layouts.snoop_layout(config),
                "local_head": config.head_bits,
                "base": ADDRESS_BITS - _LINE_BITS,
            }
        )
        notes, goes = Signal(), Signal()
        held = Signal(noted)
        m.d.comb += [
            self.pending_sector.eq(self.snoop.sector),
            goes.eq(
                checks
                & ~self.pending
                & (~notes | self.sent)
                # The one whose note waits will count.
                & (self.in_flight + notes < self.in_flight_cap)
            ),
            waits.eq(checks & self.pending),
            # One that only waits for those before it keeps its turn.
            stays.eq(checks & ~self.pending & ~goes),
        ]
        with m.If(goes):
            m.d.sync += [notes.eq(1), held.tag.eq(check_tag), held.snoop.eq(self.snoop)]
        with m.Elif(self.sent):
            m.d.sync += notes.eq(0)
        for region in self.regions:
            local_head = Signal(config.head_bits + 1)
            m.d.comb += local_head.eq(where.head - region.first_head)
            with m.If(goes & region.enabled & (local_head < region.heads)):
                m.d.sync += [held.local_head.eq(local_head), held.base.eq(region.base[_LINE_BITS:])]

        # Note and message
        where = data.View(_sector_layout(config), held.snoop.sector)
        lines = held.snoop.lines
        single = Signal()
        opcode = Signal(4)
        note, message = self.notes.payload, self.bisnp.payload
        m.d.comb += [
            single.eq((lines & (lines - 1)[: len(lines)]) == 0),
            opcode.eq(held.snoop.kind + Mux(single, 0, BLOCK_FORM)),
            self.notes.valid.eq(notes & ~self.bisnp.valid),
            self.sent.eq(self.notes.valid & self.notes.ready),
            note.kind.eq(EngineKind.BI_SNOOP),
            note.head.eq(where.head),
            note.block.eq(where.block),
            note.key.eq(where.sector),
            note.aux.eq(Cat(held.tag, Const(0, BI_TAG_BITS - tag_bits), lines, opcode, held.snoop.host)),
            self.left.valid.eq(self.bisnp.valid & self.bisnp.ready),
            self.left.tag.eq(message.bi_tag),
        ]
        with m.If(self.sent):
            m.d.sync += [
                self.bisnp.valid.eq(1),
                message.opcode.eq(opcode),
                message.bi_id.eq(held.snoop.host),
                message.bi_tag.eq(held.tag),
                # A region's sectors lie in its memory as their numbers count from its first head.
                message.address[_LINE_BITS:].eq(held.base + Cat(where.sector, where.block, held.local_head)),
                message.address[:_LINE_BITS].eq(
                    Mux(single, Cat(lines[1] | lines[3], lines[2:].any()), Cat(lines[:2].any(), lines[2:].any()))
                ),
            ]
        with m.Elif(self.left.valid):
            m.d.sync += self.bisnp.valid.eq(0)
        return m
