"""Misses: requests that found no frame wait here, by block, until the block has one. See `golden/frames/misses.py`.

Beside this file `requests` keeps the requests, `prefetch` opens misses ahead of requests, `decision` obtains a frame,
`service` has the page read and the requests answered. They share the registers of `table` and the streams of
`outputs`.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import Hold
from kv_endpoint.hw.frames.misses.bypass import BypassSlots
from kv_endpoint.hw.frames.misses.commits import watch_commits
from kv_endpoint.hw.frames.misses.decision import MissDecision
from kv_endpoint.hw.frames.misses.outputs import MissOutputs
from kv_endpoint.hw.frames.misses.prefetch import MissPrefetch
from kv_endpoint.hw.frames.misses.requests import MissRequests
from kv_endpoint.hw.frames.misses.service import MissService
from kv_endpoint.hw.frames.misses.table import MissTable

__all__ = ["MissEngine"]


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

    **Prefetches** are the third class: begun, and decided on, when no request waits to be taken in, no miss can be
    served and none of demand can be decided on. A prefetch leaves a miss slot to reads. A request for its block joins
    its miss, which is then one of demand; before that it never waits, and takes nothing that is worth more.

    **Reads that a host may cache** (`golden.common.line_access.Access.caches`) are answered from a frame. A miss that
    one waits for decides as if bypass were off; a miss that reads from a bypass slot does not take it in, and closes
    first.

    **Unwritable flash.** Nothing is demoted any more: where a victim is needed, writes are answered UNWRITABLE (unless
    there is no victim and a reserve frame), so are reads that a host may cache, and other reads go through a bypass
    slot.

    A replay ends its request whatever comes of it: a held one is tried again as a READ (`HeldRequests`).

    Members
    -------
    commit : In(commit)
    now : In(step)
    policy : In(policy)
    query : Out(stream), availability : In(stream)
        The allocator's counts of a head.
    quotas_changed : In(1)
        The allocator's rules have changed.
    demotion_free, demoting, unwritable : In(1), demotion_ended : In(1), demotions : In
        Of `Migration`.
    uncovered : In(1)
        Hosts may no longer hold lines of some block, so that it may leave.
    prefetch_first : In(struct valid, request), prefetch_take : Out(1), prefetch_lock : Out(Hold)
        The prefetch whose turn it is. Its queue is locked when it is looked at, until it was taken, in the clock of the
        note that tells of it.
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
                "availability": In(stream.Signature(layouts.availability(config))),
                "quotas_changed": In(1),
                "demotion_free": In(1),
                "demoting": In(1),
                "unwritable": In(1),
                "demotion_ended": In(1),
                "uncovered": In(1),
                "demotions": In(range(config.demotion_slots + 1)),
                "prefetch_first": In(data.StructLayout({"valid": 1, "request": layouts.prefetch_request(config)})),
                "prefetch_take": Out(1),
                "prefetch_lock": Out(Hold()),
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
        table = MissTable(config)
        outputs = MissOutputs(self, table)
        m.submodules.bypass = bypass = BypassSlots(config=config)
        requests = MissRequests(m, config, table=table, bypass=bypass, outputs=outputs, now=self.now)
        service = MissService(engine=self, table=table, requests=requests, bypass=bypass, outputs=outputs)
        decision = MissDecision(config, engine=self, table=table, requests=requests, bypass=bypass, outputs=outputs)
        prefetch = MissPrefetch(m, config, engine=self, table=table, requests=requests, outputs=outputs)
        connect(m, bypass.drain, flipped(self.drain))

        seen = watch_commits(m, config, self.commit)
        requests.take_missed(m, seen)
        requests.look_up(m)
        table.count_slots(m, seen)
        table.complete(m, self.page_done)
        table.choose(m, requests.has_reads, requests.has_writes)
        decision.wake(m, seen, service.freed)
        decision.count_holds(m)
        outputs.name_miss(m)
        m.d.comb += [
            self.lookup.eq(table.matches(self.lookup_index).any()),
            bypass.now.eq(self.now),
            bypass.promoted.eq(seen.placed),
            bypass.promoted_index.eq(seen.index),
            bypass.slot.eq(table.bypass_slot[table.sel]),
            bypass.index.eq(table.index[table.sel]),
        ]
        m.d.sync += [self.ended.valid.eq(0), service.freed.eq(0)]

        ready = {_Job.BACKLOG: requests.can_open.any(), _Job.SERVE: table.can_serve.any()}
        ready[_Job.DECIDE] = table.can_decide.any()
        last, picked = Signal(_Job), Signal(_Job)
        m.d.comb += picked.eq(last)
        for distance in reversed(range(1, len(ready) + 1)):
            for start in _Job:
                candidate = _Job((start.value + distance) % len(ready))
                with m.If((last == start) & ready[candidate]):
                    m.d.comb += picked.eq(candidate)

        with m.FSM(name="service"):
            with m.State("PICK"):
                # Requests are taken in before anything is done for others: only what is done for others makes room for
                # new requests, so this comes to an end; and what a miss finds when it closes is complete.
                with m.If(requests.waiting):
                    requests.turn_to_intake(m)
                    m.next = "FETCH_REQUEST"
                with m.Elif(requests.settled & Cat(ready.values()).any()):
                    m.d.sync += last.eq(picked)
                    with m.Switch(picked):
                        with m.Case(_Job.BACKLOG):
                            requests.turn_to_backlog(m)
                            m.next = "FETCH_REQUEST"
                        with m.Case(_Job.SERVE):
                            m.d.sync += table.sel.eq(table.to_serve)
                            m.next = "SERVE"
                        with m.Case(_Job.DECIDE):
                            m.d.sync += table.sel.eq(table.to_decide)
                            decision.begin(m)
                            m.next = "HOLD"
                # Prefetches, when there is nothing else to do
                with m.Elif(decision.resting):
                    m.next = "PICK"
                with m.Elif(requests.settled & table.can_fetch.any()):
                    m.d.sync += table.sel.eq(table.to_fetch)
                    decision.begin(m)
                    m.next = "HOLD"
                with m.Elif(requests.settled & prefetch.may_begin):
                    requests.turn_to_reads(m)
                    m.next = "LOCK"
            requests.request_states(m)
            service.serve_states(m)
            requests.search_states(m)
            service.page_states(m)
            decision.states(m, seen)
            prefetch.states(m, seen)
        return m
