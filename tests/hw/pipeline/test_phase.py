"""The phase detector: golden rules, the RTL clock by clock beside them, and windows of real requests."""

import random
from dataclasses import replace

import pytest
from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import EngineKind, Lane, Phase
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.front.address import Region, encode, hint_address
from kv_endpoint.golden.front.hints import pack_hint
from kv_endpoint.golden.host.operations import fence_all, read, write
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.pipeline.phase import BURST_BLOCKS, COUNT_MAX, Phases, RegionPhase
from kv_endpoint.golden.registers.rules import address, pack
from kv_endpoint.hw.pipeline.phase import PhaseDetector
from tests.support.golden_devices import Device, Scripted
from tests.support.lockstep import Lockstep
from tests.support.phase_figures import RULES, SHARES, table
from tests.support.phase_traffic import AZURE, SAMPLE, Request, accuracy, confusions, load, requests, serve
from tests.support.simulation import set_payload, simulate

CONFIG = preset("tiny")
DECODE, PREFILL = Phase
#: clocks from a commit to the note that it is the reason for
NOTE_LATENCY = 5
#: clocks from a commit to the first in which the step has another value, and the registers have
STEP_CLOCKS, REGISTER_CLOCKS = 3, 4

# Ratio rule -----------------------------------------------------------------------------------------------------------


def ratio_policy(ratio):
    return Policy(phase_burst=False, phase_window=4, phase_ratio=ratio)


def window(detector, policy, writes, *, step=1):
    """One window with so many writes, and the phase after it; an owed note comes at once."""
    size = 1 << policy.phase_window
    detector.access((0, 0), True, step, policy, writes)
    detector.access((0, 0), False, step, policy, size - writes)
    if detector.owed:
        detector.noted()
    return detector.phase


def test_a_region_is_in_decode_after_reset():
    detector = RegionPhase()
    assert detector.phase == DECODE and not detector.owed


def test_decode_begins_at_the_ratio_and_ends_below_half_of_it():
    detector, policy = RegionPhase(), ratio_policy(3)
    # writes of 16 accesses -> phase: 2 x reads < 3 x writes ends decode, reads >= 3 x writes ends prefill
    for writes, phase in ((6, DECODE), (7, PREFILL), (5, PREFILL), (4, DECODE), (5, DECODE), (6, DECODE), (7, PREFILL)):
        assert window(detector, policy, writes) == phase, writes


def test_half_of_the_ratio_exactly_is_still_decode():
    detector, policy = RegionPhase(), ratio_policy(2)
    assert window(detector, policy, 8) == DECODE
    assert window(detector, policy, 9) == PREFILL


def test_windows_that_vary_about_the_ratio_change_nothing():
    policy = ratio_policy(3)
    for first in (0, 16):
        detector = RegionPhase()
        begun = window(detector, policy, first)
        assert {window(detector, policy, writes) for writes in (5, 6, 5, 6)} == {begun}


def test_a_window_of_reads_alone_is_decode_and_one_of_writes_alone_is_prefill():
    detector, policy = RegionPhase(), ratio_policy(255)
    assert window(detector, policy, 16) == PREFILL
    assert window(detector, policy, 0) == DECODE


def test_a_window_that_was_made_smaller_ends_with_the_next_access():
    detector = RegionPhase()
    detector.access((0, 0), True, 1, replace(ratio_policy(3), phase_window=6), 40)
    assert not detector.owed
    detector.access((0, 0), True, 1, ratio_policy(3))
    assert detector.owed


# Burst test -----------------------------------------------------------------------------------------------------------

BURST = Policy(phase_window=4, phase_burst_lines=8)


def reads(detector, step, count=64):
    """Enough reads to end a window; the phase after it, its note come."""
    detector.access((0, 0), False, step, BURST, count)
    if detector.owed:
        detector.noted()
    return detector.phase


def prefilling():
    detector = RegionPhase()
    detector.access((0, 0), True, 1, BURST, 8)
    assert reads(detector, 1) == PREFILL
    return detector


