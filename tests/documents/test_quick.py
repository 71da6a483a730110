"""`make quick` has a test of each block."""

import pytest

from tests.support.paths import ROOT

HW = ROOT / "tests" / "hw"
#: files without one, and why
WITHOUT = {
    "coherency/test_unit.py": "rules of messages, of golden models alone",
    "coherency/test_waiting.py": "the smallest takes nine seconds",
    "data/mxint8/test_million_lines.py": "needs a build of its own",
    "data/test_datapath_mxint8.py": "the block of test_datapath.py",
    "data/test_datapath_order.py": "the block of test_datapath.py",
    "frames/test_pools.py": "the whole endpoint, as in lock-step",
    "test_area.py": "no block",
    "test_verilog.py": "no block",
}


@pytest.mark.parametrize("file", sorted(str(path.relative_to(HW)) for path in HW.rglob("test_*.py")))
def test_each_block_has_a_quick_test(file):
    assert ("@pytest.mark.quick" in (HW / file).read_text()) != (file in WITHOUT)


def test_lock_step_has_a_quick_test():
    assert any("@pytest.mark.quick" in path.read_text() for path in (ROOT / "tests" / "lockstep").glob("test_*.py"))
