"""The golden snoop filter against a model without rows, and against hosts that drop lines silently."""

import random
from collections import Counter

import pytest

from kv_endpoint.golden.coherency.filter import SnoopFilter, set_of
from kv_endpoint.golden.common.config import SECTOR_LINES, preset
from kv_endpoint.golden.common.line_access import Access, Grant, LineState, Retry, SnoopKind, answer_states
from kv_endpoint.golden.pipeline.metadata import Outcome

I, STALE, A, S = LineState.I, LineState.STALE, LineState.A, LineState.S  # noqa: E741 -- the specification's letters
TINY = preset("tiny")
FORMS = {0b0001, 0b0010, 0b0100, 0b1000, 0b0011, 0b1100, 0b1111}
#: what each access needs of the line in other hosts: a snoop of this kind where it is held in one of these states
NEEDS = {
    Access.READ_CURRENT: (SnoopKind.CUR, {A, STALE}),
    Access.READ_SHARED: (SnoopKind.DATA, {A, STALE}),
    Access.READ_DATA: (SnoopKind.DATA, {A, STALE}),
    Access.READ_INVALIDATE: (SnoopKind.INV, {A, STALE, S}),
    Access.READ_OWN: (SnoopKind.INV, {A, STALE, S}),
    Access.OWN: (SnoopKind.INV, {A, STALE, S}),
    Access.FLUSH: (SnoopKind.INV, {A, STALE, S}),
    Access.FORGET: (None, set()),
}
READS = tuple(NEEDS)
WRITES = (Access.WRITE_THROUGH, Access.WRITE_BACK, Access.WRITE_KEEP)


def mask(lines):
    return sum(1 << line for line in lines)


class Naive:
    """Every line's state in one dict, and what must come of an access in words: (outcome, snoop kind or None)."""

    def __init__(self, config):
        self.config = config
        self.states = {}
        self.busy = {}
        self.promised = set()

    def held(self, host, sector, line):
        return self.states.get((host, sector, line), I)

    def in_use(self):
        return {sector for (_, sector, _), state in self.states.items() if state} | set(self.busy)

    def in_set(self, sector):
        return {other for other in self.in_use() if set_of(self.config, other) == set_of(self.config, sector)}

    def conflicts(self, access, host, sector, line):
        _, states = NEEDS[access]
        return [
            other for other in range(self.config.hosts) if other != host and self.held(other, sector, line) in states
        ]

    def expected(self, access, host, sector, line, retry, may_launch):
        """(outcome, kind of snoop launched or None); the outcome None is a grant."""
        if self.busy.get(sector, 0) >> line & 1:
            return Outcome.HELD_WAY if access == Access.READ_CURRENT else Outcome.HELD_LINE, None
        is_done = access == Access.READ_CURRENT and retry == Retry.SNOOPED
        if not is_done and self.conflicts(access, host, sector, line):
            if sector in self.busy:
                return Outcome.HELD_WAY, None
            return (Outcome.HELD_LINE, NEEDS[access][0]) if may_launch else (Outcome.HELD_TABLE, None)
        members, ways = self.in_set(sector), self.config.filter_ways
        quiet = not any(other in self.busy for other in members)
        if access.caches and sector not in members:
            if set_of(self.config, sector) in self.promised and retry == Retry.NO:
                return Outcome.HELD_WAY, None
            if len(members) == ways:
                if not quiet:
                    return Outcome.HELD_WAY, None
                return (Outcome.HELD_WAY, SnoopKind.INV) if may_launch else (Outcome.HELD_TABLE, None)
            if len(members) == ways - 1 and quiet and may_launch:
                return None, SnoopKind.INV
        return None, None

    def grant(self, access, host, sector, line):
        """How it must be completed, and the host's state afterwards."""
        own = self.held(host, sector, line)
        others = [self.held(other, sector, line) for other in range(self.config.hosts) if other != host]
        if access in (Access.READ_OWN, Access.OWN):
            return Grant.CMP_E, A
        if access == Access.READ_SHARED:
            return Grant.CMP_S, S
        if access == Access.READ_DATA:
            return (Grant.CMP_S, S) if own == S or any(others) else (Grant.CMP_E, A)
        return Grant.CMP, I if access in (Access.FLUSH, Access.FORGET) else own


