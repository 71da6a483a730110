"""The register block: every register of the map, every access, and the order in which a write takes effect."""

import random
import subprocess
from dataclasses import replace

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import PRESETS, preset
from kv_endpoint.golden.common.line_access import Access, Grant
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy, Priority, ScoreSource
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, RefusalKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.golden.registers import rules as csr
from kv_endpoint.golden.registers.map import REGISTERS
from kv_endpoint.golden.registers.state import Registers
from kv_endpoint.hw.common.layouts import CommandKind
from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR
from kv_endpoint.hw.pipeline.tracker import head_counters
from kv_endpoint.hw.registers import documents as csr_documents
from kv_endpoint.hw.registers.block import Csr
from kv_endpoint.hw.registers.counters import PULSES
from kv_endpoint.hw.registers.map import ADDRESS_BITS, Kind, registers
from tests.support import native, simulation
from tests.support.paths import ROOT

#: three regions, a head count that is no power of two and two hosts, so that every rule of the regions has a case
CONFIG = preset("tiny", heads=5, regions=3, hosts=2)
#: words of CTRL of a region of the first host: off, on, on in mode mxint8; the bit of a cached one
OFF, ON, MX, CACHED = 0x10, 0x11, 0x13, 0x4
#: clocks that a response may take while nothing but the bus is slow
PATIENCE = 200
POOLS = {Mode.EXACT: "POOL_FRAMES", Mode.MXINT8: "POOL_FRAMES_MX"}
POLICY_REGISTERS = [register for register in registers(CONFIG) if register.held]


def channel(ctx, bus, name):
    """Whether the channel's next item is taken in this clock."""
    return bool(ctx.get(getattr(bus, f"{name}valid")) and ctx.get(getattr(bus, f"{name}ready")))


async def write(ctx, dut, address, data, *, strobe=0xF, delays=(0, 0, 0)):
    """One write; `delays` are the clocks before AW, W and BREADY. Returns BRESP."""
    bus, address_sent, data_sent = dut.bus, False, False
    aw_delay, w_delay, b_delay = delays
    for clock in range(PATIENCE):
        ctx.set(bus.awvalid, not address_sent and clock >= aw_delay)
        ctx.set(bus.awaddr, address if not address_sent and clock >= aw_delay else 0x3FF)
        ctx.set(bus.wvalid, not data_sent and clock >= w_delay)
        ctx.set(bus.wdata, data if not data_sent and clock >= w_delay else 0xDEADBEEF)
        ctx.set(bus.wstrb, strobe)
        ctx.set(bus.bready, clock >= b_delay)
        address_taken, data_taken = channel(ctx, bus, "aw"), channel(ctx, bus, "w")
        answered, response = channel(ctx, bus, "b"), ctx.get(bus.bresp)
        assert not ctx.get(bus.bvalid) or (address_sent and data_sent), "BVALID before the write was complete"
        waiting = ctx.get(bus.bvalid) and not answered
        await ctx.tick()
        if waiting:
            assert (ctx.get(bus.bvalid), ctx.get(bus.bresp)) == (1, response), "B changed before it was taken"
        address_sent, data_sent = address_sent or address_taken, data_sent or data_taken
        if answered:
            ctx.set(bus.bready, 0)
            return response
    raise AssertionError(f"no BRESP for a write of {address:#x}")


async def read(ctx, dut, address, *, delays=(0, 0)):
    """One read; `delays` are the clocks before AR and RREADY. Returns (RDATA, RRESP)."""
    bus, sent = dut.bus, False
    for clock in range(PATIENCE):
        ctx.set(bus.arvalid, not sent and clock >= delays[0])
        ctx.set(bus.araddr, address if not sent else 0)
        ctx.set(bus.rready, clock >= delays[1])
        taken, answered = channel(ctx, bus, "ar"), channel(ctx, bus, "r")
        valid, answer = ctx.get(bus.rvalid), (ctx.get(bus.rdata), ctx.get(bus.rresp))
        await ctx.tick()
        if valid and not answered:
            assert (ctx.get(bus.rdata), ctx.get(bus.rresp)) == answer, "R changed before it was taken"
        sent = sent or taken
        if answered:
            ctx.set(bus.rready, 0)
            return answer
    raise AssertionError(f"no RDATA for {address:#x}")


async def read_word(ctx, dut, name):
    word, response = await read(ctx, dut, csr.address(name))
    assert response == RESP_OKAY
    return word


def policy_of(ctx, dut):
    seen = {name: ctx.get(dut.policy[name]) for name in Policy.__dataclass_fields__}
    return Policy(**seen)


def regions_of(ctx, dut, config=CONFIG):
    """The regions as golden ones; `base` of the layout counts lines."""
    return tuple(
        replace(
            region,
            base=ctx.get(dut.regions[number].base) << 6,
            heads=ctx.get(dut.regions[number].heads),
            first_head=ctx.get(dut.regions[number].first_head),
            enabled=bool(ctx.get(dut.regions[number].enabled)),
            mode=ctx.get(dut.regions[number].mode),
            cached=bool(ctx.get(dut.regions[number].cached)),
            hosts=ctx.get(dut.regions[number].hosts),
        )
        for number, region in enumerate(csr.reset_regions(config))
    )


def streams_of(ctx, dut):
    """The streams as golden ones, and the mode that each is shown with."""
    ports = [dut.streams[number] for number in range(CONFIG.streams)]
    seen = [{name: ctx.get(port[name]) for name in ("base", "length", "stride", "ahead", "enabled")} for port in ports]
    return tuple(StreamDescriptor(**values | {"enabled": bool(values["enabled"])}) for values in seen)


def modes_of(ctx, dut):
    return [Mode(ctx.get(dut.modes) >> head & 1) for head in range(CONFIG.heads)]


def cached_of(ctx, dut):
    return [bool(ctx.get(dut.cached) >> head & 1) for head in range(CONFIG.heads)]


