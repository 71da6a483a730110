"""Read slots and write slots: what the endpoint keeps of a message from its acceptance to its response.

A slot's number travels in place of the message (`layouts.slot`, `layouts.data_op`, AXI ID). The front end takes a
number from `available` and stores the message under it; the datapath looks it up for the response and releases it.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.messages import FIELDS
from kv_endpoint.hw.common import layouts

__all__ = ["ReadSlots", "WriteSlots", "identity", "write_data", "store_read", "store_write", "numbered"]

_RWD = dict(FIELDS["rwd"])
_IDENTITY = tuple((name, _RWD[name]) for name in ("tag", "ld_id"))
_WRITE_DATA = tuple((name, _RWD[name]) for name in ("data", "be", "poison"))


def identity():
    """What names a message in its response: tag and LD-ID."""
    return layouts.layout(_IDENTITY)


def write_data():
    """What a write slot holds besides: 64 bytes, the byte enables (all ones for a MemWr), the poison bit."""
    return layouts.layout(_WRITE_DATA)


def store_read(config):
    """A message put into read slot `id` in a clock with `enable`."""
    return layouts.layout((("enable", 1), ("id", layouts.id_bits(config)), *_IDENTITY))


def store_write(config):
    """A message put into write slot `id` in a clock with `enable`."""
    return layouts.layout((("enable", 1), ("id", layouts.id_bits(config)), *_IDENTITY, *_WRITE_DATA))


def numbered(config, strobe):
    """A slot number with the bit that makes it count: `enable` of a look-up, `valid` of a release."""
    return layouts.layout(((strobe, 1), ("id", layouts.id_bits(config))))


class FreeNumbers(wiring.Component):
    """Hands out the numbers 0 .. count - 1, each to one holder at a time; after reset all are free.

    One number a clock out and one back; a number that comes back can be had again 2 clocks later. Never-used numbers go
    first, in rising order, then the longest returned.

    Members: `available` (stream of a free number, taken by `ready`), `release` (`valid`, `id`; always accepted; only a
    number that is out may be released), `used` (how many numbers are out).
    """

    def __init__(self, *, config, count):
        if not 1 <= count <= 1 << layouts.id_bits(config):
            raise ValueError(f"count must be 1 to {1 << layouts.id_bits(config)}, not {count!r}")
        self._count = count
        self._bits = layouts.id_bits(config)
        super().__init__({
            "available": Out(stream.Signature(self._bits)),
            "release": In(numbered(config, "valid")),
            "used": Out(range(count + 1)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.returned = returned = SyncFIFOBuffered(width=self._bits, depth=self._count)
        never_used = Signal(range(self._count + 1))
        any_never_used = Signal()
        m.d.comb += [
            any_never_used.eq(never_used != self._count),
            self.available.valid.eq(any_never_used | returned.r_rdy),
            self.available.payload.eq(Mux(any_never_used, never_used, returned.r_data)),
            returned.r_en.eq(self.available.ready & ~any_never_used),
            returned.w_en.eq(self.release.valid),
            returned.w_data.eq(self.release.id),
        ]
        with m.If(any_never_used & self.available.ready):
            m.d.sync += never_used.eq(never_used + 1)
        taken = Signal()
        m.d.comb += taken.eq(self.available.valid & self.available.ready)
        m.d.sync += self.used.eq(self.used + taken - self.release.valid)
        return m


def _table(m, name, *, shape, depth):
    """A memory of `depth` rows as submodule `name`: its write port and one synchronous read port."""
    m.submodules[name] = memory = Memory(shape=shape, depth=depth, init=[])
    return memory.write_port(), memory.read_port(domain="sync")


class ReadSlots(wiring.Component):
    """The messages of channel Req that await their response: tag and LD-ID of each of `config.read_slots`.

    `store` takes a message a clock. `lookup` with `enable` shows `found` in the next clock, where it stays until the
    next look-up; a message may be looked up from the clock after its store on. `release` returns a number a clock.
    `used` is how many are out.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "available": Out(stream.Signature(layouts.id_bits(config))),
            "store": In(store_read(config)),
            "lookup": In(numbered(config, "enable")),
            "found": Out(identity()),
            "release": In(numbered(config, "valid")),
            "used": Out(range(config.read_slots + 1)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        count = self._config.read_slots
        m.submodules.numbers = numbers = FreeNumbers(config=self._config, count=count)
        wiring.connect(m, wiring.flipped(self.available), numbers.available)
        m.d.comb += [numbers.release.eq(self.release), self.used.eq(numbers.used)]

        write, read = _table(m, "identities", shape=identity(), depth=count)
        m.d.comb += [
            write.en.eq(self.store.enable),
            write.addr.eq(self.store.id),
            write.data.tag.eq(self.store.tag),
            write.data.ld_id.eq(self.store.ld_id),
            read.en.eq(self.lookup.enable),
            read.addr.eq(self.lookup.id),
            self.found.eq(read.data),
        ]
        return m


class WriteSlots(wiring.Component):
    """The messages of channel RwD that await their response: tag, LD-ID and data of each of `config.write_slots`.

    As `ReadSlots`, and `read` with `enable` shows the data as `contents` in the next clock, independently of `lookup`.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__({
            "available": Out(stream.Signature(layouts.id_bits(config))),
            "store": In(store_write(config)),
            "lookup": In(numbered(config, "enable")),
            "found": Out(identity()),
            "read": In(numbered(config, "enable")),
            "contents": Out(write_data()),
            "release": In(numbered(config, "valid")),
            "used": Out(range(config.write_slots + 1)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        count = self._config.write_slots
        m.submodules.numbers = numbers = FreeNumbers(config=self._config, count=count)
        wiring.connect(m, wiring.flipped(self.available), numbers.available)
        m.d.comb += [numbers.release.eq(self.release), self.used.eq(numbers.used)]

        # Two memories of one store: an answer needs the identity at another time than the memory needs the data.
        for name, shape, query, answer in (
            ("identities", identity(), self.lookup, self.found),
            ("data", write_data(), self.read, self.contents),
        ):
            write, read = _table(m, name, shape=shape, depth=count)
            m.d.comb += [
                write.en.eq(self.store.enable),
                write.addr.eq(self.store.id),
                read.en.eq(query.enable),
                read.addr.eq(query.id),
                answer.eq(read.data),
                *(write.data[field].eq(self.store[field]) for field, _ in shape),
            ]
        return m
