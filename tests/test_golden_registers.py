"""Golden policy and region registers: what is accepted stays, what is refused changes nothing."""

from dataclasses import replace

import pytest

from golden import csr
from golden.config import preset
from golden.endpoint import Endpoint
from golden.events import EngineKind
from golden.mismatch import Mismatch
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