def decoding():
    """As after a step of single tokens, so that the ratio decides nothing."""
    detector = RegionPhase()
    detector.access((0, 0), True, 0, BURST)
    assert reads(detector, 1) == DECODE
    return detector


def test_so_many_lines_of_one_block_are_a_burst_and_one_less_is_none():
    detector = decoding()
    detector.access((0, 0), True, 1, BURST, 7)
    assert reads(detector, 1) == DECODE
    detector.access((0, 0), True, 1, BURST, 1)
    assert reads(detector, 1) == PREFILL


def test_lines_of_several_blocks_or_steps_are_no_burst():
    detector = decoding()
    for step in (1, 2, 3):
        for block in (0, 1):
            detector.access((step, block), True, step, BURST, 7)
            detector.access((0, block), True, step, BURST, 7)
    assert reads(detector, 3) == DECODE


def test_windows_of_reads_alone_keep_prefill_through_steps():
    detector = prefilling()
    for step in range(2, 6):
        assert reads(detector, step) == PREFILL


def test_a_step_with_writes_but_no_burst_ends_prefill_when_the_next_begins():
    detector = prefilling()
    detector.access((0, 1), True, 2, BURST, 7)
    assert reads(detector, 2) == PREFILL
    assert reads(detector, 3) == DECODE


def test_a_step_with_a_burst_and_single_tokens_is_prefill():
    detector = prefilling()
    detector.access((0, 1), True, 2, BURST, 8)
    detector.access((0, 2), True, 2, BURST, 1)
    assert reads(detector, 3) == PREFILL


@pytest.mark.parametrize(("blocks", "phase"), [(BURST_BLOCKS, PREFILL), (BURST_BLOCKS + 1, DECODE)])
def test_blocks_written_in_turns_are_told_apart_up_to_a_number(blocks, phase):
    detector = decoding()
    for _ in range(8):
        for block in range(blocks):
            detector.access((0, block), True, 1, BURST)
    assert reads(detector, 1) == phase


def test_until_the_first_sign_the_ratio_decides():
    detector, policy = RegionPhase(), Policy(phase_window=4, phase_ratio=3)
    for block in range(8):
        detector.access((0, block), True, 1, policy, 2)
    assert detector.sensed == PREFILL


# Regions, notes -------------------------------------------------------------------------------------------------------

REGIONS = (Region(base=0, heads=1, first_head=0), Region(base=1 << 20, heads=2, first_head=2))


def burst_of(phases, head, regions=REGIONS):
    for _ in range(16):
        phases.access((head, 0), True, 1, BURST, regions)


def phase_note(key, aux):
    return {"key": key, "aux": aux}


def test_each_region_has_a_phase_of_its_own():
    phases = Phases(CONFIG)
    burst_of(phases, 3)
    burst_of(phases, 1)
    assert phases.owed() == [(1, PREFILL)]
    assert phases.in_decode(2, REGIONS)
    phases.note(phase_note(1, PREFILL))
    assert [phases.in_decode(head, REGIONS) for head in range(4)] == [True, False, False, False]


def test_a_region_that_is_off_has_no_accesses():
    phases = Phases(CONFIG)
    off = (REGIONS[0], replace(REGIONS[1], enabled=False))
    burst_of(phases, 3, off)
    assert phases.owed() == []
    assert not phases.in_decode(3, off)


def test_a_note_must_be_owed_and_right():
    phases = Phases(CONFIG)
    with pytest.raises(Mismatch, match="no change of phase DECODE"):
        phases.note(phase_note(0, PREFILL))
    burst_of(phases, 0)
    for key in (-1, CONFIG.regions):
        with pytest.raises(Mismatch, match="key: expected a region"):
            phases.note(phase_note(key, PREFILL))
    with pytest.raises(Mismatch, match="aux: expected 1, seen 0"):
        phases.note(phase_note(0, DECODE))
    phases.note(phase_note(0, PREFILL))
    with pytest.raises(Mismatch, match="no change of phase PREFILL"):
        phases.note(phase_note(0, DECODE))


