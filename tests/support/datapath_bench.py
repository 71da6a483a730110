# amaranth: UnusedElaboratable=no
"""The datapath in its surroundings: slots, memory, engines, host; and the golden frames that it is compared with."""

import random
from collections import defaultdict

from amaranth.hdl import Elaboratable, Module, ResetInserter, Signal

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.line_access import Grant
from kv_endpoint.golden.common.messages import DevLoad, DRSOpcode, MetaField, NDROpcode
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data.datapath import ALL_BYTES, ALL_ONES, Frames, Mxint8Frames
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.common.layouts import SidecarKind
from kv_endpoint.hw.data.datapath import Datapath
from kv_endpoint.hw.front.request_slots import ReadSlots, WriteSlots
from tests.support import native
from tests.support.axi_memory import AXIMemory

__all__ = ["CONFIG", "FRAMES", "Bench", "fp16_line", "random_be", "random_operation", "scramble"]

#: One for all tests, so that they share a build: its slots cover the way through the block and the bench, and there are
#: more for reads than for writes.
CONFIG = preset("tiny", read_slots=64, write_slots=32)
FRAMES = range(24)
#: responses that each kind of operation must have
NDR_KINDS = {DataKind.READ, DataKind.WRITE, DataKind.ZEROS, DataKind.COMPLETE, DataKind.ACK}
DRS_KINDS = {DataKind.READ, DataKind.ZEROS, DataKind.NXM}
#: magnitudes of FP16 below this are finite
FP16_INFINITY = 0x7C00


def scramble(line):
    """What memory holds before anyone wrote it: never zero, different everywhere."""
    return random.Random(line).getrandbits(512) | 1


class Rig(Elaboratable):
    """The datapath with its slots, and a reset."""

    def __init__(self, config):
        self.config = config
        self.datapath = Datapath(config=config)
        self.reads = ReadSlots(config=config)
        self.writes = WriteSlots(config=config)
        self.reset = Signal()

    def elaborate(self, platform):
        m = Module()
        reset = ResetInserter(self.reset)
        m.submodules.datapath = reset(self.datapath)
        m.submodules.reads = reset(self.reads)
        m.submodules.writes = reset(self.writes)
        for name, slots in (("read", self.reads), ("write", self.writes)):
            m.d.comb += [
                slots.lookup.eq(getattr(self.datapath, f"{name}_lookup")),
                slots.release.eq(getattr(self.datapath, f"{name}_release")),
                getattr(self.datapath, f"{name}_found").eq(slots.found),
            ]
        m.d.comb += [
            self.writes.read.eq(self.datapath.write_read),
            self.datapath.write_contents.eq(self.writes.contents),
        ]
        return m


