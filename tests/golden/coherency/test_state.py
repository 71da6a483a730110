"""The golden endpoint follows hosts that cache: every record of it matters, and what no device may do is reported."""

import copy
import random
from collections import Counter
from dataclasses import replace

import pytest

from kv_endpoint.golden.coherency.filter import SnoopFilter, set_of
from kv_endpoint.golden.coherency.snoops import answer_aux, snoop_aux
from kv_endpoint.golden.coherency.state import HELD
from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access, Grant, LineState, Retry, SnoopKind
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy
from kv_endpoint.golden.endpoint import Endpoint
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, Lane, RefusalKind, pack, record_fields, unpack
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.frames.misses import REPLAY_OF
from kv_endpoint.golden.front.hints import SCORE_ONE
from kv_endpoint.golden.pipeline.metadata import Outcome, Slot, SlotKind, State
from kv_endpoint.golden.registers import rules as csr
from tests.support.coherent_golden import CoherentDevice, region_writes, regions_of
from tests.support.golden_devices import LRU

I, A, S = LineState.I, LineState.A, LineState.S  # noqa: E741 -- the specification's letters
ONE = preset("tiny", read_slots=1)
TWO = preset("tiny", hosts=2, regions=3, read_slots=1)
PREFETCHING = Policy(prefetch_announced=True, prefetch_window=True)
POOL = 14

# Lock-step ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("config", [ONE, TWO], ids=["one host", "two hosts"])
@pytest.mark.parametrize(
    ("failures", "faults", "policy", "commands"),
    [(0.0, False, PREFETCHING, False), (0.1, True, Policy(), True), (0.6, True, LRU, False)],
    ids=["sound", "faults", "unwritable"],
)
def test_records_of_busy_hosts_pass(config, seed, failures, faults, policy, commands):
    print(f"seed {seed}")
    # The fewer reads there may be, the smaller the pool that they need.
    config = replace(config, read_slots=1 if failures > 0.5 else 4)
    if failures > 0.5:
        config = replace(config, flash_failure_limit=3)
    device = CoherentDevice(
        config, seed, regions=regions_of(config), pool_frames=config.pool_frames_min_cached, policy=policy,
        failures=failures, faults=faults, commands=commands,
    )  # fmt: skip
    records = device.run(8000)
    checker = device.fresh()
    for lane, record in records:
        checker.check(lane, unpack(config, lane, pack(config, lane, **record)))
    checker.finish()
    assert checker.table == device.golden.table
    assert checker.coherent.covered == device.golden.coherent.covered
    outcomes = Counter(record["outcome"] for lane, record in records if lane == Lane.SLOT)
    assert outcomes[Outcome.HELD_WAY] > 20
    assert outcomes[Outcome.NOT_OWNER] > 10
    if config.hosts > 1:
        assert outcomes[Outcome.HELD_LINE] > 10
        assert outcomes[Outcome.SHARED_WRITE] > 10
    notes = Counter(record["kind"] for lane, record in records if lane == Lane.ENGINE)
    assert notes[EngineKind.BI_SNOOP] > 100
    assert notes[EngineKind.BI_ANSWER] >= notes[EngineKind.BI_SNOOP]
    if failures > 0.5:
        assert outcomes[Outcome.UNWRITABLE] > 10