def test_a_change_that_was_overtaken_is_noted_and_then_taken_back():
    detector, policy = RegionPhase(), ratio_policy(3)
    detector.access((0, 0), True, 1, policy, 16)
    detector.access((0, 0), False, 1, policy, 16)
    assert detector.owed and detector.sensed == DECODE == detector.phase
    detector.noted()
    assert detector.owed and detector.phase == PREFILL
    detector.noted()
    assert not detector.owed and detector.phase == DECODE


@pytest.fixture
def device():
    """A standalone endpoint whose first region has just been prefilled."""
    device = Device(policy=Policy(phase_window=4, phase_burst_lines=8))
    device.hint(0, [], 1)
    for line in range(16):
        device.write(0, 0, line)
    return device


def change(phase):
    return {"kind": EngineKind.PHASE, "head": 0, "block": 0, "frame": 0, "key": 0, "aux": phase}


def test_the_golden_endpoint_is_owed_a_note_of_each_change(device):
    assert [record["aux"] for _, record in device.records if record == record | change(PREFILL)] == [PREFILL]
    script = Scripted(device)
    script.checker.finish()
    with pytest.raises(Mismatch, match="no change of phase PREFILL"):
        script.note(EngineKind.PHASE, aux=DECODE)


def test_records_that_lack_a_note_of_a_change_do_not_finish(device):
    checker = Follower(CONFIG, policy=device.policy)
    sequence = 0
    for lane, record in device.records:
        if lane != Lane.ENGINE or record["kind"] != EngineKind.PHASE:
            checker.check(lane, record | {"sequence": sequence})
            sequence += 1
    with pytest.raises(Mismatch, match="expected PHASE PREFILL of region 0"):
        checker.finish()


def test_replays_are_no_accesses(device):
    """The first write was replayed when its block had a frame; 16 writes are one window of 16 all the same."""
    assert [record["kind"] for lane, record in device.records if lane == Lane.SLOT].count(SlotKind.REPLAY_WRITE) == 1
    assert device.follower.phases.detectors[0].sensed == PREFILL
    last = [record["kind"] for lane, record in device.records][-2:]
    assert last == [SlotKind.WRITE, EngineKind.PHASE]


# Requests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES)
def test_windows_of_chunked_prefill_and_decode_are_told_apart(share):
    name, served = requests(every=200)
    matrices = confusions(serve(served, share=share), RULES)
    for rule, matrix in matrices.items():
        print(f"{len(served)} requests of {name}, {rule}: {accuracy(matrix):.4f}", *table(matrix), sep="\n")
    assert accuracy(matrices["burst test"]) >= 0.98
    for phase in Phase:
        assert accuracy(matrices["burst test"], phase) >= 0.98
    # A ratio takes the re-read prefix of long prompts for decode.
    for rule in ("plain", "ratio and hysteresis"):
        assert accuracy(matrices[rule], PREFILL) < 0.7
        assert accuracy(matrices[rule]) < accuracy(matrices["burst test"])


def test_the_sample_is_told_apart_as_well():
    matrices = confusions(serve(load(SAMPLE)[:24], share=0.25), RULES)
    assert accuracy(matrices["burst test"]) >= 0.98


def test_the_sample_has_the_format_of_the_trace():
    served = load(SAMPLE)
    assert len(served) > 40 and all(request.context > 0 and request.generated > 0 for request in served)
    if AZURE.exists():
        assert SAMPLE.read_text().splitlines()[0] == AZURE.read_text().splitlines()[0]


# RTL ------------------------------------------------------------------------------------------------------------------


