"""The datapath against `golden.data.datapath`: every response by its tag, order and hazards by the data that comes
back.
"""

import pytest

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data import sidecar
from kv_endpoint.golden.data.datapath import ALL_BYTES, ALL_ONES, Frames, byte_mask
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.common.layouts import SidecarKind
from tests.support.datapath_bench import CONFIG, FRAMES, Bench, random_operation
from tests.support.simulation import simulate

# Rules -----------------------------------------------------------------------------------------------------------


def test_a_line_never_written_reads_zeros_in_a_reused_frame():
    async def scenario(bench):
        await bench.start((3,))
        for line in range(4):
            bench.write(3, line)
            bench.read(3, line)
        await bench.settle()
        await bench.engine(SidecarKind.CLEAR, 3)
        for line in range(6):
            assert bench.frames.read(3, line) == (0, False)
            bench.read(3, line)
        await bench.settle()

    Bench().run(scenario)


def test_the_first_partial_write_zeros_the_other_bytes_and_a_later_one_keeps_them():
    async def scenario(bench):
        await bench.start((5,))
        bench.write(5, 7, data=ALL_ONES, be=0b1010)
        bench.read(5, 7)
        assert bench.frames.read(5, 7) == (0xFF00FF00, False)
        bench.write(5, 7, data=0, be=0b0010)
        bench.read(5, 7)
        assert bench.frames.read(5, 7) == (0xFF000000, False)
        bench.write(5, 8, data=ALL_ONES, be=0)
        bench.read(5, 8)
        await bench.settle()

    Bench().run(scenario)


def test_poison_stays_until_a_full_clean_write():
    async def scenario(bench):
        await bench.start((1,))
        for write, poisoned in (
            ({"poison": True}, True),
            ({"be": 1}, True),
            ({}, False),
            ({"be": 1}, False),
            ({"be": 1, "poison": True}, True),
            ({"be": 2}, True),
            ({}, False),
        ):
            bench.write(1, 0, **write)
            bench.read(1, 0)
            assert bench.frames.read(1, 0)[1] == poisoned
            bench.read(1, 1)
        await bench.settle()

    Bench().run(scenario)


def test_a_poisoned_frame_shows_nothing_of_what_lies_in_it():
    async def scenario(bench):
        await bench.engine(SidecarKind.POISON, 2)
        bench.read(2, 9)
        assert bench.frames.read(2, 9) == (0, True)
        bench.write(2, 9, be=0xFF)
        bench.read(2, 9)
        bench.write(2, 9)
        bench.read(2, 9)
        await bench.settle()

    Bench().run(scenario)


def test_operations_without_memory_answer_without_memory():
    async def scenario(bench):
        for kind in (DataKind.ZEROS, DataKind.NXM, DataKind.COMPLETE, DataKind.ACK, DataKind.COMPLETE):
            bench.operate(kind, rwd=kind == DataKind.ACK)
        bench.operate(DataKind.COMPLETE, rwd=True)
        await bench.settle()
        assert bench.memory.reads == bench.memory.writes == 0

    Bench().run(scenario)


def test_discard_frees_its_slot_and_answers_nothing():
    async def scenario(bench):
        for rwd, count in ((False, CONFIG.read_slots), (True, CONFIG.write_slots)):
            for _ in range(2 * count):
                bench.operate(DataKind.DISCARD, rwd=rwd)
        limit = 500
        while bench.taken < 2 * (CONFIG.read_slots + CONFIG.write_slots):
            limit -= 1
            assert limit, "slots were lost"
            await bench.clock()
        for _ in range(20):
            await bench.clock()

    Bench().run(scenario)


def test_kind_none_is_ignored():
    async def scenario(bench):
        bench.operate(DataKind.NONE)
        bench.operate(DataKind.COMPLETE)
        await bench.settle()
        assert bench.taken == 2 and bench.memory.reads == 0

    Bench().run(scenario)


# AXI errors --------------------------------------------------------------------------------------------------------


def test_a_failed_read_is_poisoned_and_noted():
    async def scenario(bench):
        await bench.start((4,))
        bench.write(4, 6)
        await bench.settle()
        bench.memory.failing_reads = {4 * LINES_PER_BLOCK + 6}
        bench.read(4, 6)
        await bench.settle()
        assert bench.errors == ["read"]
        bench.memory.failing_reads = set()
        bench.read(4, 6)
        await bench.settle()

    Bench().run(scenario)


def test_a_failed_write_completes_is_noted_and_poisons_the_line():
    async def scenario(bench):
        await bench.start((4,))
        bench.write(4, 7)
        await bench.settle()
        bench.memory.failing_writes = {4 * LINES_PER_BLOCK + 6, 4 * LINES_PER_BLOCK + 7}
        for line in (6, 7):
            # Line 6 was never written, so it shows zeros, not what another owner may have left.
            bench.write(4, line)
            bench.read(4, line)
        await bench.settle()
        assert bench.errors == ["write", "write"]
        bench.memory.failing_writes = set()
        for line in (6, 7):
            bench.write(4, line, be=1)
            bench.read(4, line)
            bench.write(4, line)
            bench.read(4, line)
        await bench.settle()

    Bench().run(scenario)


