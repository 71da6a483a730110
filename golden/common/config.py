"""Configuration of the endpoint: a frozen dataclass, derived parameters, named presets.

Everything that has a size lives here, so that golden model, RTL, bench and program agree by construction.
"""

from dataclasses import dataclass, fields, replace

__all__ = ["ConfigError", "Config", "PRESETS", "preset"]

LINE_BYTES = 64
LINES_PER_BLOCK = 128
TOKENS_PER_BLOCK = 16
HEAD_DIM = 128
#: lines of a sector of the snoop filter
SECTOR_LINES = 4
EMA_BITS = 20
ENTRY_BITS = 64
#: state (3) and the five flags dirty, pinned, announced, touched, prefetched
ENTRY_FIXED_BITS = EMA_BITS + 3 + 5


class ConfigError(ValueError):
    """A configuration that cannot be built: names the field, the value and the rule."""


def _is_power_of_two(value):
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class Config:
    """Parameters of one build of the block. Counts unless a unit is given."""

    name: str
    #: KV heads over all regions (any number) and blocks of one head (a power of two)
    heads: int
    blocks_per_head: int
    #: width of the step counter in a metadata entry
    step_bits: int
    #: metadata entries a sweep examines a clock
    sweep_width: int = 1
    #: independent address regions, each a run of heads
    regions: int = 2
    #: block numbers that a head's victim queue remembers
    queue_depth: int = 8
    #: frames beyond the run's own: demotions in progress, writes only, and bypass slots
    spare_frames: int = 4
    reserve_frames: int = 2
    bypass_slots: int = 8
    #: most pinned blocks at once
    pin_cap: int = 4
    #: reads and writes accepted and not yet answered
    read_slots: int = 64
    write_slots: int = 32
    #: hosts that can share a region
    hosts: int = 1
    #: snoop filter, sectors of 4 lines: sets and ways; snoops outstanding at once, which is the number of BITags
    filter_sets: int = 32
    filter_ways: int = 4
    snoops: int = 32
    #: blocks with a miss in progress, of these only for writes, and demotions in progress
    miss_slots: int = 16
    miss_slots_for_writes: int = 2
    demotion_slots: int = 4
    #: sidecar cache, lines
    sidecar_cache_rows: int = 64
    #: prefetches that wait for their turn, of each source; misses opened by prefetch at once; stream descriptors
    prefetch_queue_depth: int = 32
    prefetch_slots: int = 8
    streams: int = 4
    #: data operations looked up in the sidecar cache ahead of their turn
    data_queue_depth: int = 16
    #: records buffered in each lane of the event port
    event_fifo_depth: int = 16
    #: failed page writes in a row after which flash counts as unwritable
    flash_failure_limit: int = 8

    def __post_init__(self):
        def require(field, ok, rule):
            if not ok:
                raise ConfigError(f"preset {self.name!r}: {field} = {getattr(self, field)!r}: must be {rule}")

        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "name":
                require(field.name, isinstance(value, int) and value >= 0, "a non-negative integer")
        require("heads", 1 <= self.heads <= 4096, "1 to 4096")
        require("blocks_per_head", _is_power_of_two(self.blocks_per_head), "a power of two")
        require("blocks_per_head", 2 <= self.blocks_per_head <= 65536, "2 to 65536 (a hint names a block in 16 bits)")
        require(
            "heads",
            self.heads <= self.blocks_per_head * LINES_PER_BLOCK,
            f"at most {self.blocks_per_head * LINES_PER_BLOCK}, the lines of a head (hint window: a line a head)",
        )
        require("step_bits", 17 <= self.step_bits <= 32, "17 to 32 (a hint header carries 16 bits)")
        require("sweep_width", self.sweep_width in (1, 2, 4), "1, 2 or 4")
        require("regions", 1 <= self.regions <= 8, "1 to 8")
        require("queue_depth", 2 <= self.queue_depth <= 256, "2 to 256")
        require("spare_frames", self.spare_frames >= 1, "at least 1")
        require("reserve_frames", self.reserve_frames >= 1, "at least 1")
        require("bypass_slots", 1 <= self.bypass_slots <= 8, "1 to 8")
        require("read_slots", _is_power_of_two(self.read_slots), "a power of two (it is an AXI ID)")
        require("write_slots", _is_power_of_two(self.write_slots), "a power of two (it is an AXI ID)")
        require("miss_slots", _is_power_of_two(self.miss_slots), "a power of two")
        require(
            "miss_slots_for_writes",
            1 <= self.miss_slots_for_writes < self.miss_slots,
            f"1 to miss_slots - 1 = {self.miss_slots - 1}",
        )
        for_demand = self.miss_slots - self.miss_slots_for_writes - 1
        require("prefetch_slots", self.prefetch_slots <= for_demand, f"0 to {for_demand}, so that demand has slots")
        require("prefetch_queue_depth", _is_power_of_two(self.prefetch_queue_depth), "a power of two")
        require("streams", 1 <= self.streams <= 8, "1 to 8")
        require("hosts", self.hosts in (1, 2), "1 or 2")
        require("filter_sets", self.filter_sets >= 2 and _is_power_of_two(self.filter_sets), "a power of two from 2")
        sectors = self.blocks * LINES_PER_BLOCK // SECTOR_LINES
        require("filter_sets", self.filter_sets <= sectors, f"at most {sectors}, the sectors of all blocks")
        require("filter_ways", 2 <= self.filter_ways <= 16, "2 to 16 (one is kept free)")
        require("snoops", 2 <= self.snoops <= 4096 and _is_power_of_two(self.snoops), "a power of two, 2 to 4096")
        require("demotion_slots", _is_power_of_two(self.demotion_slots), "a power of two")
        require("sidecar_cache_rows", _is_power_of_two(self.sidecar_cache_rows), "a power of two")
        require("data_queue_depth", self.data_queue_depth >= 2, "at least 2")
        require("event_fifo_depth", self.event_fifo_depth >= 16, "at least 16 (twice the slots in flight)")
        require(
            "step_bits",
            self.frame_bits >= 1 and (1 << self.frame_bits) >= self.frames,
            f"small enough to leave frame bits for {self.frames} frames in {ENTRY_BITS} bits",
        )

    # Derived parameters

    @property
    def blocks(self):
        """Metadata entries, and pages of flash."""
        return self.heads * self.blocks_per_head

    @property
    def head_bits(self):
        return max(1, (self.heads - 1).bit_length())

    @property
    def block_bits(self):
        return (self.blocks_per_head - 1).bit_length()

    @property
    def index_bits(self):
        """Width of a metadata index, {head, block}: also the flash page number."""
        return self.head_bits + self.block_bits

    @property
    def line_bits(self):
        return (LINES_PER_BLOCK - 1).bit_length()

    @property
    def frame_bits(self):
        return ENTRY_BITS - ENTRY_FIXED_BITS - self.step_bits

    @property
    def pool_frames_max(self):
        """Largest value of the pool-size register: every block resident."""
        return self.blocks

    @property
    def bypass_base(self):
        """First frame of the bypass slots; the frames below it are the pool, spare and reserve frames."""
        return self.pool_frames_max + self.spare_frames + self.reserve_frames

    @property
    def frames(self):
        """All frames the DDR5 has room for."""
        return self.bypass_base + self.bypass_slots

    @property
    def pool_frames_min(self):
        """Smallest pool that always leaves an evictable frame (DESIGN: pins and migrations in flight stay below it)."""
        return self.pin_cap + self.demotion_slots + 1

    @property
    def filter_sectors(self):
        return self.filter_sets * self.filter_ways

    @property
    def kept_blocks(self):
        """Blocks that stay in their frames for held reads (`golden.coherency.kept_blocks`)."""
        return min(8, self.read_slots)

    @property
    def filter_set_bits(self):
        return (self.filter_sets - 1).bit_length()

    @property
    def sector_bits(self):
        """Width of a sector's number, {head, block, sector of the block}."""
        return self.index_bits + (LINES_PER_BLOCK // SECTOR_LINES - 1).bit_length()

    def split_sector(self, sector):
        """(head, block, sector of the block) of a sector's number."""
        index, local = divmod(sector, LINES_PER_BLOCK // SECTOR_LINES)
        return (*divmod(index, self.blocks_per_head), local)

    @property
    def pool_frames_min_cached(self):
        """Smallest pool whose lines hosts may cache: more than the frames kept by covered blocks, pins, migrations.

        A sector in use covers one block.
        """
        return self.filter_sectors + self.kept_blocks + self.pool_frames_min

    @property
    def key_bits(self):
        """Signed eviction key, 20 fraction bits: step x lambda (UQ4.20) plus log2(ema), and a sign."""
        return self.step_bits + 4 + EMA_BITS + 1

    @property
    def mxint8_base(self):
        """DDR5 line number of the data lines of frame 0 of mode mxint8; before it lie those of mode exact."""
        return self.frames * LINES_PER_BLOCK

    @property
    def sidecar_base(self):
        """DDR5 line number of sidecar row 0 (`sidecar_row`); sidecar rows lie after all data lines."""
        return self.mxint8_base + self.frames * LINES_PER_BLOCK // 2

    @property
    def row_bits(self):
        """Width of a sidecar row's number."""
        return self.frame_bits + 2

    def sidecar_row(self, mode, frame, line=0):
        """Number of the sidecar row that describes line `line` of a frame, from 0.

        Mode exact has rows 0 .. frames - 1; mode mxint8 has two a frame, {1, frame, top bit of the line}, so that no
        row is found by adding.
        """
        if not mode:
            return frame
        return 1 << self.row_bits - 1 | frame << 1 | line >> self.line_bits - 1

    def data_line(self, mode, frame, line):
        """DDR5 line number that holds line `line` of a frame; in mode mxint8 two lines share one, the even one low."""
        if not mode:
            return frame * LINES_PER_BLOCK + line
        return self.mxint8_base + frame * LINES_PER_BLOCK // 2 + line // 2

    def frame_lines(self, mode, frame):
        """DDR5 line numbers of a frame in the order of its page: data lines, then sidecar rows."""
        lines = range(0, LINES_PER_BLOCK, 2 if mode else 1)
        rows = dict.fromkeys(self.sidecar_row(mode, frame, line) for line in lines)
        return (*(self.data_line(mode, frame, line) for line in lines), *(self.sidecar_base + row for row in rows))

    @property
    def memory_lines(self):
        return self.sidecar_base + self.sidecar_row(1, self.frames)

    @property
    def memory_address_bits(self):
        """Byte address width of the DDR5 port."""
        return (self.memory_lines * LINE_BYTES - 1).bit_length()


PRESETS = {
    config.name: config
    for config in (
        Config(
            name="tiny",
            heads=4,
            blocks_per_head=16,
            step_bits=29,
            queue_depth=4,
            spare_frames=2,
            bypass_slots=4,
            pin_cap=2,
            read_slots=32,
            write_slots=16,
            miss_slots=4,
            miss_slots_for_writes=1,
            demotion_slots=2,
            prefetch_queue_depth=4,
            prefetch_slots=2,
            streams=2,
            sidecar_cache_rows=8,
            filter_sets=4,
            filter_ways=2,
            snoops=4,
        ),
        Config(name="small", heads=32, blocks_per_head=64, step_bits=24, sidecar_cache_rows=256),
    )
}


def preset(name, **overrides):
    """The preset called `name`, with fields replaced by `overrides`. Raises `ConfigError` for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: must be one of {', '.join(PRESETS)}")
    known = {field.name for field in fields(Config)}
    for field in overrides:
        if field not in known:
            raise ConfigError(f"preset {name!r}: no field {field!r}; the fields are {', '.join(sorted(known))}")
    return replace(PRESETS[name], **overrides)
