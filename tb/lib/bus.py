"""The bus kit: sources and sinks of channels, an AXI4-Lite master, stalls. The one file that wraps cocotb-bus.

One rule makes all agents agree about a clock, on both simulators: values are *sampled on the falling edge* and *driven
right after the rising edge*. What an agent sees in clock n it can answer from clock n + 1 on.
"""

import random

from cocotb import start_soon
from cocotb.triggers import Event, FallingEdge, RisingEdge
from cocotb.types import Logic
from cocotb.utils import get_sim_time
from cocotb_bus.drivers import BusDriver
from cocotb_bus.drivers.amba import AXI4LiteMaster, AXIProtocolError
from cocotb_bus.monitors import BusMonitor
from cocotb_bus.scoreboard import Scoreboard

from kv_endpoint.tb.lib.heartbeat import every_clock
from kv_endpoint.tb.lib.payload import pack

__all__ = [
    "AXIProtocolError", "AxiLiteMaster", "ChannelSink", "ChannelSource", "Clocks", "HIGH", "Scoreboard", "StreamSink",
    "StreamSource", "gated", "stalls",
]  # fmt: skip

#: A number would be made one of these at each comparison, in every clock.
HIGH = Logic(1)
#: how `Bus` finds a port: Amaranth joins the names of a signature with two underscores
PORT_NAMES = {"bus_separator": "__", "case_insensitive": False}


def stalls(seed, share=0.5):
    """Endless booleans, one a clock, True to pause: spells of up to 40 clocks that are free, mixed or nearly closed.

    `seed` may be a string, so that every port of a test has its own sequence. `share` is the part of stalled clocks
    in a mixed spell; 0 gives None, which agents take as "never".
    """
    if share == 0:
        return None
    return _stalls(random.Random(seed), share)


def _stalls(rng, share):
    while True:
        spell = rng.choice((0, share, share, 1 - (1 - share) / 5))
        for _ in range(rng.randint(1, 40)):
            yield rng.random() < spell


def gated(gates, channel, pauses):
    """The pauses of a channel, and those of its `tb.stimuli.faults.Gate` in `gates`, {channel: gate} or None."""
    return gates[channel].over(pauses) if gates and channel in gates else pauses


class Clocks:
    """Counts the clocks of a cocotb `Clock` from the simulation time, so that counting costs nothing."""

    def __init__(self, period_steps):
        self._period = period_steps

    @property
    def now(self):
        """Number of the running clock; it changes at the rising edge."""
        return int(get_sim_time("step")) // self._period


class ChannelSource(BusDriver):
    """Offers transactions on a ready/valid channel whose fields are separate signals.

    A transaction is a dict of the fields; queue it with `append` or wait with `send`. One a clock while the other
    side is ready. Between two transactions it pauses as long as `pauses` (see `stalls`) yields True. `taken` is
    called with each transaction in the clock in which it is taken.
    """

    def __init__(self, entity, name, clock, *, fields, prefix="", pauses=None, taken=None):
        self._signals = {field: prefix + field for field in ("valid", "ready", *fields)}
        self._fields = tuple(fields)
        self._pauses, self._taken = pauses, taken
        self._held = False
        super().__init__(entity, name, clock, **PORT_NAMES)
        self._signal = {field: getattr(self.bus, field) for field in self._signals}
        self._signal["valid"].value = 0
        for field in self._fields:
            self._signal[field].value = 0

    @property
    def free(self):
        """After sampling: a transaction appended now is offered in the next clock, if there is no pause."""
        return not self._held and not self._sendQ

    async def send(self, transaction, sync=True):
        """Queue a transaction and wait until it is taken. The base class would drive it past the queue."""
        taken = Event()
        self.append(transaction, event=taken)
        await taken.wait()

    async def offer(self, transaction):
        """Offer a transaction past the queue, for an agent that keeps its own.

        Called right after a rising edge, returns right after the one that ends the transfer.
        """
        await self._driver_send(transaction, sync=False)

    def forget(self):
        """In a reset: drop what waits and what is offered. Who uses `offer` has to end that first."""
        self._thread.cancel()
        self._sendQ.clear()
        self._held = False
        self._signal["valid"].value = 0
        self._pending.clear()
        self._thread = start_soon(self._send_thread())

    def _drive(self, transaction):
        for field, value in transaction.items():
            self._signal[field].value = value

    async def _driver_send(self, transaction, sync=True):
        rising, falling = RisingEdge(self.clock), FallingEdge(self.clock)
        valid, ready = self._signal["valid"], self._signal["ready"]
        self._held = True
        if sync:
            await rising
        while self._pauses is not None and next(self._pauses):
            await rising
        self._drive(transaction)
        valid.value = 1
        await falling
        while ready.value != HIGH:
            await falling
        self._held = False
        if self._taken is not None:
            self._taken(transaction)
        await rising
        # A transaction that follows at once raises it again in this very time step.
        valid.value = 0


