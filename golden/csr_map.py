"""The register map. Generated from `hw/csr.rdl` by `python -m hw.csr_documents`: do not edit."""

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
            "MAJOR": (16, 16, 1),
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
    "LANES": (
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
            "REASON": (4, 3, 0),
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
        },
    ),
}
