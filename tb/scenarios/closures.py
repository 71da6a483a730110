"""cocotb tests: every port closes for long in the middle of traffic of all kinds, in golden lock-step.

Settings: `seed`; `share` of stalled clocks; `cached_mode`, how the lines of the region are kept that a host caches, the
others the other way; `closed_clocks`; `requests` of the caching host and `accesses` of the other region in a round;
`channels` to close, all without it.
"""

import random
from dataclasses import replace

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, with_timeout

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import Region, encode
from kv_endpoint.hw.endpoint import Endpoint
from kv_endpoint.tb.agents.registers import Csr
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.interactive import TB, configured
from kv_endpoint.tb.lib.bus import HIGH
from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, settings
from kv_endpoint.tb.scenarios.coherency import FLASH_CLOCKS, coherent_traffic, hint_now_and_then
from kv_endpoint.tb.stimuli.faults import Gate, channels
from kv_endpoint.tb.stimuli.random_traffic import random_operations

#: what goes on beside a closed channel, by its name: a read, or a write, of a line that has a frame, the traffic of the
#: region that no host caches, and that of the other one; registers are always read where this is not their own port
_READ, _WRITE, _UNCACHED, _CACHED = "read", "write", "uncached", "cached"
_ALL = {_READ, _WRITE, _UNCACHED, _CACHED}
GOES_ON = {
    "req": {_WRITE},
    "rwd": {_READ},
    "ndr": set(),
    "drs": set(),
    "bisnp": {_READ, _WRITE, _UNCACHED},
    "birsp": {_READ, _WRITE, _UNCACHED},
    "mem.ar": set(),
    "mem.r": set(),
    "mem.aw": set(),
    "mem.w": set(),
    "mem.b": set(),
    "page_command": {_READ, _WRITE},
    "page_done": {_READ, _WRITE},
    "slot_record": set(),
    "engine_record": set(),
    "csr.aw": _ALL,
    "csr.w": _ALL,
    "csr.b": _ALL,
    "csr.ar": _ALL,
    "csr.r": _ALL,
}
#: clocks of traffic before a channel closes, and in which something ends that waits for nothing
BEFORE_CLOCKS, PROMPT_CLOCKS = 150, 1500
#: and in which everything ends once the channel is open again
END_CLOCKS = 40_000
#: responses in the time for which a channel is closed
PROGRESS = 20
#: frames of the region that no host caches, and of its traffic what may be in flight: so much that the rest gets slots
POOL_FRAMES = 8
LIMITS = {"max_reads": 8, "max_writes": 6}
#: the probes' line, in a block that is pinned
PROBE_BLOCK, PROBE_LINE = 7, 5


