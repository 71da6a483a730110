"""Timing of what stands around the block: every parameter in one place, with its source."""

from dataclasses import asdict, dataclass

__all__ = ["Timing", "SCALED_TIMING"]


@dataclass(frozen=True)
class Timing:
    """Latencies in clocks of the block."""

    #: one clock of the block, ns
    clock_ns: float
    #: AXI read data, and write response, after the address: a fixed latency until the DDR5 model exists
    ddr_clocks: int
    #: from page command to completion
    flash_read_clocks: int
    flash_program_clocks: int
    #: whether flash is faster here than the 25 us of the real part
    scaled: bool

    def ns(self, clocks):
        return clocks * self.clock_ns

    def as_dict(self):
        return asdict(self)


#: Presets below `llama70b`. DDR5: an idle DDR5-6400 bank conflict, RP + RCD + CL of 46 clocks each and a burst of 8 at
#: 0.312 ns are 45.5 ns. Flash: 25 us, the read time of the real part, scaled down fiftyfold.
SCALED_TIMING = Timing(clock_ns=1, ddr_clocks=45, flash_read_clocks=500, flash_program_clocks=500, scaled=True)
