"""Faults on purpose: messages that are not legal, answers that answer nothing, media that fail, ports that close."""

import itertools
import random

from amaranth.lib.wiring import In

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SnoopKind
from kv_endpoint.golden.common.messages import BIRspOpcode, ReqOpcode, RwDOpcode
from kv_endpoint.golden.front.frontend import Served, serve_req, serve_rwd

__all__ = ["Gate", "MediaFaults", "bad_birsp", "channels", "illegal_messages"]

#: BIRsp opcodes that CXL does not define
_UNDEFINED_BIRSP = tuple(opcode for opcode in range(16) if opcode not in set(BIRspOpcode))
#: what a host may not say that it holds, by what it was asked
_CLAIMS = {
    SnoopKind.CUR: (),
    SnoopKind.DATA: (BIRspOpcode.E, BIRspOpcode.E_BLK),
    SnoopKind.INV: (BIRspOpcode.S, BIRspOpcode.E, BIRspOpcode.S_BLK, BIRspOpcode.E_BLK),
}
#: BI-IDs from here on belong to no host
_NO_HOST = 2


def channels(signature):
    """Names of all ready/valid channels of a signature: of a stream its member, `mem.ar` of a port with several.

    Maps each to (signal that says valid, signal that says ready, whether the component is the one that is ready).
    """
    found = {}
    for path, member, _ in signature.flatten(signature.create()):
        *port, name = map(str, path)
        if not name.endswith("valid"):
            continue
        prefix = name.removesuffix("valid")
        channel = ".".join(port) + (f".{prefix}" if prefix else "")
        found[channel] = ("__".join((*port, name)), "__".join((*port, f"{prefix}ready")), member.flow == In)
    return found


class Gate:
    """Closes a port of the bench for as long as a test wants: set `closed`. Else the port stalls as it would."""

    def __init__(self):
        self.closed = False

    def over(self, pauses):
        """The pauses (see `tb.lib.bus.stalls`) of a port behind this gate."""
        for pause in itertools.repeat(False) if pauses is None else pauses:
            yield pause or self.closed


class MediaFaults:
    """Makes a share of DDR5 reads, DDR5 writes, page reads and page programs fail, from a seed, and counts them.

    `shares` by the name of the error that the endpoint must report: AXI_READ, AXI_WRITE, PAGE_READ, PAGE_WRITE.
    `arguments` are those of `tb.interactive.TB`. While `active` is false nothing fails.
    """

    def __init__(self, *, seed, **shares):
        self._rng, self._shares = random.Random(f"{seed}/media faults"), shares
        self.counts = dict.fromkeys(shares, 0)
        self.active = True

    def _fails(self, kind):
        failed = self.active and self._rng.random() < self._shares.get(kind, 0)
        if failed:
            self.counts[kind] += 1
        return failed

    @property
    def arguments(self):
        return {
            "read_error": lambda line: self._fails("AXI_READ"),
            "write_error": lambda line: self._fails("AXI_WRITE"),
            "page_fails": lambda write, page: self._fails("PAGE_WRITE" if write else "PAGE_READ"),
        }


def illegal_messages(rng):
    """Endless pairs (channel, fields) of messages that no device for HDM-DB memory serves (P9), opcodes of HDM-D among
    them.
    """
    while True:
        fields = {
            "snp_type": rng.randrange(8),
            "meta_field": rng.randrange(4),
            "meta_value": rng.randrange(4),
        }
        channel = rng.choice(("req", "rwd"))
        known = (ReqOpcode.MEM_RD_FWD, ReqOpcode.MEM_WR_FWD, *ReqOpcode) if channel == "req" else tuple(RwDOpcode)
        opcode = rng.choice((rng.randrange(16), rng.choice(known)))
        serve = serve_req if channel == "req" else serve_rwd
        if serve(opcode, **fields) == Served.ILLEGAL:
            yield channel, fields | {"opcode": opcode}


def bad_birsp(rng, config, host, snoop=None):
    """A BIRsp of a host that answers nothing. `snoop` (`tb.agents.snoop_agent.Snooped`) is one that it has not
    answered: the BIRsp may name that BITag, and say what is not legal for it.
    """
    candidates = [
        {"bi_tag": rng.randrange(config.snoops, 1 << 12), "opcode": rng.choice(tuple(BIRspOpcode))},
        {"bi_tag": rng.randrange(config.snoops), "opcode": rng.choice(_UNDEFINED_BIRSP)},
        {
            "bi_tag": rng.randrange(config.snoops),
            "opcode": rng.choice(tuple(BIRspOpcode)),
            "bi_id": rng.randrange(_NO_HOST, 1 << 12),
        },
    ]
    if snoop is not None:
        claims = list(_CLAIMS[snoop.kind])
        if not snoop.is_block or snoop.is_partly_answered:
            claims.append(BIRspOpcode.I_BLK)
        candidates += [{"bi_tag": snoop.tag, "opcode": claim} for claim in claims]
        if snoop.is_block:
            # A line that the snoop does not cover, or that is answered.
            others = set(range(SECTOR_LINES)) - {line.number for line in snoop.lines}
            candidates += [{"bi_tag": snoop.tag, "opcode": BIRspOpcode.I, "low_addr": line} for line in others]
    return {"bi_id": host, "low_addr": rng.randrange(SECTOR_LINES)} | rng.choice(candidates)
