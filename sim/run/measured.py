"""What a run measured, before it becomes a result."""

from collections import Counter
from dataclasses import dataclass, field

from kv_endpoint.sim.results.statistics import Statistics

__all__ = ["Measured"]


@dataclass
class Measured:
    """`None` stands for what this kind of run cannot know: the golden model alone has no clocks."""

    statistics: Statistics
    wall_seconds: float
    #: records that the golden endpoint compared, victims among them, and the first difference in words
    checked: int = 0
    exact_victims: int = 0
    mismatch: str | None = None
    #: reads and writes of whole lines by the host
    host_reads: int = 0
    host_writes: int = 0
    cycles: int | None = None
    ddr_bytes_read: int | None = None
    ddr_bytes_written: int | None = None
    #: of these, what went through the endpoint's own port: all but the pages
    port_bytes_read: int | None = None
    port_bytes_written: int | None = None
    #: clocks from a message's first offer to its last response, one number a message
    latencies: list | None = None
    #: responses by the load that they report (`golden.common.messages.DevLoad`)
    loads: dict | None = None
    #: what snoops and held requests came to (`tb.runs.batch.COHERENCY`)
    coherency: dict | None = None
    #: reads whose data was compared, and everything that went wrong, by name
    reads_compared: int = 0
    errors: Counter = field(default_factory=Counter)
    #: what went wrong in words, one a line
    complaints: list = field(default_factory=list)
