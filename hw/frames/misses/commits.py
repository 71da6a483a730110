"""What the miss engine learns from the commits."""

from amaranth.hdl import Cat, Signal
from amaranth.lib import data

from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.hw.common import layouts

__all__ = ["watch_commits"]


def watch_commits(m, config, commit):
    """A struct of what a commit means to the engine; valid 1 clock after it.

    `missed`: a request that has to wait: `rwd`, `id`, `index`, `tag`, `line`, `touch`, `mode`, `access`, `host`, and
    whether its block was `absent`. `ended`: a request that waited was replayed or answered, or a FILL. `moved`: a
    block's state changed; `unpinned`. `placed`: a PROMOTE or ALLOCATE; `demoted`: a DEMOTE; `checked`: a PREFETCH.
    `done`: the slot was not ignored.
    """
    slot, kind = commit.slot, commit.slot.kind
    seen = Signal(
        data.StructLayout(
            {
                "missed": 1, "rwd": 1, "id": layouts.id_bits(config), "index": config.index_bits, "tag": 16,
                "line": config.line_bits, "touch": 1, "absent": 1, "mode": 1, "access": 4, "host": 1,
                "ended": 1, "moved": 1, "unpinned": 1, "placed": 1, "demoted": 1, "checked": 1, "done": 1,
            }
        )
    )  # fmt: skip
    is_access = kind.matches(SlotKind.READ, SlotKind.WRITE)
    is_replay = kind.matches(SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ)
    is_answer = (kind == SlotKind.ANSWER) & (commit.outcome == Outcome.UNWRITABLE)
    about_block = commit.valid & (kind != SlotKind.ANSWER)
    m.d.sync += [
        seen.missed.eq(
            commit.valid & is_access & ((commit.outcome == Outcome.MISS) | (commit.outcome == Outcome.FIRST_WRITE))
        ),
        seen.rwd.eq(slot.rwd),
        seen.id.eq(slot.id),
        seen.index.eq(Cat(slot.block, slot.head)),
        seen.tag.eq(slot.tag),
        seen.line.eq(slot.line),
        seen.touch.eq(commit.touch),
        seen.absent.eq(commit.before.state == State.ABSENT),
        seen.mode.eq(slot.mode),
        seen.access.eq(slot.access),
        seen.host.eq(slot.host),
        seen.ended.eq(commit.valid & (is_replay | is_answer | (kind == SlotKind.FILL))),
        seen.moved.eq(about_block & (commit.before.state != commit.after.state)),
        seen.unpinned.eq(about_block & commit.before.pinned & ~commit.after.pinned),
        seen.placed.eq(commit.valid & kind.matches(SlotKind.PROMOTE, SlotKind.ALLOCATE)),
        seen.demoted.eq(commit.valid & (kind == SlotKind.DEMOTE)),
        seen.checked.eq(commit.valid & (kind == SlotKind.PREFETCH)),
        seen.done.eq(commit.outcome == Outcome.DONE),
    ]
    return seen
