"""What a host reads and writes of one region while it serves requests: chunked prefill, then decode.

A request is prefilled in chunks of 512 tokens, each in a step of its own, and then generates a token a step. In each
step the heads take turns: of every head first the written prefix is read (in decode all of it, or a share of its
blocks), then the chunk, or the token, is written block by block, 8 lines a token. Requests come one after the other.
Two layers of two KV heads stand for all: the detector sees a step of more heads as a longer one.
"""

import csv
from collections import Counter
from dataclasses import dataclass

from kv_endpoint.golden.common.config import LINES_PER_BLOCK, TOKENS_PER_BLOCK
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.events.port import Phase
from kv_endpoint.golden.pipeline.phase import RegionPhase
from tests.support.paths import ROOT

__all__ = ["AZURE", "SAMPLE", "Request", "Run", "accuracy", "confusions", "load", "requests", "serve"]

#: arrivals of a production service, where the file is at hand; numbers of our own in the same format
AZURE = ROOT.parent / "shared" / "traces" / "azure-conv.csv"
SAMPLE = ROOT / "tests" / "data" / "requests.csv"
CHUNK_TOKENS = 512
HEADS = 4
LINES_PER_TOKEN = LINES_PER_BLOCK // TOKENS_PER_BLOCK


@dataclass(frozen=True)
class Request:
    """Tokens of the prompt and of the answer."""

    context: int
    generated: int


@dataclass(frozen=True)
class Run:
    """`count` reads or writes of lines; of a run of reads `where` (head, block) is the first block."""

    phase: Phase
    step: int
    where: tuple
    write: bool
    count: int


def load(path):
    """The requests of a file in the format `TIMESTAMP,ContextTokens,GeneratedTokens`."""
    with open(path, newline="") as file:
        return [Request(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]


def requests(every):
    """(name of the file, each `every`-th request of the production trace), or all of the sample where it is not."""
    if AZURE.exists():
        return AZURE.name, load(AZURE)[::every]
    return SAMPLE.name, load(SAMPLE)


def serve(served, *, share=1.0, chunk=CHUNK_TOKENS, heads=HEADS):
    """The runs of `served` requests; decode reads `share` of the blocks that there are, at least one."""
    step = 0
    for request in served:
        for start in range(0, request.context, chunk):
            step += 1
            end = min(start + chunk, request.context)
            for head in range(heads):
                if start:
                    yield Run(Phase.PREFILL, step, (head, 0), False, start * LINES_PER_TOKEN)
                for block in range(start // TOKENS_PER_BLOCK, -(-end // TOKENS_PER_BLOCK)):
                    first = max(start, block * TOKENS_PER_BLOCK)
                    last = min(end, (block + 1) * TOKENS_PER_BLOCK)
                    yield Run(Phase.PREFILL, step, (head, block), True, (last - first) * LINES_PER_TOKEN)
        for position in range(request.context, request.context + request.generated):
            step += 1
            lines = position * LINES_PER_TOKEN
            if share < 1:
                lines = min(lines, max(1, round(share * position / TOKENS_PER_BLOCK)) * LINES_PER_BLOCK)
            for head in range(heads):
                yield Run(Phase.DECODE, step, (head, 0), False, lines)
                yield Run(Phase.DECODE, step, (head, position // TOKENS_PER_BLOCK), True, LINES_PER_TOKEN)


def confusions(runs, policies):
    """rule -> Counter of (what a window was, what was sensed), for rules `policies` (name -> Policy) and "plain".

    A window was what most of its accesses were. "plain" is the ratio of the window alone: reads >= 10 x writes is
    decode. All policies have windows of one size.
    """
    detectors = {name: RegionPhase() for name in policies}
    (size,) = {1 << policy.phase_window for policy in policies.values()}
    ratio = Policy().phase_ratio
    matrices = {name: Counter() for name in (*policies, "plain")}
    seen = in_prefill = writes = 0
    for run in runs:
        left = run.count
        while left:
            taken = min(left, size - seen)
            left -= taken
            seen += taken
            in_prefill += taken if run.phase == Phase.PREFILL else 0
            writes += taken if run.write else 0
            for name, detector in detectors.items():
                detector.access(run.where, run.write, run.step, policies[name], taken)
            if seen == size:
                truth = Phase.PREFILL if 2 * in_prefill > size else Phase.DECODE
                for name, detector in detectors.items():
                    matrices[name][truth, detector.sensed] += 1
                plain = Phase.DECODE if size - writes >= ratio * writes else Phase.PREFILL
                matrices["plain"][truth, plain] += 1
                seen = in_prefill = writes = 0
    return matrices


def accuracy(matrix, phase=None):
    """Share of the windows sensed rightly, of all or of those that were `phase`."""
    chosen = {key: count for key, count in matrix.items() if phase in (None, key[0])}
    return sum(count for (truth, sensed), count in chosen.items() if truth == sensed) / sum(chosen.values())
