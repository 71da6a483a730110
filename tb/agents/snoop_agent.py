"""How a host answers snoops: after a while, in any order, in block form or line by line, and never before it may.

A line whose Req is pending needs the conflict handshake first (CXL 3.0 section 3.5.1.3 by the numbering of 3.1); dirty
data is written, and its Cmp awaited, before the answer says that it is gone.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SnoopKind
from kv_endpoint.golden.common.messages import BIRspOpcode
from kv_endpoint.tb.checks.coherent_image import Mesi
from kv_endpoint.tb.checks.protocol import parse_bisnp
from kv_endpoint.tb.checks.responses import ProtocolError

__all__ = ["Manners", "Snooped", "SnoopAgent"]

_SINGLE = {Mesi.I: BIRspOpcode.I, Mesi.S: BIRspOpcode.S, Mesi.E: BIRspOpcode.E}
_BLOCK = {Mesi.I: BIRspOpcode.I_BLK, Mesi.S: BIRspOpcode.S_BLK, Mesi.E: BIRspOpcode.E_BLK}
#: the most that a host may keep
_KEEPS = {SnoopKind.CUR: Mesi.E, SnoopKind.DATA: Mesi.S, SnoopKind.INV: Mesi.I}


@dataclass(frozen=True)
class Manners:
    """How a host answers snoops; times in clocks, lowest and highest, drawn evenly.

    `look`: from a BISnp to the moment when the host looks at it, `answer`: from the end of its work, or from the answer
    before, to an answer. `block` is the share of block snoops that are answered in block form, `keep` the share of
    lines that the host does not give up where it need not.
    """

    look: tuple = (0, 40)
    answer: tuple = (0, 20)
    block: float = 0.5
    keep: float = 0.4


class _Step(Enum):
    """How far a line of a snoop is."""

    NEW = auto()
    #: BIConflict has been sent, its Ack is to come
    CONFLICT = auto()
    #: the Req is completed, its data may still be on its way
    FILLING = auto()
    #: what the host holds is what it has to give up
    SETTLE = auto()
    READY = auto()


@dataclass
class _Line:
    address: int
    #: the line within its sector
    number: int
    step: _Step = _Step.NEW


@dataclass
class Snooped:
    """A BISnp that is not completely answered."""

    tag: int
    kind: SnoopKind
    #: lines not yet answered
    lines: list
    is_block: bool
    in_block_form: bool
    #: clock in which the host looks at it, and then that of its next answer
    due: int
    begun: bool = False
    is_partly_answered: bool = False
    answer_due: int | None = None
    addresses: set = field(default_factory=set)


class SnoopAgent:
    """The snoops of one `CachingHost`.

    Attributes
    ----------
    counts : Counter
        "snoops", "lines", "early", "late" conflicts, "write_backs" for a snoop, "block_answers", "line_answers".
    muted : callable (BITag) -> bool
        Snoops that the host does not look at while this says so: for tests of answers that never come.
    """

    def __init__(self, host, *, seed, manners):
        self._host, self._rng, self.manners = host, random.Random(seed), manners
        self.counts = Counter()
        self.muted = lambda tag: False
        self._open = {}
        #: tag of a Req -> the line whose BIConflict carries it
        self._conflicts = {}

    @property
    def open(self):
        """BITags of the snoops that are not completely answered."""
        return tuple(self._open)

    @property
    def unanswered(self):
        """The `Snooped`s likewise."""
        return tuple(self._open.values())

    def locks(self, address):
        """Whether a line is being given up: the host begins nothing with it until it has answered."""
        return any(snoop.begun and address in snoop.addresses for snoop in self._open.values())

    def forget(self):
        """In a reset: no snoop is open."""
        self._open.clear()
        self._conflicts.clear()

    def take(self, fields, now):
        """A BISnp has come."""
        kind, mask, base = parse_bisnp(fields)
        tag = fields["bi_tag"]
        if tag in self._open:
            raise ProtocolError(f"BISnp with BITag {tag}, which host {self._host.number} has not answered")
        lines = [_Line(base + number, number) for number in range(SECTOR_LINES) if mask >> number & 1]
        is_block = len(lines) > 1
        self._open[tag] = Snooped(
            tag,
            kind,
            lines,
            is_block,
            in_block_form=is_block and self._rng.random() < self.manners.block,
            due=now + self._rng.randint(*self.manners.look),
            addresses={line.address for line in lines},
        )
        self.counts["snoops"] += 1
        self.counts["lines"] += len(lines)

    def acknowledged(self, tag):
        """BI-ConflictAck."""
        line = self._conflicts.pop(tag, None)
        if line is None:
            raise ProtocolError(f"BI-ConflictAck with tag {tag}, which host {self._host.number} does not await")
        req = self._host.req_of(line.address)
        is_late = req is None or req.tag != tag or req.ndr is not None
        self.counts["late" if is_late else "early"] += 1
        line.step = _Step.FILLING if is_late else _Step.SETTLE

    def tick(self, now):
        """Go on with every snoop whose time has come."""
        for snoop in tuple(self._open.values()):
            if not snoop.begun:
                if now < snoop.due or self.muted(snoop.tag):
                    continue
                snoop.begun = True
            for line in snoop.lines:
                self._advance(snoop, line)
            self._answer(snoop, now)

    def _advance(self, snoop, line):
        host, address = self._host, line.address
        if line.step == _Step.NEW:
            req = host.req_of(address)
            if req is None:
                line.step = _Step.SETTLE
            elif req.ndr is not None:
                line.step = _Step.FILLING
            else:
                host.send_conflict(req)
                self._conflicts[req.tag] = line
                line.step = _Step.CONFLICT
        if line.step == _Step.FILLING and host.req_of(address) is None:
            line.step = _Step.SETTLE
        if line.step == _Step.SETTLE and host.rwd_of(address) is None:
            if host.state(address) == Mesi.M:
                host.write_back(address, keep=self._rng.random() < self.manners.keep)
                self.counts["write_backs"] += 1
            else:
                line.step = _Step.READY

    def _answer(self, snoop, now):
        ready = [line for line in snoop.lines if line.step == _Step.READY]
        if not ready or (snoop.in_block_form and len(ready) < len(snoop.lines)):
            return
        if snoop.answer_due is None:
            snoop.answer_due = now + self._rng.randint(*self.manners.answer)
        if now < snoop.answer_due:
            return
        snoop.answer_due = None
        lines = ready if snoop.in_block_form else [self._rng.choice(ready)]
        state = min(self._kept(snoop.kind, line.address) for line in lines)
        fields = {"bi_id": self._host.number, "bi_tag": snoop.tag}
        if snoop.in_block_form:
            # LowAddr means nothing here.
            fields |= {"opcode": _BLOCK[state], "low_addr": self._rng.randrange(SECTOR_LINES)}
        else:
            fields |= {"opcode": _SINGLE[state], "low_addr": lines[0].number}
        self.counts["block_answers" if snoop.in_block_form else "line_answers"] += 1
        for line in lines:
            self._host.image.keep(self._host.number, line.address, state)
            snoop.lines.remove(line)
            snoop.addresses.discard(line.address)
        snoop.is_partly_answered = True
        self._host.send_birsp(fields)
        if not snoop.lines:
            del self._open[snoop.tag]

    def _kept(self, kind, address):
        """The state in which the host holds a line after it was asked for it."""
        kept = min(self._host.state(address), _KEEPS[kind])
        if kept != Mesi.I and self._rng.random() >= self.manners.keep:
            kept = self._rng.choice([state for state in Mesi if state < kept])
        return kept
