"""cocotb tests of coherency: every message by hand, and faults, each reported as it must be while the rest goes on."""

import random
from dataclasses import replace

import cocotb
from cocotb.triggers import ClockCycles, with_timeout

from kv_endpoint.golden.coherency.filter import set_of
from kv_endpoint.golden.common.config import LINES_PER_BLOCK, SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access
from kv_endpoint.golden.common.messages import NDROpcode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane
from kv_endpoint.golden.front.address import encode, hint_address
from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.tb.agents.caching_host import MESSAGES
from kv_endpoint.tb.checks.coherent_image import Mesi
from kv_endpoint.tb.checks.golden_endpoint import golden_endpoint
from kv_endpoint.tb.lib.cocotb_run import PERIOD_STEPS, settings
from kv_endpoint.tb.scenarios.coherency import coherent_bench, coherent_lines, coherent_traffic, start
from kv_endpoint.tb.stimuli.faults import Gate, MediaFaults, bad_birsp, illegal_messages

#: clocks between two faults of a kind, at most
FAULT_CLOCKS = 60
TIMEOUT_CLOCKS = 300
#: clocks in which an answer must come that waits for nothing
PROMPT_CLOCKS = 1000
#: clocks for which a port is closed
CLOSED_CLOCKS = 1500


async def _disturbed(tb, given, disturb):
    """Play the traffic while the coroutine `disturb` goes on, without end."""
    disturbing = cocotb.start_soon(disturb)
    await tb.cache_agent.play(coherent_traffic(tb, given))
    disturbing.cancel()
    await tb.drain()


async def _prompt(tb, number, access, address, **more):
    """A request that waits for nothing."""
    asked = tb.cache_agent.request(number, access, address, **more)
    return await with_timeout(asked, PROMPT_CLOCKS * PERIOD_STEPS, "step")


def _errors(tb, kind):
    """ERROR notes of a kind."""
    return [
        fields
        for lane, fields in tb.scoreboard.records
        if lane == Lane.ENGINE and fields["kind"] == EngineKind.ERROR and fields["key"] == kind
    ]


def _lines_by_set(tb, region):
    """{set of the filter: line addresses, of one sector each, that lie in it}."""
    sets = {}
    for block in range(tb.config.blocks_per_head):
        for local in range(SECTORS_PER_BLOCK):
            sector = (region.first_head * tb.config.blocks_per_head + block) * SECTORS_PER_BLOCK + local
            address = encode(tb.config, region, region.first_head, block, local * SECTOR_LINES)
            sets.setdefault(set_of(tb.config, sector), []).append(address)
    return sets


async def _fill_a_set(tb):
    """Host 0 owns a line of every way of a set, which makes the filter ask for one back.

    Returns (lines of that set: those owned, then others), (lines of another set).
    """
    full, other, *_ = _lines_by_set(tb, tb.host.regions[0]).values()
    for address in full[: tb.config.filter_ways]:
        assert (await _prompt(tb, 0, Access.READ_OWN, address)).ndr == NDROpcode.CMP_E
        tb.caches[0].store(address, address)
    return full, other


@cocotb.test()
async def every_coherent_message(dut):
    """What each message of a caching host is answered with, in a cached region, in others, and outside all."""
    tb = await coherent_bench(dut, settings())
    cache, whole = tb.caches[0], tb.host.regions[0]
    line, window = encode(tb.config, whole, 1, 2, 3), hint_address(tb.config, whole, 1)
    outside = hint_address(tb.config, whole, tb.config.heads - 1) + 1

    async def ask(access, ndr, state, **more):
        transaction = await _prompt(tb, 0, access, line, **more)
        assert (transaction.ndr, cache.state(line)) == (ndr, state), (access.name, transaction)

    await ask(Access.READ_CURRENT, NDROpcode.CMP, Mesi.I)
    await ask(Access.READ_SHARED, NDROpcode.CMP_S, Mesi.S)
    await ask(Access.OWN, NDROpcode.CMP_E, Mesi.E)
    cache.store(line, 0x1234)
    await ask(Access.WRITE_KEEP, NDROpcode.CMP, Mesi.E)
    cache.store(line, 0x5678)
    await ask(Access.WRITE_BACK, NDROpcode.CMP, Mesi.I)
    await ask(Access.READ_DATA, NDROpcode.CMP_E, Mesi.E)
    assert cache.contents(line) == 0x5678
    await ask(Access.FORGET, NDROpcode.CMP, Mesi.I)
    await ask(Access.OWN, NDROpcode.CMP_E, Mesi.M, data=0x9ABC)
    await ask(Access.WRITE_BACK, NDROpcode.CMP, Mesi.I)
    await ask(Access.READ_OWN, NDROpcode.CMP_E, Mesi.E)
    await ask(Access.FLUSH, NDROpcode.CMP, Mesi.I)
    await ask(Access.READ_INVALIDATE, NDROpcode.CMP, Mesi.I)
    assert not tb.protocol.counts["bisnp", 2], "a host was asked for what it gave back"

    caching = (Access.READ_SHARED, Access.READ_DATA, Access.READ_OWN, Access.OWN)
    for access in caching:
        answer = await tb.host.raw("req", **MESSAGES[access], address=outside)
        assert answer.ndr == NDROpcode.CMP if access == Access.OWN else answer.nxm
        # Nobody caches a hint line: no response.
        assert (await tb.host.raw("req", **MESSAGES[access], address=window)).ndr is None
    for access in (Access.FLUSH, Access.FORGET):
        for address in (outside, window):
            assert (await tb.host.raw("req", **MESSAGES[access], address=address)).ndr == NDROpcode.CMP
    assert await tb.csr.read("CACHEABLE") == len(caching)
    await tb.finish()


