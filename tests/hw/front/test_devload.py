"""DevLoad: the load of the endpoint as its responses tell it."""

import random
from collections import Counter

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import DevLoad
from kv_endpoint.golden.front.address import encode
from kv_endpoint.golden.front.devload import Thresholds, load
from kv_endpoint.golden.host.operations import fence_all, read, write
from kv_endpoint.golden.registers.rules import pack
from kv_endpoint.hw.front.devload import LoadMeter
from tests.support.lockstep import Lockstep
from tests.support.simulation import simulate

CONFIG = preset("tiny")
LATENCY = 2


def test_a_load_begins_at_its_threshold():
    thresholds = Thresholds(optimal=3, moderate=5, severe=6)
    levels = [load(depth, thresholds) for depth in range(8)]
    light, optimal, moderate, severe = DevLoad
    assert levels == [light, light, light, optimal, optimal, moderate, severe, severe]


def test_of_thresholds_out_of_order_the_highest_load_counts():
    assert load(2, Thresholds(optimal=9, moderate=9, severe=1)) == DevLoad.SEVERE
    assert load(2, Thresholds(optimal=9, moderate=2, severe=9)) == DevLoad.MODERATE


def test_a_threshold_of_zero_is_reached_by_an_idle_endpoint():
    assert load(0, Thresholds(optimal=0, moderate=1, severe=1)) == DevLoad.OPTIMAL


@pytest.mark.quick
def test_the_meter_says_what_the_golden_rule_says():
    seed = 3
    print("seed", seed)
    rng = random.Random(seed)
    dut = LoadMeter(config=CONFIG)
    seen = Counter()

    async def bench(ctx):
        expected = []
        for clock in range(2000):
            if clock % 50 == 0:
                values = Thresholds(*(rng.randrange(CONFIG.read_slots + CONFIG.write_slots + 2) for _ in range(3)))
                for name, value in vars(values).items():
                    ctx.set(dut.thresholds[name], value)
                expected.clear()
            reads, writes = rng.randint(0, CONFIG.read_slots), rng.randint(0, CONFIG.write_slots)
            ctx.set(dut.read_slots, reads)
            ctx.set(dut.write_slots, writes)
            expected.append(load(reads + writes, values))
            if len(expected) > LATENCY:
                assert ctx.get(dut.load) == expected[-1 - LATENCY], f"clock {clock}"
                seen[expected[-1 - LATENCY]] += 1
            await ctx.tick()

    simulate(dut, bench)
    assert set(seen) == set(DevLoad)


class Loads(Lockstep):
    """Keeps the load that each response reports, in the order in which they come."""

    def _begin(self):
        super()._begin()
        self.loads = {"ndr": [], "drs": []}

    def _respond(self, channel, response):
        super()._respond(channel, response)
        self.loads[channel].append(int(response.dev_load))


def test_responses_report_a_load_that_rises_in_a_burst_and_falls_after_it():
    thresholds = {"OPTIMAL": 4, "MODERATE": 9, "SEVERE": 18}
    bench = Loads(CONFIG, seed=2, registers=[("DEVLOAD", pack("DEVLOAD", **thresholds))], memory_latency=(20, 24))
    lines = [encode(CONFIG, bench.region, 0, 1, line) for line in range(30)]
    # Each of the two lone reads at the ends stands for an idle endpoint.
    writes = [write(line, line + 1) for line in lines]
    bench.run([*writes, fence_all(), read(lines[0]), fence_all(), *map(read, lines), fence_all(), read(lines[0])])
    assert sorted(set(bench.loads["ndr"])) == sorted(set(bench.loads["drs"])) == list(DevLoad)
    data = bench.loads["drs"]
    assert data[0] == data[-1] == DevLoad.LIGHT
    burst = data[1:-1]
    assert max(burst[:20]) == DevLoad.SEVERE
    # The last requests of the burst are accepted long before they are answered: from then on the depth only falls.
    assert burst[20:] == sorted(burst[20:], reverse=True)
    # The load is that of some clocks ago, so the last of them need not be light.
    assert burst[-1] < DevLoad.SEVERE
