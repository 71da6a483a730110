"""The datapath: reads and writes of lines in frames, and every response.

What a line reads as after what was written to it: `golden.data.datapath`. Data operations come in commit order and are
issued in that order; their responses come as memory answers.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.data.mxint8 import NOT_FINITE, POISONED
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.numbering import row_number
from kv_endpoint.hw.data.line_memory import LineMemory
from kv_endpoint.hw.data.lines_in_flight import LinesInFlight
from kv_endpoint.hw.data.memory_port import memory_axi
from kv_endpoint.hw.data.mxint8.line_layouts import SCALE_BITS
from kv_endpoint.hw.data.mxint8.lines import is_number
from kv_endpoint.hw.data.responder import Responder, datapath_errors, direct_op
from kv_endpoint.hw.data.sidecar.cache import SidecarCache, tracked_op
from kv_endpoint.hw.data.sidecar.lost_rows import page_placed
from kv_endpoint.hw.data.sidecar.write_back import WriteBacks
from kv_endpoint.hw.front.request_slots import identity, numbered, write_data
from kv_endpoint.hw.lib.drain import Drain

__all__ = ["Datapath", "datapath_errors"]

#: operations without memory that wait for their response
DIRECT_FIFO_DEPTH = 4


class Datapath(wiring.Component):
    """Does the data operations (`golden.pipeline.metadata.DataKind`): one a clock while sidecar rows are at hand.

    READ of a line never written answers zeros without asking memory, and so does, in mode mxint8, one of a line whose
    scale says all. WRITE answers when memory has confirmed the data and the line's sidecar row says so. An operation
    waits, and those behind it, while an operation on its line is in flight and one of the two writes. ZEROS, NXM,
    COMPLETE, ACK and DISCARD need no memory; they take their turn among the others. The Cmp of an operation is its
    `grant`.

    Latency in clocks, sidecar row at hand, nothing stalled: 6 from `ops` to `mem.ar*`, `mem.aw*` and `mem.w*`; 2 from
    `mem.r*` to `ndr` and `drs`, or from `mem.b*` to `ndr`; 8 from `ops` to `ndr` without memory. Mode mxint8
    (`Mxint8Lines`): 6 more from `mem.r*`, 11 more to `mem.aw*` and `mem.w*` for the write that makes a DDR5 line whole,
    1 more from `mem.b*`; a partial write keeps all behind it waiting while it reads its line.

    Members
    -------
    ops : data operations in commit order; kind NONE is ignored.
    mem : the DDR5 (`MemoryPort`).
    ndr, drs : responses; NDR is one queue.
    dev_load : goes into each response in the clock in which it is queued.
    read_*, write_* : `ReadSlots` and `WriteSlots`.
    sidecar_ops, sidecar_done, sidecar_failed, page_read : `SidecarCache`, members `engine_*`, `page_read`.
    drain : `Drain`, over operations from their acceptance at `ops` until their response is queued and their line's
        sidecar bits are up to date.
    errors : `datapath_errors`.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "ops": In(stream.Signature(layouts.data_op(config))),
            "mem": Out(memory_axi(config)),
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
            "sidecar_failed": Out(1),
            "page_read": In(page_placed(config)),
            "drain": In(layouts.Hold()),
            "errors": Out(datapath_errors()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.sidecar = sidecar = SidecarCache(config=config)
        m.submodules.reads = reads = LinesInFlight(config=config, count=config.read_slots, until_issued=True)
        m.submodules.writes = writes = LinesInFlight(config=config, count=config.write_slots, until_issued=False)
        m.submodules.memory = memory = LineMemory(config=config)
        m.submodules.responder = responder = Responder(config=config)
        m.submodules.drain_epochs = drain = Drain(capacity=config.read_slots + config.write_slots)
        tables = ((reads, 0), (writes, 1))

        op_shape = tracked_op(config)
        stage = data.StructLayout({"valid": 1, "op": op_shape})
        m.submodules.queue = queue = SyncFIFO(width=op_shape.size, depth=config.data_queue_depth)

        # Look-up of the sidecar row, ahead of the operation's turn.
        nothing, queued = Signal(), Signal()
        looked_up = sidecar.looked_up.payload
        m.d.comb += [
            nothing.eq(self.ops.payload.kind == DataKind.NONE),
            sidecar.ops.valid.eq(self.ops.valid & ~nothing),
            self.ops.ready.eq(sidecar.ops.ready | nothing),
            sidecar.ops.payload.epoch.eq(drain.epoch),
            *(sidecar.ops.payload[name].eq(self.ops.payload[name]) for name in self.ops.payload.shape().members),
            drain.accepted.eq(sidecar.ops.valid & sidecar.ops.ready),
            queue.w_data.eq(looked_up),
            queue.w_en.eq(sidecar.looked_up.valid),
            sidecar.looked_up.ready.eq(queue.w_rdy),
            queued.eq(sidecar.looked_up.valid & queue.w_rdy & self._uses_line(looked_up)),
            sidecar.set_in_use.eq(reads.in_use | writes.in_use),
        ]
        for table, rwd in tables:
            m.d.comb += [
                table.enter.valid.eq(queued & (looked_up.rwd == rwd)),
                table.enter.id.eq(looked_up.id),
                *(table.enter.place[name].eq(looked_up[name]) for name in ("line", "frame", "mode")),
                table.set.eq(sidecar.set_query),
            ]

        # Its turn: it waits for its sidecar row, and for operations in flight on its data line.
        head, looked, turn = Signal(stage), Signal(stage), Signal(stage)
        load, go, issue, conflict, head_done, look_done, turn_done = (Signal() for _ in range(7))
        next_op = op_shape(queue.r_data)
        m.d.comb += [
            load.eq(~head.valid | head_done),
            queue.r_en.eq(load),
            # A read waits for writes alone.
            conflict.eq(writes.conflict | reads.conflict & head.op.rwd),
            go.eq(~self._uses_line(head.op) | sidecar.present & ~conflict),
            head_done.eq(head.valid & go & (~looked.valid | look_done)),
            issue.eq(head_done & self._uses_line(head.op)),
            sidecar.probe.eq(row_number(head.op)),
            sidecar.read_enable.eq(issue),
        ]
        with m.If(load):
            m.d.sync += [head.valid.eq(queue.r_rdy), head.op.eq(next_op)]
        for table, rwd in tables:
            m.d.comb += [
                table.load.eq(load),
                *(table.candidate[name].eq(next_op[name]) for name in ("line", "frame", "mode")),
                table.issue.valid.eq(issue & (head.op.rwd == rwd)),
                table.issue.id.eq(head.op.id),
            ]

        # What its sidecar row says of its line, in either mode, and the data of a write.
        written, poisoned, scale = Signal(), Signal(), Signal(SCALE_BITS)
        m.d.comb += [
            look_done.eq(looked.valid & (~turn.valid | turn_done)),
            self.write_read.enable.eq(look_done),
            self.write_read.id.eq(looked.op.id),
        ]
        with m.If(~looked.valid | look_done):
            m.d.sync += [looked.valid.eq(head_done), looked.op.eq(head.op)]
        with m.If(~turn.valid | turn_done):
            m.d.sync += [
                turn.valid.eq(looked.valid),
                turn.op.eq(looked.op),
                written.eq(sidecar.row[:LINES_PER_BLOCK].bit_select(looked.op.line, 1)),
                poisoned.eq(sidecar.row[LINES_PER_BLOCK:].bit_select(looked.op.line, 1)),
                scale.eq(sidecar.row.word_select(looked.op.line[: (LINE_BYTES - 1).bit_length()], SCALE_BITS)),
            ]

        # Dispatch: to memory, or straight to its response.
        m.submodules.direct_fifo = direct_fifo = SyncFIFO(width=direct_op(config).size, depth=DIRECT_FIFO_DEPTH)
        direct = Signal(direct_op(config))
        mode = turn.op.mode
        reads_memory, without_data = Signal(), Signal()
        contents = self.write_contents
        m.d.comb += [
            reads_memory.eq(Mux(mode, is_number(scale), written)),
            without_data.eq((turn.op.kind == DataKind.READ) & ~reads_memory),
            memory.reads.valid.eq(turn.valid & (turn.op.kind == DataKind.READ) & reads_memory),
            memory.writes.valid.eq(turn.valid & (turn.op.kind == DataKind.WRITE)),
            direct_fifo.w_en.eq(turn.valid & (~self._uses_line(turn.op) | without_data)),
            turn_done.eq(
                memory.reads.valid & memory.reads.ready
                | memory.writes.valid & memory.writes.ready
                | direct_fifo.w_en & direct_fifo.w_rdy
            ),
            memory.writes.payload.written.eq(written),
            *(memory.writes.payload[name].eq(contents[name]) for name in ("data", "be", "poison")),
            responder.read_issued.valid.eq(memory.reads.valid & memory.reads.ready),
            responder.read_issued.poisoned.eq(poisoned & ~mode),
            responder.write_issued.valid.eq(memory.writes.valid & memory.writes.ready),
            # A full write decides alone, a partial one adds its poison.
            responder.write_issued.poisoned.eq(contents.poison | poisoned & ~contents.be.all()),
            direct.kind.eq(Mux(without_data, DataKind.ZEROS, turn.op.kind)),
            direct.poisoned.eq(without_data & Mux(mode, scale == POISONED, poisoned)),
            direct.nan.eq(without_data & mode & (scale == NOT_FINITE)),
            *(direct[name].eq(turn.op[name]) for name in ("rwd", "id", "epoch", "grant")),
            direct_fifo.w_data.eq(direct),
            responder.direct.valid.eq(direct_fifo.r_rdy),
            responder.direct.payload.eq(direct_fifo.r_data),
            direct_fifo.r_en.eq(responder.direct.ready),
        ]
        for request in (memory.reads.payload, memory.writes.payload, responder.read_issued, responder.write_issued):
            m.d.comb += [
                request.id.eq(turn.op.id),
                *(request.place[name].eq(turn.op[name]) for name in ("line", "frame", "mode")),
            ]
        for request in (memory.reads.payload, memory.writes.payload):
            m.d.comb += request.scale.eq(scale)
        for issued in (responder.read_issued, responder.write_issued):
            m.d.comb += [
                issued.epoch.eq(turn.op.epoch),
                issued.grant.eq(turn.op.grant),
                issued.written.eq(written),
            ]

        # What halves of DDR5 lines have to know of others.
        m.d.comb += [
            memory.written.valid.eq(responder.update.valid & responder.update.place.mode),
            memory.written.place.eq(responder.update.place),
            memory.urgent.valid.eq(head.valid & self._uses_line(head.op) & writes.conflict),
            *(memory.urgent.place[name].eq(head.op[name]) for name in ("line", "frame", "mode")),
            memory.flush.eq(self.drain.request & ~self.drain.granted),
        ]

        # Memory: requests and answers of the sidecar cache go beside the data's.
        wiring.connect(m, sidecar.fetch, memory.fetch)
        m.submodules.write_backs = write_backs = WriteBacks(config=config, count=sidecar.write_backs)
        wiring.connect(m, sidecar.write_back, write_backs.requests)
        wiring.connect(m, write_backs.memory, memory.write_back)
        wiring.connect(m, memory.returned, responder.returned)
        wiring.connect(m, memory.confirmed, responder.confirmed)
        wiring.connect(m, memory.mem, wiring.flipped(self.mem))
        returned, confirmed = memory.returned, memory.confirmed
        m.d.comb += [
            responder.sidecar_ready.eq(sidecar.fetched.ready),
            sidecar.fetched.valid.eq(returned.valid & returned.ready & returned.payload.sidecar),
            sidecar.fetched.payload.id.eq(returned.payload.id),
            sidecar.fetched.payload.failed.eq(returned.payload.failed),
            sidecar.fetched.payload.row.eq(returned.payload.data),
            write_backs.confirmed.valid.eq(confirmed.valid & confirmed.ready & confirmed.payload.sidecar),
            write_backs.confirmed.id.eq(confirmed.payload.id),
            write_backs.confirmed.failed.eq(confirmed.payload.failed),
            sidecar.written_back.eq(write_backs.done),
            sidecar.update.eq(responder.update),
        ]

        # The end.
        finished = responder.finished
        m.d.comb += [drain.finished.eq(finished.valid), drain.finished_epoch.eq(finished.epoch)]
        for (table, rwd), release in zip(tables, (self.read_release, self.write_release), strict=True):
            m.d.comb += [
                release.valid.eq(finished.valid & (finished.rwd == rwd)),
                release.id.eq(finished.id),
                table.leave.eq(release),
            ]

        m.d.comb += [
            responder.dev_load.eq(self.dev_load),
            responder.read_found.eq(self.read_found),
            responder.write_found.eq(self.write_found),
            self.read_lookup.eq(responder.read_lookup),
            self.write_lookup.eq(responder.write_lookup),
            self.sidecar_done.eq(sidecar.engine_done),
            self.sidecar_failed.eq(sidecar.engine_failed),
            sidecar.page_read.eq(self.page_read),
            self.errors.eq(responder.errors),
        ]
        wiring.connect(m, responder.ndr, wiring.flipped(self.ndr))
        wiring.connect(m, responder.drs, wiring.flipped(self.drs))
        wiring.connect(m, wiring.flipped(self.sidecar_ops), sidecar.engine_ops)
        wiring.connect(m, wiring.flipped(self.drain), drain.hold)
        return m

    @staticmethod
    def _uses_line(op):
        return (op.kind == DataKind.READ) | (op.kind == DataKind.WRITE)
