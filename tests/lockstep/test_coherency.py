"""The whole endpoint with caching hosts: every record in golden lock-step, every message by the rules, all data right.

Hosts, their traffic and the rules of messages are those of the benches (`tb/agents/caching_host.py`,
`tb/checks/protocol.py`).
"""

import random

import pytest
from amaranth.hdl import ResetInserter

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Retry
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.front.address import Region, encode
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.registers.rules import address, pack
from kv_endpoint.tb.agents.caching_host import CachingHost
from kv_endpoint.tb.checks.coherent_image import CoherentImage
from kv_endpoint.tb.checks.protocol import ProtocolMonitor
from kv_endpoint.tb.stimuli.coherent_traffic import STORE, CoherentTraffic, Shares
from tests.support.lockstep import QUIET_CLOCKS, Lockstep, _packer
from tests.support.simulation import fields_of

CONFIG = preset("tiny", hosts=2)
M2S = ("req", "rwd", "birsp")


def _near_and_far(config, region, blocks):
    """Lines of a region: neighbours, which meet in sectors, and far ones, which meet in sets of the filter."""
    rng = random.Random(f"lines of {region.base}")
    heads = range(region.first_head, region.first_head + region.heads)
    near = [encode(config, region, head, 0, line) for head in heads[:2] for line in range(12)]
    far = [
        encode(config, region, rng.choice(heads), block, rng.randrange(128)) for block in range(blocks) for _ in heads
    ]
    return near + far