class Bench:
    """Front end, metadata pipeline, engines, memory and host of the datapath; one clock a `clock()`.

    `operate` takes a slot and queues an operation; its effect on the golden frames is that of commit order. Each
    response is compared as it comes; `settle` waits until nothing is outstanding.
    """

    def __init__(self, config=CONFIG, *, seed=0, latency=(1, 1), stall=0.0, simulate=native.simulate):
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.rig = Rig(config)
        self.dut, self.config, self.stall = self.rig.datapath, config, stall
        self._simulate = simulate
        self.memory = AXIMemory(self.dut.mem, self.rng, latency=latency, stall=stall, background=scramble)
        self.frames = Frames(lambda frame, line: scramble(frame * LINES_PER_BLOCK + line))
        self.halves = Mxint8Frames()
        self.clocks = 0
        #: operations accepted, NDR and DRS stalls asked for by a test, errors seen
        self.taken, self.hold, self.errors = 0, set(), []
        self.drain_request, self.drained, self.sidecar_done = False, False, 0
        self.engine_op = None
        self._tag = self.rng.getrandbits(16)
        self.forget()

    def forget(self):
        """What a reset does."""
        #: messages that await a slot: (rwd, fields, operation); operations that await the datapath
        self._messages, self._ops = [], []
        #: tag -> (what is still to come, operation)
        self._outstanding = {}
        self._discarded = 0
        self._offered = None
        self._waiting = {}
        self.in_flight = defaultdict(int)

    def run(self, scenario):
        async def testbench(ctx):
            self.ctx = ctx
            await scenario(self)

        self._simulate(self.rig, testbench)

    def store(self, mode):
        """The golden frames of a mode."""
        return self.halves if mode else self.frames

    # Stimulus ----------------------------------------------------------------------------------------------------

    def operate(self, kind, frame=0, line=0, *, mode=Mode.EXACT, data=0, be=ALL_BYTES, poison=False, rwd=None):
        if rwd is None:
            rwd = kind in (DataKind.WRITE, DataKind.ACK)
        grant = self.rng.choice(list(Grant))
        # A tag comes again after thousands of operations: no test mistakes one operation for another.
        self._tag = tag = self._tag + self.rng.randrange(1, 14) & 0xFFFF
        fields = {"tag": tag, "ld_id": self.rng.getrandbits(4)}
        if rwd:
            fields |= {"data": data, "be": be, "poison": poison}
        expected = {"ndr": kind in NDR_KINDS, "drs": kind in DRS_KINDS}
        store, number = self.store(mode), self.config.data_line(mode, frame, line)
        if kind == DataKind.READ:
            value, poisoned = store.read(frame, line)
            if store.asks_memory(frame, line) and number in self.memory.failing_reads:
                value, poisoned = None, True
            expected |= {"data": value, "poison": poisoned, "opcode": DRSOpcode.MEM_DATA}
        elif kind == DataKind.WRITE:
            faults = {"failed": number in self.memory.failing_writes}
            if mode == Mode.MXINT8:
                faults["unreadable"] = number in self.memory.failing_reads
            store.write(frame, line, data, be, poison, **faults)
        elif kind == DataKind.ZEROS:
            expected |= {"data": 0, "poison": False, "opcode": DRSOpcode.MEM_DATA}
        elif kind == DataKind.NXM:
            expected |= {"data": ALL_ONES, "poison": False, "opcode": DRSOpcode.MEM_DATA_NXM}
        completion = NDROpcode.BI_CONFLICT_ACK if kind == DataKind.ACK else NDROpcode(grant)
        expected |= {"ld_id": fields["ld_id"], "completion": completion, "place": (mode, frame)}
        if expected["ndr"] or expected["drs"]:
            self._outstanding[tag] = expected
            self.in_flight[mode, frame] += 1
        operation = {"kind": kind, "rwd": rwd, "mode": mode, "frame": frame, "line": line}
        operation |= {"grant": grant, "tag": tag}
        self._messages.append((rwd, fields, operation))

    def read(self, frame, line, mode=Mode.EXACT):
        self.operate(DataKind.READ, frame, line, mode=mode)

    def write(self, frame, line, data=None, **options):
        """Write `data`, any bits if None, or in mode mxint8 an `fp16_line`."""
        if data is None:
            data = fp16_line(self.rng) if options.get("mode") else self.rng.getrandbits(512)
        self.operate(DataKind.WRITE, frame, line, data=data, **options)

    @property
    def backlog(self):
        """Operations that the datapath has not taken yet."""
        return len(self._messages) + len(self._ops)

    @property
    def outstanding(self):
        return len(self._outstanding)

    async def engine(self, kind, frame, mode=Mode.EXACT):
        """A sidecar operation, until it is complete."""
        assert not self.in_flight[mode, frame]
        done = self.sidecar_done
        self.engine_op = {"kind": kind, "frame": frame, "mode": mode}
        while self.sidecar_done == done:
            await self.clock()
        if kind == SidecarKind.CLEAR:
            self.store(mode).clear(frame)
        elif kind == SidecarKind.POISON:
            self.store(mode).poison(frame)

    async def start(self, frames=FRAMES, modes=(Mode.EXACT,)):
        for mode in modes:
            for frame in frames:
                await self.engine(SidecarKind.CLEAR, frame, mode)

    def before(self):
        """Tags of the operations that the datapath has taken and not answered in full."""
        return {tag for tag, expected in self._outstanding.items() if expected.get("taken")}

    async def drain(self, traffic, limit=600):
        """Drain under `traffic`; what came before is answered then. Returns the clocks it took."""
        self.drain_request = True
        traffic()
        await self.clock()
        before, start = self.before(), self.clocks
        while not self.drained:
            assert self.clocks - start < limit, f"not drained: {before & self.before()}"
            traffic()
            await self.clock()
        self.drain_request = False
        assert self.stall or not before & self.before()
        return self.clocks - start

    async def settle(self, limit=5000):
        while self._outstanding:
            limit -= 1
            assert limit, f"no response to {self._outstanding}"
            await self.clock()
        for _ in range(4):
            await self.clock()

    async def reset(self):
        self.ctx.set(self.rig.reset, 1)
        await self.clock()
        self.forget()
        self.memory.forget()
        self.ctx.set(self.rig.reset, 0)
        # All data operations in flight are lost, so what they did is unknown: a test clears the frames again.

    # One clock ---------------------------------------------------------------------------------------------------

    def _store(self):
        """Slots for the next messages: at most one of each kind a clock."""
        ctx = self.ctx
        for rwd, slots in ((False, self.rig.reads), (True, self.rig.writes)):
            # Reads and writes wait for slots apart, but operations keep their order.
            message = next((m for m in self._messages if m[0] == rwd and "id" not in m[2]), None)
            store = message is not None and bool(ctx.get(slots.available.valid)) and len(self._ops) < 8
            ctx.set(slots.available.ready, store)
            ctx.set(slots.store.enable, store)
            if store:
                number = ctx.get(slots.available.payload)
                ctx.set(slots.store.id, number)
                for name, value in message[1].items():
                    ctx.set(slots.store[name], value)
                message[2]["id"] = number
                message[2]["stored"] = self.clocks
        while self._messages and self._messages[0][2].get("stored", self.clocks) < self.clocks:
            self._ops.append(self._messages.pop(0)[2])

    async def clock(self):
        ctx, dut = self.ctx, self.dut
        self._store()
        if self._offered is None and self._ops and self.rng.random() >= self.stall:
            self._offered = self._ops.pop(0)
            for name in ("kind", "rwd", "id", "mode", "frame", "line", "grant"):
                ctx.set(dut.ops.payload[name], self._offered[name])
        ctx.set(dut.ops.valid, self._offered is not None)
        ctx.set(dut.sidecar_ops.valid, self.engine_op is not None)
        if self.engine_op is not None:
            for name, value in self.engine_op.items():
                ctx.set(dut.sidecar_ops.payload[name], value)
        for channel in ("ndr", "drs"):
            ready = channel not in self.hold and self.rng.random() >= self.stall
            ctx.set(getattr(dut, channel).ready, ready)
        ctx.set(dut.drain.request, self.drain_request)
        ctx.set(dut.dev_load, DevLoad.MODERATE)
        self.memory.drive(ctx)

        self.memory.sample(ctx)
        if self._offered is not None and ctx.get(dut.ops.ready):
            self.taken += 1
            if self._offered["tag"] in self._outstanding:
                self._outstanding[self._offered["tag"]]["taken"] = True
            self._offered = None
        if self.engine_op is not None and ctx.get(dut.sidecar_ops.ready):
            self.engine_op = None
        self.sidecar_done += ctx.get(dut.sidecar_done)
        self.drained = bool(ctx.get(dut.drain.granted))
        for channel in ("ndr", "drs"):
            self._response(channel)
        for kind in ("read", "write"):
            if ctx.get(dut.errors[f"axi_{kind}"]):
                self.errors.append(kind)
        self.clocks += 1
        await ctx.tick()

    def _response(self, channel):
        ctx, port = self.ctx, getattr(self.dut, channel)
        valid, ready = ctx.get(port.valid), ctx.get(port.ready)
        response = ctx.get(port.payload) if valid else None
        if channel in self._waiting:
            assert response == self._waiting[channel], f"{channel} changed before it was taken"
        self._waiting.pop(channel, None)
        if not valid:
            return
        if not ready:
            self._waiting[channel] = response
            return
        assert response.tag in self._outstanding, f"{channel} for tag {response.tag}, which awaits nothing"
        expected = self._outstanding[response.tag]
        assert expected[channel], f"second or uncalled-for {channel} to {expected}"
        assert response.ld_id == expected["ld_id"]
        assert response.meta_field == MetaField.NO_OP and response.dev_load == DevLoad.MODERATE
        if channel == "ndr":
            assert response.opcode == expected["completion"], expected
        else:
            assert response.opcode == expected["opcode"], expected
            assert response.poison == expected["poison"], expected
            assert expected["data"] is None or response.data == expected["data"], expected
        expected[channel] = False
        if not expected["ndr"] and not expected["drs"]:
            self.in_flight[self._outstanding.pop(response.tag)["place"]] -= 1