def test_an_unreadable_sidecar_line_shows_nothing_of_the_frame():
    async def scenario(bench):
        await bench.start((4,))
        bench.write(4, 6)
        await bench.settle()
        await bench.engine(SidecarKind.FLUSH, 4)
        bench.memory.failing_reads = {CONFIG.sidecar_base + 4}
        bench.frames.poison(4)
        for line in (6, 7):
            assert bench.frames.read(4, line) == (0, True)
            bench.read(4, line)
        bench.write(4, 6)
        bench.read(4, 6)
        await bench.settle()
        assert bench.errors == ["read"]

    Bench().run(scenario)


class FailsAtFirst:
    """A set of lines whose first `times` look-ups of `line` find it."""

    def __init__(self, line, times):
        self.line, self.times = line, times

    def __contains__(self, line):
        if line != self.line or not self.times:
            return False
        self.times -= 1
        return True


def test_a_failed_write_back_of_a_sidecar_line_is_noted_and_repeated_until_memory_has_it():
    async def scenario(bench):
        await bench.start((4,))
        bench.write(4, 6)
        await bench.settle()
        line = CONFIG.sidecar_base + 4
        bench.memory.failing_writes = FailsAtFirst(line, times=3)
        await bench.engine(SidecarKind.FLUSH, 4)
        assert bench.memory.lines[line] == bench.frames.row(4) == sidecar.pack(1 << 6, 0)
        await bench.settle()
        assert bench.errors == ["write"] * 3

    Bench().run(scenario)


# Sidecar and engine ------------------------------------------------------------------------------------------------


def test_flush_leaves_the_sidecar_line_in_memory_and_forgets_it():
    async def scenario(bench):
        await bench.start((4,))
        bench.write(4, 6, poison=True)
        bench.write(4, 9)
        await bench.settle()
        await bench.engine(SidecarKind.FLUSH, 4)
        line = CONFIG.sidecar_base + 4
        assert bench.memory.lines[line] == bench.frames.row(4) == sidecar.pack(1 << 6 | 1 << 9, 1 << 6)
        # A page moved in by flash brings its sidecar row along.
        bench.memory.lines[line] = bench.frames._rows[4] = sidecar.pack(1 << 3, 0)
        for number in (3, 6, 9):
            bench.read(4, number)
        await bench.settle()
        # Nothing has changed: the second flush writes nothing.
        writes = bench.memory.writes
        await bench.engine(SidecarKind.FLUSH, 4)
        assert bench.memory.writes == writes

    Bench().run(scenario)


def test_flush_waits_for_a_write_back_under_way():
    async def scenario(bench):
        sets = CONFIG.sidecar_cache_rows
        await bench.start((1,))
        bench.memory.latency = (60, 60)
        # Another frame of the set pushes frame 1 out; its flush finds no line, but memory has not confirmed.
        await bench.engine(SidecarKind.CLEAR, 1 + sets)
        start = bench.clocks
        await bench.engine(SidecarKind.FLUSH, 1)
        assert bench.clocks - start > 40
        assert bench.memory.lines[CONFIG.sidecar_base + 1] == sidecar.CLEAR

    Bench().run(scenario)


def test_a_miss_does_not_hold_up_the_look_ups_behind_it():
    async def scenario(bench):
        await bench.start(range(4))
        for frame in range(4):
            bench.write(frame, 0)
        await bench.settle()
        for frame in range(4):
            await bench.engine(SidecarKind.FLUSH, frame)
        bench.memory.latency = (100, 100)
        start = bench.clocks
        for frame in range(4):
            bench.read(frame, 0)
        await bench.settle()
        # Four fetches and four reads, each of 100 clocks: all the fetches, then all the reads.
        assert bench.clocks - start < 2 * 100 + 60

    Bench().run(scenario)


# Random mixes ------------------------------------------------------------------------------------------------------

MEMORIES = {"ideal": ((1, 1), 0.0), "slow": ((30, 30), 0.0), "reordering": ((1, 40), 0.3), "stalling": ((2, 6), 0.6)}


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("spread", ["few lines", "many frames"])
def test_random_operations_answer_as_the_golden_model_says(memory, spread):
    latency, stall = MEMORIES[memory]
    frames, lines = ((3, 4), range(3)) if spread == "few lines" else (FRAMES, range(LINES_PER_BLOCK))

    async def scenario(bench):
        await bench.start(frames)
        for _ in range(300):
            random_operation(bench, frames, lines)
            while bench.backlog > 4:
                await bench.clock()
        await bench.settle()

    Bench(seed=f"{memory} {spread}", latency=latency, stall=stall).run(scenario)


