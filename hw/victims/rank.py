"""Ranks: the order in which blocks leave, as one number, and the commit broadcast told in ranks."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.pipeline.score import Key

__all__ = ["rank_layout", "rank_of", "key_of", "beyond", "is_before", "ranked_event", "RankedCommits"]


def rank_layout(config):
    """Rank of a block within its head: compared as an unsigned number, the smaller one leaves first.

    `key` has its sign bit inverted, so that it compares as unsigned. `none` (all ones, see `beyond`) stands behind
    every block; all zeros stand before every block, or are the first one.
    """
    return data.StructLayout({"block": config.block_bits, "step": config.step_bits, "key": config.key_bits, "none": 1})


def rank_of(config, *, key, step, block):
    """The rank of a block with signed eviction key `key`."""
    return data.View(rank_layout(config), Cat(block, step, key[:-1], ~key[-1], C(0, 1)))


def beyond(config):
    """The rank of no block: an integer of all ones."""
    return (1 << rank_layout(config).size) - 1


def key_of(rank):
    """The signed eviction key of a rank."""
    return Cat(rank.key[:-1], ~rank.key[-1]).as_signed()


def is_before(rank, other, *, across_heads=False):
    """Whether `rank` leaves before `other`. With `across_heads` blocks are not compared: the head breaks the tie."""
    lowest = len(rank.block) if across_heads else 0
    return rank.as_value()[lowest:] < other.as_value()[lowest:]


def ranked_event(config):
    """What a commit means to the victim queues.

    `before`, `after`: the block's rank, none while it is not warm. `eligible`: after the commit it may leave, as far as
    its entry says. `fresh`: this commit made it warm.
    """
    rank = rank_layout(config)
    return data.StructLayout(
        {
            "valid": 1, "head": config.head_bits, "block": config.block_bits, "before": rank, "after": rank,
            "eligible": 1, "fresh": 1,
        }
    )  # fmt: skip


class RankedCommits(wiring.Component):
    """Picks the commits that concern the victim queues and ranks their blocks before and after.

    Takes a commit a clock, never stalls; the event appears `latency` clocks later. Commits that change neither state
    nor pin nor score of a block, and those of blocks that are warm neither before nor after, are left out.

    An announcement holds for one step, so blocks become eligible when the step (or the protection) changes. `expired`
    says so, behind all events of commits of the old step.

    Members
    -------
    commit : In(commit)
    now : In(step)
    policy : In(policy)
    event : Out(ranked_event)
    expired : Out(1)
        Announcements seen in earlier events no longer count.
    busy : Out(1)
        Something is on its way.
    """

    def __init__(self, *, config):
        self._config = config
        self._key_before = Key(config=config)
        self._key_after = Key(config=config)
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "event": Out(ranked_event(config)),
                "expired": Out(1),
                "busy": Out(1),
            }
        )

    @property
    def latency(self):
        """Clocks from commit to event: input register, keys, output register."""
        return 1 + self._key_after.latency + 1

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.key_before = key_before = self._key_before
        m.submodules.key_after = key_after = self._key_after

        # The pipeline computes its commit late in the clock, hence the register. `now` may move in the next clock.
        commit = Signal(layouts.commit(config))
        now = Signal(config.step_bits)
        protect = Signal()
        expired = Signal()
        m.d.sync += [
            commit.eq(self.commit),
            now.eq(self.now),
            protect.eq(self.policy.protect),
            expired.eq((now != self.now) | (protect != self.policy.protect)),
        ]

        before, after = commit.before, commit.after
        for key, entry in ((key_before, before), (key_after, after)):
            m.d.comb += [
                key.priority.eq(self.policy.priority),
                key.ema.eq(entry.ema),
                key.step.eq(entry.step),
                key.now.eq(now),
                key.lam.eq(self.policy.lam),
            ]

        carried = data.StructLayout(
            {
                "valid": 1, "head": config.head_bits, "block": config.block_bits, "step_before": config.step_bits,
                "step_after": config.step_bits, "warm_before": 1, "warm_after": 1, "eligible": 1, "expired": 1,
            }
        )  # fmt: skip
        first = Signal(carried)
        concerns = commit.event | (before.state != after.state) | (before.pinned != after.pinned)
        protected = protect & (after.step == now) & after.announced & ~after.touched
        m.d.comb += [
            first.head.eq(commit.slot.head),
            first.block.eq(commit.slot.block),
            first.step_before.eq(before.step),
            first.step_after.eq(after.step),
            first.warm_before.eq(before.state == State.WARM),
            first.warm_after.eq(after.state == State.WARM),
            first.valid.eq(commit.valid & concerns & (first.warm_before | first.warm_after)),
            first.eligible.eq(first.warm_after & ~after.pinned & ~protected),
            first.expired.eq(expired),
        ]
        stages = [first]
        for clock in range(1, key_after.latency + 1):
            stages.append(Signal(carried, name=f"carried_{clock}"))
            m.d.sync += stages[clock].eq(stages[clock - 1])

        last = stages[-1]
        rank_before = rank_of(config, key=key_before.key, step=last.step_before, block=last.block)
        rank_after = rank_of(config, key=key_after.key, step=last.step_after, block=last.block)
        m.d.sync += [
            self.event.valid.eq(last.valid),
            self.event.head.eq(last.head),
            self.event.block.eq(last.block),
            self.event.before.eq(Mux(last.warm_before, rank_before.as_value(), beyond(config))),
            self.event.after.eq(Mux(last.warm_after, rank_after.as_value(), beyond(config))),
            self.event.eligible.eq(last.eligible),
            self.event.fresh.eq(~last.warm_before & last.warm_after),
            self.expired.eq(last.expired),
        ]
        changing = (now != self.now) | (protect != self.policy.protect)
        m.d.comb += self.busy.eq(
            changing
            | commit.valid
            | Cat(stage.valid | stage.expired for stage in stages).any()
            | self.event.valid
            | self.expired
        )
        return m
