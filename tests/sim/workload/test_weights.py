"""Weights: where they lie, what frames they have, when they are written, announced and read."""

from collections import Counter

import pytest

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, preset
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.hints import SCORE_ONE, unpack_hint
from kv_endpoint.golden.host.operations import Op
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor
from kv_endpoint.golden.registers.rules import address as csr_address
from kv_endpoint.golden.registers.rules import apply, legal, refusal, reset_regions, unpack
from kv_endpoint.sim.host.regions import check_weights, kv_region, placed, weights_of
from kv_endpoint.sim.host.traffic import traffic
from kv_endpoint.sim.settings import Settings, SettingsError
from kv_endpoint.sim.workload.load import load

SMALL = preset("small")
TRACE = load("attention-a")


def weights(blocks=12, config=SMALL, **settings):
    return weights_of(config, TRACE, Settings(weights=blocks, **settings))


def test_blocks_follow_one_another_behind_the_heads_of_the_kv_cache():
    some = weights(30)
    places = [some.place(number) for number in range(some.total)]
    assert places == [(20 + number // 64, number % 64) for number in range(150)]
    assert list(some.heads) == [20, 21, 22]
    assert [some.blocks_of(head) for head in some.heads] == [64, 64, 22]


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_a_step_reads_every_block_once_and_in_order_however_many_layers_it_has(parts):
    some = weights(7)
    numbers = [number for part in range(parts) for number in some.of_part(part, parts)]
    assert numbers == list(range(35))
    if parts == 5:
        assert list(some.of_part(1, 5)) == list(range(7, 14)), "those of layer 1"


@pytest.mark.parametrize("blocks", [1, 2, 5, 12, 13, 30, 100, 153])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.9, 1.0])
def test_what_is_announced_and_unread_leaves_a_frame_in_every_head(blocks, share):
    some = weights(blocks, frames_share=share)
    assert 1 <= some.ahead <= 8
    for head in some.heads:
        frames, held = some.frames_of(head), some.blocks_of(head)
        assert frames <= held and (frames == held or 2 * some.ahead < frames)
    assert some.frames == sum(minimum for minimum, _ in some.quotas().values())
    assert all(minimum == maximum for minimum, maximum in some.quotas().values())


def test_registers_place_both_regions_and_the_endpoint_accepts_each_write():
    for mode, cached in (("exact", 0.0), ("mxint8", 0.5)):
        settings = Settings(weights=30, mode=mode, cacheable=cached)
        wanted = (kv_region(SMALL, TRACE, settings), weights_of(SMALL, TRACE, settings).region)
        regions = reset_regions(SMALL)
        for name, word in placed(SMALL, wanted):
            where = csr_address(name)
            assert legal(SMALL, regions, (), where, word), name
            assert refusal(SMALL, regions, (), [Mode.EXACT] * SMALL.heads, (), where, word) is None
            _, regions, _ = apply(Policy(), regions, (), where, word)
        assert regions == wanted
        assert (wanted[0].heads, wanted[0].mode, wanted[1].mode) == (20, Mode[mode.upper()], Mode.EXACT)


def test_without_weights_no_region_moves():
    assert placed(SMALL, (kv_region(SMALL, TRACE, Settings()),)) == []
    names = [name for name, _ in placed(SMALL, (kv_region(SMALL, TRACE, Settings(mode="mxint8")),))]
    assert names == ["REGION[0].CTRL"]


