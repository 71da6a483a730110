"""Functional coverage: which bins of `tb/checks/coverage_bins.py` the records and messages of a run hit."""

import json
from collections import Counter

from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import Access, Grant, LineState, Retry, Snoop, SnoopKind, answer_lines
from kv_endpoint.golden.common.messages import BIRspOpcode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, RefusalKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.tb.checks.coverage_bins import ANY, GROUPS, message_bin
from kv_endpoint.tb.checks.protocol import parse_bisnp
from kv_endpoint.tb.checks.recorded import read_trace

__all__ = ["Coverage"]

_FOUND = {
    Outcome.HIT: "resident",
    Outcome.ZEROS: "absent",
    Outcome.FIRST_WRITE: "absent",
    Outcome.MISS: "away",
}
_DONE = {Outcome.HIT, Outcome.ZEROS, Outcome.DONE}
_ERRORS = {Outcome.NOT_OWNER: ErrorKind.NOT_OWNER, Outcome.SHARED_WRITE: ErrorKind.SHARED_WRITE}
_BLOCK = BIRspOpcode.I_BLK - BIRspOpcode.I


def _form(lines):
    """The form of a snoop of `lines`, a mask."""
    return {1: "single", 2: "half"}.get(lines.bit_count(), "all")


class Coverage:
    """`hits`: how often each bin was hit, by (group, names...).

    Records are counted by `follow`, messages by `message` or `read_trace`. What several runs hit adds up (`add`).
    """

    def __init__(self):
        self.hits = Counter()
        #: BITag -> (Snoop, lines not answered) of the messages
        self._snoops = {}

    def add(self, other):
        self.hits.update(other.hits)

    def hit(self, group, *names):
        self.hits[group, *names] += 1

    # Records ----------------------------------------------------------------------------------------------------------

    def follow(self, endpoint, lane, record, check):
        """Count the next record of a golden endpoint, and have the endpoint follow it by `check(lane, record)`."""
        if lane == Lane.ENGINE:
            self._follow_note(endpoint, record, check)
        elif record["access"]:
            self._follow_access(endpoint, record, check)
        else:
            check(lane, record)
            if record["kind"] == SlotKind.ANSWER:
                outcome = Outcome(record["outcome"])
                self.hit("answered", outcome.name, "rwd" if record["rwd"] else "req")
                self._error(outcome)

    def _error(self, outcome):
        if outcome in _ERRORS:
            self.hit("error", _ERRORS[outcome].name)

    def _follow_access(self, endpoint, record, check):
        coherent, access, host = endpoint.coherent, Access(record["access"]), record["host"]
        sector = coherent.sector(record["head"], record["block"], record["line"])
        states = [
            coherent.filter.state(each, sector, record["line"] % SECTOR_LINES) for each in range(endpoint.config.hosts)
        ]
        own = states.pop(host).name
        (other,) = states or (LineState.I,)
        began = self._check(endpoint, Lane.SLOT, record, check)

        outcome = Outcome(record["outcome"])
        self._error(outcome)
        done = outcome in _DONE
        result = Grant(record["grant"]).name if done else outcome.name
        if done or outcome.held:
            self.hit("access", access.name, own, other.name, result)
            if record["retry"]:
                self.hit("retry", Retry(record["retry"]).name, "done" if done else result)
        elif outcome == Outcome.NOT_OWNER:
            self.hit("access", access.name, own, ANY, result)
        if record["kind"] in (SlotKind.READ, SlotKind.WRITE) and outcome in _FOUND:
            self.hit("found", access.name, _FOUND[outcome])
        self._began("REQUEST" if outcome == Outcome.HELD_LINE else "WAY", began)

    def _follow_note(self, endpoint, record, check):
        began = self._check(endpoint, Lane.ENGINE, record, check)
        kind, key = record["kind"], record["key"]
        if kind == EngineKind.REFUSAL:
            self.hit("refusal", RefusalKind(key).name)
        elif kind == EngineKind.ERROR:
            self.hit("error", ErrorKind(key).name)
        elif kind == EngineKind.BI_RECALL:
            self._began("RECALL", began)
        elif kind == EngineKind.BI_SCRUB:
            self._began("ALL" if record["aux"] else "STALE", began)

    @staticmethod
    def _check(endpoint, lane, record, check):
        """Check a record; the snoops that begin with it."""
        before = endpoint.coherent.snoops.outstanding
        check(lane, record)
        after = endpoint.coherent.snoops.outstanding
        return [place.snoop for tag, place in after.items() if tag not in before]

    def _began(self, cause, snoops):
        for snoop in snoops:
            self.hit("snoop", cause, snoop.kind.name, _form(snoop.lines))

    # Messages ---------------------------------------------------------------------------------------------------------

    def message(self, channel, fields):
        """Count a message that was taken, in the order of time."""
        if channel == "bisnp":
            kind, lines, _ = parse_bisnp(fields)
            self._snoops[fields["bi_tag"]] = Snoop(SnoopKind(kind), fields["bi_id"], 0, lines), lines
        elif channel == "birsp":
            self._answer(fields)
        elif channel in ("req", "rwd"):
            names = message_bin(channel, fields)
            if names is not None:
                self.hit("message", *names)
        if fields.get("poison"):
            self.hit("poison", channel)

    def read_trace(self, path):
        """Count the messages of a run's trace."""
        self._snoops.clear()
        for traced in read_trace(path):
            if traced.channel is not None:
                self.message(traced.channel, traced.fields)

    def _answer(self, fields):
        """A BIRsp; one that is not legal is an error and no bin."""
        tag = fields["bi_tag"]
        snoop, lines_open = self._snoops.get(tag, (None, 0))
        if snoop is None or fields["bi_id"] != snoop.host:
            return
        said = answer_lines(snoop, lines_open, fields["opcode"], fields["low_addr"])
        if said is None:
            return
        self._snoops[tag] = snoop, lines_open & ~sum(1 << line for line in said)
        is_block = fields["opcode"] >= _BLOCK
        state = BIRspOpcode(fields["opcode"] - _BLOCK * is_block).name
        self.hit("answer", snoop.kind.name, _form(snoop.lines), "block" if is_block else "line", state)

    def conflicts(self, early, late):
        """Conflicts that hosts have counted."""
        self.hits["conflict", "early"] += early
        self.hits["conflict", "late"] += late

    # Files ------------------------------------------------------------------------------------------------------------

    def write(self, path):
        path.write_text(json.dumps({"/".join(names): count for names, count in sorted(self.hits.items()) if count}))

    @classmethod
    def read(cls, path):
        """What `write` has written."""
        coverage = cls()
        for names, count in json.loads(path.read_text()).items():
            coverage.hits[tuple(names.split("/"))] += count
        return coverage

    # Results ----------------------------------------------------------------------------------------------------------

    def missed(self, group):
        """Legal bins of a group that were not hit."""
        return [names for names in GROUPS[group].legal if not self.hits[group, *names]]

    def impossible(self):
        """(group, names, why) of bins that were hit and should not be."""
        for (group, *names), count in sorted(self.hits.items()):
            why = GROUPS[group].why_not(*names)
            if count and why is not None:
                yield group, tuple(names), why

    @property
    def share(self):
        """Share of the legal bins that were hit."""
        legal = sum(len(group.legal) for group in GROUPS.values())
        return 1 - sum(len(self.missed(name)) for name in GROUPS) / legal