class Detector:
    """The RTL beside the golden detectors, compared in every clock; `notes` are (clock, region, phase)."""

    def __init__(self, ctx, dut, *, policy, regions=REGIONS, ready=lambda: True):
        self.ctx, self.dut, self._ready = ctx, dut, ready
        self.golden = Phases(CONFIG)
        self.notes = []
        #: clocks of the commits that ended a window
        self.ends = []
        self.step = self.clock = 0
        self._offered = None
        self._decode = None
        self.set(policy=policy, regions=regions)

    def set(self, *, policy=None, regions=None, step=None):
        """Change what may change while the pipeline is held."""
        ctx, dut = self.ctx, self.dut
        if policy is not None:
            self.policy = policy
            names = ("phase_ratio", "phase_window", "phase_burst", "phase_burst_lines")
            set_payload(ctx, dut.policy, {name: getattr(policy, name) for name in names})
        if regions is not None:
            self.regions = regions
            for port, region in zip(dut.regions, regions, strict=True):
                set_payload(ctx, port, {name: getattr(region, name) for name in ("heads", "first_head", "enabled")})
        if step is not None:
            self.step = step
            ctx.set(dut.now, step)

    async def clock_tick(self, commit=None, outcome=Outcome.HIT):
        """One clock, with a commit (kind, head, block) or none. One that is held is none to the golden model."""
        ctx, dut, golden = self.ctx, self.dut, self.golden
        ctx.set(dut.commit.valid, commit is not None)
        if commit is not None:
            kind, head, block = commit
            set_payload(ctx, dut.commit.slot, {"kind": kind, "head": head, "block": block})
            ctx.set(dut.commit.outcome, outcome)
        ready = self._ready()
        ctx.set(dut.notes.ready, ready)

        # What the clocks before have made.
        phases = [detector.phase for detector in golden.detectors]
        assert ctx.get(dut.prefill) == sum(phase << number for number, phase in enumerate(phases))
        if self._decode is not None:
            assert ctx.get(dut.decode) == self._decode, f"clock {self.clock}"
        self._decode = None
        if commit is not None:
            self._decode = golden.in_decode(head, self.regions)
            if kind in (SlotKind.READ, SlotKind.WRITE) and not outcome.held:
                golden.access((head, block), kind == SlotKind.WRITE, self.step, self.policy, self.regions)
        note = None
        if ctx.get(dut.notes.valid):
            note = {name: ctx.get(dut.notes.payload[name]) for name in ("kind", "key", "aux", "head", "block", "frame")}
        assert self._offered in (None, note), "a note that waits is still there"
        self._offered = note
        if note is not None and ready:
            assert (note["kind"], note["head"], note["block"], note["frame"]) == (EngineKind.PHASE, 0, 0, 0)
            golden.note(note)
            self.notes.append((self.clock, note["key"], Phase(note["aux"])))
            self._offered = None
        self.clock += 1
        await ctx.tick()

    async def hold(self, **changes):
        """Stand still as briefly as the pipeline does, change something, go on."""
        for _ in range((STEP_CLOCKS if "step" in changes else REGISTER_CLOCKS) - 1):
            await self.clock_tick()
        self.set(**changes)
        await self.clock_tick()

    async def drain(self):
        """After this everything that is owed has been noted."""
        self._ready = lambda: True
        for _ in range(4 * NOTE_LATENCY):
            await self.clock_tick()
        assert self.golden.owed() == []


def random_policy(rng):
    return Policy(
        phase_ratio=rng.choice((1, 3, 10, 255)),
        phase_window=rng.choice((4, 4, 5, 6)),
        phase_burst=rng.random() < 0.6,
        phase_burst_lines=rng.choice((1, 3, 8, 32)),
    )


def random_regions(rng):
    if rng.random() < 0.5:
        return REGIONS
    first = rng.randint(1, 3)
    low = Region(base=0, heads=rng.randint(1, first), first_head=0, enabled=rng.random() < 0.8)
    return low, Region(base=1 << 20, heads=4 - first, first_head=first, enabled=rng.random() < 0.8)


