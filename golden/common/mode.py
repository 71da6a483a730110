"""What a region's memory keeps of the data: the mode, and what a frame is made of in it."""

from dataclasses import dataclass
from enum import IntEnum

from kv_endpoint.golden.common.config import LINES_PER_BLOCK

__all__ = ["Frame", "FRAMES", "Mode"]


class Mode(IntEnum):
    """How a region's blocks are stored. Each mode has a pool of frames of its own."""

    #: what is written is what is read
    EXACT = 0
    #: lossy: FP16 values as INT8 elements with one scale a line (`golden/data/mxint8.py`)
    MXINT8 = 1


@dataclass(frozen=True)
class Frame:
    """DDR5 lines of a frame: data lines, and the sidecar rows that say what they mean. A page is the same."""

    data_lines: int
    sidecar_rows: int

    @property
    def lines(self):
        return self.data_lines + self.sidecar_rows


FRAMES = {
    Mode.EXACT: Frame(data_lines=LINES_PER_BLOCK, sidecar_rows=1),
    # half a line a line; a scale byte a line
    Mode.MXINT8: Frame(data_lines=LINES_PER_BLOCK // 2, sidecar_rows=2),
}
