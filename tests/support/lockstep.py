"""The whole endpoint clock by clock, every record in golden lock-step, every line read checked.

Host, DDR5, flash and registers are plain Python beside the design, in one process.
"""

from random import Random

from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.common.messages import DRSOpcode, NDROpcode
from kv_endpoint.golden.events.port import Lane, unpack
from kv_endpoint.golden.host.operations import Op
from kv_endpoint.golden.registers.rules import address, control, pack, reset_regions
from kv_endpoint.hw.endpoint import Endpoint
from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.checks.image import Image
from kv_endpoint.tb.lib.record_order import Merger
from tests.support import native
from tests.support.axi_memory import AXIMemory

__all__ = ["Lockstep", "quota_writes", "region_writes"]

#: clocks without any response or record after which nothing is left to happen
QUIET_CLOCKS = 60


def quota_writes(head, minimum, maximum):
    """Register writes that set the quotas of a head."""
    words = {"HEAD_SELECT": head, "QUOTA_MIN": minimum, "QUOTA_MAX": maximum, "COMMAND": pack("COMMAND", QUOTA=1)}
    return list(words.items())


def region_writes(regions):
    """Register writes that put the first regions where `regions` (`golden.front.address.Region`) says."""
    writes = [(f"REGION[{number}].CTRL", control(region, enabled=False)) for number, region in enumerate(regions)]
    for number, region in enumerate(regions):
        values = {
            "BASE_LO": region.base & 0xFFFFFFFF, "BASE_HI": region.base >> 32, "HEADS": region.heads,
            "FIRST_HEAD": region.first_head, "CTRL": control(region),
        }  # fmt: skip
        writes += [(f"REGION[{number}].{register}", value) for register, value in values.items()]
    return writes


def _packer(payload):
    """A function that packs named integers into the integer of a struct."""
    shape = payload.shape()
    offsets = {name: shape[name].offset for name, _ in shape}
    return lambda values: sum(int(value) << offsets[name] for name, value in values.items())


class _Memory(AXIMemory):
    """`slow`: lines whose reads take `SLOW_CLOCKS` longer and show what the line holds at their end."""

    SLOW_CLOCKS = 1500

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.slow = set()

    def _accept(self, channel, id_, line):
        super()._accept(channel, id_, line)
        if channel == "ar" and line in self.slow:
            due = self._reads.pop()[0]
            self._reads.append([due + self.SLOW_CLOCKS, id_, line, None])