class ChannelSink(BusMonitor):
    """Takes transactions from a ready/valid channel whose fields are separate signals.

    Each goes to the callbacks as a dict, in the clock in which it is taken. Without `pauses` it is always ready and
    costs nothing while the channel is idle. Raises ValueError when a field of a valid transaction is not a number.
    While `deaf` is set, in a reset, what comes is lost.
    """

    deaf = False

    def __init__(self, entity, name, clock, *, fields, prefix="", pauses=None, callback=None):
        self._signals = {field: prefix + field for field in ("valid", "ready", *fields)}
        self._fields = tuple(fields)
        self._pauses = pauses
        #: what `ready` says where there are pauses; None before the first clock
        self._is_open = None
        super().__init__(entity, name, clock, callback=callback, **PORT_NAMES)

    def _capture(self):
        return {field: self._number(field) for field in self._fields}

    def _number(self, field):
        value = getattr(self.bus, field).value
        try:
            return int(value)
        except ValueError:
            raise ValueError(f"{self.name}: {self._signals[field]} is {value} in a valid transaction") from None

    def _take(self):
        if not self.deaf:
            self._recv(self._capture())

    async def _monitor_recv(self):
        if self._pauses is not None:
            every_clock(self.clock, self._open_or_close, self._sample)
            return
        falling, valid_rises = FallingEdge(self.clock), RisingEdge(self.bus.valid)
        valid = self.bus.valid
        self.bus.ready.value = 1
        while True:
            await falling
            if valid.value == HIGH:
                self._take()
            else:
                await valid_rises

    def _open_or_close(self):
        is_open = not next(self._pauses)
        if is_open != self._is_open:
            self.bus.ready.value = int(is_open)
            self._is_open = is_open

    def _sample(self):
        if self._is_open and self.bus.valid.value == HIGH:
            self._take()


class StreamSource(ChannelSource):
    """Offers transactions on a stream: one `payload` of `fields` = ((name, bits), ...), packed as in the RTL."""

    def __init__(self, entity, name, clock, *, fields, pauses=None, taken=None):
        self._layout = fields
        super().__init__(entity, name, clock, fields=("payload",), pauses=pauses, taken=taken)

    def _drive(self, transaction):
        self._signal["payload"].value = pack(self._layout, transaction)


class StreamSink(ChannelSink):
    """Takes transactions from a stream; `decode` turns the payload, an integer, into what the callbacks get."""

    def __init__(self, entity, name, clock, *, decode, pauses=None, callback=None):
        self._decode = decode
        super().__init__(entity, name, clock, fields=("payload",), pauses=pauses, callback=callback)

    def _capture(self):
        return self._decode(self._number("payload"))


class AxiLiteMaster(AXI4LiteMaster):
    """cocotb-bus's AXI4-Lite master on ports named as ours. `write` and `read` raise `AXIProtocolError` unless OKAY."""

    _signals = {name: name.lower() for name in (*AXI4LiteMaster._signals, "AWPROT", "ARPROT")}

    def __init__(self, entity, name, clock):
        super().__init__(entity, name, clock, **PORT_NAMES)
        # The base class leaves what is not valid floating, which no board does.
        for signal in (self.bus.AWADDR, self.bus.WDATA, self.bus.WSTRB, self.bus.ARADDR):
            signal.value = 0
