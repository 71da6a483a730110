"""The order in which a sidecar row is written to memory and read from it again, whatever memory takes for each."""

from tests.support.datapath_bench import CONFIG, Bench

SLOW_CLOCKS = 200


def test_a_fetch_waits_until_memory_has_confirmed_the_write_back_of_its_frame():
    frame, other = 2, 2 + CONFIG.sidecar_cache_rows

    async def until_logged(bench, kind):
        entry = kind, CONFIG.sidecar_base + frame
        before = bench.memory.log.count(entry)
        while bench.memory.log.count(entry) == before:
            await bench.clock()

    async def scenario(bench):
        await bench.start((frame, other))
        bench.write(frame, 0)
        await bench.settle()
        bench.memory.latency = (SLOW_CLOCKS, SLOW_CLOCKS)
        bench.read(other, 0)
        await until_logged(bench, "write")
        start = bench.clocks
        bench.memory.latency = (1, 1)
        bench.read(frame, 0)
        await until_logged(bench, "read")
        assert bench.clocks - start >= SLOW_CLOCKS - 1
        await bench.settle()

    Bench().run(scenario)
