"""The datapath in mode mxint8, alone and beside mode exact, against `golden.data.datapath.Mxint8Frames`."""

import pytest

from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data import sidecar
from kv_endpoint.golden.data.datapath import ALL_BYTES, ALL_ONES
from kv_endpoint.golden.data.mxint8 import NOT_FINITE, POISONED, ZERO, compress, decompress
from kv_endpoint.hw.common.layouts import SidecarKind
from kv_endpoint.hw.data.mxint8.write_combiner import PATIENCE
from tests.support.datapath_bench import CONFIG, Bench, fp16_line, random_operation

MX = Mode.MXINT8
#: lines of ones, of one infinity, and of values that compression changes
ONES = int.from_bytes(bytes([0x00, 0x3C] * 32), "little")
INFINITY = 0x7C00 << 80
UNEVEN = sum(0x3C01 + 37 * i << 16 * i for i in range(32))


def data_line(frame, line):
    return CONFIG.data_line(MX, frame, line)


def sidecar_rows(frame):
    return [CONFIG.sidecar_base + CONFIG.sidecar_row(MX, frame, line) for line in (0, LINE_BYTES)]


# Rules -----------------------------------------------------------------------------------------------------------


def test_a_line_reads_as_what_compression_leaves_of_it():
    async def scenario(bench):
        await bench.start((3,), (MX,))
        for line, value in enumerate((ONES, UNEVEN, INFINITY, 0)):
            bench.write(3, line, value, mode=MX)
            bench.read(3, line, MX)
            assert bench.halves.read(3, line) == (decompress(*compress(value)), False)
        assert bench.halves.read(3, 0)[0] == ONES and bench.halves.read(3, 1)[0] not in (UNEVEN, 0)
        await bench.settle()

    Bench().run(scenario)


def test_lines_without_data_are_read_without_memory():
    """Never written, zero, poisoned, not finite; but a number asks memory."""

    async def scenario(bench):
        await bench.start((3,), (MX,))
        bench.write(3, 1, 0, mode=MX)
        bench.write(3, 2, ONES, mode=MX, poison=True)
        bench.write(3, 3, INFINITY, mode=MX)
        bench.write(3, 4, ONES, mode=MX)
        await bench.settle()
        for line in range(4):
            bench.read(3, line, MX)
        # And so are the bytes that a partial write keeps.
        for line in range(4):
            bench.write(3, line, ONES, mode=MX, be=1)
        await bench.settle()
        assert bench.memory.reads == 0
        bench.read(3, 4, MX)
        await bench.settle()
        assert bench.memory.reads == 1

    Bench().run(scenario)


def test_a_reused_frame_shows_nothing_of_its_former_owner():
    async def scenario(bench):
        await bench.start((3,), (MX,))
        for line in range(4):
            bench.write(3, line, mode=MX)
        await bench.settle()
        await bench.engine(SidecarKind.CLEAR, 3, MX)
        bench.write(3, 1, ONES, mode=MX, be=0b11)
        for line in range(4):
            bench.read(3, line, MX)
        assert bench.halves.read(3, 0) == (0, False) and bench.halves.read(3, 1) == (0x3C00, False)
        await bench.settle()

    Bench().run(scenario)


def test_poison_stays_until_a_full_clean_write():
    async def scenario(bench):
        await bench.start((1,), (MX,))
        for write, poisoned in (
            ({"poison": True}, True),
            ({"be": 1}, True),
            ({}, False),
            ({"be": 1}, False),
            ({"be": 1, "poison": True}, True),
            ({"be": ALL_BYTES}, False),
        ):
            bench.write(1, 0, ONES, mode=MX, **write)
            bench.read(1, 0, MX)
            assert bench.halves.read(1, 0) == (0 if poisoned else ONES, poisoned)
            bench.read(1, 1, MX)
        await bench.settle()

    Bench().run(scenario)


