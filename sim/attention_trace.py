"""Attention traces (`.npz`): the attention mass that each step puts on each block, and the K and V of each token.

The arrays are described in `sim/data/README.md`. A step reads, in each head, the blocks that hold a given share of the
mass plus the newest one, into which it has just written its token.
"""

import zipfile
import zlib

import numpy as np

from golden.config import HEAD_DIM, TOKENS_PER_BLOCK
from sim.steps import MASS_SUM_MAX, Access, Hint, Layer, Step, WorkloadError

__all__ = ["AttentionTrace", "covering", "load_attention"]

SCALARS = ("block_tokens", "layers", "kv_heads", "head_dim", "tokens")
FP16_MAX = float(np.finfo(np.float16).max)


class AttentionTrace:
    """Attention masses [step, layer, KV head, block] and, for each token, the K and V rows of each head."""

    def __init__(self, name, mass, kv):
        self.name = name
        self.mass = mass
        self.kv = kv
        self.steps, self.layers, self.kv_heads, self.blocks = mass.shape
        self.last_step = self.steps - 1

    @property
    def heads(self):
        return self.layers * self.kv_heads

    def rows(self, step, access):
        """K and V rows of the token that `access` writes, [2, values]; the trace has fewer values than a head holds."""
        return self.kv[step, access.head // self.kv_heads, access.head % self.kv_heads]

    def walk(self, coverage, steps):
        """The first `steps` steps; each reads the blocks that hold `coverage` of a head's mass, and the newest."""
        for t in range(steps):
            newest = t // TOKENS_PER_BLOCK
            layers = []
            for layer in range(self.layers):
                hints, accesses = [], []
                for kv_head in range(self.kv_heads):
                    head = layer * self.kv_heads + kv_head
                    mass = self.mass[t, layer, kv_head, : newest + 1]
                    for block in covering(mass, coverage):
                        hints.append(Hint(head, block, float(mass[block]), newest + 1))
                        if block == newest:
                            accesses.append(Access(head, block, t % TOKENS_PER_BLOCK))
                        accesses.append(Access(head, block))
                layers.append(Layer(tuple(hints), tuple(accesses)))
            yield Step(t, tuple(layers))


def covering(mass, coverage):
    """Ascending blocks, heaviest first until they hold `coverage` of the mass, plus the newest (the last)."""
    order = np.argsort(-mass, kind="stable")
    total = mass.sum()
    needed = int((np.cumsum(mass[order]) < coverage * total).sum()) + 1 if total else 0
    return sorted({*order[:needed].tolist(), len(mass) - 1})


def load_attention(path):
    """The attention trace in `path`. Raises `WorkloadError`, or `OSError` where the file cannot be read."""

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
    if (sums > MASS_SUM_MAX).any():
        place = first(sums > MASS_SUM_MAX)
        refuse(f"sum of mass{list(place)}", round(float(sums[place]), 4), f"at most {MASS_SUM_MAX}")
    return AttentionTrace(path.name, mass, kv.astype(np.float16))
