# amaranth: UnusedElaboratable=no
"""The sidecar rows' format, and the sidecar cache with its write-backs against a dictionary of rows, in both modes."""

import random
from collections import Counter

import pytest
from amaranth.hdl import Elaboratable, Module, ResetInserter, Signal
from amaranth.lib import wiring

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data import mxint8, sidecar
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.common.layouts import SidecarKind
from kv_endpoint.hw.data.sidecar.cache import FETCHES, SidecarCache
from kv_endpoint.hw.data.sidecar.write_back import TRIES, WriteBacks
from tests.support import native, simulation

CONFIG = preset("tiny", sidecar_cache_rows=4)
SETS = CONFIG.sidecar_cache_rows
#: (mode, frame): enough of each mode to share every set with others
FRAMES = [(Mode.EXACT, frame) for frame in range(2 * SETS)] + [(Mode.MXINT8, frame) for frame in range(SETS)]
#: one line of each row
PLACES = [(mode, frame, line) for mode, frame in FRAMES for line in ((5, 125) if mode else (5,))]


def row_of(mode, frame, line):
    return CONFIG.sidecar_row(mode, frame, line)


def rows_of(mode, frame):
    """Numbers of the rows of a frame."""
    return sorted({row_of(mode, frame, line) for line in range(LINES_PER_BLOCK)})


#: row number -> mode and frame
OWNER = {row: owner for owner in FRAMES for row in rows_of(*owner)}


# The format ----------------------------------------------------------------------------------------------------------


def test_packed_masks_unpack():
    written, poisoned = 0x123456789ABCDEF << 64 | 5, 1 << 127 | 4
    assert sidecar.unpack(sidecar.pack(written, poisoned)) == (written, poisoned)


def test_written_lies_below_poisoned():
    assert sidecar.pack(1, 0) == 1 and sidecar.pack(0, 1) == 1 << 128


def test_a_mask_of_too_many_lines_is_refused():
    with pytest.raises(ValueError, match="poisoned must be a mask of 128 lines"):
        sidecar.pack(0, 1 << 128)


def test_a_scale_is_the_byte_of_its_line_within_its_half_of_the_frame():
    row = sidecar.with_scale(sidecar.CLEAR, 3, 0x85)
    assert row == 0x85 << 24 and sidecar.with_scale(row, 3, 0) == 0
    assert sidecar.scale(row, 3) == sidecar.scale(row, 64 + 3) == 0x85 and sidecar.scale(row, 4) == 0


def test_clear_and_poison_mean_that_for_every_line_in_both_modes():
    assert sidecar.unpack(sidecar.CLEAR) == (0, 0)
    assert sidecar.unpack(sidecar.POISON[Mode.EXACT]) == (0, sidecar.ALL_LINES)
    for line in range(LINES_PER_BLOCK):
        assert sidecar.scale(sidecar.CLEAR, line) == mxint8.ZERO
        assert sidecar.scale(sidecar.POISON[Mode.MXINT8], line) == mxint8.POISONED
    assert all(row < 1 << 512 for row in sidecar.POISON.values())


# The cache -----------------------------------------------------------------------------------------------------------


class Rig(Elaboratable):
    """The cache, its write-backs, and a reset."""

    def __init__(self, config):
        self.cache = SidecarCache(config=config)
        self.write_backs = WriteBacks(config=config, count=self.cache.write_backs)
        self.reset = Signal()

    def elaborate(self, platform):
        m = Module()
        reset = ResetInserter(self.reset)
        m.submodules.cache, m.submodules.write_backs = reset(self.cache), reset(self.write_backs)
        wiring.connect(m, self.cache.write_back, self.write_backs.requests)
        m.d.comb += self.cache.written_back.eq(self.write_backs.done)
        return m


