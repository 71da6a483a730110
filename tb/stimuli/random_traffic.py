"""Random stimuli from a seed: steps of hints, reads and writes, dense enough that messages meet on lines and blocks."""

import random
from collections import deque

from kv_endpoint.golden.common.config import LINES_PER_BLOCK
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import encode, hint_address
from kv_endpoint.golden.front.hints import ENTRIES_MAX, pack_hint
from kv_endpoint.golden.host.operations import fence_all, fence_writes, read, wait, write, write_partial, write_poisoned
from kv_endpoint.tb.stimuli.fp16_lines import random_line
from kv_endpoint.tb.stimuli.stimulus import WRITES_MAX

__all__ = ["random_operations"]

#: writes that can be open at once, so that no line gets more of them than the image can follow
OPEN_WRITES = 64
FIRST_STEP = 1
WAIT_CLOCKS_MAX = 100


def random_operations(
    config, region, *, seed, steps, accesses, blocks=None, lines=8, hints=True, poisoned=0.0, waits=0.0
):
    """Operations of `steps` steps of `accesses` messages each, over the first `blocks` blocks of each head.

    A step hints a few blocks of each head (not with `hints` false), waits for the hints, and then mixes reads, writes
    and partial writes, more often on hinted blocks, on `lines` lines of a block, with a fence now and then. `poisoned`
    is the part of whole writes that carry poison, `waits` how often a wait follows a message. A region of mode mxint8
    gets lines of FP16 values, which random bits rarely are.
    """
    rng = random.Random(seed)
    blocks = min(blocks or config.blocks_per_head, config.blocks_per_head)
    heads = range(region.first_head, region.first_head + region.heads)
    recent = deque(maxlen=OPEN_WRITES)
    used_lines = [rng.randrange(LINES_PER_BLOCK) for _ in range(lines)]

    def data():
        return random_line(rng) if region.mode == Mode.MXINT8 else rng.getrandbits(512)

    def whole_write(address):
        if poisoned and rng.random() < poisoned:
            return write_poisoned(address, data())
        return write(address, data())

    def place(hot):
        head, block = rng.choice(hot) if hot and rng.random() < 0.6 else (rng.choice(heads), rng.randrange(blocks))
        return encode(config, region, head, block, rng.choice(used_lines))

    for step in range(FIRST_STEP, FIRST_STEP + steps):
        hot = []
        for head in heads if hints else ():
            chosen = rng.sample(range(blocks), rng.randint(0, min(4, blocks)))
            for first in range(0, len(chosen) or 1, ENTRIES_MAX):
                entries = [
                    (block, rng.getrandbits(rng.choice((8, 16)))) for block in chosen[first : first + ENTRIES_MAX]
                ]
                yield write(hint_address(config, region, head), pack_hint(step, entries))
            hot += [(head, block) for block in chosen]
        if hints:
            yield fence_writes()
        for _ in range(accesses):
            choice = rng.random()
            address = place(hot)
            if choice < 0.5 or recent.count(address) == WRITES_MAX - 1:
                yield read(address)
            elif choice < 0.85:
                recent.append(address)
                yield whole_write(address)
            elif choice < 0.96:
                recent.append(address)
                yield write_partial(address, data(), rng.getrandbits(64))
            else:
                yield rng.choice((fence_writes, fence_all))()
            if waits and rng.random() < waits:
                yield wait(rng.randint(1, WAIT_CLOCKS_MAX))
        yield fence_all()