class _Bench:
    """A `TB` with gates, a region that a host caches and one that none does, in the two modes."""

    def __init__(self, dut):
        self.given, self.dut = settings(), dut
        config = configured()
        self.signature = Endpoint(config=config).signature
        self.ports = channels(self.signature)
        assert self.ports.keys() == GOES_ON.keys(), "every port of the endpoint has a row in GOES_ON"
        self.gates = {name: Gate() for name in self.ports}
        self.tb = TB(
            dut,
            config,
            seed=self.given["seed"],
            share=self.given.get("share", 0.0),
            checker=golden_endpoint(config),
            gates=self.gates,
            **FLASH_CLOCKS,
        )
        self.tb.add_caches(self.given.get("owners"))
        self.hinting = None
        self.value = 0

    async def start(self):
        """After reset: registers, regions, the pinned block, hints now and then."""
        tb = self.tb
        config, half = tb.config, tb.config.heads // 2
        compressed = self.given["cached_mode"] == Mode.MXINT8
        cached, plain = ("POOL_FRAMES_MX", "POOL_FRAMES")[:: 1 if compressed else -1]
        await tb.start([(cached, config.pool_frames_min_cached), (plain, POOL_FRAMES)])
        self.cached = Region(base=1 << 32, heads=half, first_head=0, mode=Mode(self.given["cached_mode"]))
        self.cached = replace(self.cached, cached=True, hosts=(1 << len(tb.caches)) - 1)
        self.plain = Region(base=1 << 40, heads=config.heads - half, first_head=half, mode=Mode(not compressed))
        await tb.set_regions((self.cached, self.plain))
        self.line = encode(config, self.plain, half, PROBE_BLOCK, PROBE_LINE)
        await tb.host.write(self.line, self.value)
        await tb.csr.command("PIN", head=half, block=PROBE_BLOCK)
        self.hinting = cocotb.start_soon(hint_now_and_then(tb, self.given["seed"]))

    def play(self, number):
        """Tasks of one round's traffic: of the region that no host caches, and of the other one."""
        tb, given = self.tb, self.given
        seed = f"{given['seed']}/{number}"
        operations = random_operations(
            tb.config, self.plain, seed=seed, steps=1, accesses=given["accesses"], blocks=6, hints=False, poisoned=0.05
        )
        traffic = coherent_traffic(tb, given | {"blocks": 8, "in_flight": 8}, seed=seed)
        return {
            _UNCACHED: cocotb.start_soon(tb.host.play(operations, **LIMITS)),
            _CACHED: cocotb.start_soon(tb.cache_agent.play(traffic)),
        }

    def progress(self):
        """Responses so far."""
        cached = sum(cache.counts["completed"] for cache in self.tb.caches)
        return {_UNCACHED: len(self.tb.host.responses), _CACHED: cached}

    def close(self, channel, closed):
        self.gates[channel].closed = closed
        port, _, prefix = channel.partition(".")
        if port == "csr" and prefix in ("b", "r"):
            self.tb.csr.close(prefix, closed)

    def access(self, channel):
        """A task with an access to registers that meets the closed channel, None if the channel is no register port's,
        or is closed in that no access comes.
        """
        csr, clocks = self.tb.csr, self.given["closed_clocks"]
        if channel == "csr.aw":
            return cocotb.start_soon(csr.write_late("HEAD_SELECT", 0, address_clocks=clocks))
        if channel == "csr.w":
            return cocotb.start_soon(csr.write_late("HEAD_SELECT", 0, data_clocks=clocks))
        if channel == "csr.b":
            return cocotb.start_soon(csr.write("HEAD_SELECT", 0))
        return cocotb.start_soon(csr.read("STEP")) if channel == "csr.r" else None

    def payload(self, channel):
        """The signals that go with a channel's `valid`."""
        valid, ready, _ = self.ports[channel]
        stem = valid.removesuffix("valid")
        names = ("__".join(map(str, path)) for path, _, _ in self.signature.flatten(self.signature.create()))
        return [getattr(self.dut, name) for name in names if name.startswith(stem) and name not in (valid, ready)]

    async def transfers(self, channel, counts):
        """Count the transfers of a channel for ever, and see that what the endpoint offers stays until it is taken."""
        valid, ready, is_sink = self.ports[channel]
        valid, ready, payload = getattr(self.dut, valid), getattr(self.dut, ready), self.payload(channel)
        falling, kept = FallingEdge(self.dut.clk), None
        while True:
            await falling
            taken = valid.value == HIGH and ready.value == HIGH
            counts[channel] = counts.get(channel, 0) + taken
            if is_sink:
                continue
            offered = [signal.value for signal in payload] if valid.value == HIGH else None
            assert kept is None or offered == kept, f"{channel} is closed, and what it offers changes"
            kept = None if taken else offered

    async def probe(self, what):
        """Something that goes on."""
        if what == _READ:
            answer = await self.tb.host.read(self.line)
            assert not answer.poison
        elif what == _WRITE:
            self.value += 1
            await self.tb.host.write(self.line, self.value)


