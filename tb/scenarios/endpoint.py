"""cocotb tests of the endpoint: every kind of message, and random traffic under stalls, all in golden lock-step."""

import json
import random
from dataclasses import replace
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from kv_endpoint.golden.common.messages import MetaField, MetaValue, NDROpcode, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.data.mxint8 import NAN, VALUES
from kv_endpoint.golden.events.port import EngineKind, Lane
from kv_endpoint.golden.front.address import Region, encode, hint_address
from kv_endpoint.golden.registers.rules import control
from kv_endpoint.tb.agents.registers import Refused
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.interactive import TB, configured
from kv_endpoint.tb.lib.cocotb_run import settings
from kv_endpoint.tb.stimuli.fp16_lines import random_line
from kv_endpoint.tb.stimuli.random_traffic import random_operations

#: a page in flash takes long beside DDR5, but not as long as the real one, so that short runs move many
FLASH_CLOCKS = {"flash_read_clocks": 80, "flash_program_clocks": 120}


def _bench(dut, given, **more):
    config = configured()
    return TB(dut, config, seed=given["seed"], share=given.get("share", 0.0), checker=golden_endpoint(config), **more)


async def _start(tb, given):
    """Registers as given, and region 0 in the mode given."""
    pools = [(name, given["pool_frames"]) for name in ("POOL_FRAMES", "POOL_FRAMES_MX")]
    await tb.start([*pools, *map(tuple, given.get("registers", []))])
    if given.get("mode"):
        whole, *others = tb.host.regions
        await tb.set_regions((replace(whole, mode=Mode(given["mode"])), *others))


def _operations(tb, given, region=None):
    return random_operations(
        tb.config,
        region or tb.host.regions[0],
        seed=given["seed"],
        steps=given["steps"],
        accesses=given["accesses"],
        blocks=given.get("blocks", 6),
        poisoned=given.get("poisoned", 0.0),
        waits=given.get("waits", 0.0),
    )


def _spoil(golden, first):
    """Change the EMA of the first slot record about a block from record `first` on, as a broken endpoint might."""
    check, done = golden.check, False

    def spoiled(lane, fields):
        nonlocal done
        if not done and lane == Lane.SLOT and fields["sequence"] >= first and fields["ema"]:
            fields, done = fields | {"ema": fields["ema"] ^ 1}, True
        check(lane, fields)

    golden.check = spoiled


@cocotb.test()
async def every_message(dut):
    """What each kind of message is answered with, in a block, in the hint window and outside every region."""
    tb = _bench(dut, settings())
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
async def compressed_lines(dut):
    """What each kind of write leaves in a line of mode mxint8, and in the line that shares its place in DDR5."""
    given = settings()
    tb = _bench(dut, given)
    await _start(tb, given)
    host, region = tb.host, tb.host.regions[0]
    rng = random.Random(given["seed"])
    line = encode(tb.config, region, 1, 2, 6)
    neighbour = line + 1
    nan = sum(NAN << 16 * place for place in range(VALUES))
    one, above_one, two, infinity = 0x3C00, 0x3C01, 0x4000, 0x7C00

    assert (await host.read(line)).data == 0
    await host.write(line, one | above_one << 16)
    assert (await host.read(line)).data == one | one << 16
    assert (await host.read(neighbour)).data == 0
    await host.write(neighbour, two)
    assert (await host.read(line)).data == one | one << 16
    await host.write_partial(line, two << 32, 0b110000)
    assert (await host.read(line)).data == one | one << 16 | two << 32
    await host.write(line, infinity | one << 16)
    assert (await host.read(line)).data == nan
    await host.write_partial(line, one, 0b11)
    assert (await host.read(line)).data == nan
    await host.write(line, one, poison=True)
    poisoned = await host.read(line)
    assert poisoned.poison and poisoned.data == 0
    await host.write_partial(line, two, 0b11)
    assert (await host.read(line)).poison
    await host.write(line, 0)
    assert (await host.read(line)).data == 0
    # Every byte alone, from a line of zeros and from one of numbers; the image knows what must come of it.
    for first in (0, random_line(rng)):
        await host.write(line, first)
        for byte in range(64):
            await host.write_partial(line, random_line(rng), 1 << byte)
            await host.read(line)
    assert (await host.read(neighbour)).data == two
    await tb.finish()


