"""The sidecar line's format, and the sidecar cache against a dictionary of lines."""

import random
from collections import Counter

import pytest
from amaranth.sim import Simulator

from golden import sidecar
from golden.config import LINES_PER_BLOCK, preset
from golden.metadata import DataKind
from hw.layouts import SidecarKind
from hw.sidecar import SidecarCache

CONFIG = preset("tiny", sidecar_cache_lines=4)
SETS = CONFIG.sidecar_cache_lines
FRAMES = range(3 * SETS)


# The format ----------------------------------------------------------------------------------------------------------


def test_packed_masks_unpack():
    written, poisoned = 0x123456789ABCDEF << 64 | 5, 1 << 127 | 4
    assert sidecar.unpack(sidecar.pack(written, poisoned)) == (written, poisoned)


def test_written_lies_below_poisoned():
    assert sidecar.pack(1, 0) == 1 and sidecar.pack(0, 1) == 1 << 128


def test_a_mask_of_too_many_lines_is_refused():
    with pytest.raises(ValueError, match="poisoned must be a mask of 128 lines"):
        sidecar.pack(0, 1 << 128)


# The cache -----------------------------------------------------------------------------------------------------------


class Bench:
    """Operations in, their use at the head, updates, engine operations, and a memory; one clock a `clock()`."""

    def __init__(self, seed=0, *, latency=(1, 1), head_stall=0.0):
        print("seed", seed)
        self.rng = random.Random(seed)
        self.dut = SidecarCache(config=CONFIG)
        self.latency, self.head_stall = latency, head_stall
        #: frame -> line: as it should be, and as memory holds it
        self.rows = {frame: sidecar.pack(self.rng.getrandbits(128), self.rng.getrandbits(128)) for frame in FRAMES}
        self.memory = dict(self.rows)
        self.clocks = self.done = 0
        self.failing = set()
        self.engine_op = None
        #: operations to come (frame, or None for one without a line); (frame, line) of those in look-up, and looked up
        self.ops, self.pending, self.queue = [], [], []
        #: frames in use by a write
        self.in_use = Counter()
        #: [due, number, frame(, row)] of memory
        self.reads, self.writes, self.log = [], [], []
        self.sent = self.used = 0
        self.updates, self.updating, self.expected_row = [], None, None

    def run(self, scenario):
        async def testbench(ctx):
            self.ctx = ctx
            await scenario(self)

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-9)
        simulator.add_testbench(testbench)
        simulator.run()

    def _due(self):
        return self.clocks + self.rng.randint(*self.latency)

    async def clock(self):
        ctx, dut, rng = self.ctx, self.dut, self.rng
        # What a read of the clock before shows.
        if self.expected_row is not None:
            row = ctx.get(dut.row)
            assert row == self.expected_row
            self.expected_row = None
        offered = bool(self.ops)
        ctx.set(dut.ops.valid, offered)
        if offered:
            frame = self.ops[0]
            ctx.set(dut.ops.payload.kind, DataKind.COMPLETE if frame is None else DataKind.READ)
            ctx.set(dut.ops.payload.frame, rng.choice(FRAMES) if frame is None else frame)
            ctx.set(dut.ops.payload.line, self.sent % LINES_PER_BLOCK)
        ctx.set(dut.engine_ops.valid, self.engine_op is not None)
        if self.engine_op is not None:
            ctx.set(dut.engine_ops.payload.kind, self.engine_op[0])
            ctx.set(dut.engine_ops.payload.frame, self.engine_op[1])
        ctx.set(dut.looked_up.ready, len(self.queue) < 6)
        ctx.set(dut.fetch.ready, rng.random() >= self.head_stall)
        ctx.set(dut.write_back.ready, rng.random() >= self.head_stall)
        users = [frame for frame, _ in self.queue if frame is not None] + list(self.in_use.elements())
        ctx.set(dut.set_in_use, ctx.get(dut.set_query) in {frame % SETS for frame in users})

        # The head of the queue: reads its line once present; some go on as writes, which update it later.
        head = self.queue[0] if self.queue and rng.random() >= self.head_stall else None
        take = False
        ctx.set(dut.read_enable, 0)
        if head is not None:
            take = head[0] is None
            if head[0] is not None:
                ctx.set(dut.probe, head[0])
                take = bool(ctx.get(dut.present))
                ctx.set(dut.read_enable, take)
        update = self.updates.pop(0) if self.updates and rng.random() < 0.5 else None
        ctx.set(dut.update.valid, update is not None)
        if update is not None:
            frame, line, written, poisoned = update
            for name, value in (("line", line), ("frame", frame)):
                ctx.set(dut.update.place[name], value)
            ctx.set(dut.update.written, written)
            ctx.set(dut.update.poisoned, poisoned)

        # Memory.
        answer = next((read for read in self.reads if read[0] <= self.clocks), None)
        ctx.set(dut.fetched.valid, answer is not None)
        if answer is not None:
            failed = answer[2] in self.failing
            ctx.set(dut.fetched.payload.id, answer[1])
            ctx.set(dut.fetched.payload.failed, failed)
            ctx.set(dut.fetched.payload.row, rng.getrandbits(512) if failed else self.memory[answer[2]])
            assert ctx.get(dut.fetched_frame) == answer[2]
        confirmed = next((write for write in self.writes if write[0] <= self.clocks), None)
        ctx.set(dut.written_back.valid, confirmed is not None)
        if confirmed is not None:
            ctx.set(dut.written_back.id, confirmed[1])
            assert ctx.get(dut.written_back_frame) == confirmed[2]

        if answer is not None and ctx.get(dut.fetched.ready):
            self.reads.remove(answer)
        if confirmed is not None:
            self.writes.remove(confirmed)
            self.memory[confirmed[2]] = confirmed[3]
        if ctx.get(dut.fetch.valid) and ctx.get(dut.fetch.ready):
            fetch = ctx.get(dut.fetch.payload)
            assert fetch.row_number not in [write[2] for write in self.writes], "a fetch overtook a write-back"
            assert fetch.id not in [read[1] for read in self.reads]
            self.reads.append([self._due(), fetch.id, fetch.row_number])
            self.log.append(("fetch", fetch.row_number))
        if ctx.get(dut.write_back.valid) and ctx.get(dut.write_back.ready):
            write = ctx.get(dut.write_back.payload)
            row = write.row
            assert row == self.rows[write.row_number], "a line was written back with other bits than it has"
            self.writes.append([self._due(), write.id, write.row_number, row])
            self.log.append(("write back", write.row_number))
        if offered and ctx.get(dut.ops.ready):
            self.pending.append((self.ops.pop(0), self.sent % LINES_PER_BLOCK))
            self.sent += 1
        if ctx.get(dut.looked_up.valid) and ctx.get(dut.looked_up.ready):
            frame, line = self.pending.pop(0)
            assert ctx.get(dut.looked_up.payload.line) == line, "operations changed their order"
            self.queue.append((frame, line))
        if take:
            self.queue.pop(0)
            self.used += 1
            if head[0] is not None:
                self.expected_row = self.rows[head[0]]
                if rng.random() < 0.5:
                    self.in_use[head[0]] += 1
                    self.updates.append((head[0], rng.randrange(LINES_PER_BLOCK), *rng.choices((0, 1), k=2)))
        if self.engine_op is not None and ctx.get(dut.engine_ops.ready):
            self.engine_op = None
        self.done += ctx.get(dut.engine_done)
        self.clocks += 1
        await ctx.tick()
        # An update shows to reads 2 clocks later; only then its write no longer uses the line.
        if self.updating is not None:
            frame, line, written, poisoned = self.updating
            masks = [mask & ~(1 << line) for mask in sidecar.unpack(self.rows[frame])]
            self.rows[frame] = sidecar.pack(masks[0] | written << line, masks[1] | poisoned << line)
            self.in_use[frame] -= 1
            self.in_use += Counter()
        self.updating = update

    async def idle(self, limit=2000):
        while self.ops or self.queue or self.in_use or self.pending:
            limit -= 1
            assert limit, f"stuck with {len(self.ops)} operations, queue {self.queue}"
            await self.clock()

    async def engine(self, kind, frame, traffic=lambda: None):
        done, self.engine_op = self.done, (kind, frame)
        limit = 1000
        while self.done == done:
            limit -= 1
            assert limit, f"{kind.name} never ended"
            traffic()
            await self.clock()
        if kind == SidecarKind.FLUSH:
            assert self.memory[frame] == self.rows[frame]
            assert frame not in [write[2] for write in self.writes]
        else:
            self.rows[frame] = sidecar.CLEAR if kind == SidecarKind.CLEAR else sidecar.POISON[0]


