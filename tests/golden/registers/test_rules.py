"""Golden policy and region registers: what is accepted stays, what is refused changes nothing."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Grant
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy, Priority
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, RefusalKind
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.frames.allocator import Allocator
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind
from kv_endpoint.golden.registers import rules as csr
from kv_endpoint.golden.registers.state import Registers

TINY = preset("tiny")
LAST = TINY.regions - 1
#: words of CTRL of a region of the first host
OFF, ON = 0x10, 0x11


def written(registers, *writes):
    for name, value in writes:
        registers.write(csr.address(name), value)
    return registers


def halved():
    """The first region has half of the heads, the last one is set up for the others but still off."""
    half = TINY.heads // 2
    return written(
        Registers(TINY),
        ("REGION[0].CTRL", OFF), ("REGION[0].HEADS", half), ("REGION[0].CTRL", ON),
        (f"REGION[{LAST}].FIRST_HEAD", half), (f"REGION[{LAST}].HEADS", half),
    )  # fmt: skip


def test_reset_is_that_of_policy_and_regions():
    registers = Registers(TINY)
    assert (registers.policy, registers.regions) == (Policy(), csr.reset_regions(TINY))
    assert Registers(TINY, Policy(alpha=1)).policy == Policy(alpha=1)


def test_writes_add_up():
    registers = written(Registers(TINY), ("POLICY", csr.pack("POLICY", PRIORITY=Priority.LRU)), ("ALPHA", 7))
    assert registers.policy == replace(Policy(), priority=Priority.LRU, protect=False, bypass=False, alpha=7)
    registers = written(halved(), (f"REGION[{LAST}].CTRL", ON))
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
        written(registers, (f"REGION[{LAST}].CTRL", ON))


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
    endpoint = Follower(TINY)
    note(endpoint, "LEAP_CAP", 9)
    assert endpoint.policy == Policy(leap_cap=9)
    for name, value, field in (("POOL_FRAMES", 8, "key"), ("POLICY", 3, "aux"), ("REGION[0].HEADS", 1, "aux")):
        with pytest.raises(Mismatch) as found:
            note(endpoint, name, value)
        assert found.value.field == field


# Modes ----------------------------------------------------------------------------------------------------------------


def control(**fields):
    return csr.pack("REGION[0].CTRL", **{"HOSTS": 1} | fields)


def test_heads_get_the_mode_of_their_region_when_it_is_enabled():
    registers, half = halved(), TINY.heads // 2
    written(registers, (f"REGION[{LAST}].CTRL", control(MODE=Mode.MXINT8)))
    assert registers.modes == [Mode.EXACT] * TINY.heads
    written(registers, (f"REGION[{LAST}].CTRL", control(ENABLED=1, MODE=Mode.MXINT8)))
    expected = [Mode.EXACT] * half + [Mode.MXINT8] * (TINY.heads - half)
    assert registers.modes == expected
    written(registers, (f"REGION[{LAST}].CTRL", OFF))
    assert registers.modes == expected


def test_a_head_that_is_occupied_keeps_its_mode_and_so_does_the_whole_region():
    registers, last = halved(), TINY.heads - 1
    written(registers, (f"REGION[{LAST}].CTRL", ON))
    name, word = f"REGION[{LAST}].CTRL", control(ENABLED=1, MODE=Mode.MXINT8)
    assert registers.refusal(csr.address(name), word, {last}) == RefusalKind.MODE_BUSY
    with pytest.raises(ValueError, match="MODE_BUSY"):
        registers.write(csr.address(name), word, {last})
    assert registers.modes == [Mode.EXACT] * TINY.heads and registers.regions[LAST].mode == Mode.EXACT
    # It may be enabled again in its own mode, and others may move.
    registers.write(csr.address(name), OFF, {last})
    registers.write(csr.address(name), ON, {last})
    registers.write(csr.address(name), word, {0})
    assert registers.modes[last] == Mode.MXINT8
    # Now the mode that it has is the other one.
    assert registers.refusal(csr.address(name), ON, {last}) == RefusalKind.MODE_BUSY
    assert registers.refusal(csr.address(name), word, {last}) is None


def endpoint_with_blocks(head):
    endpoint = Follower(TINY)
    endpoint.slot(Slot(SlotKind.WRITE, rwd=True, head=head))
    return endpoint


@pytest.mark.parametrize("occupy", ["written", "minimum"])
def test_the_endpoint_refuses_another_mode_to_heads_with_blocks_or_a_minimum(occupy):
    endpoint = Follower(TINY)
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
        refuse(Follower(TINY), kind, aux)
    assert found.value.field == field


def test_each_pool_has_its_own_size_and_minimums():
    endpoint = Follower(TINY)
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


# Coherency ------------------------------------------------------------------------------------------------------------


CTRL = csr.address("REGION[0].CTRL")
CACHED = control(ENABLED=1, CACHED=1)
PAIR = preset("tiny", hosts=2)


def test_control_is_the_word_of_a_region():
    registers = Registers(PAIR)
    for mode, cached, hosts in ((Mode.EXACT, True, 3), (Mode.MXINT8, True, 2), (Mode.EXACT, False, 1)):
        region = replace(registers.regions[0], mode=mode, cached=cached, hosts=hosts)
        word = csr.control(region, enabled=True)
        registers.write(CTRL, word)
        region = registers.regions[0]
        assert (region.enabled, region.mode, region.cached, region.hosts) == (True, mode, cached, hosts)
        assert csr.control(region) == word
        registers.write(CTRL, csr.control(region, enabled=False))
        assert registers.regions[0] == replace(region, enabled=False)


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_region_belongs_to_hosts_that_exist(hosts):
    registers = Registers(preset("tiny", hosts=hosts))
    legal = [mask for mask in range(4) if registers.legal(CTRL, control(ENABLED=1, CACHED=1, HOSTS=mask))]
    assert legal == list(range(1, 1 << hosts))


def test_a_cached_region_begins_with_a_sector_of_the_filter():
    on = control(ENABLED=1, CACHED=1)
    for base, cached_is_legal in ((0, True), (64, False), (128, False), (192, False), (256, True)):
        registers = written(Registers(TINY), ("REGION[0].CTRL", OFF), ("REGION[0].BASE_LO", base))
        assert registers.legal(CTRL, on) == cached_is_legal
        assert registers.legal(CTRL, ON)


def test_heads_of_enabled_cached_regions_are_cached():
    registers, half = halved(), TINY.heads // 2
    written(registers, ("REGION[0].CTRL", CACHED))
    assert registers.cached == [True] * half + [False] * (TINY.heads - half)
    written(registers, ("REGION[0].CTRL", control(CACHED=1)))
    assert registers.cached == [False] * TINY.heads


def test_a_cached_region_stays_as_it_is_while_lines_are_covered():
    registers = Registers(PAIR)
    registers.write(CTRL, CACHED)
    changes = [control(CACHED=1), ON, control(ENABLED=1, CACHED=1, HOSTS=2), control(ENABLED=1, CACHED=1, HOSTS=3)]
    for word in changes:
        assert registers.refusal(CTRL, word, covered=1) == RefusalKind.COVERED
        assert registers.refusal(CTRL, word) is None
        with pytest.raises(ValueError, match="COVERED"):
            registers.write(CTRL, word, covered=1)
    assert registers.refusal(CTRL, CACHED, covered=1) is None
    # Lines of one region do not keep another from being cached.
    registers.write(CTRL, ON)
    assert registers.refusal(CTRL, CACHED, covered=1) is None


def test_shared_regions_are_cached_and_exact():
    registers = Registers(PAIR)
    assert registers.refusal(CTRL, control(ENABLED=1, CACHED=1, HOSTS=3)) is None
    for fields in ({}, {"CACHED": 1, "MODE": Mode.MXINT8}, {"MODE": Mode.MXINT8}):
        assert registers.refusal(CTRL, control(ENABLED=1, HOSTS=3, **fields)) == RefusalKind.SHARED_MODE
        assert registers.refusal(CTRL, control(HOSTS=3, **fields)) is None
        assert registers.refusal(CTRL, control(ENABLED=1, HOSTS=2, **fields)) is None


@pytest.mark.parametrize("mode", Mode)
def test_a_pool_of_a_cached_region_is_large_enough(mode):
    registers, least = Registers(PAIR), PAIR.pool_frames_min_cached
    word = control(ENABLED=1, CACHED=1, MODE=mode)
    for frames, expected in ((least, None), (least - 1, RefusalKind.POOL_CACHED)):
        pools = {mode: frames, Mode(1 - mode): 2 * least - 1 - frames}
        assert registers.refusal(CTRL, word, pool_frames=pools) == expected
        assert registers.refusal(CTRL, word & ~1, pool_frames=pools) is None
        assert registers.refusal(CTRL, control(ENABLED=1, MODE=mode), pool_frames=pools) is None
    allocator = Allocator(PAIR, modes=registers.modes, cached=registers.cached)
    assert allocator.pool_refusal(least - 1, mode) is None
    registers.write(CTRL, word)
    assert allocator.pool_refusal(least - 1, mode) == RefusalKind.POOL_CACHED
    assert allocator.pool_refusal(least - 1, Mode(1 - mode)) is None
    assert allocator.pool_refusal(least, mode) is None
    assert allocator.pool_refusal(PAIR.pool_frames_min - 1, mode) == RefusalKind.POOL_SIZE


def test_counters_of_grants_and_write_backs():
    def counted(kind, outcome, **fields):
        return set(csr.counted(kind, outcome, False, False, False, **fields))

    for grant, names in ((Grant.CMP, set()), (Grant.CMP_S, {"GRANTS_SHARED"}), (Grant.CMP_E, {"GRANTS_EXCLUSIVE"})):
        assert counted(SlotKind.READ, Outcome.HIT, grant=grant) == {"READS", *names}
        assert counted(SlotKind.READ, Outcome.ZEROS, grant=grant) == {"READS", "ZEROS", *names}
        assert counted(SlotKind.REPLAY_READ, Outcome.HIT, grant=grant) == names
    for outcome in (Outcome.HELD_LINE, Outcome.HELD_WAY, Outcome.HELD_TABLE):
        for kind in (SlotKind.READ, SlotKind.REPLAY_READ, SlotKind.RELEASE):
            assert counted(kind, outcome) == {"HELD"}
    assert counted(SlotKind.RELEASE, Outcome.DONE) == {"RELEASES"}
    for access in Access:
        owned = {"WRITE_BACKS"} if access in (Access.WRITE_BACK, Access.WRITE_KEEP) else set()
        assert counted(SlotKind.WRITE, Outcome.HIT, access=access) == {"WRITES", *owned}
        assert counted(SlotKind.REPLAY_WRITE, Outcome.HIT, access=access) == set()
        assert counted(SlotKind.WRITE, Outcome.NOT_OWNER, access=access) == {"NOT_OWNER"}
    assert counted(SlotKind.ANSWER, Outcome.SHARED_WRITE) == {"SHARED_WRITES"}


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
        registers = written(halved(), *[(f"REGION[{LAST}].CTRL", ON)] * rng.randrange(2))
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
    for word in (OFF, control(ENABLED=1, MODE=Mode.MXINT8)):
        assert not registers.legal(csr.address("REGION[0].CTRL"), word)
    assert registers.legal(csr.address("REGION[0].CTRL"), ON)
    assert registers.legal(csr.address(f"REGION[{LAST}].CTRL"), control(MODE=Mode.MXINT8))
    written(registers, *stream_writes(0, CTRL=0), ("REGION[0].CTRL", OFF))


def test_the_endpoint_follows_refused_streams():
    endpoint = Follower(TINY)
    refuse(endpoint, RefusalKind.STREAM_RANGE, 1)
    for name, value in (*stream_writes(0, LENGTH=4, CTRL=1), *stream_writes(1, BASE=3, LENGTH=1)):
        note(endpoint, name, value)
    refuse(endpoint, RefusalKind.STREAM_OVERLAP, 1)
    with pytest.raises(Mismatch, match="STREAM_OVERLAP"):
        note(endpoint, "STREAM[1].CTRL", 1)
    assert endpoint.errors_owed[ErrorKind.REFUSED_COMMAND] == 2
