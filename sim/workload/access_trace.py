"""Access traces (`.csv`, gzip allowed): a header line `step,op,layer,kv_head,block,score`, then one row an operation.

`append` writes the next token of a block, `read` reads the block, `hint` announces it with its attention mass as score;
the score is empty otherwise. A layer's hints come before its reads and appends of the step.
"""

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from kv_endpoint.golden.common.config import TOKENS_PER_BLOCK
from kv_endpoint.sim.workload.steps import MASS_SUM_MAX, Access, Hint, Layer, Step, WorkloadError

__all__ = ["COLUMNS", "AccessTrace", "load_accesses"]

COLUMNS = ("step", "op", "layer", "kv_head", "block", "score")
#: longest number a row may hold, in digits
DIGITS_MAX = 12
#: what spreadsheets separate fields by where a comma is the decimal point
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
#: heads that a refusal names
NAMED_MAX = 3


class AccessTrace:
    """Steps as the file has them; the payload of every token is generated."""

    def __init__(self, name, steps, layers, kv_heads, blocks, *, renumbered=None):
        self.name = name
        #: {"layers", "kv_heads"}: the file's number of each, in order, where they were numbered anew; else None
        self.renumbered = renumbered
        self.hinted = any(layer.hints for step in steps for layer in step.layers)
        self._steps = steps
        self.steps = len(steps)
        self.last_step = steps[-1].number - steps[0].number
        self.layers = layers
        self.kv_heads = kv_heads
        self.blocks = blocks

    @property
    def heads(self):
        return self.layers * self.kv_heads

    def prefilled(self, prefill, chunk, *, by_block=False):
        """Raises `WorkloadError`: the file says itself when each token arrives, and what is read after what."""
        such = f"with an access trace such as {self.name}"
        if prefill:
            raise WorkloadError(f"--prefill {prefill}: must be 0 {such}")
        raise WorkloadError(f"--stream-order layers: must be heads {such}, of which no read is known before its step")

    def rows(self, access):
        """No values of its own."""
        return np.zeros((2, 0), np.float16)

    def walk(self, coverage, steps):
        """The first `steps` steps. `coverage` changes nothing: the file says which blocks are read."""
        first = self._steps[0].number
        for step in self._steps[:steps]:
            yield Step(step.number - first, step.layers)


@dataclass(frozen=True)
class _Row:
    line: int
    op: str
    layer: int
    kv_head: int
    block: int
    score: float | None


def load_accesses(path, *, renumber=False, idle_heads=False):
    """The access trace in `path`. Raises `WorkloadError`, or `OSError` where the file cannot be read.

    Each head up to the highest layer and KV head counts, and gets frames. One that never occurs is refused, unless
    `idle_heads` says that it is meant. With `renumber` layers and KV heads count from 0 without gaps.
    """

    def refuse(line, what, rule):
        raise WorkloadError(f"{path}: line {line}: {what}: {rule}")

    content = path.read_bytes()
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        # Spreadsheets put a byte order mark before the header.
        text = content.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WorkloadError(f"{path}: broken gzip file: {error}") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        refuse(line, f"byte {content[error.start]:#04x}", "must be UTF-8 text")
    if not text.strip():
        raise WorkloadError(f"{path}: line 1: the file is empty: must start with the header {','.join(COLUMNS)}")

    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    by_step = {}
    try:
        header = next(reader)
        for separator, called in OTHER_SEPARATORS.items():
            if len(header) == 1 and separator in header[0]:
                refuse(1, f"header {header[0]!r}", f"fields must be separated by commas, not by {called}")
        for column in COLUMNS:
            if column not in header:
                refuse(1, f"header {','.join(header)!r}", f"column {column!r} is missing")
        if tuple(header) != COLUMNS:
            refuse(1, f"header {','.join(header)!r}", f"must be {','.join(COLUMNS)}")
        step = -1
        for fields in reader:
            if not fields:
                refuse(reader.line_num, "an empty line", "not allowed")
            number, row = _row(refuse, reader.line_num, fields)
            if number < step:
                refuse(row.line, f"step {number} after step {step}", "steps must not go backwards")
            step = number
            by_step.setdefault(step, []).append(row)
    except csv.Error as error:
        refuse(reader.line_num, "not CSV", error)
    if not by_step:
        raise WorkloadError(f"{path}: line 2: no row: must have at least one")

    rows = [row for of_step in by_step.values() for row in of_step]
    renumbered = None
    if renumber:
        renumbered = {f"{key}s": sorted({getattr(row, key) for row in rows}) for key in ("layer", "kv_head")}
        places = {key: {number: place for place, number in enumerate(found)} for key, found in renumbered.items()}
        by_step = {
            step: [
                replace(row, layer=places["layers"][row.layer], kv_head=places["kv_heads"][row.kv_head])
                for row in of_step
            ]
            for step, of_step in by_step.items()
        }
        rows = [row for of_step in by_step.values() for row in of_step]
    layers, kv_heads, blocks = (1 + max(getattr(row, key) for row in rows) for key in ("layer", "kv_head", "block"))
    tokens = Counter()
    steps = [Step(number, _layers(refuse, of_step, kv_heads, tokens)) for number, of_step in by_step.items()]
    if not idle_heads:
        _refuse_idle(path, rows, layers, kv_heads)
    return AccessTrace(path.name, steps, layers, kv_heads, blocks, renumbered=renumbered)


