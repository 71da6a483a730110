"""cocotb tests of lines that DDR5 cannot give, and rows that it does not take, one by one, in golden lock-step.

Settings: `seed`; `share` of stalled clocks; `mode` of the region; `refuses`: memory refuses a row `once` (that is,
until it is given up), `always`, or `every` row always.
"""

from dataclasses import replace

import cocotb
from cocotb.triggers import ClockCycles, with_timeout

from kv_endpoint.golden.common.messages import NDROpcode
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.hw.data.sidecar.write_back import TRIES
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.interactive import TB, configured
from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, settings
from kv_endpoint.tb.scenarios.coherency import FLASH_CLOCKS

#: the head of the tests, and the blocks of it that have frames at once, so that a third one makes the first leave
HEAD, FRAMES = 0, 2
#: lines that a test writes
LINES = (0, 1, 2, 3, 4, 70)
#: clocks in which an answer must come, whatever memory does
PATIENCE_CLOCKS = 20_000
ONE = 0x3C00


def value(line):
    """A line that both modes keep as it is."""
    return ONE << 16 * (line % 32)


class _Memory:
    """Lines of DDR5 that fail, and how often they did."""

    def __init__(self):
        self.bad = {"read": set(), "write": set()}
        self.failures = {"read": 0, "write": 0}

    def fails(self, kind, line):
        failed = line in self.bad[kind]
        self.failures[kind] += failed
        return failed


class _Bench:
    """A `TB` with one head whose blocks chase each other out of their frames."""

    def __init__(self, dut):
        self.given, self.dut, self.memory = settings(), dut, _Memory()
        self.config = configured()
        self.mode = Mode(self.given["mode"])
        self.tb = TB(
            dut,
            self.config,
            seed=self.given["seed"],
            share=self.given.get("share", 0.0),
            checker=golden_endpoint(self.config),
            read_error=lambda line: self.memory.fails("read", line),
            write_error=lambda line: self.memory.fails("write", line),
            **FLASH_CLOCKS,
        )
        self.host = self.tb.host

    async def start(self):
        await self.tb.start([("POLICY", 0)])
        whole, *others = self.host.regions
        await self.tb.set_regions((replace(whole, mode=self.mode), *others))
        await self.tb.csr.command("QUOTA", head=HEAD, minimum=0, maximum=FRAMES)
        for line in LINES:
            await self.write(line)

    def address(self, line, block=0):
        return encode(self.config, self.host.regions[0], HEAD, block, line)

    def rows(self):
        """Lines of DDR5 with the sidecar rows of all frames that the head can have here."""
        frames, rows = range(2 * FRAMES + 1), set()
        for frame in frames:
            rows |= {self.config.sidecar_row(self.mode, frame, line) for line in (0, 127)}
        return {self.config.sidecar_base + row for row in rows}

    def frame(self):
        """The frame of block 0, by the records."""
        return next(record["frame"] for record in reversed(self.slots()))

    def slots(self, *kinds):
        """Records of slots about block 0."""
        return [
            fields
            for lane, fields in self.tb.scoreboard.records
            if lane == Lane.SLOT and (fields["head"], fields["block"]) == (HEAD, 0)
            if not kinds or fields["kind"] in kinds
        ]

    def notes(self, kind):
        return [f for lane, f in self.tb.scoreboard.records if lane == Lane.ENGINE and f["kind"] == kind]

    def errors(self, kind):
        """Errors of a kind in the notes."""
        return sum(max(1, fields["aux"]) for fields in self.notes(EngineKind.ERROR) if fields["key"] == kind)

    async def _prompt(self, what):
        return await with_timeout(what, PATIENCE_CLOCKS * PERIOD_STEPS, "step")

    async def write(self, line, block=0):
        assert (await self._prompt(self.host.write(self.address(line, block), value(line)))).ndr == NDROpcode.CMP

    async def write_partial(self, line, data, be):
        assert (await self._prompt(self.host.write_partial(self.address(line), data, be))).ndr == NDROpcode.CMP

    async def poisoned(self, lines=LINES, **more):
        """Which of the lines read as poison; all others read as they must (`more`, or what `start` wrote)."""
        found = set()
        for line in lines:
            answer = await self._prompt(self.host.read(self.address(line)))
            if answer.poison:
                found.add(line)
            else:
                assert answer.data == more.get(f"line{line}", value(line)), f"line {line}: {answer.data:#x}"
        return found

    async def evict(self):
        """Have block 0 leave its frame."""
        before = len(self.slots(SlotKind.EVICT))
        for block in (1, 2, 1, 2):
            await self.write(0, block)
            await self.tb.drain()
            if len(self.slots(SlotKind.EVICT)) > before:
                return
        raise AssertionError("block 0 does not leave")

    async def finish(self):
        """Every failure of memory is in the notes, and nothing else is."""
        await self.tb.finish()
        for kind, error in (("read", ErrorKind.AXI_READ), ("write", ErrorKind.AXI_WRITE)):
            assert self.errors(error) == self.memory.failures[kind]
            assert (await self.tb.csr.read_fields("ERROR"))[error.name] == bool(self.memory.failures[kind])