class Bench:
    """Operations in, their use at the head, updates, engine operations, and a memory; one clock a `clock()`.

    `read_failures`, `write_failures`: how likely memory fails. `rows` is what each row should be. A failed fetch
    changes its row at once. The other row of a frame of mode mxint8 changes between the operations that look-up had
    taken up to that clock and those after it: it stands in `losses` until the model passes that point.
    """

    def __init__(self, seed=0, *, config=CONFIG, latency=(1, 1), head_stall=0.0, read_failures=0.0, write_failures=0.0):
        print("seed", seed)
        self.rng = random.Random(seed)
        self.rig = Rig(config)
        self.dut, self.memory_port = self.rig.cache, self.rig.write_backs
        self.config, self.sets = config, config.sidecar_cache_rows
        self.latency, self.head_stall = latency, head_stall
        self.read_failures, self.write_failures = read_failures, write_failures
        #: rows that memory takes no more, and how often it has refused a row since it took one
        self.refusing, self.refused = set(), Counter()
        #: rows that were given up, and not asked for since: neither memory nor the cache has them
        self.given_up = set()
        #: what the engine's last operation ended with; a page (mode, frame) that flash is to place in the next clock
        self.failed, self.page = False, None
        self.update_share, self.queue_depth = 0.5, 6
        #: row number -> row: as it should be, and as memory holds it
        self.rows, self.memory = {}, {}
        self.clocks = self.done = 0
        self.forget()

    def forget(self):
        """What a reset does: only memory stays."""
        self.rows, self.failing = dict(self.memory), set()
        self.given_up.clear()
        self.refused.clear()
        self.engine_op = None
        #: operations to come (a place, or None for one without a line); (place, number) of those in look-up, looked up
        self.ops, self.pending, self.queue = [], [], []
        #: rows in use by a write
        self.in_use = Counter()
        #: [due, number, row number(, row)] of memory
        self.reads, self.writes, self.log = [], [], []
        self.sent = self.used = 0
        self.updates, self.updating, self.expected_row = [], None, None
        #: rows whose next fetch fails; (row number, operations taken before) of those that it costs
        self.losses = []

    def run(self, scenario):
        async def testbench(ctx):
            self.ctx = ctx
            await scenario(self)

        # A build for the configuration of most tests.
        simulate = native.simulate if self.config == CONFIG else simulation.simulate
        simulate(self.rig, testbench)

    def row(self, number):
        """What the row should be; before anyone saw it, whatever memory happens to hold."""
        if number not in self.rows:
            self.rows[number] = self.memory[number] = self.rng.getrandbits(512)
        return self.rows[number]

    def _due(self):
        return self.clocks + self.rng.randint(*self.latency)

    def _lose(self, number, *, before):
        """The losses of row `number` that come before operation `before` have happened."""
        mine = [loss for loss in self.losses if loss[0] == number and loss[1] <= before]
        if mine:
            self.losses = [loss for loss in self.losses if loss not in mine]
            assert not self.in_use[number], "poisoned while a write has the row in use"
            self.rows[number] = sidecar.POISON[Mode.MXINT8]

    def _loses(self, number, taken):
        """Row `number` is made in the cache as poison, `taken` operations having been taken."""
        self.losses.append((number, taken))
        self.given_up.discard(number)

    def _offer(self):
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.ops.valid, bool(self.ops))
        if self.ops:
            place = self.ops[0]
            ctx.set(dut.ops.payload.kind, DataKind.COMPLETE if place is None else self.rng.choice((1, 2)))
            for name, value in zip(("mode", "frame", "line"), place or self.rng.choice(PLACES), strict=True):
                ctx.set(dut.ops.payload[name], value)
            ctx.set(dut.ops.payload.id, self.sent % 16)
        ctx.set(dut.engine_ops.valid, self.engine_op is not None)
        if self.engine_op is not None:
            for name, value in zip(("kind", "mode", "frame"), self.engine_op, strict=True):
                ctx.set(dut.engine_ops.payload[name], value)

    def _head(self):
        """The head of the queue reads its row once it is present. Returns the place of an operation that goes on."""
        ctx, dut, rng = self.ctx, self.dut, self.rng
        head = self.queue[0] if self.queue and rng.random() >= self.head_stall else None
        ctx.set(dut.read_enable, 0)
        if head is None or head[0] is None:
            return head
        ctx.set(dut.probe, self.config.sidecar_row(*head[0]))
        present = bool(ctx.get(dut.present))
        ctx.set(dut.read_enable, present)
        return head if present else None

    def _memory_answers(self):
        ctx, dut, rng = self.ctx, self.dut, self.rng
        answer = next((read for read in self.reads if read[0] <= self.clocks), None)
        failed = answer is not None and (answer[2] in self.failing or rng.random() < self.read_failures)
        ctx.set(dut.fetched.valid, answer is not None)
        if answer is not None:
            _, id_, number = answer
            ctx.set(dut.fetched.payload.id, id_)
            ctx.set(dut.fetched.payload.failed, failed)
            ctx.set(dut.fetched.payload.row, rng.getrandbits(512) if failed else self.memory[number])
        confirmed = next((write for write in self.writes if write[0] <= self.clocks), None)
        write_failed = confirmed is not None and (rng.random() < self.write_failures or confirmed[2] in self.refusing)
        port = self.memory_port.confirmed
        ctx.set(port.valid, confirmed is not None)
        if confirmed is not None:
            _, id_, number, row = confirmed
            ctx.set(port.id, id_)
            ctx.set(port.failed, write_failed)
            self.writes.remove(confirmed)
            self.memory[number] = rng.getrandbits(512) if write_failed else row
            self.log.append(("failed write" if write_failed else "written", number))
            self.refused[number] = self.refused[number] + 1 if write_failed else 0
            if self.refused[number] == TRIES:
                self.refused[number] = 0
                # One that waits to be made in the cache is as good as there.
                if number not in [loss[0] for loss in self.losses]:
                    self.given_up.add(number)
                self.rows[number] = sidecar.POISON[self._owner(number)[0]]
        if answer is None or not ctx.get(dut.fetched.ready):
            return
        self.reads.remove(answer)
        if failed:
            self.failing.discard(number := answer[2])
            mode, _ = self._owner(number)
            self.rows[number] = sidecar.POISON[mode]
            self.log.append(("failed fetch", number))
            if mode:
                self._loses(number ^ 1, self.sent + bool(self.ops and ctx.get(dut.ops.ready)))

    def _memory_requests(self):
        ctx, dut = self.ctx, self.dut
        if ctx.get(dut.fetch.valid) and ctx.get(dut.fetch.ready):
            fetch = ctx.get(dut.fetch.payload)
            number = int(fetch.row_number)
            self.row(number)
            assert number not in [write[2] for write in self.writes], "a fetch overtook a write-back"
            assert number not in self.given_up, "a row is fetched that memory does not have"
            assert self.memory[number] == self.rows[number] or number in [loss[0] for loss in self.losses]
            assert fetch.id not in [read[1] for read in self.reads]
            self.reads.append([self._due(), fetch.id, number])
            self.log.append(("fetch", number))
        port = self.memory_port.memory
        if ctx.get(port.valid) and ctx.get(port.ready):
            write = ctx.get(port.payload)
            number = int(write.row_number)
            if write.row == sidecar.POISON[Mode.MXINT8] or write.row != self.row(number):
                self._lose(number, before=self.sent)
            assert write.row == self.rows[number], "a row was written back with other bits than it has"
            self.given_up.discard(number)
            self.writes.append([self._due(), write.id, number, write.row])
            self.log.append(("write back", number))

    def _owner(self, number):
        """Mode and frame of a row."""
        top = 1 << self.config.row_bits - 1
        return (Mode.MXINT8, (number - top) // 2) if number >= top else (Mode.EXACT, number)

    async def clock(self):
        ctx, dut, rng = self.ctx, self.dut, self.rng
        # What a read of the clock before shows.
        if self.expected_row is not None:
            assert ctx.get(dut.row) == self.expected_row
            self.expected_row = None
        self._offer()
        ctx.set(dut.looked_up.ready, len(self.queue) < self.queue_depth)
        ctx.set(dut.fetch.ready, rng.random() >= self.head_stall)
        ctx.set(self.memory_port.memory.ready, rng.random() >= self.head_stall)
        users = [self.config.sidecar_row(*place) for place, _ in self.queue if place] + list(self.in_use.elements())
        ctx.set(dut.set_in_use, ctx.get(dut.set_query) in {number % self.sets for number in users})
        taken = self._head()
        update = self.updates.pop(0) if self.updates and rng.random() < 0.5 else None
        ctx.set(dut.update.valid, update is not None)
        if update is not None:
            (mode, frame, line), meaning = update
            for name, value in (("mode", mode), ("frame", frame), ("line", line)):
                ctx.set(dut.update.place[name], value)
            for name, value in zip(("written", "poisoned", "scale"), meaning, strict=True):
                ctx.set(dut.update[name], value)
        self._memory_answers()
        self._memory_requests()

        if self.ops and ctx.get(dut.ops.ready):
            self.pending.append((self.ops.pop(0), self.sent))
            self.sent += 1
        if ctx.get(dut.looked_up.valid) and ctx.get(dut.looked_up.ready):
            place, number = self.pending.pop(0)
            payload = ctx.get(dut.looked_up.payload)
            assert payload.id == number % 16, "operations changed their order"
            assert place is None or (payload.mode, payload.frame, payload.line) == place
            self.queue.append((place, number))
            if place is not None and (row := self.config.sidecar_row(*place)) in self.given_up:
                # It is made in the cache, and after it the other row of its frame.
                self.given_up.discard(row)
                if place[0]:
                    self._loses(row ^ 1, number + 1)
        if taken is not None:
            self.queue.pop(0)
            self.used += 1
            self._use(*taken)
        if self.engine_op is not None and ctx.get(dut.engine_ops.ready):
            self.engine_op = None
        self.done += ctx.get(dut.engine_done)
        self.failed = bool(ctx.get(dut.engine_failed))
        ctx.set(dut.page_read.valid, self.page is not None)
        if self.page is not None:
            mode, frame = self.page
            ctx.set(dut.page_read.mode, mode)
            ctx.set(dut.page_read.frame, frame)
            for row in {self.config.sidecar_row(mode, frame, line) for line in (0, 127)}:
                self.given_up.discard(row)
                self.rows[row] = self.memory[row] = rng.getrandbits(512)
            self.page = None
        self.clocks += 1
        await ctx.tick()
        # An update shows to reads 2 clocks later; only then its write no longer uses the row.
        if self.updating is not None:
            self._updated(*self.updating)
        self.updating = update

    def _use(self, place, number):
        if place is None:
            return
        row = self.config.sidecar_row(*place)
        self._lose(row, before=number)
        self.expected_row = self.row(row)
        if self.rng.random() < self.update_share:
            self.in_use[row] += 1
            meaning = self.rng.getrandbits(1), self.rng.getrandbits(1), self.rng.getrandbits(8)
            # another line of the same row
            mode, frame, line = place
            line = line & 64 | self.rng.randrange(64) if mode else self.rng.randrange(LINES_PER_BLOCK)
            self.updates.append(((mode, frame, line), meaning))

    def _updated(self, place, meaning):
        row, line = self.config.sidecar_row(*place), place[2]
        written, poisoned, scale = meaning
        if place[0]:
            self.rows[row] = sidecar.with_scale(self.rows[row], line, scale)
        else:
            masks = [mask & ~(1 << line) for mask in sidecar.unpack(self.rows[row])]
            rest = self.rows[row] >> 256 << 256
            self.rows[row] = rest | sidecar.pack(masks[0] | written << line, masks[1] | poisoned << line)
        self.in_use[row] -= 1
        self.in_use += Counter()

    async def idle(self, limit=3000):
        while self.ops or self.queue or self.in_use or self.pending:
            limit -= 1
            assert limit, f"stuck with {len(self.ops)} operations, queue {self.queue}"
            await self.clock()

    async def use(self, *places):
        self.ops.extend(places)
        await self.idle()

    async def engine(self, kind, mode, frame, traffic=lambda: None):
        done, self.engine_op = self.done, (kind, mode, frame)
        limit = 2000
        while self.done == done:
            limit -= 1
            assert limit, f"{kind.name} never ended"
            traffic()
            await self.clock()
        assert self.done == done + 1
        rows = sorted({self.config.sidecar_row(mode, frame, line) for line in (0, 127)})
        if kind == SidecarKind.FLUSH:
            assert self.failed == bool(self.given_up & set(rows))
        for row in rows:
            # Whatever was lost when the engine asked was lost before.
            self._lose(row, before=self.sent)
            if kind == SidecarKind.FLUSH:
                assert row not in [write[2] for write in self.writes]
                assert row in self.given_up or self.memory.get(row) == self.rows.get(row)
            else:
                self.given_up.discard(row)
                self.rows[row] = sidecar.CLEAR if kind == SidecarKind.CLEAR else sidecar.POISON[mode]

    async def reset(self):
        self.ctx.set(self.rig.reset, 1)
        await self.clock()
        self.ctx.set(self.rig.reset, 0)
        self.forget()

    def logged(self, *kinds):
        """Row numbers of the log entries of these kinds."""
        return [number for kind, number in self.log if kind in kinds]


async def use_all(bench):
    await bench.use(*PLACES)
    await bench.use(*reversed(PLACES))
    await bench.clock()


# Random mixes --------------------------------------------------------------------------------------------------------

FAILURES = {"sound": (0.0, 0.0), "failing": (0.2, 0.3)}


@pytest.mark.parametrize("latency", [(1, 1), (20, 20), (1, 40)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("memory", FAILURES)
def test_every_use_sees_what_its_row_should_be(latency, stall, memory):
    read_failures, write_failures = FAILURES[memory]

    async def scenario(bench):
        for _ in range(1500):
            if len(bench.ops) < 4:
                near = PLACES[:3] + PLACES[-3:] if bench.rng.random() < 0.5 else PLACES
                bench.ops.append(bench.rng.choice([None, *near, *near]))
            await bench.clock()
        await bench.idle()
        assert bench.used == bench.sent > 50
        assert {"fetch", "write back"} <= {kind for kind, _ in bench.log}
        assert bool(bench.logged("failed fetch")) == bool(bench.logged("failed write")) == (memory == "failing")
        await use_all(bench)

    Bench(
        f"{latency} {stall} {memory}",
        latency=latency,
        head_stall=stall,
        read_failures=read_failures,
        write_failures=write_failures,
    ).run(scenario)


@pytest.mark.parametrize("memory", FAILURES)
@pytest.mark.parametrize("seed", range(2))
def test_engine_operations_take_effect_while_other_frames_are_used(seed, memory):
    read_failures, write_failures = FAILURES[memory]

    async def scenario(bench):
        for _ in range(40):
            mode, frame = bench.rng.choice(FRAMES)
            mine = [place for place in PLACES if place[:2] == (mode, frame)]
            others = [place for place in PLACES if place not in mine]

            def traffic(others=others):
                if len(bench.ops) < 2:
                    bench.ops.append(bench.rng.choice(others))

            await bench.engine(bench.rng.choice(list(SidecarKind)), mode, frame, traffic)
            await bench.use(*mine)
        await use_all(bench)

    Bench(seed, latency=(1, 20), head_stall=0.2, read_failures=read_failures, write_failures=write_failures).run(
        scenario
    )


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_memory_refuses_for_good_are_poisoned_and_keep_nobody_waiting(seed):
    """Which rows it refuses changes all the time; pages come to frames that were flushed."""
    count = Counter()

    async def scenario(bench):
        for _ in range(40):
            bench.refusing = set(bench.rng.sample(sorted(OWNER), bench.rng.choice((0, 4, 12, len(OWNER)))))
            mode, frame = bench.rng.choice(FRAMES)
            mine = [place for place in PLACES if place[:2] == (mode, frame)]
            others = [place for place in PLACES if place not in mine]

            def traffic(others=others):
                if len(bench.ops) < 2:
                    bench.ops.append(bench.rng.choice(others))

            kind = bench.rng.choice((SidecarKind.FLUSH, *SidecarKind))
            await bench.engine(kind, mode, frame, traffic)
            count[kind, bench.failed] += 1
            if kind == SidecarKind.FLUSH and bench.rng.random() < 0.5:
                # The page comes whatever ends in that clock.
                bench.page = mode, frame
                await bench.clock()
                for _ in range(4):
                    await bench.clock()
            await bench.use(*mine)
        bench.refusing = set()
        await use_all(bench)

    Bench(seed, latency=(1, 20), head_stall=0.2).run(scenario)
    assert count[SidecarKind.FLUSH, True] > 2 and count[SidecarKind.FLUSH, False] > 2, count


@pytest.mark.parametrize("mode", Mode)
def test_a_flush_of_a_row_that_memory_refuses_ends_and_says_so(mode):
    """The row is poison then, until memory takes it again, or a page comes."""

    async def scenario(bench):
        rows = rows_of(mode, 1)
        bench.update_share = 0.0
        await bench.engine(SidecarKind.CLEAR, mode, 1)
        bench.refusing = {rows[-1]}
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        assert bench.failed and bench.logged("failed write") == TRIES * [rows[-1]]
        # Another one tries again.
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        assert bench.failed and bench.logged("failed write") == 2 * TRIES * [rows[-1]]
        await bench.use((mode, 1, 127), (mode, 1, 0))
        assert {bench.rows[row] for row in rows} == {sidecar.POISON[mode]}
        bench.refusing = set()
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        assert not bench.failed and {bench.memory[row] for row in rows} == {sidecar.POISON[mode]}

        bench.refusing = {rows[0]}
        await bench.engine(SidecarKind.POISON, mode, 1)
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        assert bench.failed
        bench.page = mode, 1
        await bench.clock()
        await bench.use((mode, 1, 0), (mode, 1, 127))
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        assert not bench.failed
        assert not bench.logged("failed fetch") and len(bench.logged("failed write")) == 3 * TRIES
        # Once memory takes it, the lost row is there as poison.
        await bench.engine(SidecarKind.CLEAR, mode, 1)
        bench.refusing = set(rows)
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        bench.refusing = set()
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        assert not bench.failed and {bench.memory[row] for row in rows} == {sidecar.POISON[mode]}

    Bench().run(scenario)


# Engine operations ---------------------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("mode", Mode)
def test_clear_and_poison_ask_memory_for_nothing_and_flush_writes_only_what_changed(mode):
    async def scenario(bench):
        one, two = rows_of(mode, 1), rows_of(mode, 4)
        assert len(one) == (2 if mode else 1)
        bench.update_share = 0.0
        await bench.engine(SidecarKind.CLEAR, mode, 1)
        await bench.engine(SidecarKind.POISON, mode, 4)
        assert bench.log == []
        await bench.use((mode, 1, 3), (mode, 1, 99), (mode, 4, 3), (mode, 4, 99))
        await bench.clock()
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        await bench.engine(SidecarKind.FLUSH, mode, 4)
        assert bench.logged("write back") == [*one, *two] and not bench.logged("fetch")
        # Neither is in the cache any more; and what was only read needs no write-back.
        await bench.engine(SidecarKind.FLUSH, mode, 1)
        await bench.use((mode, 4, 127))
        await bench.engine(SidecarKind.FLUSH, mode, 4)
        assert bench.logged("write back") == [*one, *two] and bench.logged("fetch") == [two[-1]]

    Bench(config=preset("tiny", sidecar_cache_rows=16)).run(scenario)


def test_flush_waits_until_memory_has_both_rows():
    async def scenario(bench):
        await bench.engine(SidecarKind.CLEAR, Mode.MXINT8, 2)
        bench.latency = (40, 40)
        start = bench.clocks
        await bench.engine(SidecarKind.FLUSH, Mode.MXINT8, 2)
        assert 40 <= bench.clocks - start < 60
        assert bench.logged("written") == rows_of(Mode.MXINT8, 2)
        # A row pushed out before: its write-back, not the flush's own.
        for half in (0, 1):
            bench.latency = (1, 1)
            await bench.engine(SidecarKind.CLEAR, Mode.MXINT8, 2)
            bench.latency = (60, 60)
            bench.log.clear()
            bench.ops = [(Mode.EXACT, half, 0)]
            while not bench.log:
                await bench.clock()
            await bench.engine(SidecarKind.FLUSH, Mode.MXINT8, 2)
            assert sorted(bench.logged("written")) == rows_of(Mode.MXINT8, 2)

    Bench().run(scenario)


# A row that could not be read ----------------------------------------------------------------------------------------


def test_an_unreadable_row_of_mode_exact_is_poisoned_alone_and_stays_so():
    async def scenario(bench):
        bench.update_share = 0.0
        await bench.use((Mode.EXACT, 2, 0))
        bench.failing = {3}
        await bench.use((Mode.EXACT, 3, 0))
        assert bench.rows[3] == sidecar.POISON[Mode.EXACT]
        await bench.use((Mode.EXACT, 2, 0))
        # It leaves the cache, and memory has it so.
        await bench.use((Mode.EXACT, 3 + SETS, 0), (Mode.EXACT, 3, 0))
        assert bench.memory[3] == sidecar.POISON[Mode.EXACT]
        await bench.clock()

    Bench().run(scenario)


@pytest.mark.parametrize("half", range(2))
@pytest.mark.parametrize("sibling", ["in the cache", "in memory", "on its way", "changed", "pushed out"])
def test_an_unreadable_row_of_scales_poisons_the_whole_frame(half, sibling):
    lost, other = (Mode.MXINT8, 1, 64 * half), (Mode.MXINT8, 1, 64 * (1 - half))

    async def scenario(bench):
        lost_row, other_row = row_of(*lost), row_of(*other)
        bench.update_share = 1.0 if sibling == "changed" else 0.0
        if sibling in ("in the cache", "changed"):
            await bench.use(other)
        if sibling == "pushed out":
            await bench.engine(SidecarKind.CLEAR, Mode.MXINT8, 1)
            bench.latency = (30, 30)
            await bench.use((Mode.EXACT, other_row % SETS, 0), (Mode.EXACT, lost_row % SETS, 0))
            assert other_row in bench.logged("write back")
        bench.update_share = 0.0
        bench.failing = {lost_row}
        bench.latency = (20, 20)
        await bench.use(*[lost, other] if sibling == "on its way" else [lost])
        for _ in range(60):
            await bench.clock()
        assert bench.logged("failed fetch") == [lost_row]
        fetches = len(bench.logged("fetch"))
        await bench.use(lost, other)
        await bench.clock()
        assert not bench.losses
        assert bench.rows[lost_row] == bench.rows[other_row] == sidecar.POISON[Mode.MXINT8]
        assert len(bench.logged("fetch")) == fetches, "the other row had to be fetched"
        # It stays so in memory.
        await bench.engine(SidecarKind.FLUSH, Mode.MXINT8, 1)
        assert bench.memory[lost_row] == bench.memory[other_row] == sidecar.POISON[Mode.MXINT8]

    Bench(f"{half} {sibling}").run(scenario)


def test_the_other_row_is_poisoned_after_the_writes_that_have_it_in_use_and_before_later_operations():
    """The write waits in the queue behind the lost row: were the row not given to it first, nothing would go on."""
    lost, other = (Mode.MXINT8, 1, 0), (Mode.MXINT8, 1, 64)

    async def scenario(bench):
        await bench.use(other)
        bench.update_share = 1.0
        bench.failing = {row_of(*lost)}
        bench.latency = (30, 30)
        # Taken before memory fails: all see the other row as it was.
        bench.ops = [lost, other, lost, other]
        while not bench.logged("failed fetch"):
            await bench.clock()
        assert bench.sent == 5 and bench.losses == [(row_of(*other), 5)]
        bench.ops = [other] * 3
        await bench.idle()
        assert not bench.losses
        await bench.use(lost, other)
        await bench.clock()

    Bench().run(scenario)


def test_as_many_rows_as_can_be_on_their_way_are_lost_at_once():
    config = preset("tiny", sidecar_cache_rows=64)

    async def scenario(bench):
        frames = range(FETCHES + 1)
        lost = [(Mode.MXINT8, frame, 0) for frame in frames]
        bench.update_share = 0.0
        bench.queue_depth = FETCHES
        bench.failing = {config.sidecar_row(*place) for place in lost}
        bench.latency = (100, 100)
        # The last one waits for a number, then for room in the queue, whose head stands still meanwhile.
        bench.ops = list(lost)
        bench.head_stall = 0.0
        while len(bench.queue) < FETCHES:
            await bench.clock()
        head, bench._head = bench._head, lambda: None
        for _ in range(300):
            bench.ctx.set(bench.dut.read_enable, 0)
            await bench.clock()
        assert len(bench.logged("failed fetch")) == FETCHES + 1 == len(bench.losses)
        bench._head = head
        await bench.use(*((Mode.MXINT8, frame, 64) for frame in frames))
        await bench.clock()
        assert not bench.losses and len(bench.logged("fetch")) == FETCHES + 1
        assert set(bench.rows.values()) == {sidecar.POISON[Mode.MXINT8]}

    Bench(config=config).run(scenario)


def test_a_frame_that_is_cleared_after_a_loss_stays_clear():
    lost, other = (Mode.MXINT8, 1, 0), (Mode.MXINT8, 1, 64)

    async def scenario(bench):
        bench.update_share = 0.0
        bench.failing = {row_of(*lost)}
        bench.ops = [lost]
        # Another operation is in look-up, and waits, when the row is lost and the engine asks.
        bench.in_use[row_of(Mode.EXACT, 0, 0)] = 1
        bench.ops.append((Mode.EXACT, SETS, 0))
        while not bench.logged("failed fetch") or bench.queue:
            await bench.clock()
        assert bench.pending and bench.losses
        bench.engine_op = (SidecarKind.CLEAR, Mode.MXINT8, 1)
        for _ in range(10):
            await bench.clock()
        bench.in_use.clear()
        await bench.engine(SidecarKind.CLEAR, Mode.MXINT8, 1)
        assert not bench.losses
        await bench.use(lost, other)
        await bench.clock()
        assert bench.rows[row_of(*lost)] == bench.rows[row_of(*other)] == sidecar.CLEAR

    Bench().run(scenario)


# Times, sets, reset --------------------------------------------------------------------------------------------------


def test_fetches_overlap():
    async def scenario(bench):
        bench.ops = [(Mode.EXACT, 0, 0), (Mode.EXACT, 1, 0), (Mode.MXINT8, 1, 0), (Mode.MXINT8, 1, 127)]
        while not bench.used:
            await bench.clock()
        assert bench.log == [("fetch", row) for row in (0, 1, *rows_of(Mode.MXINT8, 1))]
        await bench.idle()
        assert bench.clocks < 50 + 4 * 4 + 20

    Bench(latency=(50, 50)).run(scenario)


@pytest.mark.parametrize(
    ("user", "other"), [((0, 1, 0), (0, 1 + SETS, 0)), ((1, 0, 64), (0, 1, 0)), ((0, 2, 9), (1, 1, 63))]
)
def test_a_set_with_users_is_not_replaced(user, other):
    async def scenario(bench):
        bench.update_share = 0.0
        bench.ops = [user]
        while not bench.queue:
            await bench.clock()
        row = row_of(*user)
        bench.in_use[row] = 1
        bench.ops = [other]
        for _ in range(50):
            await bench.clock()
        assert bench.log == [("fetch", row)] and bench.pending
        bench.in_use -= Counter({row: 1})
        await bench.idle()
        assert bench.log[-1] == ("fetch", row_of(*other))

    Bench().run(scenario)


@pytest.mark.parametrize("mode", Mode)
def test_hits_take_a_clock_and_misses_four_or_seven(mode):
    async def scenario(bench):
        async def clocks(places):
            bench.ops = list(places)
            start = bench.clocks
            while bench.ops or bench.pending:
                await bench.clock()
            return bench.clocks - start

        # Nobody writes, so that nothing else takes the cache's time.
        bench.update_share = 0.0
        await bench.idle()
        assert await clocks([(mode, 1, 0)]) == 1 + 4
        await bench.idle()
        assert await clocks([(mode, 1, 1)] * 100) == 1 + 100
        await bench.idle()
        for frame in (1 + SETS, 1 + 2 * SETS):
            assert await clocks([(mode, frame, 0)]) == 1 + 4
            await bench.idle()
        await bench.engine(SidecarKind.CLEAR, mode, 1)
        assert await clocks([(mode, 1 + SETS, 0)]) == 1 + 7
        await bench.idle()

    Bench().run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_reset_in_the_middle_of_anything_leaves_a_clean_cache(seed):
    async def scenario(bench):
        for _ in range(6):
            for _ in range(bench.rng.randrange(20, 120)):
                if len(bench.ops) < 3:
                    bench.ops.append(bench.rng.choice(PLACES))
                bench.failing = set(bench.rng.sample(sorted(OWNER), 4))
                await bench.clock()
            if bench.rng.random() < 0.5:
                # Nobody may use the frame; the reset comes before the end.
                await bench.idle()
                bench.engine_op = (bench.rng.choice(list(SidecarKind)), *bench.rng.choice(FRAMES))
                for _ in range(bench.rng.randrange(1, 8)):
                    await bench.clock()
            await bench.reset()
            await bench.use(*PLACES)
            await bench.clock()
            # Every row came from memory, and was not poisoned by what was lost before.
            assert set(bench.logged("fetch")) == set(OWNER)

    Bench(seed, latency=(1, 20), head_stall=0.2).run(scenario)


@pytest.mark.parametrize("lines", [1, 512])
def test_one_set_or_more_sets_than_half_the_rows_are_refused(lines):
    config = preset("tiny", sidecar_cache_rows=lines)
    with pytest.raises(ValueError, match=f"sidecar_cache_rows must be 2 to 256, half the rows, not {lines}"):
        SidecarCache(config=config)
