"""Misses: requests that found no frame wait here, by block, until the block has one. See `golden/misses.py`."""

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal
from amaranth.lib import data, enum, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.events import EngineKind, ErrorKind
from golden.metadata import Outcome, SlotKind, State
from hw import layouts
from hw.allocator import availability
from hw.bypass import BypassSlots
from hw.layouts import Domain, Hold, SidecarKind
from hw.migration import split_index
from hw.turns import next_in_turn

__all__ = ["MissEngine"]


class _Stage(enum.Enum, shape=3):
    """What a miss needs next."""

    #: a decision: a frame, or a bypass slot
    WANT = 0
    #: its page command
    READ = 1
    #: flash
    READING = 2
    ARRIVED = 3
    #: its requests to be answered, as `_Source` says; then it closes
    SERVE = 4


class _Source(enum.Enum, shape=2):
    """What the waiting requests of a miss are answered from."""

    FRAME = 0
    BYPASS = 1
    #: writes are dropped, since flash is unwritable
    NOTHING = 2


class _Job(enum.Enum, shape=2):
    """What the service takes up, in turns."""

    #: the oldest request whose block has no miss yet
    BACKLOG = 0
    #: the next thing that a miss owes
    SERVE = 1
    DECIDE = 2


class MissEngine(wiring.Component):
    """Opens a miss for each block that requests wait for, obtains a frame, has the page read, answers the requests.

    One service does one thing at a time, in turns: take a request in (first of all), open a miss, issue the next slot
    or note of a miss, decide. What lasts (page reads, slots in flight) is waited for outside of it, so misses overlap.
    A replay takes 2 clocks where several wait. A decision holds the pipeline for about 15 clocks, and for each victim
    as long again as the victim engine and the commit of a DEMOTE take.

    **Requests.** Each is a node, numbered by channel and read slot or write slot, in linked lists: of a miss (one for
    reads, one for writes), or of the backlog of its channel, where those wait whose block has no miss yet. A miss that
    has obtained a frame closes only after both backlogs have been searched for its block; so a request in a backlog
    knows the state of its block for good, and no replay ever finds the block without a frame.

    **Who waits for whom.** Each channel has its backlog, some miss slots take only writes, and among decisions writes
    go first. A miss that can get nothing now is left alone until something changes that may help it.

    **Bypass.** A block that is in a bypass slot since this step is read from it without a decision, by requests of this
    step that are no touches (a touch has changed the key). A write that joins a miss served by a bypass slot obtains a
    frame for the block; the reads that are left are then served from the frame.

    **Unwritable flash.** Nothing is demoted any more: where a victim is needed, writes are answered UNWRITABLE (unless
    there is no victim and a reserve frame) and reads go through a bypass slot.

    Members
    -------
    commit : In(commit)
    now : In(step)
    policy : In(policy)
    query : Out(stream), availability : In(stream)
        The allocator's counts of a head.
    quotas_changed : In(1)
        The allocator's rules have changed.
    demotion_free, demoting, unwritable : In(1), demotion_ended : In(1)
        Of `Migration`.
    victim_request : Out(stream), victim_answer : In(stream)
        Of the victim engine; only in a held pipeline.
    hold : Out(Hold)
        The pipeline held, the other users of engine slots and notes kept out.
    drain : Out(Hold)
    engine_slots, notes, sidecar_ops, page_commands : Out(stream)
    sidecar_done : In(1)
        The operation accepted last has ended.
    page_done : In(stream)
        Taken at once.
    lookup_index : In(index), lookup : Out(1)
        Whether a block has an open miss. No latency.
    ended : Out(struct valid, head)
        A miss closed.
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "query": Out(stream.Signature(config.head_bits)),
                "availability": In(stream.Signature(availability(config))),
                "quotas_changed": In(1),
                "demotion_free": In(1),
                "demoting": In(1),
                "unwritable": In(1),
                "demotion_ended": In(1),
                "victim_request": Out(stream.Signature(layouts.victim_request(config))),
                "victim_answer": In(stream.Signature(layouts.victim_answer(config))),
                "hold": Out(Hold()),
                "drain": Out(Hold()),
                "engine_slots": Out(layouts.slot_stream(config)),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "sidecar_ops": Out(stream.Signature(layouts.sidecar_op(config))),
                "sidecar_done": In(1),
                "page_commands": Out(stream.Signature(layouts.page_command(config))),
                "page_done": In(stream.Signature(layouts.page_done(config))),
                "lookup_index": In(config.index_bits),
                "lookup": Out(1),
                "ended": Out(data.StructLayout({"valid": 1, "head": config.head_bits})),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        count = config.miss_slots
        id_bits = layouts.id_bits(config)
        node_bits = id_bits + 1

        def per_miss(shape, name):
            return Array(Signal(shape, name=f"{name}{number}") for number in range(count))

        # Misses
        self._used = used = Signal(count)
        self._stage = per_miss(_Stage, "stage")
        self._source = per_miss(_Source, "source")
        self._index = index = per_miss(config.index_bits, "index")
        self._frame = per_miss(config.frame_bits, "frame")
        self._absent = per_miss(1, "absent")
        self._mode = per_miss(1, "mode")
        self._failed = per_miss(1, "failed")
        #: has a bypass slot; that was decided for this miss
        self._bound = per_miss(1, "bound")
        self._decided = per_miss(1, "decided")
        self._bypass_slot = per_miss(range(config.bypass_slots), "bypass_slot")
        #: could get nothing, and nothing has changed since
        self._blocked = Signal(count)
        #: slots issued for its requests and not yet committed
        self._in_flight = per_miss(range(32), "in_flight")

        # Lists: reads of each miss, writes of each miss, backlog of reads, backlog of writes
        lists = 2 * count + 2
        self._list_head = Array(Signal(id_bits, name=f"list_head{n}") for n in range(lists))
        self._list_tail = Array(Signal(id_bits, name=f"list_tail{n}") for n in range(lists))
        self._list_count = Array(Signal(id_bits + 1, name=f"list_count{n}") for n in range(lists))

        request_layout = data.StructLayout(
            {
                "index": config.index_bits, "tag": 16, "line": config.line_bits, "step": config.step_bits, "touch": 1,
                "absent": 1, "mode": 1,
            }
        )  # fmt: skip
        m.submodules.requests = requests = Memory(shape=request_layout, depth=1 << node_bits, init=[])
        m.submodules.links = links = Memory(shape=id_bits, depth=1 << node_bits, init=[])
        self._request_read, self._link_read = requests.read_port(), links.read_port()
        self._link_write = links.write_port()
        # A request for each read or write slot; one place more, since the output register fills with a delay.
        m.submodules.reads = reads = fifo.SyncFIFOBuffered(width=id_bits, depth=config.read_slots + 1)
        m.submodules.writes = writes = fifo.SyncFIFOBuffered(width=id_bits, depth=config.write_slots + 1)
        self._intakes = (reads, writes)
        m.submodules.bypass = self._bypass = BypassSlots(config=config)
        connect(m, self._bypass.drain, flipped(self.drain))

        m.d.comb += self.lookup.eq(Cat(used[n] & (index[n] == self.lookup_index) for n in range(count)).any())
        self._watch(m, requests.write_port())
        self._complete(m)
        self._service(m)
        return m

    def _list_of(self, miss, rwd):
        """Number of a miss's list of reads or writes."""
        return miss + rwd * self._config.miss_slots

    def _backlog(self, rwd):
        return 2 * self._config.miss_slots + rwd

    def _watch(self, m, request_write):
        """What the engine learns from the commits, 1 clock later."""
        config = self._config
        commit = self.commit
        kind = commit.slot.kind
        seen = Signal(
            data.StructLayout(
                {
                    "missed": 1, "rwd": 1, "id": layouts.id_bits(config), "index": config.index_bits, "tag": 16,
                    "line": config.line_bits, "touch": 1, "absent": 1, "mode": 1, "answered": 1, "moved": 1,
                    "unpinned": 1, "placed": 1, "demoted": 1,
                }
            )
        )  # fmt: skip
        is_access = kind.matches(SlotKind.READ, SlotKind.WRITE)
        is_answer = kind.matches(SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ) | (
            (kind == SlotKind.ANSWER) & (commit.outcome == Outcome.UNWRITABLE)
        )
        about_block = commit.valid & (kind != SlotKind.ANSWER)
        m.d.sync += [
            seen.missed.eq(
                commit.valid & is_access & ((commit.outcome == Outcome.MISS) | (commit.outcome == Outcome.FIRST_WRITE))
            ),
            seen.rwd.eq(commit.slot.rwd),
            seen.id.eq(commit.slot.id),
            seen.index.eq(Cat(commit.slot.block, commit.slot.head)),
            seen.tag.eq(commit.slot.tag),
            seen.line.eq(commit.slot.line),
            seen.touch.eq(commit.touch),
            seen.absent.eq(commit.before.state == State.ABSENT),
            seen.mode.eq(commit.slot.mode),
            seen.answered.eq(commit.valid & is_answer),
            seen.moved.eq(about_block & (commit.before.state != commit.after.state)),
            seen.unpinned.eq(about_block & commit.before.pinned & ~commit.after.pinned),
            seen.placed.eq(commit.valid & kind.matches(SlotKind.PROMOTE, SlotKind.ALLOCATE)),
            seen.demoted.eq(commit.valid & (kind == SlotKind.DEMOTE)),
        ]

        reads, writes = self._intakes
        m.d.comb += [
            request_write.en.eq(seen.missed),
            request_write.addr.eq(Cat(seen.id, seen.rwd)),
            request_write.data.index.eq(seen.index),
            request_write.data.tag.eq(seen.tag),
            request_write.data.line.eq(seen.line),
            request_write.data.step.eq(self.now),
            request_write.data.touch.eq(seen.touch),
            request_write.data.absent.eq(seen.absent),
            request_write.data.mode.eq(seen.mode),
            reads.w_data.eq(seen.id),
            writes.w_data.eq(seen.id),
            reads.w_en.eq(seen.missed & ~seen.rwd),
            writes.w_en.eq(seen.missed & seen.rwd),
            self._bypass.now.eq(self.now),
            self._bypass.promoted.eq(seen.placed),
            self._bypass.promoted_index.eq(seen.index),
        ]
        self._placed, self._demoted = seen.placed, seen.demoted

        #: one of its slots was issued, has committed
        self._issued = Signal(self._config.miss_slots)
        for n in range(config.miss_slots):
            committed = seen.answered & (self._index[n] == seen.index) & self._used[n]
            m.d.sync += self._in_flight[n].eq(self._in_flight[n] + self._issued[n] - committed)

        #: something that may give a frame to a miss that could get none
        self._woken = Signal()
        unwritable_before = Signal()
        m.d.sync += unwritable_before.eq(self.unwritable)
        m.d.comb += self._woken.eq(
            seen.moved
            | seen.unpinned
            | self.quotas_changed
            | self.demotion_ended
            | self.ended.valid
            | self._bypass.released
            | (self.unwritable & ~unwritable_before)
        )
        #: since the hold of the decision began
        self._woken_since = Signal()
        with m.If(self._woken):
            m.d.sync += [self._blocked.eq(0), self._woken_since.eq(1)]

    def _complete(self, m):
        """Completions of flash."""
        number = self.page_done.payload.tag[: (self._config.miss_slots - 1).bit_length()]
        m.d.comb += self.page_done.ready.eq(1)
        with m.If(self.page_done.valid):
            m.d.sync += [
                self._stage[number].eq(_Stage.ARRIVED),
                self._failed[number].eq(self.page_done.payload.failed),
            ]

    def _service(self, m):
        """The service: one job at a time. Its states are grouped in the methods below."""
        config = self._config
        count = config.miss_slots

        #: the miss, the channel and the request that the job is about
        self._sel = Signal(range(count))
        self._rwd = Signal()
        self._node = Signal(layouts.id_bits(config))
        self._from_backlog = Signal()
        #: the oldest request of the backlog of reads, of writes, can neither open a miss nor join one for now
        self._stuck = Signal(2)
        #: the last request that left a backlog was a write
        self._write_left = Signal()
        m.d.comb += [
            self._request_read.addr.eq(Cat(self._node, self._rwd)),
            self._link_read.addr.eq(Cat(self._node, self._rwd)),
        ]

        # Engine outputs that are the same in most states
        sel, index, frame = self._sel, self._index[self._sel], self._frame[self._sel]
        slot, command = self.engine_slots.payload, self.page_commands.payload
        head, block = split_index(config, index)
        m.d.comb += [
            slot.head.eq(head),
            slot.block.eq(block),
            slot.frame.eq(frame),
            slot.mode.eq(self._mode[sel]),
            self.sidecar_ops.payload.mode.eq(self._mode[sel]),
            self.sidecar_ops.payload.frame.eq(frame),
            command.tag.eq(sel),
            command.page.eq(index),
            command.frame.eq(frame),
            command.mode.eq(self._mode[sel]),
            self._bypass.slot.eq(self._bypass_slot[sel]),
            self._bypass.index.eq(index),
        ]
        m.d.sync += self.ended.valid.eq(0)

        self._choose(m)
        self._look_up(m)
        with m.FSM(name="service"):
            self._pick_state(m)
            self._request_states(m)
            self._serve_states(m)
            self._search_states(m)
            self._page_states(m)
            self._decision_states(m)

    def _choose(self, m):
        """What the service takes up next: `picked`, of `ready`, and about which miss."""
        count = self._config.miss_slots
        sel = self._sel
        self._has_reads, self._has_writes = has_reads, has_writes = Signal(count), Signal(count)
        can_serve, can_decide = Signal(count), Signal(count)
        for n in range(count):
            idle = self._in_flight[n] == 0
            m.d.comb += [
                has_reads[n].eq(self._list_count[self._list_of(n, 0)] != 0),
                has_writes[n].eq(self._list_count[self._list_of(n, 1)] != 0),
            ]
            with m.Switch(self._stage[n]):
                with m.Case(_Stage.READ, _Stage.ARRIVED):
                    m.d.comb += can_serve[n].eq(self._used[n])
                with m.Case(_Stage.SERVE):
                    # With nothing to issue it closes, or turns to its other requests, when nothing is in flight.
                    with m.Switch(self._source[n]):
                        with m.Case(_Source.FRAME):
                            m.d.comb += can_serve[n].eq(self._used[n] & (has_reads[n] | has_writes[n] | idle))
                        with m.Case(_Source.BYPASS):
                            m.d.comb += can_serve[n].eq(self._used[n] & ((has_reads[n] & ~has_writes[n]) | idle))
                        with m.Case(_Source.NOTHING):
                            m.d.comb += can_serve[n].eq(self._used[n] & (has_writes[n] | idle))
                with m.Case(_Stage.WANT):
                    m.d.comb += can_decide[n].eq(self._used[n] & ~self._blocked[n])

        self._to_serve = next_in_turn(m, "to_serve", can_serve, sel)
        deciding = Signal(count)
        m.d.comb += deciding.eq(Mux((can_decide & has_writes).any(), can_decide & has_writes, can_decide))
        self._to_decide = next_in_turn(m, "to_decide", deciding, sel)

        backlogs = [self._list_count[self._backlog(channel)] != 0 for channel in range(2)]
        self._can_open = can_open = Signal(2)
        m.d.comb += can_open.eq(Cat(backlogs) & ~self._stuck)

        ready = {_Job.BACKLOG: can_open.any(), _Job.SERVE: can_serve.any(), _Job.DECIDE: can_decide.any()}
        self._last_job = last = Signal(_Job)
        self._picked = picked = Signal(_Job)
        self._any_ready = Cat(ready.values()).any()
        m.d.comb += picked.eq(last)
        for distance in reversed(range(1, len(ready) + 1)):
            for start in _Job:
                candidate = _Job((start.value + distance) % len(ready))
                with m.If((last == start) & ready[candidate]):
                    m.d.comb += picked.eq(candidate)

    def _look_up(self, m):
        """The misses of the block of the request at hand (one at most), and the miss slot that it may open."""
        config = self._config
        count = config.miss_slots
        index = self._request_read.data.index
        self._matches = Signal(count)
        self._free, self._has_free = Signal(range(count)), Signal()
        m.d.comb += self._matches.eq(Cat(self._used[n] & (self._index[n] == index) for n in range(count)))
        # Writes take the miss slots that are theirs alone, the upper ones, first.
        for n in range(count):
            with m.If(~self._used[n] & (self._rwd | (n < count - config.miss_slots_for_writes))):
                m.d.comb += [self._free.eq(n), self._has_free.eq(1)]

    # Helpers of the states -------------------------------------------------------------------------------------------

    def _fetch_state(self, m, name, then):
        """State `name`: reads the request `node` and its link, which stay until the next such state."""
        with m.State(name):
            m.d.comb += [self._request_read.en.eq(1), self._link_read.en.eq(1)]
            m.next = then

    def _sidecar_states(self, m, name, kind, then):
        """State `name`: an operation on the sidecar line of the miss's frame."""
        with m.State(name):
            m.d.comb += [self.sidecar_ops.payload.kind.eq(kind), self.sidecar_ops.valid.eq(1)]
            with m.If(self.sidecar_ops.ready):
                m.next = f"{name}_WAIT"
        with m.State(f"{name}_WAIT"):
            with m.If(self.sidecar_done):
                m.next = then

    def _offer_note(self, m, kind, **values):
        note = self.notes.payload
        head, block = split_index(self._config, self._index[self._sel])
        values = {"head": head, "block": block} | values
        m.d.comb += [
            note.kind.eq(kind),
            self.notes.valid.eq(1),
            *(getattr(note, name).eq(value) for name, value in values.items()),
        ]

    def _append(self, m, number):
        """Put the request `node` at the end of a list."""
        with m.If(self._list_count[number] == 0):
            m.d.sync += self._list_head[number].eq(self._node)
        with m.Else():
            m.d.comb += [
                self._link_write.en.eq(1),
                self._link_write.addr.eq(Cat(self._list_tail[number], self._rwd)),
                self._link_write.data.eq(self._node),
            ]
        m.d.sync += [
            self._list_tail[number].eq(self._node),
            self._list_count[number].eq(self._list_count[number] + 1),
        ]

    def _drop_front(self, m, number):
        """Take the request `node`, which was fetched, from the front of a list."""
        m.d.sync += [
            self._list_head[number].eq(self._link_read.data),
            self._list_count[number].eq(self._list_count[number] - 1),
        ]

    def _want(self, m):
        """The miss needs a decision."""
        m.d.sync += [self._stage[self._sel].eq(_Stage.WANT), self._blocked.bit_select(self._sel, 1).eq(0)]

    # States ----------------------------------------------------------------------------------------------------------

    def _pick_state(self, m):
        reads, writes = self._intakes
        can_open = self._can_open
        # In turns: writes without end must not keep the reads waiting.
        open_write = can_open[1] & ~(can_open[0] & self._write_left)
        with m.State("PICK"):
            # Requests are taken in before anything is done for others: only what is done for others makes room for new
            # requests, so this comes to an end; and what a miss finds when it closes is complete.
            with m.If(writes.r_rdy | reads.r_rdy):
                m.d.sync += [
                    self._from_backlog.eq(0),
                    self._rwd.eq(writes.r_rdy),
                    self._node.eq(Mux(writes.r_rdy, writes.r_data, reads.r_data)),
                ]
                m.next = "FETCH_REQUEST"
            with m.Elif((writes.level == 0) & (reads.level == 0) & self._any_ready):
                m.d.sync += self._last_job.eq(self._picked)
                with m.Switch(self._picked):
                    with m.Case(_Job.BACKLOG):
                        m.d.sync += [
                            self._from_backlog.eq(1),
                            self._rwd.eq(open_write),
                            self._node.eq(self._list_head[self._backlog(open_write)]),
                        ]
                        m.next = "FETCH_REQUEST"
                    with m.Case(_Job.SERVE):
                        m.d.sync += self._sel.eq(self._to_serve)
                        m.next = "SERVE"
                    with m.Case(_Job.DECIDE):
                        m.d.sync += [self._sel.eq(self._to_decide), self.hold.request.eq(1)]
                        m.next = "HOLD"

    def _request_states(self, m):
        """A request joins the miss of its block, opens it, or goes to the backlog."""
        config = self._config
        reads, writes = self._intakes
        sel, rwd, bypass = self._sel, self._rwd, self._bypass
        request = self._request_read.data
        matched, remembered = Signal(), Signal()
        matches, free, has_free = self._matches, self._free, self._has_free
        # Without a decision of its own a miss may read from a bypass slot only for the requests that remember one.
        remembers_only = self._bound[sel] & ~self._decided[sel] & (self._source[sel] != _Source.FRAME)

        self._fetch_state(m, "FETCH_REQUEST", "LOOKUP")
        with m.State("LOOKUP"):
            m.d.comb += bypass.index.eq(request.index)
            m.d.sync += [
                matched.eq(matches.any()),
                remembered.eq(bypass.hit & ~rwd & ~request.touch & (request.step == self.now)),
            ]
            for n in range(config.miss_slots):
                with m.If(matches[n]):
                    m.d.sync += sel.eq(n)
            m.next = "DISPATCH"
        with m.State("DISPATCH"):
            m.d.comb += bypass.index.eq(request.index)
            with m.If(matched & (rwd | ~remembers_only | remembered)):
                m.next = "JOIN"
            with m.Elif(~self._from_backlog):
                self._append(m, self._backlog(rwd))
                m.d.comb += [reads.r_en.eq(~rwd), writes.r_en.eq(rwd)]
                m.next = "PICK"
            with m.Elif(matched | ~has_free):
                m.d.sync += self._stuck.bit_select(rwd, 1).eq(1)
                m.next = "PICK"
            with m.Else():
                m.d.sync += [
                    sel.eq(free),
                    self._index[free].eq(request.index),
                    self._bypass_slot[free].eq(bypass.hit_slot),
                    self._frame[free].eq(config.bypass_base + bypass.hit_slot),
                ]
                m.next = "OPEN"
        with m.State("OPEN"):
            self._offer_note(m, EngineKind.MISS_OPEN, aux=rwd)
            with m.If(self.notes.ready):
                m.d.comb += bypass.bind.eq(remembered)
                m.d.sync += [
                    self._used.bit_select(sel, 1).eq(1),
                    self._absent[sel].eq(request.absent),
                    self._mode[sel].eq(request.mode),
                    self._bound[sel].eq(remembered),
                    self._decided[sel].eq(0),
                    self._source[sel].eq(Mux(remembered, _Source.BYPASS, _Source.FRAME)),
                    self._stuck.eq(0),
                ]
                self._want(m)
                with m.If(remembered):
                    m.d.sync += self._stage[sel].eq(_Stage.SERVE)
                m.next = "JOIN"
        with m.State("JOIN"):
            self._append(m, self._list_of(sel, rwd))
            with m.If(self._from_backlog):
                self._drop_front(m, self._backlog(rwd))
                m.d.sync += self._write_left.eq(rwd)
            with m.Else():
                m.d.comb += [reads.r_en.eq(~rwd), writes.r_en.eq(rwd)]
            with m.If(rwd):
                # What a read could not get, a write may.
                m.d.sync += self._blocked.bit_select(sel, 1).eq(0)
            m.next = "PICK"

    def _serve_states(self, m):
        """The next thing a miss owes: its page command, its answers, its end."""
        sel, rwd, node = self._sel, self._rwd, self._node
        reads, writes = self._intakes
        has_read = self._has_reads.bit_select(sel, 1)
        has_write = self._has_writes.bit_select(sel, 1)

        def answer(channel):
            m.d.sync += [rwd.eq(channel), node.eq(self._list_head[self._list_of(sel, channel)])]
            m.next = "FETCH_ANSWER"

        with m.State("SERVE"):
            m.next = "PICK"
            with m.Switch(self._stage[sel]):
                with m.Case(_Stage.READ):
                    m.next = "NOTE_READ"
                    # A pool frame left the sidecar cache when its last block was evicted.
                    with m.If(self._source[sel] == _Source.BYPASS):
                        m.next = "FLUSH"
                with m.Case(_Stage.ARRIVED):
                    m.next = "NOTE_ARRIVED"
                with m.Case(_Stage.SERVE):
                    with m.Switch(self._source[sel]):
                        with m.Case(_Source.FRAME):
                            with m.If(has_write):
                                answer(1)
                            with m.Elif(has_read):
                                answer(0)
                            with m.Else():
                                m.d.sync += rwd.eq(0)
                                m.next = "SEARCH"
                        with m.Case(_Source.BYPASS):
                            with m.If(has_write):
                                self._want(m)
                            with m.Elif(has_read):
                                answer(0)
                            with m.Else():
                                m.next = "CLOSE"
                        with m.Case(_Source.NOTHING):
                            with m.If(has_write):
                                answer(1)
                            with m.Elif(has_read):
                                m.next = "RETURN"
                            with m.Else():
                                m.next = "CLOSE"

        self._fetch_state(m, "FETCH_ANSWER", "ANSWER")
        with m.State("ANSWER"):
            slot, request = self.engine_slots.payload, self._request_read.data
            m.d.comb += [
                slot.rwd.eq(rwd),
                slot.id.eq(node),
                slot.tag.eq(request.tag),
                slot.line.eq(request.line),
                self.engine_slots.valid.eq(1),
            ]
            with m.Switch(self._source[sel]):
                with m.Case(_Source.FRAME):
                    m.d.comb += slot.kind.eq(Mux(rwd, SlotKind.REPLAY_WRITE, SlotKind.REPLAY_READ))
                with m.Case(_Source.BYPASS):
                    m.d.comb += slot.kind.eq(SlotKind.BYPASS_READ)
                with m.Case(_Source.NOTHING):
                    m.d.comb += [
                        slot.kind.eq(SlotKind.ANSWER),
                        slot.line.eq(0),
                        slot.frame.eq(0),
                        slot.outcome.eq(Outcome.UNWRITABLE),
                    ]
            with m.If(self.engine_slots.ready):
                m.d.comb += self._issued.eq(1 << sel)
                self._drop_front(m, self._list_of(sel, rwd))
                m.d.sync += node.eq(self._link_read.data)
                m.next = "PICK"
                with m.If((self._list_count[self._list_of(sel, rwd)] != 1) & ~reads.r_rdy & ~writes.r_rdy):
                    m.next = "FETCH_ANSWER"
        with m.State("RETURN"):
            # Reads of a miss whose writes were dropped go back to the backlog: they need a miss of their own, which may
            # remember a bypass slot.
            backlog = self._backlog(0)
            with m.If(self._list_count[backlog] == 0):
                m.d.sync += self._list_head[backlog].eq(self._list_head[sel])
            with m.Else():
                m.d.comb += [
                    self._link_write.en.eq(1),
                    self._link_write.addr.eq(self._list_tail[backlog]),
                    self._link_write.data.eq(self._list_head[sel]),
                ]
            m.d.sync += [
                self._list_tail[backlog].eq(self._list_tail[sel]),
                self._list_count[backlog].eq(self._list_count[backlog] + self._list_count[sel]),
                self._list_count[sel].eq(0),
            ]
            m.next = "CLOSE"
        with m.State("CLOSE"):
            self._offer_note(m, EngineKind.MISS_CLOSE)
            with m.If(self.notes.ready):
                m.d.comb += self._bypass.unbind.eq(self._bound[sel])
                m.d.sync += [
                    self._used.bit_select(sel, 1).eq(0),
                    self._stuck.eq(0),
                    self.ended.valid.eq(1),
                    self.ended.head.eq(split_index(self._config, self._index[sel])[0]),
                ]
                m.next = "PICK"

    def _search_states(self, m):
        """Before a miss that has a frame closes: its block's requests are taken out of both backlogs."""
        sel, rwd, node = self._sel, self._rwd, self._node
        backlog = self._backlog(rwd)
        before = Signal.like(node)
        at_front = Signal()
        left = Signal(len(node) + 1)
        link = self._link_read.data

        def go_on():
            m.d.sync += [node.eq(link), left.eq(left - 1)]
            m.next = "FETCH_SEARCHED"
            with m.If(left == 1):
                m.next = "SEARCHED"

        with m.State("SEARCH"):
            m.d.sync += [node.eq(self._list_head[backlog]), left.eq(self._list_count[backlog]), at_front.eq(1)]
            m.next = "FETCH_SEARCHED"
            with m.If(self._list_count[backlog] == 0):
                m.next = "SEARCHED"
        self._fetch_state(m, "FETCH_SEARCHED", "COMPARE_SEARCHED")
        with m.State("COMPARE_SEARCHED"):
            with m.If(self._request_read.data.index == self._index[sel]):
                m.next = "UNLINK"
            with m.Else():
                m.d.sync += [before.eq(node), at_front.eq(0)]
                go_on()
        with m.State("UNLINK"):
            m.d.sync += [self._list_count[backlog].eq(self._list_count[backlog] - 1), self._stuck.eq(0)]
            with m.If(at_front):
                m.d.sync += self._list_head[backlog].eq(link)
            with m.Else():
                m.d.comb += [
                    self._link_write.en.eq(1),
                    self._link_write.addr.eq(Cat(before, rwd)),
                    self._link_write.data.eq(link),
                ]
            with m.If(left == 1):
                m.d.sync += self._list_tail[backlog].eq(before)
            m.next = "ADOPT"
        with m.State("ADOPT"):
            self._append(m, self._list_of(sel, rwd))
            go_on()
        with m.State("SEARCHED"):
            with m.If(~rwd):
                m.d.sync += rwd.eq(1)
                m.next = "SEARCH"
            with m.Elif((self._has_reads | self._has_writes).bit_select(sel, 1)):
                m.next = "PICK"
            with m.Else():
                m.next = "CLOSE"

    def _page_states(self, m):
        """The page of a miss: its command to flash, and what follows when it has arrived."""
        sel = self._sel
        failed, frame = self._failed[sel], self._frame[sel]

        # What the sidecar cache still has of the bypass slot's last block is written back and forgotten.
        self._sidecar_states(m, "FLUSH", SidecarKind.FLUSH, "NOTE_READ")
        with m.State("NOTE_READ"):
            self._offer_note(m, EngineKind.PAGE_READ, frame=frame, aux=sel)
            with m.If(self.notes.ready):
                m.next = "COMMAND"
        with m.State("COMMAND"):
            m.d.comb += self.page_commands.valid.eq(1)
            with m.If(self.page_commands.ready):
                m.d.sync += self._stage[sel].eq(_Stage.READING)
                m.next = "PICK"

        with m.State("NOTE_ARRIVED"):
            self._offer_note(m, EngineKind.PAGE_READ_DONE, frame=frame, aux=Cat(failed, sel))
            with m.If(self.notes.ready):
                m.next = "ARRIVED"
                with m.If(failed):
                    m.next = "NOTE_FAILED"
        with m.State("NOTE_FAILED"):
            self._offer_note(m, EngineKind.ERROR, head=0, block=0, key=ErrorKind.PAGE_READ, aux=self._index[sel])
            with m.If(self.notes.ready):
                m.next = "POISON"
        self._sidecar_states(m, "POISON", SidecarKind.POISON, "ARRIVED")
        with m.State("ARRIVED"):
            with m.If(self._source[sel] == _Source.FRAME):
                m.next = "FILL"
            with m.Else():
                m.d.sync += self._stage[sel].eq(_Stage.SERVE)
                m.next = "PICK"
        with m.State("FILL"):
            slot = self.engine_slots.payload
            m.d.comb += [slot.kind.eq(SlotKind.FILL), slot.frame.eq(0), self.engine_slots.valid.eq(1)]
            with m.If(self.engine_slots.ready):
                m.d.sync += self._stage[sel].eq(_Stage.SERVE)
                m.next = "PICK"

    def _decision_states(self, m):
        """Obtaining a frame, in a held pipeline: the steps of hw/README.md."""
        config = self._config
        sel, bypass = self._sel, self._bypass
        head, block = split_index(config, self._index[sel])
        slot = self.engine_slots.payload
        is_write = self._has_writes.bit_select(sel, 1)
        may = Signal(availability(config))
        victim = Signal(layouts.victim_answer(config))
        domain = Signal(Domain)
        own_is_lower = Signal()
        woken = self._woken_since

        with m.State("HOLD"):
            with m.If(self.hold.granted):
                m.d.sync += woken.eq(0)
                m.next = "QUERY"

        # 1: is a victim needed, and from where
        with m.State("QUERY"):
            m.d.comb += [self.query.valid.eq(1), self.query.payload.eq(head)]
            with m.If(self.query.ready):
                m.next = "AVAILABLE"
        with m.State("AVAILABLE"):
            m.d.comb += self.availability.ready.eq(1)
            m.d.sync += may.eq(self.availability.payload)
            with m.If(self.availability.valid):
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.sync += domain.eq(Mux(may.at_maximum, Domain.OWN, Domain.SHARED))
            m.next = "TAKE"
            with m.If(may.at_maximum | may.pool_full):
                m.next = "ASK"

        # 2: the victim
        with m.State("ASK"):
            request = self.victim_request.payload
            m.d.comb += [
                request.head.eq(head),
                request.block.eq(block),
                request.domain.eq(domain),
                self.victim_request.valid.eq(1),
            ]
            with m.If(self.victim_request.ready):
                m.next = "FIND"
        with m.State("FIND"):
            m.d.comb += self.victim_answer.ready.eq(1)
            m.d.sync += victim.eq(self.victim_answer.payload)
            with m.If(self.victim_answer.valid):
                m.next = "COMPARE"
        with m.State("COMPARE"):
            m.d.sync += own_is_lower.eq(victim.own_key.as_signed() < victim.key.as_signed())
            m.next = "CHOOSE"
        with m.State("CHOOSE"):
            m.next = "GIVE_UP"
            with m.If(victim.found & ~self.unwritable & (is_write | ~self.policy.bypass | ~own_is_lower)):
                with m.If(self.demotion_free):
                    m.next = "VICTIM"
            with m.Elif(~is_write):
                with m.If((victim.found | self.unwritable) & bypass.available):
                    m.d.sync += [
                        self._bypass_slot[sel].eq(bypass.candidate),
                        self._frame[sel].eq(config.bypass_base + bypass.candidate),
                    ]
                    m.next = "BYPASS"
            with m.Elif(~victim.found & may.for_write):
                m.next = "TAKE"
            with m.Elif(self.unwritable):
                m.next = "NOTHING"
            with m.Elif(~self.demoting & (domain != Domain.ANY)):
                # A demotion in progress will free a frame; without one, no block is safe from a write.
                m.d.sync += domain.eq(Domain.ANY)
                m.next = "ASK"

        # 3: past the pool
        with m.State("BYPASS"):
            self._offer_note(m, EngineKind.BYPASS, frame=self._frame[sel], key=victim.own_key)
            with m.If(self.notes.ready):
                m.d.comb += bypass.allocate.eq(1)
                m.d.sync += [
                    self._bound[sel].eq(1),
                    self._decided[sel].eq(1),
                    self._source[sel].eq(_Source.BYPASS),
                    self._stage[sel].eq(_Stage.READ),
                    self.hold.request.eq(0),
                ]
                m.next = "PICK"

        # 4: the victim leaves
        with m.State("VICTIM"):
            self._offer_note(
                m,
                EngineKind.VICTIM,
                head=victim.head,
                block=victim.block,
                frame=victim.frame,
                key=victim.key,
                aux=Cat(is_write, victim.waived, C(0, 6), head),
            )
            with m.If(self.notes.ready):
                m.next = "DEMOTE"
        with m.State("DEMOTE"):
            m.d.comb += [
                slot.kind.eq(SlotKind.DEMOTE),
                slot.head.eq(victim.head),
                slot.block.eq(victim.block),
                slot.frame.eq(0),
                self.engine_slots.valid.eq(1),
            ]
            with m.If(self.engine_slots.ready):
                m.next = "DEMOTING"
        with m.State("DEMOTING"):
            with m.If(self._demoted):
                m.next = "QUERY"

        # 5: the frame. A pool that is not full has a free frame for a read unless demotions hold the spare frames, so
        # there is always something to wait for.
        with m.State("TAKE"):
            m.next = "GIVE_UP"
            with m.If(Mux(is_write, may.for_write, may.for_read)):
                m.d.sync += self._frame[sel].eq(may.frame)
                m.next = "PLACE"
                with m.If(self._absent[sel]):
                    m.next = "CLEAR"
        self._sidecar_states(m, "CLEAR", SidecarKind.CLEAR, "PLACE")
        with m.State("PLACE"):
            m.d.comb += [
                slot.kind.eq(Mux(self._absent[sel], SlotKind.ALLOCATE, SlotKind.PROMOTE)),
                self.engine_slots.valid.eq(1),
            ]
            with m.If(self.engine_slots.ready):
                m.d.sync += self.hold.request.eq(0)
                m.next = "PLACING"
        with m.State("PLACING"):
            with m.If(self._placed):
                m.d.sync += [
                    self._source[sel].eq(_Source.FRAME),
                    self._stage[sel].eq(Mux(self._absent[sel], _Stage.SERVE, _Stage.READ)),
                ]
                m.next = "PICK"

        with m.State("NOTHING"):
            m.d.sync += [
                self._source[sel].eq(_Source.NOTHING),
                self._stage[sel].eq(_Stage.SERVE),
                self.hold.request.eq(0),
            ]
            m.next = "PICK"
        with m.State("GIVE_UP"):
            m.d.sync += [
                self._blocked.bit_select(sel, 1).eq(~(woken | self._woken)),
                self.hold.request.eq(0),
            ]
            m.next = "PICK"