@pytest.mark.parametrize(("seed", "stall", "overtakes"), [(1, 0.0, False), (2, 0.7, False), (3, 0.98, True)])
def test_the_rtl_follows_the_golden_detectors_clock_by_clock(seed, stall, overtakes):
    print("seed", seed)
    rng = random.Random(seed)
    dut = PhaseDetector(config=CONFIG)
    overtaken = 0

    async def bench(ctx):
        nonlocal overtaken
        detector = Detector(ctx, dut, policy=random_policy(rng), ready=lambda: rng.random() >= stall)
        for _ in range(240):
            pick = rng.random()
            if pick < 0.5:
                await detector.hold(step=detector.step + 1)
            elif pick < 0.6:
                await detector.hold(policy=random_policy(rng))
            elif pick < 0.65:
                await detector.hold(regions=random_regions(rng))
            # Mostly reads, a token a block, or blocks in turns.
            writes, blocks, heads = (
                rng.choice((0.0, 0.1, 1.0, 1.0)),
                rng.choice((1, 3, 12)),
                rng.choice(((0,), (3,), range(4))),
            )
            for _ in range(rng.choice((3, 8, 20, 60))):
                kind = SlotKind.WRITE if rng.random() < writes else SlotKind.READ
                if rng.random() < 0.1:
                    kind = rng.choice(list(SlotKind))
                commit = kind, rng.choice(heads), rng.randrange(blocks)
                outcome = rng.choice((Outcome.HELD_WAY, *[Outcome.HIT] * 9))
                await detector.clock_tick(commit if rng.random() < 0.9 else None, outcome)
                overtaken += any(d.owed and d.sensed == d.phase for d in detector.golden.detectors)
        await detector.drain()
        counts = [sum(region == number for _, region, _ in detector.notes) for number in range(CONFIG.regions)]
        print("notes of each region", counts, "clocks with an overtaken note", overtaken)
        assert min(counts) > 5

    simulate(dut, bench)
    assert overtaken or not overtakes


def test_a_note_is_offered_five_clocks_after_the_commit_that_ends_the_window():
    dut = PhaseDetector(config=CONFIG)

    async def bench(ctx):
        detector = Detector(ctx, dut, policy=BURST)
        for _ in range(16):
            await detector.clock_tick((SlotKind.WRITE, 0, 0))
        await detector.drain()
        assert detector.notes == [(15 + NOTE_LATENCY, 0, PREFILL)]

    simulate(dut, bench)


@pytest.mark.parametrize("after", range(6))
def test_a_note_is_weighed_against_the_windows_of_all_commits_up_to_its_own_clock(after):
    """The note of prefill waits through a window of reads, and is taken `after` the commit that ends one of writes."""
    dut = PhaseDetector(config=CONFIG)
    takes = False

    async def bench(ctx):
        nonlocal takes
        detector = Detector(ctx, dut, policy=ratio_policy(3), ready=lambda: takes)
        for kind in (SlotKind.WRITE, SlotKind.READ, SlotKind.WRITE):
            for _ in range(16):
                takes = detector.clock == 47 + after
                await detector.clock_tick((kind, 0, 0))
        for _ in range(2 * NOTE_LATENCY):
            takes = detector.clock == 47 + after
            await detector.clock_tick()
        await detector.drain()
        assert [phase for _, _, phase in detector.notes] == [PREFILL]

    simulate(dut, bench)


def test_lines_are_counted_up_to_the_highest_threshold_and_no_further():
    """The threshold may be as high as the highest count."""
    dut = PhaseDetector(config=CONFIG)

    async def bench(ctx):
        policy = replace(BURST, phase_burst_lines=COUNT_MAX)
        detector = Detector(ctx, dut, policy=policy)
        for _ in range(COUNT_MAX + 40):
            await detector.clock_tick((SlotKind.WRITE, 0, 0))
        await detector.hold(step=1)
        for _ in range(16):
            await detector.clock_tick((SlotKind.READ, 0, 0))
        await detector.drain()
        assert detector.notes[-1][2] == PREFILL

    simulate(dut, bench)


