"""Windows of heads: what is learned from a prefetch, which touches ask, and in which order their neighbours come."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.pipeline.metadata import Entry, Outcome, Slot, SlotKind, State
from kv_endpoint.golden.prefetch.unit import TOUCH_DEPTH
from kv_endpoint.golden.prefetch.window import PROBE_TOUCHES, ROUND, WINDOW_MAX, HeadWindow, neighbours
from kv_endpoint.hw.prefetch.touches import PrefetchTouches
from kv_endpoint.hw.prefetch.window import PrefetchWindow
from tests.support.simulation import fields_of, set_payload, simulate

CONFIG = preset("tiny", heads=3)
NOW = 40
#: clocks from a commit to the RAM, and from a head's number to its window
COMMIT_LATENCY, READ_LATENCY = 2, 1

PREFETCHED = Entry(state=State.WARM, prefetched=True)
ISSUE = Slot(SlotKind.PROMOTE, value=1), Entry(state=State.COLD), Outcome.DONE
USE = Slot(SlotKind.READ), PREFETCHED, Outcome.HIT


def learned(*events):
    head = HeadWindow()
    for event in events:
        head.learn(*event, NOW)
    return head


def test_neighbours_come_nearest_first_and_stay_in_the_head():
    assert list(neighbours(5, 3, 16)) == [6, 4, 7, 3, 8, 2]
    assert list(neighbours(0, 2, 16)) == [1, 2]
    assert list(neighbours(1, 4, 16)) == [2, 0, 3, 4, 5]
    assert list(neighbours(15, 2, 16)) == [14, 13]
    assert list(neighbours(1, 4, 2)) == [0]
    assert list(neighbours(7, 0, 16)) == []


@pytest.mark.parametrize(("useful", "window"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (8, 2)])
def test_a_round_is_judged_by_its_useful_prefetches(useful, window):
    head = learned(*(ROUND - 1) * [ISSUE], *useful * [USE])
    assert head.window == 1
    head.learn(*ISSUE, NOW)
    assert (head.window, head.issued, head.useful) == (window, 0, 0)


def test_the_window_stays_between_0_and_its_maximum():
    assert learned(*3 * ROUND * [ISSUE]).window == 0
    assert learned(*6 * ROUND * [USE, ISSUE]).window == WINDOW_MAX


def test_at_window_0_one_touch_in_many_asks():
    head = HeadWindow(window=0)
    asks = [head.touch() for _ in range(3 * PROBE_TOUCHES)]
    assert [number for number, ask in enumerate(asks, 1) if ask] == [n * PROBE_TOUCHES for n in (1, 2, 3)]
    assert set(asks) == {0, 1}


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (ISSUE, "issued"),
        ((Slot(SlotKind.PROMOTE), Entry(state=State.COLD), Outcome.DONE), None),
        ((Slot(SlotKind.PROMOTE, value=1), Entry(state=State.WARM), Outcome.IGNORED), None),
        ((Slot(SlotKind.PROMOTE, value=1), Entry(step=NOW, announced=True), Outcome.DONE), None),
        ((Slot(SlotKind.PROMOTE, value=1), Entry(step=NOW - 1, announced=True), Outcome.DONE), "issued"),
        (USE, "useful"),
        ((Slot(SlotKind.WRITE), PREFETCHED, Outcome.HIT), "useful"),
        ((Slot(SlotKind.READ), Entry(state=State.PROMOTING, prefetched=True), Outcome.MISS), "useful"),
        ((Slot(SlotKind.READ), Entry(state=State.WARM), Outcome.HIT), None),
        ((Slot(SlotKind.HINT), PREFETCHED, Outcome.DONE), "useful"),
        ((Slot(SlotKind.READ), Entry(prefetched=True, step=NOW, announced=True), Outcome.HIT), None),
        ((Slot(SlotKind.READ), Entry(prefetched=True, step=NOW - 1, announced=True), Outcome.HIT), "useful"),
        ((Slot(SlotKind.HINT), Entry(prefetched=True, step=NOW, announced=True), Outcome.IGNORED), None),
        ((Slot(SlotKind.REPLAY_READ), PREFETCHED, Outcome.HIT), None),
        ((Slot(SlotKind.EVICT), PREFETCHED, Outcome.DONE), None),
    ],
)
def test_what_counts_as_issued_and_as_useful(event, counts):
    head = learned(event)
    assert (head.issued, head.useful) == (counts == "issued", counts == "useful")


class Traffic:
    """Random commits around prefetched blocks, and the golden windows that follow them."""

    def __init__(self, rng, *, heads, busy, useful):
        self.rng, self.heads, self.busy, self.useful = rng, heads, busy, useful
        self.windows = [HeadWindow() for _ in range(CONFIG.heads)]

    def commit(self, ctx, dut):
        """Set the broadcast for one clock; returns the golden request for neighbours, or None."""
        rng = self.rng
        valid = rng.random() < self.busy
        prefetched = rng.random() < self.useful
        slot = Slot(
            rng.choice([SlotKind.PROMOTE, SlotKind.PROMOTE, SlotKind.READ, SlotKind.HINT, *SlotKind]),
            head=rng.choice(self.heads), block=rng.randrange(CONFIG.blocks_per_head), value=rng.choice((0, 1, 1, 3)),
        )  # fmt: skip
        before = Entry(step=rng.choice((NOW, NOW, NOW - 1)), announced=rng.random() < 0.3, prefetched=prefetched)
        outcome = rng.choice([*[Outcome.DONE] * 6, Outcome.HIT, Outcome.HIT, Outcome.IGNORED, Outcome.HELD_LINE])
        touch = slot.kind in (SlotKind.READ, SlotKind.WRITE) and rng.random() < 0.8 and not outcome.held
        ask = rng.random() < 0.8
        ctx.set(dut.now, NOW)
        ctx.set(dut.ask, ask)
        ctx.set(dut.commit.valid, valid)
        set_payload(ctx, dut.commit.slot, {name: getattr(slot, name) for name in ("kind", "head", "block", "value")})
        set_payload(
            ctx, dut.commit.before, {name: getattr(before, name) for name in ("step", "announced", "prefetched")}
        )
        ctx.set(dut.commit.outcome, outcome)
        ctx.set(dut.commit.touch, touch)
        if not valid:
            return None
        head = self.windows[slot.head]
        if not outcome.held:
            head.learn(slot, before, outcome, NOW)
        window = head.touch() if touch and ask else 0
        return (slot.head, slot.block, window) if window else None


@pytest.mark.parametrize(("useful", "expected"), [(0.9, {4}), (0.15, {1, 2}), (0.0, {0})], ids=["high", "mid", "low"])
@pytest.mark.parametrize("heads", [[1], [0, 1, 2]], ids=["one_head", "all_heads"])
def test_windows_and_requests_follow_the_golden_ones_in_every_clock(heads, useful, expected):
    seed = 21
    print("seed", seed)
    rng = random.Random(seed)
    dut = PrefetchWindow(config=CONFIG)
    traffic = Traffic(rng, heads=heads, busy=0.9, useful=useful)
    met = set()
    asked = []

    async def bench(ctx):
        await ctx.tick().repeat(CONFIG.heads)
        history, inspected, requests = [], [], []
        for clock in range(2500):
            history.append([head.window for head in traffic.windows])
            inspected.append(rng.randrange(CONFIG.heads))
            ctx.set(dut.inspect_head, inspected[-1])
            requests.append(traffic.commit(ctx, dut))
            met.update(history[-1][head] for head in heads)
            if clock >= COMMIT_LATENCY + READ_LATENCY:
                window = history[clock - COMMIT_LATENCY - READ_LATENCY + 1][inspected[clock - READ_LATENCY]]
                assert ctx.get(dut.inspect_window) == window, f"clock {clock}"
                near = ctx.get(dut.near)
                seen = (near.head, near.block, near.window) if ctx.get(dut.near_valid) else None
                assert seen == requests[clock - COMMIT_LATENCY], f"clock {clock}"
                asked.append(seen)
            await ctx.tick()

    simulate(dut, bench)
    assert expected <= met
    assert any(asked)


def test_a_reset_sets_every_window_to_its_start():
    seed = 22
    print("seed", seed)
    rng = random.Random(seed)
    dut = PrefetchWindow(config=CONFIG)
    reset = Signal()

    async def bench(ctx):
        for useful in (0.9, 0.0):
            await ctx.tick().repeat(CONFIG.heads)
            traffic = Traffic(rng, heads=range(CONFIG.heads), busy=1.0, useful=useful)
            for _ in range(1500):
                traffic.commit(ctx, dut)
                await ctx.tick()
            assert all(head.window != 1 for head in traffic.windows)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.commit.valid, 0)
            for head in range(CONFIG.heads):
                # While the RAM is cleared too.
                ctx.set(dut.inspect_head, head)
                await ctx.tick()
                assert ctx.get(dut.inspect_window) == 1
            assert not ctx.get(dut.near_valid)

    simulate(ResetInserter(reset)(dut), bench)


async def put(ctx, dut, head, block, window):
    set_payload(ctx, dut.near, {"head": head, "block": block, "window": window, "mode": head & 1})
    ctx.set(dut.near_valid, 1)
    await ctx.tick()
    ctx.set(dut.near_valid, 0)


async def candidates(ctx, dut, rng, stall=0.0):
    """All candidates until none has come for some clocks."""
    found, quiet = [], 0
    while quiet < 2 * WINDOW_MAX + 4:
        ready = rng.random() >= stall
        ctx.set(dut.candidates.ready, ready)
        valid, candidate = ctx.get(dut.candidates.valid), fields_of(ctx.get(dut.candidates.payload))
        await ctx.tick()
        if valid and ready:
            found.append((candidate["head"], candidate["block"], candidate["mode"]))
        quiet = 0 if valid else quiet + 1
    ctx.set(dut.candidates.ready, 0)
    return found


@pytest.mark.quick
@pytest.mark.parametrize("blocks_per_head", [2, 4, 16])
def test_touches_are_expanded_as_the_golden_model_says_at_every_place_of_a_head(blocks_per_head):
    rng = random.Random(23)
    dut = PrefetchTouches(config=preset("tiny", blocks_per_head=blocks_per_head, spare_frames=3))

    async def bench(ctx):
        for window in range(1, WINDOW_MAX + 1):
            for block in range(blocks_per_head):
                head = block % 4
                await put(ctx, dut, head, block, window)
                expected = [(head, near, head & 1) for near in neighbours(block, window, blocks_per_head)]
                assert await candidates(ctx, dut, rng, stall=0.3) == expected

    simulate(dut, bench)


@pytest.mark.parametrize("touches", [TOUCH_DEPTH + 1, TOUCH_DEPTH + 2, 3 * TOUCH_DEPTH])
def test_of_too_many_touches_the_oldest_are_forgotten(touches):
    rng = random.Random(24)
    dut = PrefetchTouches(config=preset("tiny"))

    async def bench(ctx):
        for _ in range(2):
            asked = [(rng.randrange(4), rng.randrange(16)) for _ in range(touches)]
            for head, block in asked:
                await put(ctx, dut, head, block, 1)
            # The first is being expanded when the others come.
            kept = [asked[0], *asked[-TOUCH_DEPTH:]]
            expected = [(head, near, head & 1) for head, block in kept for near in neighbours(block, 1, 16)]
            assert await candidates(ctx, dut, rng) == expected

    simulate(dut, bench)