def random_be(rng):
    """Byte enables of a MemWrPtl, now and then of all or no bytes."""
    return rng.choice((0, ALL_BYTES, 1 << rng.randrange(64), rng.getrandbits(64), rng.getrandbits(64)))


def fp16_line(rng):
    """A line to write in mode mxint8: mostly numbers of any size, of one size, or few; now and then a special one."""
    choice = rng.random()
    if choice < 0.15:
        return 0
    count = rng.choice((1, 32))
    magnitudes = [rng.randrange(FP16_INFINITY) for _ in range(count)]
    if choice < 0.6:
        magnitudes = [rng.randrange(0x3400, 0x4000) for _ in range(count)]
    elif choice < 0.7:
        magnitudes[0] = rng.randrange(FP16_INFINITY, 0x8000)
    return sum((magnitude | rng.getrandbits(1) << 15) << 16 * i for i, magnitude in enumerate(magnitudes))


def random_operation(bench, frames, lines, modes=(Mode.EXACT,)):
    """Any operation on one of `frames`, or on none."""
    rng = bench.rng
    frame, line, mode = rng.choice(frames), rng.choice(lines), rng.choice(modes)
    choice = rng.random()
    if choice < 0.4:
        bench.read(frame, line, mode)
    elif choice < 0.6:
        bench.write(frame, line, mode=mode, poison=rng.random() < 0.1)
    elif choice < 0.8:
        bench.write(frame, line, mode=mode, be=random_be(rng), poison=rng.random() < 0.1)
    else:
        kind = rng.choice((DataKind.ZEROS, DataKind.NXM, DataKind.COMPLETE, DataKind.ACK))
        rwd = kind == DataKind.ACK or (kind == DataKind.COMPLETE and rng.random() < 0.5)
        bench.operate(kind, frame, line, rwd=rwd)