class Surroundings:
    """Pipeline, event port and allocator around the block, as slow as random numbers say."""

    def __init__(self, dut, rng, *, config, reset, slowness):
        self.dut, self.rng, self.config, self.reset, self.slowness = dut, rng, config, reset, slowness
        #: (address, value) of each CSR_WRITE, in order, and (kind, key, aux) of the other notes
        self.notes, self.refusals = [], []
        #: clocks in which `rebuild`, `hold.request` were seen
        self.rebuilds = self.requests = 0
        #: commands taken, as dicts, and how the next ones are answered (`RefusalKind`, or None: carried out)
        self.commands, self.answers = [], []
        self.resetting = False

    def slow(self):
        return self.rng.random() < self.slowness

    async def pipeline(self, ctx):
        """Grants holds, takes notes. Policy and regions may change only in a clock in which it took one."""
        dut, granted, taken, before = self.dut, False, False, None
        while True:
            outputs = dut.policy, dut.regions, dut.streams
            in_force = *(ctx.get(output.as_value()) for output in outputs), ctx.get(dut.modes), ctx.get(dut.cached)
            assert in_force == before or before is None or taken or self.resetting, "changed without a note"
            before = in_force
            request = bool(ctx.get(dut.hold.request))
            granted = request and (granted or not self.slow())
            ctx.set(dut.hold.granted, granted)
            ctx.set(dut.notes.ready, not self.slow())
            taken = bool(ctx.get(dut.notes.valid) and ctx.get(dut.notes.ready))
            assert granted or not ctx.get(dut.notes.valid), "a note without a hold"
            if taken:
                note = dut.notes.payload
                kind, key, aux = EngineKind(ctx.get(note.kind)), ctx.get(note.key), ctx.get(note.aux)
                if kind == EngineKind.CSR_WRITE:
                    self.notes.append((key, aux))
                else:
                    self.refusals.append((kind, key, aux))
            self.rebuilds += ctx.get(dut.rebuild)
            self.requests += request
            await ctx.tick()

    async def allocator(self, ctx):
        """Takes commands, answers each after a while."""
        dut, pending, answering = self.dut, False, False
        while True:
            if self.resetting:
                pending = answering = False
            if pending and not answering and not self.slow():
                answering, answer = True, self.answers.pop(0)
                ctx.set(dut.command_answers.payload.refused, answer is not None)
                ctx.set(dut.command_answers.payload.reason, 0 if answer is None else answer)
            ctx.set(dut.command_answers.valid, answering)
            ctx.set(dut.commands.ready, not pending and not self.slow())
            if ctx.get(dut.commands.valid) and ctx.get(dut.commands.ready):
                payload = dut.commands.payload
                self.commands.append({name: ctx.get(payload[name]) for name in payload.shape().members})
                pending = True
            if answering and ctx.get(dut.command_answers.ready):
                assert not ctx.get(dut.bus.bvalid), "BRESP before the answer"
                pending = answering = False
                await ctx.tick()
                ctx.set(dut.command_answers.valid, 0)
                continue
            await ctx.tick()


def run(bench, *others, seed=1, slowness=0.6, config=CONFIG, dut=None):
    """Run `bench(ctx, dut, around)` with the surroundings, and testbenches `others`, in the background."""
    print("seed", seed)
    dut, reset = dut or Csr(config=config), Signal()
    around = Surroundings(dut, random.Random(seed), config=config, reset=reset, slowness=slowness)

    async def main(ctx):
        await bench(ctx, dut, around)

    # A build of its own pays only where many tests have the same.
    simulate = native.simulate if config == CONFIG else simulation.simulate
    simulate(ResetInserter(reset)(dut), main, background=(around.pipeline, around.allocator, *others))


def random_delays(rng):
    return tuple(rng.choice((0, 0, 1, 2, 5, 9)) for _ in range(3))


# The map -------------------------------------------------------------------------------------------------------------


def test_generated_files_match_the_register_source():
    for path, text in csr_documents.documents().items():
        assert path.read_text() == text, f"{path.name}: run python -m kv_endpoint.hw.registers.documents"


def test_the_check_reports_a_stale_file(monkeypatch, tmp_path, capsys):
    stale = tmp_path / "map.py"
    stale.write_text("REGISTERS = {}\n")
    monkeypatch.setattr(csr_documents, "_ROOT", tmp_path)
    monkeypatch.setattr(csr_documents, "documents", lambda: {stale: "REGISTERS = {1: 2}\n"})
    assert csr_documents.main(["--check"]) == 1
    assert "map.py" in capsys.readouterr().err
    assert csr_documents.main([]) == 0
    assert csr_documents.main(["--check"]) == 0


@pytest.mark.parametrize("config", [*PRESETS.values(), CONFIG], ids=lambda config: f"{config.name}-{config.heads}")
def test_golden_names_addresses_and_fields_are_those_of_the_map(config):
    elaborated = {register.name: register for register in registers(config)}
    assert set(elaborated) <= set(csr.NAMES)
    assert {name for name in csr.NAMES if name not in elaborated} == {
        name
        for array, count in (("REGION[", config.regions), ("STREAM[", config.streams))
        for name in csr.NAMES
        if name.startswith(array) and int(name[7]) >= count
    }
    for name, register in elaborated.items():
        assert register.address == csr.address(name) < 1 << ADDRESS_BITS
        assert {field.name: (field.low, field.width) for field in register.fields} == {
            field: place[:2] for field, place in REGISTERS[name][1].items()
        }
        assert csr.reset_value(name) in (register.reset, None)


def test_reset_values_of_the_map_are_the_golden_defaults():
    words = {register.address: register.reset for register in registers(CONFIG)}
    policy = Policy(**dict.fromkeys(Policy.__dataclass_fields__))
    regions = tuple(replace(region, heads=0) for region in csr.reset_regions(CONFIG))
    streams = (StreamDescriptor(length=7, stride=7, ahead=7),) * CONFIG.streams
    for register in POLICY_REGISTERS:
        policy, regions, streams = csr.apply(policy, regions, streams, register.address, words[register.address])
    assert policy == Policy()
    assert regions == csr.reset_regions(CONFIG)
    assert streams == (StreamDescriptor(),) * CONFIG.streams


def test_encodings_of_the_map_are_the_golden_enumerations():
    fields = {(register.name, field.name): field for register in registers(CONFIG) for field in register.fields}
    for place, enumeration in {
        ("POLICY", "PRIORITY"): Priority,
        ("POLICY", "SCORE"): ScoreSource,
        ("COMMAND_STATUS", "REASON"): RefusalKind,
    }.items():
        encoding = fields[place].encoding
        assert {name: value for value, (name, _) in encoding.items()} == {kind.name: kind.value for kind in enumeration}
    errors = {field.name: field.low for (name, _), field in fields.items() if name == "ERROR"}
    assert errors == {kind.name: kind.value for kind in ErrorKind}
    counters = {name for (name, _), field in fields.items() if field.kind == Kind.COUNTER}
    assert counters == {*csr.COUNTERS, *PULSES}
    commands = {field.name for (name, _), field in fields.items() if name == "COMMAND"}
    assert commands == {kind.name for kind in CommandKind} - {"POOL"}