class Lockstep:
    """Runs operations (`golden.host.operations`) against an `hw.endpoint.Endpoint`.

    Parameters
    ----------
    seed : int
        Of every stall and latency.
    registers : list of (name, value)
        Written before the first operation.
    regions : tuple of Region, optional
        Set before that; by default they are as after reset.
    stall : float
        Probability that a port pauses, a clock.
    memory_latency, flash_latency : (int, int)
        Clocks, lowest and highest.
    page_fails : callable (write, page) -> bool
        Whether a page command fails.
    simulate : callable
        Runs the testbench: on Verilator's build, which each configuration costs a minute once, or elsewhere.

    Attributes
    ----------
    golden : golden.follow.follower.Follower
    memory : AXIMemory
        `slow`: lines whose reads take 1500 clocks longer and show what the line holds at their end.
    records : list of (Lane, fields), as they were checked
    answers : dict of operation number: {"ndr", "drs"} that came
    """

    def __init__(
        self,
        config,
        *,
        seed,
        registers=(),
        regions=None,
        stall=0.0,
        memory_latency=(3, 12),
        flash_latency=(60, 90),
        page_fails=None,
        simulate=native.simulate,
    ):
        self.config, self.seed, self.stall = config, seed, stall
        self.regions = reset_regions(config) if regions is None else regions
        self.registers = [*(region_writes(self.regions) if regions else ()), *registers]
        self.rng = Random(seed)
        self.dut = Endpoint(config=config)
        self.memory = _Memory(
            self.dut.mem,
            self.rng,
            latency=memory_latency,
            stall=stall,
            background=lambda line: Random(line).getrandbits(512),
        )
        self.region = self.regions[0]
        self._simulate = simulate
        self._poison_allowed = page_fails is not None
        self._page_fails = page_fails or (lambda write, page: False)
        self._flash_latency = flash_latency
        #: page -> its lines and its sidecar row
        self._flash = {}
        self._reset = Signal()
        self._pack = {name: _packer(getattr(self.dut, name).payload) for name in ("req", "rwd", "page_done")}
        self._begin()

    def _begin(self):
        """What is new after a reset: everything but the contents of DDR5 and flash."""
        self.golden = golden_endpoint(self.config)
        self.image = Image(poison_allowed=self._poison_allowed)
        #: tag -> (due clock, command)
        self._pages = {}
        self.records = []
        self._merger = Merger(self._record)
        self.answers = {}
        #: operations in flight by number, which is their tag
        self._open = {}
        self._clock = self._moved = 0
        self._driven = {}
        self._offered = {"req": None, "rwd": None}

    def _record(self, lane, fields):
        self.golden.check(lane, fields)
        self.records.append((lane, fields))

    def kinds(self, kind):
        """The records of one `SlotKind` or `EngineKind`, in order."""
        lane = Lane.SLOT if type(kind).__name__ == "SlotKind" else Lane.ENGINE
        return [fields for where, fields in self.records if where == lane and fields["kind"] == kind]

    def run(self, operations, *, limit=20_000, cut=(), refused=()):
        """Run to the end; what came is checked as it comes. Raises `Mismatch`, `DataMismatch` or AssertionError.

        `cut`: pairs (operations, clocks), run one after the other before `operations`, each for so many clocks and then
        cut off by a reset. `refused`: register writes after the last operation, which must be refused.
        """
        print(f"seed {self.seed}")

        async def bench(ctx):
            for doomed, clocks in cut:
                await self._write_registers(ctx)
                await self._serve(ctx, list(doomed), limit, until=self._clock + clocks)
                await self._cut_off(ctx)
            await self._write_registers(ctx)
            await self._serve(ctx, list(operations), limit)
            for name, value in refused:
                await self._write_register(ctx, address(name), value, RESP_SLVERR)
            await self._serve(ctx, [], limit)

        self._simulate(ResetInserter(self._reset)(self.dut), bench)
        self._merger.finish()
        self.golden.finish()

    def _set(self, ctx, port, value):
        """Set a port if it has another value: each set makes the simulator settle."""
        if self._driven.get(id(port)) != (port, value):
            self._driven[id(port)] = port, value
            ctx.set(port, value)

    def _ready(self):
        return int(self.rng.random() >= self.stall)

    async def _cut_off(self, ctx):
        """Reset the endpoint and all around it."""
        dut, bus = self.dut, self.dut.csr
        valids = (dut.req.valid, dut.rwd.valid, dut.page_done.valid, dut.mem.rvalid, dut.mem.bvalid)
        for valid in (*valids, bus.awvalid, bus.wvalid, bus.arvalid):
            ctx.set(valid, 0)
        ctx.set(self._reset, 1)
        for _ in range(3):
            await ctx.tick()
        ctx.set(self._reset, 0)
        self.memory.forget()
        self._begin()

    # Registers --------------------------------------------------------------------------------------------------------

    async def _write_registers(self, ctx):
        for name, value in self.registers:
            await self._write_register(ctx, address(name), value)

    async def _write_register(self, ctx, place, value, response=RESP_OKAY):
        """Write the register at byte address `place`."""
        bus = self.dut.csr
        for port, word in ((bus.awaddr, place), (bus.wdata, value), (bus.wstrb, 0xF), (bus.bready, 1)):
            ctx.set(port, word)
        waiting = {"aw", "w"}
        for channel in waiting:
            ctx.set(getattr(bus, f"{channel}valid"), 1)
        for _ in range(1000):
            for channel in tuple(waiting):
                if ctx.get(getattr(bus, f"{channel}ready")):
                    waiting.discard(channel)
            answered = ctx.get(bus.bvalid)
            if answered:
                assert ctx.get(bus.bresp) == response, f"{value:#x} at {place:#x}: response {ctx.get(bus.bresp)}"
            await self._tick(ctx)
            for channel in ("aw", "w"):
                ctx.set(getattr(bus, f"{channel}valid"), channel in waiting)
            if answered:
                return
        raise AssertionError(f"no answer to a write at {place:#x}")

    # One clock --------------------------------------------------------------------------------------------------------

    async def _tick(self, ctx):
        """Everything but the host's requests."""
        dut = self.dut
        self.memory.drive(ctx)
        for lane in Lane:
            self._set(ctx, getattr(dut, f"{lane.name.lower()}_record").ready, self._ready())
        for channel in ("ndr", "drs"):
            self._set(ctx, getattr(dut, channel).ready, self._ready())
        self._drive_flash(ctx)

        self.memory.sample(ctx)
        self._sample_flash(ctx)
        for lane in Lane:
            port = getattr(dut, f"{lane.name.lower()}_record")
            if ctx.get(port.valid) and ctx.get(port.ready):
                self._merger.add(lane, unpack(self.config, lane, ctx.get(port.payload.as_value())))
                self._moved = self._clock
        for channel in ("ndr", "drs"):
            port = getattr(dut, channel)
            if ctx.get(port.valid) and ctx.get(port.ready):
                self._respond(channel, ctx.get(port.payload))
                self._moved = self._clock
        self._clock += 1
        await ctx.tick()

    async def _serve(self, ctx, operations, limit, until=None):
        """Run `operations` to the end, or until clock `until`."""
        numbered = list(enumerate(operations))
        start = self._clock
        while numbered or self._busy() or self._clock - self._moved < QUIET_CLOCKS:
            if self._clock == until:
                return
            assert self._clock - start < limit, f"unanswered after {limit} clocks: {self._open}; {self.records[-8:]}"
            if numbered and numbered[0][1].op == Op.REGISTER and not self._open:
                _, operation = numbered.pop(0)
                await self._write_register(ctx, operation.address, operation.data)
            self._offer(ctx, numbered)
            taken = [
                name for name, port in (("req", self.dut.req), ("rwd", self.dut.rwd))
                if self._offered[name] is not None and ctx.get(port.ready)
            ]  # fmt: skip
            await self._tick(ctx)
            for name in taken:
                self._offered[name] = None

    def _busy(self):
        under_way = self.golden.misses.open or self.golden.migration.demotions
        return self._open or self._pages or under_way or any(number is not None for number in self._offered.values())

    # Host -------------------------------------------------------------------------------------------------------------

    def _offer(self, ctx, numbered):
        """The next operation on its channel; operations are taken in order, fences wait."""
        while numbered:
            number, operation = numbered[0]
            if operation.op == Op.REGISTER or (operation.op == Op.FENCE_ALL and self._open):
                break
            if operation.op == Op.FENCE_WRITES and any(other.channel == "rwd" for other in self._open.values()):
                break
            if operation.channel is not None:
                if self._offered[operation.channel] is not None or not self._ready():
                    break
                self._issue(ctx, number, operation)
            numbered.pop(0)
        for name in ("req", "rwd"):
            self._set(ctx, getattr(self.dut, name).valid, int(self._offered[name] is not None))

    def _issue(self, ctx, number, operation):
        channel = operation.channel
        self._offered[channel] = number
        self._open[number] = operation
        self.answers[number] = {}
        self._set(ctx, getattr(self.dut, channel).payload.as_value(), self._pack[channel](operation.message(number)))
        if self._holds_data(operation):
            if channel == "req":
                self.image.read_issued(number, operation.address)
            else:
                mode = self._region_of(operation).mode
                self.image.write_issued(number, operation.address, operation.data, operation.be, mode=mode)

    def _region_of(self, operation):
        """The region of the line of a block that an operation is about, or None."""
        for region in self.regions:
            offset = operation.address - region.base // LINE_BYTES
            if region.enabled and 0 <= offset < region.heads * self.config.blocks_per_head * LINES_PER_BLOCK:
                return region
        return None

    def _holds_data(self, operation):
        return self._region_of(operation) is not None

    def _respond(self, channel, response):
        number = int(response.tag)
        assert number in self._open, f"{channel} for tag {number}, which awaits nothing"
        operation, came = self._open[number], self.answers[number]
        assert channel not in came, f"second {channel} for tag {number}"
        assert channel == "ndr" or operation.channel == "req", f"data for a write, tag {number}"
        came[channel] = int(response.opcode)
        if channel == "drs":
            assert not self._holds_data(operation) or response.opcode == DRSOpcode.MEM_DATA
            if self._holds_data(operation):
                mode = self._region_of(operation).mode
                self.image.read_done(number, operation.address, int(response.data), bool(response.poison), mode)
        else:
            assert response.opcode == NDROpcode.CMP
            if operation.channel == "rwd" and self._holds_data(operation):
                self.image.write_done(number, operation.address)
        nxm = came.get("drs") == DRSOpcode.MEM_DATA_NXM
        if len(came) == 2 or nxm or operation.channel == "rwd":
            del self._open[number]

    # Flash ------------------------------------------------------------------------------------------------------------

    def _drive_flash(self, ctx):
        self._set(ctx, self.dut.page_command.ready, self._ready())
        due = sorted(tag for tag, (at, _) in self._pages.items() if at <= self._clock)
        tag = self.rng.choice(due) if due and self._ready() else None
        if tag is not None:
            _, command = self._pages.pop(tag)
            failed = self._page_fails(command.write, command.page)
            self._move_page(command, failed)
            done = self._pack["page_done"]({"tag": tag, "failed": failed})
            self._set(ctx, self.dut.page_done.payload.as_value(), done)
        self._set(ctx, self.dut.page_done.valid, int(tag is not None))

    def _sample_flash(self, ctx):
        port = self.dut.page_command
        if ctx.get(self.dut.page_done.valid):
            assert ctx.get(self.dut.page_done.ready), "a completion is not taken at once"
        if ctx.get(port.valid) and ctx.get(port.ready):
            command = ctx.get(port.payload)
            tag = int(command.tag)
            assert tag not in self._pages, f"page tag {tag} is in use"
            self._pages[tag] = self._clock + self.rng.randint(*self._flash_latency), command
            self._moved = self._clock

    def _move_page(self, command, failed):
        page, lines = int(command.page), self.config.frame_lines(int(command.mode), int(command.frame))
        if command.write:
            self._flash[page] = None if failed else [self.memory.value(line) for line in lines]
        else:
            held = self._flash.get(page)
            assert failed or held is not None, f"page {page} is read, but holds nothing to rely on"
            values = [self.rng.getrandbits(512) for _ in lines] if failed else held
            self.memory.lines.update(zip(lines, values, strict=True))
