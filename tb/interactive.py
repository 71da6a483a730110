"""The interactive form: class `TB` starts every agent around the endpoint, and a test moves every message."""

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, FallingEdge, First, ValueChange

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.messages import FIELDS
from kv_endpoint.golden.events.port import Lane, unpack
from kv_endpoint.golden.host.regions import regions_writes
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.tb.agents.cache_agent import CacheAgent
from kv_endpoint.tb.agents.caching_host import CachingHost
from kv_endpoint.tb.agents.flash import FlashAgent
from kv_endpoint.tb.agents.host import Host
from kv_endpoint.tb.agents.memory import MemoryAgent, Store
from kv_endpoint.tb.agents.registers import Csr
from kv_endpoint.tb.checks.coherency_counts import CoherencyCounts
from kv_endpoint.tb.checks.coherent_image import CoherentImage
from kv_endpoint.tb.checks.golden_endpoint import protocol_monitor
from kv_endpoint.tb.checks.responses import ProtocolError
from kv_endpoint.tb.checks.scoreboard import EventScoreboard
from kv_endpoint.tb.lib.bus import Clocks, StreamSink, StreamSource, gated, stalls
from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, RESET_CLOCKS, TABLE_READY_POLL_CLOCKS, settings
from kv_endpoint.tb.lib.payload import unpack as unpack_payload
from kv_endpoint.tb.lib.watchdog import Watchdog

__all__ = ["TB"]

#: clocks without any activity after which nothing is left to happen
QUIET_CLOCKS = 200


