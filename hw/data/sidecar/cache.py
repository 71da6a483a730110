"""The sidecar cache: what the lines of frames mean, in rows of 64 bytes (`golden.data.sidecar`).

Works like a texture cache: operations are looked up well before their turn, in order, and a miss starts its fetch
without holding up the look-ups behind it; the datapath waits for `present` only when an operation's turn has come.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data.sidecar import CLEAR, POISON
from kv_endpoint.golden.pipeline.metadata import DataKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import LINE_BITS
from kv_endpoint.hw.common.numbering import row_number
from kv_endpoint.hw.data.sidecar.lost_rows import LostRows, page_placed
from kv_endpoint.hw.data.sidecar.rows import SidecarRows, cached_row, sidecar_update
from kv_endpoint.hw.data.sidecar.rows_in_flight import RowsInFlight
from kv_endpoint.hw.front.request_slots import numbered
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["SidecarCache", "tracked_op", "sidecar_update", "sidecar_fetch", "sidecar_fetched", "sidecar_write_back",
           "write_back_done", "FETCHES", "WRITE_BACKS"]  # fmt: skip

#: sidecar rows being read from memory, and being written to it, at once
FETCHES = 8
WRITE_BACKS = 4


def tracked_op(config):
    """A data operation with the epoch in which it came (see `Datapath`, drain)."""
    return layouts.layout((*layouts.data_op(config).members.items(), ("epoch", 1)))


def sidecar_fetch(config):
    """Row `row_number` (`Config.sidecar_row`) is to be read from memory."""
    return layouts.layout((("id", layouts.id_bits(config)), ("row_number", config.row_bits)))


def sidecar_fetched(config):
    """It has been; `failed`: `row` is not to be relied on."""
    return layouts.layout((("id", layouts.id_bits(config)), ("failed", 1), ("row", LINE_BITS)))


def sidecar_write_back(config):
    """Row `row_number` is to be written to memory."""
    return layouts.layout((*sidecar_fetch(config).members.items(), ("row", LINE_BITS)))


def write_back_done(config):
    """Write-back `id` has ended; `lost`: memory has refused the row for good."""
    return layouts.layout((*numbered(config, "valid").members.items(), ("lost", 1)))


class SidecarCache(wiring.Component):
    """Direct-mapped cache of `config.sidecar_cache_rows` sidecar rows, set = low bits of the row's number.

    **Look-up.** An operation of `ops` leaves through `looked_up`, in order, as soon as the row of its line has a place
    in the cache; one that needs no line passes. A hit takes 1 clock, one operation a clock; a miss that replaces a
    clean row 4 clocks, a changed one 7, if memory takes the requests. A set is not replaced while `set_in_use` (asked
    for `set_query`, answered in the same clock): somebody in the queue, or a write without its update, counts on it. A
    row that is still being written back is not fetched.

    **Use.** `present` says in the same clock whether the row of number `probe` has arrived; `read_enable` then shows it
    as `row` from the next clock on, until the next read. `update` is never refused and shows in `row` to reads 2 clocks
    later; it is allowed only for a line whose row is in use.

    **Engine.** `engine_ops` (`layouts.SidecarKind`), one at a time, on all rows of the frame; `engine_done` when it is
    complete: CLEAR and POISON when the rows are in the cache so, FLUSH when they are not in the cache any more and
    memory has confirmed what changed, or with `engine_failed` has not: a row of the frame is lost. The issuer sees to
    it that no data operation of the frame is in flight.

    **Memory.** Up to `FETCHES` reads (`fetch`, `fetched`) and `WRITE_BACKS` writes (`write_back`, `written_back`) under
    numbers of their own. A row that could not be read becomes as after POISON, and so does, in mode mxint8, the other
    row of its frame: with its turn in look-up, before any operation that is not in look-up yet, once its set is not in
    use. So does a row that memory refused for good (`lost` in `written_back`) once somebody asks for it, until a page
    comes to its frame (`page_read`); a flush makes it so and writes it again.
    """

    def __init__(self, *, config):
        self._config = config
        self._set_bits = (config.sidecar_cache_rows - 1).bit_length()
        if not 0 < self._set_bits < config.row_bits:
            raise ValueError(
                f"sidecar_cache_rows must be 2 to {1 << config.row_bits - 1}, half the rows, "
                f"not {config.sidecar_cache_rows!r}"
            )
        numbers = 1 << layouts.id_bits(config)
        self._fetches, self._write_backs = min(FETCHES, numbers), min(WRITE_BACKS, numbers)
        super().__init__({
            "ops": In(stream.Signature(tracked_op(config))),
            "looked_up": Out(stream.Signature(tracked_op(config))),
            "set_query": Out(self._set_bits),
            "set_in_use": In(1),
            "probe": In(config.row_bits),
            "present": Out(1),
            "read_enable": In(1),
            "row": Out(LINE_BITS),
            "update": In(sidecar_update(config)),
            "engine_ops": In(stream.Signature(layouts.sidecar_op(config))),
            "engine_done": Out(1),
            "engine_failed": Out(1),
            "page_read": In(page_placed(config)),
            "fetch": Out(stream.Signature(sidecar_fetch(config))),
            "fetched": In(stream.Signature(sidecar_fetched(config))),
            "write_back": Out(stream.Signature(sidecar_write_back(config))),
            "written_back": In(write_back_done(config)),
        })  # fmt: skip

    @property
    def write_backs(self):
        """Write-backs under way at once, and so their numbers."""
        return self._write_backs

    def elaborate(self, platform):
        m = Module()
        config, set_bits = self._config, self._set_bits
        sets = config.sidecar_cache_rows
        kinds = layouts.SidecarKind

        # In look-up: a row for an operation of the datapath; or for one of an engine (`engine`), its rows one after the
        # other; or the other row of one that was lost (`sibling`). The last goes first: so look-up starts no fetch
        # while one waits, at most the fetches under way and the one that look-up had begun are lost, and no engine's
        # operation on the frame is overtaken. None of them waits for a look-up to come: the users of a set have their
        # rows, or a fetch under way that ends without look-up.
        busy, engine, sibling, finish, ready = (Signal() for _ in range(5))
        take, take_op, take_engine, take_sibling, second, take_second = (Signal() for _ in range(6))
        op = Signal(tracked_op(config))
        engine_kind, kind = Signal(kinds), Signal(kinds)
        engine_busy, flush_waits = Signal(), Signal()
        row, next_row = Signal(config.row_bits), Signal(config.row_bits)
        #: the engine's first; and whether a flush has made its row, which memory did not have
        engine_row, made = Signal(config.row_bits), Signal()
        set_ = Signal(set_bits)
        m.submodules.lost = lost = SyncFIFO(width=config.row_bits, depth=self._fetches + 1)
        first = self.engine_ops.payload
        m.d.comb += [
            second.eq(engine & row[-1] & ~row[0]),
            take_second.eq(finish & second),
            ready.eq((~busy | finish) & ~second),
            take_sibling.eq(ready & lost.r_rdy),
            lost.r_en.eq(take_sibling),
            self.engine_ops.ready.eq(ready & ~lost.r_rdy & ~engine_busy),
            take_engine.eq(self.engine_ops.valid & self.engine_ops.ready),
            self.ops.ready.eq(ready & ~lost.r_rdy & ~take_engine),
            take_op.eq(self.ops.valid & self.ops.ready),
            take.eq(take_op | take_engine | take_sibling | take_second),
            kind.eq(Mux(engine, engine_kind, kinds.POISON)),
            set_.eq(row[:set_bits]),
        ]
        # Which comes next does not depend on whether one comes.
        with m.If(second):
            m.d.comb += next_row.eq(row | 1)
        with m.Elif(lost.r_rdy):
            m.d.comb += next_row.eq(lost.r_data)
        with m.Elif(self.engine_ops.valid & ~engine_busy):
            m.d.comb += next_row.eq(Mux(first.mode, Cat(Const(0, 1), first.frame, Const(1, 1)), first.frame))
        with m.Else():
            m.d.comb += next_row.eq(row_number(self.ops.payload))
        with m.If(take):
            m.d.sync += [
                busy.eq(1),
                made.eq(0),
                row.eq(next_row),
                engine.eq(take_engine | take_second),
                sibling.eq(take_sibling),
            ]
        with m.Elif(finish):
            m.d.sync += busy.eq(0)
        with m.If(take_op):
            m.d.sync += op.eq(self.ops.payload)
        with m.If(take_engine):
            m.d.sync += [engine_kind.eq(first.kind), engine_row.eq(next_row), engine_busy.eq(1)]

        # Tags. What has to be clean after reset is in registers, one bit a set.
        m.submodules.tags = tags = Memory(shape=config.row_bits - set_bits, depth=sets, init=[])
        tag_write, tag_read = tags.write_port(), tags.read_port(domain="sync")
        valid, changed, present = (Signal(sets) for _ in range(3))
        here = Signal(sets)
        install, drop = Signal(), Signal()
        hit, set_valid, set_changed, set_in_use = (Signal() for _ in range(4))
        m.d.comb += [
            tag_read.en.eq(take),
            tag_read.addr.eq(next_row[:set_bits]),
            tag_write.en.eq(install),
            tag_write.addr.eq(set_),
            tag_write.data.eq(row[set_bits:]),
            here.eq(Const(1) << set_),
            set_valid.eq((valid & here).any()),
            set_changed.eq((changed & here).any()),
            hit.eq(set_valid & (tag_read.data == row[set_bits:])),
            self.set_query.eq(set_),
            self.present.eq(present.bit_select(self.probe[:set_bits], 1)),
        ]
        m.d.sync += set_in_use.eq(self.set_in_use)

        # What the rows hold.
        m.submodules.rows = rows = SidecarRows(config=config)
        read_row, fill, fill_now, fill_changed = (Signal() for _ in range(4))
        filling = Signal(cached_row(config))
        m.d.comb += [
            rows.read_enable.eq(self.read_enable),
            rows.read_set.eq(self.probe[:set_bits]),
            self.row.eq(rows.row),
            rows.update.eq(self.update),
            rows.copy_enable.eq(read_row),
            rows.copy_set.eq(set_),
            rows.fill.valid.eq(fill),
            rows.fill.payload.eq(filling),
            fill_now.eq(fill & rows.fill.ready),
        ]

        filled = Signal(sets)
        m.d.comb += filled.eq(bit_of(fill_now, filling.set))
        m.d.sync += [
            valid.eq((valid | Mux(install, here, 0)) & ~Mux(drop, here, 0)),
            present.eq((present | filled) & ~Mux(install, here, 0)),
            changed.eq((changed | rows.updated | Mux(fill_changed, filled, 0)) & ~Mux(install, here, 0)),
        ]

        # Reads of memory.
        m.submodules.fetches = fetches = RowsInFlight(config=config, count=self._fetches)
        #: look-up makes a row; it does so for an operation whose row is lost
        own_fill, own_loss = Signal(), Signal()
        fetch_ended, fetch_failed = Signal(), Signal()
        fetched_row = fetches.ended_row
        m.d.comb += [
            self.fetch.payload.id.eq(fetches.number),
            self.fetch.payload.row_number.eq(row),
            fetches.row.eq(row),
            fetches.start.eq(self.fetch.valid & self.fetch.ready),
            self.fetched.ready.eq((~fill | fill_now) & ~own_fill),
            fetch_ended.eq(self.fetched.valid & self.fetched.ready),
            fetches.end.valid.eq(fetch_ended),
            fetches.end.id.eq(self.fetched.payload.id),
            fetch_failed.eq(fetch_ended & self.fetched.payload.failed),
            lost.w_en.eq(fetch_failed & fetched_row[-1] | own_loss & row[-1]),
            lost.w_data.eq(Mux(own_loss, row, fetched_row) ^ 1),
        ]
        with m.If(fill_now):
            m.d.sync += fill.eq(0)
        with m.If(own_fill):
            m.d.sync += [
                fill.eq(1),
                filling.set.eq(set_),
                filling.row.eq(Mux(kind == kinds.CLEAR, CLEAR, self._poison(row))),
                fill_changed.eq(1),
            ]
        with m.Elif(fetch_ended):
            m.d.sync += [
                fill.eq(1),
                filling.set.eq(fetched_row[:set_bits]),
                filling.row.eq(Mux(fetch_failed, self._poison(fetched_row), self.fetched.payload.row)),
                fill_changed.eq(fetch_failed),
            ]

        # Writes to memory.
        m.submodules.leaving = leaving = RowsInFlight(config=config, count=self._write_backs)
        m.submodules.lost_rows = lost_rows = LostRows(config=config)
        leaving_data = Signal(LINE_BITS)
        flushed = Signal(config.row_bits)
        row_leaves, flushed_leaves = Signal(), Signal()
        m.d.comb += [
            self.write_back.payload.id.eq(leaving.number),
            self.write_back.payload.row_number.eq(Mux(made, row, Cat(set_, tag_read.data))),
            self.write_back.payload.row.eq(leaving_data),
            leaving.row.eq(self.write_back.payload.row_number),
            leaving.start.eq(self.write_back.valid & self.write_back.ready),
            leaving.end.valid.eq(self.written_back.valid),
            leaving.end.id.eq(self.written_back.id),
            lost_rows.ended.valid.eq(self.written_back.valid),
            lost_rows.ended.row.eq(leaving.ended_row),
            lost_rows.ended.lost.eq(self.written_back.lost),
            lost_rows.placed.eq(self.page_read),
            lost_rows.row.eq(Mux(take, next_row, row)),
            row_leaves.eq((leaving.under_way & Cat(other == row for other in leaving.rows)).any()),
            # The last row of the frame, or the other one.
            flushed_leaves.eq(
                (leaving.under_way & Cat(other | flushed[-1] == flushed for other in leaving.rows)).any()
            ),
        ]

        flush = Signal()
        m.d.comb += flush.eq(engine & (kind == kinds.FLUSH))
        ended_row = leaving.ended_row
        with m.If(take_engine):
            m.d.sync += self.engine_failed.eq(0)
        with m.Elif(self.written_back.valid & self.written_back.lost & ((ended_row ^ engine_row) <= ended_row[-1])):
            m.d.sync += self.engine_failed.eq(1)
        with m.FSM():
            with m.State("LOOK"):
                with m.If(busy):
                    with m.If(engine | sibling):
                        # A lost row is made anew, as poison, so that memory may take it now.
                        with m.If(flush & ~hit & (~lost_rows.lost | row_leaves)):
                            m.d.comb += finish.eq(1)
                        with m.Else():
                            m.next = "REPLACE"
                    with m.Elif(hit | (op.kind != DataKind.READ) & (op.kind != DataKind.WRITE)):
                        m.d.comb += [self.looked_up.valid.eq(1), finish.eq(self.looked_up.ready)]
                    with m.Else():
                        m.next = "REPLACE"
            with m.State("REPLACE"):
                # A set without users has its row: whoever had it fetched stays in the queue until it is there.
                with m.If(~set_in_use & ~row_leaves):
                    with m.If(set_valid & set_changed & (flush | ~hit)):
                        m.next = "READ"
                    with m.Elif(flush & hit):
                        m.d.comb += [drop.eq(1), finish.eq(1)]
                        m.next = "LOOK"
                    with m.Else():
                        m.next = "INSTALL"
            with m.State("READ"):
                m.d.comb += read_row.eq(~self.update.valid)
                with m.If(read_row):
                    m.next = "KEEP"
            with m.State("KEEP"):
                # An update may need the port again before memory takes the row.
                m.d.sync += leaving_data.eq(rows.copy)
                m.next = "WRITE-BACK"
            with m.State("WRITE-BACK"):
                m.d.comb += self.write_back.valid.eq(leaving.free)
                with m.If(leaving.start):
                    with m.If(flush & (hit | made)):
                        m.d.comb += [drop.eq(1), finish.eq(1)]
                        m.next = "LOOK"
                    with m.Else():
                        m.next = "INSTALL"
            with m.State("INSTALL"):
                with m.If(engine | sibling):
                    with m.If(~fill):
                        m.d.comb += [own_fill.eq(1), install.eq(1)]
                        m.next = "FILL"
                with m.Elif(lost_rows.lost):
                    with m.If(~fill):
                        m.d.comb += [own_fill.eq(1), own_loss.eq(1), install.eq(1)]
                        m.next = "PASS"
                with m.Else():
                    m.d.comb += self.fetch.valid.eq(fetches.free)
                    with m.If(fetches.start):
                        m.d.comb += install.eq(1)
                        m.next = "PASS"
            with m.State("FILL"):
                with m.If(fill_now):
                    with m.If(flush):
                        m.d.sync += made.eq(1)
                        m.next = "READ"
                    with m.Else():
                        m.d.comb += finish.eq(1)
                        m.next = "LOOK"
            with m.State("PASS"):
                m.d.comb += [self.looked_up.valid.eq(1), finish.eq(self.looked_up.ready)]
                with m.If(finish):
                    m.next = "LOOK"
        m.d.comb += self.looked_up.payload.eq(op)

        with m.If(finish & flush & ~second):
            m.d.sync += [flush_waits.eq(1), flushed.eq(row)]
        with m.If(flush_waits & ~flushed_leaves | finish & engine & ~flush & ~second):
            m.d.comb += self.engine_done.eq(1)
            m.d.sync += [engine_busy.eq(0), flush_waits.eq(0)]
        return m

    @staticmethod
    def _poison(row):
        """What row number `row` holds when all of it is poisoned."""
        return Mux(row[-1], Const(POISON[Mode.MXINT8], LINE_BITS), Const(POISON[Mode.EXACT], LINE_BITS))
