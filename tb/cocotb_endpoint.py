"""cocotb tests of the endpoint: directed ones of each kind of message, random ones under stalls, all in golden lock-step."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from golden.address import encode, hint_address
from golden.messages import FIELDS, MetaField, MetaValue, NDROpcode, ReqOpcode, RwDOpcode, SnpType
from tb.csr import Refused
from tb.golden import golden_endpoint
from tb.interactive import TB, configured, settings
from tb.random_traffic import random_operations


def _bench(dut, **more):
    given = settings()
    config = configured()
    return TB(
        dut,
        config,
        seed=given["seed"],
        share=given.get("share", 0.0),
        checker=golden_endpoint(config),
        **more,
    )


@cocotb.test()
async def every_message(dut):
    """What each kind of message is answered with, in a block, in the hint window and outside every region."""
    tb = _bench(dut)
    await tb.start()
    host, region = tb.host, tb.host.regions[0]
    line = encode(tb.config, region, 1, 2, 3)
    window = hint_address(tb.config, region, 1)
    outside = hint_address(tb.config, region, tb.config.heads - 1) + 1

    assert (await host.read(line)).data == 0
    assert (await host.write(line, 0x1234)).ndr == NDROpcode.CMP
    assert (await host.read(line)).data == 0x1234
    await host.write_partial(line, 0xABCDEF, 0b010)
    assert (await host.read(line)).data == 0xCD34
    assert (await host.read(line + 1)).data == 0
    assert (await host.write(line, 5, poison=True)).ndr == NDROpcode.CMP
    assert (await host.read(line)).poison
    await host.write(line, 6)
    assert (await host.read(line)).data == 6

    assert (await host.read(window)).data == 0
    assert (await host.write_partial(window, 1, 1)).ndr == NDROpcode.CMP
    assert (await host.hint(1, 7, [(2, 0x8000), (3, 1)])).ndr == NDROpcode.CMP
    assert await tb.csr.read("STEP") == 7

    assert (await host.read(outside)).nxm
    assert (await host.write(outside, 1)).ndr == NDROpcode.CMP

    invalidate = {
        "opcode": ReqOpcode.MEM_INV,
        "snp_type": SnpType.SNP_INV,
        "meta_field": MetaField.META0_STATE,
        "meta_value": MetaValue.INVALID,
    }
    for address in (line, window, outside):
        assert (await host.raw("req", **invalidate, address=address)).ndr == NDROpcode.CMP
    assert (await host.raw("rwd", opcode=RwDOpcode.BI_CONFLICT, address=line)).ndr == NDROpcode.BI_CONFLICT_ACK
    # No response: dropped, cacheable, illegal.
    await host.raw("req", opcode=ReqOpcode.MEM_SPEC_RD, address=line)
    await host.raw("req", **invalidate | {"meta_value": MetaValue.ANY}, address=line)
    await host.raw("req", opcode=15, address=line)
    await host.raw("rwd", opcode=15, address=line)
    assert (await host.read(line)).data == 6
    await tb.finish()
    for name, count in (("NXM", 3), ("WINDOW", 3), ("CONFLICTS", 1), ("DROPPED", 1), ("CACHEABLE", 1), ("ILLEGAL", 2)):
        assert await tb.csr.read(name) == count, name


@cocotb.test()
async def random_traffic(dut):
    """Steps of hints, reads, writes in a pool too small for them."""
    given = settings()
    tb = _bench(dut, flash_read_clocks=80, flash_program_clocks=120)
    await tb.start([("POOL_FRAMES", given["pool_frames"]), *map(tuple, given.get("registers", []))])
    operations = random_operations(
        tb.config, tb.host.regions[0], seed=given["seed"], steps=given["steps"], accesses=given["accesses"], blocks=6
    )
    await tb.host.play(operations)
    await tb.finish()
    assert tb.flash.programs and tb.flash.reads, "nothing was demoted, or nothing promoted"
    dump = {
        "records": [[int(lane), fields] for lane, fields in tb.scoreboard.records],
        "responses": [
            [channel, latency, fields]
            for channel, _, latency, fields in sorted(tb.host.responses, key=lambda r: (r[1], r[0] == "drs"))
        ],
    }
    Path("seen.json").write_text(json.dumps(dump))