class TB:
    """Clock, reset, host, DDR5, flash, registers, scoreboard and watchdog around a dut with the ports of `endpoint`.

    `share` > 0 stalls every port at random, each by a seed of its own made from `seed`; 0 gives fixed latencies and
    no stall. `checker` is a golden endpoint: `check(lane, fields)` for each record, `finish()` at the end. `gates`
    are `tb.stimuli.faults.Gate`s by the name of a channel (`tb.stimuli.faults.channels`), but those of the registers,
    which close it.

    The protocol monitor (`tb/checks/protocol.py`) sees every message. Hosts that cache lines come with `add_caches`;
    BISnp to hosts that have none are kept in the queue `bisnps`, and a test may answer them with `birsp.append`.
    """

    def __init__(
        self,
        dut,
        config,
        *,
        seed=0,
        share=0.0,
        memory_latency=20,
        flash_read_clocks=200,
        flash_program_clocks=200,
        checker=None,
        read_error=None,
        write_error=None,
        page_fails=None,
        watchdog_clocks=20_000,
        gates=None,
    ):
        self.dut, self.config, self.checker = dut, config, checker
        self.log = cocotb.log
        self.log.info("seed %s, share of stalled clocks %s", seed, share)
        clock = dut.clk
        cocotb.start_soon(Clock(clock, PERIOD_STEPS, unit="step").start())
        dut.rst.value = 1
        self.clocks = Clocks(PERIOD_STEPS)
        self.store = Store()
        self.csr = Csr(dut, clock)
        self.watchdog = Watchdog(PERIOD_STEPS, limit=watchdog_clocks, oldest=self._oldest)
        self._seed, self._moved = seed, self.watchdog.moved
        moved = self._moved
        poison_allowed = any((read_error, write_error, page_fails))
        self._poison_allowed = poison_allowed
        self.protocol = protocol_monitor(config, regions=reset_regions(config))
        #: of all caching hosts
        self.coherent = CoherentImage(poison_allowed=poison_allowed)
        self.caches = []
        self.cache_agent = self.coherency_counts = None
        self.bisnps = Queue()
        self._listeners = [self.protocol.record]
        self.host = Host(
            dut,
            clock,
            self.clocks,
            config,
            regions=reset_regions(config),
            seed=seed,
            share=share,
            poison_allowed=poison_allowed,
            moved=moved,
            observe=self.protocol.take,
            gates=gates,
        )

        def pauses(channel):
            return gated(gates, channel, stalls(f"{seed}/{channel}", share))

        self.birsp = StreamSource(
            dut,
            "birsp",
            clock,
            fields=FIELDS["birsp"],
            pauses=pauses("birsp"),
            taken=lambda fields: self.protocol.take("birsp", fields),
        )
        snoops = StreamSink(
            dut,
            "bisnp",
            clock,
            decode=lambda payload: unpack_payload(FIELDS["bisnp"], payload),
            pauses=pauses("bisnp"),
            callback=self._take_bisnp,
        )
        cocotb.start_soon(self._watch_birsp())
        self.memory = MemoryAgent(
            dut,
            clock,
            self.clocks,
            config,
            self.store,
            latency=memory_latency,
            seed=seed,
            share=share,
            read_error=read_error,
            write_error=write_error,
            gates=gates,
        )
        self.flash = FlashAgent(
            dut,
            clock,
            self.clocks,
            config,
            self.store,
            read_clocks=flash_read_clocks,
            program_clocks=flash_program_clocks,
            seed=seed,
            share=share,
            fails=page_fails,
            moved=moved,
            gates=gates,
        )
        monitors = {
            lane: StreamSink(
                dut,
                f"{lane.name.lower()}_record",
                clock,
                decode=lambda payload, lane=lane: unpack(config, lane, payload),
                pauses=gated(gates, f"{lane.name.lower()}_record", stalls(f"{seed}/{lane.name}", share)),
            )
            for lane in Lane
        }
        self._sinks = [snoops, *monitors.values()]
        self.scoreboard = EventScoreboard(dut, monitors, check=self._check, moved=moved)

    def _oldest(self):
        oldest = self.host.oldest()
        if oldest is None and self.cache_agent is not None:
            oldest = self.cache_agent.oldest()
        return oldest

    def on_record(self, listener):
        """Have `listener(lane, fields)` called for every record, in order."""
        self._listeners.append(listener)

    def _check(self, lane, fields):
        for listener in self._listeners:
            listener(lane, fields)
        if self.checker is not None:
            self.checker.check(lane, fields)

    # Hosts that cache -------------------------------------------------------------------------------------------------

    def add_caches(self, count=None, *, manners=None, unwritable_allowed=False):
        """A `CachingHost` for each host of the configuration, or for the first `count`, in `caches`.

        Each caches lines of the regions that it may use. `coherency_counts` is what the run has come to, by the records
        from now on. `unwritable_allowed`: flash may be unwritable, so that some requests are refused.
        """
        self.protocol.unwritable_allowed = unwritable_allowed
        self.caches = [
            CachingHost(
                self.config,
                number=number,
                regions=self.host.regions,
                image=self.coherent,
                seed=self._seed,
                manners=manners,
                unwritable_allowed=unwritable_allowed,
            )
            for number in range(self.config.hosts if count is None else count)
        ]
        self.coherency_counts = CoherencyCounts(self.config)
        self.on_record(self.coherency_counts.record)
        self.cache_agent = CacheAgent(self.dut.clk, self.clocks, self.host, self.birsp, self.caches)

    def _take_bisnp(self, fields):
        self.protocol.take("bisnp", fields)
        self._moved()
        if fields["bi_id"] < len(self.caches):
            self.caches[fields["bi_id"]].on_bisnp(fields)
        else:
            self.bisnps.put_nowait(fields)

    async def _watch_birsp(self):
        """P3: a BIRsp is taken at once, always."""
        ready, reset = self.dut.birsp__ready, self.dut.rst
        while True:
            if ready.value == 0 and reset.value == 0:
                raise ProtocolError("P3: birsp.ready is 0")
            await First(ValueChange(ready), ValueChange(reset))
            await FallingEdge(self.dut.clk)

    # Phases of a test -------------------------------------------------------------------------------------------------

    async def start(self, registers=()):
        """Reset, wait until the metadata table is clear, and write `registers`, (name, value) in order."""
        await ClockCycles(self.dut.clk, RESET_CLOCKS)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)
        while not (await self.csr.read_fields("STATUS"))["TABLE_READY"]:
            await ClockCycles(self.dut.clk, TABLE_READY_POLL_CLOCKS)
        for name, value in registers:
            await self.csr.write(name, value)

    async def set_regions(self, regions):
        """Move the endpoint's regions, and the host's idea of them."""
        for name, value in regions_writes(regions):
            await self.csr.write(name, value)
        self.set_known_regions(regions)

    async def reset(self, *, checker=None):
        """Reset in the middle of whatever goes on; `start` has to follow. No register access may be under way.

        All agents forget what was under way, and memory holds nothing any more; so nothing that was asked before may
        be answered. `checker` is the golden endpoint from here on.
        """
        self.dut.rst.value = 1
        self._deafen(True)
        for agent in (self.host, self.memory, self.flash, self.birsp, self.protocol, self.scoreboard):
            agent.forget()
        self.coherent = CoherentImage(poison_allowed=self._poison_allowed)
        for cache in self.caches:
            cache.forget(self.coherent)
        while not self.bisnps.empty():
            self.bisnps.get_nowait()
        self.checker = checker
        self.set_known_regions(reset_regions(self.config))
        await ClockCycles(self.dut.clk, 2)
        self._deafen(False)

    def _deafen(self, deaf):
        for agent in (self.host, self.memory, self.flash):
            agent.deafen(deaf)
        for sink in self._sinks:
            sink.deaf = deaf

    def set_known_regions(self, regions):
        """Tell hosts and monitor of the endpoint's regions."""
        for each in (self.host, self.protocol, *self.caches):
            each.regions = tuple(regions)

    async def drain(self):
        """Wait until nothing has happened for `QUIET_CLOCKS` and no page is on its way."""
        seen = None
        while seen != (seen := self._activity()) or not self._idle():
            await ClockCycles(self.dut.clk, QUIET_CLOCKS)

    def _activity(self):
        messages = sum(self.protocol.counts.values())
        return (len(self.scoreboard.records), messages, self.memory.reads, self.memory.writes)

    def _idle(self):
        hosts_idle = not self.host.outstanding() and (self.cache_agent is None or self.cache_agent.idle)
        return self.memory.idle and self.flash.idle and hosts_idle and not self.protocol.snoops_open()

    async def finish(self):
        """Drain, and have the scoreboard and the golden endpoint say that nothing is missing."""
        await self.drain()
        self.scoreboard.finish()
        self.protocol.finish()
        if self.checker is not None:
            self.checker.finish()
        self.log.info(
            "%d records, %d responses, %d reads checked",
            len(self.scoreboard.records),
            len(self.host.responses),
            self.host.image.checked,
        )


def configured():
    """The configuration that the settings name: a preset and its overrides."""
    given = settings()
    return preset(given["preset"], **given.get("overrides", {}))