@cocotb.test()
async def closed_for_long(dut):
    """What can goes on beside it, and afterwards nothing is missing and nothing wrong."""
    bench = _Bench(dut)
    tb, given = bench.tb, bench.given
    await bench.start()
    for number, channel in enumerate(given.get("channels", bench.ports)):
        tb.log.info("%s", channel)
        goes_on, counts = GOES_ON[channel], {}
        tasks = bench.play(number)
        await ClockCycles(dut.clk, BEFORE_CLOCKS)
        assert not any(task.done() for task in tasks.values())
        bench.close(channel, True)
        access = bench.access(channel)
        await ClockCycles(dut.clk, 2)
        start, before = tb.clocks.now, bench.progress()
        counting = cocotb.start_soon(bench.transfers(channel, counts))
        await ClockCycles(dut.clk, BEFORE_CLOCKS)
        for what in sorted(goes_on & {_READ, _WRITE}):
            await with_timeout(bench.probe(what), PROMPT_CLOCKS * PERIOD_STEPS, "step")
        if not channel.startswith("csr."):
            await with_timeout(tb.csr.read("STEP"), PROMPT_CLOCKS * PERIOD_STEPS, "step")
        await ClockCycles(dut.clk, given["closed_clocks"] - (tb.clocks.now - start) - BEFORE_CLOCKS)
        for what, count in bench.progress().items():
            enough = tasks[what].done() or count - before[what] > PROGRESS
            assert enough or what not in goes_on, f"{channel} is closed, and {what} traffic stands still"
        if goes_on != _ALL:
            assert not all(task.done() for task in tasks.values()), f"{channel} is closed, and nobody minds"
        assert access is None or not access.done()
        # What a source had on offer when it closed may have been taken later.
        assert counts[channel] <= bench.ports[channel][2], f"{channel} was not closed: {counts[channel]} transfers"
        counting.cancel()
        bench.close(channel, False)
        for task in (*tasks.values(), access):
            if task is not None:
                await with_timeout(task, END_CLOCKS * PERIOD_STEPS, "step")
    bench.hinting.cancel()
    await tb.finish()
    assert tb.flash.programs and tb.flash.reads and tb.coherent.checked and tb.host.image.checked
    assert tb.protocol.counts["bisnp", 2] + tb.protocol.counts["bisnp", 6], "no line was taken back"


@cocotb.test()
async def reset_while_closed(dut):
    """A reset while a port is closed leaves nothing behind: nothing stale is answered, and traffic goes as before."""
    bench = _Bench(dut)
    tb, given = bench.tb, bench.given
    rng = random.Random(f"{given['seed']}/reset")
    await bench.start()
    for number, channel in enumerate(given.get("channels", bench.ports)):
        tb.log.info("%s", channel)
        tasks = bench.play(number)
        await ClockCycles(dut.clk, BEFORE_CLOCKS)
        bench.close(channel, True)
        # The other half of a write, or an access whose answer is not taken
        half = {"csr.aw": "w", "csr.w": "aw"}.get(channel)
        access = None if half else bench.access(channel)
        if half:
            tb.csr.offer(half, True)
        await ClockCycles(dut.clk, rng.randint(1, given["closed_clocks"]))
        for task in (bench.hinting, *tasks.values(), access):
            if task is not None:
                task.cancel()
        tb.cache_agent.stop()
        resetting = cocotb.start_soon(tb.reset(checker=golden_endpoint(tb.config)))
        if half:
            tb.csr.offer(half, False)
        await resetting
        if access is not None:
            tb.csr = Csr(dut, dut.clk)
        bench.close(channel, False)
        await bench.start()
        assert await tb.csr.read("COVERED_SECTORS") == await tb.csr.read("SNOOPS_IN_FLIGHT") == 0
        assert await tb.csr.read("HELD_REQUESTS") == 0
    for task in bench.play("last").values():
        await task
    bench.hinting.cancel()
    await tb.finish()
