"""The datapath of exact mode: reads and writes of lines in frames, and every response.

What is written is what is read (`golden.datapath`). Data operations come in commit order and are issued in that order;
their responses come as memory answers.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.config import LINE_BYTES
from golden.messages import DRSOpcode, MetaField, NDROpcode
from golden.metadata import DataKind
from hw import layouts
from hw.axi import AXI4, RESP_OKAY
from hw.lines_in_flight import LinesInFlight, place
from hw.sidecar import SidecarCache, tracked_op
from hw.transactions import identity, numbered, write_data

__all__ = ["Datapath", "datapath_errors", "memory_id_bits"]

#: words that wait for memory in each of AR, AW and W, and responses that wait for the host in each of NDR and DRS
MEMORY_FIFO_DEPTH = 4
RESPONSE_FIFO_DEPTH = 8

AXI_SIZE_LINE = (LINE_BYTES - 1).bit_length()
AXI_BURST_INCR = 1


def memory_id_bits(config):
    """Width of an AXI ID: {sidecar, number of the read or write slot, or of the sidecar fetch or write-back}."""
    return layouts.id_bits(config) + 1


def datapath_errors(config):
    """One-clock notes of AXI errors: at most one a clock. `line` is 0 for an error in a sidecar line."""
    return layouts.layout((("axi_read", 1), ("axi_write", 1), ("frame", config.frame_bits), ("line", config.line_bits)))


class Datapath(wiring.Component):
    """Does the data operations (`golden.metadata.DataKind`): one a clock while sidecar lines are at hand.

    READ of a line never written answers zeros without asking memory. WRITE answers when memory has confirmed the data
    and the line's sidecar bits say so. An operation waits, and those behind it, while an operation on its line is in
    flight and one of the two writes. ZEROS, NXM, COMPLETE, ACK and DISCARD need no memory; they take their turn among
    the others.

    Latency in clocks, sidecar line at hand, nothing stalled: 6 from `ops` to `mem.ar*`, `mem.aw*` and `mem.w*`; 3 from
    `mem.r*` to `ndr` and `drs`, or from `mem.b*` to `ndr`; 8 from `ops` to `ndr` without memory.

    Members
    -------
    ops : data operations in commit order; kind NONE is ignored.
    mem : the DDR5, one line a burst. AXI ID as `memory_id_bits`. Line n of frame f lies at line f x 128 + n, the
        sidecar line of frame f at line `config.sidecar_base` + f.
    ndr, drs : responses; NDR is one queue.
    dev_load : goes into each response in the clock in which it is queued.
    read_*, write_* : `ReadSlots` and `WriteSlots`.
    sidecar_ops, sidecar_done : `SidecarCache`, members `engine_*`.
    drain : `granted` once every operation taken before `request` has finished: response queued, sidecar line up to
        date. `request` must stay until then. Later operations go on meanwhile: each is counted in one of two epochs.
    errors : `datapath_errors`.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "ops": In(stream.Signature(layouts.data_op(config))),
            "mem": Out(AXI4(
                address_bits=config.memory_address_bits, data_bits=layouts.LINE_BITS, id_bits=memory_id_bits(config),
            )),
            "ndr": Out(stream.Signature(layouts.message("ndr"))),
            "drs": Out(stream.Signature(layouts.message("drs"))),
            "dev_load": In(2),
            "read_lookup": Out(numbered(config, "enable")),
            "read_found": In(identity()),
            "read_release": Out(numbered(config, "valid")),
            "write_lookup": Out(numbered(config, "enable")),
            "write_found": In(identity()),
            "write_read": Out(numbered(config, "enable")),
            "write_contents": In(write_data()),
            "write_release": Out(numbered(config, "valid")),
            "sidecar_ops": In(stream.Signature(layouts.sidecar_op(config))),
            "sidecar_done": Out(1),
            "drain": In(layouts.Hold()),
            "errors": Out(datapath_errors(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        op_shape = tracked_op(config)
        id_bits = layouts.id_bits(config)

        m.submodules.sidecar = sidecar = SidecarCache(config=config)
        m.submodules.reads = reads = LinesInFlight(config=config, count=config.read_slots, until_issued=True)
        m.submodules.writes = writes = LinesInFlight(config=config, count=config.write_slots, until_issued=False)
        m.submodules.queue = queue = SyncFIFO(width=op_shape.size, depth=config.data_queue_depth)

        # Drain ----------------------------------------------------------------------------------------------------
        # An operation belongs to the epoch in which it comes. A request starts the next epoch, and is granted once the
        # operations of the one before are gone; none can join them.
        accepted, retired = Signal(), Signal()
        retired_epoch = Signal()
        epoch, draining = Signal(), Signal()
        slots = config.read_slots + config.write_slots
        unfinished = [Signal(range(slots + 1), name=f"unfinished_{number}") for number in range(2)]
        for number, count in enumerate(unfinished):
            m.d.sync += count.eq(count + (accepted & (epoch == number)) - (retired & (retired_epoch == number)))
        drained = Signal()
        m.d.comb += [
            drained.eq(draining & (Mux(epoch, unfinished[0], unfinished[1]) == 0)),
            self.drain.granted.eq(drained & self.drain.request),
        ]
        with m.If(self.drain.request & ~draining):
            m.d.sync += [epoch.eq(~epoch), draining.eq(1)]
        with m.Elif(drained & ~self.drain.request):
            m.d.sync += draining.eq(0)

        # Look-up of the sidecar line, ahead of the operation's turn --------------------------------------------------
        nothing = Signal()
        m.d.comb += [
            nothing.eq(self.ops.payload.kind == DataKind.NONE),
            sidecar.ops.valid.eq(self.ops.valid & ~nothing),
            self.ops.ready.eq(sidecar.ops.ready | nothing),
            accepted.eq(sidecar.ops.valid & sidecar.ops.ready),
            sidecar.ops.payload.epoch.eq(epoch),
            *(sidecar.ops.payload[name].eq(self.ops.payload[name]) for name in self.ops.payload.shape().members),
        ]
        looked_up = sidecar.looked_up.payload
        queued = Signal()
        m.d.comb += [
            queue.w_data.eq(looked_up),
            queue.w_en.eq(sidecar.looked_up.valid),
            sidecar.looked_up.ready.eq(queue.w_rdy),
            queued.eq(sidecar.looked_up.valid & queue.w_rdy & self._uses_line(looked_up)),
            sidecar.set_in_use.eq(reads.in_use | writes.in_use),
        ]
        for table, rwd in ((reads, 0), (writes, 1)):
            m.d.comb += [
                table.enter.valid.eq(queued & (looked_up.rwd == rwd)),
                table.enter.id.eq(looked_up.id),
                table.enter.place.line.eq(looked_up.line),
                table.enter.place.frame.eq(looked_up.frame),
                table.set.eq(sidecar.set_query),
            ]

        # Turn: the operation at the head waits for its sidecar line, and for operations in flight on its data line ---
        head = Signal(data.StructLayout({"valid": 1, "op": op_shape}))
        next_op = op_shape(queue.r_data)
        load, go, issue = Signal(), Signal(), Signal()
        conflict = Signal()
        m.d.comb += [
            load.eq(~head.valid | go),
            queue.r_en.eq(load),
            issue.eq(go & self._uses_line(head.op)),
            conflict.eq(writes.conflict | reads.conflict & head.op.rwd),
            sidecar.probe.eq(head.op.frame),
            sidecar.read_enable.eq(issue),
        ]
        with m.If(load):
            m.d.sync += [head.valid.eq(queue.r_rdy), head.op.eq(next_op)]
        for table, rwd in ((reads, 0), (writes, 1)):
            m.d.comb += [
                table.load.eq(load),
                table.candidate.line.eq(next_op.line),
                table.candidate.frame.eq(next_op.frame),
                table.issue.valid.eq(issue & (head.op.rwd == rwd)),
                table.issue.id.eq(head.op.id),
            ]

        # Its line's sidecar bits, and the data of a write ------------------------------------------------------------
        looked, look_done = Signal(data.StructLayout({"valid": 1, "op": op_shape})), Signal()
        m.d.comb += [
            go.eq(
                head.valid & (~looked.valid | look_done)
                & (~self._uses_line(head.op) | sidecar.present & ~conflict)
            ),
            self.write_read.enable.eq(looked.valid & look_done),
            self.write_read.id.eq(looked.op.id),
        ]  # fmt: skip
        with m.If(~looked.valid | look_done):
            m.d.sync += [looked.valid.eq(go), looked.op.eq(head.op)]

        # Dispatch: to memory, or straight to the response ------------------------------------------------------------
        turn = Signal(data.StructLayout({"valid": 1, "op": op_shape, "written": 1, "poisoned": 1}))
        turn_done = Signal()
        m.d.comb += look_done.eq(~turn.valid | turn_done)
        with m.If(look_done):
            m.d.sync += [
                turn.valid.eq(looked.valid),
                turn.op.eq(looked.op),
                turn.written.eq(sidecar.row.written.bit_select(looked.op.line, 1)),
                turn.poisoned.eq(sidecar.row.poisoned.bit_select(looked.op.line, 1)),
            ]
        is_read, is_write, is_direct = Signal(), Signal(), Signal()
        m.d.comb += [
            is_read.eq(turn.valid & (turn.op.kind == DataKind.READ) & turn.written),
            is_write.eq(turn.valid & (turn.op.kind == DataKind.WRITE)),
            is_direct.eq(turn.valid & ~is_read & ~is_write),
        ]

        line_bits = config.memory_address_bits - AXI_SIZE_LINE
        address = data.StructLayout({"id": memory_id_bits(config), "line": line_bits})
        word = data.StructLayout({"data": layouts.LINE_BITS, "strb": LINE_BYTES})
        depth = MEMORY_FIFO_DEPTH
        m.submodules.ar_fifo = ar_fifo = SyncFIFO(width=address.size, depth=depth)
        m.submodules.aw_fifo = aw_fifo = SyncFIFO(width=address.size, depth=depth)
        m.submodules.w_fifo = w_fifo = SyncFIFO(width=word.size, depth=depth)
        ar, aw, w = Signal(address), Signal(address), Signal(word)
        read_goes, write_goes, write_room, full = (Signal() for _ in range(4))
        data_line = Cat(turn.op.line, turn.op.frame)
        contents = self.write_contents
        enabled = Cat(contents.be[byte].replicate(8) for byte in range(LINE_BYTES))
        m.d.comb += [
            # Sidecar lines go first: operations wait for them, they for no operation behind the head.
            read_goes.eq(is_read & ar_fifo.w_rdy & ~sidecar.fetch.valid),
            write_room.eq(aw_fifo.w_rdy & w_fifo.w_rdy),
            write_goes.eq(is_write & write_room & ~sidecar.write_back.valid),
            sidecar.fetch.ready.eq(ar_fifo.w_rdy),
            sidecar.write_back.ready.eq(write_room),
            ar_fifo.w_en.eq(is_read | sidecar.fetch.valid),
            aw_fifo.w_en.eq((is_write | sidecar.write_back.valid) & write_room),
            w_fifo.w_en.eq(aw_fifo.w_en),
            ar_fifo.w_data.eq(ar),
            aw_fifo.w_data.eq(aw),
            w_fifo.w_data.eq(w),
            full.eq(contents.be.all()),
        ]
        with m.If(sidecar.fetch.valid):
            m.d.comb += [
                ar.id.eq(Cat(sidecar.fetch.payload.id, Const(1, 1))),
                ar.line.eq(config.sidecar_base + sidecar.fetch.payload.frame),
            ]
        with m.Else():
            m.d.comb += [ar.id.eq(turn.op.id), ar.line.eq(data_line)]
        with m.If(sidecar.write_back.valid):
            m.d.comb += [
                aw.id.eq(Cat(sidecar.write_back.payload.id, Const(1, 1))),
                aw.line.eq(config.sidecar_base + sidecar.write_back.payload.frame),
                w.data.eq(sidecar.write_back.payload.row),
                w.strb.eq(~0),
            ]
        with m.Else():
            m.d.comb += [
                aw.id.eq(turn.op.id),
                aw.line.eq(data_line),
                # The first write of a line leaves nothing of what lay there.
                w.data.eq(contents.data & (enabled | turn.written.replicate(layouts.LINE_BITS))),
                w.strb.eq(contents.be | (~turn.written).replicate(LINE_BYTES)),
            ]

        for channel, fifo in (("ar", ar_fifo), ("aw", aw_fifo)):
            out = address(fifo.r_data)
            m.d.comb += [
                getattr(self.mem, f"{channel}valid").eq(fifo.r_rdy),
                fifo.r_en.eq(getattr(self.mem, f"{channel}ready")),
                getattr(self.mem, f"{channel}id").eq(out.id),
                getattr(self.mem, f"{channel}addr").eq(Cat(Const(0, AXI_SIZE_LINE), out.line)),
                getattr(self.mem, f"{channel}size").eq(AXI_SIZE_LINE),
                getattr(self.mem, f"{channel}burst").eq(AXI_BURST_INCR),
            ]
        out = word(w_fifo.r_data)
        m.d.comb += [
            self.mem.wvalid.eq(w_fifo.r_rdy),
            w_fifo.r_en.eq(self.mem.wready),
            self.mem.wdata.eq(out.data),
            self.mem.wstrb.eq(out.strb),
            self.mem.wlast.eq(1),
        ]

        # What the answer of memory will need: by number of the read slot and of the write slot.
        pending = data.StructLayout({"place": place(config), "epoch": 1, "written": 1, "poisoned": 1})
        m.submodules.reads_pending = reads_pending = Memory(shape=pending, depth=config.read_slots, init=[])
        m.submodules.writes_pending = writes_pending = Memory(shape=pending, depth=config.write_slots, init=[])
        read_keep, read_recall = reads_pending.write_port(), reads_pending.read_port(domain="sync")
        write_keep, write_recall = writes_pending.write_port(), writes_pending.read_port(domain="sync")
        m.d.comb += [
            read_keep.en.eq(read_goes),
            read_keep.data.poisoned.eq(turn.poisoned),
            write_keep.en.eq(write_goes),
            write_keep.data.poisoned.eq(contents.poison | ~full & turn.poisoned),
        ]
        for port in (read_keep, write_keep):
            m.d.comb += [
                port.addr.eq(turn.op.id),
                port.data.place.line.eq(turn.op.line),
                port.data.place.frame.eq(turn.op.frame),
                port.data.epoch.eq(turn.op.epoch),
                port.data.written.eq(turn.written),
            ]

        # Operations without memory: a queue of their own, so that dispatch does not wait for what memory does now.
        direct_shape = data.StructLayout({"kind": 3, "rwd": 1, "id": id_bits, "epoch": 1, "poisoned": 1})
        m.submodules.direct_fifo = direct_fifo = SyncFIFO(width=direct_shape.size, depth=MEMORY_FIFO_DEPTH)
        direct_in, direct = Signal(direct_shape), Signal(direct_shape)
        unwritten = Signal()
        m.d.comb += [
            unwritten.eq(turn.op.kind == DataKind.READ),
            direct_in.kind.eq(Mux(unwritten, DataKind.ZEROS, turn.op.kind)),
            direct_in.poisoned.eq(unwritten & turn.poisoned),
            *(direct_in[name].eq(turn.op[name]) for name in ("rwd", "id", "epoch")),
            direct_fifo.w_data.eq(direct_in),
            direct_fifo.w_en.eq(is_direct),
            direct.eq(direct_fifo.r_data),
            turn_done.eq(read_goes | write_goes | is_direct & direct_fifo.w_rdy),
        ]

        # Responses, one a clock: of a write, of a read, or of the oldest operation without memory. The last waits for
        # the others; they cannot starve it, since nothing more is issued once its queue is full.
        m.submodules.ndr_fifo = ndr_fifo = SyncFIFO(width=layouts.message("ndr").size, depth=RESPONSE_FIFO_DEPTH)
        m.submodules.drs_fifo = drs_fifo = SyncFIFO(width=layouts.message("drs").size, depth=RESPONSE_FIFO_DEPTH)
        answer_shape = data.StructLayout({
            "valid": 1, "ndr": 1, "drs": 1, "sidecar": 1, "read": 1, "write": 1, "failed": 1, "rwd": 1, "id": id_bits,
            "kind": 3, "poisoned": 1, "epoch": 1, "frame": config.frame_bits,
        })  # fmt: skip
        answer, grant = Signal(answer_shape), Signal(answer_shape)
        answer_data = Signal(layouts.LINE_BITS)
        ndr_room, drs_room, read_next = Signal(), Signal(), Signal()
        b_sidecar, r_sidecar = self.mem.bid[-1], self.mem.rid[-1]
        b_ok, r_ok, direct_ok, direct_ndr, direct_drs = (Signal() for _ in range(5))
        m.d.comb += [
            ndr_room.eq(ndr_fifo.w_level + (answer.valid & answer.ndr) < RESPONSE_FIFO_DEPTH),
            drs_room.eq(drs_fifo.w_level + (answer.valid & answer.drs) < RESPONSE_FIFO_DEPTH),
            b_ok.eq(self.mem.bvalid & (b_sidecar | ndr_room)),
            r_ok.eq(self.mem.rvalid & Mux(r_sidecar, sidecar.fetched.ready, ndr_room & drs_room)),
            direct_ndr.eq((direct.kind != DataKind.NXM) & (direct.kind != DataKind.DISCARD)),
            direct_drs.eq((direct.kind == DataKind.NXM) | (direct.kind == DataKind.ZEROS)),
            direct_ok.eq(direct_fifo.r_rdy & (~direct_ndr | ndr_room) & (~direct_drs | drs_room)),
        ]
        with m.If(b_ok & ~(r_ok & read_next)):
            m.d.comb += [
                grant.valid.eq(1),
                grant.ndr.eq(~b_sidecar),
                grant.sidecar.eq(b_sidecar),
                grant.write.eq(1),
                grant.failed.eq(self.mem.bresp != RESP_OKAY),
                grant.rwd.eq(1),
                grant.id.eq(self.mem.bid),
                grant.frame.eq(sidecar.written_back_frame),
                self.mem.bready.eq(1),
            ]
            m.d.sync += read_next.eq(1)
        with m.Elif(r_ok):
            m.d.comb += [
                grant.valid.eq(1),
                grant.ndr.eq(~r_sidecar),
                grant.drs.eq(~r_sidecar),
                grant.sidecar.eq(r_sidecar),
                grant.read.eq(1),
                grant.failed.eq(self.mem.rresp != RESP_OKAY),
                grant.id.eq(self.mem.rid),
                grant.kind.eq(DataKind.READ),
                grant.frame.eq(sidecar.fetched_frame),
                self.mem.rready.eq(1),
            ]
            m.d.sync += read_next.eq(0)
        with m.Elif(direct_ok):
            m.d.comb += [
                grant.valid.eq(1),
                grant.ndr.eq(direct_ndr),
                grant.drs.eq(direct_drs),
                *(grant[name].eq(direct[name]) for name in ("kind", "rwd", "id", "epoch", "poisoned")),
                direct_fifo.r_en.eq(1),
            ]
        m.d.comb += [
            # A fetched line takes its way at the grant; a confirmed write-back too.
            sidecar.fetched.valid.eq(grant.valid & grant.read & grant.sidecar),
            sidecar.fetched.payload.id.eq(self.mem.rid),
            sidecar.fetched.payload.failed.eq(self.mem.rresp != RESP_OKAY),
            sidecar.fetched.payload.row.eq(self.mem.rdata),
            sidecar.written_back.valid.eq(grant.valid & grant.write & grant.sidecar),
            sidecar.written_back.id.eq(self.mem.bid),
            read_recall.en.eq(grant.valid),
            read_recall.addr.eq(self.mem.rid),
            write_recall.en.eq(grant.valid),
            write_recall.addr.eq(self.mem.bid),
            self.read_lookup.enable.eq(grant.valid & ~grant.sidecar & ~grant.rwd),
            self.read_lookup.id.eq(grant.id),
            self.write_lookup.enable.eq(grant.valid & ~grant.sidecar & grant.rwd),
            self.write_lookup.id.eq(grant.id),
        ]
        m.d.sync += answer.eq(grant)
        with m.If(self.mem.rvalid):
            m.d.sync += answer_data.eq(self.mem.rdata)

        recalled = Signal(pending)
        found = Signal(identity())
        ndr, drs = Signal(layouts.message("ndr")), Signal(layouts.message("drs"))
        m.d.comb += [
            recalled.eq(Mux(answer.write, write_recall.data, read_recall.data)),
            found.eq(Mux(answer.rwd, self.write_found, self.read_found)),
            ndr.opcode.eq(Mux(answer.kind == DataKind.ACK, NDROpcode.BI_CONFLICT_ACK, NDROpcode.CMP)),
            drs.opcode.eq(Mux(answer.kind == DataKind.NXM, DRSOpcode.MEM_DATA_NXM, DRSOpcode.MEM_DATA)),
            drs.poison.eq(answer.poisoned | answer.read & (recalled.poisoned | answer.failed)),
            drs.data.eq(
                answer_data & (answer.kind == DataKind.READ).replicate(layouts.LINE_BITS)
                | (answer.kind == DataKind.NXM).replicate(layouts.LINE_BITS)
            ),
            ndr_fifo.w_en.eq(answer.valid & answer.ndr),
            drs_fifo.w_en.eq(answer.valid & answer.drs),
            ndr_fifo.w_data.eq(ndr),
            drs_fifo.w_data.eq(drs),
            sidecar.update.valid.eq(answer.valid & answer.write & ~answer.sidecar),
            sidecar.update.place.eq(recalled.place),
            # A failed first write leaves the line unwritten: memory may still hold what another owner wrote.
            sidecar.update.written.eq(recalled.written | ~answer.failed),
            sidecar.update.poisoned.eq(recalled.poisoned | answer.failed),
        ]  # fmt: skip
        for response, fifo, port in ((ndr, ndr_fifo, self.ndr), (drs, drs_fifo, self.drs)):
            m.d.comb += [
                response.meta_field.eq(MetaField.NO_OP),
                response.tag.eq(found.tag),
                response.ld_id.eq(found.ld_id),
                response.dev_load.eq(self.dev_load),
                port.valid.eq(fifo.r_rdy),
                port.payload.eq(fifo.r_data),
                fifo.r_en.eq(port.ready),
            ]

        # The end: the response is queued, the sidecar line is being written in this clock.
        ended = Signal(data.StructLayout({"valid": 1, "rwd": 1, "id": id_bits, "epoch": 1}))
        m.d.sync += [
            ended.valid.eq(answer.valid & ~answer.sidecar),
            ended.rwd.eq(answer.rwd),
            ended.id.eq(answer.id),
            ended.epoch.eq(Mux(answer.read | answer.write, recalled.epoch, answer.epoch)),
            self.errors.axi_read.eq(answer.valid & answer.failed & answer.read),
            self.errors.axi_write.eq(answer.valid & answer.failed & answer.write),
            self.errors.frame.eq(Mux(answer.sidecar, answer.frame, recalled.place.frame)),
            self.errors.line.eq(Mux(answer.sidecar, 0, recalled.place.line)),
        ]
        m.d.comb += [retired.eq(ended.valid), retired_epoch.eq(ended.epoch)]
        for table, release, rwd in ((reads, self.read_release, 0), (writes, self.write_release, 1)):
            m.d.comb += [
                release.valid.eq(ended.valid & (ended.rwd == rwd)),
                release.id.eq(ended.id),
                table.leave.eq(release),
            ]

        wiring.connect(m, wiring.flipped(self.sidecar_ops), sidecar.engine_ops)
        m.d.comb += self.sidecar_done.eq(sidecar.engine_done)
        return m

    @staticmethod
    def _uses_line(op):
        return (op.kind == DataKind.READ) | (op.kind == DataKind.WRITE)