class Evidence:
    """Records of busy hosts, and golden endpoints that have seen the first 0, 100, 200 ... of them."""

    EVERY = 100

    def __init__(self, config, seed):
        regions = [(config.heads, {"CACHED": 1, "HOSTS": (1 << config.hosts) - 1})]
        device = CoherentDevice(
            config, seed, regions=regions, pool_frames=config.pool_frames_min_cached, policy=PREFETCHING, failures=0.05,
            faults=True,
        )  # fmt: skip
        self.config = config
        self.records = device.run(9000)
        self._checkpoints = []
        checker = device.fresh()
        for index, (lane, record) in enumerate(self.records):
            if index % self.EVERY == 0:
                self._checkpoints.append(copy.deepcopy(checker))
            checker.check(lane, record)
        checker.finish()

    def reported(self, index, replacement):
        """The mismatch when the records from `index` on are `replacement`, or None."""
        first = index - index % self.EVERY
        checker = copy.deepcopy(self._checkpoints[index // self.EVERY])
        try:
            for lane, record in (*self.records[first:index], *replacement):
                checker.check(lane, record)
            checker.finish()
        except Mismatch as mismatch:
            return mismatch
        return None

    def of_kind(self, kind, wanted=lambda record: True):
        """Places of the records of a slot or note kind."""
        lane = Lane.SLOT if isinstance(kind, SlotKind) else Lane.ENGINE
        return [
            index
            for index, (of, record) in enumerate(self.records)
            if of == lane and record["kind"] == kind and wanted(record)
        ]


@pytest.fixture(scope="module", params=[ONE, TWO], ids=["one host", "two hosts"])
def evidence(request):
    """With more places for snoops than are used at once: otherwise one that is not recorded may be as good."""
    return Evidence(replace(request.param, snoops=16, read_slots=4), seed=7)


DEMANDS = (SlotKind.READ, SlotKind.WRITE, SlotKind.RELEASE)
REPLAYS = (SlotKind.REPLAY_READ, SlotKind.REPLAY_WRITE)
SNOOPS = (EngineKind.BI_SNOOP, EngineKind.BI_ANSWER, EngineKind.BI_RECALL, EngineKind.BI_SCRUB)
#: field -> kinds in whose records it follows from what came before, or is promised to what comes after. The rest is
#: known to the hosts alone: which line they ask for, what they say of it.
DERIVED = {
    Lane.SLOT: {
        "outcome": (*DEMANDS, *REPLAYS),
        "touch": (*DEMANDS, *REPLAYS),
        "rwd": (*DEMANDS, *REPLAYS),
        "tag": REPLAYS,
        "head": REPLAYS,
        "block": REPLAYS,
        "line": REPLAYS,
        "access": REPLAYS,
        "host": REPLAYS,
        "retry": (*DEMANDS, *REPLAYS),
        "grant": (*DEMANDS, *REPLAYS, SlotKind.HINT, SlotKind.ANSWER),
        "ema": DEMANDS,
        "frame": DEMANDS,
        "state_before": DEMANDS,
        "flags_before": DEMANDS,
        "state_after": DEMANDS,
        "flags_after": DEMANDS,
    },
    Lane.ENGINE: dict.fromkeys(("sequence", "kind", "head", "block", "frame", "key", "aux"), SNOOPS),
}


def is_asked(record):
    """Whether all that a BI_ANSWER says follows from its snoop: it asked for the lines to be given up."""
    return record["aux"] >> 16 == 0


@pytest.mark.parametrize(
    ("lane", "field"), [(lane, field) for lane, fields in DERIVED.items() for field in fields], ids=str
)
def test_a_changed_bit_of_a_record_is_reported(evidence, lane, field):
    chance = random.Random(f"{lane} {field}")
    bits = dict(record_fields(evidence.config, lane))[field]
    for kind in DERIVED[lane][field]:
        places = evidence.of_kind(kind, is_asked if (kind, field) == (EngineKind.BI_ANSWER, "aux") else lambda _: True)
        assert places, kind
        for index in chance.sample(places, min(4, len(places))):
            record = unpack(evidence.config, lane, pack(evidence.config, lane, **evidence.records[index][1]))
            # What hosts say of lines that they may keep is theirs.
            wide = 16 if (kind, field) == (EngineKind.BI_ANSWER, "aux") else bits - (field == "key")
            record[field] ^= 1 << chance.randrange(wide)
            changed = [(lane, record), *evidence.records[index + 1 :]]
            assert evidence.reported(index, changed) is not None, (kind, index, evidence.records[index][1], record)


@pytest.mark.parametrize("field", ["kind", "host", "tag", "head", "block", "line", "access"])
def test_a_held_request_comes_again_as_it_was(evidence, field):
    chance, bits = random.Random(field), dict(record_fields(evidence.config, Lane.SLOT))[field]
    for kind in (SlotKind.READ, SlotKind.RELEASE):
        for wanted in (lambda record: record["outcome"] in HELD, lambda record: record["retry"]):
            places = evidence.of_kind(kind, wanted)
            if kind == SlotKind.READ:
                assert len(places) > 20
            for index in chance.sample(places, min(4, len(places))):
                lane, record = evidence.records[index]
                changed = record | {field: record[field] ^ 1 << chance.randrange(bits)}
                assert evidence.reported(index, [(lane, changed), *evidence.records[index + 1 :]]) is not None


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        *((kind, lambda record: True) for kind in (*SNOOPS, *REPLAYS)),
        (SlotKind.READ, lambda record: record["outcome"] in HELD and not record["retry"]),
        (SlotKind.READ, lambda record: record["retry"] and record["outcome"] not in HELD),
        (SlotKind.REPLAY_READ, lambda record: record["outcome"] in HELD),
    ],
    ids=[*(kind.name for kind in (*SNOOPS, *REPLAYS)), "READ held", "READ again", "REPLAY_READ held"],
)
def test_a_record_that_is_missing_is_reported_without_its_number(evidence, kind, wanted):
    chance, places = random.Random(str(kind)), evidence.of_kind(kind, wanted)
    assert places
    for index in chance.sample(places, min(5, len(places))):
        rest = [
            (lane, record | {"sequence": index + place})
            for place, (lane, record) in enumerate(evidence.records[index + 1 :])
        ]
        assert evidence.reported(index, rest) is not None, (kind, index, evidence.records[index])


