"""The host's traffic: what is hinted, written and read, in which order, and what is waited for."""

import numpy as np
import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.hints import HeaderCheck, check_header, unpack_hint
from kv_endpoint.golden.host.operations import Op, register_write
from kv_endpoint.golden.registers.rules import reset_regions
from kv_endpoint.golden.registers.state import Registers
from kv_endpoint.sim.host.traffic import FIRST_STEP, lines_of_read, lines_of_row, traffic
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load
from kv_endpoint.tb.agents.player import Player
from kv_endpoint.tb.stimuli import stimulus

LEAP_CAP = 256


@pytest.fixture(scope="module")
def small():
    return preset("small")


def played(workload, config, steps=20, **settings):
    """[(what, ...)] of the run: hint (head, step, blocks), write or read (head, block, line, data), or a fence."""
    region = reset_regions(config)[0]
    for operation in traffic(workload, Settings(**settings), steps, config=config, region=region, leap_cap=LEAP_CAP):
        if operation.channel is None:
            yield operation.op, None
            continue
        where = decode(config, [region], operation.address)
        if where.target == Target.HINT:
            header, flags, entries = unpack_hint(operation.data)
            assert flags == 0 and operation.op == Op.WRITE
            yield "hint", (where.head, header, tuple(block for block, _ in entries))
        else:
            assert where.target == Target.BLOCK
            yield operation.op, (where.head, where.block, where.line, operation.data)


def test_a_layer_hints_then_waits_then_reads_what_it_hinted(small):
    announced, hinting = {}, True
    for what, about in played(load("attention-a"), small, steps=40):
        if what == "hint":
            head, header, blocks = about
            if not hinting:
                announced, hinting = {}, True
            announced.setdefault(head, set()).update(blocks)
        elif what == Op.FENCE_WRITES:
            hinting = False
        elif what == Op.READ:
            assert not hinting, "read before the hints were completed"
            head, block, _, _ = about
            assert block in announced[head]


def test_tokens_are_written_and_awaited_before_the_newest_block_is_read(small):
    operations = list(played(load("attention-a"), small, steps=3))
    rows = [i for i, (what, about) in enumerate(operations) if what == Op.WRITE and about[0] == 7]
    assert len(rows) == 3 * 8
    for first in range(0, len(rows), 8):
        token = first // 8
        assert rows[first : first + 8] == list(range(rows[first], rows[first] + 8))
        lines = [operations[i][1][2] for i in rows[first : first + 8]]
        assert lines == [*lines_of_row(token, 0), *lines_of_row(token, 1)]
        assert operations[rows[first] + 8][0] == Op.FENCE_WRITES
        assert operations[rows[first] + 9] == (Op.READ, (7, 0, lines_of_read(4, token)[0], 0))


def test_rows_hold_the_values_of_the_trace_and_padding_from_the_seed(small):
    workload = load("attention-a")

    def rows(seed):
        return [about for what, about in played(workload, small, steps=2, seed=seed) if what == Op.WRITE]

    head, block, line, data = next(about for about in rows(1) if about[0] == 6 and about[2] == 64 + 4)
    values = np.frombuffer(data.to_bytes(64, "little"), np.float16)
    assert (values[:8] == workload.kv[1, 1, 2, 1]).all()
    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


@pytest.mark.parametrize("announce", ["layer", "step", "none"])
def test_every_step_is_announced_by_a_header_that_the_endpoint_accepts(small, announce):
    now, loaded, steps = 0, False, []
    region = reset_regions(small)[0]
    settings = Settings(announce=announce)
    first_of_step = None
    for operation in traffic(load("attention-a"), settings, 5, config=small, region=region, leap_cap=LEAP_CAP):
        if operation.op == Op.WRITE and decode(small, [region], operation.address).target == Target.HINT:
            check, now = check_header(small, operation.data, now, loaded, LEAP_CAP)
            loaded = True
            assert check in (HeaderCheck.CURRENT, HeaderCheck.ADVANCE)
            if check == HeaderCheck.ADVANCE:
                steps.append(now)
                first_of_step = True
        elif operation.channel:
            assert first_of_step
    assert steps == [FIRST_STEP + t for t in range(5)]


def test_announced_by_step_all_heads_are_hinted_before_the_first_read(small):
    hinted = set()
    for what, about in played(load("attention-a"), small, steps=1, announce="step"):
        if what == "hint":
            hinted.add(about[0])
        elif what == Op.READ:
            assert hinted == set(range(20))


def test_the_lead_lies_between_the_answers_to_the_hints_and_the_first_read(small):
    for announce, waits in (("layer", 3 * 5), ("step", 3)):
        whats = [what for what, _ in played(load("attention-a"), small, steps=3, announce=announce, announce_lead=70)]
        leads = [i for i, what in enumerate(whats) if what == Op.WAIT]
        assert len(leads) == waits
        for i in leads:
            assert whats[i - 2 : i] == ["hint", Op.FENCE_WRITES] and whats[i + 1] in (Op.READ, Op.WRITE)


