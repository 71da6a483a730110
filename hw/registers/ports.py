"""Where the ports of the register block meet its fields."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from golden.common.mode import Mode
from hw.common import layouts
from hw.pipeline.tracker import head_counters

__all__ = ["coherency", "drive", "status"]


def coherency():
    """What the host sets for snoops.

    `timeout`: clocks after which one is late (0: none). `recall_all`: every line is to be taken back. `snoop_limit`:
    how many are under way at most.
    """
    return data.StructLayout({"timeout": 24, "recall_all": 1, "snoop_limit": 13})


def status(csr, m, config, values):
    """{(register, field): value} of the fields of the register block `csr` that follow its inputs."""
    # The select register may name a head that does not exist; its low bits would show another head's numbers.
    exists = Signal()
    m.d.sync += exists.eq(values["HEAD_SELECT", "VALUE"] < config.heads)
    of_head = {"HEAD_HELD": csr.inspect_held, "HEAD_MIN": csr.inspect_minimum, "HEAD_MAX": csr.inspect_maximum}
    of_head["PREFETCH_WINDOW"] = csr.inspect_window
    for name in head_counters(config).members:
        of_head[f"TRACKER_{name.upper()}"] = csr.inspect_tracker[name]
    return {
        ("STATUS", "TABLE_READY"): csr.table_ready,
        ("STATUS", "FLASH_UNWRITABLE"): csr.flash_unwritable,
        ("STEP", "VALUE"): csr.now,
        ("POOL_HELD", "VALUE"): csr.pool_held[Mode.EXACT],
        ("POOL_HELD_MX", "VALUE"): csr.pool_held[Mode.MXINT8],
        ("COVERED_SECTORS", "VALUE"): csr.covered_sectors,
        ("SNOOPS_IN_FLIGHT", "VALUE"): csr.snoops_in_flight,
        ("HELD_REQUESTS", "VALUE"): csr.held_requests,
        **{(name, "VALUE"): Mux(exists, value, 0) for name, value in of_head.items()},
        **{(f"REGION[{number}].PHASE", "VALUE"): phase for number, phase in enumerate(csr.phases)},
        **{(f"STREAM[{number}].POSITION", "BLOCKS"): position for number, position in enumerate(csr.stream_positions)},
    }


def drive(csr, m, values):
    """Drives the outputs of the register block `csr` that are fields: `values` by (register, field)."""
    m.d.comb += [
        csr.policy.priority.eq(values["POLICY", "PRIORITY"]),
        csr.policy.score.eq(values["POLICY", "SCORE"]),
        csr.policy.protect.eq(values["POLICY", "PROTECT"]),
        csr.policy.bypass.eq(values["POLICY", "BYPASS"]),
        csr.policy.alpha.eq(values["ALPHA", "VALUE"]),
        csr.policy.lam.eq(values["LAMBDA", "VALUE"]),
        csr.policy.leap_cap.eq(values["LEAP_CAP", "VALUE"]),
        csr.policy.prefetch_announced.eq(values["PREFETCH", "ANNOUNCED"]),
        csr.policy.prefetch_window.eq(values["PREFETCH", "WINDOW"]),
        csr.policy.prefetch_streams.eq(values["PREFETCH", "STREAMS"]),
        csr.policy.prefetch_depth.eq(values["PREFETCH", "DEPTH"]),
        csr.policy.phase_ratio.eq(values["PHASE", "RATIO"]),
        csr.policy.phase_window.eq(values["PHASE", "WINDOW"]),
        csr.policy.phase_burst.eq(values["PHASE", "BURST"]),
        csr.policy.phase_burst_lines.eq(values["PHASE", "BURST_LINES"]),
        *(csr.dev_load[name].eq(values["DEVLOAD", name.upper()]) for name in layouts.dev_load_thresholds().members),
        csr.coherency.timeout.eq(values["COHERENCY", "TIMEOUT"]),
        csr.coherency.recall_all.eq(values["COHERENCY", "RECALL_ALL"]),
        csr.coherency.snoop_limit.eq(values["SNOOP_LIMIT", "VALUE"]),
        csr.inspect_head.eq(values["HEAD_SELECT", "VALUE"]),
    ]
    for number, region in enumerate(csr.regions):
        path = f"REGION[{number}]."
        m.d.comb += [
            region.base.eq(Cat(values[path + "BASE_LO", "ADDRESS"], values[path + "BASE_HI", "ADDRESS"])),
            region.heads.eq(values[path + "HEADS", "COUNT"]),
            region.first_head.eq(values[path + "FIRST_HEAD", "NUMBER"]),
            region.enabled.eq(values[path + "CTRL", "ENABLED"]),
            region.mode.eq(values[path + "CTRL", "MODE"]),
            region.cached.eq(values[path + "CTRL", "CACHED"]),
            region.hosts.eq(values[path + "CTRL", "HOSTS"]),
        ]
    for number, descriptor in enumerate(csr.streams):
        path = f"STREAM[{number}]."
        m.d.comb += [
            descriptor.enabled.eq(values[path + "CTRL", "ENABLED"]),
            descriptor.base.eq(values[path + "BASE", "INDEX"]),
            descriptor.length.eq(values[path + "LENGTH", "COUNT"]),
            descriptor.stride.eq(values[path + "STRIDE", "BLOCKS"]),
            descriptor.ahead.eq(values[path + "AHEAD", "BLOCKS"]),
        ]