@cocotb.test()
async def two_hosts_share_and_do_not_share(dut):
    """A region of both hosts, one of host 0 alone, one that is not cached; what is dropped is counted."""
    tb = await coherent_bench(dut, settings())
    half = tb.config.heads // 2
    both = replace(tb.host.regions[0], heads=half)
    alone = replace(both, base=1 << 40, first_head=half, heads=tb.config.heads - half, hosts=1)
    await tb.set_regions((both, alone))
    first, second = tb.caches
    shared, own = encode(tb.config, both, 0, 1, 2), encode(tb.config, alone, half, 1, 2)

    assert (await _prompt(tb, 0, Access.READ_OWN, shared)).ndr == NDROpcode.CMP_E
    first.store(shared, 1)
    assert (await _prompt(tb, 1, Access.READ_SHARED, shared)).contents == 1
    assert first.state(shared) in (Mesi.I, Mesi.S) and second.state(shared) == Mesi.S
    await _prompt(tb, 1, Access.OWN, shared, data=2)
    assert (first.state(shared), second.state(shared)) == (Mesi.I, Mesi.M)
    assert (await _prompt(tb, 0, Access.READ_CURRENT, shared)).contents == 2

    # A line that belongs to host 0 alone does not exist for host 1, whatever it does.
    await _prompt(tb, 0, Access.OWN, own, data=3)
    for access in (Access.READ_CURRENT, Access.READ_SHARED, Access.READ_OWN):
        assert (await tb.host.raw("req", **MESSAGES[access], address=own, ld_id=1)).nxm
    await tb.host.raw("rwd", **MESSAGES[Access.WRITE_THROUGH], address=own, data=4, ld_id=1)
    await _prompt(tb, 0, Access.WRITE_BACK, own)
    assert (await _prompt(tb, 0, Access.READ_CURRENT, own)).contents == 3

    # Writes that sharing makes illegal, and write-backs of what the host does not own: completed and dropped.
    before = tb.coherent.memory(shared)
    dropped = await tb.host.raw("rwd", **MESSAGES[Access.WRITE_THROUGH], checked=False, address=shared, data=5)
    assert dropped.ndr == NDROpcode.CMP
    elsewhere = encode(tb.config, both, 1, 1, 2)
    await _prompt(tb, 0, Access.READ_OWN, elsewhere)
    for access in (Access.WRITE_BACK, Access.WRITE_KEEP):
        dropped = await tb.host.raw("rwd", **MESSAGES[access], checked=False, address=elsewhere, data=6, ld_id=1)
        assert dropped.ndr == NDROpcode.CMP
    assert (await _prompt(tb, 1, Access.READ_CURRENT, shared)).contents == before
    assert (await _prompt(tb, 1, Access.READ_SHARED, elsewhere)).contents == 0
    assert await tb.csr.read("SHARED_WRITES") == 1
    assert await tb.csr.read("NOT_OWNER") == 2
    errors = await tb.csr.read_fields("ERROR")
    assert errors["SHARED_WRITE"] and errors["NOT_OWNER"] and not errors["BAD_BIRSP"]
    await tb.finish()


