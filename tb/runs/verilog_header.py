"""The Verilog of the bench: its sources and their header, made from the same tables as everything else."""

from pathlib import Path

from kv_endpoint.golden.common import messages
from kv_endpoint.golden.common.config import LINE_BYTES, LINES_PER_BLOCK
from kv_endpoint.golden.common.mode import FRAMES, Mode
from kv_endpoint.golden.events import port as events
from kv_endpoint.golden.host.operations import MESSAGES, READS, Op
from kv_endpoint.golden.pipeline.metadata import Outcome
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR
from kv_endpoint.tb.agents.memory import POISON_LINE
from kv_endpoint.tb.agents.throttle import INTERVAL, RATE_MIN, RATE_ONE, SHIFTS
from kv_endpoint.tb.lib.payload import fields_of, pack
from kv_endpoint.tb.stimuli import caching
from kv_endpoint.tb.stimuli.stimulus import LOOKAHEAD

__all__ = ["HEADER_NAME", "bench_sources", "verilog_header"]

HDL = Path(__file__).parents[1] / "hdl"
HEADER_NAME = "layout.vh"
#: ports of the endpoint whose widths the header needs, and the macros that say them
PORTS = {"mem__awaddr": "MEM_ADDRESS_BITS", "mem__awid": "MEM_ID_BITS", "csr__awaddr": "CSR_ADDRESS_BITS"}
#: channels whose opcodes the bench knows by name
OPCODES = {
    "rwd": messages.RwDOpcode,
    "ndr": messages.NDROpcode,
    "bisnp": messages.BISnpOpcode,
    "birsp": messages.BIRspOpcode,
}


def _message(channel, fields):
    """A message's constant."""
    layout = messages.FIELDS[channel]
    return f"{sum(bits for _, bits in layout)}'h{pack(layout, fields):x}"


def _macros(config, widths):
    """(macro, text) pairs; a field's text is a part select, as in payload[`REQ_TAG]."""
    groups = dict(messages.FIELDS)
    groups["page_command"] = fields_of(layouts.page_command(config))
    groups["page_done"] = fields_of(layouts.page_done(config))
    for lane in events.Lane:
        groups[f"{lane.name}_record"] = events.record_fields(config, lane)
    for group, fields in groups.items():
        low = 0
        for name, bits in fields:
            yield f"{group}_{name}", f"{low} +: {bits}"
            low += bits
        yield f"{group}_bits", low
    for port, macro in PORTS.items():
        yield macro, widths[port]
    for op in Op:
        yield f"op_{op.name}", f"{op.value}"
    for op, fields in MESSAGES.items():
        yield f"message_{op.name}", _message("req" if op in READS else "rwd", fields)
    yield "drs_opcode_nxm", f"{messages.DRSOpcode.MEM_DATA_NXM.value}"
    for channel, opcodes in OPCODES.items():
        for opcode in opcodes:
            yield f"{channel}_opcode_{opcode.name}", opcode.value
    yield "bisnp_block", messages.BISnpOpcode.INV_BLK - messages.BISnpOpcode.INV
    for outcome in Outcome:
        yield f"outcome_{outcome.name}", outcome.value
    yield "hosts", config.hosts
    yield "snoops", config.snoops
    yield "places", caching.PLACES
    yield "actions", len(caching.Action)
    for action in caching.Action:
        yield f"action_{action.name}", action.value
    for action, fields in caching.MESSAGES.items():
        yield f"action_message_{action.name}", _message(caching.channel_of(action), fields)
    yield "host_counts", len(caching.COUNTS)
    for number, count in enumerate(caching.COUNTS):
        yield f"host_count_{count}", number
    yield "address_bits", messages.ADDRESS_BITS
    yield "lookahead", LOOKAHEAD
    for load in messages.DevLoad:
        yield f"load_{load.name}", load.value
    yield "resp_okay", RESP_OKAY
    yield "resp_slverr", RESP_SLVERR
    yield "rate_one", RATE_ONE
    yield "rate_min", RATE_MIN
    yield "rate_interval", INTERVAL
    for macro, shift in zip(("up", "down", "far_down"), SHIFTS, strict=True):
        yield f"rate_{macro}_shift", shift
    yield "line_size", (LINE_BYTES - 1).bit_length()
    yield "lines_per_block", LINES_PER_BLOCK
    yield "page_lines_max", max(frame.lines for frame in FRAMES.values())
    for mode, frame in FRAMES.items():
        yield f"{mode.name}_data_lines", frame.data_lines
        yield f"{mode.name}_page_lines", frame.lines
    yield "mxint8_base", config.mxint8_base
    yield "sidecar_base", config.sidecar_base
    yield "mxint8_row_base", config.sidecar_row(Mode.MXINT8, 0)
    yield "memory_lines", config.memory_lines
    yield "pages", 1 << config.index_bits
    yield "poison_line", f"512'h{POISON_LINE:x}"


def verilog_header(config, widths):
    """The text of `HEADER_NAME`. `widths` has the bits of the endpoint's ports in `PORTS`."""
    lines = [f"`define {name.upper()} {text}" for name, text in _macros(config, widths)]
    return "\n".join(["`ifndef LAYOUT", "`define LAYOUT", *lines, "`endif", ""])


def bench_sources(config, widths):
    """{file: text} of the bench around an endpoint whose ports have `widths`; the endpoint is to be added."""
    sources = {path.name: path.read_text() for path in sorted(HDL.glob("*.v*"))}
    return sources | {HEADER_NAME: verilog_header(config, widths)}
