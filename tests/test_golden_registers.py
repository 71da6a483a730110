"""Golden policy and region registers: what is accepted stays, what is refused changes nothing."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from golden import csr
from golden.config import preset
from golden.endpoint import Endpoint
from golden.events import EngineKind, ErrorKind, RefusalKind
from golden.metadata import Slot, SlotKind
from golden.mismatch import Mismatch
from golden.mode import Mode
from golden.policy import Policy, Priority
from golden.registers import Registers

TINY = preset("tiny")
LAST = TINY.regions - 1


def written(registers, *writes):
    for name, value in writes:
        registers.write(csr.address(name), value)
    return registers


def halved():
    """The first region has half of the heads, the last one is set up for the others but still off."""
    half = TINY.heads // 2
    return written(
        Registers(TINY),
        ("REGION[0].CTRL", 0), ("REGION[0].HEADS", half), ("REGION[0].CTRL", 1),
        (f"REGION[{LAST}].FIRST_HEAD", half), (f"REGION[{LAST}].HEADS", half),
    )  # fmt: skip


def test_reset_is_that_of_policy_and_regions():
    registers = Registers(TINY)
    assert (registers.policy, registers.regions) == (Policy(), csr.reset_regions(TINY))
    assert Registers(TINY, Policy(alpha=1)).policy == Policy(alpha=1)


def test_writes_add_up():
    registers = written(Registers(TINY), ("POLICY", csr.pack("POLICY", PRIORITY=Priority.LRU)), ("ALPHA", 7))
    assert registers.policy == replace(Policy(), priority=Priority.LRU, protect=False, bypass=False, alpha=7)
    registers = written(halved(), (f"REGION[{LAST}].CTRL", 1))
    assert [region.enabled for region in registers.regions] == [n in (0, LAST) for n in range(TINY.regions)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLICY", 3),
        ("POLICY", 1 << 31),
        ("ALPHA", 1 << 16),
        ("REGION[0].HEADS", 1),
        (f"REGION[{LAST}].HEADS", TINY.heads + 1),
        (f"REGION[{LAST}].FIRST_HEAD", TINY.heads),
    ],
)
def test_a_refused_value_changes_nothing(name, value):
    registers = halved()
    before = registers.policy, registers.regions
    with pytest.raises(ValueError, match="accepts"):
        written(registers, (name, value))
    assert (registers.policy, registers.regions) == before


def test_regions_that_share_a_head_are_refused_when_the_second_is_enabled():
    registers = written(halved(), (f"REGION[{LAST}].FIRST_HEAD", 0))
    with pytest.raises(ValueError, match="accepts"):
        written(registers, (f"REGION[{LAST}].CTRL", 1))


def test_other_registers_are_none_of_them():
    names = {name for name in csr.NAMES if csr.address(name) in Registers(TINY)}
    regions = {name for name in csr.NAMES if name.startswith("REGION[") and int(name[7]) < TINY.regions}
    streams = {name for name in csr.NAMES if name.startswith("STREAM[") and int(name[7]) < TINY.streams}
    status = {name for name in regions | streams if name.endswith((".PHASE", ".POSITION"))}
    policy = {"POLICY", "ALPHA", "LAMBDA", "LEAP_CAP", "PREFETCH", "PHASE"}
    assert names == (policy | regions | streams) - status
    with pytest.raises(ValueError, match="policy, region or stream register"):
        written(Registers(TINY), ("POOL_FRAMES", 8))


def note(endpoint, name, value):
    record = {"head": 0, "block": 0, "frame": 0, "key": csr.address(name), "aux": value}
    endpoint.note(EngineKind.CSR_WRITE, record)


def test_the_endpoint_follows_its_registers_and_reports_writes_that_cannot_be():
    endpoint = Endpoint(TINY)
    note(endpoint, "LEAP_CAP", 9)
    assert endpoint.policy == Policy(leap_cap=9)
    for name, value, field in (("POOL_FRAMES", 8, "key"), ("POLICY", 3, "aux"), ("REGION[0].HEADS", 1, "aux")):
        with pytest.raises(Mismatch) as found:
            note(endpoint, name, value)
        assert found.value.field == field


# Modes ----------------------------------------------------------------------------------------------------------------


def control(**fields):
    return csr.pack("REGION[0].CTRL", **fields)


def test_heads_get_the_mode_of_their_region_when_it_is_enabled():
    registers, half = halved(), TINY.heads // 2
    written(registers, (f"REGION[{LAST}].CTRL", control(MODE=Mode.MXINT8)))
    assert registers.modes == [Mode.EXACT] * TINY.heads
    written(registers, (f"REGION[{LAST}].CTRL", control(ENABLED=1, MODE=Mode.MXINT8)))
    expected = [Mode.EXACT] * half + [Mode.MXINT8] * (TINY.heads - half)
    assert registers.modes == expected
    written(registers, (f"REGION[{LAST}].CTRL", 0))
    assert registers.modes == expected


def test_a_head_that_is_occupied_keeps_its_mode_and_so_does_the_whole_region():
    registers, last = halved(), TINY.heads - 1
    written(registers, (f"REGION[{LAST}].CTRL", 1))
    name, word = f"REGION[{LAST}].CTRL", control(ENABLED=1, MODE=Mode.MXINT8)
    assert registers.refusal(csr.address(name), word, {last}) == RefusalKind.MODE_BUSY
    with pytest.raises(ValueError, match="MODE_BUSY"):
        registers.write(csr.address(name), word, {last})
    assert registers.modes == [Mode.EXACT] * TINY.heads and registers.regions[LAST].mode == Mode.EXACT
    # It may be enabled again in its own mode, and others may move.
    registers.write(csr.address(name), 0, {last})
    registers.write(csr.address(name), 1, {last})
    registers.write(csr.address(name), word, {0})
    assert registers.modes[last] == Mode.MXINT8
    # Now the mode that it has is the other one.
    assert registers.refusal(csr.address(name), 1, {last}) == RefusalKind.MODE_BUSY
    assert registers.refusal(csr.address(name), word, {last}) is None


def endpoint_with_blocks(head):
    endpoint = Endpoint(TINY)
    endpoint.slot(Slot(SlotKind.WRITE, rwd=True, head=head))
    return endpoint


@pytest.mark.parametrize("occupy", ["written", "minimum"])
def test_the_endpoint_refuses_another_mode_to_heads_with_blocks_or_a_minimum(occupy):
    endpoint = Endpoint(TINY)
    if occupy == "written":
        endpoint = endpoint_with_blocks(TINY.heads - 1)
    else:
        record = {"head": TINY.heads - 1, "block": 0, "frame": 0, "key": 8, "aux": 1}
        endpoint.note(EngineKind.QUOTA, record)
    with pytest.raises(Mismatch) as found:
        note(endpoint, "REGION[0].CTRL", control(ENABLED=1, MODE=Mode.MXINT8))
    assert "MODE_BUSY" in str(found.value)
    refuse(endpoint, RefusalKind.MODE_BUSY, 0)
    assert endpoint.errors_owed[ErrorKind.REFUSED_COMMAND] == 1
    assert endpoint.registers.modes == [Mode.EXACT] * TINY.heads


def refuse(endpoint, kind, aux, **fields):
    endpoint.note(EngineKind.REFUSAL, {"head": 0, "block": 0, "frame": 0, "key": kind, "aux": aux} | fields)


@pytest.mark.parametrize(
    ("kind", "aux", "field"),
    [
        (RefusalKind.MODE_BUSY, 0, "key"),
        (RefusalKind.MODE_BUSY, TINY.regions, "aux"),
        (RefusalKind.STREAM_OVERLAP, 0, "key"),
        (RefusalKind.STREAM_RANGE, TINY.streams, "aux"),
        (RefusalKind.POOL_SIZE, TINY.pool_frames_max, "key"),
    ],
)
def test_a_refusal_without_a_reason_is_a_mismatch(kind, aux, field):
    with pytest.raises(Mismatch) as found:
        refuse(Endpoint(TINY), kind, aux)
    assert found.value.field == field


def test_each_pool_has_its_own_size_and_minimums():
    endpoint = Endpoint(TINY)
    allocator, frames = endpoint.allocator, TINY.pool_frames_min
    endpoint.note(EngineKind.POOL, {"head": 0, "block": 0, "frame": 0, "key": Mode.MXINT8, "aux": frames})
    assert [allocator.pools[mode].size for mode in Mode] == [TINY.pool_frames_max, frames]
    endpoint.note(EngineKind.QUOTA, {"head": 0, "block": 0, "frame": 0, "key": 2 * frames, "aux": frames + 1})
    refuse(endpoint, RefusalKind.POOL_SIZE, frames, block=Mode.EXACT)
    with pytest.raises(Mismatch, match="POOL_SIZE"):
        refuse(endpoint, RefusalKind.POOL_SIZE, frames, block=Mode.MXINT8)
    with pytest.raises(Mismatch) as found:
        endpoint.note(EngineKind.POOL, {"head": 0, "block": 0, "frame": 0, "key": 2, "aux": frames})
    assert found.value.field == "key"


# Streams --------------------------------------------------------------------------------------------------------------


def stream_writes(number, **values):
    return [(f"STREAM[{number}].{register}", value) for register, value in values.items()]


def test_a_stream_is_refused_as_its_set_of_blocks_says():
    """Against sets of block numbers: every block of the one region, none of another stream."""
    seed = 3
    print(f"seed {seed}")
    rng = random.Random(seed)
    width, verdicts = TINY.blocks_per_head, Counter()
    half = TINY.heads // 2 * width
    for _ in range(3000):
        registers = written(halved(), *[(f"REGION[{LAST}].CTRL", 1)] * rng.randrange(2))
        spans = [range(half)] + [range(half, 2 * half)] * registers.regions[LAST].enabled
        taken = set()
        for number in range(TINY.streams):
            base, length = rng.randrange(half + 4), rng.choice((1, 2, 3, rng.randrange(1, width)))
            stride = rng.choice((1, 1, 2, 4, 8, width))
            if rng.random() < 0.2:
                base = rng.choice((2 * half - 1, 2 * half, (1 << 32) - 1))
            if rng.random() < 0.1:
                length = rng.choice((0, (1 << 32) - 1, 1 << 31))
            if rng.random() < 0.1:
                stride = rng.choice((0, 3, 2 * width, 1 << 31))
            written(registers, *stream_writes(number, BASE=base, LENGTH=length, STRIDE=stride))
            blocks = None
            if stride in [1 << n for n in range(TINY.index_bits + 1)] and 1 <= length <= TINY.blocks:
                blocks = {base + position * stride for position in range(length)}
            expected = None
            if blocks is None or not any(blocks <= set(span) for span in spans):
                expected = RefusalKind.STREAM_RANGE
            elif blocks & taken:
                expected = RefusalKind.STREAM_OVERLAP
            address = csr.address(f"STREAM[{number}].CTRL")
            assert registers.refusal(address, 1) == expected, registers.streams
            verdicts[expected] += 1
            if expected is None:
                registers.write(address, 1)
                taken |= blocks
    assert len(verdicts) == 3 and min(verdicts.values()) > 100


def test_a_region_with_a_stream_stays_enabled_in_its_mode():
    registers = written(halved(), *stream_writes(0, BASE=1, LENGTH=2, CTRL=1))
    for word in (0, control(ENABLED=1, MODE=Mode.MXINT8)):
        assert not registers.legal(csr.address("REGION[0].CTRL"), word)
    assert registers.legal(csr.address("REGION[0].CTRL"), 1)
    assert registers.legal(csr.address(f"REGION[{LAST}].CTRL"), control(MODE=Mode.MXINT8))
    written(registers, *stream_writes(0, CTRL=0), ("REGION[0].CTRL", 0))


def test_the_endpoint_follows_refused_streams():
    endpoint = Endpoint(TINY)
    refuse(endpoint, RefusalKind.STREAM_RANGE, 1)
    for name, value in (*stream_writes(0, LENGTH=4, CTRL=1), *stream_writes(1, BASE=3, LENGTH=1)):
        note(endpoint, name, value)
    refuse(endpoint, RefusalKind.STREAM_OVERLAP, 1)
    with pytest.raises(Mismatch, match="STREAM_OVERLAP"):
        note(endpoint, "STREAM[1].CTRL", 1)
    assert endpoint.errors_owed[ErrorKind.REFUSED_COMMAND] == 2
