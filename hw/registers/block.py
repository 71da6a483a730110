"""The register block: what the host sets, commands and reads over AXI4-Lite. The map is `csr.rdl`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import Outcome
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.frames.frame_pool import count_bits
from kv_endpoint.hw.lib.axi import AXI4Lite
from kv_endpoint.hw.pipeline.tracker import head_counters
from kv_endpoint.hw.registers.bus import CsrBus
from kv_endpoint.hw.registers.counters import EndpointCounters
from kv_endpoint.hw.registers.judge import CtrlJudge
from kv_endpoint.hw.registers.map import ADDRESS_BITS, Kind, registers
from kv_endpoint.hw.registers.regions import RegionRules
from kv_endpoint.hw.registers.words import word_is_legal

__all__ = ["Csr"]

#: outcomes of slots that are errors by themselves
_ERRORS_OF_OUTCOMES = {Outcome.NOT_OWNER: ErrorKind.NOT_OWNER, Outcome.SHARED_WRITE: ErrorKind.SHARED_WRITE}


class Csr(wiring.Component):
    """Registers by AXI4-Lite: policy, regions, commands to the allocator, errors, counters.

    One read and one write at a time, independent of each other. A read answers 3 clocks after its address was taken,
    whatever else goes on. A write is judged in 4 clocks after address and data were taken; then

    - a plain register changes at once;
    - a `held` register asks for the pipeline (`hold`), offers a CSR_WRITE note, and changes in the clock in which the
      note is accepted; the pipeline is released a clock later. One to CTRL of a region, or that enables a stream, is
      judged first, in the held pipeline (`CtrlJudge`); if it is refused, a REFUSAL and an ERROR note follow instead;
    - a `command` goes to the allocator (`commands`) and waits for the answer (`command_answers`);

    and BRESP follows. SLVERR: no such register, none of its fields writable, strobes not all set, a bit set outside
    the fields, a value that its encoding or its register's rules exclude, a refusal. Nothing changes then, but for the
    refusal in COMMAND_STATUS and ERROR.

    Members
    -------
    bus : In(AXI4Lite)
    policy, regions, streams : Out
        The values in force; they change only while the pipeline is held.
    modes, cached : Out(heads)
        The mode of each head, and whether hosts may cache its lines, likewise.
    coherency : Out(layouts.coherency_registers)
        Clocks after which a snoop is late, whether every line is to be taken back, and the most snoops under way.
    dev_load : Out
        Thresholds of `DevLoad`.
    phases : In(regions), stream_positions : In(array), inspect_window : In(8)
        Shown in REGION[].PHASE, STREAM[].POSITION, PREFETCH_WINDOW.
    prefetches : In(layouts.prefetch_counts), bi_events : In(csr_counters.bi_events)
        Pulses that counters of no slots count; two of `bi_events` set their bits of ERROR too.
    covered_sectors, snoops_in_flight, held_requests : In
        Shown in the registers of these names.
    cached_in_use : In(1)
        Cached regions stay as they are (`Coherency.in_use`); steady while the pipeline is held.
    rebuild : Out(1)
        The new policy, in force from this clock on, gives other eviction keys.
    commands : Out(stream), command_answers : In(stream)
        To the allocator; one command at a time. The answer comes when the command is carried out.
    hold : Out(Hold), notes : Out(stream)
    commit : In(layouts.commit), stalled : In(1)
        What the counters count (`EndpointCounters`).
    has_minimum : In(heads)
        Heads with a minimum quota.
    pool_held : In(array by mode)
        Shown in POOL_HELD, POOL_HELD_MX.
    now : In(step_bits), table_ready, flash_unwritable : In(1)
        Shown in STEP, STATUS.
    errors : In(len(ErrorKind))
        Bit `ErrorKind`: sets that bit of ERROR, as outcomes of commits do.
    inspect_head : Out(head_bits)
    inspect_held, inspect_minimum, inspect_maximum : In(32), inspect_tracker : In(head_counters(config))
        Allocator's and tracker's numbers of `inspect_head`, at most 2 clocks after it changed.
    """

    def __init__(self, *, config):
        self._config = config
        self._registers = registers(config)
        super().__init__(
            {
                "bus": In(AXI4Lite(address_bits=ADDRESS_BITS)),
                "policy": Out(layouts.policy_layout()),
                "regions": Out(ArrayLayout(layouts.region_layout(config), config.regions)),
                "streams": Out(ArrayLayout(layouts.stream_layout(config), config.streams)),
                "modes": Out(config.heads),
                "cached": Out(config.heads),
                "coherency": Out(layouts.coherency_registers()),
                "dev_load": Out(layouts.dev_load_thresholds()),
                "phases": In(config.regions),
                "stream_positions": In(ArrayLayout(32, config.streams)),
                "prefetches": In(layouts.prefetch_counts()),
                "bi_events": In(layouts.bi_events()),
                "covered_sectors": In(range(config.filter_sectors + 1)),
                "cached_in_use": In(1),
                "snoops_in_flight": In(range(config.snoops + 1)),
                "held_requests": In(range(config.read_slots + 1)),
                "inspect_window": In(8),
                "rebuild": Out(1),
                "commands": Out(stream.Signature(layouts.command(config))),
                "command_answers": In(stream.Signature(layouts.command_answer())),
                "hold": Out(layouts.Hold()),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "commit": In(layouts.commit(config)),
                "stalled": In(1),
                "has_minimum": In(config.heads),
                "pool_held": In(ArrayLayout(count_bits(config), len(Mode))),
                "now": In(config.step_bits),
                "table_ready": In(1),
                "flash_unwritable": In(1),
                "errors": In(len(ErrorKind)),
                "inspect_head": Out(config.head_bits),
                "inspect_held": In(32),
                "inspect_minimum": In(32),
                "inspect_maximum": In(32),
                "inspect_tracker": In(head_counters(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        m.submodules.port = port = CsrBus(address_bits=ADDRESS_BITS)
        wiring.connect(m, wiring.flipped(self.bus), port.bus)
        m.submodules.counters = counters = EndpointCounters(config=config)
        m.d.comb += [
            counters.commit.eq(self.commit),
            counters.stalled.eq(self.stalled),
            counters.prefetches.eq(self.prefetches),
            counters.bi_events.eq(self.bi_events),
        ]

        # Storage: what each field reads as, by register and field name.
        values = {}
        for register in self._registers:
            for field in register.fields:
                if field.kind in (Kind.STORED, Kind.STICKY):
                    name = f"{register.name}_{field.name}".replace("[", "").replace("].", "_").lower()
                    values[register.name, field.name] = Signal(field.width, init=field.reset, name=name)
                elif field.kind == Kind.COUNTER:
                    values[register.name, field.name] = counters.counts[register.name]
                elif field.kind in (Kind.CONSTANT, Kind.PULSE):
                    values[register.name, field.name] = Const(field.reset, field.width)
        refused, reason = Signal(), Signal.like(self.command_answers.payload.reason)
        values |= _status(self, m, config, values)
        values |= {("COMMAND_STATUS", "REFUSED"): refused, ("COMMAND_STATUS", "REASON"): reason}

        _drive(self, m, values)
        self._read(m, port, values)
        self._write(m, port, values, refused, reason)
        return m

    def _read(self, m, port, values):
        """One clock to find the register, one to gather its bits."""
        chosen = Signal(len(self._registers))
        m.d.sync += port.read_done.eq(port.read_valid & ~port.read_done)
        words = []
        for number, register in enumerate(self._registers):
            m.d.sync += chosen[number].eq(port.read_address == register.address)
            word = Signal(32, name=f"read_{number}")
            for field in register.fields:
                m.d.comb += word[field.low : field.low + field.width].eq(values[register.name, field.name])
            words.append(Mux(chosen[number], word, 0))
        m.d.comb += [port.read_error.eq(~chosen.any()), port.read_data.eq(_any_of(words))]

    def _write(self, m, port, values, refused, reason):
        writable = [register for register in self._registers if register.writable]
        chosen = Signal(len(writable))
        chosen_of = {register.name: chosen[number] for number, register in enumerate(writable)}
        data = port.write_data
        full = Signal()

        def any_chosen(mark):
            return Cat(chosen_of[register.name] for register in writable if getattr(register, mark)).any()

        fields_legal = Signal()
        m.d.sync += fields_legal.eq(full & _any_of([chosen_of[r.name] & word_is_legal(r, data) for r in writable]))
        regions_legal = self._regions_after(m, values, chosen_of, data)
        judge = self._judge(m, values, chosen_of, data)
        streams_legal = Signal()
        # A stream stays where it is while it is enabled, and so does its region.
        moves_stream = [
            chosen_of[f"STREAM[{number}].{name}"] & values[f"STREAM[{number}].CTRL", "ENABLED"]
            for number in range(self._config.streams)
            for name in ("BASE", "LENGTH", "STRIDE", "AHEAD")
        ]
        moves_region = [
            chosen_of[f"REGION[{number}].CTRL"] & used & (data[:2] != Cat(1, region.mode))
            for number, (region, used) in enumerate(zip(self.regions, judge.used, strict=True))
        ]
        m.d.sync += streams_legal.eq(~_any_of([*moves_stream, *moves_region]))

        self._drive_payloads(m, port, values, chosen_of["POOL_FRAMES"], chosen_of["POOL_FRAMES_MX"])

        # `apply`: the write takes effect in this clock. `refuse`: it ends refused.
        apply, refuse = Signal(), Signal()
        m.d.comb += judge.apply.eq(apply)
        with m.FSM(name="write"):
            with m.State("DECODE"):
                m.d.sync += full.eq(port.write_full)
                for number, register in enumerate(writable):
                    m.d.sync += chosen[number].eq(port.write_address == register.address)
                with m.If(port.write_valid):
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.next = "REGIONS"
            with m.State("REGIONS"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                with m.If(~(fields_legal & regions_legal & streams_legal)):
                    m.d.comb += [port.write_done.eq(1), port.write_error.eq(1)]
                    m.next = "DECODE"
                with m.Elif(any_chosen("held")):
                    m.next = "HOLD"
                with m.Elif(any_chosen("command")):
                    m.next = "COMMAND"
                with m.Else():
                    m.d.comb += [apply.eq(1), port.write_done.eq(1)]
                    m.next = "DECODE"
            with m.State("HOLD"):
                m.d.comb += self.hold.request.eq(1)
                with m.If(self.hold.granted):
                    m.next = "NOTE"
                    with m.If(judge.wanted):
                        m.d.comb += judge.start.eq(1)
                        m.next = "CTRL"
            with m.State("CTRL"):
                m.d.comb += self.hold.request.eq(1)
                with m.If(judge.done):
                    m.d.sync += [refused.eq(judge.refused), reason.eq(Mux(judge.refused, judge.reason, 0))]
                    m.next = "NOTE"
                    with m.If(judge.refused):
                        m.next = "REFUSAL"
            with m.State("NOTE"):
                m.d.comb += [self.hold.request.eq(1), self.notes.valid.eq(1)]
                with m.If(self.notes.ready):
                    m.d.comb += [apply.eq(1), port.write_done.eq(1)]
                    m.next = "DECODE"
            with m.State("REFUSAL"):
                m.d.comb += [
                    self.hold.request.eq(1),
                    self.notes.valid.eq(1),
                    self.notes.payload.kind.eq(EngineKind.REFUSAL),
                    self.notes.payload.key.eq(reason),
                    self.notes.payload.aux.eq(judge.number),
                ]
                with m.If(self.notes.ready):
                    m.next = "ERROR"
            with m.State("ERROR"):
                m.d.comb += [
                    self.hold.request.eq(1),
                    self.notes.valid.eq(1),
                    self.notes.payload.kind.eq(EngineKind.ERROR),
                    self.notes.payload.key.eq(ErrorKind.REFUSED_COMMAND),
                    self.notes.payload.aux.eq(reason),
                ]
                with m.If(self.notes.ready):
                    m.d.comb += [refuse.eq(1), port.write_done.eq(1), port.write_error.eq(1)]
                    m.next = "DECODE"
            with m.State("COMMAND"):
                m.d.comb += self.commands.valid.eq(1)
                with m.If(self.commands.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.command_answers.ready.eq(1)
                with m.If(self.command_answers.valid):
                    m.d.comb += [
                        port.write_done.eq(1),
                        refuse.eq(self.command_answers.payload.refused),
                        port.write_error.eq(refuse),
                        apply.eq(~refuse),
                    ]
                    m.d.sync += [refused.eq(refuse), reason.eq(self.command_answers.payload.reason)]
                    m.next = "DECODE"

        self._store(m, values, {name: apply & signal for name, signal in chosen_of.items()}, data, refuse)

    def _drive_payloads(self, m, port, values, is_exact_pool, is_mxint8_pool):
        """What a note and a command say, should the write become one."""
        data, note, command = port.write_data, self.notes.payload, self.commands.payload
        is_pool = is_exact_pool | is_mxint8_pool
        m.d.comb += [
            note.kind.eq(EngineKind.CSR_WRITE),
            note.key.eq(port.write_address),
            note.aux.eq(data),
            command.head.eq(values["HEAD_SELECT", "VALUE"]),
            command.block.eq(values["HEAD_BLOCK", "VALUE"]),
            command.minimum.eq(values["QUOTA_MIN", "VALUE"]),
            command.maximum.eq(Mux(is_pool, data, values["QUOTA_MAX", "VALUE"])),
            command.kind.eq(layouts.CommandKind.POOL),
            command.mode.eq(is_mxint8_pool),
        ]
        for register in self._registers:
            for field in register.fields:
                if field.kind == Kind.PULSE:
                    with m.If(~is_pool & data[field.low]):
                        m.d.comb += command.kind.eq(layouts.CommandKind[field.name])

    def _errors(self, m, refuse):
        """Bit `ErrorKind`: there is such an error. `refuse`: a write ends refused."""
        errors = {kind: self.errors[kind] for kind in ErrorKind}
        for outcome, kind in _ERRORS_OF_OUTCOMES.items():
            # The broadcast has many listeners: it gets a clock to arrive.
            seen = Signal(name=f"saw_{outcome.name.lower()}")
            m.d.sync += seen.eq(self.commit.valid & (self.commit.outcome == outcome))
            errors[kind] |= seen
        errors[ErrorKind.REFUSED_COMMAND] |= refuse
        errors[ErrorKind.BAD_BIRSP] |= self.bi_events.bad_birsp
        errors[ErrorKind.SNOOP_TIMEOUT] |= self.bi_events.timed_out
        return errors

    def _store(self, m, values, applied, data, refuse):
        """The fields after a write; `applied` says for each register that its write takes effect in this clock."""
        changes_keys = []
        errors = self._errors(m, refuse)
        for register in self._registers:
            for field in register.fields:
                part = data[field.low : field.low + field.width]
                value = values[register.name, field.name]
                if field.kind == Kind.STORED:
                    with m.If(applied[register.name]):
                        m.d.sync += value.eq(part)
                    if field.rebuild:
                        changes_keys.append(applied[register.name] & (part != value))
                elif field.kind == Kind.STICKY:
                    # An error in the clock of its clearing wins.
                    set_now = errors[ErrorKind[field.name]]
                    m.d.sync += value.eq(set_now | (value & ~(applied[register.name] & part)))
        m.d.sync += self.rebuild.eq(Cat(changes_keys).any())

    def _field(self, register, field):
        return next(each for each in self._registers if each.name == register).field(field)

    def _judge(self, m, values, chosen_of, data):
        """Who judges writes to CTRL of regions and streams, and what follows from the registers as they are."""
        config = self._config
        m.submodules.judge = judge = CtrlJudge(config=config)
        for number, region in enumerate(judge.regions):
            path = f"REGION[{number}]."
            m.d.comb += [
                region.count.eq(values[path + "HEADS", "COUNT"]),
                region.first.eq(values[path + "FIRST_HEAD", "NUMBER"]),
                judge.of_region[number].eq(chosen_of[path + "CTRL"]),
                *(region.control[name].eq(values[path + "CTRL", name.upper()]) for name in judge.after.shape().members),
            ]
        for name in judge.after.shape().members:
            field = self._field("REGION[0].CTRL", name.upper())
            m.d.comb += judge.after[name].eq(data[field.low : field.low + field.width])
        modes = Cat(region.mode for region in self.regions)
        for number, (descriptor, region) in enumerate(zip(judge.streams, judge.region_of, strict=True)):
            path = f"STREAM[{number}]."
            m.d.comb += [
                descriptor.base.eq(values[path + "BASE", "INDEX"]),
                descriptor.length.eq(values[path + "LENGTH", "COUNT"]),
                descriptor.stride.eq(values[path + "STRIDE", "BLOCKS"]),
                descriptor.enabled.eq(values[path + "CTRL", "ENABLED"]),
                judge.of_stream[number].eq(chosen_of[path + "CTRL"]),
                self.streams[number].mode.eq(modes.bit_select(region, 1)),
            ]
        m.d.comb += [
            judge.pool_frames[Mode.EXACT].eq(values["POOL_FRAMES", "VALUE"]),
            judge.pool_frames[Mode.MXINT8].eq(values["POOL_FRAMES_MX", "VALUE"]),
            judge.covered.eq(self.cached_in_use),
            judge.commit.eq(self.commit),
            judge.has_minimum.eq(self.has_minimum),
            self.modes.eq(judge.modes),
            self.cached.eq(judge.cached),
        ]
        return judge

    def _regions_after(self, m, values, chosen_of, data):
        """Whether the regions as the write would leave them keep their rules; 2 clocks after `chosen_of` is set."""
        m.submodules.region_rules = rules = RegionRules(config=self._config)
        for number, region in enumerate(rules.regions):
            places = {
                "count": ("HEADS", "COUNT"), "first": ("FIRST_HEAD", "NUMBER"), "enabled": ("CTRL", "ENABLED"),
                "hosts": ("CTRL", "HOSTS"), "cached": ("CTRL", "CACHED"),
            }  # fmt: skip
            m.d.comb += region.line.eq(values[f"REGION[{number}].BASE_LO", "ADDRESS"])
            for member, (register, field) in places.items():
                name = f"REGION[{number}].{register}"
                value, low = values[name, field], self._field(name, field).low
                m.d.comb += region[member].eq(Mux(chosen_of[name], data[low : low + len(value)], value))
            moving = [f"REGION[{number}].{register}" for register in ("BASE_LO", "BASE_HI", "HEADS", "FIRST_HEAD")]
            m.d.comb += region.moved.eq(_any_of([chosen_of[name] for name in moving]))
        return rules.legal


def _any_of(terms):
    """The bitwise or of `terms`."""
    if len(terms) < 2:
        return terms[0] if terms else Const(0)
    half = len(terms) // 2
    return _any_of(terms[:half]) | _any_of(terms[half:])


def _status(csr, m, config, values):
    """{(register, field): value} of the fields of the register block `csr` that follow its inputs."""
    # The select register may name a head that does not exist; its low bits would show another head's numbers.
    exists = Signal()
    m.d.sync += exists.eq(values["HEAD_SELECT", "VALUE"] < config.heads)
    of_head = {"HEAD_HELD": csr.inspect_held, "HEAD_MIN": csr.inspect_minimum, "HEAD_MAX": csr.inspect_maximum}
    of_head["PREFETCH_WINDOW"] = csr.inspect_window
    for name in head_counters(config).members:
        of_head[f"TRACKER_{name.upper()}"] = csr.inspect_tracker[name]
    return {
        ("STATUS", "TABLE_READY"): csr.table_ready,
        ("STATUS", "FLASH_UNWRITABLE"): csr.flash_unwritable,
        ("STEP", "VALUE"): csr.now,
        ("POOL_HELD", "VALUE"): csr.pool_held[Mode.EXACT],
        ("POOL_HELD_MX", "VALUE"): csr.pool_held[Mode.MXINT8],
        ("COVERED_SECTORS", "VALUE"): csr.covered_sectors,
        ("SNOOPS_IN_FLIGHT", "VALUE"): csr.snoops_in_flight,
        ("HELD_REQUESTS", "VALUE"): csr.held_requests,
        **{(name, "VALUE"): Mux(exists, value, 0) for name, value in of_head.items()},
        **{(f"REGION[{number}].PHASE", "VALUE"): phase for number, phase in enumerate(csr.phases)},
        **{(f"STREAM[{number}].POSITION", "BLOCKS"): position for number, position in enumerate(csr.stream_positions)},
    }


def _drive(csr, m, values):
    """Drives the outputs of the register block `csr` that are fields: `values` by (register, field)."""
    m.d.comb += [
        csr.policy.priority.eq(values["POLICY", "PRIORITY"]),
        csr.policy.score.eq(values["POLICY", "SCORE"]),
        csr.policy.protect.eq(values["POLICY", "PROTECT"]),
        csr.policy.bypass.eq(values["POLICY", "BYPASS"]),
        csr.policy.alpha.eq(values["ALPHA", "VALUE"]),
        csr.policy.lam.eq(values["LAMBDA", "VALUE"]),
        csr.policy.leap_cap.eq(values["LEAP_CAP", "VALUE"]),
        csr.policy.prefetch_announced.eq(values["PREFETCH", "ANNOUNCED"]),
        csr.policy.prefetch_window.eq(values["PREFETCH", "WINDOW"]),
        csr.policy.prefetch_streams.eq(values["PREFETCH", "STREAMS"]),
        csr.policy.prefetch_depth.eq(values["PREFETCH", "DEPTH"]),
        csr.policy.phase_ratio.eq(values["PHASE", "RATIO"]),
        csr.policy.phase_window.eq(values["PHASE", "WINDOW"]),
        csr.policy.phase_burst.eq(values["PHASE", "BURST"]),
        csr.policy.phase_burst_lines.eq(values["PHASE", "BURST_LINES"]),
        *(csr.dev_load[name].eq(values["DEVLOAD", name.upper()]) for name in layouts.dev_load_thresholds().members),
        csr.coherency.timeout.eq(values["COHERENCY", "TIMEOUT"]),
        csr.coherency.recall_all.eq(values["COHERENCY", "RECALL_ALL"]),
        csr.coherency.snoop_limit.eq(values["SNOOP_LIMIT", "VALUE"]),
        csr.inspect_head.eq(values["HEAD_SELECT", "VALUE"]),
    ]
    for number, region in enumerate(csr.regions):
        path = f"REGION[{number}]."
        m.d.comb += [
            region.base.eq(Cat(values[path + "BASE_LO", "ADDRESS"], values[path + "BASE_HI", "ADDRESS"])),
            region.heads.eq(values[path + "HEADS", "COUNT"]),
            region.first_head.eq(values[path + "FIRST_HEAD", "NUMBER"]),
            region.enabled.eq(values[path + "CTRL", "ENABLED"]),
            region.mode.eq(values[path + "CTRL", "MODE"]),
            region.cached.eq(values[path + "CTRL", "CACHED"]),
            region.hosts.eq(values[path + "CTRL", "HOSTS"]),
        ]
    for number, descriptor in enumerate(csr.streams):
        path = f"STREAM[{number}]."
        m.d.comb += [
            descriptor.enabled.eq(values[path + "CTRL", "ENABLED"]),
            descriptor.base.eq(values[path + "BASE", "INDEX"]),
            descriptor.length.eq(values[path + "LENGTH", "COUNT"]),
            descriptor.stride.eq(values[path + "STRIDE", "BLOCKS"]),
            descriptor.ahead.eq(values[path + "AHEAD", "BLOCKS"]),
        ]
