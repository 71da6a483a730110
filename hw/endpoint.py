"""The top: the control-and-policy block of a CXL memory endpoint. `hw/README.md` shows how its blocks meet."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane
from kv_endpoint.hw.coherency.unit import Coherency
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.data.datapath import Datapath
from kv_endpoint.hw.data.error_notes import ErrorNotes
from kv_endpoint.hw.data.memory_port import memory_axi
from kv_endpoint.hw.events.port import EventPort
from kv_endpoint.hw.frames.residency import Residency
from kv_endpoint.hw.front.devload import LoadMeter
from kv_endpoint.hw.front.frontend import FrontEnd
from kv_endpoint.hw.front.request_slots import ReadSlots, WriteSlots
from kv_endpoint.hw.lib.arbiter import Arbiter
from kv_endpoint.hw.lib.axi import AXI4Lite
from kv_endpoint.hw.lib.drain_gate import DrainGate
from kv_endpoint.hw.lib.hold_grants import Quiesce
from kv_endpoint.hw.pipeline.metadata import MetadataPipeline
from kv_endpoint.hw.pipeline.phase import PhaseDetector
from kv_endpoint.hw.pipeline.tracker import Tracker
from kv_endpoint.hw.prefetch.unit import PrefetchUnit
from kv_endpoint.hw.registers.block import Csr
from kv_endpoint.hw.registers.map import ADDRESS_BITS as CSR_ADDRESS_BITS
from kv_endpoint.hw.victims.engine import VictimEngine

__all__ = ["Endpoint"]

#: requesters of the pipeline, by number
_HOLD_FRONTEND, _HOLD_CSR, _HOLD_RESIDENCY = range(3)


class Endpoint(wiring.Component):
    """Serves CXL.mem requests from DDR5 frames and decides which blocks have one.

    One Req and one RwD a clock are accepted, one slot a clock is served. Requests are taken `config.blocks` clocks
    after reset, when the metadata table is clear.

    Members
    -------
    req, rwd : In(stream of messages), ndr, drs : Out(stream of messages)
        CXL.mem (`golden/common/messages.py`).
    bisnp : Out(stream of messages), birsp : In(stream of messages)
        Its back-invalidation; `birsp` is always ready.
    mem : Out(AXI4)
        DDR5: line n of frame f at line 128 f + n, sidecar row of frame f at line `config.sidecar_base` + f.
    page_command : Out(stream), page_done : In(stream)
        Flash controller: moves a page with its sidecar row between flash and a frame; completions in any order.
    csr : In(AXI4Lite)
        `csr.rdl`.
    slot_record, engine_record : Out(stream)
        The event port (`golden/events/port.py`). The block stalls when it is not drained.
    """

    def __init__(self, *, config):
        self.config = config
        super().__init__(
            {
                "req": In(stream.Signature(layouts.message("req"))),
                "rwd": In(stream.Signature(layouts.message("rwd"))),
                "ndr": Out(stream.Signature(layouts.message("ndr"))),
                "drs": Out(stream.Signature(layouts.message("drs"))),
                "bisnp": Out(stream.Signature(layouts.message("bisnp"))),
                "birsp": In(stream.Signature(layouts.message("birsp"))),
                "mem": Out(memory_axi(config)),
                "page_command": Out(stream.Signature(layouts.page_command(config))),
                "page_done": In(stream.Signature(layouts.page_done(config))),
                "csr": In(AXI4Lite(address_bits=CSR_ADDRESS_BITS)),
                "slot_record": Out(stream.Signature(layouts.record(config, Lane.SLOT))),
                "engine_record": Out(stream.Signature(layouts.record(config, Lane.ENGINE))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        outside = flipped(self)

        m.submodules.frontend = frontend = FrontEnd(config=config)
        m.submodules.read_slots = read_slots = ReadSlots(config=config)
        m.submodules.write_slots = write_slots = WriteSlots(config=config)
        m.submodules.load_meter = load_meter = LoadMeter(config=config)
        m.submodules.metadata = metadata = MetadataPipeline(config=config)
        m.submodules.coherency = coherency = Coherency(config=config)
        m.submodules.datapath = datapath = Datapath(config=config)
        m.submodules.drain_gate = drain_gate = DrainGate(depth=metadata.data_depth)
        m.submodules.residency = residency = Residency(config=config)
        m.submodules.victim = victim = VictimEngine(config=config)
        m.submodules.tracker = tracker = Tracker(config=config)
        m.submodules.phase = phase = PhaseDetector(config=config)
        # One clock behind the commits, as the phase is.
        m.submodules.prefetch = prefetch = PrefetchUnit(config=config, pipeline_depth=metadata.commit_stage + 1)
        m.submodules.csr = csr = Csr(config=config)
        m.submodules.quiesce = quiesce = Quiesce(count=3, engine=_HOLD_RESIDENCY)
        m.submodules.error_notes = error_notes = ErrorNotes(config=config)
        m.submodules.event_port = event_port = EventPort(config=config, pipeline_depth=metadata.commit_stage)
        note_sources = (frontend, csr, residency, error_notes, prefetch, phase, coherency)
        m.submodules.notes = notes = Arbiter(layouts.engine_note(config), count=len(note_sources))

        # Requests
        connect(m, outside.req, frontend.req)
        connect(m, outside.rwd, frontend.rwd)
        connect(m, read_slots.available, frontend.read_slots)
        connect(m, write_slots.available, frontend.write_slots)
        connect(m, frontend.req_slots, metadata.req_slots)
        connect(m, frontend.rwd_slots, metadata.rwd_slots)
        connect(m, residency.engine_slots, metadata.engine_slots)
        m.d.comb += [
            read_slots.store.eq(frontend.store_read),
            write_slots.store.eq(frontend.store_write),
            frontend.regions.eq(csr.regions),
            frontend.freeze.eq(csr.hold.granted),
            frontend.leap_cap.eq(csr.policy.leap_cap),
        ]

        # Who holds the pipeline
        connect(m, frontend.hold, quiesce.holds[_HOLD_FRONTEND])
        connect(m, csr.hold, quiesce.holds[_HOLD_CSR])
        connect(m, residency.hold, quiesce.holds[_HOLD_RESIDENCY])
        m.d.comb += [
            quiesce.idle.eq(metadata.idle & coherency.idle),
            metadata.hold_external.eq(quiesce.hold_external),
            metadata.hold_engine.eq(quiesce.hold_engine),
            coherency.hold.eq(quiesce.hold_external),
        ]

        # Step, policy, commits: broadcast
        m.d.comb += [
            metadata.now.eq(frontend.now),
            metadata.policy.eq(csr.policy),
            metadata.modes.eq(csr.modes),
            residency.now.eq(frontend.now),
            residency.policy.eq(csr.policy),
            residency.commit.eq(metadata.commit),
            victim.now.eq(frontend.now),
            victim.policy.eq(csr.policy),
            victim.rebuild.eq(csr.rebuild),
            victim.commit.eq(metadata.commit),
            victim.pause.eq(phase.all_prefill),
            tracker.commit.eq(metadata.commit),
            phase.now.eq(frontend.now),
            phase.policy.eq(csr.policy),
            phase.regions.eq(csr.regions),
            phase.commit.eq(metadata.commit),
            csr.now.eq(frontend.now),
            csr.commit.eq(metadata.commit),
        ]

        # Coherency
        connect(m, coherency.bisnp, outside.bisnp)
        connect(m, outside.birsp, coherency.birsp)
        connect(m, coherency.retry_slots, metadata.retry_slots)
        m.d.comb += [
            coherency.commit.eq(metadata.commit),
            coherency.question.eq(metadata.filter_question),
            metadata.filter_verdict.eq(coherency.verdict),
            coherency.take.eq(metadata.filter_take),
            metadata.covered_room.eq(coherency.room),
            metadata.hold_reqs.eq(coherency.hold_reqs),
            coherency.leave.eq(datapath.read_release),
            coherency.regions.eq(csr.regions),
            coherency.registers.eq(csr.coherency),
            csr.bi_events.eq(coherency.events),
            csr.covered_sectors.eq(coherency.sectors),
            csr.cached_in_use.eq(coherency.in_use),
            csr.snoops_in_flight.eq(coherency.in_flight),
            csr.held_requests.eq(coherency.held),
        ]

        # Prefetch
        m.d.sync += prefetch.commit.eq(metadata.commit)
        connect(m, residency.prefetch_lock, prefetch.lock)
        m.d.comb += [
            prefetch.now.eq(frontend.now),
            prefetch.policy.eq(csr.policy),
            prefetch.decode.eq(phase.decode),
            prefetch.streams.eq(csr.streams),
            prefetch.take.eq(residency.prefetch_take),
            prefetch.inspect_head.eq(csr.inspect_head),
            metadata.host_room.eq(prefetch.room),
            residency.prefetch_first.eq(prefetch.first),
            csr.inspect_window.eq(prefetch.inspect_window),
            csr.stream_positions.eq(prefetch.positions),
        ]

        # Data
        command = residency.page_commands
        connect(m, metadata.data_ops, datapath.ops)
        connect(m, datapath.mem, outside.mem)
        connect(m, datapath.ndr, outside.ndr)
        connect(m, datapath.drs, outside.drs)
        connect(m, residency.sidecar_ops, datapath.sidecar_ops)
        connect(m, residency.drain, drain_gate.asker)
        connect(m, drain_gate.datapath, datapath.drain)
        m.d.comb += [
            drain_gate.level.eq(metadata.data_level),
            drain_gate.taken.eq(metadata.data_ops.valid & metadata.data_ops.ready),
            residency.sidecar_done.eq(datapath.sidecar_done),
            residency.sidecar_failed.eq(datapath.sidecar_failed),
            datapath.page_read.valid.eq(command.valid & command.ready & ~command.payload.write),
            *(datapath.page_read[name].eq(command.payload[name]) for name in ("mode", "frame")),
            read_slots.lookup.eq(datapath.read_lookup),
            datapath.read_found.eq(read_slots.found),
            read_slots.release.eq(datapath.read_release),
            write_slots.lookup.eq(datapath.write_lookup),
            datapath.write_found.eq(write_slots.found),
            write_slots.read.eq(datapath.write_read),
            datapath.write_contents.eq(write_slots.contents),
            write_slots.release.eq(datapath.write_release),
            load_meter.read_slots.eq(read_slots.used),
            load_meter.write_slots.eq(write_slots.used),
            load_meter.thresholds.eq(csr.dev_load),
            datapath.dev_load.eq(load_meter.load),
            error_notes.errors.eq(datapath.errors),
        ]

        # Residency
        connect(m, residency.victim_request, victim.request)
        connect(m, victim.answer, residency.victim_answer)
        connect(m, residency.page_commands, outside.page_command)
        connect(m, outside.page_done, residency.page_done)
        m.d.comb += [
            # The victim engine reads the table first.
            metadata.sweep.enable.eq(victim.table.enable | prefetch.table.enable),
            metadata.sweep.index.eq(Mux(victim.table.enable, victim.table.index, prefetch.table.index)),
            victim.table.entry.eq(metadata.sweep.entry),
            prefetch.table.entry.eq(metadata.sweep.entry),
            prefetch.table_free.eq(~victim.table.enable),
            victim.above_min.eq(residency.above_min),
            victim.modes.eq(csr.modes),
            residency.migrating_index.eq(victim.migrating_index),
            victim.migrating.eq(residency.migrating),
            victim.migration_ended.eq(residency.migration_ended),
            victim.covered.eq(coherency.covered),
            victim.uncovered.valid.eq(coherency.uncovered.valid),
            victim.uncovered.head.eq(coherency.uncovered.head),
            coherency.look.enable.eq(victim.table.enable),
            coherency.look.index.eq(victim.table.index),
            coherency.candidate.eq(victim.recall),
            coherency.pressure.eq(residency.pool_full[csr.modes.bit_select(victim.recall.head, 1)]),
            residency.uncovered.eq(coherency.uncovered.valid),
        ]

        # Registers
        connect(m, outside.csr, csr.bus)
        connect(m, csr.commands, residency.commands)
        connect(m, residency.command_answers, csr.command_answers)
        m.d.comb += [
            csr.stalled.eq(event_port.stalled),
            csr.phases.eq(phase.prefill),
            csr.table_ready.eq(metadata.ready),
            csr.flash_unwritable.eq(residency.unwritable),
            residency.modes.eq(csr.modes),
            residency.cached.eq(csr.cached),
            csr.has_minimum.eq(residency.has_minimum),
            csr.pool_held.eq(residency.held),
            residency.inspect_head.eq(csr.inspect_head),
            csr.inspect_held.eq(residency.inspect_held),
            csr.inspect_minimum.eq(residency.inspect_minimum),
            csr.inspect_maximum.eq(residency.inspect_maximum),
            tracker.head.eq(csr.inspect_head),
            csr.inspect_tracker.eq(tracker.counters),
        ]

        # Events. An error is sticky from the clock of its note on, whoever notes it.
        for source, sink in zip(note_sources, notes.sources, strict=True):
            connect(m, source.notes, sink)
        connect(m, notes.output, event_port.notes)
        connect(m, event_port.slot_record, outside.slot_record)
        connect(m, event_port.engine_record, outside.engine_record)
        noted = event_port.notes.payload
        with m.If(event_port.notes.valid & event_port.notes.ready):
            m.d.comb += [
                csr.prefetches.queued.eq(noted.kind == EngineKind.PREFETCH_QUEUED),
                csr.prefetches.dropped.eq(noted.kind == EngineKind.PREFETCH_DROPPED),
                *(csr.errors[kind].eq((noted.kind == EngineKind.ERROR) & (noted.key == kind)) for kind in ErrorKind),
            ]
        m.d.comb += [
            event_port.slot_valid.eq(metadata.record_valid),
            event_port.slot.eq(metadata.record),
            metadata.record_room.eq(event_port.slot_room),
            event_port.commit_note.eq(coherency.commit_note),
            coherency.note_room.eq(event_port.note_room),
        ]
        return m
