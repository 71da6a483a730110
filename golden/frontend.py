"""The front end: what becomes of a message before it reaches the metadata pipeline."""

from golden.address import Target, decode
from golden.messages import ReqOpcode, RwDOpcode, Served, serve_req, serve_rwd
from golden.metadata import Outcome, Slot, SlotKind

__all__ = ["slot_of_req", "slot_of_rwd", "answer"]

#: bit 0 of an ANSWER's value: the message was a read, which wants data where it gets a response
READ_VALUE = 1


def answer(outcome, *, rwd, tag, read=False):
    """An ANSWER slot."""
    return Slot(SlotKind.ANSWER, rwd=rwd, tag=tag, value=READ_VALUE if read else 0, outcome=outcome)


def slot_of_req(config, regions, message):
    """The slot of a Req, given as a mapping of its fields."""
    served = serve_req(message["opcode"], message["meta_field"], message["meta_value"], message["snp_type"])
    where = decode(config, regions, message["address"])
    tag = message["tag"]
    read = message["opcode"] in (ReqOpcode.MEM_RD, ReqOpcode.MEM_RD_DATA)
    if served == Served.ILLEGAL:
        return answer(Outcome.ILLEGAL, rwd=False, tag=tag)
    if served == Served.DROP:
        return answer(Outcome.DROPPED, rwd=False, tag=tag)
    if where.target == Target.NXM:
        return answer(Outcome.NXM, rwd=False, tag=tag, read=read)
    if served == Served.CACHEABLE:
        return answer(Outcome.CACHEABLE, rwd=False, tag=tag)
    if where.target == Target.HINT:
        return answer(Outcome.WINDOW, rwd=False, tag=tag, read=read)
    if served == Served.COMPLETE:
        return answer(Outcome.COMPLETED, rwd=False, tag=tag)
    return Slot(SlotKind.READ, tag=tag, head=where.head, block=where.block, line=where.line)


def slot_of_rwd(config, regions, message):
    """The slot of an RwD, or None for a hint line, which becomes several (`golden/hints.py`)."""
    served = serve_rwd(message["opcode"], message["meta_field"], message["meta_value"], message["snp_type"])
    where = decode(config, regions, message["address"])
    tag = message["tag"]
    if served == Served.ILLEGAL:
        return answer(Outcome.ILLEGAL, rwd=True, tag=tag)
    if served == Served.CONFLICT:
        return answer(Outcome.CONFLICT, rwd=True, tag=tag)
    if where.target == Target.NXM:
        return answer(Outcome.NXM, rwd=True, tag=tag)
    if where.target == Target.HINT:
        if message["opcode"] == RwDOpcode.MEM_WR:
            return None
        return answer(Outcome.WINDOW, rwd=True, tag=tag)
    return Slot(SlotKind.WRITE, rwd=True, tag=tag, head=where.head, block=where.block, line=where.line)