# By hand --------------------------------------------------------------------------------------------------------------


class Script:
    """An endpoint whose first region is shared by all hosts; what it is told it must accept."""

    def __init__(self, config=TWO, *, policy=LRU, pool_frames=POOL, control=None):
        self.config = config
        self.follower = Follower(config, policy=policy, pool_frames=pool_frames)
        self._tag = 0
        control = {"CACHED": 1, "HOSTS": (1 << config.hosts) - 1} if control is None else control
        for name, value in region_writes(config, [(config.heads, control)]):
            self.note(EngineKind.CSR_WRITE, key=csr.address(name), aux=value)
        self.note(EngineKind.STEP, aux=1)
        self.slot(SlotKind.ANSWER, rwd=True, value=1, outcome=Outcome.HINT_DONE)

    def slot(self, kind, block=0, **fields):
        _, result = self.follower.slot(Slot(kind, block=block, **fields))
        return result.outcome

    def ask(self, access, block=0, line=0, *, host=0, tag=None, **more):
        """A request that has to do with no miss. Returns its outcome."""
        if tag is None:
            self._tag += 1
            tag = self._tag
        kind = SlotKind.WRITE if access.is_write else SlotKind.READ
        if access in (Access.FLUSH, Access.FORGET):
            kind = SlotKind.RELEASE
        return self.slot(kind, block, rwd=access.is_write, tag=tag, line=line, access=access, host=host, **more)

    def note(self, kind, *, head=0, block=0, frame=0, key=0, aux=0):
        fields = {"head": head, "block": block, "frame": frame, "key": key, "aux": aux}
        self.follower.note(kind, {"kind": kind, **fields})

    def outstanding(self):
        return self.follower.coherent.snoops.outstanding

    def send(self, tag):
        snoop = self.outstanding()[tag].snoop
        head, block, sector = self.config.split_sector(snoop.sector)
        self.note(EngineKind.BI_SNOOP, head=head, block=block, key=sector, aux=snoop_aux(tag, snoop))

    def answer(self, tag, states=None):
        """Lines are answered; without `states` all of them are given up."""
        snoop = self.outstanding()[tag].snoop
        states = {line: I for line in range(4) if snoop.lines >> line & 1} if states is None else states
        head, block, sector = self.config.split_sector(snoop.sector)
        self.note(EngineKind.BI_ANSWER, head=head, block=block, key=sector, aux=answer_aux(tag, states))

    def warm(self, *blocks):
        """Write blocks for the first time."""
        for block in blocks:
            self.ask(Access.OWN, block)
            self.ask(Access.WRITE_BACK, block)
            self.miss(block, SlotKind.WRITE)

    def miss(self, block, kind):
        """The miss of the request before, of a block that was never written, from its opening to its end."""
        (request,) = self.follower.misses.waiting[0, block]
        self.note(EngineKind.MISS_OPEN, block=block, aux=int(kind == SlotKind.WRITE))
        self.demote((0, block))
        self.slot(SlotKind.ALLOCATE, block, frame=self.follower.decide((0, block), True).frame)
        self.slot(
            REPLAY_OF[kind], block, rwd=request.write, tag=request.tag, line=request.line, access=request.access,
            host=request.host,
        )  # fmt: skip
        self.note(EngineKind.MISS_CLOSE, block=block)

    def demote(self, where):
        """A victim leaves for a write or a cached read of a block, if one is needed."""
        endpoint = self.follower
        write = endpoint.misses.open[where].write
        decision = endpoint.decide(where, write, not write)
        if decision.action == Action.VICTIM:
            victim = decision.victim
            self.note(EngineKind.VICTIM, block=victim.block, frame=victim.frame, key=victim.key, aux=int(write))
            self.slot(SlotKind.DEMOTE, victim.block)
            page = {"block": victim.block, "frame": victim.frame}
            if endpoint.entry(0, victim.block).dirty:
                tag = endpoint.page_write_tag
                self.note(EngineKind.PAGE_WRITE, **page, aux=tag)
                self.note(EngineKind.PAGE_WRITE_DONE, **page, aux=tag << 1)
            self.slot(SlotKind.EVICT, victim.block)

    def state(self, host, line=0, block=0):
        coherent = self.follower.coherent
        return coherent.filter.state(host, coherent.sector(0, block, line), line % 4)


def contended():
    """Host 0 owns line 0 of block 0, and host 1 has asked for it with tag 70: the snoop has begun."""
    script = Script()
    assert script.ask(Access.READ_OWN) == Outcome.ZEROS
    assert script.ask(Access.READ_OWN, host=1, tag=70) == Outcome.HELD_LINE
    return script


def asked():
    """... and has left, so that host 0 may answer it."""
    script = contended()
    script.send(0)
    return script