@cocotb.test()
async def bad_answers(dut):
    """BIRsp with unknown BITags, wrong BI-IDs, undefined opcodes and claims that no host may make change nothing."""
    given = settings()
    tb = await coherent_bench(dut, given)
    rng, sent = random.Random(f"{given['seed']}/bad"), 0

    async def disturb():
        nonlocal sent
        while True:
            await ClockCycles(dut.clk, rng.randint(1, FAULT_CLOCKS))
            cache = rng.choice(tb.caches)
            snoop = rng.choice([None, *cache.snoops.unanswered])
            cache.send_birsp(bad_birsp(rng, tb.config, cache.number, snoop))
            sent += 1

    await _disturbed(tb, given, disturb())
    assert sent > 10
    assert await tb.csr.read("BAD_BIRSP") == sent
    assert (await tb.csr.read_fields("ERROR"))["BAD_BIRSP"]
    assert 0 < len(_errors(tb, ErrorKind.BAD_BIRSP)) <= sent
    await tb.finish()


@cocotb.test()
async def an_answer_that_does_not_come(dut):
    """It is reported once, holds up its own set only, and is good whenever it comes."""
    given = settings()
    tb = await coherent_bench(dut, given | {"registers": [("COHERENCY", TIMEOUT_CLOCKS)]})
    agent = tb.caches[0].snoops
    agent.muted = lambda tag: True
    full, other = await _fill_a_set(tb)
    await ClockCycles(dut.clk, 4 * TIMEOUT_CLOCKS)
    assert len(agent.open) == 1
    held = cocotb.start_soon(tb.cache_agent.request(0, Access.READ_OWN, full[tb.config.filter_ways]))
    await _prompt(tb, 0, Access.READ_SHARED, other[0])
    assert (await _prompt(tb, 0, Access.READ_CURRENT, full[-1])).ndr == NDROpcode.CMP
    assert not held.done()
    assert len(_errors(tb, ErrorKind.SNOOP_TIMEOUT)) == 1
    assert await tb.csr.read("SNOOP_TIMEOUTS") == 1
    assert (await tb.csr.read_fields("ERROR"))["SNOOP_TIMEOUT"]
    assert await tb.csr.read("SNOOPS_IN_FLIGHT") == 1
    assert await tb.csr.read("HELD_REQUESTS") == 1
    agent.muted = lambda tag: False
    await held
    await tb.finish()
    assert await tb.csr.read("SNOOPS_IN_FLIGHT") == await tb.csr.read("HELD_REQUESTS") == 0


@cocotb.test()
async def writes_wait_for_no_snoop(dut):
    """P2: with BISnp blocked and a request held, dirty data is still written, that of the snooped lines included."""
    gate = Gate()
    tb = await coherent_bench(dut, settings(), gates={"bisnp": gate})
    gate.closed = True
    full, other = await _fill_a_set(tb)
    ways = tb.config.filter_ways
    await _prompt(tb, 0, Access.OWN, other[0], data=1)
    held = cocotb.start_soon(tb.cache_agent.request(0, Access.READ_OWN, full[ways]))
    for address in (*full[:ways], other[0]):
        await _prompt(tb, 0, Access.WRITE_BACK, address)
    assert not held.done()
    gate.closed = False
    await held
    for address in full[:ways]:
        assert (await _prompt(tb, 0, Access.READ_CURRENT, address)).contents == address
    await tb.finish()


@cocotb.test()
async def closed_ports(dut):
    """Each channel, closed for long in the middle of traffic, loses nothing."""
    given = settings()
    gates = {channel: Gate() for channel in ("req", "rwd", "birsp", "ndr", "drs", "bisnp")}
    tb = await coherent_bench(dut, given, gates=gates)
    closings = 0

    async def disturb():
        nonlocal closings
        while True:
            for channel in gates:
                await ClockCycles(dut.clk, 2 * FAULT_CLOCKS)
                gates[channel].closed = True
                await ClockCycles(dut.clk, CLOSED_CLOCKS)
                gates[channel].closed = False
                closings += 1

    disturbing = cocotb.start_soon(disturb())
    while closings < len(gates):
        await tb.cache_agent.play(coherent_traffic(tb, given, seed=f"{given['seed']}/{closings}"))
    disturbing.cancel()
    for gate in gates.values():
        gate.closed = False
    await tb.finish()


@cocotb.test()
async def illegal_messages_in_traffic(dut):
    """What is not legal has no response, is counted, and does no harm."""
    given = settings()
    tb = await coherent_bench(dut, given)
    rng, sent = random.Random(f"{given['seed']}/illegal"), 0
    messages, region = illegal_messages(rng), tb.host.regions[0]

    async def disturb():
        nonlocal sent
        while True:
            await ClockCycles(dut.clk, rng.randint(1, FAULT_CLOCKS))
            channel, fields = next(messages)
            address = encode(tb.config, region, rng.randrange(2), rng.randrange(2), rng.randrange(LINES_PER_BLOCK))
            await tb.host.raw(channel, **fields, address=address, ld_id=rng.randrange(tb.config.hosts))
            sent += 1

    await _disturbed(tb, given, disturb())
    assert sent > 10
    assert await tb.csr.read("ILLEGAL") == sent
    await tb.finish()


