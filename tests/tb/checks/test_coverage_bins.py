"""The bins of coverage against the golden snoop filter: what is legal is what random hosts reach, and no more."""

import random
from itertools import product

from kv_endpoint.golden.coherency.filter import SnoopFilter, set_of
from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import Access, LineState, Retry, SnoopKind, answer_states
from kv_endpoint.golden.common.messages import BIRspOpcode, MetaField, MetaValue, ReqOpcode, RwDOpcode, SnpType
from kv_endpoint.golden.events.port import ErrorKind, RefusalKind
from kv_endpoint.tb.checks.coverage_bins import ANY, GROUPS, NOTHING, message_bin

CONFIG = preset("tiny", hosts=2, filter_sets=2)
#: sectors that both hosts have, and of host 0 alone in a lossy mode
SHARED, LOSSY = range(4), range(4, 6)
PLACES = 2
FORMS = {1: "single", 2: "half", 4: "all"}


class Walk:
    """Random operations of the filter, as a device with two hosts makes them; `access`, `snoop`: bins that were hit."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.filter = SnoopFilter(CONFIG)
        self.access, self.snoop = set(), set()
        #: sector -> (Snoop, lines not answered)
        self.open = {}
        self.held = []

    @property
    def may_launch(self):
        return len(self.open) < PLACES

    def run(self, operations):
        for _ in range(operations):
            pick = self.random.random()
            if pick < 0.5:
                self.request()
            elif pick < 0.65 and self.held:
                self.do(*self.held.pop(self.random.randrange(len(self.held))))
            elif pick < 0.8 and self.open:
                self.answer()
            elif pick < 0.81:
                self.take_back()

    def request(self):
        sector = self.random.choice((*SHARED, *LOSSY))
        access = self.random.choice([access for access in Access if access != Access.PLAIN])
        if sector in LOSSY and self.random.random() < 0.4:
            # Otherwise several stale lines of a sector are rare.
            access = self.random.choice((Access.OWN, Access.WRITE_KEEP))
        if sector in SHARED and access == Access.WRITE_THROUGH:
            return
        self.do(access, 0 if sector in LOSSY else self.random.randrange(2), sector, self.random.randrange(SECTOR_LINES))

    def do(self, access, host, sector, line, retry=Retry.NO):
        states = [self.filter.state(each, sector, line) for each in (host, 1 - host)]
        may_launch, lossy = self.may_launch, sector in LOSSY
        verdict = self.filter.access(access, host, sector, line, retry=retry, lossy=lossy, may_launch=may_launch)
        own, other = (state.name for state in states)
        if not verdict.owner:
            self.access.add((access.name, own, ANY, "NOT_OWNER"))
            return
        self.access.add((access.name, own, other, (verdict.held or verdict.grant).name))
        self.apply("REQUEST" if verdict.held and verdict.held.name == "HELD_LINE" else "WAY", sector, verdict)
        if verdict.held:
            again = Retry.SNOOPED if verdict.held.name == "HELD_LINE" else Retry.WAITED
            self.held.append((access, host, sector, line, again))

    def answer(self):
        sector = self.random.choice(sorted(self.open))
        snoop, left = self.open.pop(sector)
        lines = [line for line in range(SECTOR_LINES) if left >> line & 1 and self.random.random() < 0.7]
        said = {line: self.random.choice(sorted(answer_states(snoop.kind))) for line in lines}
        self.filter.apply(set_of(CONFIG, sector), self.filter.answer(snoop, said))
        left &= ~sum(1 << line for line in lines)
        if left:
            self.open[sector] = snoop, left

    def take_back(self):
        if self.random.random() < 0.5:
            sector = self.random.choice((*SHARED, *LOSSY))
            verdict = self.filter.recall(sector, may_launch=self.may_launch)
            self.apply("RECALL", sector, verdict)
            return
        number, everything = self.random.randrange(CONFIG.filter_sets), self.random.random() < 0.5
        verdict = self.filter.scrub(number, everything=everything, may_launch=self.may_launch)
        sector = next(sector for sector in SHARED if set_of(CONFIG, sector) == number)
        self.apply("ALL" if everything else "STALE", sector, verdict)

    def apply(self, cause, sector, verdict):
        self.filter.apply(set_of(CONFIG, sector), verdict)
        for snoop in verdict.launched:
            self.open[snoop.sector] = snoop, snoop.lines
            self.snoop.add((cause, snoop.kind.name, FORMS[snoop.lines.bit_count()]))


def test_legal_bins_of_accesses_and_snoops_are_those_that_the_filter_reaches():
    seed = 1
    print(f"seed {seed}")
    walk = Walk(seed)
    walk.run(120_000)
    for group, hit in (("access", walk.access), ("snoop", walk.snoop)):
        legal = set(GROUPS[group].legal)
        assert hit - legal == set(), f"{group}: hit, and said to be impossible"
        assert legal - hit == set(), f"{group}: legal, and not hit"


def test_every_bin_is_legal_or_has_a_reason():
    for group in GROUPS.values():
        assert group.legal, group.name
        assert len(set(group.legal)) == len(group.legal)
        assert all(group.why_not(*names) is None for names in group.legal)
    assert "ownership is completed with Cmp-E" in GROUPS["access"].why_not("OWN", "I", "I", "CMP_S")
    # Every rule is the reason of some bin.
    for group in GROUPS.values():
        reasons = {group.why_not(*each) for each in product(*group.axes.values())}
        assert {why for why, _ in group.rules} == reasons - {None}, group.name


def test_answers_are_those_that_a_host_may_give():
    for kind, form, by, state in GROUPS["answer"].legal:
        assert not (form == "single" and by == "block")
        said = {"I": LineState.I, "S": LineState.S, "E": LineState.A}[state]
        assert said in answer_states(SnoopKind[kind])
    assert {names[3] for names in GROUPS["answer"].legal} == {opcode.name for opcode in list(BIRspOpcode)[:3]}


def test_messages_are_named_by_their_opcode_and_what_they_ask():
    def req(opcode, field=MetaField.META0_STATE, value=MetaValue.INVALID, snoop=SnpType.NO_OP):
        return {"opcode": opcode, "meta_field": field, "meta_value": value, "snp_type": snoop}

    asks = req(ReqOpcode.MEM_INV_NT, value=MetaValue.ANY, snoop=SnpType.SNP_INV)
    assert message_bin("req", asks) == ("MEM_INV_NT", "OWN")
    assert message_bin("req", req(ReqOpcode.MEM_RD)) is None
    assert message_bin("req", req(15)) is None
    assert message_bin("req", req(ReqOpcode.MEM_WR_FWD)) == ("MEM_WR_FWD", NOTHING)
    # The same number is another message on the other channel.
    assert message_bin("rwd", req(RwDOpcode.BI_CONFLICT)) == ("BI_CONFLICT", NOTHING)
    assert message_bin("rwd", req(RwDOpcode.MEM_WR)) == ("MEM_WR", "WRITE_BACK")
    assert message_bin("req", req(ReqOpcode.MEM_CLN_EVCT)) == ("MEM_CLN_EVCT", "FORGET")


def test_every_refusal_and_every_error_is_a_bin():
    assert GROUPS["refusal"].legal == tuple((kind.name,) for kind in RefusalKind)
    assert GROUPS["error"].legal == tuple((kind.name,) for kind in ErrorKind)
