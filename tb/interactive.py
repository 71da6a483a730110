"""The interactive form: class `TB` starts every agent around the endpoint, and a test moves every message."""

import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from golden.config import preset
from golden.csr import reset_regions
from golden.events import Lane, unpack
from tb.bus import Clocks, StreamSink, stalls
from tb.csr import Csr, regions_writes
from tb.flash import FlashAgent
from tb.host import Host
from tb.memory import MemoryAgent, Store
from tb.scoreboard import EventScoreboard
from tb.watchdog import Watchdog

__all__ = ["PERIOD_STEPS", "TB", "settings"]

#: simulation steps (picoseconds) of a clock: 1 ns
PERIOD_STEPS = 1000
RESET_CLOCKS = 4
TABLE_READY_POLL_CLOCKS = 50
#: clocks without any activity after which nothing is left to happen
QUIET_CLOCKS = 200


def settings():
    """The settings that `tb.build.run` was given for this run."""
    return json.loads(Path("settings.json").read_text())


class TB:
    """Clock, reset, host, DDR5, flash, registers, scoreboard and watchdog around a dut with the ports of `endpoint`.

    `share` > 0 stalls every port at random, each by a seed of its own made from `seed`; 0 gives fixed latencies and no
    stall. `checker` is a golden endpoint: `check(lane, fields)` for each record, `finish()` at the end.
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
        self.watchdog = Watchdog(PERIOD_STEPS, limit=watchdog_clocks, oldest=lambda: self.host.oldest())
        moved = self.watchdog.moved
        self.host = Host(
            dut,
            clock,
            self.clocks,
            config,
            regions=reset_regions(config),
            seed=seed,
            share=share,
            poison_allowed=any((read_error, write_error, page_fails)),
            moved=moved,
        )
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
        )
        monitors = {
            lane: StreamSink(
                dut,
                f"{lane.name.lower()}_record",
                clock,
                decode=lambda payload, lane=lane: unpack(config, lane, payload),
                pauses=stalls(f"{seed}/{lane.name}", share),
            )
            for lane in Lane
        }
        self.scoreboard = EventScoreboard(
            dut,
            monitors,
            check=(lambda lane, fields: checker.check(lane, fields)) if checker is not None else None,
            moved=moved,
        )

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
        self.host.regions = tuple(regions)

    async def drain(self):
        """Wait until nothing has happened for `QUIET_CLOCKS` and no page is on its way."""
        seen = None
        while seen != (seen := self._activity()) or not self._idle():
            await ClockCycles(self.dut.clk, QUIET_CLOCKS)

    def _activity(self):
        return (len(self.scoreboard.records), len(self.host.responses), self.memory.reads, self.memory.writes)

    def _idle(self):
        return self.memory.idle and self.flash.idle and not self.host.outstanding()

    async def finish(self):
        """Drain, and have the scoreboard and the golden endpoint say that nothing is missing."""
        await self.drain()
        self.scoreboard.finish()
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
