"""The sidecar cache: for each line of a frame, whether it was ever written and whether it is poisoned.

Works like a texture cache: operations are looked up well before their turn, in order, and a miss starts its fetch
without holding up the look-ups behind it; the datapath waits for `present` only when an operation's turn has come.
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.config import LINES_PER_BLOCK
from golden.metadata import DataKind
from hw import layouts
from hw.lines_in_flight import place
from hw.transactions import numbered

__all__ = ["SidecarCache", "tracked_op", "sidecar_row", "sidecar_update", "sidecar_fetch", "sidecar_fetched",
           "sidecar_write_back", "FETCHES", "WRITE_BACKS"]  # fmt: skip

#: sidecar lines being read from memory, and being written to it, at once
FETCHES = 8
WRITE_BACKS = 4


def tracked_op(config):
    """A data operation with the epoch in which it came (see `Datapath`, drain)."""
    return layouts.layout((*layouts.data_op(config).members.items(), ("epoch", 1)))


def sidecar_row():
    """A sidecar line as far as exact mode uses it (`golden.sidecar`)."""
    return layouts.layout((("written", LINES_PER_BLOCK), ("poisoned", LINES_PER_BLOCK)))


def sidecar_update(config):
    """New bits of one line."""
    return layouts.layout((("valid", 1), ("place", place(config)), ("written", 1), ("poisoned", 1)))


def sidecar_fetch(config):
    """The sidecar line of `frame` is to be read from memory."""
    return layouts.layout((("id", layouts.id_bits(config)), ("frame", config.frame_bits)))


def sidecar_fetched(config):
    """It has been; `failed`: `row` is not to be relied on."""
    return layouts.layout((("id", layouts.id_bits(config)), ("failed", 1), ("row", sidecar_row())))


def sidecar_write_back(config):
    """The sidecar line of `frame` is to be written to memory."""
    return layouts.layout((*sidecar_fetch(config).members.items(), ("row", sidecar_row())))


class SidecarCache(wiring.Component):
    """Direct-mapped cache of `config.sidecar_cache_lines` sidecar lines, set = low bits of the frame number.

    **Look-up.** An operation of `ops` leaves through `looked_up`, in order, as soon as its line has a place in the
    cache; one that needs no frame passes. A hit takes 1 clock, one operation a clock; a miss that replaces a clean line
    4 clocks, a changed one 7, if memory takes the requests. A set is not replaced while `set_in_use` (asked for
    `set_query`, answered in the same clock): somebody in the queue, or a write without its update, counts on it. A
    frame whose line is still being written back is not fetched.

    **Use.** `present` says in the same clock whether the line of `probe` has arrived; `read_enable` then shows the line
    of `probe` as `row` from the next clock on, until the next read. `update` is never refused and shows in `row` to
    reads 2 clocks later; it is allowed only for a line that is in use.

    **Engine.** `engine_ops` (`layouts.SidecarKind`), one at a time, `engine_done` when it is complete: CLEAR and POISON
    when the line is in the cache so, FLUSH when the line is not in the cache any more and memory has confirmed it. The
    issuer sees to it that no data operation of the frame is in flight.

    **Memory.** Up to `FETCHES` reads (`fetch`, `fetched`) and `WRITE_BACKS` writes (`write_back`, `written_back`) under
    numbers of their own. `fetched_frame` and `written_back_frame` are the frames of the numbers shown. A failed fetch
    counts as nothing written and every line poisoned, so that no line shows what lies in the frame.
    """

    def __init__(self, *, config):
        self._config = config
        self._set_bits = (config.sidecar_cache_lines - 1).bit_length()
        if self._set_bits >= config.frame_bits:
            raise ValueError(
                f"sidecar_cache_lines must be less than 2 ** frame_bits = {1 << config.frame_bits}, "
                f"not {config.sidecar_cache_lines!r}"
            )
        numbers = 1 << layouts.id_bits(config)
        self._fetches, self._write_backs = min(FETCHES, numbers), min(WRITE_BACKS, numbers)
        super().__init__({
            "ops": In(stream.Signature(tracked_op(config))),
            "looked_up": Out(stream.Signature(tracked_op(config))),
            "set_query": Out(self._set_bits),
            "set_in_use": In(1),
            "probe": In(config.frame_bits),
            "present": Out(1),
            "read_enable": In(1),
            "row": Out(sidecar_row()),
            "update": In(sidecar_update(config)),
            "engine_ops": In(stream.Signature(layouts.sidecar_op(config))),
            "engine_done": Out(1),
            "fetch": Out(stream.Signature(sidecar_fetch(config))),
            "fetched": In(stream.Signature(sidecar_fetched(config))),
            "fetched_frame": Out(config.frame_bits),
            "write_back": Out(stream.Signature(sidecar_write_back(config))),
            "written_back": In(numbered(config, "valid")),
            "written_back_frame": Out(config.frame_bits),
        })  # fmt: skip

    @property
    def write_backs(self):
        """Write-backs under way at once, and so their numbers."""
        return self._write_backs

    def elaborate(self, platform):
        m = Module()
        config, set_bits = self._config, self._set_bits
        sets = config.sidecar_cache_lines
        kinds = layouts.SidecarKind

        # The operation in look-up: an operation of the datapath or, with `engine`, of an engine.
        busy, engine, finish, take_op, take_engine = (Signal() for _ in range(5))
        op = Signal(tracked_op(config))
        engine_op = Signal(layouts.sidecar_op(config))
        flush_waits = Signal()
        engine_busy = Signal()
        frame = Signal(config.frame_bits)
        set_ = Signal(set_bits)
        m.d.comb += [
            take_engine.eq((~busy | finish) & self.engine_ops.valid & ~engine_busy),
            self.engine_ops.ready.eq((~busy | finish) & ~engine_busy),
            self.ops.ready.eq((~busy | finish) & ~take_engine),
            take_op.eq(self.ops.valid & self.ops.ready),
            frame.eq(Mux(engine, engine_op.frame, op.frame)),
            set_.eq(frame[:set_bits]),
        ]
        with m.If(take_op | take_engine):
            m.d.sync += [busy.eq(1), engine.eq(take_engine)]
        with m.Elif(finish):
            m.d.sync += busy.eq(0)
        with m.If(take_op):
            m.d.sync += op.eq(self.ops.payload)
        with m.If(take_engine):
            m.d.sync += [engine_op.eq(self.engine_ops.payload), engine_busy.eq(1)]

        # Tags. What has to be clean after reset is in registers, one bit a set.
        m.submodules.tags = tags = Memory(shape=config.frame_bits - set_bits, depth=sets, init=[])
        tag_write, tag_read = tags.write_port(), tags.read_port(domain="sync")
        valid, changed, present = (Signal(sets) for _ in range(3))
        here = Signal(sets)
        install, install_changed, drop = (Signal() for _ in range(3))
        hit, set_valid, set_changed, set_in_use = (Signal() for _ in range(4))
        m.d.comb += [
            tag_read.en.eq(take_op | take_engine),
            tag_read.addr.eq(Mux(take_engine, self.engine_ops.payload.frame, self.ops.payload.frame)[:set_bits]),
            tag_write.en.eq(install),
            tag_write.addr.eq(set_),
            tag_write.data.eq(frame[set_bits:]),
            here.eq(Const(1) << set_),
            set_valid.eq((valid & here).any()),
            set_changed.eq((changed & here).any()),
            hit.eq(set_valid & (tag_read.data == frame[set_bits:])),
            self.set_query.eq(set_),
            self.present.eq(present.bit_select(self.probe[:set_bits], 1)),
        ]
        m.d.sync += set_in_use.eq(self.set_in_use)

        # Lines in the cache: one port for their use; another for updates, which read and write the whole line, and for
        # write-backs when no update needs it.
        m.submodules.rows = rows = Memory(shape=sidecar_row(), depth=sets, init=[])
        row_write, use = rows.write_port(), rows.read_port(domain="sync")
        modify = rows.read_port(domain="sync", transparent_for=(row_write,))
        updating, read_row, fill, fill_now = (Signal() for _ in range(4))
        update = Signal(sidecar_update(config))
        fill_set = Signal(set_bits)
        fill_row = Signal(sidecar_row())
        mask = Signal(LINES_PER_BLOCK)
        m.d.comb += [
            use.en.eq(self.read_enable),
            use.addr.eq(self.probe[:set_bits]),
            self.row.eq(use.data),
            modify.en.eq(self.update.valid | read_row),
            modify.addr.eq(Mux(self.update.valid, self.update.place.frame[:set_bits], set_)),
            updating.eq(update.valid),
            fill_now.eq(fill & ~updating),
            row_write.en.eq(updating | fill),
            mask.eq(Const(1) << update.place.line),
        ]
        m.d.sync += update.eq(self.update)
        with m.If(updating):
            m.d.comb += row_write.addr.eq(update.place.frame[:set_bits])
            for name in ("written", "poisoned"):
                m.d.comb += row_write.data[name].eq(modify.data[name] & ~mask | Mux(update[name], mask, 0))
        with m.Else():
            m.d.comb += [row_write.addr.eq(fill_set), row_write.data.eq(fill_row)]

        filled = Signal(sets)
        m.d.comb += filled.eq(fill_now << fill_set)
        m.d.sync += [
            valid.eq((valid | Mux(install, here, 0)) & ~Mux(drop, here, 0)),
            present.eq((present | filled) & ~Mux(install, here, 0)),
            changed.eq(
                (changed | (updating << update.place.frame[:set_bits])) & ~Mux(install, here, 0)
                | Mux(install_changed, here, 0)
            ),
        ]

        # Reads of memory under way. Numbers are used in turn, so that an offered one never changes.
        fetching = Signal(self._fetches)
        fetch_number = Signal(range(self._fetches))
        fetch_frames = Array(Signal(config.frame_bits, name=f"fetch_frame_{n}") for n in range(self._fetches))
        fetch_started, fetch_ended, engine_fill = (Signal() for _ in range(3))
        m.d.comb += [
            self.fetch.payload.id.eq(fetch_number),
            self.fetch.payload.frame.eq(frame),
            fetch_started.eq(self.fetch.valid & self.fetch.ready),
            self.fetched.ready.eq((~fill | fill_now) & ~engine_fill),
            self.fetched_frame.eq(fetch_frames[self.fetched.payload.id]),
            fetch_ended.eq(self.fetched.valid & self.fetched.ready),
        ]
        m.d.sync += fetching.eq((fetching | fetch_started << fetch_number) & ~(fetch_ended << self.fetched.payload.id))
        with m.If(fetch_started):
            m.d.sync += [fetch_number.eq(fetch_number + 1), fetch_frames[fetch_number].eq(frame)]

        with m.If(fill_now):
            m.d.sync += fill.eq(0)
        with m.If(engine_fill):
            m.d.sync += [
                fill.eq(1),
                fill_set.eq(set_),
                fill_row.written.eq(0),
                fill_row.poisoned.eq((engine_op.kind == kinds.POISON).replicate(LINES_PER_BLOCK)),
            ]
        with m.Elif(fetch_ended):
            m.d.sync += [fill.eq(1), fill_set.eq(self.fetched_frame[:set_bits]), fill_row.eq(self.fetched.payload.row)]
            with m.If(self.fetched.payload.failed):
                m.d.sync += [fill_row.written.eq(0), fill_row.poisoned.eq(~0)]

        # Writes to memory under way.
        leaving = Signal(self._write_backs)
        leaving_number = Signal(range(self._write_backs))
        leaving_frames = Array(Signal(config.frame_bits, name=f"leaving_frame_{n}") for n in range(self._write_backs))
        leaving_row = Signal(sidecar_row())
        write_back_started, frame_leaves, flushed_leaves = (Signal() for _ in range(3))
        m.d.comb += [
            self.write_back.payload.id.eq(leaving_number),
            self.write_back.payload.frame.eq(Cat(set_, tag_read.data)),
            self.write_back.payload.row.eq(leaving_row),
            write_back_started.eq(self.write_back.valid & self.write_back.ready),
            self.written_back_frame.eq(leaving_frames[self.written_back.id]),
            frame_leaves.eq((leaving & Cat(other == frame for other in leaving_frames)).any()),
            flushed_leaves.eq((leaving & Cat(other == engine_op.frame for other in leaving_frames)).any()),
        ]
        m.d.sync += leaving.eq(
            (leaving | write_back_started << leaving_number) & ~(self.written_back.valid << self.written_back.id)
        )
        with m.If(write_back_started):
            m.d.sync += [
                leaving_number.eq(leaving_number + 1),
                leaving_frames[leaving_number].eq(self.write_back.payload.frame),
            ]

        flush = Signal()
        m.d.comb += flush.eq(engine & (engine_op.kind == kinds.FLUSH))
        with m.FSM():
            with m.State("LOOK"):
                with m.If(busy):
                    with m.If(engine):
                        with m.If(flush & ~hit):
                            m.d.comb += finish.eq(1)
                        with m.Else():
                            m.next = "REPLACE"
                    with m.Elif(hit | (op.kind != DataKind.READ) & (op.kind != DataKind.WRITE)):
                        m.d.comb += [self.looked_up.valid.eq(1), finish.eq(self.looked_up.ready)]
                    with m.Else():
                        m.next = "REPLACE"
            with m.State("REPLACE"):
                # A set without users has its line: whoever had it fetched stays in the queue until it is there.
                with m.If(~set_in_use & ~frame_leaves):
                    with m.If(set_valid & set_changed & (flush | ~hit)):
                        m.next = "READ"
                    with m.Elif(flush):
                        m.d.comb += [drop.eq(1), finish.eq(1)]
                        m.next = "LOOK"
                    with m.Else():
                        m.next = "INSTALL"
            with m.State("READ"):
                m.d.comb += read_row.eq(~self.update.valid)
                with m.If(read_row):
                    m.next = "KEEP"
            with m.State("KEEP"):
                # An update may need the port again before memory takes the line.
                m.d.sync += leaving_row.eq(modify.data)
                m.next = "WRITE-BACK"
            with m.State("WRITE-BACK"):
                m.d.comb += self.write_back.valid.eq(~leaving.bit_select(leaving_number, 1))
                with m.If(write_back_started):
                    with m.If(flush):
                        m.d.comb += [drop.eq(1), finish.eq(1)]
                        m.next = "LOOK"
                    with m.Else():
                        m.next = "INSTALL"
            with m.State("INSTALL"):
                with m.If(engine):
                    with m.If(~fill):
                        m.d.comb += [engine_fill.eq(1), install.eq(1), install_changed.eq(1)]
                        m.next = "FILL"
                with m.Else():
                    m.d.comb += self.fetch.valid.eq(~fetching.bit_select(fetch_number, 1))
                    with m.If(fetch_started):
                        m.d.comb += install.eq(1)
                        m.next = "PASS"
            with m.State("FILL"):
                with m.If(fill_now):
                    m.d.comb += finish.eq(1)
                    m.next = "LOOK"
            with m.State("PASS"):
                m.d.comb += [self.looked_up.valid.eq(1), finish.eq(self.looked_up.ready)]
                with m.If(finish):
                    m.next = "LOOK"
        m.d.comb += self.looked_up.payload.eq(op)

        with m.If(finish & flush):
            m.d.sync += flush_waits.eq(1)
        with m.If(flush_waits & ~flushed_leaves | finish & engine & ~flush):
            m.d.comb += self.engine_done.eq(1)
            m.d.sync += [engine_busy.eq(0), flush_waits.eq(0)]
        return m
