"""An AXI4 memory for the Amaranth simulator: latency, stalls, reordering between IDs, errors; checks the manager.

One line a burst. Used from a bench that owns the clock: `drive` sets the inputs of the port for the coming clock edge,
`sample` takes what that edge transfers.
"""

from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR

LINE_BYTES = 64


class AXIMemory:
    """`port` is an `hw.lib.axi.AXI4` whose manager is the device under test.

    `latency` is (least, most) clocks from request to response, `stall` the probability that a channel pauses for a
    clock. `lines` maps a line number to its value; others hold `background(line)`. `failing_reads`, `failing_writes`
    are line numbers that answer SLVERR; a failing write leaves garbage in the bytes it enables, a failing read shows
    garbage.
    """

    def __init__(self, port, rng, *, latency=(1, 1), stall=0.0, background=lambda line: 0):
        self.port, self.rng, self.latency, self.stall, self.background = port, rng, latency, stall, background
        self.lines, self.failing_reads, self.failing_writes = {}, set(), set()
        self.reads = self.writes = 0
        #: requests answered with an error
        self.failures = {"r": 0, "b": 0}
        #: line numbers in the order in which reads and writes were accepted
        self.log = []
        self.forget()

    def forget(self):
        """What a reset does: requests and responses are gone, the contents stay."""
        self._clock = 0
        self._addresses, self._words = [], []
        #: accepted requests: [due clock, id, line, value when accepted or None]
        self._reads, self._writes = [], []
        self._offered = {"r": None, "b": None}
        self._waiting = {}

    def value(self, line):
        return self.lines[line] if line in self.lines else self.background(line)

    def drive(self, ctx):
        port = self.port
        for channel in ("ar", "aw", "w"):
            ctx.set(getattr(port, f"{channel}ready"), self.rng.random() >= self.stall)
        for channel, queue in (("r", self._reads), ("b", self._writes)):
            if self._offered[channel] is None and self.rng.random() >= self.stall:
                self._offered[channel] = self._choose(queue)
                if self._offered[channel] is not None:
                    self._answer(ctx, channel, self._offered[channel])
            ctx.set(getattr(port, f"{channel}valid"), self._offered[channel] is not None)

    def _choose(self, queue):
        """A request that is due, the oldest of its ID."""
        seen, due = set(), []
        for request in queue:
            if request[1] not in seen and request[0] <= self._clock:
                due.append(request)
            seen.add(request[1])
        if not due:
            return None
        request = due[0] if self.latency[0] == self.latency[1] else self.rng.choice(due)
        queue.remove(request)
        return request

    def _answer(self, ctx, channel, request):
        port, (_, id_, line, value) = self.port, request
        ctx.set(getattr(port, f"{channel}id"), id_)
        if channel == "r":
            failing = line in self.failing_reads
        else:
            failing, word = value
        ctx.set(getattr(port, f"{channel}resp"), RESP_SLVERR if failing else RESP_OKAY)
        self.failures[channel] += failing
        if channel == "r":
            value = self.value(line) if value is None else value
            ctx.set(port.rdata, self.rng.getrandbits(512) if failing else value)
            ctx.set(port.rlast, 1)
        elif word is not None:
            self._store(line, *word, failing)

    def _store(self, line, data, strobe, failing):
        if failing:
            data = self.rng.getrandbits(512)
        mask = sum(0xFF << 8 * byte for byte in range(LINE_BYTES) if strobe >> byte & 1)
        self.lines[line] = self.value(line) & ~mask | data & mask

    def _payload(self, ctx, channel):
        names = ("data", "strb", "last") if channel == "w" else ("id", "addr", "len", "size", "burst")
        return tuple(ctx.get(getattr(self.port, channel + name)) for name in names)

    def sample(self, ctx):
        port = self.port
        self._clock += 1
        for channel in ("ar", "aw", "w"):
            valid = ctx.get(getattr(port, f"{channel}valid"))
            payload = self._payload(ctx, channel) if valid else None
            if channel in self._waiting:
                assert payload == self._waiting[channel], f"{channel} changed before it was taken"
            self._waiting.pop(channel, None)
            if not valid:
                continue
            if not ctx.get(getattr(port, f"{channel}ready")):
                self._waiting[channel] = payload
            elif channel == "w":
                assert payload[2] == 1
                self._words.append(payload[:2])
            else:
                id_, address, *burst = payload
                assert burst == [0, 6, 1] and address % LINE_BYTES == 0
                self._accept(channel, id_, address // LINE_BYTES)
        while self._addresses and self._words:
            id_, line = self._addresses.pop(0)
            word = self._words.pop(0)
            self.writes += 1
            self.log.append(("write", line))
            # Whether memory does a request at once or at its response is nobody's business.
            late = self.rng.random() < 0.5
            failing = line in self.failing_writes
            if not late:
                self._store(line, *word, failing)
            self._writes.append([self._due(), id_, line, (failing, word if late else None)])
        for channel in ("r", "b"):
            if self._offered[channel] is not None and ctx.get(getattr(port, f"{channel}ready")):
                self._offered[channel] = None

    def _accept(self, channel, id_, line):
        if channel == "aw":
            self._addresses.append((id_, line))
            return
        self.reads += 1
        self.log.append(("read", line))
        early = self.rng.random() < 0.5
        self._reads.append([self._due(), id_, line, self.value(line) if early else None])

    def _due(self):
        # The response is offered at the earliest in the clock after the request.
        return self._clock + self.rng.randint(*self.latency) - 1