@pytest.mark.parametrize("latency", [(1, 1), (20, 20), (1, 40)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_use_sees_the_lines_bits(latency, stall):
    async def scenario(bench):
        for _ in range(1500):
            if len(bench.ops) < 4:
                near = range(SETS) if bench.rng.random() < 0.5 else FRAMES
                bench.ops.append(bench.rng.choice([None, *near, *near]))
            await bench.clock()
        await bench.idle()
        assert bench.used == bench.sent > 50
        assert {kind for kind, _ in bench.log} == {"fetch", "write back"}

    Bench(f"{latency} {stall}", latency=latency, head_stall=stall).run(scenario)


@pytest.mark.parametrize("seed", range(2))
def test_engine_operations_take_effect_while_other_frames_are_used(seed):
    async def scenario(bench):
        for _ in range(40):
            frame = bench.rng.choice(FRAMES)
            others = [other for other in FRAMES if other != frame]

            def traffic(others=others):
                if len(bench.ops) < 2:
                    bench.ops.append(bench.rng.choice(others))

            await bench.engine(bench.rng.choice(list(SidecarKind)), frame, traffic)
            bench.ops.append(frame)
            await bench.idle()
        for frame in FRAMES:
            bench.ops.append(frame)
        await bench.idle()

    Bench(seed, latency=(1, 20), head_stall=0.2).run(scenario)


def test_clear_and_poison_ask_memory_for_nothing_and_flush_writes_only_what_changed():
    async def scenario(bench):
        await bench.engine(SidecarKind.CLEAR, 1)
        await bench.engine(SidecarKind.POISON, 2)
        assert bench.log == []
        await bench.engine(SidecarKind.FLUSH, 1)
        await bench.engine(SidecarKind.FLUSH, 2)
        assert bench.log == [("write back", 1), ("write back", 2)]
        # Neither is in the cache any more; and what was only read needs no write-back.
        await bench.engine(SidecarKind.FLUSH, 1)
        bench.rng.random = lambda: 0.9
        bench.ops = [2]
        await bench.idle()
        await bench.engine(SidecarKind.FLUSH, 2)
        assert bench.log[2:] == [("fetch", 2)]

    Bench().run(scenario)


def test_fetches_overlap():
    async def scenario(bench):
        bench.ops = list(range(4))
        while not bench.used:
            await bench.clock()
        assert [kind for kind, _ in bench.log] == ["fetch"] * 4
        await bench.idle()
        assert bench.clocks < 50 + 4 * 4 + 20

    Bench(latency=(50, 50)).run(scenario)


def test_a_set_with_users_is_not_replaced():
    async def scenario(bench):
        bench.head_stall = 0.0
        bench.ops = [1]
        while not bench.queue:
            await bench.clock()
        bench.in_use[1] = 1
        bench.ops = [1 + SETS]
        for _ in range(50):
            await bench.clock()
        assert bench.log == [("fetch", 1)] and bench.pending
        bench.in_use -= Counter({1: 1})
        await bench.idle()
        assert bench.log[-1] == ("fetch", 1 + SETS)

    Bench().run(scenario)


def test_an_unreadable_line_counts_as_nothing_written_and_all_poisoned():
    async def scenario(bench):
        bench.failing = {3}
        bench.rows[3] = sidecar.POISON[0]
        bench.ops = [3]
        await bench.idle()
        await bench.clock()

    Bench().run(scenario)


def test_hits_take_a_clock_and_misses_four_or_seven():
    async def scenario(bench):
        async def clocks(frames):
            bench.ops = list(frames)
            start = bench.clocks
            while bench.ops or bench.pending:
                await bench.clock()
            return bench.clocks - start

        # Nobody writes, so that nothing else takes the cache's time.
        bench.rng.random = lambda: 0.9
        await bench.idle()
        assert await clocks([1]) == 1 + 4
        await bench.idle()
        assert await clocks([1] * 100) == 1 + 100
        await bench.idle()
        for frame in (1 + SETS, 1 + 2 * SETS):
            assert await clocks([frame]) == 1 + 4
            await bench.idle()
        await bench.engine(SidecarKind.CLEAR, 1)
        assert await clocks([1 + SETS]) == 1 + 7
        await bench.idle()

    Bench().run(scenario)


@pytest.mark.parametrize("lines", [1, 512])
def test_one_set_or_more_sets_than_half_the_rows_are_refused(lines):
    config = preset("tiny", sidecar_cache_lines=lines)
    with pytest.raises(ValueError, match=f"sidecar_cache_lines must be 2 to 256, half the rows, not {lines}"):
        SidecarCache(config=config)
