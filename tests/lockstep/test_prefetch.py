"""The whole endpoint in golden lock-step with prefetches of all sources, under random traffic and resets."""

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.events.port import EngineKind, PrefetchSource
from kv_endpoint.golden.front.address import encode, hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import fence_all, read, register_write, write
from kv_endpoint.golden.pipeline.metadata import SlotKind
from kv_endpoint.golden.registers.rules import pack
from kv_endpoint.tb.stimuli.random_traffic import random_operations
from tests.support.lockstep import Lockstep

CONFIG = preset("tiny", hosts=2)
FLAG_PREFETCHED = 16


class Timed(Lockstep):
    """`taken`: the clocks in which a Req was taken."""

    def _begin(self):
        super()._begin()
        self.taken = []

    async def _tick(self, ctx):
        if ctx.get(self.dut.req.valid) and ctx.get(self.dut.req.ready):
            self.taken.append(self._clock)
        await super()._tick(ctx)


def enable_stream(base, length, ahead):
    """Operations that describe and enable the first stream."""
    words = {"BASE": base, "LENGTH": length, "STRIDE": 1, "AHEAD": ahead, "CTRL": pack("STREAM[0].CTRL", ENABLED=1)}
    return [register_write(f"STREAM[0].{name}", word) for name, word in words.items()]


def prefetching(**sources):
    return ("PREFETCH", pack("PREFETCH", DEPTH=12, **sources))


def traffic(bench, *, seed, steps):
    return random_operations(CONFIG, bench.region, seed=seed, steps=steps, accesses=40, blocks=8)


def issued(bench):
    return [record for record in bench.kinds(SlotKind.PROMOTE) if record["value"]]


def test_prefetches_of_hints_and_windows_in_random_traffic():
    registers = [("POOL_FRAMES", 8), prefetching(ANNOUNCED=1, WINDOW=1)]
    bench = Lockstep(CONFIG, seed=1, registers=registers, stall=0.2)
    bench.run(traffic(bench, seed=1, steps=4), limit=30_000)
    queued = {record["aux"] for record in bench.kinds(EngineKind.PREFETCH_QUEUED)}
    assert queued == {PrefetchSource.ANNOUNCED, PrefetchSource.WINDOW}
    assert issued(bench) and bench.kinds(SlotKind.PREFETCH)
    assert bench.image.checked > 50


def test_prefetches_begin_anew_after_resets():
    registers = [("POOL_FRAMES", 8), prefetching(ANNOUNCED=1, WINDOW=1)]
    bench = Lockstep(CONFIG, seed=2, registers=registers)
    cut = [(traffic(bench, seed=20 + number, steps=3), moment) for number, moment in enumerate((1700, 2300))]
    bench.run(traffic(bench, seed=2, steps=2), cut=cut, limit=30_000)
    assert bench.kinds(EngineKind.PREFETCH_QUEUED)


def test_a_stream_is_fetched_ahead_of_its_reads():
    """Cold blocks in a row, for which the pool has grown; a block is read for longer than flash takes."""
    head, count, ahead = 2, 8, 3
    registers = [("POOL_FRAMES", CONFIG.pool_frames_min), prefetching(STREAMS=1)]
    bench = Lockstep(CONFIG, seed=3, registers=registers, flash_latency=(20, 30))

    def fenced(*operations):
        return [part for operation in operations for part in (operation, fence_all())]

    def line(block, of=head):
        return encode(CONFIG, bench.region, of, block, 0)

    def step(number):
        return fenced(write(hint_address(CONFIG, bench.region, 0), pack_hint(number, [])))

    operations = [
        *step(1),
        *fenced(*(write(line(block), 1 + block) for block in range(count))),
        *fenced(*(write(line(block, of=3), 50 + block) for block in range(CONFIG.pool_frames_min))),
        register_write("POOL_FRAMES", CONFIG.pool_frames_min + count),
        *step(2),
        *enable_stream(head * CONFIG.blocks_per_head, count, ahead),
        # Lines of one block again and again, so that there is time to fetch the next ones
        *fenced(*(read(line(block)) for block in range(count) for _ in range(12))),
    ]
    bench.run(operations, limit=30_000)
    queued = bench.kinds(EngineKind.PREFETCH_QUEUED)
    assert [record["block"] for record in queued] == list(range(count))
    assert {record["aux"] for record in queued} == {PrefetchSource.STREAM}
    used = [r["block"] for r in bench.kinds(SlotKind.READ) if r["flags_before"] & FLAG_PREFETCHED]
    assert len(used) >= count - ahead and used == sorted(used)
    assert not any(record["aux"] != 2 for record in bench.kinds(EngineKind.MISS_OPEN)[-count + ahead :])
    assert bench.image.checked == 12 * count


def test_prefetches_that_come_to_nothing_leave_the_hits_most_of_the_time():
    """A pool full of warm announced blocks, announced cold ones of no worth, then reads of what is warm."""
    frames = CONFIG.pool_frames_min
    clocks = {}
    for announced in (0, 1):
        registers = [("POOL_FRAMES", frames), ("PREFETCH", pack("PREFETCH", DEPTH=12, ANNOUNCED=announced))]
        run = Timed(CONFIG, seed=3, registers=registers, flash_latency=(20, 30))

        def line(head, block, run=run):
            return encode(CONFIG, run.region, head, block, 0)

        def hint(step, head, blocks, score, run=run):
            return write(hint_address(CONFIG, run.region, head), pack_hint(step, [(block, score) for block in blocks]))

        first = [
            hint(1, 0, [], 0),
            *(write(line(2, block), 1 + block) for block in range(8)),
            *(write(line(3, block), 50 + block) for block in range(frames)),
            hint(2, 3, range(frames), 0xFFFF),
            hint(3, 3, range(frames), 0xFFFF),
            *(read(line(3, block)) for block in range(frames)),
        ]
        operations = [step for operation in first for step in (operation, fence_all())]
        operations += [hint(4, 2, range(8), 0), *(read(line(3, number % frames)) for number in range(150))]
        run.run(operations, limit=30_000)
        assert bool(run.kinds(EngineKind.PREFETCH_DROPPED)) == bool(announced)
        clocks[announced] = run.taken[-1] - run.taken[-150]
    assert clocks[0] < 170
    assert clocks[1] < 2 * clocks[0], clocks
