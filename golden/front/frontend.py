"""The front end: what becomes of a message before it reaches the metadata pipeline."""

from enum import IntEnum

from kv_endpoint.golden.common.line_access import Access, access_of_req, access_of_rwd
from kv_endpoint.golden.common.messages import ReqOpcode, RwDOpcode
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind

__all__ = ["Served", "answer", "host_of", "serve_req", "serve_rwd", "slot_of_req", "slot_of_rwd"]

#: bit 0 of an ANSWER's value: the message was a read, which wants data where it gets a response
READ_VALUE = 1


class Served(IntEnum):
    """What the front end does with a message that lies in a region."""

    READ = 0
    WRITE = 1
    #: completed without data: where no host may cache the line there is nothing to flush or forget
    COMPLETE = 2
    #: may be dropped, and is: no response
    DROP = 3
    #: asks for a cacheable copy: where none may be had, no response, counted
    CACHEABLE = 4
    #: not legal for HDM-DB memory: no response, counted
    ILLEGAL = 5
    #: answered with BI-ConflictAck
    CONFLICT = 6


def serve_req(opcode, meta_field, meta_value, snp_type):
    """How a Req is served."""
    if opcode == ReqOpcode.MEM_SPEC_RD:
        return Served.DROP
    access = access_of_req(opcode, meta_field, meta_value, snp_type)
    if access is None:
        return Served.ILLEGAL
    if access.caches:
        return Served.CACHEABLE
    return Served.COMPLETE if access in (Access.FLUSH, Access.FORGET) else Served.READ


def serve_rwd(opcode, meta_field, meta_value, snp_type):
    """How an RwD is served."""
    if opcode == RwDOpcode.BI_CONFLICT:
        return Served.CONFLICT
    return Served.ILLEGAL if access_of_rwd(opcode, meta_field, meta_value, snp_type) is None else Served.WRITE


def host_of(config, message):
    """The host that a message comes from, by its LD-ID; None if there is no such host. A single host has any LD-ID."""
    if config.hosts == 1:
        return 0
    return message["ld_id"] if message["ld_id"] < config.hosts else None


def answer(outcome, *, rwd, tag, read=False):
    """An ANSWER slot."""
    return Slot(SlotKind.ANSWER, rwd=rwd, tag=tag, value=READ_VALUE if read else 0, outcome=outcome)


def _what(message):
    return message["opcode"], message["meta_field"], message["meta_value"], message["snp_type"]


def slot_of_req(config, regions, message):
    """The slot of a Req, given as a mapping of its fields."""
    served, host = serve_req(*_what(message)), host_of(config, message)
    where = decode(config, regions, message["address"], host) if host is not None else decode(config, (), 0)
    tag = message["tag"]
    read = message["opcode"] in (ReqOpcode.MEM_RD, ReqOpcode.MEM_RD_DATA)
    if served == Served.ILLEGAL:
        return answer(Outcome.ILLEGAL, rwd=False, tag=tag)
    if served == Served.DROP:
        return answer(Outcome.DROPPED, rwd=False, tag=tag)
    if where.target == Target.NXM:
        return answer(Outcome.NXM, rwd=False, tag=tag, read=read)
    cached = where.region.cached and where.target == Target.BLOCK
    if served == Served.CACHEABLE and not cached:
        return answer(Outcome.CACHEABLE, rwd=False, tag=tag)
    if where.target == Target.HINT:
        return answer(Outcome.WINDOW, rwd=False, tag=tag, read=read)
    if served == Served.COMPLETE and not cached:
        return answer(Outcome.COMPLETED, rwd=False, tag=tag)
    kind = SlotKind.RELEASE if served == Served.COMPLETE else SlotKind.READ
    access = access_of_req(*_what(message)) if cached else Access.PLAIN
    return Slot(kind, tag=tag, head=where.head, block=where.block, line=where.line, access=access, host=host)


def slot_of_rwd(config, regions, message):
    """The slot of an RwD, or None for a hint line, which becomes several (`golden/front/hints.py`)."""
    served, host = serve_rwd(*_what(message)), host_of(config, message)
    where = decode(config, regions, message["address"], host) if host is not None else decode(config, (), 0)
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
    access = access_of_rwd(*_what(message)) if where.region.cached else Access.PLAIN
    if where.region.shared and access == Access.WRITE_THROUGH:
        return answer(Outcome.SHARED_WRITE, rwd=True, tag=tag)
    return Slot(
        SlotKind.WRITE, rwd=True, tag=tag, head=where.head, block=where.block, line=where.line, access=access, host=host
    )