class Driver:
    """Does random things to a filter and to the naive model, and compares what comes of each."""

    def __init__(self, config, seed):
        self.config, self.random = config, random.Random(seed)
        self.filter, self.naive = SnoopFilter(config), Naive(config)
        #: what hosts really hold: never more than the filter says
        self.really = {}
        self.outstanding = {}
        self.seen = Counter()
        sectors = config.blocks * 32
        self.sectors = self.random.sample(range(sectors), 3 * config.filter_sectors)

    def step(self):
        pick = self.random.random()
        if pick < 0.65:
            self.access()
        elif pick < 0.9:
            self.answer()
        elif pick < 0.94:
            self.recall()
        elif pick < 0.98:
            self.scrub()
        else:
            self.drop()

    def access(self):
        naive, may_launch = self.naive, self.random.random() < 0.9
        access = self.random.choice((*READS, *READS, *WRITES))
        host, sector = self.random.randrange(self.config.hosts), self.random.choice(self.sectors)
        line, retry = self.random.randrange(SECTOR_LINES), self.random.choice((Retry.NO, Retry.NO, *Retry))
        lossy = self.config.hosts == 1 and sector % 2 == 0
        verdict = self.filter.access(access, host, sector, line, retry=retry, lossy=lossy, may_launch=may_launch)
        if access.is_write:
            self.write(access, host, sector, line, lossy, verdict)
            return
        outcome, kind = naive.expected(access, host, sector, line, retry, may_launch)
        assert (verdict.held, [snoop.kind for snoop in verdict.launched]) == (outcome, [] if kind is None else [kind])
        self.seen[access, outcome, kind] += 1
        number = set_of(self.config, sector)
        seeks_way = access.caches and sector not in naive.in_use()
        if seeks_way and outcome == Outcome.HELD_WAY:
            # Behind those that wait for the snoop of a way of this set, as long as there is one.
            begun = {snoop.sector for snoop in verdict.launched}
            assert verdict.waits_for in (begun or set(naive.busy) & naive.in_set(sector) or {None})
        if outcome is None:
            grant, state = naive.grant(access, host, sector, line)
            assert verdict.grant == grant
            assert not naive.conflicts(access, host, sector, line) or access == Access.READ_CURRENT
            naive.states[host, sector, line] = state
            if access.caches:
                self.really[host, sector, line] = state
            elif state == I:
                self.really.pop((host, sector, line), None)
            if retry == Retry.WAITED and seeks_way:
                naive.promised.discard(number)
        elif seeks_way and len(naive.in_set(sector)) == self.config.filter_ways:
            if number not in naive.promised or retry != Retry.NO:
                naive.promised.add(number)
        self.launch(verdict, sector, access, host, line)
        self.filter.apply(number, verdict)

    def write(self, access, host, sector, line, lossy, verdict):
        """Hosts write back what they own; now and then they claim to."""
        where, naive = (host, sector, line), self.naive
        owner = access == Access.WRITE_THROUGH or naive.held(*where) in (A, STALE)
        assert verdict.owner == owner
        assert verdict.held is None
        assert not verdict.launched
        self.seen[access, owner, naive.busy.get(sector, 0) >> line & 1] += 1
        if owner:
            naive.states[where] = I if access != Access.WRITE_KEEP else STALE if lossy else A
            if access != Access.WRITE_KEEP:
                self.really.pop(where, None)
            self.filter.apply(set_of(self.config, sector), verdict)

    def launch(self, verdict, sector, access, host, line):
        for snoop in verdict.launched:
            self.check_form(snoop)
            if snoop.sector != sector:
                # A victim: another sector of the set, all that one of its hosts holds.
                assert snoop.sector in self.naive.in_set(sector) - {sector}
                wanted = self.lines(snoop.host, snoop.sector, {A, STALE, S})
            else:
                kind, states = NEEDS[access]
                assert snoop.host != host
                wanted = 1 << line if kind == SnoopKind.INV else self.lines(snoop.host, sector, states)
                assert wanted >> line & 1
            assert wanted
            assert not wanted & ~snoop.lines
            assert snoop.lines == min(form for form in FORMS if not wanted & ~form)

    def lines(self, host, sector, states):
        return mask(line for line in range(SECTOR_LINES) if self.naive.held(host, sector, line) in states)

    def check_form(self, snoop):
        """P6, P7: nobody is asked twice at once; a mask is one that a BISnp can have."""
        assert snoop.sector not in self.naive.busy
        assert snoop.lines in FORMS
        self.naive.busy[snoop.sector] = snoop.lines
        self.outstanding[snoop.sector] = snoop

    def answer(self):
        if not self.outstanding:
            return
        sector = self.random.choice(sorted(self.outstanding))
        snoop, naive = self.outstanding[sector], self.naive
        open_lines = [line for line in range(SECTOR_LINES) if naive.busy[sector] >> line & 1]
        said = {}
        for line in self.random.sample(open_lines, self.random.randint(1, len(open_lines))):
            where = snoop.host, sector, line
            # A host may say more than it holds: it gains nothing by that.
            said[line] = self.random.choice(sorted(answer_states(snoop.kind)))
            self.really[where] = {I: I, S: S if self.really.get(where, I) else I}.get(
                said[line], self.really.get(where, I)
            )
            if said[line] == I or (said[line] == S and naive.held(*where) != I):
                naive.states[where] = said[line]
            naive.busy[sector] &= ~(1 << line)
        if not naive.busy[sector]:
            del naive.busy[sector], self.outstanding[sector]
        self.filter.apply(set_of(self.config, sector), self.filter.answer(snoop, said))

    def recall(self):
        sector, may_launch = self.random.choice(self.sectors), self.random.random() < 0.9
        verdict = self.filter.recall(sector, may_launch=may_launch)
        is_due = sector in self.naive.in_use() and sector not in self.naive.busy and may_launch
        assert bool(verdict.launched) == is_due
        self.take_back(verdict, {sector}, {A, STALE, S})
        self.filter.apply(set_of(self.config, sector), verdict)

    def scrub(self):
        number, everything = self.random.randrange(self.config.filter_sets), self.random.random() < 0.2
        states = {A, STALE, S} if everything else {STALE}
        verdict = self.filter.scrub(number, everything=everything)
        due = {
            sector
            for (_, sector, _), state in self.naive.states.items()
            if state in states and sector not in self.naive.busy and set_of(self.config, sector) == number
        }
        assert bool(verdict.launched) == bool(due)
        self.take_back(verdict, due, states)
        self.filter.apply(number, verdict)

    def take_back(self, verdict, sectors, states):
        for snoop in verdict.launched:
            assert snoop.sector in sectors
            assert snoop.kind == SnoopKind.INV
            wanted = self.lines(snoop.host, snoop.sector, states)
            assert wanted
            assert not wanted & ~snoop.lines
            self.check_form(snoop)

    def drop(self):
        """A host drops a line that it holds clean, and tells nobody."""
        if self.really:
            self.really[self.random.choice(sorted(self.really))] = I

    def compare(self):
        naive, covered = self.naive, Counter()
        for sector in self.sectors:
            for host in range(self.config.hosts):
                for line in range(SECTOR_LINES):
                    known = self.filter.state(host, sector, line)
                    assert known == naive.held(host, sector, line)
                    really = self.really.get((host, sector, line), I)
                    assert really == I or known == really or known.owned, "P5"
            owners = [
                (host, line)
                for host in range(self.config.hosts)
                for line in range(SECTOR_LINES)
                if naive.held(host, sector, line).owned
            ]
            for host, line in owners:
                assert all(naive.held(other, sector, line) == I for other in range(self.config.hosts) if other != host)
        for sector in naive.in_use():
            covered[self.config.split_sector(sector)[:2]] += 1
        assert self.filter.covered == covered
        assert self.filter.sectors == len(naive.in_use())
        assert all(len(naive.in_set(sector)) <= self.config.filter_ways for sector in self.sectors)


