"""The victim engine: which block leaves next, exactly."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.config import ConfigError
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Priority
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.common.layouts import Domain
from kv_endpoint.hw.victims.queues import QueueCommand, Queues, leaf, queue_record
from kv_endpoint.hw.victims.rank import RankedCommits, beyond, is_before, key_of, rank_layout
from kv_endpoint.hw.victims.refresh import Refresh
from kv_endpoint.hw.victims.sweep import Sweep, SweepKind, covered_rank
from kv_endpoint.hw.victims.tournament import Tournament

__all__ = ["VictimEngine"]


def _order(rank, head):
    """A rank as a number that compares across heads: the head breaks a tie, then the block."""
    return Cat(rank.block, head, rank.as_value()[len(rank.block) :])


class _Work:
    """The signals that the engine's states share."""

    def __init__(self, config, *, queues, sweep, tournaments):
        rank = rank_layout(config)
        candidate = data.StructLayout({"rank": rank, "head": config.head_bits})
        self.command = queues.command
        self.queue_record, self.queue_record_valid = queues.record, queues.record_valid
        self.sweep, self.peek, self.sight = sweep, sweep.peek, sweep.sight
        #: what the last scan or sweep found
        self.found = sweep.result
        #: the best head of each pool
        self.roots = [tournament.root for tournament in tournaments]
        #: something that has happened has not reached the root
        self.busy = Signal()
        #: the root may still be that of before the last repair; counts down
        self.settle_clocks = 3 + tournaments[0].latency
        self.settling = Signal(range(self.settle_clocks + 1))
        self.is_product = Signal()

        #: the request, the pool of its head, and whether one is open
        self.asked = Signal(layouts.victim_request(config))
        self.mode = Signal()
        self.is_open = Signal()
        #: the head that is looked at, as its record was read
        self.target = Signal(config.head_bits)
        self.record = Signal(queue_record(config))
        #: searching head by head; the head was swept
        self.searching = Signal()
        self.swept = Signal()
        #: of a search: the best with protection (for `product`) and with the announcement waived
        self.best = Signal(candidate)
        self.best_waived = Signal(candidate)
        #: the best covered block that was passed over, all ones if none was since it was told of or the search began
        self.passed = Signal(covered_rank(config), init={"rank": {"none": 1}, "announced": 1})
        self.passed_head = Signal(config.head_bits)
        #: the victim
        self.chosen = Signal(leaf(config))
        self.waived = Signal()

    def order(self, m, kind):
        """Offer a command for the target's record; true when it is taken."""
        m.d.comb += [self.command.valid.eq(1), self.command.payload.kind.eq(kind)]
        return m.If(self.command.ready)

    def remember_covered(self, m):
        """Keep the better one of what was passed over before and in the last scan or sweep, of one head the newer."""
        seen, before = self.found.covered, self.passed
        is_better = Signal()
        m.d.comb += is_better.eq(
            Cat(_order(seen.rank, self.target), seen.announced)
            < Cat(_order(before.rank, self.passed_head), before.announced)
        )
        with m.If(is_better | (self.passed_head == self.target)):
            m.d.sync += [self.passed.eq(seen), self.passed_head.eq(self.target)]

    def start(self, m, kind):
        """Start a sweep of the target."""
        m.d.comb += [self.sweep.start.eq(1), self.sweep.job.kind.eq(kind)]