@cocotb.test()
async def a_line_that_cannot_be_read(dut):
    """Poison for what lies in that line of DDR5, and for nothing else; in mode mxint8 two lines of the host do."""
    bench = _Bench(dut)
    await bench.start()
    bad, memory, compressed = 2, bench.memory, bench.mode == Mode.MXINT8
    assert await bench.poisoned() == set()
    memory.bad["read"] = {bench.config.data_line(bench.mode, bench.frame(), bad)}
    lost = {bad, bad ^ 1} if compressed else {bad}
    assert await bench.poisoned() == lost
    assert memory.failures["read"] == len(lost)

    # A partial write reads its line in mode mxint8 alone: there the line is poisoned for good.
    await bench.write_partial(bad, ONE << 48, 0xC0)
    merged = {f"line{bad}": value(bad) | ONE << 48}
    assert memory.failures["read"] == len(lost) + compressed
    memory.bad["read"] = set()
    kept = {bad} if compressed else set()
    assert await bench.poisoned(**merged) == kept
    await bench.evict()
    assert await bench.poisoned(**merged) == kept
    await bench.write(bad)
    assert await bench.poisoned() == set()
    await bench.evict()
    assert await bench.poisoned() == set()
    await bench.finish()


@cocotb.test()
async def a_line_that_is_not_taken(dut):
    """Poison for the line that was to be written, in its frame and in flash, until a write of all of it is taken."""
    bench = _Bench(dut)
    await bench.start()
    memory, never_written = bench.memory, 9
    for bad in (LINES[-1], 3, never_written):
        memory.bad["write"] = {bench.config.data_line(bench.mode, bench.frame(), bad)}
        before = memory.failures["write"]
        await bench.write(bad)
        assert memory.failures["write"] == before + 1
        memory.bad["write"] = set()
        assert await bench.poisoned() == {bad} & {*LINES}
        await bench.evict()
        assert await bench.poisoned((*LINES, bad)) == {bad}
        await bench.write(bad)
        assert await bench.poisoned((*LINES, bad)) == set()
    await bench.evict()
    assert await bench.poisoned((*LINES, never_written)) == set()
    await bench.finish()


@cocotb.test()
async def a_row_that_cannot_be_read(dut):
    """Every line of its frame is poisoned. A clean block comes back good from flash; one that was written stays so
    there and back, until it is written whole.
    """
    bench = _Bench(dut)
    await bench.start()
    memory, never_written = bench.memory, 9
    every, zeros = {*LINES, never_written}, {f"line{never_written}": 0}
    for written in (False, True):
        await bench.evict()
        memory.bad["read"] = bench.rows()
        assert await bench.poisoned(every) == every
        assert memory.failures["read"]
        memory.bad["read"] = set()
        assert await bench.poisoned(every) == every
        if not written:
            await bench.evict()
            assert await bench.poisoned(every, **zeros) == set()
    await bench.write(1)
    await bench.write_partial(70, ONE, 0b11)
    assert await bench.poisoned(every) == every - {1}
    await bench.evict()
    assert await bench.poisoned(every) == every - {1}
    answer = await bench.host.read(bench.address(0, 2))
    assert not answer.poison and answer.data == value(0), "another block was poisoned"
    await bench.finish()


@cocotb.test()
async def a_row_that_is_never_taken(dut):
    """Its block stays, poisoned, and no page goes to flash without it; everything is answered. Other blocks leave, so
    that flash goes on; only where no row is taken does it count as unwritable.
    """
    bench = _Bench(dut)
    await bench.start()
    memory, refuses = bench.memory, bench.given["refuses"]
    failed = []
    bench.tb.on_record(
        lambda lane, fields: (
            failed.append(fields["block"])
            if (lane, fields["kind"]) == (Lane.ENGINE, EngineKind.PAGE_WRITE_DONE) and fields["aux"] & 1
            else None
        )
    )
    frame = bench.frame()
    rows = {bench.config.sidecar_row(bench.mode, frame, line) for line in (0, 127)}
    memory.bad["write"] = {bench.config.sidecar_base + row for row in rows}
    if refuses == "every":
        memory.bad["write"] = set(range(bench.config.sidecar_base, bench.config.memory_lines))

    async def chase():
        """Blocks that each need a frame, while block 0 is to leave its own."""
        for block in range(1, bench.config.blocks_per_head):
            await bench.write(0, block)

    chasing = cocotb.start_soon(chase())
    start = bench.tb.clocks.now
    while not failed:
        await ClockCycles(dut.clk, 20)
        assert bench.tb.clocks.now - start < PATIENCE_CLOCKS, "nothing was given up"
    if refuses == "once":
        memory.bad["write"] = set()
    await chasing
    await bench.tb.drain()
    assert memory.failures["write"] >= len(failed) * TRIES
    # The image of the host knows nothing of what memory refused: poison is all that may differ.
    assert await bench.poisoned() == set(LINES)
    unwritable = (await bench.tb.csr.read_fields("ERROR"))["FLASH_UNWRITABLE"]
    assert unwritable == bool(await bench.tb.csr.read("UNWRITABLE")) == (refuses == "every")
    assert bool(bench.tb.flash.programs) == (refuses != "every")
    assert bool(bench.slots(SlotKind.EVICT)) == (refuses == "once")
    assert refuses == "every" or set(failed) == {0}
    if refuses == "once":
        await bench.write(1)
        await bench.evict()
        assert await bench.poisoned() == set(LINES) - {1}
    if refuses != "every":
        answer = await bench.host.read(bench.address(0, 1))
        assert not answer.poison and answer.data == value(0)
    await bench.finish()
