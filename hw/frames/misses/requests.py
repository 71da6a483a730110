"""Requests that found no frame: where they wait, and how they come to the miss of their block."""

from amaranth.hdl import Array, Cat, Mux, Signal
from amaranth.lib import data, fifo
from amaranth.lib.memory import Memory

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.frames.misses.table import Source, Stage

__all__ = ["MissRequests"]


class MissRequests:
    """The requests of the miss engine, each a node, numbered by channel and read slot or write slot, in linked lists.

    There is a list for the reads of each miss, one for its writes, and for each channel a backlog of those whose block
    has no miss yet. A request is a member of one list, or still in the intake. Any list operation takes a clock, beside
    the clock in which the node and its link are read.

    Parameters
    ----------
    table : MissTable
    bypass : BypassSlots
    outputs : MissOutputs
    now : the step counter

    Members
    -------
    rwd, node
        The request at hand: its channel, its slot number there.
    request, link
        What is kept of it, and the request behind it; since the last `fetch_state`.
    caches
        It is a read after which the host may hold the line: such a one is never answered from a bypass slot.
    waiting
        Requests wait to be taken in; `settled`: none is even on its way.
    has_reads, has_writes
        A bit for each miss that has such requests.
    can_open
        A bit for each channel: the oldest request of its backlog may open or join a miss.
    backlog_empty
        Both backlogs are.
    free
        The miss slot that the request at hand may open, or any read while `rwd` is 0; if there is one.
    """

    def __init__(self, m, config, *, table, bypass, outputs, now):
        self._config, self._table, self._bypass, self._outputs, self._now = config, table, bypass, outputs, now
        id_bits = layouts.id_bits(config)
        node_bits = id_bits + 1
        lists = 2 * table.count + 2
        self._head = Array(Signal(id_bits, name=f"list_head{n}") for n in range(lists))
        self._tail = Array(Signal(id_bits, name=f"list_tail{n}") for n in range(lists))
        self._length = Array(Signal(id_bits + 1, name=f"list_length{n}") for n in range(lists))

        request_layout = data.StructLayout(
            {
                "index": config.index_bits, "tag": 16, "line": config.line_bits, "step": config.step_bits, "touch": 1,
                "absent": 1, "mode": 1, "access": 4, "host": 1,
            }
        )  # fmt: skip
        m.submodules.requests = requests = Memory(shape=request_layout, depth=1 << node_bits, init=[])
        m.submodules.links = links = Memory(shape=id_bits, depth=1 << node_bits, init=[])
        self._request_write, self._request_read = requests.write_port(), requests.read_port()
        self._link_write, self._link_read = links.write_port(), links.read_port()
        self.request, self.link = self._request_read.data, self._link_read.data
        # A request for each read or write slot; one place more, since the output register fills with a delay.
        m.submodules.reads = self._reads = fifo.SyncFIFOBuffered(width=id_bits, depth=config.read_slots + 1)
        m.submodules.writes = self._writes = fifo.SyncFIFOBuffered(width=id_bits, depth=config.write_slots + 1)

        self.rwd = Signal()
        self.node = Signal(id_bits)
        self.caches = Signal()
        self._from_backlog = Signal()
        #: the oldest request of the backlog of reads, of writes, can neither open a miss nor join one for now
        self._stuck = Signal(2)
        #: the last request that left a backlog was a write
        self._write_left = Signal()

        self.waiting = self._reads.r_rdy | self._writes.r_rdy
        self.settled = (self._writes.level == 0) & (self._reads.level == 0)
        self.has_reads, self.has_writes = Signal(table.count), Signal(table.count)
        self.can_open, self.backlog_empty = Signal(2), Signal()
        backlogs = [self._length[self._backlog(channel)] != 0 for channel in range(2)]
        m.d.comb += [
            self._request_read.addr.eq(Cat(self.node, self.rwd)),
            self._link_read.addr.eq(Cat(self.node, self.rwd)),
            self.caches.eq((self.request.access >= Access.READ_SHARED) & (self.request.access <= Access.OWN)),
            self.can_open.eq(Cat(backlogs) & ~self._stuck),
            self.backlog_empty.eq(~Cat(backlogs).any()),
            *(
                has[n].eq(self._length[self._list_of(n, channel)] != 0)
                for channel, has in enumerate((self.has_reads, self.has_writes))
                for n in range(table.count)
            ),
        ]

    # Lists ------------------------------------------------------------------------------------------------------------

    def _list_of(self, miss, rwd):
        """Number of a miss's list of reads or writes."""
        return miss + rwd * self._table.count

    def _backlog(self, rwd):
        return 2 * self._table.count + rwd

    def fetch_state(self, m, name, then):
        """State `name`: reads the request `node` and its link, which stay until the next such state."""
        with m.State(name):
            m.d.comb += [self._request_read.en.eq(1), self._link_read.en.eq(1)]
            m.next = then

    def _append(self, m, number):
        """Put the request `node` at the end of a list."""
        with m.If(self._length[number] == 0):
            m.d.sync += self._head[number].eq(self.node)
        with m.Else():
            m.d.comb += [
                self._link_write.en.eq(1),
                self._link_write.addr.eq(Cat(self._tail[number], self.rwd)),
                self._link_write.data.eq(self.node),
            ]
        m.d.sync += [self._tail[number].eq(self.node), self._length[number].eq(self._length[number] + 1)]

    def _drop_front(self, m, number):
        """Take the request `node`, which was fetched, from the front of a list."""
        m.d.sync += [self._head[number].eq(self.link), self._length[number].eq(self._length[number] - 1)]

    def first_of_miss(self, m, channel):
        """Turn to the oldest read or write of the miss at hand."""
        m.d.sync += [self.rwd.eq(channel), self.node.eq(self._head[self._list_of(self._table.sel, channel)])]

    def drop_of_miss(self, m):
        """The request at hand leaves the miss at hand; turn to the one behind it. Whether there was one: no latency."""
        number = self._list_of(self._table.sel, self.rwd)
        self._drop_front(m, number)
        m.d.sync += self.node.eq(self.link)
        return self._length[number] != 1

    def return_read(self, m):
        """The read at hand goes back from the miss at hand to the backlog; result as that of `drop_of_miss`."""
        self._append(m, self._backlog(0))
        return self.drop_of_miss(m)

    def retry(self, m):
        """The backlogs' oldest requests are worth another try."""
        m.d.sync += self._stuck.eq(0)

    # Intake -----------------------------------------------------------------------------------------------------------

    def take_missed(self, m, seen):
        """Take what missed, as `seen` says, into the intake."""
        write = self._request_write
        m.d.comb += [
            write.en.eq(seen.missed),
            write.addr.eq(Cat(seen.id, seen.rwd)),
            write.data.index.eq(seen.index),
            write.data.tag.eq(seen.tag),
            write.data.line.eq(seen.line),
            write.data.step.eq(self._now),
            write.data.touch.eq(seen.touch),
            write.data.absent.eq(seen.absent),
            write.data.mode.eq(seen.mode),
            write.data.access.eq(seen.access),
            write.data.host.eq(seen.host),
            self._reads.w_data.eq(seen.id),
            self._writes.w_data.eq(seen.id),
            self._reads.w_en.eq(seen.missed & ~seen.rwd),
            self._writes.w_en.eq(seen.missed & seen.rwd),
        ]

    def turn_to_intake(self, m):
        """Turn to a request of the intake, writes first."""
        writes, reads = self._writes, self._reads
        m.d.sync += [
            self._from_backlog.eq(0),
            self.rwd.eq(writes.r_rdy),
            self.node.eq(Mux(writes.r_rdy, writes.r_data, reads.r_data)),
        ]

    def turn_to_reads(self, m):
        """Turn to no request, but to what is for reads."""
        m.d.sync += self.rwd.eq(0)

    def turn_to_backlog(self, m):
        """Turn to the oldest request of a backlog. In turns: writes without end must not keep the reads waiting."""
        open_write = self.can_open[1] & ~(self.can_open[0] & self._write_left)
        m.d.sync += [
            self._from_backlog.eq(1),
            self.rwd.eq(open_write),
            self.node.eq(self._head[self._backlog(open_write)]),
        ]

    def _take_from_intake(self, m):
        m.d.comb += [self._reads.r_en.eq(~self.rwd), self._writes.r_en.eq(self.rwd)]

    # States -----------------------------------------------------------------------------------------------------------

    def look_up(self, m):
        """The miss of the block of the request at hand (one at most), and the miss slot that it may open."""
        table, count = self._table, self._table.count
        self._matches = Signal(count)
        self.free, self._has_free = Signal(range(count)), Signal()
        m.d.comb += self._matches.eq(table.matches(self.request.index))
        # Writes take the miss slots that are theirs alone, the upper ones, first.
        for n in range(count):
            with m.If(~table.used[n] & (self.rwd | (n < count - self._config.miss_slots_for_writes))):
                m.d.comb += [self.free.eq(n), self._has_free.eq(1)]

    def request_states(self, m):
        """From FETCH_REQUEST: a request joins the miss of its block, opens it, or goes to the backlog."""
        config, table, bypass, request, rwd = self._config, self._table, self._bypass, self.request, self.rwd
        sel, free, matches = table.sel, self.free, self._matches
        matched, remembered = Signal(), Signal()
        # Without a decision of its own a miss may read from a bypass slot only for the requests that remember one. A
        # read that may not join waits in the backlog until the miss closes, and so that it does, no other joins.
        remembers_only = table.bound[sel] & ~table.decided[sel] & ~remembered
        stays_out = ~rwd & Mux(
            table.source[sel] == Source.BYPASS,
            self.caches | remembers_only | table.shut.bit_select(sel, 1),
            (table.source[sel] == Source.NOTHING) & ~self.caches,
        )

        self.fetch_state(m, "FETCH_REQUEST", "LOOKUP")
        with m.State("LOOKUP"):
            m.d.comb += bypass.index.eq(request.index)
            m.d.sync += [
                matched.eq(matches.any()),
                remembered.eq(bypass.hit & ~rwd & ~self.caches & ~request.touch & (request.step == self._now)),
            ]
            for n in range(table.count):
                with m.If(matches[n]):
                    m.d.sync += sel.eq(n)
            m.next = "DISPATCH"
        with m.State("DISPATCH"):
            m.d.comb += bypass.index.eq(request.index)
            with m.If(matched & stays_out):
                m.d.sync += table.shut.bit_select(sel, 1).eq(1)
            with m.If(matched & ~stays_out):
                m.next = "JOIN"
            with m.Elif(~self._from_backlog):
                self._append(m, self._backlog(rwd))
                self._take_from_intake(m)
                m.next = "PICK"
            with m.Elif(matched | ~self._has_free):
                m.d.sync += self._stuck.bit_select(rwd, 1).eq(1)
                m.next = "PICK"
            with m.Else():
                m.d.sync += [
                    sel.eq(free),
                    table.index[free].eq(request.index),
                    table.bypass_slot[free].eq(bypass.hit_slot),
                    table.frame[free].eq(config.bypass_base + bypass.hit_slot),
                ]
                m.next = "OPEN"
        with m.State("OPEN"):
            self._outputs.offer_note(m, EngineKind.MISS_OPEN, aux=rwd)
            with m.If(self._outputs.notes.ready):
                m.d.comb += bypass.bind.eq(remembered)
                table.open(m, sel, by_prefetch=0)
                m.d.sync += [
                    table.absent[sel].eq(request.absent),
                    table.mode[sel].eq(request.mode),
                    table.bound[sel].eq(remembered),
                    table.source[sel].eq(Mux(remembered, Source.BYPASS, Source.FRAME)),
                ]
                self.retry(m)
                table.want(m)
                with m.If(remembered):
                    m.d.sync += table.stage[sel].eq(Stage.SERVE)
                m.next = "JOIN"
        with m.State("JOIN"):
            self._append(m, self._list_of(sel, rwd))
            with m.If(self._from_backlog):
                self._drop_front(m, self._backlog(rwd))
                m.d.sync += self._write_left.eq(rwd)
            with m.Else():
                self._take_from_intake(m)
            with m.If(rwd | self.caches):
                # What a read could not get, a write may, and a read that caches need not wait for a bypass slot.
                m.d.sync += table.blocked.bit_select(sel, 1).eq(0)
            with m.If(~rwd & self.caches):
                m.d.sync += table.caching.bit_select(sel, 1).eq(1)
            m.next = "PICK"

    def search_states(self, m):
        """From SEARCH, with `rwd` 0: before a miss that has a frame closes its block's requests leave both backlogs."""
        table, rwd, node, link = self._table, self.rwd, self.node, self.link
        backlog = self._backlog(rwd)
        before = Signal.like(node)
        at_front = Signal()
        left = Signal(len(node) + 1)

        def go_on():
            m.d.sync += [node.eq(link), left.eq(left - 1)]
            m.next = "FETCH_SEARCHED"
            with m.If(left == 1):
                m.next = "SEARCHED"

        with m.State("SEARCH"):
            m.d.sync += [node.eq(self._head[backlog]), left.eq(self._length[backlog]), at_front.eq(1)]
            m.next = "FETCH_SEARCHED"
            with m.If(self._length[backlog] == 0):
                m.next = "SEARCHED"
        self.fetch_state(m, "FETCH_SEARCHED", "COMPARE_SEARCHED")
        with m.State("COMPARE_SEARCHED"):
            with m.If(self.request.index == table.index[table.sel]):
                m.next = "UNLINK"
            with m.Else():
                m.d.sync += [before.eq(node), at_front.eq(0)]
                go_on()
        with m.State("UNLINK"):
            m.d.sync += self._length[backlog].eq(self._length[backlog] - 1)
            self.retry(m)
            with m.If(at_front):
                m.d.sync += self._head[backlog].eq(link)
            with m.Else():
                m.d.comb += [
                    self._link_write.en.eq(1),
                    self._link_write.addr.eq(Cat(before, rwd)),
                    self._link_write.data.eq(link),
                ]
            with m.If(left == 1):
                m.d.sync += self._tail[backlog].eq(before)
            m.next = "ADOPT"
        with m.State("ADOPT"):
            self._append(m, self._list_of(table.sel, rwd))
            go_on()
        with m.State("SEARCHED"):
            with m.If(~rwd):
                m.d.sync += rwd.eq(1)
                m.next = "SEARCH"
            with m.Elif((self.has_reads | self.has_writes).bit_select(table.sel, 1)):
                m.next = "PICK"
            with m.Else():
                m.next = "CLOSE"
