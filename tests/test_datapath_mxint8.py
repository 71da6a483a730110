"""The datapath in mode mxint8, alone and beside mode exact, against `golden.datapath.Mxint8Frames`."""

import pytest

from golden import sidecar
from golden.config import LINE_BYTES, LINES_PER_BLOCK, preset
from golden.datapath import ALL_BYTES, ALL_ONES
from golden.metadata import DataKind
from golden.mode import FRAMES as FRAME_OF
from golden.mode import Mode
from golden.mxint8 import NAN, NOT_FINITE, POISONED, ZERO, compress, decompress
from hw.layouts import SidecarKind
from tests.datapath_bench import TINY, Bench, fp16_line, random_be, random_operation

MX = Mode.MXINT8
ONE = 0x3C00
NAN_LINE = sum(NAN << 16 * i for i in range(32))


def data_line(frame, line):
    return TINY.data_line(MX, frame, line)


# Random mixes ------------------------------------------------------------------------------------------------------

MEMORIES = {"ideal": ((1, 1), 0.0), "slow": ((30, 30), 0.0), "reordering": ((1, 40), 0.3), "stalling": ((2, 6), 0.6)}


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("modes", [(MX,), tuple(Mode)], ids=["mxint8", "both"])
@pytest.mark.parametrize("spread", ["few lines", "many frames"])
def test_random_operations_answer_as_the_golden_model_says(memory, modes, spread):
    latency, stall = MEMORIES[memory]
    frames, lines = ((3, 4), range(6)) if spread == "few lines" else (range(12), range(LINES_PER_BLOCK))

    async def scenario(bench):
        await bench.start(frames, modes)
        for _ in range(400):
            random_operation(bench, frames, lines, modes)
            while bench.backlog > 4:
                await bench.clock()
        await bench.settle()
        assert not bench.errors

    Bench(seed=f"{memory} {spread} {modes}", latency=latency, stall=stall).run(scenario)