def test_background_work_pauses_while_every_enabled_region_is_in_prefill():
    dut = PhaseDetector(config=CONFIG)
    both, first = REGIONS, (REGIONS[0], replace(REGIONS[1], enabled=False))
    none = tuple(replace(region, enabled=False) for region in REGIONS)

    async def bench(ctx):
        detector = Detector(ctx, dut, policy=BURST)
        for head, regions, expected in ((0, both, 0), (0, first, 1), (0, none, 0), (3, both, 1), (3, first, 1)):
            await detector.hold(regions=both)
            for _ in range(16):
                await detector.clock_tick((SlotKind.WRITE, head, 0))
            await detector.hold(regions=regions)
            for _ in range(8):
                await detector.clock_tick()
            assert ctx.get(dut.all_prefill) == expected, (head, regions)

    simulate(dut, bench)


@pytest.mark.quick
def test_the_rtl_tells_the_phases_of_requests_apart():
    """Two requests, shortened: chunks of 32 tokens, blocks of two heads, and a step of decode reads few of them."""
    dut = PhaseDetector(config=CONFIG)
    policy = Policy(phase_window=7)
    served = [Request(70, 8), Request(50, 8)]

    async def bench(ctx):
        detector = Detector(ctx, dut, policy=policy)
        for run in serve(served, share=0.3, chunk=32, heads=2):
            if run.step != detector.step:
                await detector.hold(step=run.step)
            head, block = run.where
            for _ in range(run.count):
                await detector.clock_tick((SlotKind.WRITE if run.write else SlotKind.READ, head + 2, block))
        await detector.drain()
        assert [(region, phase) for _, region, phase in detector.notes] == [(1, PREFILL), (1, DECODE)] * len(served)

    simulate(dut, bench)


def test_a_reset_forgets_phases_signs_and_counts():
    dut, reset = PhaseDetector(config=CONFIG), Signal()

    async def bench(ctx):
        for lines in (3, 16, 40):
            # The golden detectors are new each time.
            detector = Detector(ctx, dut, policy=BURST)
            detector.set(step=0)
            for _ in range(lines):
                await detector.clock_tick((SlotKind.WRITE, 0, 0))
            for _ in range(NOTE_LATENCY - 1):
                await detector.clock_tick()
            ctx.set(dut.commit.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)

    simulate(ResetInserter(reset)(dut), bench)


# Follower -------------------------------------------------------------------------------------------------------------


class Shown(Lockstep):
    """Reads REGION[0].PHASE all the time; `shown` has the values that it took, one after the other."""

    def _begin(self):
        super()._begin()
        self.shown = []

    async def _tick(self, ctx):
        bus = self.dut.csr
        for port, value in ((bus.araddr, address("REGION[0].PHASE")), (bus.arvalid, 1), (bus.rready, 1)):
            self._set(ctx, port, value)
        if ctx.get(bus.rvalid) and self.shown[-1:] != [ctx.get(bus.rdata)]:
            self.shown.append(ctx.get(bus.rdata))
        await super()._tick(ctx)


def test_an_endpoint_notes_the_phases_of_its_host_and_shows_them():
    """Chunks of prefill and steps of decode, every record in lock-step; ports stall, so notes wait."""
    registers = [("PHASE", pack("PHASE", RATIO=10, WINDOW=4, BURST=1, BURST_LINES=32))]
    bench = Shown(CONFIG, seed=8, registers=registers, stall=0.3)
    operations, step = [], 0
    for run in serve([Request(16, 2), Request(8, 2)], chunk=8, heads=1):
        if run.step != step:
            step = run.step
            hint = hint_address(CONFIG, bench.region, 0)
            operations += [fence_all(), write(hint, pack_hint(step, [])), fence_all()]
        lines = [encode(CONFIG, bench.region, *run.where, line) for line in range(min(run.count, 40))]
        operations += [write(line, step) for line in lines] if run.write else map(read, lines)
    bench.run(operations, limit=20_000)
    assert [note["aux"] for note in bench.kinds(EngineKind.PHASE)] == [PREFILL, DECODE, PREFILL, DECODE]
    assert bench.shown == [DECODE, PREFILL, DECODE, PREFILL, DECODE]
