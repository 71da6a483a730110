"""The golden endpoint reaches the hit rates that the policies reach in real numbers, row by row of the table."""

import pytest

from tests.support.policy_figures import REFERENCE, SETTINGS, hit_rate

#: fixed point, and the order of accesses within a step that `lru` cannot see
TOLERANCE = 0.005
#: A hint dates the entry, and `product` goes by its age: announced blocks are protected even where protection is off.
#: So only the announced row of `product` means the same in both.
DIFFERENT = ("product",)


MEANT = [setting for setting in SETTINGS if setting not in DIFFERENT]
#: each priority once, and each rule that can be switched off, where it makes a difference
SHORT = {
    ("split", "layer", 0.125): "decayed, announced, bypass",
    ("shared", "layer", 0.25): "product, announced",
    ("shared", "step", 0.25): "lru",
}


@pytest.mark.parametrize(
    ("case", "setting"),
    [
        pytest.param(
            case, setting, id=f"{' '.join(map(str, case))}: {setting}",
            marks=() if SHORT.get(case) == setting else pytest.mark.long,
        )
        for case in REFERENCE for setting in MEANT
    ],
)  # fmt: skip
def test_hit_rate_is_that_of_the_policy_in_real_numbers(case, setting):
    reference = REFERENCE[case][list(SETTINGS).index(setting)]
    assert hit_rate(*case, setting) == pytest.approx(reference, abs=TOLERANCE)
