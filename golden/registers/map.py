"""The register map. Generated from `hw/registers/csr.rdl` by `make registers`: do not edit."""

__all__ = ["REGISTERS"]

#: {register: (byte address, {field: (lowest bit, bits, reset value or None if the configuration decides)})}
REGISTERS = {
    "ID": (
        0x000,
        {
            "VALUE": (0, 32, 1263945040),
        },
    ),
    "VERSION": (
        0x004,
        {
            "MINOR": (0, 16, 0),
            "MAJOR": (16, 16, 2),
        },
    ),
    "STATUS": (
        0x008,
        {
            "TABLE_READY": (0, 1, 0),
            "FLASH_UNWRITABLE": (1, 1, 0),
        },
    ),
    "ERROR": (
        0x00C,
        {
            "STEP_EXHAUSTED": (0, 1, 0),
            "AXI_READ": (1, 1, 0),
            "AXI_WRITE": (2, 1, 0),
            "PAGE_READ": (3, 1, 0),
            "PAGE_WRITE": (4, 1, 0),
            "FLASH_UNWRITABLE": (5, 1, 0),
            "REFUSED_COMMAND": (6, 1, 0),
            "BAD_BIRSP": (7, 1, 0),
            "SNOOP_TIMEOUT": (8, 1, 0),
            "NOT_OWNER": (9, 1, 0),
            "SHARED_WRITE": (10, 1, 0),
        },
    ),
    "STEP": (
        0x010,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HEADS": (
        0x020,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "BLOCKS_PER_HEAD": (
        0x024,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "REGIONS": (
        0x028,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "STEP_BITS": (
        0x02C,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "FRAMES": (
        0x030,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "POOL_FRAMES_MIN": (
        0x034,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "POOL_FRAMES_MAX": (
        0x038,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "PIN_CAP": (
        0x03C,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "BYPASS_SLOTS": (
        0x040,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "SWEEP_WIDTH": (
        0x044,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "QUEUE_DEPTH": (
        0x048,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "STREAMS": (
        0x04C,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "PREFETCH_QUEUE_DEPTH": (
        0x050,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "PREFETCH_SLOTS": (
        0x054,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "HOSTS": (
        0x058,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "FILTER_SETS": (
        0x05C,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "POLICY": (
        0x060,
        {
            "PRIORITY": (0, 2, 0),
            "SCORE": (4, 2, 0),
            "PROTECT": (8, 1, 1),
            "BYPASS": (9, 1, 1),
        },
    ),
    "ALPHA": (
        0x064,
        {
            "VALUE": (0, 16, 13107),
        },
    ),
    "LAMBDA": (
        0x068,
        {
            "VALUE": (0, 24, 337560),
        },
    ),
    "LEAP_CAP": (
        0x06C,
        {
            "VALUE": (0, 16, 256),
        },
    ),
    "PREFETCH": (
        0x070,
        {
            "ANNOUNCED": (0, 1, 0),
            "WINDOW": (1, 1, 0),
            "STREAMS": (2, 1, 0),
            "DEPTH": (8, 8, 12),
        },
    ),
    "PHASE": (
        0x074,
        {
            "RATIO": (0, 8, 10),
            "WINDOW": (8, 4, 10),
            "BURST": (12, 1, 1),
            "BURST_LINES": (16, 8, 32),
        },
    ),
    "DEVLOAD": (
        0x078,
        {
            "OPTIMAL": (0, 10, None),
            "MODERATE": (10, 10, None),
            "SEVERE": (20, 10, None),
        },
    ),
    "COHERENCY": (
        0x07C,
        {
            "TIMEOUT": (0, 24, 65535),
            "RECALL_ALL": (24, 1, 0),
        },
    ),
    "POOL_FRAMES": (
        0x080,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "HEAD_SELECT": (
        0x084,
        {
            "VALUE": (0, 16, 0),
        },
    ),
    "HEAD_BLOCK": (
        0x088,
        {
            "VALUE": (0, 16, 0),
        },
    ),
    "QUOTA_MIN": (
        0x08C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "QUOTA_MAX": (
        0x090,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "COMMAND": (
        0x094,
        {
            "PIN": (0, 1, 0),
            "UNPIN": (1, 1, 0),
            "QUOTA": (2, 1, 0),
        },
    ),
    "COMMAND_STATUS": (
        0x098,
        {
            "REFUSED": (0, 1, 0),
            "REASON": (4, 4, 0),
        },
    ),
    "POOL_FRAMES_MX": (
        0x09C,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "HEAD_HELD": (
        0x0A0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HEAD_MIN": (
        0x0A4,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HEAD_MAX": (
        0x0A8,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "FILTER_WAYS": (
        0x0B0,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "SNOOPS": (
        0x0B4,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "POOL_FRAMES_MIN_CACHED": (
        0x0B8,
        {
            "VALUE": (0, 32, None),
        },
    ),
    "SNOOP_LIMIT": (
        0x0BC,
        {
            "VALUE": (0, 13, None),
        },
    ),
    "TRACKER_TOUCHES": (
        0x0C0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "TRACKER_HITS": (
        0x0C4,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "TRACKER_MISSES": (
        0x0C8,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "TRACKER_FIRST_WRITES": (
        0x0CC,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "TRACKER_FRAMES_HELD": (
        0x0D0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "TRACKER_EVICTIONS": (
        0x0D4,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "TRACKER_SCORE_MEAN": (
        0x0D8,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_WINDOW": (
        0x0DC,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "POOL_HELD": (
        0x0E0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "POOL_HELD_MX": (
        0x0E4,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "COVERED_SECTORS": (
        0x0E8,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "SNOOPS_IN_FLIGHT": (
        0x0EC,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HELD_REQUESTS": (
        0x0F0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HITS": (
        0x100,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "MISSES": (
        0x104,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "FIRST_WRITES": (
        0x108,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "READS": (
        0x10C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "WRITES": (
        0x110,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "ZEROS": (
        0x114,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "NXM": (
        0x118,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "COMPLETED": (
        0x11C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "DROPPED": (
        0x120,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "CACHEABLE": (
        0x124,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "ILLEGAL": (
        0x128,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "CONFLICTS": (
        0x12C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "WINDOW": (
        0x130,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "UNWRITABLE": (
        0x134,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HINTS": (
        0x138,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HINTS_STALE": (
        0x13C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HINTS_MALFORMED": (
        0x140,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HINTS_EXHAUSTED": (
        0x144,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HINTED_BLOCKS": (
        0x148,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HINTED_AGAIN": (
        0x14C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PROMOTIONS": (
        0x150,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "ALLOCATIONS": (
        0x154,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "DEMOTIONS": (
        0x158,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "EVICTIONS": (
        0x15C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "RESTORES": (
        0x160,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "BYPASS_READS": (
        0x164,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "EVENT_STALLS": (
        0x168,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_QUEUED": (
        0x170,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_DROPPED": (
        0x174,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_OVERTAKEN": (
        0x178,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_ISSUED": (
        0x17C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_USEFUL": (
        0x180,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_LATE": (
        0x184,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_UNUSED": (
        0x188,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "PREFETCH_MET": (
        0x18C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "GRANTS_SHARED": (
        0x190,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "GRANTS_EXCLUSIVE": (
        0x194,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "RELEASES": (
        0x198,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "HELD": (
        0x19C,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "WRITE_BACKS": (
        0x1A0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "NOT_OWNER": (
        0x1A4,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "SHARED_WRITES": (
        0x1A8,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "BISNP": (
        0x1AC,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "BIRSP": (
        0x1B0,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "RECALLS": (
        0x1B4,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "BAD_BIRSP": (
        0x1B8,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "SNOOP_TIMEOUTS": (
        0x1BC,
        {
            "VALUE": (0, 32, 0),
        },
    ),
    "REGION[0].BASE_LO": (
        0x200,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[0].BASE_HI": (
        0x204,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[0].HEADS": (
        0x208,
        {
            "COUNT": (0, 13, None),
        },
    ),
    "REGION[0].FIRST_HEAD": (
        0x20C,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[0].CTRL": (
        0x210,
        {
            "ENABLED": (0, 1, 1),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[0].PHASE": (
        0x214,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[1].BASE_LO": (
        0x220,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[1].BASE_HI": (
        0x224,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[1].HEADS": (
        0x228,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[1].FIRST_HEAD": (
        0x22C,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[1].CTRL": (
        0x230,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[1].PHASE": (
        0x234,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[2].BASE_LO": (
        0x240,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[2].BASE_HI": (
        0x244,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[2].HEADS": (
        0x248,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[2].FIRST_HEAD": (
        0x24C,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[2].CTRL": (
        0x250,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[2].PHASE": (
        0x254,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[3].BASE_LO": (
        0x260,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[3].BASE_HI": (
        0x264,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[3].HEADS": (
        0x268,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[3].FIRST_HEAD": (
        0x26C,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[3].CTRL": (
        0x270,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[3].PHASE": (
        0x274,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[4].BASE_LO": (
        0x280,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[4].BASE_HI": (
        0x284,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[4].HEADS": (
        0x288,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[4].FIRST_HEAD": (
        0x28C,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[4].CTRL": (
        0x290,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[4].PHASE": (
        0x294,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[5].BASE_LO": (
        0x2A0,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[5].BASE_HI": (
        0x2A4,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[5].HEADS": (
        0x2A8,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[5].FIRST_HEAD": (
        0x2AC,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[5].CTRL": (
        0x2B0,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[5].PHASE": (
        0x2B4,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[6].BASE_LO": (
        0x2C0,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[6].BASE_HI": (
        0x2C4,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[6].HEADS": (
        0x2C8,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[6].FIRST_HEAD": (
        0x2CC,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[6].CTRL": (
        0x2D0,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[6].PHASE": (
        0x2D4,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "REGION[7].BASE_LO": (
        0x2E0,
        {
            "ADDRESS": (6, 26, 0),
        },
    ),
    "REGION[7].BASE_HI": (
        0x2E4,
        {
            "ADDRESS": (0, 20, 0),
        },
    ),
    "REGION[7].HEADS": (
        0x2E8,
        {
            "COUNT": (0, 13, 0),
        },
    ),
    "REGION[7].FIRST_HEAD": (
        0x2EC,
        {
            "NUMBER": (0, 12, 0),
        },
    ),
    "REGION[7].CTRL": (
        0x2F0,
        {
            "ENABLED": (0, 1, 0),
            "MODE": (1, 1, 0),
            "CACHED": (2, 1, 0),
            "HOSTS": (4, 2, 1),
        },
    ),
    "REGION[7].PHASE": (
        0x2F4,
        {
            "VALUE": (0, 1, 0),
        },
    ),
    "STREAM[0].BASE": (
        0x300,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[0].LENGTH": (
        0x304,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[0].STRIDE": (
        0x308,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[0].AHEAD": (
        0x30C,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[0].CTRL": (
        0x310,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[0].POSITION": (
        0x314,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[1].BASE": (
        0x320,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[1].LENGTH": (
        0x324,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[1].STRIDE": (
        0x328,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[1].AHEAD": (
        0x32C,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[1].CTRL": (
        0x330,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[1].POSITION": (
        0x334,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[2].BASE": (
        0x340,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[2].LENGTH": (
        0x344,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[2].STRIDE": (
        0x348,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[2].AHEAD": (
        0x34C,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[2].CTRL": (
        0x350,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[2].POSITION": (
        0x354,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[3].BASE": (
        0x360,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[3].LENGTH": (
        0x364,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[3].STRIDE": (
        0x368,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[3].AHEAD": (
        0x36C,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[3].CTRL": (
        0x370,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[3].POSITION": (
        0x374,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[4].BASE": (
        0x380,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[4].LENGTH": (
        0x384,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[4].STRIDE": (
        0x388,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[4].AHEAD": (
        0x38C,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[4].CTRL": (
        0x390,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[4].POSITION": (
        0x394,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[5].BASE": (
        0x3A0,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[5].LENGTH": (
        0x3A4,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[5].STRIDE": (
        0x3A8,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[5].AHEAD": (
        0x3AC,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[5].CTRL": (
        0x3B0,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[5].POSITION": (
        0x3B4,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[6].BASE": (
        0x3C0,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[6].LENGTH": (
        0x3C4,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[6].STRIDE": (
        0x3C8,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[6].AHEAD": (
        0x3CC,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[6].CTRL": (
        0x3D0,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[6].POSITION": (
        0x3D4,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
    "STREAM[7].BASE": (
        0x3E0,
        {
            "INDEX": (0, 32, 0),
        },
    ),
    "STREAM[7].LENGTH": (
        0x3E4,
        {
            "COUNT": (0, 32, 0),
        },
    ),
    "STREAM[7].STRIDE": (
        0x3E8,
        {
            "BLOCKS": (0, 32, 1),
        },
    ),
    "STREAM[7].AHEAD": (
        0x3EC,
        {
            "BLOCKS": (0, 8, 4),
        },
    ),
    "STREAM[7].CTRL": (
        0x3F0,
        {
            "ENABLED": (0, 1, 0),
        },
    ),
    "STREAM[7].POSITION": (
        0x3F4,
        {
            "BLOCKS": (0, 32, 0),
        },
    ),
}