def again(script, **more):
    return script.ask(Access.READ_OWN, **{"host": 1, "tag": 70, "retry": Retry.SNOOPED} | more)


def test_ownership_goes_from_one_host_to_the_other():
    script = asked()
    script.answer(0)
    assert again(script) == Outcome.ZEROS
    assert (script.state(0), script.state(1)) == (I, A)
    script.follower.finish()


def test_a_reader_leaves_the_owner_a_shared_copy():
    script = Script()
    script.ask(Access.READ_OWN)
    assert script.ask(Access.READ_SHARED, host=1, tag=70) == Outcome.HELD_LINE
    assert script.outstanding()[0].snoop.kind == SnoopKind.DATA
    script.send(0)
    script.answer(0, {0: S})
    assert script.ask(Access.READ_SHARED, host=1, tag=70, retry=Retry.SNOOPED) == Outcome.ZEROS
    assert (script.state(0), script.state(1)) == (S, S)


def test_a_current_read_is_served_after_its_snoop_whatever_the_owner_keeps():
    script = Script()
    script.ask(Access.READ_OWN)
    assert script.ask(Access.READ_CURRENT, host=1, tag=70) == Outcome.HELD_LINE
    script.send(0)
    script.answer(0, {0: A})
    assert script.ask(Access.READ_CURRENT, host=1, tag=70, retry=Retry.SNOOPED) == Outcome.ZEROS
    assert (script.state(0), script.state(1)) == (A, I)


def test_a_replay_that_is_held_has_left_its_miss():
    script = Script(ONE)
    endpoint, coherent = script.follower, script.follower.coherent
    for block in range(POOL + 1):
        assert script.ask(Access.WRITE_THROUGH, block) == Outcome.FIRST_WRITE
        script.miss(block, SlotKind.WRITE)
    # Block 0 has left for the last one. A read of it misses; while its page comes the ways of its set are taken.
    assert script.ask(Access.READ_OWN, tag=70) == Outcome.MISS
    in_set = [
        (block, line)
        for block in range(1, 16)
        for line in range(0, 128, 4)
        if set_of(ONE, coherent.sector(0, block, line)) == set_of(ONE, 0)
    ]
    for block, line in in_set[: ONE.filter_ways]:
        script.ask(Access.READ_OWN, block, line)
    script.note(EngineKind.MISS_OPEN)
    script.demote((0, 0))
    script.slot(SlotKind.PROMOTE, frame=endpoint.decide((0, 0), False, True).frame)
    frame = endpoint.entry(0, 0).frame
    script.note(EngineKind.PAGE_READ, frame=frame)
    script.note(EngineKind.PAGE_READ_DONE, frame=frame)
    script.slot(SlotKind.FILL)
    assert script.slot(SlotKind.REPLAY_READ, tag=70, access=Access.READ_OWN) == Outcome.HELD_WAY
    assert not endpoint.misses.waiting
    script.note(EngineKind.MISS_CLOSE)
    for outcome in (Outcome.HIT, None):
        (tag,) = script.outstanding()
        script.send(tag)
        with pytest.raises(Mismatch, match="the end of the snoop|no held"):
            script.ask(Access.READ_OWN, tag=70, retry=Retry.WAITED)
        script.answer(tag)
        if outcome is not None:
            with pytest.raises(Mismatch, match="READ of tag 70 again"):
                endpoint.finish()
            assert script.ask(Access.READ_OWN, tag=70, retry=Retry.WAITED) == outcome
    endpoint.finish()