BYTE_PATTERNS = {
    "each byte": [1 << byte for byte in range(LINE_BYTES)],
    "all but one byte": [ALL_BYTES ^ 1 << byte for byte in range(0, LINE_BYTES, 3)],
    "runs": [(1 << count) - 1 << start for start in (0, 1, 31, 32) for count in (0, 1, 2, 3, 17, 31, 32)],
    "low and high bytes": [int("5" * 16, 16), int("A" * 16, 16), int("F0" * 8, 16), ALL_BYTES],
}


@pytest.mark.parametrize("patterns", BYTE_PATTERNS)
def test_partial_writes_merge_with_what_the_line_reads_as(patterns):
    """Numbers, zeros, NaNs and poison, each with every pattern; halves next to each other."""

    async def scenario(bench):
        await bench.start((1, 2), (MX,))
        for number, be in enumerate(BYTE_PATTERNS[patterns]):
            old = (UNEVEN, fp16_line(bench.rng), 0, INFINITY, UNEVEN)[number % 5]
            line = number % 16
            bench.write(1, line, old, mode=MX, poison=number % 5 == 4)
            bench.write(1, line, fp16_line(bench.rng), mode=MX, be=be)
            bench.read(1, line, MX)
            if number % 4 == 0:
                bench.write(1, line ^ 1, mode=MX, be=be)
                bench.read(1, line ^ 1, MX)
            while bench.backlog > 4:
                await bench.clock()
        await bench.settle()

    Bench(seed=patterns, latency=(1, 6)).run(scenario)