def test_the_lead_is_as_long_as_it_was_asked_for(small):
    region = reset_regions(small)[0]
    settings = Settings(announce_lead=70)
    operations = traffic(load("attention-a"), settings, 2, config=small, region=region, leap_cap=LEAP_CAP)
    assert {operation.clocks for operation in operations if operation.op == Op.WAIT} == {70}


def test_a_chunk_is_hinted_then_each_head_reads_what_it_has_and_writes_the_chunk(small):
    workload = load("attention-a").prefilled(40, 20)
    seen = {}
    for what, about in played(workload, small, steps=2):
        if what == "hint":
            head, header, blocks = about
            seen.setdefault((header, head), []).append(("hint", blocks))
        elif what in (Op.READ, Op.WRITE):
            head, block, line, _ = about
            accesses = seen[header, head]
            if accesses[-1] != (what, block):
                accesses.append((what, block))
    assert seen[1, 3] == [("hint", (0, 1)), (Op.WRITE, 0), (Op.WRITE, 1)]
    assert seen[2, 3] == [
        ("hint", (0, 1, 2)), (Op.READ, 0), (Op.READ, 1), (Op.WRITE, 1), (Op.WRITE, 2),
    ]  # fmt: skip


def test_every_token_of_a_prefilled_run_is_written_once_with_its_own_values(small):
    trace = load("attention-a")
    written = {}
    for what, about in played(trace.prefilled(100, 30), small, steps=14):
        if what == Op.WRITE:
            head, block, line, data = about
            assert (head, block, line) not in written
            written[head, block, line] = data
    assert len(written) == 110 * 20 * 8, "four chunks and ten steps"
    for token in (0, 29, 30, 99, 100, 109):
        for plane in (0, 1):
            data = written[6, token // 16, lines_of_row(token % 16, plane)[0]]
            values = np.frombuffer(data.to_bytes(64, "little"), np.float16)
            assert (values[:8] == trace.kv[token, 1, 2, plane]).all()


@pytest.mark.parametrize("prefetch", ["announced", "window", "off"])
def test_without_streams_no_register_is_written(small, prefetch):
    workload = load("attention-a").prefilled(64, 16)
    assert Op.REGISTER not in {what for what, _ in played(workload, small, steps=4, prefetch=prefetch)}


@pytest.mark.parametrize("descriptors", [1, 3, 8])
def test_a_head_is_a_stream_from_before_its_replay_until_it_is_over(descriptors):
    config = preset("small", streams=descriptors)
    region = reset_regions(config)[0]
    registers, replayed = Registers(config), []
    settings = Settings(prefetch="streams", lines_per_read=1)
    workload = load("attention-a").prefilled(64, 16)
    for operation in traffic(workload, settings, 6, config=config, region=region, leap_cap=LEAP_CAP):
        if operation.op == Op.REGISTER:
            # Raises ValueError for what the endpoint would refuse.
            registers.write(operation.address, operation.data)
        elif operation.op == Op.READ:
            where = decode(config, [region], operation.address)
            index = where.head * config.blocks_per_head + where.block
            streams = [stream for stream in registers.streams if stream.enabled and index in stream]
            replayed.append((where.head, where.block, len(streams)))
            for stream in streams:
                assert (stream.base, stream.stride) == (where.head * config.blocks_per_head, 1)
    chunks = [(head, block, 1) for blocks in (1, 2, 3) for head in range(20) for block in range(blocks)]
    assert replayed[: len(chunks)] == chunks
    assert len(replayed) > len(chunks), "then it decodes"


def test_a_register_write_of_the_stimulus_is_its_address_and_word():
    assert stimulus.line(register_write("POOL_FRAMES", 20)) == "8 80 14"
    assert stimulus.line(register_write("STREAM[1].CTRL", ENABLED=1)) == "8 330 1"
    assert register_write("POOL_FRAMES", 20).channel is None, "it is no message"


def test_register_writes_are_of_the_batch_form_alone():
    with pytest.raises(ValueError, match="in the batch form only"):
        Player(None, [register_write("POOL_FRAMES", 20)], max_reads=1, max_writes=1)._take()


def test_without_announcements_a_step_has_one_empty_hint(small):
    hints = [about for what, about in played(load("attention-a"), small, steps=4, announce="none") if what == "hint"]
    assert hints == [(0, FIRST_STEP + t, ()) for t in range(4)]


def test_steps_far_apart_are_reached_in_legal_leaps(small, tmp_path):
    path = tmp_path / "far.csv"
    path.write_text("step,op,layer,kv_head,block,score\n0,append,0,0,0,\n1000,read,0,0,0,\n")
    headers = [about[1] for what, about in played(load(str(path)), small, steps=2) if what == "hint"]
    assert headers == [1, 257, 513, 769, 1001]


@pytest.mark.parametrize("count", [1, 3, 4, 100, 128])
def test_lines_of_a_read_are_distinct_and_move_over_the_whole_block(count):
    seen = set()
    for step in range(128):
        lines = lines_of_read(count, step)
        assert len(set(lines)) == count and max(lines) < 128
        seen.update(lines)
    if 128 % count == 0:
        assert seen == set(range(128))
