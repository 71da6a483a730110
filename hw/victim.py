"""The victim engine: which block leaves next, exactly."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.config import ConfigError
from golden.policy import Priority
from hw import layouts
from hw.layouts import Domain
from hw.queues import QueueCommand, Queues, leaf, queue_record
from hw.rank import RankedCommits, beyond, is_before, key_of, rank_layout
from hw.refresh import Refresh
from hw.sweep import Sweep, SweepKind, sweep_job
from hw.tournament import Tournament

__all__ = ["VictimEngine"]


class VictimEngine(wiring.Component):
    """Answers each request with the first block to leave of a domain, as `golden/victim.py` finds it by brute force.

    Two levels. Each head has a record (`hw.queues`): a lower bound of the rank of its best block, which every commit
    keeps true, and whether it is exact. A tournament over the heads' bounds names the head to look at: if its bound is
    exact, its block is the victim, and no other head need be looked at. Else the head is repaired: a scan of its queue
    makes its bound exact, or if the queue does not reach far enough a sweep of all its blocks, which also refills the
    queue. Between requests the head at the tournament's root is repaired in the background.

    What has no bound is searched head by head: announcements waived (by scans, skipping heads whose floor is behind the
    best so far), and `product`, whose keys change with time (by sweeps).

    A request takes about 30 clocks if nothing is to be repaired; a scan adds about 40 + `queue_depth`, a sweep
    60 + `blocks_per_head` + 2 x `queue_depth`. With `product`, each head in the domain takes `blocks_per_head` + 15.

    A request comes only while the metadata pipeline is held and idle; until its answer was taken there are no commits
    and no migration begins or ends. The table is empty after reset, and blocks become warm by commits alone; the first
    commit is at least 2^head_bits + 3 clocks after reset.

    Members
    -------
    commit : In(commit)
    now, policy : In
        Change only while the pipeline is idle.
    above_min : In(heads)
        Bit h: head h holds more than its minimum quota.
    table : Out(TableRead)
    migrating_index : Out(index)
    migrating : In(1)
        In the same clock: the block has an open miss or a demotion slot.
    migration_ended : In({valid, head})
        A block of this head is no longer in migration.
    request : In(stream of victim_request)
    answer : Out(stream of victim_answer)
        `waived`: the victim is announced, and nothing that is not was left (OWN and SHARED).
    rebuild : In(1)
        Priority or lambda have changed, now or just before.
    """

    def __init__(self, *, config):
        if config.lanes != 1:
            raise ConfigError(
                f"preset {config.name!r}: lanes = {config.lanes!r}: must be 1 (the victim engine has one table port)"
            )
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "above_min": In(config.heads),
                "table": Out(layouts.TableRead(config)),
                "migrating_index": Out(config.index_bits),
                "migrating": In(1),
                "migration_ended": In(data.StructLayout({"valid": 1, "head": config.head_bits})),
                "request": In(stream.Signature(layouts.victim_request(config))),
                "answer": Out(stream.Signature(layouts.victim_answer(config))),
                "rebuild": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.ranked = ranked = RankedCommits(config=config)
        m.submodules.refresh = refresh = Refresh(config=config)
        m.submodules.queues = queues = Queues(config=config)
        m.submodules.tournament = tournament = Tournament(config=config)
        m.submodules.sweep = sweep = Sweep(config=config)

        # Before the first commit no block is warm, and there is nothing to forget.
        inhabited = Signal()
        with m.If(self.commit.valid):
            m.d.sync += inhabited.eq(1)
        m.d.comb += [
            ranked.commit.eq(self.commit),
            ranked.now.eq(self.now),
            ranked.policy.eq(self.policy),
            refresh.forget.eq(self.rebuild & inhabited),
            refresh.expired.eq(ranked.expired),
            refresh.ended_valid.eq(self.migration_ended.valid),
            refresh.ended_head.eq(self.migration_ended.head),
            refresh.above_min.eq(self.above_min),
            queues.event.eq(ranked.event),
            tournament.leaf_valid.eq(queues.leaf_valid),
            tournament.leaf.eq(queues.leaf),
            sweep.now.eq(self.now),
            sweep.policy.eq(self.policy),
            self.migrating_index.eq(sweep.migrating_index),
            sweep.migrating.eq(self.migrating),
            queues.read_enable.eq(sweep.read_enable),
            queues.read_head.eq(sweep.read_head),
            queues.read_position.eq(sweep.read_position),
            sweep.read_block.eq(queues.read_block),
            queues.write.eq(sweep.write),
            sweep.write_done.eq(queues.write_done),
        ]
        wiring.connect(m, refresh.order, queues.refresh)
        wiring.connect(m, sweep.table, wiring.flipped(self.table))

        # Whether all that has happened has reached the tournament's root. Every part says so until the next one does.
        busy = Signal()
        m.d.comb += busy.eq(ranked.busy | refresh.busy | queues.busy | tournament.busy)
        settle_clocks = 3 + tournament.latency
        settling = Signal(range(settle_clocks + 1))
        with m.If(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.If(refresh.busy):
            m.d.sync += settling.eq(settle_clocks)

        is_product = self.policy.priority == Priority.PRODUCT
        root = tournament.root
        rank = rank_layout(config)
        candidate = data.StructLayout({"rank": rank, "head": config.head_bits})
        #: the request, and whether one is open
        asked = Signal(layouts.victim_request(config))
        is_open = Signal()
        #: the head that is looked at; searching head by head; its queue was refilled
        target = Signal(config.head_bits)
        searching = Signal()
        swept = Signal()
        record = Signal(queue_record(config))
        #: of a search: the best with protection (for `product`) and with the announcement waived
        best = Signal(candidate)
        best_waived = Signal(candidate)
        chosen = Signal(leaf(config))
        waived = Signal()

        own_is_shared = self.above_min.bit_select(asked.head, 1).any()
        command = queues.command
        job = Signal(sweep_job(config))
        found, peek = sweep.result, sweep.peek
        #: the queue reaches this far
        eligible_reached = Signal()
        waived_reached = Signal()
        warm_reached = Signal()
        m.d.comb += [
            job.head.eq(target),
            job.count.eq(record.count),
            job.threshold.eq(record.threshold),
            sweep.job.eq(job),
            eligible_reached.eq(~is_before(record.threshold, found.eligible)),
            waived_reached.eq(~is_before(record.threshold, found.waived)),
            warm_reached.eq(~is_before(record.threshold, found.warm)),
            command.payload.head.eq(target),
            command.payload.record.count.eq(found.count),
            command.payload.record.threshold.eq(found.threshold),
        ]
        with m.If(swept):
            m.d.comb += [
                command.payload.record.floor.eq(found.warm),
                command.payload.record.bound.eq(found.eligible),
                command.payload.record.exact.eq(1),
            ]
        with m.Else():
            m.d.comb += [
                command.payload.record.floor.eq(Mux(warm_reached, found.warm.as_value(), record.threshold.as_value())),
                command.payload.record.bound.eq(
                    Mux(eligible_reached, found.eligible.as_value(), record.threshold.as_value())
                ),
                command.payload.record.exact.eq(eligible_reached),
            ]

        def order(kind):
            m.d.comb += [command.valid.eq(1), command.payload.kind.eq(kind)]
            return m.If(command.ready)

        def start(kind):
            m.d.comb += [sweep.start.eq(1), job.kind.eq(kind)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.request.ready.eq(1)
                m.d.sync += [searching.eq(0), asked.eq(self.request.payload), is_open.eq(self.request.valid)]
                with m.If(self.request.valid):
                    m.d.comb += [
                        peek.key.eq(1),
                        peek.head.eq(self.request.payload.head),
                        peek.block.eq(self.request.payload.block),
                    ]
                    m.next = "CHECK"
                with m.Elif(~root.exact & (settling == 0) & ~is_product):
                    m.d.sync += target.eq(root.head)
                    m.next = "LOOK"

            # A request starts here, and comes back after each repair.
            with m.State("CHECK"):
                m.d.sync += [searching.eq(0), waived.eq(0)]
                with m.If(~busy):
                    m.d.sync += [target.eq(asked.head), chosen.eq(root)]
                    with m.If(is_product | (asked.domain == Domain.ANY)):
                        m.next = "SEARCH"
                    with m.Elif((asked.domain == Domain.SHARED) & own_is_shared):
                        m.next = "DECIDE"
                    with m.Else():
                        m.next = "LOOK_OWN"
            with m.State("LOOK_OWN"):
                with order(QueueCommand.READ):
                    m.next = "READ_OWN"
            with m.State("READ_OWN"):
                m.d.sync += record.eq(queues.record)
                with m.If(queues.record_valid):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                # The requester's head takes part in its own search, though it is not above its minimum.
                ahead = is_before(record.bound, root.rank, across_heads=True)
                behind = is_before(root.rank, record.bound, across_heads=True)
                with m.If((asked.domain == Domain.OWN) | ahead | (~behind & (asked.head < root.head))):
                    m.d.sync += [
                        chosen.head.eq(asked.head),
                        chosen.rank.eq(record.bound),
                        chosen.exact.eq(record.exact),
                    ]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += target.eq(chosen.head)
                with m.If(chosen.rank.none):
                    m.next = "CLOSE"
                    with m.If(self.policy.protect):
                        m.next = "SEARCH"
                with m.Elif(chosen.exact):
                    m.next = "CLOSE"
                with m.Else():
                    m.next = "LOOK"

            # Repair of a head, or in a search only a look at it
            with m.State("LOOK"):
                m.d.sync += swept.eq(0)
                with order(QueueCommand.READ):
                    m.next = "READ"
            with m.State("READ"):
                m.d.sync += record.eq(queues.record)
                with m.If(queues.record_valid):
                    m.next = "SCAN"
            with m.State("SCAN"):
                with m.If(searching & ~is_before(record.floor, best_waived.rank, across_heads=True)):
                    m.next = "NEXT_HEAD"
                with m.Elif((record.count == 0) & ~record.threshold.none):
                    m.next = "OPEN"
                with m.Else():
                    start(SweepKind.QUEUE)
                    m.next = "SCANNING"
            with m.State("SCANNING"):
                with m.If(sweep.done):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "OPEN"
                with m.If(Mux(searching, waived_reached, eligible_reached)):
                    m.next = "INSTALL"
            with m.State("OPEN"):
                with order(QueueCommand.OPEN):
                    m.next = "REFILL"
            with m.State("REFILL"):
                start(SweepKind.REFILL)
                m.d.sync += swept.eq(1)
                m.next = "REFILLING"
            with m.State("REFILLING"):
                with m.If(sweep.done):
                    m.next = "INSTALL"
            with m.State("INSTALL"):
                with order(QueueCommand.INSTALL):
                    m.d.sync += settling.eq(settle_clocks)
                    m.next = "IDLE"
                    with m.If(searching):
                        m.next = "TAKE"
                    with m.Elif(is_open):
                        m.next = "CHECK"

            # Search of a domain, head by head
            with m.State("SEARCH"):
                m.d.sync += [
                    searching.eq(1),
                    target.eq(Mux(asked.domain == Domain.OWN, asked.head, 0)),
                    best.rank.eq(beyond(config)),
                    best_waived.rank.eq(beyond(config)),
                ]
                m.next = "HEAD"
            with m.State("HEAD"):
                m.next = "NEXT_HEAD"
                with m.If(
                    (asked.domain != Domain.SHARED)
                    | (target == asked.head)
                    | self.above_min.bit_select(target, 1).any()
                ):
                    m.next = "LOOK"
                    with m.If(is_product):
                        start(SweepKind.HEAD)
                        m.next = "SWEEPING"
            with m.State("SWEEPING"):
                with m.If(sweep.done):
                    m.next = "TAKE"
            with m.State("TAKE"):
                for so_far, rank in ((best, found.eligible), (best_waived, found.waived)):
                    with m.If(is_before(rank, so_far.rank, across_heads=True)):
                        m.d.sync += [so_far.rank.eq(rank), so_far.head.eq(target)]
                m.next = "NEXT_HEAD"
            with m.State("NEXT_HEAD"):
                m.d.sync += target.eq(target + 1)
                m.next = "HEAD"
                with m.If((asked.domain == Domain.OWN) | (target == config.heads - 1)):
                    m.next = "END_SEARCH"
            with m.State("END_SEARCH"):
                with m.If(is_product & (asked.domain != Domain.ANY) & ~best.rank.none):
                    m.d.sync += [chosen.head.eq(best.head), chosen.rank.eq(best.rank)]
                with m.Else():
                    m.d.sync += [
                        chosen.head.eq(best_waived.head),
                        chosen.rank.eq(best_waived.rank),
                        waived.eq(self.policy.protect & (asked.domain != Domain.ANY) & ~best_waived.rank.none),
                    ]
                m.next = "CLOSE"

            # The victim's frame, and whether it may really leave
            with m.State("CLOSE"):
                m.d.comb += [peek.entry.eq(1), peek.head.eq(chosen.head), peek.block.eq(chosen.rank.block)]
                m.next = "CLOSING"
            with m.State("CLOSING"):
                m.d.sync += target.eq(chosen.head)
                with m.If(sweep.sight.entry_done):
                    m.next = "ANSWER"
                    with m.If(sweep.sight.migrating & ~chosen.rank.none):
                        m.next = "DROP"
            with m.State("DROP"):
                with order(QueueCommand.DROP):
                    m.next = "CHECK"
            with m.State("ANSWER"):
                m.d.comb += self.answer.valid.eq(sweep.sight.key_done)
                with m.If(self.answer.valid & self.answer.ready):
                    m.next = "IDLE"

        m.d.comb += [
            self.answer.payload.found.eq(~chosen.rank.none),
            self.answer.payload.waived.eq(waived),
            self.answer.payload.head.eq(chosen.head),
            self.answer.payload.block.eq(chosen.rank.block),
            self.answer.payload.frame.eq(sweep.sight.frame),
            self.answer.payload.key.eq(key_of(chosen.rank)),
            self.answer.payload.own_key.eq(key_of(sweep.sight.rank)),
        ]
        return m
