"""The host's descriptors, played to the golden streams: what they let the endpoint ask for, step by step."""

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.hints import unpack_hint
from kv_endpoint.golden.host.operations import Op
from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.golden.prefetch.descriptors import DescriptorCourses
from kv_endpoint.golden.registers import rules as csr
from kv_endpoint.golden.registers.state import Registers
from kv_endpoint.sim.host.regions import kv_region, placed, weights_of
from kv_endpoint.sim.host.traffic import traffic
from kv_endpoint.sim.settings import Settings
from kv_endpoint.sim.workload.load import load

STEPS = 4


class Played:
    """What streams ask for, as (head, block) in `asked` by step, while the host plays; every block is cold.

    `reads` has the touches, and what had been asked for by then: (step, head, block, whether it had been).
    """

    def __init__(self, *, streams=4, prefill=0, chunk=64, steps=STEPS, **settings):
        self.config = config = preset("small", streams=streams)
        settings = Settings(prefetch="streams", prefill=prefill, prefill_chunk=chunk, **settings)
        workload = load("attention-a").prefilled(prefill, chunk, by_block=settings.by_layer)
        weights = weights_of(config, workload, settings)
        regions = [kv_region(config, workload, settings), *([weights.region] if weights else [])]
        registers, courses = Registers(config), DescriptorCourses(config)
        for name, word in placed(config, regions):
            registers.write(csr.address(name), word)
        self.asked, self.reads = {}, []
        step, touched, told = None, set(), set()
        for operation in traffic(
            workload, settings, steps, config=config, region=regions[0], leap_cap=256, weights=weights
        ):
            if operation.op == Op.REGISTER:
                # Raises ValueError for what the endpoint would refuse.
                registers.write(operation.address, operation.data)
                courses.set_registers(registers.streams, True)
            elif operation.channel:
                where = decode(config, regions, operation.address)
                if where.target == Target.HINT:
                    header = unpack_hint(operation.data)[0]
                    if header != step:
                        step, touched, told = header, set(), set()
                elif (where.head, where.block) not in touched:
                    touched.add((where.head, where.block))
                    index = where.head * config.blocks_per_head + where.block
                    if operation.op == Op.READ:
                        self.reads.append((step, where.head, where.block, index in told))
                    courses.touched(index)
            while (index := courses.candidate(lambda _: State.COLD)) is not None:
                assert courses.asked(index)
                told.add(index)
                self.asked.setdefault(step, []).append(divmod(index, config.blocks_per_head))


def test_the_stream_of_the_weights_goes_through_all_of_them_in_every_step():
    played = Played(weights=12)
    every = [(20, block) for block in range(60)]
    assert played.asked == dict.fromkeys(range(2, 2 + STEPS), every)
    assert all(before for step, head, _, before in played.reads if head >= 20), "each is asked for before it is read"


def test_weights_leave_the_other_descriptors_to_the_replays():
    for streams in (1, 2, 4):
        played = Played(streams=streams, weights=5, prefill=64, chunk=16)
        for step in range(3, 2 + STEPS):
            weights = [where for where in played.asked[step] if where[0] >= 20]
            replays = [where for where in played.asked[step] if where[0] < 20]
            assert weights == [(20, block) for block in range(25)]
            blocks = step - 2
            wanted = [] if streams == 1 else [(head, block) for head in range(20) for block in range(blocks)]
            assert sorted(replays) == wanted


def test_along_the_heads_a_layer_is_asked_for_when_it_begins():
    played = Played(prefill=64, chunk=16)
    assert played.asked[2] == [(head, 0) for head in range(20)]
    begins = [played.reads.index((4, head, 0, True)) for head in range(0, 20, 4)]
    assert begins == sorted(begins)
    assert all(before for step, *_, before in played.reads if step <= 4)


def test_layer_after_layer_the_blocks_of_the_next_layer_are_asked_for_before_it_begins():
    """Three blocks in each head, as many as four descriptors can follow."""
    played = Played(prefill=64, chunk=16, stream_order="layers")
    layers = [range(first, first + 4) for first in range(0, 20, 4)]
    order = [(head, block) for step, head, block, _ in played.reads if step == 4]
    assert order == [(head, block) for heads in layers for block in range(3) for head in heads]
    assert all(before for step, *_, before in played.reads if step == 4)
    assert sorted(played.asked[4]) == [(head, block) for head in range(20) for block in range(3)], "and each once"
    place = {where: number for number, where in enumerate(played.asked[4])}
    for block in range(3):
        assert [place[head, block] for head in range(20)] == sorted(place[head, block] for head in range(20))


def test_layer_after_layer_more_blocks_than_descriptors_take_turns():
    played = Played(streams=2, prefill=96, chunk=16, steps=6, stream_order="layers")
    assert {(head, block) for head, block in played.asked[6]} == {
        (head, block) for head in range(20) for block in range(5)
    }
    assert all(before for step, *_, before in played.reads if step == 6)


def test_layer_after_layer_decode_follows_the_newest_block_through_all_heads():
    played = Played(steps=20, stream_order="layers")
    for step in range(1, 21):
        newest = (step - 1) // 16
        assert played.asked[step] == [(head, newest) for head in range(20)]


@pytest.mark.parametrize("prefetch", ["off", "announced", "window"])
def test_without_streams_nothing_is_described(prefetch):
    settings = Settings(prefetch=prefetch, weights=5, stream_order="layers")
    config, workload = preset("small"), load("attention-a").prefilled(64, 16, by_block=True)
    weights = weights_of(config, workload, settings)
    region = kv_region(config, workload, settings)
    operations = traffic(workload, settings, 3, config=config, region=region, leap_cap=256, weights=weights)
    assert Op.REGISTER not in {operation.op for operation in operations}