class VictimEngine(wiring.Component):
    """Answers each request with the first block to leave of a domain, as `golden/victims/search.py` finds it by brute
    force.

    Two levels. Each head has a record (`hw.victims.queues`): a lower bound of the rank of its best block, which every
    commit keeps true, and whether it is exact. A tournament over the bounds of a pool's heads names the head to look
    at: if its bound is exact, its block is the victim, and no other head need be looked at. Else the head is
    repaired: a scan of its queue makes its bound exact, or if the queue does not reach far enough a sweep of all its
    blocks, which also refills the queue. Between requests the heads at the tournaments' roots are repaired in the
    background.

    There is a tournament for each mode. A head that is above its minimum stands in that of its mode; all others stand
    in both as heads without a block. So one that has held no frame yet may change its mode at once.

    What has no bound is searched head by head: announcements waived (by scans, skipping heads whose floor is behind the
    best so far), and `product`, whose keys change with time (by sweeps).

    A request that finds all as the background left it is answered after about 13 clocks; what was committed just before
    takes 2 x head_bits + 14 to arrive. A scan adds about 30 + 2 x head_bits + `queue_depth`, a sweep about
    20 + `blocks_per_head` + 2 x `queue_depth` to that. With `product`, each head in the domain takes
    `blocks_per_head` + 16.

    **Covered blocks**, of which hosts may hold lines, may leave as little as those in migration. The best of those that
    were passed over is remembered; if it leaves before the victim of a request, or none was found, it is told to
    `recall` with the answer. A search that finds nothing has seen every block of the domain that is warm.

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
    modes : In(heads)
        The mode of each head. It changes only while the pipeline is held and no request is open, and only of heads
        that have had no block, and so have not been above their minimum, since reset.
    table : Out(TableRead)
    migrating_index : Out(index)
    migrating : In(1)
        In the same clock: the block has an open miss or a demotion slot.
    migration_ended : In({valid, head})
        A block of this head is no longer in migration.
    covered : In(1)
        Beside `table.entry`: hosts may hold lines of the block. It becomes so without notice, but not while a request
        is open.
    uncovered : In({valid, head})
        A block of this head is no longer covered.
    recall : Out(recall_candidate)
        In the clock in which an answer is taken. `needed`: nothing was found.
    request : In(stream of victim_request)
    answer : Out(stream of victim_answer)
        `waived`: the victim is announced, and nothing that is not was left (OWN and SHARED, if `waivable`).
    rebuild : In(1)
        Priority or lambda have changed, now or just before.
    pause : In(1)
        No repairs in the background: what a request needs is repaired when it comes.
    """

    def __init__(self, *, config):
        if config.sweep_width != 1:
            raise ConfigError(
                f"preset {config.name!r}: sweep_width = {config.sweep_width!r}: must be 1 "
                "(the victim engine has one table port)"
            )
        self._config = config
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "above_min": In(config.heads),
                "modes": In(config.heads),
                "table": Out(layouts.TableRead(config)),
                "migrating_index": Out(config.index_bits),
                "migrating": In(1),
                "migration_ended": In(data.StructLayout({"valid": 1, "head": config.head_bits})),
                "covered": In(1),
                "uncovered": In(layouts.uncovered_head(config)),
                "recall": Out(layouts.recall_candidate(config)),
                "request": In(stream.Signature(layouts.victim_request(config))),
                "answer": Out(stream.Signature(layouts.victim_answer(config))),
                "rebuild": In(1),
                "pause": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.ranked = ranked = RankedCommits(config=config)
        m.submodules.refresh = refresh = Refresh(config=config)
        m.submodules.queues = queues = Queues(config=config)
        m.submodules.sweep = sweep = Sweep(config=config)
        tournaments = [Tournament(config=config) for _ in Mode]
        for mode, tournament in zip(Mode, tournaments, strict=True):
            m.submodules[f"tournament_{mode.name.lower()}"] = tournament
            is_its = self.modes.bit_select(queues.leaf.head, 1) == mode
            m.d.comb += [
                tournament.leaf_valid.eq(queues.leaf_valid & (queues.leaf.rank.none | is_its)),
                tournament.leaf.eq(queues.leaf),
            ]

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
            refresh.uncovered_valid.eq(self.uncovered.valid),
            refresh.uncovered_head.eq(self.uncovered.head),
            refresh.above_min.eq(self.above_min),
            queues.event.eq(ranked.event),
            sweep.now.eq(self.now),
            sweep.policy.eq(self.policy),
            self.migrating_index.eq(sweep.migrating_index),
            sweep.migrating.eq(self.migrating),
            sweep.covered.eq(self.covered),
            queues.read_enable.eq(sweep.read_enable),
            queues.read_head.eq(sweep.read_head),
            queues.read_position.eq(sweep.read_position),
            sweep.read_block.eq(queues.read_block),
            queues.write.eq(sweep.write),
            sweep.write_done.eq(queues.write_done),
        ]
        wiring.connect(m, refresh.order, queues.refresh)
        wiring.connect(m, sweep.table, wiring.flipped(self.table))

        # Every part is busy until the next one is, so nothing is between them when none is.
        w = _Work(config, queues=queues, sweep=sweep, tournaments=tournaments)
        m.d.comb += [
            w.busy.eq(ranked.busy | refresh.busy | queues.busy | Cat(each.busy for each in tournaments).any()),
            w.is_product.eq(self.policy.priority == Priority.PRODUCT),
        ]
        with m.If(w.settling != 0):
            m.d.sync += w.settling.eq(w.settling - 1)
        with m.If(refresh.busy):
            m.d.sync += w.settling.eq(w.settle_clocks)

        with m.FSM():
            self._request_states(m, w)
            self._repair_states(m, w)
            self._search_states(m, w)
            self._answer_states(m, w)
        return m

    def _request_states(self, m, w):
        own_is_shared = self.above_min.bit_select(w.asked.head, 1).any()

        with m.State("IDLE"):
            request = self.request.payload
            m.d.comb += self.request.ready.eq(1)
            m.d.sync += [w.searching.eq(0), w.asked.eq(request), w.is_open.eq(self.request.valid)]
            with m.If(self.request.valid):
                m.d.comb += [w.peek.key.eq(1), w.peek.head.eq(request.head), w.peek.block.eq(request.block)]
                m.d.sync += w.mode.eq(self.modes.bit_select(request.head, 1))
                m.next = "CHECK"
            for root in w.roots:
                with m.Elif(~root.exact & (w.settling == 0) & ~w.is_product & ~self.pause):
                    m.d.sync += w.target.eq(root.head)
                    m.next = "LOOK"

        # A request starts here, and comes back after each repair.
        with m.State("CHECK"):
            m.d.sync += [w.searching.eq(0), w.waived.eq(0)]
            with m.If(~w.busy):
                m.d.sync += [
                    w.target.eq(w.asked.head),
                    w.chosen.eq(Mux(w.mode, w.roots[Mode.MXINT8].as_value(), w.roots[Mode.EXACT].as_value())),
                ]
                with m.If(w.is_product | (w.asked.domain == Domain.ANY)):
                    m.next = "SEARCH"
                with m.Elif((w.asked.domain == Domain.SHARED) & own_is_shared):
                    m.next = "DECIDE"
                with m.Else():
                    m.next = "LOOK_OWN"

        # The requester's head takes part in its own search, though it is not above its minimum.
        with m.State("LOOK_OWN"):
            with w.order(m, QueueCommand.READ):
                m.next = "READ_OWN"
        with m.State("READ_OWN"):
            m.d.sync += w.record.eq(w.queue_record)
            with m.If(w.queue_record_valid):
                m.next = "COMPARE"
        with m.State("COMPARE"):
            # Until here the root has been chosen.
            ahead = is_before(w.record.bound, w.chosen.rank, across_heads=True)
            behind = is_before(w.chosen.rank, w.record.bound, across_heads=True)
            with m.If((w.asked.domain == Domain.OWN) | ahead | (~behind & (w.asked.head < w.chosen.head))):
                m.d.sync += [
                    w.chosen.head.eq(w.asked.head),
                    w.chosen.rank.eq(w.record.bound),
                    w.chosen.exact.eq(w.record.exact),
                ]
            m.next = "DECIDE"

        with m.State("DECIDE"):
            m.d.sync += w.target.eq(w.chosen.head)
            with m.If(w.chosen.rank.none):
                m.next = "CLOSE"
                with m.If(w.asked.waivable):
                    m.next = "SEARCH"
            with m.Elif(w.chosen.exact):
                m.next = "CLOSE"
            with m.Else():
                m.next = "LOOK"

    def _repair_states(self, m, w):
        """Make the target's bound exact, or in a search only its best with the announcement waived."""
        found, record = w.found, w.record
        #: the queue reaches far enough
        eligible_reached = Signal()
        waived_reached = Signal()
        is_exact = Signal()
        new = w.command.payload.record
        m.d.comb += [
            eligible_reached.eq(~is_before(record.threshold, found.eligible)),
            waived_reached.eq(~is_before(record.threshold, found.waived)),
            is_exact.eq(w.swept | eligible_reached),
            w.sweep.job.head.eq(w.target),
            w.sweep.job.count.eq(record.count),
            w.sweep.job.threshold.eq(record.threshold),
            w.command.payload.head.eq(w.target),
            new.count.eq(found.count),
            new.threshold.eq(found.threshold),
            new.floor.eq(found.warm),
            new.bound.eq(Mux(is_exact, found.eligible.as_value(), record.threshold.as_value())),
            new.exact.eq(is_exact),
        ]

        with m.State("LOOK"):
            m.d.sync += w.swept.eq(0)
            with w.order(m, QueueCommand.READ):
                m.next = "READ"
        with m.State("READ"):
            m.d.sync += record.eq(w.queue_record)
            with m.If(w.queue_record_valid):
                m.next = "SCAN"
        with m.State("SCAN"):
            with m.If(w.searching & ~is_before(record.floor, w.best_waived.rank, across_heads=True)):
                m.next = "NEXT_HEAD"
            with m.Elif((record.count == 0) & ~record.threshold.none):
                m.next = "OPEN"
            with m.Else():
                w.start(m, SweepKind.QUEUE)
                m.next = "SCANNING"
        with m.State("SCANNING"):
            with m.If(w.sweep.done):
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.next = "OPEN"
            with m.If(Mux(w.searching, waived_reached, eligible_reached)):
                m.next = "INSTALL"

        with m.State("OPEN"):
            with w.order(m, QueueCommand.OPEN):
                m.next = "REFILL"
        with m.State("REFILL"):
            w.start(m, SweepKind.REFILL)
            m.d.sync += w.swept.eq(1)
            m.next = "REFILLING"
        with m.State("REFILLING"):
            with m.If(w.sweep.done):
                m.next = "INSTALL"

        with m.State("INSTALL"):
            with w.order(m, QueueCommand.INSTALL):
                w.remember_covered(m)
                m.d.sync += w.settling.eq(w.settle_clocks)
                m.next = "IDLE"
                with m.If(w.searching):
                    m.next = "TAKE"
                with m.Elif(w.is_open):
                    m.next = "CHECK"

    def _in_domain(self, w, head):
        """Whether blocks of `head` may leave for the request."""
        asked = w.asked
        in_pool = self.modes.bit_select(head, 1) == w.mode
        may_lose = (asked.domain == Domain.ANY) | self.above_min.bit_select(head, 1).any()
        return (head == asked.head) | ((asked.domain != Domain.OWN) & in_pool & may_lose)

    def _search_states(self, m, w):
        """Look at every head of the domain."""
        asked, best, best_waived = w.asked, w.best, w.best_waived
        in_domain = self._in_domain(w, w.target)
        nothing = beyond(self._config)

        with m.State("SEARCH"):
            m.d.sync += [
                w.searching.eq(1),
                w.target.eq(Mux(asked.domain == Domain.OWN, asked.head, 0)),
                best.rank.eq(nothing),
                best_waived.rank.eq(nothing),
                w.passed.eq(-1),
            ]
            m.next = "HEAD"
        with m.State("HEAD"):
            m.next = "NEXT_HEAD"
            with m.If(in_domain):
                m.next = "LOOK"
                with m.If(w.is_product):
                    w.start(m, SweepKind.HEAD)
                    m.next = "SWEEPING"
        with m.State("SWEEPING"):
            with m.If(w.sweep.done):
                m.next = "TAKE"
        with m.State("TAKE"):
            for so_far, rank in ((best, w.found.eligible), (best_waived, w.found.waived)):
                with m.If(is_before(rank, so_far.rank, across_heads=True)):
                    m.d.sync += [so_far.rank.eq(rank), so_far.head.eq(w.target)]
            with m.If(w.is_product):
                w.remember_covered(m)
            m.next = "NEXT_HEAD"
        with m.State("NEXT_HEAD"):
            m.d.sync += w.target.eq(w.target + 1)
            m.next = "HEAD"
            with m.If((asked.domain == Domain.OWN) | (w.target == self._config.heads - 1)):
                m.next = "END_SEARCH"
        with m.State("END_SEARCH"):
            with m.If(w.is_product & (asked.domain != Domain.ANY) & (~best.rank.none | ~asked.waivable)):
                m.d.sync += [w.chosen.head.eq(best.head), w.chosen.rank.eq(best.rank)]
            with m.Else():
                m.d.sync += [
                    w.chosen.head.eq(best_waived.head),
                    w.chosen.rank.eq(best_waived.rank),
                    w.waived.eq(self.policy.protect & (asked.domain != Domain.ANY) & ~best_waived.rank.none),
                ]
            m.next = "CLOSE"

    def _answer_states(self, m, w):
        chosen, sight, answer = w.chosen, w.sight, self.answer.payload
        m.d.comb += [
            answer.found.eq(~chosen.rank.none),
            answer.waived.eq(w.waived),
            answer.head.eq(chosen.head),
            answer.block.eq(chosen.rank.block),
            answer.frame.eq(sight.frame),
            answer.key.eq(key_of(chosen.rank)),
            answer.own_key.eq(key_of(sight.rank)),
            answer.own_zero.eq(sight.zero),
        ]

        # What is covered, and would leave before the victim. The choice stands some clocks before the answer does.
        asked, passed = w.asked, w.passed
        in_domain, is_first = Signal(), Signal()
        is_waived = w.waived | (asked.domain == Domain.ANY)
        is_wanted = (
            in_domain
            & asked.waivable
            & ~passed.rank.none
            & Mux(passed.announced, is_first & (is_waived | chosen.rank.none), is_first | w.waived)
        )
        m.d.sync += [
            in_domain.eq(self._in_domain(w, w.passed_head)),
            is_first.eq(_order(passed.rank, w.passed_head) < _order(chosen.rank, chosen.head)),
        ]
        m.d.comb += [
            self.recall.needed.eq(chosen.rank.none),
            self.recall.head.eq(w.passed_head),
            self.recall.block.eq(passed.rank.block),
        ]

        # The victim's frame, and whether it may really leave: events do not know what is in migration.
        with m.State("CLOSE"):
            m.d.comb += [w.peek.entry.eq(1), w.peek.head.eq(chosen.head), w.peek.block.eq(chosen.rank.block)]
            m.next = "CLOSING"
        with m.State("CLOSING"):
            m.d.sync += w.target.eq(chosen.head)
            with m.If(sight.entry_done):
                m.next = "ANSWER"
                with m.If(sight.kept & ~chosen.rank.none):
                    m.next = "DROP"
        with m.State("DROP"):
            with w.order(m, QueueCommand.DROP):
                m.next = "CHECK"
        with m.State("ANSWER"):
            m.d.comb += self.answer.valid.eq(sight.key_done)
            with m.If(self.answer.valid & self.answer.ready):
                with m.If(is_wanted):
                    m.d.comb += self.recall.valid.eq(1)
                    m.d.sync += passed.eq(-1)
                m.next = "IDLE"