@cocotb.test()
async def reset_in_traffic(dut):
    """After a reset at any moment nothing stale is answered, the filter is empty, and traffic goes as before."""
    given = settings()
    tb = await coherent_bench(dut, given)
    rng = random.Random(f"{given['seed']}/reset")
    for number in range(given.get("resets", 3)):
        playing = cocotb.start_soon(tb.cache_agent.play(coherent_traffic(tb, given, seed=f"{given['seed']}/{number}")))
        await ClockCycles(dut.clk, rng.randint(50, 1500))
        assert await tb.csr.read("COVERED_SECTORS") > 0
        assert not playing.done()
        playing.cancel()
        tb.cache_agent.stop()
        await tb.reset(checker=golden_endpoint(tb.config))
        await start(tb, given)
        assert await tb.csr.read("COVERED_SECTORS") == await tb.csr.read("SNOOPS_IN_FLIGHT") == 0
        assert await tb.csr.read("HELD_REQUESTS") == 0
    await tb.cache_agent.play(coherent_traffic(tb, given))
    await tb.finish()


@cocotb.test()
async def flash_that_cannot_be_written(dut):
    """Reads that may be cached get MemData-NXM where they would need a frame; what hosts hold stays good."""
    given = settings()
    weights = {"READ_SHARED": 4, "READ_OWN": 4, "OWN": 3, "WRITE_BACK": 4, "store": 6, "drop": 2, "READ_CURRENT": 2}
    given |= {"weights": weights}
    faults = MediaFaults(seed=given["seed"], PAGE_WRITE=1.0)
    faults.active = False
    tb = await coherent_bench(dut, given, unwritable_allowed=True, **faults.arguments)
    tb.coherent.poison_allowed = False
    # A host may own lines of a block that has no frame, as long as the block was never written: those would be lost.
    for address in coherent_lines(tb.config, tb.host.regions[0], seed=given["seed"], blocks=6, lines=1):
        await tb.cache_agent.request(0, Access.WRITE_THROUGH, address, data=0)
    await tb.cache_agent.play(coherent_traffic(tb, given))
    assert not any(cache.counts["nxm"] for cache in tb.caches)
    faults.active = True
    rounds = 0
    while not all(cache.counts["nxm"] and cache.counts["refused"] for cache in tb.caches):
        rounds += 1
        assert rounds < 20, "flash never counted as unwritable, or no block was cold"
        await tb.cache_agent.play(coherent_traffic(tb, given, seed=f"{given['seed']}/{rounds}"))
    assert (await tb.csr.read_fields("ERROR"))["FLASH_UNWRITABLE"]
    await tb.finish()


@cocotb.test()
async def ownership_without_flash(dut):
    """A MemInv for ownership of a line that can get no frame is completed with Cmp, which grants nothing."""
    faults = MediaFaults(seed=1, PAGE_WRITE=1.0)
    faults.active = False
    tb = await coherent_bench(dut, settings(), unwritable_allowed=True, **faults.arguments)
    tb.coherent.poison_allowed = False
    lines = [
        encode(tb.config, tb.host.regions[0], head, block, 1)
        for block in range(tb.config.blocks_per_head)
        for head in range(tb.config.heads)
    ]
    blocks = dict(zip(lines, (divmod(n, tb.config.heads)[::-1] for n in range(len(lines))), strict=True))
    for written, address in enumerate(lines):
        # The rest need frames that nobody leaves any more, since no page can be written.
        faults.active = written >= 2 * tb.config.pool_frames_min_cached
        await tb.cache_agent.request(0, Access.WRITE_THROUGH, address, data=written)
    await tb.drain()
    assert (await tb.csr.read_fields("ERROR"))["FLASH_UNWRITABLE"]
    cold = next(address for address in lines if tb.checker.entry(*blocks[address]).state == State.COLD)
    refused = await tb.csr.read("UNWRITABLE")
    before = tb.coherent.memory(cold)
    assert (await _prompt(tb, 0, Access.OWN, cold, data=1)).ndr == NDROpcode.CMP
    assert tb.caches[0].state(cold) == Mesi.I
    assert await tb.csr.read("UNWRITABLE") == refused + 1
    assert await tb.csr.read("COVERED_SECTORS") == 0
    assert (await _prompt(tb, 0, Access.READ_CURRENT, cold)).contents == before
    assert (await _prompt(tb, 0, Access.READ_SHARED, cold)).nxm
    await tb.finish()