@pytest.mark.parametrize("seed", range(2))
def test_frames_change_owners_while_traffic_goes_on(seed):
    """CLEAR, POISON and FLUSH of a drained frame, among operations on others of its set."""

    async def scenario(bench):
        await bench.start()
        for _ in range(15):
            owner = bench.rng.choice(FRAMES)
            others = [frame for frame in FRAMES if frame != owner]
            while bench.backlog:
                await bench.clock()

            def traffic(others=others):
                while bench.backlog < 4:
                    random_operation(bench, others, range(2))

            await bench.drain(traffic)
            while bench.in_flight[Mode.EXACT, owner]:
                traffic()
                await bench.clock()
            for _ in range(12):
                random_operation(bench, others, range(2))
            kind = bench.rng.choice(list(SidecarKind))
            await bench.engine(kind, owner)
            if kind == SidecarKind.FLUSH:
                assert bench.memory.value(CONFIG.sidecar_base + owner) == bench.frames.row(owner)
            for line in range(3):
                bench.read(owner, line)
        await bench.settle()

    Bench(seed=seed, latency=(1, 30), stall=0.2).run(scenario)


@pytest.mark.quick
def test_preset_small_serves_the_same():
    config = preset("small")
    frames = (0, 1, 256, 257, config.frames - 1)

    async def scenario(bench):
        await bench.start(frames)
        for _ in range(150):
            random_operation(bench, frames, (0, 1, 127))
            while bench.backlog > 4:
                await bench.clock()
        await bench.settle()

    # Sooner than its build would be there.
    Bench(config, latency=(1, 20), stall=0.1, simulate=simulate).run(scenario)


# Stalls, drain, reset, speed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [{"ndr"}, {"drs"}, {"ndr", "drs"}])
def test_stalled_responses_stall_the_block_without_loss(held):
    async def scenario(bench):
        await bench.start((0, 1))
        for round_ in range(3):
            bench.hold = held
            for _ in range(120):
                random_operation(bench, (0, 1), range(4))
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


@pytest.mark.parametrize("seed", range(2))
def test_drain_ends_under_continuous_traffic_once_all_before_it_is_done(seed):
    async def scenario(bench):
        await bench.start()
        bench.memory.stall = 0.1

        def traffic():
            while bench.backlog < 4:
                random_operation(bench, range(10), range(4))

        for _ in range(12):
            for _ in range(bench.rng.randrange(40)):
                traffic()
                await bench.clock()
            await bench.drain(traffic)
            assert bench.before(), "the traffic was not continuous"
            traffic()
            await bench.clock()
            assert not bench.drained, "granted without a request"
        await bench.settle()
        assert await bench.drain(lambda: None) <= 1

    # The host takes every response at once, so a queued response is a response.
    Bench(seed=seed, latency=(1, 40)).run(scenario)


def test_a_reset_in_the_middle_of_traffic_leaves_nothing_behind():
    async def scenario(bench):
        for _ in range(3):
            await bench.start((1, 9, 17))
            for _ in range(80):
                random_operation(bench, (1, 9, 17), range(4))
            for _ in range(bench.rng.randrange(40, 90)):
                await bench.clock()
            assert bench.outstanding
            await bench.reset()
            bench.frames = Frames(lambda frame, line: bench.memory.value(frame * LINES_PER_BLOCK + line))
        await bench.start((1, 9, 17))
        for _ in range(100):
            random_operation(bench, (1, 9, 17), range(4))
        await bench.settle()

    Bench(latency=(1, 30), stall=0.1).run(scenario)


@pytest.mark.parametrize("mix", ["reads", "writes", "both", "zeros"])
def test_one_operation_a_clock_while_sidecar_rows_are_at_hand(mix):
    async def scenario(bench):
        frames = range(4)
        await bench.start(frames)
        for number in range(256):
            bench.write(number % 4, number // 4)
        await bench.settle()
        operations = 600
        for number in range(operations):
            frame, line = number % 4, number // 4 % 64
            write = mix == "writes" or (mix == "both" and number % 2)
            if mix == "zeros":
                bench.operate(DataKind.ZEROS)
            elif write:
                bench.write(frame, line)
            else:
                bench.read(frame, line)
        while bench.taken < 256 + 50:
            await bench.clock()
        start, taken = bench.clocks, bench.taken
        while bench.backlog > 20:
            await bench.clock()
        assert (bench.taken - taken) / (bench.clocks - start) >= 0.98
        await bench.settle()

    Bench().run(scenario)


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

        await bench.start((1,))

        def done():
            return not bench.outstanding

        assert await clocks_from_acceptance(lambda: bench.write(1, 1), lambda: bench.memory.writes == 1) == 6
        # Confirmed in the clock after, 2 clocks to NDR.
        assert await clocks_from_acceptance(lambda: bench.write(1, 2), done) == 6 + 1 + 2
        assert await clocks_from_acceptance(lambda: bench.read(1, 1), lambda: bench.memory.reads == 1) == 6
        await bench.settle()
        assert await clocks_from_acceptance(lambda: bench.read(1, 1), done) == 6 + 1 + 2
        assert await clocks_from_acceptance(lambda: bench.operate(DataKind.COMPLETE), done) == 8

    Bench().run(scenario)


# The golden model itself -------------------------------------------------------------------------------------------


def test_golden_byte_mask_covers_the_enabled_bytes():
    assert byte_mask(0b101) == 0xFF00FF and byte_mask(ALL_BYTES) == ALL_ONES