@cocotb.test()
async def mode_of_a_region_with_blocks(dut):
    """A region keeps its mode once one of its heads has a block; a head that never had one may change it."""
    tb = _bench(dut, settings())
    await tb.start()
    region = replace(tb.host.regions[0], heads=2)
    await tb.set_regions((region, *tb.host.regions[1:]))
    line = encode(tb.config, region, 1, 3, 4)
    await tb.host.write(line, 0x1234)
    other = control(replace(region, mode=Mode.MXINT8))
    await tb.csr.write("REGION[0].CTRL", control(region, enabled=False))
    try:
        await tb.csr.write("REGION[0].CTRL", other)
    except Refused:
        pass
    else:
        raise AssertionError("the mode changed under a block")
    assert (await tb.csr.read_fields("ERROR"))["REFUSED_COMMAND"]
    await tb.csr.write("REGION[0].CTRL", control(region))
    assert (await tb.host.read(line)).data == 0x1234
    half = tb.config.heads // 2
    compressed = Region(base=1 << 40, heads=tb.config.heads - half, first_head=half, mode=Mode.MXINT8)
    await tb.set_regions((region, compressed))
    await tb.host.write(encode(tb.config, compressed, half, 3, 4), 0x3C013C00)
    assert (await tb.host.read(encode(tb.config, compressed, half, 3, 4))).data == 0x3C003C00
    assert (await tb.host.read(line)).data == 0x1234
    await tb.finish()


