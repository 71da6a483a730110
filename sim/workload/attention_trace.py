"""Attention traces (`.npz`): the attention mass that each step puts on each block, and the K and V of each token.

The arrays are described in `sim/data/README.md`. A step reads, in each head, the blocks that hold a given share of the
mass plus the newest one, into which it has just written its token.

The first tokens may arrive in chunks instead, as a serving engine prefills a prompt: one step a chunk, in which each
head reads all blocks that it has again and then writes the chunk.
"""

import zipfile
import zlib

import numpy as np

from kv_endpoint.golden.common.config import HEAD_DIM, TOKENS_PER_BLOCK
from kv_endpoint.sim.workload.steps import MASS_SUM_TOLERANCE, Access, Hint, Layer, Replay, Step, WorkloadError

__all__ = ["AttentionTrace", "covering", "load_attention"]

SCALARS = ("block_tokens", "layers", "kv_heads", "head_dim", "tokens")
FP16_MAX = float(np.finfo(np.float16).max)


class AttentionTrace:
    """Attention masses [token, layer, KV head, block] and, for each token, the K and V rows of each head.

    The first `prefill` tokens arrive in steps of `chunk` tokens, each other one in a step of its own. What a chunk
    reads again, each head of a layer reads after the other; or with `by_block` all heads read a block, then the next.
    """

    #: as an access trace may say otherwise
    renumbered, hinted = None, True

    def __init__(self, name, mass, kv, *, prefill=0, chunk=1, by_block=False):
        self.name = name
        self.mass = mass
        self.kv = kv
        self._by_block = by_block
        self.tokens, self.layers, self.kv_heads, self.blocks = mass.shape
        self._prefilled = prefill
        self._chunks = [range(first, min(first + chunk, prefill)) for first in range(0, prefill, chunk)]
        self.steps = len(self._chunks) + self.tokens - prefill
        self.last_step = self.steps - 1

    @property
    def heads(self):
        return self.layers * self.kv_heads

    def prefilled(self, prefill, chunk, *, by_block=False):
        """The same trace with the first `prefill` tokens in chunks. Raises `WorkloadError` if it has no token more."""
        if prefill >= self.tokens:
            raise WorkloadError(
                f"--prefill {prefill}: must be below the {self.tokens} tokens of workload {self.name}, to leave a step"
            )
        return AttentionTrace(self.name, self.mass, self.kv, prefill=prefill, chunk=chunk, by_block=by_block)

    def rows(self, access):
        """K and V rows of the token that `access` writes, [2, values]; the trace has fewer values than a head holds."""
        token = access.block * TOKENS_PER_BLOCK + access.token
        return self.kv[token, access.head // self.kv_heads, access.head % self.kv_heads]

    def walk(self, coverage, steps):
        """The first `steps` steps; one that decodes reads the blocks that hold `coverage` of a head's mass."""
        chunks = len(self._chunks)
        for number in range(steps):
            if number < chunks:
                layers = [self._prefill(layer, self._chunks[number]) for layer in range(self.layers)]
            else:
                token = self._prefilled + number - chunks
                layers = [self._decode(layer, token, coverage) for layer in range(self.layers)]
            yield Step(number, tuple(layers))

    def _heads_of(self, layer):
        """(head, KV head) of a layer."""
        return [(layer * self.kv_heads + kv_head, kv_head) for kv_head in range(self.kv_heads)]

    def _decode(self, layer, token, coverage):
        newest = token // TOKENS_PER_BLOCK
        hints, accesses = [], []
        for head, kv_head in self._heads_of(layer):
            mass = self.mass[token, layer, kv_head, : newest + 1]
            for block in covering(mass, coverage):
                hints.append(Hint(head, block, float(mass[block]), newest + 1))
                if block == newest:
                    accesses.append(Access(head, block, token % TOKENS_PER_BLOCK))
                accesses.append(Access(head, block))
        return Layer(tuple(hints), tuple(accesses), newest=newest)

    def _prefill(self, layer, tokens):
        """A chunk attends to everything before it: all blocks are read. A hint's mass is the mean of the chunk's."""
        written = -(-tokens.start // TOKENS_PER_BLOCK)
        existing = tokens[-1] // TOKENS_PER_BLOCK + 1
        hints, accesses, replays = [], [], []
        for head, kv_head in self._heads_of(layer):
            mass = self.mass[tokens.start : tokens.stop, layer, kv_head, :existing].mean(axis=0)
            hints += [Hint(head, block, float(mass[block]), existing) for block in range(existing)]
            accesses += [Access(head, block) for block in range(written)]
            accesses += [Access(head, token // TOKENS_PER_BLOCK, token % TOKENS_PER_BLOCK) for token in tokens]
            if written:
                replays.append(Replay(head, written))
        if self._by_block:
            # A stable sort: reads block by block, then the writes as they were.
            accesses.sort(key=lambda access: access.block if access.token is None else self.blocks)
        return Layer(tuple(hints), tuple(accesses), tuple(replays))


def covering(mass, coverage):
    """Ascending blocks, heaviest first until they hold `coverage` of the mass, plus the newest (the last)."""
    order = np.argsort(-mass, kind="stable")
    total = mass.sum()
    needed = int((np.cumsum(mass[order]) < coverage * total).sum()) + 1 if total else 0
    return sorted({*order[:needed].tolist(), len(mass) - 1})


def load_attention(path):
    """The attention trace in `path`. Raises `WorkloadError`, or `OSError` where the file cannot be read."""

    if not zipfile.is_zipfile(path):
        raise WorkloadError(f"{path}: must be a NumPy archive (np.savez) of whole arrays; a single array is none")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkloadError(f"{path}: not a whole NumPy archive of plain arrays: {reason}") from None

    def refuse(array, value, rule):
        raise WorkloadError(f"{path}: {array} = {value}: must be {rule}")

    for key in ("mass", "kv", *SCALARS):
        if key not in arrays:
            raise WorkloadError(f"{path}: array {key!r} is missing; it has {', '.join(arrays) or 'none'}")
    scalars = {}
    for key in SCALARS:
        if arrays[key].shape != () or arrays[key].dtype.kind not in "iu":
            refuse(key, f"{arrays[key].dtype} of shape {arrays[key].shape}", "one integer")
        scalars[key] = int(arrays[key])
        if scalars[key] < 1:
            refuse(key, scalars[key], "at least 1")
    if scalars["block_tokens"] != TOKENS_PER_BLOCK:
        refuse("block_tokens", scalars["block_tokens"], TOKENS_PER_BLOCK)
    if scalars["head_dim"] > HEAD_DIM:
        refuse("head_dim", scalars["head_dim"], f"at most {HEAD_DIM}")

    mass, kv = arrays["mass"], arrays["kv"]
    layers, kv_heads = scalars["layers"], scalars["kv_heads"]
    for key, array, shape in (
        ("mass", mass, (None, layers, kv_heads, None)),
        ("kv", kv, (scalars["tokens"], layers, kv_heads, 2, scalars["head_dim"])),
    ):
        if array.dtype.kind != "f":
            refuse(f"type of {key}", array.dtype, "a floating-point type")
        if len(array.shape) != len(shape) or any(s not in (None, n) for s, n in zip(shape, array.shape, strict=True)):
            expected = ", ".join("any" if s is None else str(s) for s in shape)
            refuse(f"shape of {key}", list(array.shape), f"[{expected}]")
        if array.size == 0:
            refuse(f"shape of {key}", list(array.shape), "without an empty axis")
    steps, _, _, blocks = mass.shape
    if steps > scalars["tokens"]:
        refuse("shape of mass", list(mass.shape), f"at most one step a token, {scalars['tokens']}")
    if -(-steps // TOKENS_PER_BLOCK) > blocks:
        refuse("shape of mass", list(mass.shape), f"with a block for every {TOKENS_PER_BLOCK} steps")

    def first(where):
        return tuple(int(i) for i in np.argwhere(where)[0])

    for key, array in (("mass", mass), ("kv", kv)):
        bad = ~np.isfinite(array)
        if bad.any():
            place = first(bad)
            refuse(f"{key}{list(place)}", array[place], "a finite number")
    if (np.abs(kv) > FP16_MAX).any():
        place = first(np.abs(kv) > FP16_MAX)
        refuse(f"kv{list(place)}", kv[place], f"within FP16, at most {FP16_MAX:.0f}")
    mass = mass.astype(np.float64)
    if (mass < 0).any():
        place = first(mass < 0)
        refuse(f"mass{list(place)}", mass[place], "not negative")
    exists = np.arange(blocks) <= np.arange(steps)[:, None] // TOKENS_PER_BLOCK
    unborn = (mass != 0) & ~exists[:, None, None, :]
    if unborn.any():
        place = first(unborn)
        refuse(f"mass{list(place)}", mass[place], f"0: block {place[3]} does not exist yet in step {place[0]}")
    sums = mass.sum(axis=3)
    wrong = abs(sums - 1) > MASS_SUM_TOLERANCE
    if wrong.any():
        place = first(wrong)
        rule = f"1 within {MASS_SUM_TOLERANCE}: a head's masses of a step are shares of its attention"
        refuse(f"sum of mass{list(place)}", round(float(sums[place]), 4), rule)
    return AttentionTrace(path.name, mass, kv.astype(np.float16))