def test_sidecar_rows_leave_with_a_page_and_come_with_one():
    async def scenario(bench):
        await bench.start((4,), (MX,))
        values = {0: ONES, 1: UNEVEN, 63: INFINITY, 64: ONES, 127: UNEVEN}
        for line, value in values.items():
            bench.write(4, line, value, mode=MX)
        bench.write(4, 65, ONES, mode=MX, poison=True)
        await bench.settle()
        await bench.engine(SidecarKind.FLUSH, 4, MX)
        rows = [bench.memory.value(line) for line in sidecar_rows(4)]
        assert tuple(rows) == bench.halves.rows(4)
        for line, value in values.items():
            scale, elements = compress(value)
            assert sidecar.scale(rows[line // LINE_BYTES], line) == scale
            assert bench.memory.value(data_line(4, line)) >> 256 * (line % 2) & (1 << 256) - 1 == elements
        assert sidecar.scale(rows[1], 65) == POISONED
        # Another page in the frame: what was number is zero, poisoned, not finite.
        for line, scale in ((0, ZERO), (1, POISONED), (64, NOT_FINITE)):
            rows[line // LINE_BYTES] = sidecar.with_scale(rows[line // LINE_BYTES], line, scale)
        for line, row in zip(sidecar_rows(4), rows, strict=True):
            bench.memory.lines[line] = row
        bench.halves.set_rows(4, rows)
        for line in (*values, 65, 66):
            bench.read(4, line, MX)
        await bench.settle()

    Bench().run(scenario)


def test_modes_have_frames_of_their_own():
    async def scenario(bench):
        await bench.start((2,), tuple(Mode))
        for mode in Mode:
            for line in range(4):
                bench.write(2, line, UNEVEN, mode=mode)
        for mode in Mode:
            for line in range(4):
                bench.read(2, line, mode)
        await bench.settle()

    Bench().run(scenario)


# AXI errors --------------------------------------------------------------------------------------------------------


def test_a_failed_read_poisons_both_halves_and_counts_once():
    async def scenario(bench):
        await bench.start((4,), (MX,))
        for line in (6, 7):
            bench.write(4, line, ONES, mode=MX)
        await bench.settle()
        bench.memory.failing_reads = {data_line(4, 6)}
        for line in (6, 7):
            bench.read(4, line, MX)
        await bench.settle()
        assert bench.errors == ["read"] and bench.memory.reads == 1
        bench.memory.failing_reads = set()
        for line in (6, 7):
            bench.read(4, line, MX)
        await bench.settle()

    Bench().run(scenario)


def test_a_failed_write_poisons_every_line_of_it_and_counts_once():
    async def scenario(bench):
        await bench.start((4,), (MX,))
        bench.write(4, 9, ONES, mode=MX)
        await bench.settle()
        bench.memory.failing_writes = {data_line(4, 6), data_line(4, 8)}
        for line in (6, 7, 8):
            bench.write(4, line, ONES, mode=MX)
        await bench.settle()
        # Line 9 was no part of it.
        assert [bench.halves.read(4, line)[1] for line in (6, 7, 8, 9)] == [True, True, True, False]
        assert bench.errors == ["write", "write"] and bench.memory.writes == 3
        bench.memory.failing_writes = set()
        for line in (6, 7, 8, 9):
            bench.read(4, line, MX)
        for line in (6, 7):
            bench.write(4, line, mode=MX)
            bench.read(4, line, MX)
        await bench.settle()

    Bench().run(scenario)


def test_a_partial_write_that_could_not_read_its_line_poisons_it():
    async def scenario(bench):
        await bench.start((4,), (MX,))
        for line in (6, 7):
            bench.write(4, line, ONES, mode=MX)
        await bench.settle()
        bench.memory.failing_reads = {data_line(4, 6)}
        bench.write(4, 6, ONES, mode=MX, be=1)
        bench.read(4, 6, MX)
        await bench.settle()
        assert bench.errors == ["read"] and bench.halves.read(4, 6) == (0, True)
        # Read for a read already: one access, one error.
        bench.read(4, 7, MX)
        bench.write(4, 7, ONES, mode=MX, be=1)
        bench.read(4, 7, MX)
        await bench.settle()
        assert len(bench.errors) == bench.memory.failures["r"]

    Bench(latency=(20, 20)).run(scenario)


@pytest.mark.parametrize("line", [0, LINE_BYTES])
def test_an_unreadable_sidecar_line_shows_nothing_of_the_frame(line):
    async def scenario(bench):
        await bench.start((4,), (MX,))
        for number in (0, 1, LINE_BYTES, LINE_BYTES + 1):
            bench.write(4, number, ONES, mode=MX)
        await bench.settle()
        await bench.engine(SidecarKind.FLUSH, 4, MX)
        bench.memory.failing_reads = {sidecar_rows(4)[line // LINE_BYTES]}
        bench.halves.poison(4)
        bench.read(4, line, MX)
        await bench.settle()
        for number in (0, 1, LINE_BYTES, LINE_BYTES + 1):
            bench.read(4, number, MX)
            bench.write(4, number, ONES, mode=MX, be=1)
            bench.read(4, number, MX)
        await bench.settle()
        assert bench.errors == ["read"]

    Bench().run(scenario)


# Combining, order, drain -------------------------------------------------------------------------------------------


def test_an_operation_on_a_half_that_waits_for_its_partner_sends_it_on_its_way():
    async def scenario(bench):
        await bench.start((1,), (MX,))
        for second in (bench.read, bench.write):
            start = bench.clocks
            bench.write(1, 6, ONES, mode=MX)
            await bench.clock()
            second(1, 6, mode=MX)
            while bench.outstanding > (second == bench.write):
                await bench.clock()
            assert bench.clocks - start < PATIENCE + 8
            await bench.settle()

    Bench().run(scenario)


def test_a_lone_half_is_written_in_time():
    async def scenario(bench):
        await bench.start((1,), (MX,))
        start = bench.clocks
        bench.write(1, 6, ONES, mode=MX)
        await bench.settle()
        assert PATIENCE < bench.clocks - start < PATIENCE + 30

    Bench().run(scenario)


def test_a_drain_waits_for_a_half_but_the_half_for_nobody():
    async def scenario(bench):
        await bench.start((1,), (MX,))
        for line in (6, 20):
            bench.write(1, line, ONES, mode=MX)
        while bench.backlog:
            await bench.clock()
        assert await bench.drain(lambda: None) < PATIENCE
        assert not bench.outstanding and bench.memory.writes == 2

    Bench().run(scenario)


@pytest.mark.parametrize("seed", range(2))
def test_frames_change_owners_while_traffic_goes_on(seed):
    """CLEAR, POISON and FLUSH of a drained frame, among operations on others, in both modes."""

    async def scenario(bench):
        frames = range(6)
        await bench.start(frames, tuple(Mode))
        for _ in range(8):
            owner, mode = bench.rng.choice(frames), bench.rng.choice(tuple(Mode))
            others = [frame for frame in frames if frame != owner]
            while bench.backlog:
                await bench.clock()

            def traffic(others=others):
                while bench.backlog < 4:
                    random_operation(bench, others, range(4), tuple(Mode))

            await bench.drain(traffic)
            while bench.in_flight[mode, owner]:
                traffic()
                await bench.clock()
            await bench.engine(bench.rng.choice(list(SidecarKind)), owner, mode)
            for line in range(4):
                bench.read(owner, line, mode)
                bench.write(owner, line, mode=mode)
        await bench.settle()

    Bench(seed=seed, latency=(1, 30), stall=0.2).run(scenario)


# Traffic to memory, and speed --------------------------------------------------------------------------------------


async def lines_in_sequence(bench, operate, frames):
    """`operate` on every line of `frames`: (slots a clock in the middle, DDR5 bytes a host byte)."""
    before, start = bench.memory.reads + bench.memory.writes, bench.taken
    for frame in frames:
        for line in range(LINES_PER_BLOCK):
            operate(frame, line)
    count = len(frames) * LINES_PER_BLOCK
    marks = []
    while bench.taken < start + count:
        if bench.taken - start >= 50 and not marks:
            marks.append((bench.clocks, bench.taken))
        await bench.clock()
    slots = (bench.taken - marks[0][1]) / (bench.clocks - marks[0][0])
    await bench.settle()
    # What the sidecar cache keeps counts as well.
    for frame in frames:
        await bench.engine(SidecarKind.FLUSH, frame, MX)
    return slots, (bench.memory.reads + bench.memory.writes - before) / count


def test_sequential_lines_take_a_clock_and_half_an_access_each():
    async def scenario(bench):
        frames = range(3)
        await bench.start(frames, (MX,))
        slots, share = await lines_in_sequence(bench, lambda f, n: bench.write(f, n, UNEVEN, mode=MX), frames)
        print(f"writes: {slots:.3f} slots a clock, {share:.3f} DDR5 bytes a host byte")
        assert slots >= 0.95 and share <= 0.60
        slots, share = await lines_in_sequence(bench, lambda f, n: bench.read(f, n, MX), frames)
        print(f"reads: {slots:.3f} slots a clock, {share:.3f} DDR5 bytes a host byte")
        assert slots >= 0.95 and share <= 0.55

    Bench().run(scenario)


def test_streams_side_by_side_share_accesses_too():
    async def scenario(bench):
        streams, lines = 4, 32
        await bench.start(range(streams), (MX,))
        for write in (True, False):
            before = bench.memory.reads + bench.memory.writes
            for number in range(streams * lines):
                if write:
                    bench.write(number % streams, number // streams, UNEVEN, mode=MX)
                else:
                    bench.read(number % streams, number // streams, MX)
                while bench.backlog > 8:
                    await bench.clock()
            await bench.settle()
            assert bench.memory.reads + bench.memory.writes - before == streams * lines // 2

    Bench(latency=(12, 12)).run(scenario)


def test_latencies_are_those_of_the_docstring():
    async def scenario(bench):
        async def clocks_from_acceptance(operate, reached):
            taken = bench.taken
            operate()
            while bench.taken == taken:
                await bench.clock()
            accepted = bench.clocks
            while not reached():
                await bench.clock()
            return bench.clocks - accepted

        await bench.start((1,), (MX,))

        def done():
            return not bench.outstanding

        bench.write(1, 0, UNEVEN, mode=MX)
        while bench.backlog:
            await bench.clock()
        written = await clocks_from_acceptance(
            lambda: bench.write(1, 1, UNEVEN, mode=MX), lambda: bench.memory.writes == 1
        )
        assert written == 6 + 11
        await bench.settle()
        asked = await clocks_from_acceptance(lambda: bench.read(1, 1, MX), lambda: bench.memory.reads == 1)
        assert asked == 6
        await bench.settle()
        # Answered in the clock after; 6 clocks to the line, 2 clocks to DRS.
        assert await clocks_from_acceptance(lambda: bench.read(1, 0, MX), done) == 6 + 1 + 6 + 2

    Bench().run(scenario)


# Stalls, reset -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [{"ndr"}, {"drs"}, {"ndr", "drs"}])
def test_stalled_responses_stall_the_block_without_loss(held):
    async def scenario(bench):
        await bench.start((0, 1), tuple(Mode))
        for round_ in range(2):
            bench.hold = held
            for _ in range(120):
                random_operation(bench, (0, 1), range(6), tuple(Mode))
            for _ in range(150):
                await bench.clock()
            assert bench.backlog, "the block took all"
            before = bench.outstanding
            for _ in range(20):
                await bench.clock()
            assert bench.outstanding == before > 0, f"round {round_}"
            bench.hold = set()
            await bench.settle()

    Bench(latency=(1, 5)).run(scenario)


def test_a_reset_in_the_middle_of_traffic_leaves_nothing_behind():
    async def scenario(bench):
        for _ in range(2):
            await bench.start((1, 9), (MX,))
            for _ in range(60):
                random_operation(bench, (1, 9), range(6), (MX,))
            for _ in range(bench.rng.randrange(40, 90)):
                await bench.clock()
            assert bench.outstanding
            await bench.reset()
        await bench.start((1, 9), (MX,))
        for _ in range(60):
            random_operation(bench, (1, 9), range(6), (MX,))
        await bench.settle()

    Bench(latency=(1, 30), stall=0.1).run(scenario)


# Random mixes ------------------------------------------------------------------------------------------------------

MEMORIES = {"ideal": ((1, 1), 0.0), "slow": ((30, 30), 0.0), "reordering": ((1, 40), 0.3), "stalling": ((2, 6), 0.6)}


@pytest.mark.parametrize("memory", MEMORIES)
def test_random_operations_in_both_modes_answer_as_the_golden_model_says(memory):
    latency, stall = MEMORIES[memory]

    async def scenario(bench):
        await bench.start((3, 4), tuple(Mode))
        for _ in range(200):
            random_operation(bench, (3, 4), range(6), (MX, MX, Mode.EXACT))
            while bench.backlog > 4:
                await bench.clock()
        await bench.settle()
        assert not bench.errors

    Bench(seed=memory, latency=latency, stall=stall).run(scenario)


def test_many_frames_share_the_sidecar_cache():
    async def scenario(bench):
        frames = range(0, 16, 2)
        await bench.start(frames, tuple(Mode))
        for _ in range(120):
            random_operation(bench, frames, range(LINES_PER_BLOCK), tuple(Mode))
            while bench.backlog > 4:
                await bench.clock()
        await bench.settle()

    Bench(latency=(1, 20), stall=0.1).run(scenario)


@pytest.mark.parametrize("seed", range(2))
def test_errors_among_random_operations_are_counted_once_an_access(seed):
    async def scenario(bench):
        await bench.start((3,), tuple(Mode))
        for _ in range(4):
            for failing in (bench.memory.failing_reads, bench.memory.failing_writes):
                failing.clear()
                for mode in Mode:
                    failing.update(CONFIG.data_line(mode, 3, line) for line in range(8) if bench.rng.random() < 0.3)
            for _ in range(50):
                random_operation(bench, (3,), range(8), (MX, MX, Mode.EXACT))
                while bench.backlog > 4:
                    await bench.clock()
            await bench.settle()
        for kind, channel in (("read", "r"), ("write", "b")):
            counted = bench.errors.count(kind)
            assert counted == bench.memory.failures[channel] > 0

    Bench(seed=seed, latency=(1, 20), stall=0.1).run(scenario)


# The golden model itself -------------------------------------------------------------------------------------------


def test_golden_nothing_of_a_poisoned_line_is_kept_by_a_partial_write():
    frames = Bench().halves
    frames.poison(0)
    frames.write(0, 5, ALL_ONES, be=0xFF)
    assert frames.read(0, 5) == (0, True) and not frames.asks_memory(0, 5)
    frames.write(0, 5, ONES)
    assert frames.read(0, 5) == (ONES, False) and frames.asks_memory(0, 5)