@cocotb.test()
async def two_modes(dut):
    """Random traffic in a region of each mode at once: two pools, one sidecar cache, one DDR5."""
    given = settings()
    tb = _bench(dut, given, **FLASH_CLOCKS)
    await _start(tb, given)
    half = tb.config.heads // 2
    exact = Region(base=0x1_0000_0000, heads=half, first_head=0)
    compressed = Region(base=1 << 40, heads=tb.config.heads - half, first_head=half, mode=Mode.MXINT8)
    await tb.set_regions((compressed, exact))
    rng = random.Random(f"{given['seed']}/modes")
    sources = [iter(_operations(tb, given, region)) for region in tb.host.regions]

    def mixed():
        while sources:
            source = rng.choice(sources)
            operation = next(source, None)
            if operation is None:
                sources.remove(source)
            else:
                yield operation

    await tb.host.play(mixed())
    await tb.finish()
    pages = {int(fields["head"]) // half for lane, fields in tb.scoreboard.records if _is_page(lane, fields)}
    assert pages == {0, 1}, f"pages moved of heads of pools {pages}"


def _is_page(lane, fields):
    return lane == Lane.ENGINE and fields["kind"] == EngineKind.PAGE_WRITE


@cocotb.test()
async def random_traffic(dut):
    """Steps of hints, reads and writes in a pool too small for them; what came of it goes to a file."""
    given = settings()
    tb = _bench(dut, given, **FLASH_CLOCKS)
    if "wrong_record" in given:
        _spoil(tb.checker, given["wrong_record"])
    await _start(tb, given)
    await tb.host.play(_operations(tb, given))
    await tb.finish()
    assert tb.flash.programs and tb.flash.reads, "nothing was demoted, or nothing promoted"
    # The recorder of the batch form writes the NDR of a clock first.
    responses = sorted(tb.host.responses, key=lambda response: (response[1], response[0] == "drs"))
    seen = {
        "records": [[int(lane), fields] for lane, fields in tb.scoreboard.records],
        "responses": [[channel, latency, fields] for channel, _, latency, fields in responses],
    }
    Path("seen.json").write_text(json.dumps(seen))


@cocotb.test()
async def commands_under_traffic(dut):
    """Pins, quotas, the pool size and the policy change while messages flow."""
    given = settings()
    tb = _bench(dut, given, **FLASH_CLOCKS)
    await _start(tb, given)
    rng = random.Random(f"{given['seed']}/commands")
    counts = {"taken": 0, "refused": 0}
    playing = True

    async def one_command():
        head, block = rng.randrange(tb.config.heads), rng.randrange(6)
        choice = rng.randrange(5)
        if choice == 0:
            await tb.csr.command("PIN", head=head, block=block)
        elif choice == 1:
            await tb.csr.command("UNPIN", head=head, block=block)
        elif choice == 2:
            maximum = rng.choice((1, 3, tb.config.blocks))
            await tb.csr.command("QUOTA", head=head, minimum=rng.randint(0, 2), maximum=maximum)
        elif choice == 3:
            pool = rng.choice(("POOL_FRAMES", "POOL_FRAMES_MX"))
            await tb.csr.write(pool, rng.randint(tb.config.pool_frames_min - 1, 12))
        else:
            await tb.csr.write("POLICY", PRIORITY=rng.randrange(3), SCORE=rng.randrange(3), PROTECT=1, BYPASS=1)

    async def command():
        while playing:
            try:
                await one_command()
                counts["taken"] += 1
            except Refused:
                counts["refused"] += 1
            await ClockCycles(dut.clk, rng.randint(1, 150))

    commanding = cocotb.start_soon(command())
    await tb.host.play(_operations(tb, given))
    playing = False
    await commanding
    await tb.finish()
    tb.log.info("%s", counts)
    assert counts["taken"] and counts["refused"]


@cocotb.test()
async def two_regions(dut):
    """The heads split over two regions far apart, one of them moved while nothing is under way."""
    tb = _bench(dut, settings())
    await tb.start()
    half = tb.config.heads // 2
    await tb.host.write(encode(tb.config, tb.host.regions[0], half, 0, 5), 0x77)
    near = Region(base=0x1_0000_0000, heads=half, first_head=0)
    far = Region(base=0xF_FFFF_F000_0000, heads=half, first_head=half)
    await tb.set_regions((near, far))
    tb.host.image.write_issued("moved", encode(tb.config, far, half, 0, 5), 0x77)
    tb.host.image.write_done("moved", encode(tb.config, far, half, 0, 5))
    assert (await tb.host.read(encode(tb.config, far, half, 0, 5))).data == 0x77
    assert (await tb.host.read(5)).nxm
    await tb.host.write(encode(tb.config, near, 0, 1, 2), 0x88)
    assert (await tb.host.read(encode(tb.config, near, 0, 1, 2))).data == 0x88
    await tb.finish()


@cocotb.test()
async def media_errors(dut):
    """Failing reads, writes and pages: poison instead of wrong data, all of it reported, and no message lost."""
    given = settings()
    rng = random.Random(f"{given['seed']}/errors")
    seen = {"AXI_READ": 0, "AXI_WRITE": 0, "PAGE_READ": 0, "PAGE_WRITE": 0}

    def sometimes(kind, share):
        failed = rng.random() < share
        seen[kind] += failed
        return failed

    tb = _bench(
        dut,
        given,
        read_error=lambda line: sometimes("AXI_READ", 0.05),
        write_error=lambda line: sometimes("AXI_WRITE", 0.05),
        page_fails=lambda write, page: sometimes("PAGE_WRITE" if write else "PAGE_READ", 0.15),
        **FLASH_CLOCKS,
    )
    await _start(tb, given)
    await tb.host.play(_operations(tb, given))
    await tb.finish()
    errors = await tb.csr.read_fields("ERROR")
    tb.log.info("injected %s, reported %s", seen, errors)
    for kind, count in seen.items():
        assert count, f"no {kind} was injected"
        assert errors[kind], kind
    assert any(fields.get("poison") for _, _, _, fields in tb.host.responses)