def _refuse_idle(path, rows, layers, kv_heads):
    """Raise `WorkloadError` if a head never occurs: a file that counts from 1 would add heads and frames unseen."""
    seen = {(row.layer, row.kv_head) for row in rows}
    count = layers * kv_heads - len(seen)
    if not count:
        return
    idle = ((layer, head) for layer in range(layers) for head in range(kv_heads) if (layer, head) not in seen)
    named = ", ".join(f"(layer {layer}, kv_head {head})" for layer, head in islice(idle, NAMED_MAX))
    more = ", ..." if count > NAMED_MAX else ""
    raise WorkloadError(
        f"{path}: {count} of {layers} x {kv_heads} heads never occur: {named}{more}: must be meant: --renumber counts "
        "layers and heads anew from 0, --idle-heads keeps heads without accesses"
    )


def _row(refuse, line, fields):
    if len(fields) != len(COLUMNS):
        refuse(line, f"{len(fields)} fields", f"must be {len(COLUMNS)}")
    values = dict(zip(COLUMNS, fields, strict=True))
    for column in ("step", "layer", "kv_head", "block"):
        text = values[column]
        if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
            refuse(line, f"{column} {text!r}", f"must be a non-negative integer of at most {DIGITS_MAX} digits")
    op, score = values["op"], None
    if op not in ("read", "append", "hint"):
        refuse(line, f"op {op!r}", "must be read, append or hint")
    if op != "hint":
        if values["score"]:
            refuse(line, f"score {values['score']!r}", f"must be empty for op {op}")
    else:
        try:
            score = float(values["score"])
        except ValueError:
            score = math.nan
        if not 0 <= score <= 1:
            refuse(line, f"score {values['score']!r}", "must be the block's attention mass, 0 to 1")
    return int(values["step"]), _Row(
        line, op, int(values["layer"]), int(values["kv_head"]), int(values["block"]), score
    )


def _layers(refuse, rows, kv_heads, tokens):
    """The layers of one step, in the file's order of first appearance. `tokens` counts appends by (head, block)."""
    hints, accesses, masses = {}, {}, Counter()
    for row in rows:
        head = row.layer * kv_heads + row.kv_head
        hints.setdefault(row.layer, [])
        of_layer = accesses.setdefault(row.layer, [])
        where = f"block {row.block} of layer {row.layer}, kv_head {row.kv_head}"
        if row.op == "append":
            if tokens[head, row.block] == TOKENS_PER_BLOCK:
                refuse(row.line, f"append to {where}", f"a block holds {TOKENS_PER_BLOCK} tokens")
            if row.block and not tokens[head, row.block - 1]:
                refuse(row.line, f"append to {where}", f"block {row.block - 1} must exist first")
            of_layer.append(Access(head, row.block, tokens[head, row.block]))
            tokens[head, row.block] += 1
        elif row.op == "read":
            if not tokens[head, row.block]:
                refuse(row.line, f"read of {where}", "the block does not exist yet (no append before)")
            of_layer.append(Access(head, row.block))
        else:
            if of_layer:
                refuse(row.line, f"hint for {where}", "hints of a layer must come before its reads and appends")
            hints[row.layer].append((head, row))

    existing = Counter(head for (head, _), count in tokens.items() if count)
    for of_layer in hints.values():
        named = set()
        for head, row in of_layer:
            where = f"hint for block {row.block} of layer {row.layer}, kv_head {row.kv_head}"
            if not tokens[head, row.block]:
                refuse(row.line, where, "the block does not exist yet (no append before or in this step)")
            if (head, row.block) in named:
                refuse(row.line, where, "a step hints a block once")
            named.add((head, row.block))
            masses[head] += row.score
            if masses[head] > MASS_SUM_MAX:
                rule = f"the scores of a head sum to at most {MASS_SUM_MAX} in a step"
                refuse(row.line, f"sum of scores {masses[head]:.4f}", rule)
    return tuple(
        Layer(
            tuple(Hint(head, row.block, row.score, existing[head]) for head, row in hints[layer]),
            tuple(accesses[layer]),
        )
        for layer in accesses
    )
