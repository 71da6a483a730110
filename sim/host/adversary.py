"""Traffic that a host may send and no endpoint likes: every rule of DESIGN.md section 8 at its bound, again and again.

The stimulus can be played over and over: its last hints run the 16 bits of the step once around.
"""

import random

from kv_endpoint.golden.common.config import LINES_PER_BLOCK
from kv_endpoint.golden.common.policy import Priority, ScoreSource
from kv_endpoint.golden.front.address import encode, hint_address
from kv_endpoint.golden.front.hints import ENTRIES_MAX, pack_hint
from kv_endpoint.golden.host.operations import fence_all, fence_writes, read, write, write_partial
from kv_endpoint.golden.registers.rules import pack

__all__ = ["adversarial_operations", "adversarial_registers", "adversarial_rounds"]

STEPS_OF_HEADER = 1 << 16
#: reset value of LEAP_CAP
LEAP = 256
#: messages of one kind in a row: enough to fill every slot and queue of `tiny`
BURST = 40
DATA_BITS = 64


class _Adversary:
    def __init__(self, config, region, seed):
        self._config = config
        self._region = region
        self._random = random.Random(seed)
        self._heads = range(region.first_head, region.first_head + region.heads)
        self._blocks = range(config.blocks_per_head)

    def _address(self, head, block, line=None):
        line = self._random.randrange(LINES_PER_BLOCK) if line is None else line
        return encode(self._config, self._region, head, block, line)

    def _any_block(self):
        return self._random.choice(self._heads), self._random.choice(self._blocks)

    def _data(self):
        return self._random.getrandbits(DATA_BITS)

    def _change(self, address):
        if self._random.random() < 0.5:
            return write(address, self._data())
        return write_partial(address, self._data(), self._random.getrandbits(64))

    def _access(self, address, writes):
        return self._change(address) if self._random.random() < writes else read(address)

    def hint(self, step, head, entries=(), flags=0):
        return write(hint_address(self._config, self._region, head), pack_hint(step, entries, flags))

    # What happens in a step -------------------------------------------------------------------------------------------

    def cold_writes(self, step):
        """Writes of more blocks than there are frames, so that each needs one."""
        for _ in range(BURST):
            yield self._change(self._address(*self._any_block()))

    def cold_reads(self, step):
        for _ in range(BURST):
            yield read(self._address(*self._any_block()))

    def mixture(self, step):
        for _ in range(BURST):
            yield self._access(self._address(*self._any_block()), 0.4)

    def one_head(self, step):
        """More blocks of a head than its quota."""
        head = self._random.choice(self._heads)
        for _ in range(BURST):
            yield self._access(self._address(head, self._random.choice(self._blocks)), 0.6)

    def one_line(self, step):
        address = self._address(*self._any_block())
        for _ in range(BURST):
            yield self._access(address, 0.5)

    def ping_pong(self, step):
        """A few blocks come back as soon as they leave: accesses meet demotions in progress."""
        places = [self._any_block() for _ in range(self._config.pool_frames_min + 1)]
        for number in range(BURST):
            yield self._access(self._address(*places[number % len(places)]), 0.5)

    def announced(self, step):
        """Everything is announced, so that nothing may leave; then writes need frames."""
        for head in self._heads:
            for first in range(0, len(self._blocks), ENTRIES_MAX):
                named = self._blocks[first : first + ENTRIES_MAX]
                yield self.hint(step, head, [(block, self._random.getrandbits(16)) for block in named])
        if self._random.random() < 0.5:
            yield fence_writes()
        yield from self.cold_writes(step)

    def bad_hints(self, step):
        """Stale and malformed ones, and accesses to the window that are none."""
        for _ in range(BURST // 4):
            head = self._random.choice(self._heads)
            window = hint_address(self._config, self._region, head)
            yield self._random.choice(
                (
                    self.hint(step - 1 - self._random.randrange(100), head),
                    self.hint(step, head, flags=1),
                    self.hint(step, head, [(self._config.blocks_per_head, 1)]),
                    read(window),
                    write_partial(window, self._data(), 1),
                    read(self._address(*self._any_block())),
                )
            )

    def outside(self, step):
        """Outside every region, between accesses that miss."""
        end = hint_address(self._config, self._region, self._heads[-1]) + 1
        for _ in range(BURST):
            far = end + self._random.randrange(1 << 30)
            address = far if self._random.random() < 0.7 else self._address(*self._any_block())
            yield self._access(address, 0.5)


_MOODS = (
    _Adversary.cold_writes, _Adversary.cold_reads, _Adversary.mixture, _Adversary.one_head, _Adversary.one_line,
    _Adversary.ping_pong, _Adversary.announced, _Adversary.bad_hints, _Adversary.outside,
)  # fmt: skip


def adversarial_operations(config, region, *, seed, steps):
    """Operations of `steps` steps, some tens of messages each, and hints without blocks that close the circle."""
    adversary, rng = _Adversary(config, region, seed), random.Random(f"{seed}/steps")
    now = 0
    for _ in range(steps):
        now += rng.choice((1, 1, 1, 2, 5))
        head = rng.randrange(region.heads)
        named = rng.sample(range(config.blocks_per_head), rng.randint(0, min(ENTRIES_MAX, config.blocks_per_head)))
        yield adversary.hint(now, region.first_head + head, [(block, rng.getrandbits(16)) for block in named])
        for _ in range(rng.randint(1, 3)):
            yield from rng.choice(_MOODS)(adversary, now)
        if rng.random() < 0.3:
            yield rng.choice((fence_writes, fence_all))()
    end = -(-now // STEPS_OF_HEADER) * STEPS_OF_HEADER
    while now < end:
        now = min(now + LEAP, end)
        yield adversary.hint(now, region.first_head)


# Registers ------------------------------------------------------------------------------------------------------------


def _command(kind, head, *, block=0, minimum=0, maximum=0):
    return [
        ("HEAD_SELECT", head),
        ("HEAD_BLOCK", block),
        ("QUOTA_MIN", minimum),
        ("QUOTA_MAX", maximum),
        ("COMMAND", pack("COMMAND", **{kind: 1})),
    ]


def _pins(config, kind, block):
    """One block of a head each, as many as may be pinned."""
    return [write for head in range(config.pin_cap) for write in _command(kind, head, block=block)]


def _quotas(config, full):
    """Minimums that use up the smallest pool and maximums just above; or no bounds."""
    writes = []
    for head in range(config.heads):
        share = config.pool_frames_min // config.heads + (head < config.pool_frames_min % config.heads)
        # Two frames that can leave, and room for the head's pin.
        bounds = (share, max(share, 2 + (head < config.pin_cap))) if full else (0, config.pool_frames_max)
        writes += _command("QUOTA", head, minimum=bounds[0], maximum=bounds[1])
    return writes


def _policy(priority, score, protect, bypass):
    return [("POLICY", pack("POLICY", PRIORITY=priority, SCORE=score, PROTECT=protect, BYPASS=bypass))]


def adversarial_registers(config):
    """The smallest pool, with as many blocks pinned as may be."""
    return [("POOL_FRAMES", config.pool_frames_min), *_pins(config, "PIN", 0)]


def adversarial_rounds(config):
    """Register writes under way, for `tb.runs.batch.BatchSettings.rounds`: the bounds move while traffic goes on."""
    return [
        _policy(Priority.LRU, ScoreSource.MASS, 1, 0) + _quotas(config, True),
        _policy(Priority.DECAYED, ScoreSource.ACCESS, 0, 1),
        _quotas(config, False) + [("POOL_FRAMES", 2 * config.pool_frames_min)],
        # Below what is held, so that the pool has to shrink.
        [("POOL_FRAMES", config.pool_frames_min), *_pins(config, "UNPIN", 0), *_pins(config, "PIN", 1)],
        # One more than may be pinned: refused.
        _policy(Priority.PRODUCT, ScoreSource.ANNOUNCED, 1, 1) + _command("PIN", config.heads - 1, block=2),
        _quotas(config, True),
        _policy(Priority.DECAYED, ScoreSource.MASS, 1, 1) + _quotas(config, False),
        _pins(config, "UNPIN", 1) + _pins(config, "PIN", 0),
    ]
