"""Joins caching hosts and their traffic to the ports of the interactive bench."""

from cocotb import start_soon
from cocotb.triggers import Event, FallingEdge, ReadOnly

from kv_endpoint.golden.common.messages import FIELDS

__all__ = ["CacheAgent"]

_CHANNELS = ("req", "rwd", "birsp")


class CacheAgent:
    """Moves the messages of the `CachingHost`s in `caches` once a clock, the hosts taking turns on each channel.

    `host` is the `tb.agents.host.Host` whose sources they share, `birsp` the source of that channel. Traffic is
    attached with `play`. While nothing is attached and nothing is open it costs one wake-up a clock.
    """

    def __init__(self, clock, clocks, host, birsp, caches):
        self._clock, self._clocks, self._host, self._birsp = clock, clocks, host, birsp
        self.caches = list(caches)
        self._traffic = []
        self._turn = 0
        host.caches.extend(self.caches)
        start_soon(self._run())

    @property
    def idle(self):
        return all(cache.idle for cache in self.caches)

    def oldest(self):
        """A few words on the request that waits longest; None if none does."""
        return next((words for cache in self.caches if (words := cache.oldest()) is not None), None)

    async def request(self, number, access, address, **more):
        """One request of host `number`, as `CachingHost.start`; its `Transaction` when it is answered."""
        done = Event()
        transaction = self.caches[number].start(access, address, **more)
        transaction.listeners.append(done.set)
        await done.wait()
        return transaction

    async def play(self, traffic):
        """Have `CoherentTraffic`s make their requests; returns when all of them are answered, and all snoops."""
        self._traffic = list(traffic)
        falling = FallingEdge(self._clock)
        while not all(each.done for each in self._traffic):
            await falling
        self.stop()

    def stop(self):
        """Make no more requests, and wait for none, as in a reset."""
        self._traffic = []

    async def _run(self):
        falling = FallingEdge(self._clock)
        while True:
            await falling
            await ReadOnly()
            for cache in self.caches:
                cache.tick(self._clocks.now)
            for traffic in self._traffic:
                traffic.tick()
            self._turn += 1
            for channel in _CHANNELS:
                self._send(channel)

    def _send(self, channel):
        if not (self._birsp.free if channel == "birsp" else self._host.free(channel)):
            return
        for number in range(len(self.caches)):
            fields = self.caches[(self._turn + number) % len(self.caches)].poll(channel)
            if fields is None:
                continue
            if channel == "birsp":
                self._birsp.append({name: 0 for name, _ in FIELDS["birsp"]} | fields)
            else:
                self._host.send(channel, fields)
            return
