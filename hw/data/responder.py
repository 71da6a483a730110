"""The end of every data operation: its response, its line's new sidecar bits, its slot free again."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.messages import DRSOpcode, MetaField, NDROpcode
from kv_endpoint.golden.data.mxint8 import POISONED
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import place
from kv_endpoint.hw.data.line_memory import read_end, write_end
from kv_endpoint.hw.data.mxint8.line_layouts import SCALE_BITS
from kv_endpoint.hw.data.mxint8.lines import NAN_LINE
from kv_endpoint.hw.data.sidecar.cache import sidecar_update
from kv_endpoint.hw.front.request_slots import identity, numbered

__all__ = ["Responder", "datapath_errors", "direct_op", "issued_op", "finished_op"]

#: responses that wait for the host in each of NDR and DRS
FIFO_DEPTH = 8


def datapath_errors():
    """One-clock notes of AXI errors: at most one of each kind a clock."""
    return layouts.layout((("axi_read", 1), ("axi_write", 1)))


def direct_op(config):
    """An operation that needs no memory; `poisoned` counts for ZEROS, and so does `nan`: NaNs instead of zeros."""
    return layouts.layout((
        ("kind", 3), ("rwd", 1), ("id", layouts.id_bits(config)), ("epoch", 1), ("poisoned", 1), ("nan", 1),
        ("grant", 2),
    ))  # fmt: skip


def issued_op(config):
    """A read or write that goes to memory in a clock with `valid`.

    Mode exact: `written`: the line was before. `poisoned`: for a read, the line is; for a write, it will be.
    """
    return layouts.layout((
        ("valid", 1), ("id", layouts.id_bits(config)), ("place", place(config)), ("epoch", 1), ("written", 1),
        ("poisoned", 1), ("grant", 2),
    ))  # fmt: skip


def finished_op(config):
    """An operation whose response is queued, in a clock with `valid`; its sidecar bits show 1 clock later."""
    return layouts.layout((("valid", 1), ("rwd", 1), ("id", layouts.id_bits(config)), ("epoch", 1)))


class Responder(wiring.Component):
    """Takes one finished operation a clock: writes and reads in turn as memory answers, else one without memory.

    The last may wait for the others; they cannot starve it, since nothing more is issued once the queue of `direct` is
    full. 2 clocks from an answer to `ndr` and `drs`, which each queue 8 responses; answers are not taken without room.

    Members
    -------
    read_issued, write_issued : what to remember until memory answers, by number of the slot.
    returned, confirmed, direct : the operations to finish; answers for sidecar rows pass here too, so that there is
        one a clock altogether, and take effect in the clock in which they are taken.
    sidecar_ready : the sidecar cache can take a fetched line.
    update : the line's new bits, 1 clock after `confirmed`.
    finished : every operation, 2 clocks after it was taken.
    Others: as `Datapath`.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "read_issued": In(issued_op(config)),
            "write_issued": In(issued_op(config)),
            "returned": In(stream.Signature(read_end(config))),
            "confirmed": In(stream.Signature(write_end(config))),
            "direct": In(stream.Signature(direct_op(config))),
            "sidecar_ready": In(1),
            "read_lookup": Out(numbered(config, "enable")),
            "read_found": In(identity()),
            "write_lookup": Out(numbered(config, "enable")),
            "write_found": In(identity()),
            "dev_load": In(2),
            "ndr": Out(stream.Signature(layouts.message("ndr"))),
            "drs": Out(stream.Signature(layouts.message("drs"))),
            "update": Out(sidecar_update(config)),
            "finished": Out(finished_op(config)),
            "errors": Out(datapath_errors()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        answer_shape = data.StructLayout({
            "valid": 1, "ndr": 1, "drs": 1, "sidecar": 1, "read": 1, "write": 1, "failed": 1, "rwd": 1,
            "id": layouts.id_bits(config), "kind": 3, "poisoned": 1, "epoch": 1, "nan": 1,
            "grant": 2, "joined": 1, "read_failed": 1, "scale": SCALE_BITS,
        })  # fmt: skip
        m.submodules.ndr_fifo = ndr_fifo = SyncFIFO(width=layouts.message("ndr").size, depth=FIFO_DEPTH)
        m.submodules.drs_fifo = drs_fifo = SyncFIFO(width=layouts.message("drs").size, depth=FIFO_DEPTH)

        # First clock: one of the three, and only with room for its responses.
        taken, answer = Signal(answer_shape), Signal(answer_shape)
        returned, confirmed, direct = self.returned.payload, self.confirmed.payload, self.direct.payload
        ndr_room, drs_room, read_next = Signal(), Signal(), Signal()
        write_ok, read_ok, direct_ok, direct_ndr, direct_drs = (Signal() for _ in range(5))
        m.d.comb += [
            ndr_room.eq(ndr_fifo.w_level + (answer.valid & answer.ndr) < FIFO_DEPTH),
            drs_room.eq(drs_fifo.w_level + (answer.valid & answer.drs) < FIFO_DEPTH),
            write_ok.eq(self.confirmed.valid & (confirmed.sidecar | ndr_room)),
            read_ok.eq(self.returned.valid & Mux(returned.sidecar, self.sidecar_ready, ndr_room & drs_room)),
            direct_ndr.eq((direct.kind != DataKind.NXM) & (direct.kind != DataKind.DISCARD)),
            direct_drs.eq((direct.kind == DataKind.NXM) | (direct.kind == DataKind.ZEROS)),
            direct_ok.eq(self.direct.valid & (~direct_ndr | ndr_room) & (~direct_drs | drs_room)),
        ]
        with m.If(write_ok & ~(read_ok & read_next)):
            m.d.comb += [
                self.confirmed.ready.eq(1),
                taken.valid.eq(1),
                taken.write.eq(1),
                taken.rwd.eq(1),
                taken.ndr.eq(~confirmed.sidecar),
                *(
                    taken[name].eq(confirmed[name])
                    for name in ("id", "sidecar", "failed", "joined", "read_failed", "scale")
                ),
            ]
            m.d.sync += read_next.eq(1)
        with m.Elif(read_ok):
            m.d.comb += [
                self.returned.ready.eq(1),
                taken.valid.eq(1),
                taken.read.eq(1),
                taken.kind.eq(DataKind.READ),
                taken.ndr.eq(~returned.sidecar),
                taken.drs.eq(~returned.sidecar),
                *(taken[name].eq(returned[name]) for name in ("id", "sidecar", "failed", "joined")),
            ]
            m.d.sync += read_next.eq(0)
        with m.Elif(direct_ok):
            m.d.comb += [
                self.direct.ready.eq(1),
                taken.valid.eq(1),
                taken.ndr.eq(direct_ndr),
                taken.drs.eq(direct_drs),
                *(taken[name].eq(direct[name]) for name in ("kind", "rwd", "id", "epoch", "poisoned", "nan", "grant")),
            ]
        line = Signal(layouts.LINE_BITS)
        m.d.sync += [answer.eq(taken), line.eq(returned.data)]

        # Second clock: what was remembered of the operation makes its response.
        remembered = {}
        for name, issued, answered, count in (
            ("read", self.read_issued, returned, config.read_slots),
            ("write", self.write_issued, confirmed, config.write_slots),
        ):
            m.submodules[f"{name}s"] = memory = Memory(shape=issued_op(config), depth=count, init=[])
            keep, recall = memory.write_port(), memory.read_port(domain="sync")
            lookup = getattr(self, f"{name}_lookup")
            m.d.comb += [
                keep.en.eq(issued.valid),
                keep.addr.eq(issued.id),
                keep.data.eq(issued),
                recall.en.eq(taken.valid),
                recall.addr.eq(answered.id),
                lookup.enable.eq(taken.valid & ~taken.sidecar & (taken.rwd == (name == "write"))),
                lookup.id.eq(taken.id),
            ]
            remembered[name] = recall.data
        issued = Signal(issued_op(config))
        found = Signal(identity())
        ndr, drs = Signal(layouts.message("ndr")), Signal(layouts.message("drs"))
        #: a `Grant`, which is the opcode of a Cmp
        completion = Signal(2)
        m.d.comb += [
            issued.eq(Mux(answer.write, remembered["write"], remembered["read"])),
            found.eq(Mux(answer.rwd, self.write_found, self.read_found)),
            completion.eq(Mux(answer.read | answer.write, issued.grant, answer.grant)),
            ndr.opcode.eq(Mux(answer.kind == DataKind.ACK, NDROpcode.BI_CONFLICT_ACK, completion)),
            drs.opcode.eq(Mux(answer.kind == DataKind.NXM, DRSOpcode.MEM_DATA_NXM, DRSOpcode.MEM_DATA)),
            drs.poison.eq(Mux(answer.read, issued.poisoned | answer.failed, answer.poisoned)),
            # All ones for NXM, zeros or NaNs for ZEROS.
            drs.data.eq(
                line & answer.read.replicate(layouts.LINE_BITS)
                | (answer.kind == DataKind.NXM).replicate(layouts.LINE_BITS)
                | Mux(answer.nan, NAN_LINE, 0)
            ),
            ndr_fifo.w_en.eq(answer.valid & answer.ndr),
            drs_fifo.w_en.eq(answer.valid & answer.drs),
            self.update.valid.eq(answer.valid & answer.write & ~answer.sidecar),
            self.update.place.eq(issued.place),
            # A failed first write leaves the line unwritten: memory may still hold what another owner wrote.
            self.update.written.eq(issued.written | ~answer.failed),
            self.update.poisoned.eq(issued.poisoned | answer.failed),
            self.update.scale.eq(Mux(answer.failed, POISONED, answer.scale)),
        ]
        for response, fifo, port in ((ndr, ndr_fifo, self.ndr), (drs, drs_fifo, self.drs)):
            m.d.comb += [
                response.meta_field.eq(MetaField.NO_OP),
                response.tag.eq(found.tag),
                response.ld_id.eq(found.ld_id),
                response.dev_load.eq(self.dev_load),
                fifo.w_data.eq(response),
                port.valid.eq(fifo.r_rdy),
                port.payload.eq(fifo.r_data),
                fifo.r_en.eq(port.ready),
            ]

        # Third clock: the response is queued, the sidecar cache writes the line's bits.
        m.d.sync += [
            self.finished.valid.eq(answer.valid & ~answer.sidecar),
            self.finished.rwd.eq(answer.rwd),
            self.finished.id.eq(answer.id),
            self.finished.epoch.eq(Mux(answer.read | answer.write, issued.epoch, answer.epoch)),
            # Once an access.
            self.errors.axi_read.eq(
                answer.valid & (answer.read & answer.failed & ~answer.joined | answer.write & answer.read_failed)
            ),
            self.errors.axi_write.eq(answer.valid & answer.write & answer.failed & ~answer.joined),
        ]
        return m
