"""The host: issues CXL.mem messages, matches their responses by tag and checks the data it gets back."""

from dataclasses import dataclass, field

from cocotb.triggers import Event

from kv_endpoint.golden.common.messages import FIELDS, DevLoad, DRSOpcode, NDROpcode
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import FULL, MESSAGES, Op
from kv_endpoint.golden.host.regions import region_of
from kv_endpoint.tb.agents.caching_host import FIRST_TAG
from kv_endpoint.tb.agents.player import Player
from kv_endpoint.tb.checks.image import Image
from kv_endpoint.tb.checks.responses import Expected, ProtocolError
from kv_endpoint.tb.lib.bus import StreamSink, StreamSource, gated, stalls
from kv_endpoint.tb.lib.payload import unpack
from kv_endpoint.tb.stimuli.stimulus import TAGS

__all__ = ["Host", "Response"]

ALL_ONES = (1 << 512) - 1


@dataclass(frozen=True)
class Response:
    """What came back for a message. `ndr` and `drs` are the opcodes, None where that channel had no response."""

    ndr: NDROpcode | None = None
    drs: DRSOpcode | None = None
    data: int | None = None
    poison: bool = False
    dev_load: int = 0
    #: clocks to the last response from the clock after the issue, in which a free channel offers the message
    latency: int = 0

    @property
    def nxm(self):
        return self.drs == DRSOpcode.MEM_DATA_NXM


@dataclass
class _Flight:
    """A message from its issue to its last response."""

    channel: str
    fields: dict
    issued: int
    waits: set
    expected: Expected
    #: how the block it is about is kept, None if it is about none: then its data is not checked against the image
    mode: Mode | None
    parts: dict = field(default_factory=dict)
    done: Event = field(default_factory=Event)
    response: Response | None = None


