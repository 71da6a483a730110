"""Slot records: the slot that a record tells of, and the record that a committed slot must have."""

from kv_endpoint.golden.common.line_access import Access, Retry
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind

__all__ = ["slot_of", "slot_record"]

_ACCESSES = {int(access): access for access in Access}
_RETRIES = {int(retry): retry for retry in Retry}
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
#: slots of the RwD channel (ANSWER may be of either), and those that carry a tag, a line, a value
_RWD_KINDS = {SlotKind.WRITE, SlotKind.HINT, SlotKind.REPLAY_WRITE}
_DEMAND_KINDS = {
    SlotKind.READ, SlotKind.WRITE, SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE, SlotKind.BYPASS_READ, SlotKind.RELEASE,
}  # fmt: skip
_VALUE_KINDS = {SlotKind.HINT, SlotKind.ANSWER, SlotKind.PROMOTE}
#: slots of which the record says whose they are, and what the snoop filter is asked
_HOST_KINDS = _DEMAND_KINDS
#: slots of held requests
_RETRIED_KINDS = {SlotKind.READ, SlotKind.RELEASE}
_TAG_KINDS = _DEMAND_KINDS | {SlotKind.HINT, SlotKind.ANSWER}
#: slots whose record has the slot's frame, all others the entry's
_FRAME_KINDS = {SlotKind.PROMOTE, SlotKind.ALLOCATE, SlotKind.BYPASS_READ}
#: answers by channel; the others come on both
_RWD_ANSWERS = {
    Outcome.CONFLICT, Outcome.HINT_DONE, Outcome.HINT_STALE, Outcome.HINT_MALFORMED, Outcome.HINT_EXHAUSTED,
    Outcome.SHARED_WRITE,
}  # fmt: skip
_REQ_ANSWERS = {Outcome.COMPLETED, Outcome.DROPPED, Outcome.CACHEABLE}
_ANSWERS = _RWD_ANSWERS | _REQ_ANSWERS | {Outcome.NXM, Outcome.ILLEGAL, Outcome.WINDOW, Outcome.UNWRITABLE}


def slot_of(kind, record):
    """The slot of `kind` (`SlotKind`) that a record, a dict of its fields, tells of."""
    outcome = Outcome.DONE
    if kind == SlotKind.ANSWER:
        outcome = _OUTCOMES.get(record["outcome"])
        if outcome not in _ANSWERS:
            raise Mismatch("outcome", "the outcome of an ANSWER", record["outcome"])
    access, retry = Access.PLAIN, Retry.NO
    # Most records are of no access to the filter.
    if record["access"] or record["retry"]:
        access, retry = _asked(kind, record)
    return Slot(
        kind, bool(record["rwd"]), record["tag"], record["head"], record["block"], record["line"], record["value"],
        record["frame"], outcome, access, record["host"], retry,
    )  # fmt: skip


def _asked(kind, record):
    """(access, retry) of a record."""
    access, retry = _ACCESSES.get(record["access"]), _RETRIES.get(record["retry"])
    if access is None or (kind not in _HOST_KINDS and access != Access.PLAIN):
        raise Mismatch("access", f"an Access that fits {kind.name}", record["access"])
    if retry is None or (kind not in _RETRIED_KINDS and retry != Retry.NO):
        raise Mismatch("retry", f"a Retry that fits {kind.name}", record["retry"])
    return access, retry


def slot_record(slot, before, result, now):
    """The record of a slot committed at step `now`, less its sequence number.

    `before` is the entry before the slot, `result` what `golden.pipeline.metadata.commit` says of it.
    """
    kind, after = slot.kind, result.entry
    rwd = kind in _RWD_KINDS
    if kind == SlotKind.ANSWER:
        rwd = slot.outcome in _RWD_ANSWERS or (slot.rwd and slot.outcome not in _REQ_ANSWERS)
    record = {
        "kind": kind,
        "rwd": rwd,
        "tag": slot.tag if kind in _TAG_KINDS else 0,
        "head": slot.head,
        "block": slot.block,
        "line": slot.line if kind in _DEMAND_KINDS else 0,
        "value": slot.value if kind in _VALUE_KINDS else 0,
        "step": now,
        "outcome": result.outcome,
        "touch": result.touch,
        "access": slot.access,
        "host": slot.host if kind in _HOST_KINDS else 0,
        "retry": slot.retry,
        "grant": result.grant,
    }
    if kind == SlotKind.ANSWER:
        record |= dict.fromkeys(("ema", "frame", "state_before", "flags_before", "state_after", "flags_after"), 0)
    else:
        record |= {
            "state_before": before.state,
            "flags_before": before.flags,
            "state_after": after.state,
            "flags_after": after.flags,
            "ema": after.ema,
            "frame": slot.frame if kind in _FRAME_KINDS else before.frame,
        }
    return record
