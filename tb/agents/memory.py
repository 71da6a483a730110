"""DDR5: the backing store, and the agent that serves the endpoint's AXI4 port from it."""

import heapq
import random

import cocotb
from cocotb.triggers import Event, RisingEdge

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.host.operations import FULL
from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR
from kv_endpoint.tb.checks.image import spread
from kv_endpoint.tb.lib.bus import ChannelSink, ChannelSource, gated, stalls

__all__ = ["Answers", "MemoryAgent", "POISON_LINE", "Store"]

#: what memory holds that was never written: not zero, so that it shows when it leaks
POISON_LINE = int.from_bytes(bytes.fromhex("bad0c0de") * 16, "big")

_ADDRESS = ("id", "addr", "len", "size", "burst")
BURST_INCR = 1


class Store:
    """DDR5 by line number (`Config.frame_lines`)."""

    def __init__(self):
        self._lines = {}

    def read(self, line):
        return self._lines.get(line, POISON_LINE)

    def write(self, line, data, strobe=FULL):
        if strobe != FULL:
            mask = spread(strobe)
            data = self.read(line) & ~mask | data & mask
        self._lines[line] = data


class Answers:
    """Sends transactions through a source when their time has come, the earliest first.

    `prepare(item)` makes the transaction from what was scheduled, in the clock in which it is offered.
    """

    def __init__(self, clock, clocks, source, prepare):
        self._clock, self._clocks, self._source, self._prepare = clock, clocks, source, prepare
        self._heap, self._count = [], 0
        self._filled = Event()
        self._thread = cocotb.start_soon(self._run())

    def schedule(self, due, rank, item):
        """Offer `item` in clock `due` or later; of two with the same `due` the lower `rank` first, then the older."""
        heapq.heappush(self._heap, (due, rank, self._count, item))
        self._count += 1
        self._filled.set()

    @property
    def idle(self):
        return not self._heap and self._source.free

    def forget(self):
        """In a reset: nothing is answered that was asked before."""
        self._thread.cancel()
        self._heap.clear()
        self._source.forget()
        self._thread = cocotb.start_soon(self._run())

    async def _run(self):
        rising = RisingEdge(self._clock)
        while True:
            if not self._heap:
                self._filled.clear()
                await self._filled.wait()
                await rising
            elif self._heap[0][0] <= self._clocks.now:
                *_, item = heapq.heappop(self._heap)
                await self._source.offer(self._prepare(item))
            else:
                await rising


class MemoryAgent:
    """AXI4 subordinate, 512 bit, single beats, over a `Store`.

    A read accepted in clock n is answered in clock n + `latency` or later, a write likewise from the later of address
    and data. With `share` every channel stalls at random and each answer takes up to 4 x `latency`; answers of
    different IDs then overtake each other, those of one ID do not. A write takes effect when its answer is offered, a
    read sees the store when it is accepted or, with `share`, at either end: the endpoint must order what depends on
    it.

    `gates` close channels, `mem.ar` and so on (`tb.lib.bus.gated`). `read_error(line)` and `write_error(line)` say
    whether an access fails: it is answered SLVERR, and reads as garbage or leaves that in the bytes with strobe.
    Raises AssertionError for a burst, an unaligned address or one outside memory.
    """

    def __init__(
        self,
        dut,
        clock,
        clocks,
        config,
        store,
        *,
        latency=20,
        seed=0,
        share=0.0,
        read_error=None,
        write_error=None,
        gates=None,
    ):
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        self._clocks, self._config, self._store, self._latency = clocks, config, store, latency
        self._rng, self._share = random.Random(f"{seed}/mem"), share
        self._errors = {"read": read_error or (lambda line: False), "write": write_error or (lambda line: False)}
        self._last = {}
        self._addresses, self._data = [], []
        self.reads = self.writes = 0

        def channel(kind, prefix, fields, **more):
            pauses = gated(gates, f"mem.{prefix}", stalls(f"{seed}/mem/{prefix}", share))
            return kind(dut, "mem", clock, prefix=prefix, fields=fields, pauses=pauses, **more)

        self._sinks = [
            channel(ChannelSink, "ar", _ADDRESS, callback=self._read),
            channel(ChannelSink, "aw", _ADDRESS, callback=self._write_address),
            channel(ChannelSink, "w", ("data", "strb", "last"), callback=self._write_data),
        ]
        self._r = Answers(clock, clocks, channel(ChannelSource, "r", ("id", "data", "resp", "last")), self._read_answer)
        self._b = Answers(clock, clocks, channel(ChannelSource, "b", ("id", "resp")), self._write_answer)

    def deafen(self, deaf):
        """In a reset: what the endpoint still offers in its first clock is no access."""
        for sink in self._sinks:
            sink.deaf = deaf

    def forget(self):
        """In a reset: accesses that are not answered are lost, writes included."""
        self._addresses.clear()
        self._data.clear()
        self._last.clear()
        self._r.forget()
        self._b.forget()

    @property
    def idle(self):
        return self._r.idle and self._b.idle and not self._addresses and not self._data

    def _line(self, channel, address):
        assert address["len"] == 0 and address["burst"] == BURST_INCR, f"{channel}: a burst: {address}"
        assert 1 << address["size"] == LINE_BYTES, f"{channel}: a narrow beat: {address}"
        line, offset = divmod(address["addr"], LINE_BYTES)
        assert offset == 0 and line < self._config.memory_lines, f"{channel}: not a line of memory: {address}"
        return line

    def _due(self, channel, identity):
        """When an answer is due: never before an earlier one of the same ID."""
        delay = self._latency
        if self._share:
            delay = self._rng.randint(1, 4 * self._latency)
        due = max(self._clocks.now + delay, self._last.get((channel, identity), 0))
        self._last[channel, identity] = due
        return due

    def _read(self, address):
        line = self._line("ar", address)
        self.reads += 1
        late = bool(self._share) and self._rng.random() < 0.5
        data = None if late else self._store.read(line)
        self._r.schedule(self._due("r", address["id"]), 0, (address["id"], line, data))

    def _read_answer(self, item):
        identity, line, data = item
        if self._errors["read"](line):
            return {"id": identity, "data": POISON_LINE, "resp": RESP_SLVERR, "last": 1}
        return {
            "id": identity,
            "data": self._store.read(line) if data is None else data,
            "resp": RESP_OKAY,
            "last": 1,
        }

    def _write_address(self, address):
        self._addresses.append(address)
        self._pair()

    def _write_data(self, data):
        assert data["last"] == 1, "w: a single beat must be the last"
        self._data.append(data)
        self._pair()

    def _pair(self):
        if self._addresses and self._data:
            address, data = self._addresses.pop(0), self._data.pop(0)
            self.writes += 1
            item = (address["id"], self._line("aw", address), data["data"], data["strb"])
            self._b.schedule(self._due("b", address["id"]), 0, item)

    def _write_answer(self, item):
        identity, line, data, strobe = item
        if self._errors["write"](line):
            self._store.write(line, POISON_LINE, strobe)
            return {"id": identity, "resp": RESP_SLVERR}
        self._store.write(line, data, strobe)
        return {"id": identity, "resp": RESP_OKAY}