CONFIGS = {
    "one host": TINY,
    "two hosts": preset("tiny", hosts=2),
    "four ways": preset("tiny", hosts=2, filter_sets=2, filter_ways=4),
}


@pytest.mark.parametrize("build", CONFIGS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_filter_is_the_model_without_rows(build, seed):
    print(f"seed {seed}")
    driver = Driver(CONFIGS[build], seed)
    for number in range(3000):
        driver.step()
        if number % 20 == 0:
            driver.compare()
    outcomes = {outcome for access, outcome, kind in driver.seen if not access.is_write}
    assert outcomes >= {None, Outcome.HELD_LINE, Outcome.HELD_WAY}
    if CONFIGS[build].hosts > 1:
        assert {kind for access, outcome, kind in driver.seen if outcome == Outcome.HELD_LINE} >= set(SnoopKind)
        assert Outcome.HELD_TABLE in outcomes
    assert any(outcome is None and kind == SnoopKind.INV for access, outcome, kind in driver.seen)


def colliding(config, count):
    """So many sectors of one set."""
    first = [sector for sector in range(config.blocks * 32) if set_of(config, sector) == 0]
    return first[:count]


def granted(snoop_filter, sector, access=Access.READ_SHARED, *, host=0, line=0, **more):
    """An access takes effect. Returns its verdict."""
    verdict = snoop_filter.access(access, host, sector, line, **more)
    if verdict.owner:
        snoop_filter.apply(0, verdict)
    return verdict


def answered(snoop_filter, snoop, state=I):
    said = {line: state for line in range(SECTOR_LINES) if snoop.lines >> line & 1}
    snoop_filter.apply(0, snoop_filter.answer(snoop, said))


def test_neighbours_lie_in_different_sets_and_both_banks_are_used_alike():
    config = preset("small")
    numbers = Counter(set_of(config, sector) for sector in range(config.blocks * 32))
    assert len(numbers) == config.filter_sets
    assert len(set(numbers.values())) == 1
    assert all(set_of(config, sector) & 1 != set_of(config, sector + 1) & 1 for sector in range(0, 1000, 2))


def test_a_way_is_asked_back_before_it_is_needed_and_in_turns():
    config = preset("tiny", filter_sets=2, filter_ways=4)
    snoop_filter, victims = SnoopFilter(config), []
    sectors = colliding(config, 40)
    for sector in sectors:
        verdict = granted(snoop_filter, sector)
        assert verdict.held is None
        for snoop in verdict.launched:
            assert snoop.sector != sector
            victims.append(snoop.sector)
            answered(snoop_filter, snoop)
    # The longest in use leaves first: nobody is asked twice before all others were.
    assert victims == sectors[: len(victims)]
    assert len(victims) == len(sectors) - config.filter_ways + 1


def test_a_promised_way_goes_to_the_one_who_waits():
    snoop_filter, (first, second, third, fourth) = SnoopFilter(TINY), colliding(TINY, 4)
    granted(snoop_filter, first)
    (ahead,) = granted(snoop_filter, second).launched
    assert ahead.sector == first
    for waits in granted(snoop_filter, third), granted(snoop_filter, fourth):
        assert (waits.held, waits.waits_for) == (Outcome.HELD_WAY, first)
    answered(snoop_filter, ahead)
    # Another request may not take what has become free, though one that was held and needs no way has come by.
    passed_over = granted(snoop_filter, fourth)
    assert (passed_over.held, passed_over.waits_for) == (Outcome.HELD_WAY, None)
    assert granted(snoop_filter, second, retry=Retry.WAITED).held is None
    assert granted(snoop_filter, fourth).held == Outcome.HELD_WAY
    assert granted(snoop_filter, third, retry=Retry.WAITED).held is None
    assert snoop_filter.state(0, third, 0) == S


def test_without_a_place_in_the_snoop_table_a_request_waits_for_one():
    snoop_filter, (first, second, third) = SnoopFilter(TINY), colliding(TINY, 3)
    granted(snoop_filter, first)
    assert not granted(snoop_filter, second, may_launch=False).launched
    waits = granted(snoop_filter, third, may_launch=False)
    assert (waits.held, waits.waits_for, waits.launched) == (Outcome.HELD_TABLE, None, [])
    assert granted(snoop_filter, third, retry=Retry.WAITED).launched


def test_a_line_being_taken_back_is_granted_to_nobody_but_other_lines_are():
    """P1."""
    snoop_filter = SnoopFilter(TINY)
    granted(snoop_filter, 0, Access.READ_OWN, line=0)
    granted(snoop_filter, 0, Access.READ_OWN, line=1)
    verdict = snoop_filter.recall(0)
    snoop_filter.apply(0, verdict)
    assert verdict.launched[0].lines == 0b0011
    for access in READS:
        held = Outcome.HELD_WAY if access == Access.READ_CURRENT else Outcome.HELD_LINE
        assert snoop_filter.access(access, 0, 0, 1).held == held
    assert granted(snoop_filter, 0, Access.READ_OWN, line=2).held is None
    assert granted(snoop_filter, 0, Access.WRITE_BACK, line=1).owner
    answered(snoop_filter, verdict.launched[0])
    assert [snoop_filter.state(0, 0, line) for line in range(4)] == [I, I, A, I]


def test_a_current_read_that_met_a_snoop_of_others_still_asks_the_owner():
    snoop_filter = SnoopFilter(preset("tiny", hosts=2))
    granted(snoop_filter, 0, Access.READ_OWN, line=1)
    for line in (0, 2):
        granted(snoop_filter, 0, Access.READ_OWN, host=1, line=line)
    # Host 0 reads what host 1 owns: the snoop goes over line 1 too, which host 0 owns itself.
    verdict = snoop_filter.access(Access.READ_CURRENT, 0, 0, 0)
    snoop_filter.apply(set_of(TINY, 0), verdict)
    (snoop,) = verdict.launched
    assert (snoop.host, snoop.lines, verdict.held) == (1, 0b1111, Outcome.HELD_LINE)
    verdict = snoop_filter.access(Access.READ_CURRENT, 1, 0, 1)
    assert (verdict.held, verdict.launched, verdict.waits_for) == (Outcome.HELD_WAY, [], 0)
    answered(snoop_filter, snoop)
    verdict = snoop_filter.access(Access.READ_CURRENT, 1, 0, 1, retry=Retry.WAITED)
    assert verdict.held == Outcome.HELD_LINE and [(each.host, each.kind) for each in verdict.launched] == [
        (0, SnoopKind.CUR)
    ]
    assert snoop_filter.access(Access.READ_CURRENT, 0, 0, 0, retry=Retry.SNOOPED).held is None


def test_what_a_host_keeps_of_a_lossy_line_is_stale_until_it_is_taken_back():
    snoop_filter = SnoopFilter(TINY)
    granted(snoop_filter, 0, Access.READ_OWN, line=3, lossy=True)
    granted(snoop_filter, 0, Access.WRITE_KEEP, line=3, lossy=True)
    assert snoop_filter.state(0, 0, 3) == STALE
    (snoop,) = snoop_filter.scrub(0).launched
    assert (snoop.kind, snoop.lines) == (SnoopKind.INV, 0b1000)
    assert not snoop_filter.scrub(1).launched


def test_a_verdict_changes_nothing_before_it_is_applied():
    snoop_filter = SnoopFilter(TINY)
    granted(snoop_filter, 0, Access.READ_OWN)
    before = (snoop_filter.row(0).copy(), dict(snoop_filter.covered))
    for access in (*READS, *WRITES):
        snoop_filter.access(access, 0, 0, 0)
    snoop_filter.recall(0)
    snoop_filter.scrub(0, everything=True)
    assert (snoop_filter.row(0), snoop_filter.covered) == before