def test_golden_words_are_packed_and_unpacked_by_field():
    word = csr.pack("POLICY", PRIORITY=Priority.LRU, BYPASS=1)
    assert word == 0x202
    assert csr.unpack("POLICY", word) == {"PRIORITY": 2, "SCORE": 0, "PROTECT": 0, "BYPASS": 1}
    with pytest.raises(ValueError, match="PRIORITY must fit 2 bits, not 4"):
        csr.pack("POLICY", PRIORITY=4)
    with pytest.raises(ValueError, match="policy, region or stream register"):
        csr.apply(Policy(), csr.reset_regions(CONFIG), (), csr.address("POOL_FRAMES"), 1)


def test_the_c_header_compiles_to_the_golden_addresses_and_fields(tmp_path):
    names = [name for name in csr.NAMES if "[" not in name or name.startswith("REGION[1]")]
    checks = ['#include "registers.h"']
    for name in names:
        macro = "KV_" + name.replace("[1].", "_")
        call = f"{macro}(1)" if "[" in name else macro
        checks.append(f'_Static_assert({call} == {csr.address(name)}u, "{name}");')
        for field, (low, width, _) in REGISTERS[name][1].items():
            mask = f"{macro}_{field}_MASK == {((1 << width) - 1) << low}u"
            checks.append(f'_Static_assert({macro}_{field}_SHIFT == {low} && {mask}, "{name}.{field}");')
    for enumeration, field in ((Priority, "PRIORITY"), (ScoreSource, "SCORE")):
        checks += [f'_Static_assert(KV_POLICY_{field}_{kind.name} == {kind}, "{kind!r}");' for kind in enumeration]
    source = tmp_path / "checks.c"
    source.write_text("\n".join(checks) + "\n")
    include = ROOT / "docs"
    result = subprocess.run(
        ["gcc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", f"-I{include}", source], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


# Reads ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CONFIG, PRESETS["small"]], ids=lambda config: config.name)
def test_every_address_reads_its_reset_value_or_answers_slverr(config):
    words = {register.address: register.reset for register in registers(config)}

    async def bench(ctx, dut, around):
        for address in [*range(0, 0x400, 4), 0x002, 0x201, 0xFFC]:
            expected = (words[address], RESP_OKAY) if address in words else (0, RESP_SLVERR)
            assert await read(ctx, dut, address) == expected, f"{address:#x}"
        assert (policy_of(ctx, dut), regions_of(ctx, dut, config)) == (Policy(), csr.reset_regions(config))

    run(bench, config=config)


def test_parameters_are_those_of_the_configuration():
    async def bench(ctx, dut, around):
        for name in ("HEADS", "BLOCKS_PER_HEAD", "REGIONS", "STEP_BITS", "FRAMES", "POOL_FRAMES_MIN", "POOL_FRAMES_MAX",
                     "PIN_CAP", "BYPASS_SLOTS", "SWEEP_WIDTH", "QUEUE_DEPTH", "HOSTS", "FILTER_SETS", "FILTER_WAYS",
                     "SNOOPS", "POOL_FRAMES_MIN_CACHED"):  # fmt: skip
            assert await read_word(ctx, dut, name) == getattr(CONFIG, name.lower()), name
        assert (await read_word(ctx, dut, "ID")).to_bytes(4, "big") == b"KVEP"

    run(bench)


@pytest.mark.quick
def test_status_registers_follow_the_hardware():
    async def bench(ctx, dut, around):
        ctx.set(dut.now, (1 << CONFIG.step_bits) - 2)
        assert await read_word(ctx, dut, "STEP") == (1 << CONFIG.step_bits) - 2
        for ready, unwritable in ((0, 0), (1, 0), (0, 1), (1, 1)):
            ctx.set(dut.table_ready, ready)
            ctx.set(dut.flash_unwritable, unwritable)
            assert await read_word(ctx, dut, "STATUS") == csr.pack(
                "STATUS", TABLE_READY=ready, FLASH_UNWRITABLE=unwritable
            )
        for mode, held in ((Mode.EXACT, 5), (Mode.MXINT8, 7)):
            ctx.set(dut.pool_held[mode], held)
        values = {"COVERED_SECTORS": CONFIG.filter_sectors, "SNOOPS_IN_FLIGHT": 3, "HELD_REQUESTS": CONFIG.read_slots}
        for name, value in values.items():
            ctx.set(getattr(dut, name.lower()), value)
            assert await read_word(ctx, dut, name) == value
        assert await read_word(ctx, dut, "POOL_HELD") == 5
        assert await read_word(ctx, dut, "POOL_HELD_MX") == 7

    run(bench)


def test_numbers_of_the_selected_head_are_read_right_after_it_is_selected():
    rng = random.Random(3)
    tracker = head_counters(CONFIG).members
    numbers = [
        {name: rng.getrandbits(member.width) for name, member in head_counters(CONFIG)} for _ in range(CONFIG.heads)
    ]
    quotas = [{name: rng.getrandbits(32) for name in ("held", "minimum", "maximum")} for _ in range(CONFIG.heads)]

    async def bench(ctx, dut, around):
        places = {f"TRACKER_{name.upper()}": (numbers, name) for name in tracker}
        places |= {"HEAD_HELD": (quotas, "held"), "HEAD_MIN": (quotas, "minimum"), "HEAD_MAX": (quotas, "maximum")}
        for head in (1, 4, 0, CONFIG.heads, 8, 0xFFFF, 2):
            for name, (source, member) in places.items():
                # The other head first, so that a number that comes too late is the wrong one.
                await write(ctx, dut, csr.address("HEAD_SELECT"), (head + 1) % CONFIG.heads)
                await write(ctx, dut, csr.address("HEAD_SELECT"), head)
                expected = source[head][member] if head < CONFIG.heads else 0
                assert await read_word(ctx, dut, name) == expected, f"{name} of head {head}"

    async def follow(ctx):
        """The numbers of a head, 2 clocks after it is asked for."""
        before = 0
        while True:
            asked = ctx.get(dut.inspect_head)
            await ctx.tick()
            head, before = before % CONFIG.heads, asked
            for name in tracker:
                ctx.set(dut.inspect_tracker[name], numbers[head][name])
            for name, value in quotas[head].items():
                ctx.set(getattr(dut, f"inspect_{name}"), value)

    dut = Csr(config=CONFIG)
    run(bench, follow, dut=dut)


# Plain writes --------------------------------------------------------------------------------------------------------


def test_plain_registers_keep_what_is_written_without_a_hold():
    rng = random.Random(5)

    async def bench(ctx, dut, around):
        for name, width in (("HEAD_SELECT", 16), ("HEAD_BLOCK", 16), ("QUOTA_MIN", 32), ("QUOTA_MAX", 32)):
            for word in (0, (1 << width) - 1, rng.getrandbits(width)):
                assert await write(ctx, dut, csr.address(name), word) == RESP_OKAY
                assert await read_word(ctx, dut, name) == word
        for thresholds in ((0, 0, 0), (1, 2, 3), (5, 5, 9), (7, 1023, 1023)):
            word = csr.pack("DEVLOAD", **dict(zip(("OPTIMAL", "MODERATE", "SEVERE"), thresholds, strict=True)))
            assert await write(ctx, dut, csr.address("DEVLOAD"), word) == RESP_OKAY
            assert await read_word(ctx, dut, "DEVLOAD") == word
            assert tuple(ctx.get(dut.dev_load[name]) for name in ("optimal", "moderate", "severe")) == thresholds
        for timeout, recall_all, limit in ((0, 1, 1), ((1 << 24) - 1, 0, 8191), (5, 1, CONFIG.snoops)):
            words = {
                "COHERENCY": csr.pack("COHERENCY", TIMEOUT=timeout, RECALL_ALL=recall_all),
                "SNOOP_LIMIT": limit,
            }
            for name, word in words.items():
                assert await write(ctx, dut, csr.address(name), word) == RESP_OKAY
                assert await read_word(ctx, dut, name) == word
            seen = tuple(ctx.get(dut.coherency[name]) for name in ("timeout", "recall_all", "snoop_limit"))
            assert seen == (timeout, recall_all, limit)
        assert around.requests == 0

    run(bench)


@pytest.mark.parametrize("seed", range(1))
def test_every_refused_write_answers_slverr_and_changes_nothing(seed):
    rng = random.Random(seed)
    mapped = {register.address: register for register in registers(CONFIG)}

    async def bench(ctx, dut, around):
        before = [await read(ctx, dut, address) for address in mapped]
        cases = [(address, rng.getrandbits(32), 0xF) for address in range(0, 0x400, 4) if address not in mapped]
        cases += [(address | rng.randrange(1, 4), 0, 0xF) for address in mapped]
        for address, register in mapped.items():
            if register.writable:
                outside = [1 << bit for bit in range(32) if not register.mask >> bit & 1]
                cases += [(address, register.reset, strobe) for strobe in rng.sample(range(15), 5)]
                cases += [(address, register.reset | bit, 0xF) for bit in outside]
            else:
                cases.append((address, register.reset, 0xF))
        cases += [(csr.address("POLICY"), word, 0xF) for word in (0x3, 0x30, 0x33)]
        cases += [(csr.address("SNOOP_LIMIT"), 0, 0xF)]
        cases += [(csr.address("REGION[0].CTRL"), on, 0xF) for on in (0, 1)]  # of no host
        cases += [(csr.address("COMMAND"), word, 0xF) for word in (0, 3, 5, 6, 7)]
        falling = ((2, 1, 3), (2, 3, 2), (9, 1, 1))
        cases += [(csr.address("DEVLOAD"), low | middle << 10 | high << 20, 0xF) for low, middle, high in falling]
        rng.shuffle(cases)
        for address, word, strobe in cases:
            response = await write(ctx, dut, address, word, strobe=strobe, delays=random_delays(rng))
            assert response == RESP_SLVERR, f"{word:#x} to {address:#x}, strobe {strobe:#x}"
        assert [await read(ctx, dut, address) for address in mapped] == before
        assert (around.requests, around.commands, around.notes) == (0, [], [])

    run(bench, seed=seed)


# Held writes ---------------------------------------------------------------------------------------------------------


def test_a_held_write_waits_for_the_hold_then_for_the_note_then_answers():
    async def bench(ctx):
        bus = dut.bus
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        ctx.set(bus.awaddr, csr.address("LEAP_CAP"))
        ctx.set(bus.wdata, 7)
        ctx.set(bus.wstrb, 0xF)
        ctx.set(bus.bready, 1)
        await ctx.tick()
        ctx.set(bus.awvalid, 0)
        ctx.set(bus.wvalid, 0)
        for _ in range(10):
            await ctx.tick()
        for _ in range(5):
            assert ctx.get(dut.hold.request) and not ctx.get(dut.notes.valid)
            await ctx.tick()
        ctx.set(dut.hold.granted, 1)
        await ctx.tick()
        for _ in range(5):
            assert ctx.get(dut.hold.request) and ctx.get(dut.notes.valid)
            assert ctx.get(dut.notes.payload.key) == csr.address("LEAP_CAP")
            assert ctx.get(dut.notes.payload.aux) == 7
            assert ctx.get(dut.policy.leap_cap) == 256 and not ctx.get(bus.bvalid)
            await ctx.tick()
        ctx.set(dut.notes.ready, 1)
        assert ctx.get(dut.policy.leap_cap) == 256
        await ctx.tick()
        assert ctx.get(dut.policy.leap_cap) == 7 and ctx.get(bus.bvalid)
        assert not ctx.get(dut.hold.request) and not ctx.get(dut.notes.valid)

    dut = Csr(config=CONFIG)
    native.simulate(ResetInserter(Signal())(dut), bench)


def test_reads_do_not_wait_for_a_write_that_waits_for_its_hold():
    answered = []

    async def bench(ctx, dut, around):
        around.slowness = 1.0
        for _ in range(3):
            assert await read_word(ctx, dut, "ALPHA") == Policy().alpha
        await ctx.tick().until(dut.hold.request)
        for _ in range(10):
            assert await read_word(ctx, dut, "ALPHA") == Policy().alpha
        assert not answered
        around.slowness = 0.0
        await ctx.tick().repeat(20)
        assert answered == [RESP_OKAY]
        assert await read_word(ctx, dut, "ALPHA") == 5

    async def writer(ctx):
        answered.append(await write(ctx, dut, csr.address("ALPHA"), 5))

    dut = Csr(config=CONFIG)
    run(bench, writer, dut=dut)


def near(rng, register):
    """A word for `register`: often legal, often just not."""
    if register.name.startswith("REGION[") and register.name.endswith(".CTRL"):
        on, cached, mode = rng.random() < 0.7, rng.random() < 0.5, rng.random() < 0.3
        return csr.pack("REGION[0].CTRL", ENABLED=on, CACHED=cached, MODE=mode, HOSTS=rng.choice((1, 1, 1, 2, 3, 0)))
    field = rng.choice(register.fields)
    top = (1 << field.width) - 1
    value = rng.choice([0, 1, 2, 3, rng.randrange(CONFIG.heads + 2), top, rng.randint(0, top)])
    if rng.random() < 0.1:
        return value << field.low | 1 << rng.randrange(32)
    return (value & top) << field.low


@pytest.mark.parametrize("slowness", [0.0, 0.6], ids=["quick", "slow"])
@pytest.mark.parametrize("seed", range(2))
def test_policy_and_regions_follow_the_golden_registers(seed, slowness):
    """Random writes; heads get blocks or a minimum, hosts hold lines, pools change on the way."""
    rng = random.Random(seed)
    controls = [register for register in POLICY_REGISTERS if register.name.endswith(".CTRL")]

    async def bench(ctx, dut, around):
        golden, had_blocks, minimums = Registers(CONFIG), set(), set()
        notes, refusals, rebuilds, accepted = [], [], 0, 0
        around_it = {"covered": 0, "pool_frames": dict.fromkeys(Mode, CONFIG.pool_frames_max)}
        for _ in range(300):
            if rng.random() < 0.1:
                around_it["covered"] = rng.choice((0, 0, 1, CONFIG.filter_sectors))
                ctx.set(dut.cached_in_use, around_it["covered"] != 0)
            if rng.random() < 0.05:
                mode, frames = rng.choice(list(Mode)), CONFIG.pool_frames_min_cached - rng.choice((0, 0, 1))
                around.answers.append(None)
                assert await write(ctx, dut, csr.address(POOLS[mode]), frames) == RESP_OKAY
                around_it["pool_frames"][mode] = frames
            if rng.random() < 0.03:
                minimums = set(rng.sample(range(CONFIG.heads), rng.choice((0, 0, 1))))
                ctx.set(dut.has_minimum, sum(1 << head for head in minimums))
            if rng.random() < 0.02:
                await first_write(ctx, dut, rng.randrange(CONFIG.heads))
                had_blocks.add(ctx.get(dut.commit.slot.head))
            register = rng.choice(rng.choice((POLICY_REGISTERS, controls)))
            word = near(rng, register)
            occupied, before = had_blocks | minimums, golden.policy
            legal = golden.legal(register.address, word)
            refusal = golden.refusal(register.address, word, occupied, **around_it) if legal else None
            response = await write(ctx, dut, register.address, word, delays=random_delays(rng))
            done = legal and refusal is None
            assert response == (RESP_OKAY if done else RESP_SLVERR), f"{register.name} {word:#x} {vars(golden)}"
            if done:
                golden.write(register.address, word, occupied, **around_it)
                notes.append((register.address, word))
                rebuilds += (before.priority, before.lam) != (golden.policy.priority, golden.policy.lam)
                accepted += 1
            elif legal:
                refusals.append((EngineKind.REFUSAL, refusal, int(register.name[7])))
                refusals.append((EngineKind.ERROR, ErrorKind.REFUSED_COMMAND, refusal))
            assert (policy_of(ctx, dut), regions_of(ctx, dut)) == (golden.policy, golden.regions)
            assert (modes_of(ctx, dut), cached_of(ctx, dut)) == (golden.modes, golden.cached)
            seen.add(refusal)
            check_streams(ctx, dut, golden)
            assert (around.notes, around.refusals) == (notes, refusals)
            await ctx.tick()
            assert around.rebuilds == rebuilds
            if done:
                assert await read(ctx, dut, register.address, delays=random_delays(rng)) == (word, RESP_OKAY)
        assert 60 < accepted < 250 and rebuilds and refusals

    seen = set()
    run(bench, seed=seed, slowness=slowness)
    print(sorted(kind.name for kind in seen if kind is not None))
    assert seen >= {RefusalKind.COVERED, RefusalKind.POOL_CACHED, RefusalKind.SHARED_MODE}


async def first_write(ctx, dut, head):
    """A first write of a block of `head` commits, before the pipeline is held again."""
    ctx.set(dut.commit, {"valid": 1, "outcome": Outcome.FIRST_WRITE, "slot": {"kind": SlotKind.WRITE, "head": head}})
    await ctx.tick()
    ctx.set(dut.commit.valid, 0)


def check_streams(ctx, dut, golden):
    """The streams in force are the golden ones; only those that are enabled have to fit the ports."""
    for seen, port, stream in zip(streams_of(ctx, dut), dut.streams, golden.streams, strict=True):
        assert seen.enabled == stream.enabled
        if stream.enabled:
            assert seen == stream
            region = next(region for region in golden.regions if stream.lies_in(CONFIG, region))
            assert ctx.get(port.mode) == region.mode


REFUSED_STREAMS = {
    "no block": (RefusalKind.STREAM_RANGE, {"LENGTH": 0}),
    "no stride": (RefusalKind.STREAM_RANGE, {"STRIDE": 0}),
    "stride of three": (RefusalKind.STREAM_RANGE, {"STRIDE": 3}),
    "behind the last block": (RefusalKind.STREAM_RANGE, {"BASE": CONFIG.blocks}),
    "into the next region": (RefusalKind.STREAM_RANGE, {"BASE": 31}),
    "base wraps": (RefusalKind.STREAM_RANGE, {"BASE": 1 << CONFIG.index_bits}),
    "base wraps at 32 bits": (RefusalKind.STREAM_RANGE, {"BASE": (1 << 32) - 1, "LENGTH": 3}),
    "length wraps": (RefusalKind.STREAM_RANGE, {"LENGTH": (1 << CONFIG.index_bits + 1) + 1}),
    "end wraps": (RefusalKind.STREAM_RANGE, {"LENGTH": 3, "STRIDE": 1 << CONFIG.index_bits - 1}),
    "end wraps at 32 bits": (RefusalKind.STREAM_RANGE, {"LENGTH": 3, "STRIDE": 1 << 31}),
    "stride wraps": (RefusalKind.STREAM_RANGE, {"LENGTH": 1, "STRIDE": 1 << CONFIG.index_bits + 1}),
    "shares a block": (RefusalKind.STREAM_OVERLAP, {"BASE": 4, "LENGTH": 2, "STRIDE": 16}),
}


@pytest.mark.parametrize(("kind", "fields"), REFUSED_STREAMS.values(), ids=REFUSED_STREAMS.keys())
def test_a_stream_is_refused_and_stays_off(kind, fields):
    async def bench(ctx, dut, around):
        async def put(name, value):
            return await write(ctx, dut, csr.address(name), value)

        # Region 0 has the first two heads; a stream has block 4 of head 1.
        writes = [("REGION[0].CTRL", OFF), ("REGION[0].HEADS", 2), ("REGION[0].CTRL", ON)]
        writes += [("STREAM[0].BASE", 20), ("STREAM[0].LENGTH", 1), ("STREAM[0].CTRL", 1)]
        writes += [(f"STREAM[1].{register}", value) for register, value in ({"LENGTH": 2} | fields).items()]
        for name, value in writes:
            assert await put(name, value) == RESP_OKAY
        assert await put("STREAM[1].CTRL", 1) == RESP_SLVERR
        assert around.refusals == [(EngineKind.REFUSAL, kind, 1), (EngineKind.ERROR, ErrorKind.REFUSED_COMMAND, kind)]
        status = csr.unpack("COMMAND_STATUS", await read_word(ctx, dut, "COMMAND_STATUS"))
        assert status == {"REFUSED": 1, "REASON": kind}
        assert await read_word(ctx, dut, "ERROR") == csr.pack("ERROR", REFUSED_COMMAND=1)
        assert [stream.enabled for stream in streams_of(ctx, dut)] == [True, False]
        # What is refused can be put right.
        for name, value in (("BASE", 5), ("LENGTH", 3), ("STRIDE", 2), ("CTRL", 1)):
            assert await put(f"STREAM[1].{name}", value) == RESP_OKAY
        assert csr.unpack("COMMAND_STATUS", await read_word(ctx, dut, "COMMAND_STATUS"))["REFUSED"] == 0
        assert streams_of(ctx, dut)[1] == StreamDescriptor(base=5, length=3, stride=2, enabled=True)

    run(bench, slowness=0.2)


@pytest.mark.parametrize("occupy", ["blocks", "minimum"])
def test_a_head_with_blocks_or_a_minimum_keeps_its_mode(occupy):
    async def bench(ctx, dut, around):
        address, last = csr.address("REGION[0].CTRL"), CONFIG.heads - 1
        exact, mxint8 = ON, MX
        assert await write(ctx, dut, address, mxint8) == RESP_OKAY
        assert modes_of(ctx, dut) == [Mode.MXINT8] * CONFIG.heads
        if occupy == "blocks":
            await first_write(ctx, dut, last)
        else:
            ctx.set(dut.has_minimum, 1 << last)
        assert await write(ctx, dut, address, exact) == RESP_SLVERR
        kind = RefusalKind.MODE_BUSY
        assert around.refusals == [(EngineKind.REFUSAL, kind, 0), (EngineKind.ERROR, ErrorKind.REFUSED_COMMAND, kind)]
        assert csr.unpack("COMMAND_STATUS", await read_word(ctx, dut, "COMMAND_STATUS"))["REASON"] == kind
        assert modes_of(ctx, dut) == [Mode.MXINT8] * CONFIG.heads
        assert await read(ctx, dut, address) == (mxint8, RESP_OKAY)
        # Disabled and enabled again it is as it was; without its last head it may change.
        for word in (OFF, mxint8, OFF):
            assert await write(ctx, dut, address, word) == RESP_OKAY
        assert await write(ctx, dut, address, exact) == RESP_SLVERR
        assert await write(ctx, dut, csr.address("REGION[0].HEADS"), last) == RESP_OKAY
        assert await write(ctx, dut, address, exact) == RESP_OKAY
        assert modes_of(ctx, dut) == [Mode.EXACT] * last + [Mode.MXINT8]
        if occupy == "minimum":
            # Where the minimum is taken back, the mode is free.
            ctx.set(dut.has_minimum, 0)
            for name, word in (("REGION[1].FIRST_HEAD", last), ("REGION[1].HEADS", 1), ("REGION[1].CTRL", ON)):
                assert await write(ctx, dut, csr.address(name), word) == RESP_OKAY
            assert modes_of(ctx, dut) == [Mode.EXACT] * CONFIG.heads

    run(bench, slowness=0.2)


def test_a_first_write_just_before_the_hold_keeps_the_mode():
    """The pipeline commits until it is held: what commits last counts."""

    async def bench(ctx, dut, around):
        await ctx.tick().until(dut.hold.request)
        await first_write(ctx, dut, 1)
        around.slowness = 0.0

    async def writer(ctx):
        answers.append(await write(ctx, dut, csr.address("REGION[0].CTRL"), MX))

    answers, dut = [], Csr(config=CONFIG)
    seen = []

    async def main(ctx, dut, around):
        around.slowness = 1.0
        await bench(ctx, dut, around)
        await ctx.tick().repeat(30)
        seen.extend(around.refusals)

    run(main, writer, dut=dut)
    assert answers == [RESP_SLVERR]
    assert seen[0] == (EngineKind.REFUSAL, RefusalKind.MODE_BUSY, 0)


def test_a_region_with_a_stream_stays_as_it_is():
    async def bench(ctx, dut, around):
        async def put(name, value):
            return await write(ctx, dut, csr.address(name), value)

        for name, value in (("REGION[0].CTRL", MX), ("STREAM[1].LENGTH", 2), ("STREAM[1].CTRL", 1)):
            assert await put(name, value) == RESP_OKAY
        assert ctx.get(dut.streams[1].mode) == Mode.MXINT8
        for word in (OFF, ON, MX & ~1):
            assert await put("REGION[0].CTRL", word) == RESP_SLVERR
        assert await put("REGION[0].CTRL", MX) == RESP_OKAY
        assert around.refusals == []
        assert await put("STREAM[1].CTRL", 0) == RESP_OKAY
        assert await put("REGION[0].CTRL", OFF) == RESP_OKAY

    run(bench, slowness=0.2)


def test_regions_may_share_heads_or_reach_too_far_only_while_disabled():
    async def bench(ctx, dut, around):
        async def put(number, register, value):
            return await write(ctx, dut, csr.address(f"REGION[{number}].{register}"), value)

        heads = CONFIG.heads
        assert await put(1, "CTRL", ON) == RESP_SLVERR  # no head
        assert await put(1, "HEADS", heads) == RESP_OKAY
        assert await put(1, "CTRL", ON) == RESP_SLVERR  # all heads are region 0's
        for register in ("HEADS", "FIRST_HEAD", "BASE_LO", "BASE_HI"):
            assert await put(0, register, 0) == RESP_SLVERR  # nothing of an enabled region moves
        assert await put(0, "CTRL", OFF) == RESP_OKAY
        assert await put(0, "HEADS", heads - 1) == RESP_OKAY
        assert await put(0, "CTRL", ON) == RESP_OKAY
        assert await put(1, "HEADS", 1) == RESP_OKAY
        assert await put(1, "CTRL", ON) == RESP_SLVERR  # head 0 still is
        assert await put(1, "FIRST_HEAD", heads) == RESP_SLVERR
        assert await put(1, "FIRST_HEAD", heads - 1) == RESP_OKAY
        assert await put(1, "HEADS", 2) == RESP_OKAY
        assert await put(1, "CTRL", ON) == RESP_SLVERR  # beyond the endpoint
        assert await put(1, "HEADS", heads + 1) == RESP_SLVERR  # even while disabled
        assert await put(1, "HEADS", 1) == RESP_OKAY
        assert await put(1, "CTRL", ON) == RESP_OKAY

    run(bench, slowness=0.0)


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_region_belongs_to_hosts_that_exist(hosts):
    config = preset("tiny", hosts=hosts)

    async def bench(ctx, dut, around):
        for mask in range(4):
            for word in (0, 1 | CACHED):
                response = await write(ctx, dut, csr.address("REGION[0].CTRL"), word | mask << 4)
                assert response == (RESP_OKAY if 0 < mask < 1 << hosts else RESP_SLVERR), (word, mask)
        assert around.refusals == []

    run(bench, config=config, slowness=0.0)


def test_a_cached_region_begins_with_a_sector_of_the_filter():
    async def bench(ctx, dut, around):
        for base, response in ((0, RESP_OKAY), (64, RESP_SLVERR), (128, RESP_SLVERR), (256, RESP_OKAY)):
            assert await write(ctx, dut, csr.address("REGION[0].CTRL"), OFF) == RESP_OKAY
            assert await write(ctx, dut, csr.address("REGION[0].BASE_LO"), base) == RESP_OKAY
            assert await write(ctx, dut, csr.address("REGION[0].CTRL"), ON | CACHED) == response, base
            assert await write(ctx, dut, csr.address("REGION[0].CTRL"), ON) == RESP_OKAY

    run(bench, slowness=0.0)


def test_a_cached_region_stays_while_hosts_hold_lines():
    async def bench(ctx, dut, around):
        address = csr.address("REGION[0].CTRL")
        cached, shared = ON | CACHED, 0x31 | CACHED
        for word in (cached, shared):
            assert await write(ctx, dut, address, word) == RESP_OKAY
        assert cached_of(ctx, dut) == [True] * CONFIG.heads
        ctx.set(dut.cached_in_use, 1)
        for word in (cached, OFF, shared & ~CACHED, OFF | CACHED):
            around.refusals.clear()
            assert await write(ctx, dut, address, word) == RESP_SLVERR
            kind = RefusalKind.COVERED
            assert around.refusals == [
                (EngineKind.REFUSAL, kind, 0),
                (EngineKind.ERROR, ErrorKind.REFUSED_COMMAND, kind),
            ]
            assert await read(ctx, dut, address) == (shared, RESP_OKAY)
        # As it is it may be written, and so may other regions be.
        assert await write(ctx, dut, address, shared) == RESP_OKAY
        assert await write(ctx, dut, csr.address("REGION[1].HEADS"), CONFIG.heads) == RESP_OKAY
        assert await write(ctx, dut, csr.address("REGION[1].CTRL"), 0x20 | CACHED) == RESP_OKAY
        assert cached_of(ctx, dut) == [True] * CONFIG.heads
        ctx.set(dut.cached_in_use, 0)
        assert await write(ctx, dut, address, OFF | CACHED) == RESP_OKAY
        assert cached_of(ctx, dut) == [False] * CONFIG.heads

    run(bench, slowness=0.2)


# Commands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_commands_reach_the_allocator_and_its_answer_reaches_the_host(seed):
    rng = random.Random(seed)

    async def bench(ctx, dut, around):
        pool_frames = dict.fromkeys(Mode, CONFIG.pool_frames_max)
        for _ in range(40):
            head, block = rng.getrandbits(16), rng.getrandbits(16)
            minimum, maximum = rng.getrandbits(32), rng.getrandbits(32)
            for name, word in zip(
                ("HEAD_SELECT", "HEAD_BLOCK", "QUOTA_MIN", "QUOTA_MAX"), (head, block, minimum, maximum), strict=True
            ):
                assert await write(ctx, dut, csr.address(name), word, delays=random_delays(rng)) == RESP_OKAY
            kind, refusal = rng.choice(list(CommandKind)), rng.choice([None, *RefusalKind])
            around.answers.append(refusal)
            mode = rng.choice(list(Mode)) if kind == CommandKind.POOL else Mode.EXACT
            if kind == CommandKind.POOL:
                name, word = POOLS[mode], maximum
            else:
                name, word = "COMMAND", csr.pack("COMMAND", **{kind.name: 1})
            response = await write(ctx, dut, csr.address(name), word, delays=random_delays(rng))
            assert around.commands.pop() == {
                "kind": kind, "mode": mode, "head": head, "block": block, "minimum": minimum, "maximum": maximum,
            }  # fmt: skip
            assert not around.commands and not around.answers
            assert response == (RESP_OKAY if refusal is None else RESP_SLVERR)
            status = csr.unpack("COMMAND_STATUS", await read_word(ctx, dut, "COMMAND_STATUS"))
            assert status["REFUSED"] == (refusal is not None)
            assert refusal is None or status["REASON"] == refusal
            if kind == CommandKind.POOL and refusal is None:
                pool_frames[mode] = word
            for mode, name in POOLS.items():
                assert await read_word(ctx, dut, name) == pool_frames[mode]
            assert await read_word(ctx, dut, "COMMAND") == 0
            error = 0 if refusal is None else csr.pack("ERROR", REFUSED_COMMAND=1)
            assert await read_word(ctx, dut, "ERROR") == error
            assert await write(ctx, dut, csr.address("ERROR"), error) == RESP_OKAY
            assert await read_word(ctx, dut, "ERROR") == 0
        assert around.notes == []

    run(bench, seed=seed)


# Errors and counters -------------------------------------------------------------------------------------------------


def test_error_bits_stay_until_each_is_cleared():
    async def bench(ctx, dut, around):
        address, everything = csr.address("ERROR"), (1 << len(ErrorKind)) - 1
        for kind in ErrorKind:
            ctx.set(dut.errors, 1 << kind)
            await ctx.tick()
            ctx.set(dut.errors, 0)
            await ctx.tick()
            assert await read_word(ctx, dut, "ERROR") == (2 << kind) - 1
        for kind in ErrorKind:
            await write(ctx, dut, address, 0)
            assert await write(ctx, dut, address, 1 << kind) == RESP_OKAY
            assert await read_word(ctx, dut, "ERROR") == everything & ~((2 << kind) - 1)
        assert around.requests == 0

    run(bench)


def test_an_error_in_the_clock_of_its_clearing_stays():
    """The error comes in each clock of the write once: only one that came before the write took effect is cleared."""
    bit, takes_effect = 1 << ErrorKind.AXI_READ, 4
    state = {"pulse_in": None}

    async def bench(ctx, dut, around):
        for clock in range(8):
            state["pulse_in"] = clock
            assert await write(ctx, dut, csr.address("ERROR"), bit) == RESP_OKAY
            await ctx.tick().repeat(8)
            state["pulse_in"] = None
            assert await read_word(ctx, dut, "ERROR") == (bit if clock >= takes_effect else 0), f"clock {clock}"
            await write(ctx, dut, csr.address("ERROR"), bit)

    async def pulse(ctx):
        clock = 0
        while True:
            clock = 0 if channel(ctx, dut.bus, "aw") else clock + 1
            ctx.set(dut.errors, bit if clock == state["pulse_in"] else 0)
            await ctx.tick()

    dut = Csr(config=CONFIG)
    run(bench, pulse, dut=dut)


@pytest.mark.parametrize("outcome", [Outcome.NOT_OWNER, Outcome.SHARED_WRITE])
def test_outcomes_and_bad_answers_are_errors_without_a_note(outcome):
    async def bench(ctx, dut, around):
        for valid in (0, 1):
            ctx.set(dut.commit.valid, valid)
            ctx.set(dut.commit.outcome, outcome)
            await ctx.tick()
            ctx.set(dut.commit.outcome, Outcome.HIT)
            await ctx.tick()
            assert await read_word(ctx, dut, "ERROR") == valid << ErrorKind[outcome.name]
        for event, kind in (("bad_birsp", ErrorKind.BAD_BIRSP), ("timed_out", ErrorKind.SNOOP_TIMEOUT)):
            await write(ctx, dut, csr.address("ERROR"), (1 << len(ErrorKind)) - 1)
            ctx.set(dut.bi_events[event], 1)
            await ctx.tick()
            ctx.set(dut.bi_events[event], 0)
            await ctx.tick()
            assert await read_word(ctx, dut, "ERROR") == 1 << kind

    run(bench)


def test_a_command_refused_in_the_middle_of_other_errors_loses_none():
    async def bench(ctx, dut, around):
        around.answers.append(RefusalKind.PIN_RANGE)
        ctx.set(dut.errors, 1 << ErrorKind.PAGE_WRITE)
        await write(ctx, dut, csr.address("COMMAND"), 1)
        ctx.set(dut.errors, 0)
        assert await read_word(ctx, dut, "ERROR") == csr.pack("ERROR", PAGE_WRITE=1, REFUSED_COMMAND=1)

    run(bench)


@pytest.mark.parametrize("seed", range(2))
def test_counters_count_what_the_golden_rule_counts(seed):
    rng = random.Random(seed)
    expected = dict.fromkeys((*csr.COUNTERS, *PULSES), 0)

    async def bench(ctx, dut, around):
        for _ in range(1500):
            kinds, outcomes, _ = rng.choice(list(csr.COUNTERS.values()))
            kind = rng.choice([*kinds, *kinds, *SlotKind])
            outcome = rng.choice([*outcomes, *outcomes, *Outcome])
            if rng.random() < 0.5:
                kind, outcome = kinds[0], outcomes[0]
            valid, touch, before, after = rng.random() < 0.8, *(rng.random() < 0.5 for _ in range(3))
            grant, access = rng.choice(list(Grant)), rng.choice(list(Access))
            happened = {name: rng.random() < 0.3 for name in PULSES}
            ctx.set(dut.commit.valid, valid)
            ctx.set(dut.commit.slot.kind, kind)
            ctx.set(dut.commit.outcome, outcome)
            ctx.set(dut.commit.touch, touch)
            ctx.set(dut.commit.grant, grant)
            ctx.set(dut.commit.slot.access, access)
            ctx.set(dut.commit.before.prefetched, before)
            ctx.set(dut.commit.after.prefetched, after)
            events = (getattr(dut.bi_events, name) for name in ("snoop", "answer", "recall", "bad_birsp", "timed_out"))
            inputs = dut.stalled, dut.prefetches.queued, dut.prefetches.dropped, *events
            for pulse, name in zip(inputs, PULSES, strict=True):
                ctx.set(pulse, happened[name])
                expected[name] += happened[name]
            for name in csr.counted(kind, outcome, touch, before, after, grant=grant, access=access) if valid else ():
                expected[name] += 1
            await ctx.tick()
        for strobe in (dut.commit.valid, *inputs):
            ctx.set(strobe, 0)
        for name, count in expected.items():
            assert count, name
            assert await read_word(ctx, dut, name) == count, name

    run(bench, seed=seed)


# Reset ---------------------------------------------------------------------------------------------------------------


def test_a_reset_in_any_clock_of_a_write_leaves_the_reset_state():
    words = {register.address: (register.reset, RESP_OKAY) for register in registers(CONFIG)}
    writes = [("LEAP_CAP", 9), ("REGION[1].BASE_HI", 1), ("COMMAND", 1), ("POOL_FRAMES", 20), ("QUOTA_MIN", 5)]
    writes += [("REGION[0].CTRL", MX), ("STREAM[1].CTRL", 1)]

    async def bench(ctx, dut, around):
        bus = dut.bus
        for clocks in range(2, 16):
            name, word = writes[clocks % len(writes)]
            # Something to be lost, besides the write that is cut off.
            ctx.set(dut.errors, (1 << len(ErrorKind)) - 1)
            around.answers[:] = [None]
            assert await write(ctx, dut, csr.address("LAMBDA"), clocks) == RESP_OKAY
            assert await write(ctx, dut, csr.address("HEAD_BLOCK"), clocks) == RESP_OKAY
            for enabling, value in (("REGION[0].CTRL", MX | CACHED), ("STREAM[0].LENGTH", 3), ("STREAM[0].CTRL", 1)):
                assert await write(ctx, dut, csr.address(enabling), value) == RESP_OKAY
            assert modes_of(ctx, dut) == [Mode.MXINT8] * CONFIG.heads and cached_of(ctx, dut) == [True] * CONFIG.heads
            ctx.set(dut.errors, 0)
            ctx.set(bus.awvalid, 1)
            ctx.set(bus.wvalid, 1)
            ctx.set(bus.awaddr, csr.address(name))
            ctx.set(bus.wdata, word)
            ctx.set(bus.arvalid, 1)
            ctx.set(bus.araddr, csr.address(name))
            await ctx.tick()
            ctx.set(bus.awvalid, 0)
            ctx.set(bus.wvalid, 0)
            ctx.set(bus.arvalid, 0)
            await ctx.tick().repeat(clocks)
            ctx.set(around.reset, 1)
            around.resetting = True
            await ctx.tick()
            for output in (bus.bvalid, bus.rvalid, dut.hold.request, dut.notes.valid, dut.commands.valid, dut.rebuild):
                assert not ctx.get(output)
            assert (policy_of(ctx, dut), regions_of(ctx, dut)) == (Policy(), csr.reset_regions(CONFIG))
            assert modes_of(ctx, dut) == [Mode.EXACT] * CONFIG.heads and not any(cached_of(ctx, dut))
            ctx.set(around.reset, 0)
            await ctx.tick()
            around.resetting = False
            for address, expected in words.items():
                assert await read(ctx, dut, address) == expected, f"{address:#x} after {clocks} clocks of {name}"

    run(bench)