@pytest.mark.parametrize(
    ("blocks", "settings", "message"),
    [
        (154, {}, "--weights 154: 5 layers x 154 blocks: must fit the 12 heads of 64 blocks that preset 'small' has "
         "beside the 20 of workload attention-a.npz"),
        (3, {"mode": "mxint8"}, "--weights 3: 4 frames: with --mode mxint8 they are a pool of their own, which must "
         "have at least 9 at preset 'small'"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_with_the_rule(blocks, settings, message):
    with pytest.raises(SettingsError) as caught:
        check_weights(SMALL, TRACE, Settings(weights=blocks, **settings))
    assert str(caught.value) == message
    check_weights(SMALL, TRACE, Settings(weights=blocks - 1 if blocks > 3 else 8, **settings))


def operations(steps=3, prefetch="streams", blocks=12, **settings):
    """[(step, operation, where it goes or None)] of a run with weights."""
    settings = Settings(weights=blocks, prefetch=prefetch, **settings)
    some = weights_of(SMALL, TRACE, settings)
    regions = [kv_region(SMALL, TRACE, settings), some.region]
    step = None
    for operation in traffic(TRACE, settings, steps, config=SMALL, region=regions[0], leap_cap=256, weights=some):
        where = decode(SMALL, regions, operation.address) if operation.channel else None
        if where is not None:
            assert where.target != Target.NXM
            if where.target == Target.HINT:
                step = unpack_hint(operation.data)[0]
        yield step, operation, where


def test_all_lines_are_written_once_then_read_in_order_in_every_step_before_what_the_layer_reads():
    written, read, layers = Counter(), {}, {}
    for step, operation, where in operations(announce="step"):
        if where is None or where.target == Target.HINT:
            continue
        place = (where.head, where.block, where.line)
        if where.head < 20:
            # How much of the weights a layer has read before it begins.
            layers.setdefault((step, where.head // 4), len(read.get(step, ())))
        elif operation.op == Op.WRITE:
            assert step == 1, "the step before the workload's first"
            written[place] += 1
        else:
            assert operation.op == Op.READ
            read.setdefault(step, []).append(place)
    every = [(20, block, line) for block in range(60) for line in range(LINES_PER_BLOCK)]
    assert sorted(written) == every and set(written.values()) == {1}
    assert read == dict.fromkeys((2, 3, 4), every)
    assert layers == {(step, layer): (layer + 1) * 12 * LINES_PER_BLOCK for step in (2, 3, 4) for layer in range(5)}


@pytest.mark.parametrize("announce", ["layer", "step", "none"])
def test_a_block_is_announced_before_it_is_read_and_not_much_earlier(announce):
    ahead = weights().ahead
    hinted, seen = {}, {}
    pending = False
    for step, operation, where in operations(announce=announce, prefetch="off"):
        if operation.op == Op.FENCE_WRITES:
            pending = False
        elif where is None or where.head < 20 or step == 1:
            continue
        elif where.target == Target.HINT:
            pending = True
            entries = unpack_hint(operation.data)[2]
            assert {score for _, score in entries} == {SCORE_ONE}
            hinted.setdefault(step, []).extend(block for block, _ in entries)
            assert len(hinted[step]) - len(seen.get(step, ())) <= 2 * ahead
        else:
            assert not pending, "the host waits for the Cmp of its hints"
            assert where.block in hinted[step]
            seen.setdefault(step, set()).add(where.block)
            assert len(hinted[step]) >= min(60, where.block + ahead + 1), "what a stream may ask for now is announced"
    assert hinted == {step: list(range(60)) for step in (2, 3, 4)}


def test_the_payload_comes_from_the_seed_and_leaves_that_of_the_kv_cache_alone():
    def written(heads, **settings):
        return [op.data for _, op, where in operations(steps=2, **settings)
                if where and op.op == Op.WRITE and where.target == Target.BLOCK and where.head in heads]  # fmt: skip

    assert written(range(20, 32), seed=1) == written(range(20, 32), seed=1) != written(range(20, 32), seed=2)
    plain = [
        operation.data
        for operation in traffic(TRACE, Settings(), 2, config=SMALL, region=reset_regions(SMALL)[0], leap_cap=256)
        if operation.op == Op.WRITE and decode(SMALL, reset_regions(SMALL), operation.address).target == Target.BLOCK
    ]
    assert written(range(20)) == plain


def test_their_descriptor_is_the_last_one_and_covers_them_all():
    words = {}
    for _, operation, _ in operations(steps=1):
        if operation.op == Op.REGISTER:
            words[operation.address] = operation.data
    base = csr_address("STREAM[3].BASE")
    assert words.keys() == {csr_address(f"STREAM[3].{name}") for name in ("BASE", "LENGTH", "STRIDE", "AHEAD", "CTRL")}
    fields = ("BASE", "LENGTH", "STRIDE", "AHEAD", "CTRL")
    values = [next(iter(unpack(f"STREAM[3].{n}", words[csr_address(f"STREAM[3].{n}")]).values())) for n in fields]
    assert StreamDescriptor(*values[:4], bool(values[4])) == StreamDescriptor(20 * 64, 60, 1, weights().ahead, True)
    assert base in words
