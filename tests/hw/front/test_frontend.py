"""The front end turns each message into the slot that golden/front/frontend.py says, in order, and hint lines into
theirs.
"""

import random
from dataclasses import replace

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.events.port import EngineKind
from kv_endpoint.golden.front.address import Region, encode, hint_address
from kv_endpoint.golden.front.frontend import slot_of_req, slot_of_rwd
from kv_endpoint.golden.front.hints import HeaderCheck, check_header, pack_hint, unpack_hint
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind
from kv_endpoint.hw.front.frontend import FrontEnd
from tests.support.simulation import fields_of, set_payload, simulate

CONFIG = preset("tiny")
REGIONS = (Region(base=0x4000_0000, heads=3, first_head=1), Region(base=0x100_0000, heads=1, first_head=0))


def set_region(ctx, port, region):
    values = {name: getattr(region, name) for name in ("heads", "first_head", "enabled", "mode", "cached", "hosts")}
    set_payload(ctx, port, values | {"base": region.base // 64})


class Bench:
    """Drives a front end; `slots` collects ("req" | "rwd", slot fields), `notes` the engine notes."""

    def __init__(self, seed, stall=0.3, *, config=CONFIG, regions=REGIONS):
        self.random = random.Random(seed)
        self.stall = stall
        self.regions = regions
        self.dut = FrontEnd(config=config)
        self.slots = {"req": [], "rwd": []}
        self.notes = []
        self.expected_slots = {"req": [], "rwd": []}

    def run(self, messages, clocks):
        """Send `messages` {"req": [...], "rwd": [...]} and run for `clocks`."""
        dut, rng = self.dut, self.random

        async def bench(ctx):
            for region, values in zip(dut.regions, self.regions, strict=True):
                set_region(ctx, region, values)
            ctx.set(dut.leap_cap, 256)
            queues = {name: list(items) for name, items in messages.items()}
            pending = {"req": False, "rwd": False}
            held_for = 0
            for _ in range(clocks):
                for name, stream in (("req", dut.req), ("rwd", dut.rwd)):
                    if queues[name] and (pending[name] or rng.random() > self.stall):
                        set_payload(ctx, stream.payload, queues[name][0])
                        ctx.set(stream.valid, 1)
                        pending[name] = True
                    else:
                        ctx.set(stream.valid, 0)
                for out in (dut.req_slots, dut.rwd_slots, dut.notes):
                    ctx.set(out.ready, rng.random() > self.stall)
                for ids in (dut.read_slots, dut.write_slots):
                    ctx.set(ids.valid, rng.random() > self.stall)
                held_for = held_for + 1 if ctx.get(dut.hold.request) else 0
                ctx.set(dut.hold.granted, held_for > 5)
                for name, out in (("req", dut.req_slots), ("rwd", dut.rwd_slots)):
                    if ctx.get(out.valid) and ctx.get(out.ready):
                        self.slots[name].append(fields_of(ctx.get(out.payload)))
                if ctx.get(dut.notes.valid) and ctx.get(dut.notes.ready):
                    assert ctx.get(dut.hold.granted) or ctx.get(dut.notes.payload.kind) == EngineKind.ERROR
                    payload = ctx.get(dut.notes.payload)
                    self.notes.append((int(payload["kind"]), int(payload["aux"])))
                for name, stream in (("req", dut.req), ("rwd", dut.rwd)):
                    if ctx.get(stream.valid) and ctx.get(stream.ready):
                        queues[name].pop(0)
                        pending[name] = False
                await ctx.tick()
            self.left = queues

        simulate(dut, bench)


def random_message(rng, channel, regions=REGIONS):
    opcodes = list(ReqOpcode) + [12] if channel == "req" else list(RwDOpcode) + [7]
    message = {
        "opcode": rng.choice(opcodes),
        "snp_type": rng.choice(list(SnpType)),
        "meta_field": rng.choice(list(MetaField)),
        "meta_value": rng.choice([*MetaValue, 1]),
        "tag": rng.getrandbits(16),
        "ld_id": rng.choice([0, 1, rng.getrandbits(4)]),
    }
    region = rng.choice(regions)
    head = region.first_head + rng.randrange(region.heads)
    place = rng.random()
    if place < 0.7:
        address = encode(CONFIG, region, head, rng.randrange(CONFIG.blocks_per_head), rng.randrange(128))
    elif place < 0.85:
        address = hint_address(CONFIG, region, head)
    else:
        edges = [r.base // 64 - 1 for r in regions] + [hint_address(CONFIG, r, r.first_head + r.heads) for r in regions]
        address = rng.choice([*edges, rng.getrandbits(46), 0])
    message["address"] = address
    if channel == "rwd":
        message |= {"data": 0, "poison": rng.getrandbits(1), "be": rng.getrandbits(64)}
    return message


def as_slot(fields):
    """A slot's fields as a golden Slot; the slot number is the slot tables' matter."""
    return Slot(
        kind=SlotKind(fields["kind"]), rwd=bool(fields["rwd"]), tag=fields["tag"], head=fields["head"],
        block=fields["block"], line=fields["line"], value=fields["value"], outcome=Outcome(fields["outcome"]),
        access=Access(fields["access"]), host=fields["host"],
    )  # fmt: skip


def random_regions(rng, hosts):
    """Two regions, at least one of them cached; with two hosts any belongs to one of them or to both."""
    cached = rng.choice([(True, True), (True, False), (False, True)])
    owners = [rng.randrange(1, 1 << hosts) for _ in REGIONS]
    return tuple(replace(r, cached=c, hosts=o) for r, c, o in zip(REGIONS, cached, owners, strict=True))


@pytest.mark.parametrize(("hosts", "seed"), [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5)])
def test_each_message_becomes_the_slot_the_golden_front_end_says(hosts, seed):
    """The first run is of regions as they are after a reset: uncached."""
    rng = random.Random(seed)
    config = preset("tiny", hosts=hosts)
    regions = REGIONS if seed == 1 else random_regions(rng, hosts)
    reqs = [random_message(rng, "req", regions) for _ in range(600)]
    rwds = []
    while len(rwds) < 600:
        message = random_message(rng, "rwd", regions)
        if slot_of_rwd(config, regions, message) is not None:
            rwds.append(message)
    bench = Bench(seed, config=config, regions=regions)
    bench.run({"req": reqs, "rwd": rwds}, clocks=3000)
    assert not any(bench.left.values())
    assert [as_slot(s) for s in bench.slots["req"]] == [slot_of_req(config, regions, m) for m in reqs]
    assert [as_slot(s) for s in bench.slots["rwd"]] == [slot_of_rwd(config, regions, m) for m in rwds]


def test_a_write_through_is_refused_where_hosts_share_and_only_there():
    """MemWr of a host that does not own the line: the four kinds of region, by both hosts and by one that is none."""
    config = preset("tiny", hosts=2)
    write = {
        "opcode": RwDOpcode.MEM_WR, "snp_type": SnpType.SNP_INV, "meta_field": MetaField.META0_STATE,
        "meta_value": MetaValue.INVALID, "tag": 1, "data": 0, "poison": 0, "be": 0,
    }  # fmt: skip
    shared, alone = REGIONS
    regions = (replace(shared, cached=True, hosts=3), replace(alone, cached=True, hosts=2))
    messages = [
        write | {"address": encode(config, region, region.first_head, 0, 0), "ld_id": ld_id}
        for region in regions
        for ld_id in (0, 1, 2)
    ]
    bench = Bench(6, config=config, regions=regions)
    bench.run({"req": [], "rwd": messages}, clocks=100)
    seen = [(s["kind"], s["outcome"], s["host"], s["access"]) for s in bench.slots["rwd"]]
    refused = (SlotKind.ANSWER, Outcome.SHARED_WRITE, 0, Access.PLAIN)
    nxm = (SlotKind.ANSWER, Outcome.NXM, 0, Access.PLAIN)
    assert seen == [refused, refused, nxm, nxm, (SlotKind.WRITE, 0, 1, Access.WRITE_THROUGH), nxm]


def hint_message(region, head, line, tag, poison=0):
    return {
        "opcode": RwDOpcode.MEM_WR, "snp_type": SnpType.SNP_INV, "meta_field": MetaField.META0_STATE,
        "meta_value": MetaValue.INVALID, "tag": tag, "address": hint_address(CONFIG, region, head),
        "data": line, "poison": poison,
    }  # fmt: skip


def test_hint_lines_become_their_blocks_and_an_answer_and_move_the_step():
    rng = random.Random(3)
    now, loaded = 0, False
    messages, expected, notes = [], [], []
    for tag in range(200):
        region = rng.choice(REGIONS)
        head = region.first_head + rng.randrange(region.heads)
        leap = rng.choice([0, 0, 1, 2, 256, 257, 40000])
        entries = [(rng.randrange(CONFIG.blocks_per_head), rng.getrandbits(16)) for _ in range(rng.randrange(16))]
        if entries and rng.random() < 0.15:
            entries[-1] = (rng.choice([CONFIG.blocks_per_head, 65535]), 1)
        line = pack_hint(now + leap, entries, flags=rng.choice([0] * 9 + [1 << rng.randrange(12)]))
        poison = rng.random() < 0.05
        check, after = check_header(CONFIG, line, now, loaded, 256)
        if poison:
            check, after = HeaderCheck.MALFORMED, now
        if check == HeaderCheck.ADVANCE:
            loaded = True
            notes.append((EngineKind.STEP, after))
        now = after
        served = check in (HeaderCheck.CURRENT, HeaderCheck.ADVANCE)
        if served:
            for block, score in entries:
                expected.append(Slot(SlotKind.HINT, rwd=True, tag=tag, head=head, block=block, value=score))
        outcome = {
            HeaderCheck.STALE: Outcome.HINT_STALE, HeaderCheck.MALFORMED: Outcome.HINT_MALFORMED,
        }.get(check, Outcome.HINT_DONE)  # fmt: skip
        step16 = unpack_hint(line)[0]
        expected.append(Slot(SlotKind.ANSWER, rwd=True, tag=tag, head=head, value=step16, outcome=outcome))
        messages.append(hint_message(region, head, line, tag, poison))
    bench = Bench(3)
    bench.run({"req": [], "rwd": messages}, clocks=9000)
    assert not any(bench.left.values())
    assert [as_slot(s) for s in bench.slots["rwd"]] == expected
    assert bench.notes == notes


def test_a_step_counter_near_its_end_refuses_to_advance():
    now = (1 << CONFIG.step_bits) - (1 << 16) - 3
    assert check_header(CONFIG, pack_hint(now + 2, []), now, True, 256) == (HeaderCheck.ADVANCE, now + 2)
    assert check_header(CONFIG, pack_hint(now + 3, []), now, True, 256) == (HeaderCheck.EXHAUSTED, now)


@pytest.mark.quick
def test_each_message_is_decoded_by_the_regions_of_one_time():
    """Two regions change places in the table, so every address keeps its meaning, under stalled traffic."""
    rng = random.Random(9)
    swapped = tuple(reversed(REGIONS))
    dut = FrontEnd(config=CONFIG)
    seen = []

    async def bench(ctx):
        def set_regions(regions):
            for region, values in zip(dut.regions, regions, strict=True):
                set_region(ctx, region, values)

        set_regions(REGIONS)
        ctx.set(dut.read_slots.valid, 1)
        message, sent, current = None, [], REGIONS
        for clock in range(4000):
            since = clock % 20
            ctx.set(dut.freeze, since < 3)
            if since == 2:
                current = swapped if current is REGIONS else REGIONS
                set_regions(current)
            if message is None:
                message = random_message(rng, "req") | {"tag": len(sent)}
                set_payload(ctx, dut.req.payload, message)
            ctx.set(dut.req.valid, 1)
            # Stalled for most of the time, so that messages wait in every stage when the regions change.
            ctx.set(dut.req_slots.ready, since in (7, 8, 19))
            if ctx.get(dut.req_slots.valid) and ctx.get(dut.req_slots.ready):
                slot = as_slot(fields_of(ctx.get(dut.req_slots.payload)))
                assert slot == slot_of_req(CONFIG, REGIONS, sent[slot.tag])
                seen.append(slot.tag)
            if ctx.get(dut.req.ready):
                sent.append(message)
                message = None
            await ctx.tick()

    simulate(dut, bench)
    assert seen == list(range(len(seen))) and len(seen) > 300
