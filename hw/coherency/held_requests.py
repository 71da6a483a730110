"""Requests that the snoop filter holds: what each waits for, and when it is tried again."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.line_access import Retry
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.one_hot import bit_of

__all__ = ["HeldRequests"]

_HELD = tuple(outcome for outcome in Outcome if outcome.held)
#: what is kept of a slot; its `id` is where
_KEPT = ("tag", "head", "block", "line", "mode", "access", "host")


class HeldRequests(wiring.Component):
    """Keeps held requests in lists, and tries those again, oldest first, whose list is freed.

    A request is a node, numbered by its read slot. There is a list for each place of the snoop table and one for those
    that wait for any place. When a place is freed, its list and the one for any go, in this order, to the end of the
    queue of lists that are being tried again; a request that waits for nothing goes there as a list of its own. So
    nothing is moved node by node: one request is taken and one place freed a clock, of the same list too. A retry every
    2 clocks; 3 clocks from `freed` to the first of them.

    Members
    -------
    commit : In(commit), waits_on : In
        A slot whose outcome is HELD_* is kept. A REPLAY_READ is tried again as READ.
    freed : In({valid, tag})
        It frees the requests that commit in this very clock too.
    retry_slots : Out(stream of slots)
        READ or RELEASE; `retry` is SNOOPED after HELD_LINE, else WAITED.
    retrying : Out(1)
        A request waits to be tried again, or is offered; from 2 clocks after `freed` on.
    held : Out
        Requests that are kept.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "waits_on": In(layouts.waits_on(config)),
                "freed": In(layouts.place_strobe(config)),
                "retry_slots": Out(layouts.slot_stream(config)),
                "retrying": Out(1),
                "held": Out(range(config.read_slots + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        node_bits = (config.read_slots - 1).bit_length()
        kept_fields = {name: shape for name, shape in layouts.slot(config).members.items() if name in _KEPT}
        request = data.StructLayout({**kept_fields, "releases": 1, "snooped": 1})
        #: requests `first` to `last`, in the order of their links
        chain = data.StructLayout({"filled": 1, "first": node_bits, "last": node_bits})

        m.submodules.requests = requests = Memory(shape=request, depth=config.read_slots, init=[])
        m.submodules.links = links = Memory(shape=node_bits, depth=config.read_slots, init=[])
        m.submodules.firsts = firsts = Memory(shape=node_bits, depth=config.snoops, init=[])
        m.submodules.lasts = lasts = Memory(shape=node_bits, depth=config.snoops, init=[])
        request_write, request_read = requests.write_port(), requests.read_port()
        link_write, link_read = links.write_port(), links.read_port()
        first_write, first_read = firsts.write_port(), firsts.read_port(domain="comb")
        last_write = lasts.write_port()
        last_read, last_freed = (lasts.read_port(domain="comb") for _ in range(2))
        # A list that is tried again holds a request at least, so there are never more of them than read slots.
        both = data.StructLayout({"own": chain, "any": chain})
        m.submodules.ready = ready = fifo.SyncFIFO(width=both.size, depth=config.read_slots)

        # What commits is taken a clock later, together with what was freed in the same clock.
        slot = self.commit.slot
        appends, node = Signal(), Signal(node_bits)
        kept, waits_on, freed = Signal(request), Signal.like(self.waits_on), Signal.like(self.freed)
        m.d.sync += [
            appends.eq(self.commit.valid & self.commit.outcome.matches(*_HELD)),
            node.eq(slot.id),
            *(kept[name].eq(slot[name]) for name in _KEPT),
            kept.releases.eq(slot.kind == SlotKind.RELEASE),
            kept.snooped.eq(self.commit.outcome == Outcome.HELD_LINE),
            waits_on.eq(self.waits_on),
            freed.eq(self.freed),
        ]

        # The lists: those of the places in memories, with a bit each that says whether there is one.
        filled = Signal(config.snoops)
        own, any_place = Signal(chain), Signal(chain)
        to_own, to_any, to_freed = Signal(), Signal(), Signal()
        frees = Signal(config.snoops)
        m.d.comb += [
            frees.eq(bit_of(freed.valid, freed.tag)),
            to_own.eq(appends & ~waits_on.none & ~waits_on.any),
            # What waits for nothing may as well go with the list that is freed in this clock.
            to_any.eq(appends & (waits_on.any | (waits_on.none & freed.valid))),
            to_freed.eq(to_own & (waits_on.tag == freed.tag)),
            own.filled.eq(filled.bit_select(freed.tag, 1)),
            own.first.eq(first_read.data),
            own.last.eq(last_freed.data),
            first_read.addr.eq(freed.tag),
            last_freed.addr.eq(freed.tag),
            last_read.addr.eq(waits_on.tag),
        ]

        def appended(list_, here):
            """`list_` with the new request at its end, if it goes `here`."""
            longer = Signal(chain)
            m.d.comb += [
                longer.filled.eq(list_.filled | here),
                longer.first.eq(Mux(list_.filled, list_.first, node)),
                longer.last.eq(Mux(here, node, list_.last)),
            ]
            return longer

        own_after, any_after = appended(own, to_freed), appended(any_place, to_any)
        own_filled = filled.bit_select(waits_on.tag, 1)
        m.d.sync += [any_place.eq(any_after), filled.eq((filled | bit_of(to_own, waits_on.tag)) & ~frees)]
        with m.If(freed.valid):
            m.d.sync += any_place.filled.eq(0)
        m.d.comb += [
            request_write.en.eq(appends),
            request_write.addr.eq(node),
            request_write.data.eq(kept),
            first_write.en.eq(to_own & ~own_filled),
            first_write.addr.eq(waits_on.tag),
            first_write.data.eq(node),
            last_write.en.eq(to_own),
            last_write.addr.eq(waits_on.tag),
            last_write.data.eq(node),
            link_write.en.eq((to_own & own_filled) | (to_any & any_place.filled)),
            link_write.addr.eq(Mux(to_own, last_read.data, any_place.last)),
            link_write.data.eq(node),
        ]

        # The queue of lists
        pushed = Signal(both)
        m.d.comb += [pushed.own.eq(own_after), pushed.any.eq(any_after), ready.w_data.eq(pushed)]
        with m.If(freed.valid):
            m.d.comb += ready.w_en.eq(own_after.filled | any_after.filled)
        with m.Elif(appends & waits_on.none):
            m.d.comb += [
                pushed.own.eq(0),
                pushed.any.filled.eq(1),
                pushed.any.first.eq(node),
                pushed.any.last.eq(node),
                ready.w_en.eq(1),
            ]

        # Trying again: `left` is what comes behind the request that is offered.
        offered, offered_own = Signal(), Signal()
        offered_node = Signal(node_bits)
        left, now = Signal(both), Signal(both)
        fetches, at = Signal(), Signal(node_bits)
        retry, fetched = self.retry_slots.payload, request_read.data
        left_any = left.own.filled | left.any.filled
        m.d.comb += [
            now.eq(Mux(left_any, left, ready.r_data)),
            fetches.eq(~offered & (left_any | ready.r_rdy)),
            ready.r_en.eq(~offered & ~left_any),
            at.eq(Mux(now.own.filled, now.own.first, now.any.first)),
            request_read.addr.eq(at),
            request_read.en.eq(fetches),
            link_read.addr.eq(at),
            link_read.en.eq(fetches),
            self.retry_slots.valid.eq(offered),
            retry.id.eq(offered_node),
            *(retry[name].eq(fetched[name]) for name in _KEPT),
            retry.kind.eq(Mux(fetched.releases, SlotKind.RELEASE, SlotKind.READ)),
            retry.retry.eq(Mux(fetched.snooped, Retry.SNOOPED, Retry.WAITED)),
            self.retrying.eq(offered | left_any | ready.r_rdy),
        ]
        with m.If(fetches):
            m.d.sync += [offered.eq(1), offered_own.eq(now.own.filled), offered_node.eq(at), left.eq(now)]
            with m.If(now.own.filled):
                m.d.sync += left.own.filled.eq(at != now.own.last)
            with m.Else():
                m.d.sync += left.any.filled.eq(at != now.any.last)
        with m.If(offered):
            with m.If(offered_own):
                m.d.sync += left.own.first.eq(link_read.data)
            with m.Else():
                m.d.sync += left.any.first.eq(link_read.data)
        retried = Signal()
        m.d.comb += retried.eq(offered & self.retry_slots.ready)
        with m.If(retried):
            m.d.sync += offered.eq(0)
        m.d.sync += self.held.eq(self.held + appends - retried)
        return m