ILLEGAL = {
    "grants a line before its snoop is answered": (asked, lambda s: again(s), "the end of the snoop"),
    "tries again what nobody holds": (asked, lambda s: again(s, tag=71), "tag: expected 70"),
    "forgets why a request was held": (
        asked, lambda s: (s.answer(0), again(s, retry=Retry.WAITED)), "SNOOPED|retry",
    ),
    "tries again for the other host": (asked, lambda s: (s.answer(0), again(s, host=0)), "host: expected 1"),
    "tries again another line": (asked, lambda s: (s.answer(0), again(s, line=1)), "line: expected 0"),
    "never tries again": (asked, lambda s: (s.answer(0), s.follower.finish()), "READ of tag 70 again"),
    "never sends a snoop": (contended, lambda s: s.follower.finish(), "BI_SNOOP of BITag 0"),
    "never has a snoop answered": (asked, lambda s: s.follower.finish(), "BI_ANSWER of BITag 0"),
    "takes an answer before the snoop has left": (contended, lambda s: s.answer(0), "was sent"),
    "sends a snoop twice": (asked, lambda s: s.send(0), "not in use"),
    "takes an answer that leaves the owner its line": (asked, lambda s: s.answer(0, {0: S}), "asked by INV"),
    "reports a snoop late that was not sent": (
        contended, lambda s: s.note(EngineKind.ERROR, key=ErrorKind.SNOOP_TIMEOUT), "not answered",
    ),
    "reports a BIRsp longer than it is": (
        asked, lambda s: s.note(EngineKind.ERROR, key=ErrorKind.BAD_BIRSP, aux=1 << 30), "30 bits",
    ),
    "reports an owner that is none by a note": (
        asked, lambda s: s.note(EngineKind.ERROR, key=ErrorKind.NOT_OWNER), "no such error",
    ),
    "recalls what is being snooped": (asked, lambda s: s.note(EngineKind.BI_RECALL, key=0), "a snoop begins"),
    "recalls what nobody has": (asked, lambda s: s.note(EngineKind.BI_RECALL, key=1), "a snoop begins"),
    "recalls a sector that there is not": (asked, lambda s: s.note(EngineKind.BI_RECALL, key=32), "0 to 31"),
    "searches a set without stale lines": (asked, lambda s: s.note(EngineKind.BI_SCRUB, key=0), "a snoop begins"),
    "searches a set that there is not": (asked, lambda s: s.note(EngineKind.BI_SCRUB, key=4), "0 to 3"),
    "takes a write that owns nothing to a shared region": (
        asked, lambda s: s.ask(Access.WRITE_THROUGH, 5), "SHARED_WRITE",
    ),
    "takes a request of a cached region for an uncached one": (
        asked, lambda s: s.slot(SlotKind.READ, 5, tag=1), "fits READ of a cached region",
    ),
    "takes a request of an uncached region for a cached one": (
        lambda: Script(control={"HOSTS": 1}), lambda s: s.ask(Access.READ_OWN), "access: expected PLAIN",
    ),
    "takes a request of a host that the region does not belong to": (
        lambda: Script(control={"HOSTS": 1}), lambda s: s.slot(SlotKind.READ, host=1), "belongs to",
    ),
    "takes a request of a host that there is not": (
        lambda: Script(ONE), lambda s: s.ask(Access.READ_OWN, host=1), "host: expected 0 to 0",
    ),
    "releases by a read": (
        asked, lambda s: s.slot(SlotKind.READ, 5, access=Access.FORGET), "fits READ",
    ),
    "makes a region uncached while hosts may hold lines": (
        asked,
        lambda s: s.note(
            EngineKind.CSR_WRITE, key=csr.address("REGION[0].CTRL"), aux=csr.pack("REGION[0].CTRL", ENABLED=1, HOSTS=1)
        ),
        "COVERED",
    ),
    "refuses that while they hold none": (
        Script, lambda s: s.note(EngineKind.REFUSAL, key=RefusalKind.COVERED), "no refusal",
    ),
    "makes the pool too small for the lines that hosts may hold": (
        asked, lambda s: s.note(EngineKind.POOL, aux=TWO.pool_frames_min_cached - 1), "POOL_CACHED",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ILLEGAL)
def test_a_device_is_reported_that(case):
    prepare, act, expected = ILLEGAL[case]
    script = prepare()
    with pytest.raises(Mismatch, match=expected):
        act(script)


def test_what_is_refused_for_covered_sectors_is_accepted_as_such():
    script = asked()
    script.note(EngineKind.REFUSAL, key=RefusalKind.COVERED)
    script.note(EngineKind.ERROR, key=ErrorKind.REFUSED_COMMAND)
    script.note(EngineKind.REFUSAL, key=RefusalKind.POOL_CACHED, aux=TWO.pool_frames_min_cached - 1)
    script.note(EngineKind.ERROR, key=ErrorKind.REFUSED_COMMAND)
    script = Script(preset("tiny", hosts=2, read_slots=1))
    script.note(EngineKind.REFUSAL, key=RefusalKind.SHARED_MODE)


# The book beside the filter -------------------------------------------------------------------------------------------


def blind(monkeypatch, method, replacement):
    """A filter that is wrong in one way."""
    monkeypatch.setattr(SnoopFilter, method, replacement)


def test_a_filter_that_forgets_what_it_granted_is_noticed(monkeypatch):
    """P5."""
    honest = SnoopFilter.apply

    def forgets(self, number, verdict):
        for way in verdict.row.ways:
            if way is not None:
                way.states[0] = [I] * 4
        honest(self, number, verdict)

    script = Script()
    blind(monkeypatch, "apply", forgets)
    with pytest.raises(Mismatch, match="P5"):
        script.ask(Access.READ_OWN)


def test_a_filter_that_grants_what_is_being_snooped_is_noticed(monkeypatch):
    """P1."""
    script = Script()
    for line in range(2):
        script.ask(Access.READ_OWN, line=line)
    script.note(EngineKind.BI_RECALL)
    row = script.follower.coherent.filter.row(0)
    next(way for way in row.ways if way is not None).busy = 0
    with pytest.raises(Mismatch, match="P1"):
        script.ask(Access.READ_OWN, line=1)


def test_a_filter_that_gives_two_hosts_a_line_is_noticed(monkeypatch):
    script = Script()
    script.ask(Access.READ_OWN)
    blind(monkeypatch, "_ask_other", lambda *arguments: None)
    with pytest.raises(Mismatch, match="grant: expected none that meets A of host 0"):
        script.ask(Access.READ_SHARED, host=1)


def test_a_covered_block_that_leaves_is_noticed():
    script = Script(ONE)
    script.warm(0)
    script.ask(Access.READ_OWN, 0)
    script.follower.leaving = 0, 0
    with pytest.raises(Mismatch, match="no host may hold lines of"):
        script.slot(SlotKind.DEMOTE)


def held_read():
    """Host 0 reads a block that host 1 is about to give back: no host has a line of it when the read may come again."""
    script = Script()
    script.warm(0)
    script.ask(Access.READ_OWN, host=1)
    assert script.ask(Access.READ_SHARED) == Outcome.HELD_LINE
    (tag,) = script.outstanding()
    script.send(tag)
    script.answer(tag)
    assert not script.follower.coherent.filter.sectors
    return script


def comes_again(script):
    (slot,) = script.follower.coherent.held.ready
    _, result = script.follower.slot(slot)
    return result.outcome


def test_a_block_stays_until_the_held_read_has_it():
    script = held_read()
    script.follower.leaving = 0, 0
    with pytest.raises(Mismatch, match="nor is kept for a held read"):
        script.slot(SlotKind.DEMOTE)
    script = held_read()
    assert script.follower.coherent.covered == {(0, 0)}
    assert comes_again(script) == Outcome.HIT
    assert not script.follower.coherent.kept.blocks


def test_a_region_stays_cached_until_held_and_missed_reads_are_granted():
    address, word = csr.address("REGION[0].CTRL"), csr.pack("REGION[0].CTRL", ENABLED=1, HOSTS=1)
    script = held_read()
    script.note(EngineKind.REFUSAL, key=RefusalKind.COVERED)
    script.note(EngineKind.ERROR, key=ErrorKind.REFUSED_COMMAND)
    with pytest.raises(Mismatch, match="COVERED"):
        script.note(EngineKind.CSR_WRITE, key=address, aux=word)
    script = Script()
    script.warm(0)
    head, block = 0, 0
    script.follower.table[head, block] = replace(script.follower.entry(head, block), state=State.COLD)
    assert script.ask(Access.READ_CURRENT) == Outcome.MISS
    with pytest.raises(Mismatch, match="COVERED"):
        script.note(EngineKind.CSR_WRITE, key=address, aux=word)


# What a held slot does not do -----------------------------------------------------------------------------------------


def test_a_held_slot_counts_for_nothing():
    script = Script(policy=Policy(prefetch_window=True, phase_window=4))
    script.warm(0)
    script.ask(Access.READ_OWN)
    endpoint = script.follower
    endpoint.now += 1
    kept = copy.deepcopy((endpoint.table, endpoint.counters, endpoint.phases, endpoint.prefetcher))
    before = [vars(detector) for detector in kept[2].detectors], vars(kept[3])["_windows"]
    assert script.ask(Access.READ_OWN, host=1) == Outcome.HELD_LINE
    assert (endpoint.table, endpoint.counters) == kept[:2]
    after = [vars(detector) for detector in endpoint.phases.detectors], vars(endpoint.prefetcher)["_windows"]
    assert after == before
    assert csr.counted(SlotKind.READ, Outcome.HELD_LINE, False, True, True) == ["HELD"]


def test_a_run_without_caching_hosts_never_asks_the_filter(monkeypatch):
    def asked(*arguments, **more):
        raise AssertionError("an access of an uncached region")

    blind(monkeypatch, "access", asked)
    device = Endpoint(ONE, pool_frames=POOL)
    device.hint(0, [], 1)
    for block in range(16):
        device.write(0, block)
        device.read(0, block // 2)
    assert not device.follower.coherent.covered


# Frames ---------------------------------------------------------------------------------------------------------------


class Host:
    """Answers at once or later; `asked`: (BITag, snoop) of all snoops, of which `waiting` are not answered."""

    def __init__(self, at_once=True):
        self.at_once = at_once
        self.asked, self.waiting = [], []

    def __call__(self, tag, snoop):
        self.asked.append((tag, snoop))
        if self.at_once:
            return {line: I for line in range(4) if snoop.lines >> line & 1}
        self.waiting.append((tag, snoop))
        return None


def cached_device(config=ONE, *, host=None, policy=LRU, pool_frames=POOL, mode=Mode.EXACT):
    records = []
    device = Endpoint(
        config, policy=policy, pool_frames=pool_frames, host=host or Host(),
        on_record=lambda lane, record: records.append((lane, record)),
    )  # fmt: skip
    hosts = (1 << config.hosts) - 1
    device.write_register("REGION[0].CTRL", ENABLED=1, CACHED=1, HOSTS=hosts, MODE=mode)
    device.hint(0, [], 1)
    device.records = records
    return device


def notes(device, kind):
    return [record for lane, record in device.records if lane == Lane.ENGINE and record["kind"] == kind]


def checked(device, config=ONE, **more):
    checker = Follower(config, **more)
    for lane, record in device.records:
        checker.check(lane, unpack(config, lane, pack(config, lane, **record)))
    checker.finish()


def filled_device(**more):
    """Blocks 0 .. fill the pool, written in this order; block 0 is the oldest, and a host owns its first line."""
    device = cached_device(**more)
    device.hint(0, [], 2)
    for block in range(POOL):
        assert device.write(0, block, access=Access.WRITE_THROUGH) == Outcome.FIRST_WRITE
        device.hint(0, [], 3 + block)
    device.read(0, 0, access=Access.OWN)
    return device


def test_a_covered_block_is_no_victim():
    device = filled_device(host=Host(at_once=False))
    device.write(1, 0, access=Access.WRITE_THROUGH)
    assert [(record["head"], record["block"]) for record in notes(device, EngineKind.VICTIM)] == [(0, 1)]
    # Its lines were asked for all the same.
    assert [record["block"] for record in notes(device, EngineKind.BI_RECALL)] == [0]


def test_a_covered_block_that_is_uncovered_leaves_like_any_other():
    device = filled_device()
    device.write(1, 0, access=Access.WRITE_THROUGH)
    assert [(record["head"], record["block"]) for record in notes(device, EngineKind.VICTIM)] == [(0, 0)]
    assert not device.follower.coherent.covered
    checked(device, policy=LRU, pool_frames=POOL)


def test_hosts_that_answer_at_once_change_no_decision():
    """The same traffic with and without copies of hosts: the same blocks leave."""
    victims = []
    for access in (Access.READ_CURRENT, Access.READ_SHARED):
        device, chance = cached_device(policy=Policy(bypass=False)), random.Random(3)
        for step in range(2, 120):
            blocks = sorted(chance.sample(range(min(step, 16)), min(step, 4)))
            for head in range(2):
                device.hint(head, [(block, chance.randrange(0x10000)) for block in blocks], step)
                device.write(head, step % 16, access=Access.WRITE_THROUGH)
                for block in blocks:
                    device.read(head, block, chance.randrange(128), access=access)
        assert device.follower.victims > 50
        victims.append([(record["head"], record["block"]) for record in notes(device, EngineKind.VICTIM)])
        checked(device, policy=Policy(bypass=False), pool_frames=POOL)
    assert victims[0] == victims[1]
    assert len(notes(device, EngineKind.BI_SNOOP)) > 100


def test_a_read_that_may_be_cached_is_never_read_past_the_pool():
    """Block 15 is worth less than what is in the pool."""
    outcomes = []
    for access in (Access.READ_CURRENT, Access.READ_SHARED):
        device = cached_device(policy=Policy())
        device.write(0, 15, access=Access.WRITE_THROUGH)
        device.hint(0, [], 2)
        for block in range(POOL):
            device.write(0, block, access=Access.WRITE_THROUGH)
        for step in range(3, 6):
            device.hint(0, [(block, SCORE_ONE) for block in range(POOL)], step)
            for block in range(POOL):
                device.read(0, block, access=Access.READ_CURRENT)
        assert device.read(0, 15, access=access) == Outcome.MISS
        outcomes.append((device.follower.bypasses, device.follower.entry(0, 15).state))
    assert outcomes == [(1, State.COLD), (0, State.WARM)]


def test_a_remembered_bypass_slot_serves_no_read_that_may_be_cached():
    device = cached_device(policy=Policy())
    device.write(0, 15, access=Access.WRITE_THROUGH)
    device.hint(0, [], 2)
    for block in range(POOL):
        device.write(0, block, access=Access.WRITE_THROUGH)
    for step in range(3, 6):
        device.hint(0, [(block, SCORE_ONE) for block in range(POOL)], step)
        for block in range(POOL):
            device.read(0, block, access=Access.READ_CURRENT)
    device.read(0, 15, access=Access.READ_CURRENT)
    endpoint = device.follower
    for access, line in ((Access.READ_CURRENT, 1), (Access.READ_SHARED, 2)):
        kept = copy.deepcopy(endpoint)
        kept.slot(Slot(SlotKind.READ, tag=900, block=15, line=line, access=access))
        assert (kept.remembered((0, 15)) is not None) == (access == Access.READ_CURRENT)
        kept.note(EngineKind.MISS_OPEN, {"head": 0, "block": 15, "frame": 0, "key": 0, "aux": 0})
        replay = Slot(SlotKind.BYPASS_READ, tag=900, block=15, line=line, access=access, frame=ONE.bypass_base)
        if access == Access.READ_CURRENT:
            kept.slot(replay)
        else:
            with pytest.raises(Mismatch, match="REPLAY_READ"):
                kept.slot(replay)


@pytest.mark.parametrize("access", [Access.READ_SHARED, Access.OWN])
def test_a_read_that_would_need_a_victim_is_answered_while_flash_is_unwritable(access):
    device = filled_device(host=Host())
    endpoint = device.follower
    device.recall(0, 0)
    # Block 0 has left, and comes back while nothing can be demoted any more.
    device.write(1, 0, access=Access.WRITE_THROUGH)
    assert endpoint.entry(0, 0).state == State.COLD
    endpoint.migration._failures = ONE.flash_failure_limit
    endpoint.slot(Slot(SlotKind.READ, tag=70, access=access))
    endpoint.note(EngineKind.MISS_OPEN, {"head": 0, "block": 0, "frame": 0, "key": 0, "aux": 0})
    assert [decision.action for decision in endpoint.decisions((0, 0))] == [Action.DROP]
    unwritable = Slot(SlotKind.ANSWER, tag=70, value=int(access != Access.OWN), outcome=Outcome.UNWRITABLE)
    for wrong, expected in (
        (replace(unwritable, value=unwritable.value ^ 1), "wants_data"),
        (replace(unwritable, tag=71), "tag"),
        (replace(unwritable, rwd=True, value=0), "tag"),
    ):
        with pytest.raises(Mismatch, match=expected):
            copy.deepcopy(endpoint).slot(wrong)
    _, result = endpoint.slot(unwritable)
    assert result.grant == Grant.CMP
    assert not endpoint.coherent.covered
    endpoint.note(EngineKind.MISS_CLOSE, {"head": 0, "block": 0, "frame": 0, "key": 0, "aux": 0})
    endpoint.finish()


# Without hardware -----------------------------------------------------------------------------------------------------


def test_a_host_writes_back_before_it_answers():
    written = []

    def host(tag, snoop):
        written.append(device.write(0, 0, access=Access.WRITE_BACK, host=snoop.host))
        return {line: I for line in range(4) if snoop.lines >> line & 1}

    device = cached_device(TWO, host=host)
    assert device.read(0, 0, access=Access.READ_OWN, host=0) == Outcome.ZEROS
    # Its first write: the block is allocated for it while the other host waits.
    assert device.read(0, 0, access=Access.READ_OWN, host=1) == Outcome.HIT
    assert written == [Outcome.FIRST_WRITE]
    checked(device, TWO, policy=LRU, pool_frames=POOL)


def test_a_host_that_takes_its_time_is_waited_for():
    host = Host(at_once=False)
    device = cached_device(TWO, host=host)
    device.read(0, 0, access=Access.READ_OWN)
    assert device.read(0, 0, access=Access.READ_SHARED, host=1) == Outcome.HELD_LINE
    assert device.read(0, 0, 1, access=Access.READ_SHARED, host=1) == Outcome.ZEROS
    ((tag, snoop),) = host.waiting
    assert (snoop.kind, snoop.host, snoop.lines) == (SnoopKind.DATA, 0, 1)
    device.answer(tag, {0: S})
    assert not len(device.follower.coherent.held)
    assert device.follower.coherent.filter.state(1, 0, 0) == S
    checked(device, TWO, policy=LRU, pool_frames=POOL)


def test_what_hosts_keep_of_lossy_lines_is_taken_back():
    device = cached_device(mode=Mode.MXINT8)
    for line in range(8):
        device.read(0, 0, line, access=Access.READ_OWN)
        device.write(0, 0, line, access=Access.WRITE_KEEP if line % 2 else Access.WRITE_BACK)
    assert device.follower.coherent.filter.sectors == 2
    device.scrub()
    assert not device.follower.coherent.covered
    assert len(notes(device, EngineKind.BI_SCRUB)) == 2
    checked(device, policy=LRU, pool_frames=POOL)


def test_every_line_is_taken_back():
    device = cached_device(TWO)
    for block in range(4):
        for host in range(2):
            device.read(0, block, 5 * block, access=Access.READ_SHARED, host=host)
    assert device.follower.coherent.covered
    for _ in range(2 * TWO.filter_ways):
        device.scrub(everything=True)
    assert not device.follower.coherent.covered
    device.write_register("REGION[0].CTRL", ENABLED=1, HOSTS=1)
    checked(device, TWO, policy=LRU, pool_frames=POOL)