class Host:
    """Issues Req and RwD with running tags and keeps an image of what memory must hold.

    Addresses are line addresses (HPA >> 6). `regions` are the golden `Region`s that the endpoint decodes with: assign
    to it when the CSRs change. The coroutines return a `Response` when every response of the message is there.
    `moved` is called whenever a response arrives, `observe(channel, fields)` for every message, its own and those of
    `caches`, in the clock of its transfer. Raises `ProtocolError` for a response that is not due and `DataMismatch`
    for data that cannot be.
    """

    def __init__(
        self,
        dut,
        clock,
        clocks,
        config,
        *,
        regions,
        seed=0,
        share=0.0,
        poison_allowed=False,
        moved=None,
        observe=None,
        gates=None,
    ):
        self.clock = clock
        self.regions = tuple(regions)
        self._poison_allowed = poison_allowed
        self.image = Image(poison_allowed=poison_allowed)
        #: caching hosts that share the ports (`tb/agents/cache_agent.py`); their tags begin at `FIRST_TAG`
        self.caches = []
        #: responses in the order of their arrival: (channel, clock, latency, fields)
        self.responses = []
        #: responses, NDR and DRS, by the load that they say
        self.loads = [0] * len(DevLoad)
        self.clocks, self._config = clocks, config
        self._moved = moved
        self._observe = observe or (lambda channel, fields: None)
        self._messages = 0
        self._flights = {}
        self._outstanding = {"req": 0, "rwd": 0}

        def pauses(channel):
            return gated(gates, channel, stalls(f"{seed}/{channel}", share))

        self._sources = {
            channel: StreamSource(
                dut,
                channel,
                clock,
                fields=FIELDS[channel],
                pauses=pauses(channel),
                taken=lambda fields, channel=channel: self._observe(channel, fields),
            )
            for channel in ("req", "rwd")
        }
        self._sinks = [
            StreamSink(
                dut,
                channel,
                clock,
                decode=lambda payload, channel=channel: unpack(FIELDS[channel], payload),
                pauses=pauses(channel),
                callback=lambda response, channel=channel: self._respond(channel, response),
            )
            for channel in ("ndr", "drs")
        ]

    # Coroutines for tests ----------------------------------------------------------------------------------------

    async def read(self, address):
        """MemRd that the host does not cache (MetaField No-Op, SnpInv)."""
        return await self.raw("req", **MESSAGES[Op.READ], address=address)

    async def write(self, address, data, *, poison=False):
        """MemWr of a whole line that leaves no copy (Meta0 I, SnpInv)."""
        return await self.raw("rwd", **MESSAGES[Op.WRITE], address=address, data=data, poison=int(poison))

    async def write_partial(self, address, data, be):
        """MemWrPtl of the bytes of `be`."""
        return await self.raw("rwd", **MESSAGES[Op.WRITE_PARTIAL], address=address, data=data, be=be)

    async def hint(self, head, step, entries):
        """A hint line: `entries` are up to 15 pairs (block, score UQ0.16)."""
        region = region_of(self.regions, head)
        return await self.write(hint_address(self._config, region, head), pack_hint(step, entries))

    async def raw(self, channel, *, checked=True, **fields):
        """Any message; its tag is the next one unless given. Returns at once if it has no response.

        `checked` false: its data means nothing, as that of a write which the endpoint drops.
        """
        fields.setdefault("tag", self.next_tag())
        flight = self.issue(channel, fields, checked=checked)
        await flight.done.wait()
        return flight.response

    async def play(self, operations, *, max_reads=64, max_writes=32, throttle=False):
        """Play a stimulus by the rules of the batch form (`golden/host/operations.py`); returns when everything is
        answered.

        With `throttle` the host slows down on the load that responses say (`tb/agents/throttle.py`).
        """
        await Player(self, operations, max_reads=max_reads, max_writes=max_writes, throttle=throttle).run()

    # For the player and the watchdog -----------------------------------------------------------------------------

    def next_tag(self):
        """The running number of the next message modulo 2^16; numbers still in flight are passed over."""
        tags = FIRST_TAG if self.caches else TAGS
        while True:
            tag = self._messages % tags
            self._messages += 1
            if tag not in self._flights:
                return tag

    def free(self, channel):
        """Whether a message issued now is offered in the next clock."""
        return self._sources[channel].free

    def send(self, channel, fields):
        """Offer a message of one of `caches`."""
        self._sources[channel].append({name: 0 for name, _ in FIELDS[channel]} | fields)

    def deafen(self, deaf):
        """In a reset: no response is heard."""
        for sink in self._sinks:
            sink.deaf = deaf

    def forget(self):
        """In a reset: no message is in flight any more, and memory holds nothing. Who waits for one waits for ever."""
        for source in self._sources.values():
            source.forget()
        self._flights.clear()
        self._outstanding = dict.fromkeys(self._outstanding, 0)
        self.image = Image(poison_allowed=self._poison_allowed)

    def outstanding(self, channel=None):
        """Messages issued and not completely answered."""
        if channel is None:
            return len(self._flights)
        return self._outstanding[channel]

    def oldest(self):
        """A few words on the message that waits longest; None if none does."""
        if not self._flights:
            return None
        flight = min(self._flights.values(), key=lambda flight: flight.issued)
        return (
            f"{flight.channel} tag {flight.fields['tag']} of line {flight.fields['address']:#x}, issued in clock "
            f"{flight.issued}, without {' and '.join(sorted(flight.waits))}"
        )

    def issue(self, channel, fields, *, checked=True):
        """Queue a message (a dict of its fields, tag included) and return its flight."""
        fields = {name: 0 for name, _ in FIELDS[channel]} | fields
        tag, address = fields["tag"], fields["address"]
        if tag in self._flights:
            raise ValueError(f"tag {tag} is in flight already")
        expected = Expected(self._config, self.regions, channel, fields)
        waits = set(expected.channels)
        mode = self._mode(channel, fields, expected) if checked else None
        flight = _Flight(channel, fields, self.clocks.now + 1, waits, expected, mode)
        checked = mode is not None
        if checked and channel == "rwd":
            be = fields["be"] if fields["be_present"] else FULL
            self.image.write_issued(tag, address, fields["data"], be, bool(fields["poison"]), mode)
        elif checked:
            self.image.read_issued(tag, address)
        self._sources[channel].append(fields)
        if waits:
            self._flights[tag] = flight
            self._outstanding[channel] += 1
        else:
            self._finish(flight)
        return flight

    def _mode(self, channel, fields, expected):
        """Mode of the block that a message reads or writes, None if it does neither."""
        if expected.place is None or (channel == "req" and "drs" not in expected.channels):
            return None
        return region_of(self.regions, expected.place[0]).mode

    # Responses ---------------------------------------------------------------------------------------------------

    def _respond(self, channel, response):
        tag = response["tag"]
        self._observe(channel, response)
        for cache in self.caches:
            if cache.owns(response["ld_id"], tag):
                getattr(cache, f"on_{channel}")(response)
                if self._moved is not None:
                    self._moved()
                return
        flight = self._flights.get(tag)
        if flight is None or channel not in flight.waits:
            what = "is not in flight" if flight is None else f"waits for {' and '.join(sorted(flight.waits))}"
            raise ProtocolError(f"{channel} response with tag {tag}, which {what}")
        if response["ld_id"] != flight.fields["ld_id"]:
            raise ProtocolError(f"{channel} response with tag {tag} for LD-ID {response['ld_id']}")
        self.responses.append((channel, self.clocks.now, self.clocks.now - flight.issued, response))
        self.loads[response["dev_load"]] += 1
        flight.waits.discard(channel)
        flight.parts[channel] = response
        self._check(channel, flight, response)
        if self._moved is not None:
            self._moved()
        if not flight.waits:
            del self._flights[tag]
            self._outstanding[flight.channel] -= 1
            self._finish(flight)

    def _check(self, channel, flight, response):
        tag, address = flight.fields["tag"], flight.fields["address"]
        if channel == "drs":
            is_nxm = flight.expected.channels == ("drs",)
            if flight.expected.may_be_nxm and response["opcode"] == DRSOpcode.MEM_DATA_NXM:
                is_nxm = True
                flight.waits.discard("ndr")
                if flight.mode is not None:
                    self.image.read_cancelled(tag, address)
            opcode = DRSOpcode.MEM_DATA_NXM if is_nxm else DRSOpcode.MEM_DATA
            if response["opcode"] != opcode:
                raise ProtocolError(f"drs tag {tag}: opcode must be {opcode.name}, not {response['opcode']}")
            if flight.mode is not None and not is_nxm:
                self.image.read_done(tag, address, response["data"], bool(response["poison"]), flight.mode)
            elif response["data"] != (ALL_ONES if is_nxm else 0):
                raise ProtocolError(f"drs tag {tag}: data outside every block is {response['data']:#x}")
        elif flight.mode is not None and flight.channel == "rwd":
            self.image.write_done(tag, address)

    def _finish(self, flight):
        ndr, drs = flight.parts.get("ndr"), flight.parts.get("drs")
        flight.response = Response(
            ndr=NDROpcode(ndr["opcode"]) if ndr else None,
            drs=DRSOpcode(drs["opcode"]) if drs else None,
            data=drs["data"] if drs else None,
            poison=bool(drs and drs["poison"]),
            dev_load=(ndr or drs or {}).get("dev_load", 0),
            latency=self.clocks.now - flight.issued,
        )
        flight.done.set()