class CoherentLockstep(Lockstep):
    """`Lockstep` with `owners` caching hosts, which share the first region.

    The second, of mode mxint8, is of host 0 alone. Each host makes `requests` requests in the first, of lines from
    `blocks` blocks a head; host 0 half as many in the second.
    """

    def __init__(self, config, *, seed, requests, blocks=4, shares=None, manners=None, owners=1, **options):
        everyone = (1 << owners) - 1
        regions = (
            Region(0x4000_0000, config.heads - 1, cached=True, hosts=everyone),
            Region(0x100_0000, 1, config.heads - 1, mode=Mode.MXINT8, cached=True),
        )
        super().__init__(config, seed=seed, regions=regions, **options)
        for channel in M2S:
            self._pack[channel] = _packer(getattr(self.dut, channel).payload)
        self.monitor = ProtocolMonitor(config, regions=regions)
        self.copies = CoherentImage()
        self.hosts = [
            CachingHost(config, number=number, regions=regions, image=self.copies, seed=seed, manners=manners)
            for number in range(owners)
        ]
        lines = [_near_and_far(config, region, blocks) for region in regions]
        options = {"seed": seed, "shares": shares}
        self.traffic = [CoherentTraffic(host, lines[0], requests=requests, **options) for host in self.hosts]
        self.traffic.append(
            CoherentTraffic(self.hosts[0], lines[1], requests=requests // 2, mode=Mode.MXINT8, **options)
        )
        #: what a channel offers until it is taken
        self._offers = dict.fromkeys(M2S)

    def run(self, *, then=(), limit=12_000):
        """Until every request of the traffic is answered, and whatever follows from it has come to rest.

        `then`: register writes after that, of which likewise.
        """
        print(f"seed {self.seed}")

        async def bench(ctx):
            await self._write_registers(ctx)
            await self._play(ctx, limit)
            for name, value in then:
                await self._write_register(ctx, address(name), value)
                self._moved = self._clock
            await self._play(ctx, limit)

        self._simulate(ResetInserter(self._reset)(self.dut), bench)
        self._merger.finish()
        self.golden.finish()
        self.monitor.finish()

    async def _play(self, ctx, limit):
        while not self._at_rest():
            assert self._clock < limit, f"unanswered: {[host.oldest() for host in self.hosts]}; {self.records[-8:]}"
            for host in self.hosts:
                host.tick(self._clock)
            for traffic in self.traffic:
                traffic.tick()
            taken = [name for name in M2S if self._offer_message(ctx, name)]
            await self._tick(ctx)
            for name in taken:
                self._offers[name] = None

    def _at_rest(self):
        return all(traffic.done for traffic in self.traffic) and self._clock - self._moved > QUIET_CLOCKS

    def _offer_message(self, ctx, name):
        """Drive a channel; whether its message is taken in this clock."""
        port = getattr(self.dut, name)
        if self._offers[name] is None and self._ready():
            for host in self.rng.sample(self.hosts, len(self.hosts)):
                fields = host.poll(name)
                if fields is not None:
                    self._offers[name] = fields
                    self._set(ctx, port.payload.as_value(), self._pack[name](fields))
                    break
        fields = self._offers[name]
        self._set(ctx, port.valid, int(fields is not None))
        if name == "birsp":
            assert ctx.get(port.ready), "a BIRsp is not taken at once"
        if fields is None or not ctx.get(port.ready):
            return False
        absent = {"poison": 0, "be_present": 0, "snp_type": 0, "meta_value": 0, "meta_field": 0}
        self.monitor.take(name, absent | fields)
        return True

    async def _tick(self, ctx):
        port = self.dut.bisnp
        self._set(ctx, port.ready, self._ready())
        if ctx.get(port.valid) and ctx.get(port.ready):
            self._respond("bisnp", ctx.get(port.payload))
        await super()._tick(ctx)

    def _respond(self, channel, response):
        fields = fields_of(response)
        self.monitor.take(channel, fields)
        host = self.hosts[fields["bi_id"] if channel == "bisnp" else fields["ld_id"]]
        getattr(host, f"on_{channel}")(fields)
        self._moved = self._clock

    def _record(self, lane, fields):
        self.monitor.record(lane, fields)
        super()._record(lane, fields)

    def _holds_data(self, operation):
        return False


@pytest.mark.parametrize(("hosts", "requests", "stall"), [(1, 200, 0.3), (2, 80, 0.0)])
def test_whatever_hosts_do_is_right_and_told(hosts, requests, stall):
    """The requests meet in so few sets of the filter that they are held for everything that there is to wait for."""
    # Some completions are late, so that a BISnp which does not wait for those of its sector is noticed.
    bench = CoherentLockstep(
        CONFIG,
        owners=hosts,
        seed=hosts,
        requests=requests,
        stall=stall,
        memory_latency=(3, 100),
        shares=Shares(again=0.7),
    )
    bench.run()
    slots = [*bench.kinds(SlotKind.READ), *bench.kinds(SlotKind.RELEASE), *bench.kinds(SlotKind.WRITE)]
    assert {record["access"] for record in slots} >= {access for access in Access if access != Access.PLAIN}
    assert {record["outcome"] for record in slots} >= {Outcome.HELD_LINE, Outcome.HELD_WAY, Outcome.HIT, Outcome.ZEROS}
    assert {record["host"] for record in slots} == set(range(hosts))
    assert {record["retry"] for record in slots} == set(Retry)
    assert len(bench.kinds(EngineKind.BI_SNOOP)) > 30
    assert sum(host.snoops.counts["early"] for host in bench.hosts) > 3
    assert bench.copies.checked > requests / 2


def test_covered_blocks_leave_once_their_lines_are_taken_back():
    frames = CONFIG.pool_frames_min_cached
    weights = {Access.WRITE_THROUGH: 14, Access.READ_SHARED: 2, Access.READ_OWN: 5, Access.WRITE_BACK: 4, STORE: 8}
    bench = CoherentLockstep(
        CONFIG,
        seed=3,
        requests=260,
        blocks=16,
        shares=Shares(weights, in_flight=12),
        flash_latency=(20, 40),
        registers=[("POOL_FRAMES", frames), ("POOL_FRAMES_MX", frames)],
    )
    bench.run()
    for kind in (EngineKind.VICTIM, EngineKind.BI_RECALL, SlotKind.EVICT):
        assert len(bench.kinds(kind)) >= 3, kind.name


def test_every_line_is_taken_back_when_the_register_says_so():
    """Host 0 has lines of a lossy region too; afterwards nothing is covered, so the regions may be switched off."""
    bench = CoherentLockstep(CONFIG, seed=4, requests=60, blocks=2)
    bench.run(then=[("COHERENCY", pack("COHERENCY", TIMEOUT=0, RECALL_ALL=1))])
    assert bench.kinds(EngineKind.BI_SCRUB)
    assert not bench.golden.coherent.covered
