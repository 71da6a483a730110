"""The golden snoop table: places, what leaves, what is answered, what is owed."""

import random

import pytest

from kv_endpoint.golden.coherency.snoops import SnoopTable, answer_aux, snoop_aux
from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import LineState, Snoop, SnoopKind, answer_states, snoop_opcode
from kv_endpoint.golden.common.mismatch import Mismatch

TINY = preset("tiny")
I, A, S = LineState.I, LineState.A, LineState.S  # noqa: E741 -- the specification's letters
SECTOR = 5 * 32 + 7


def note(sector, aux):
    head, block, number = TINY.split_sector(sector)
    return {"head": head, "block": block, "key": number, "aux": aux}


def sent(table, snoop, *, by_slot=True):
    """A snoop begins and leaves. Returns its BITag."""
    tag = table.launch(snoop, by_slot=by_slot)
    table.sent(note(snoop.sector, snoop_aux(tag, snoop)))
    return tag


def answered(table, tag, sector, states):
    return table.answered(note(sector, answer_aux(tag, states)))


def test_a_note_holds_tag_lines_opcode_and_host():
    snoop = Snoop(SnoopKind.INV, 1, SECTOR, 0b1100)
    assert snoop_aux(3, snoop) == 3 | 0b1100 << 12 | 6 << 16 | 1 << 20
    assert answer_aux(3, {0: I, 2: S, 3: A}) == 3 | 0b1101 << 12 | (S << 4 | A << 6) << 16


def test_slots_take_places_from_below_and_operations_from_above():
    table, sectors = SnoopTable(TINY), iter(range(100))

    def launch(by_slot):
        return table.launch(Snoop(SnoopKind.INV, 0, next(sectors), 1), by_slot=by_slot)

    assert [launch(by_slot) for by_slot in (True, False, True)] == [0, 3, 1]
    assert table.has_place
    assert launch(by_slot=False) == 2
    assert not table.has_place
    table.sent(note(2, snoop_aux(1, Snoop(SnoopKind.INV, 0, 2, 1))))
    assert answered(table, 1, 2, {0: I})[3]
    assert launch(by_slot=True) == 1


def test_a_sector_is_asked_for_once_at_a_time():
    table = SnoopTable(TINY)
    table.launch(Snoop(SnoopKind.INV, 0, SECTOR, 1), by_slot=True)
    with pytest.raises(Mismatch, match="P6"):
        table.launch(Snoop(SnoopKind.INV, 0, SECTOR, 2), by_slot=True)


def test_lines_are_answered_in_any_order_and_the_last_one_ends_the_snoop():
    table = SnoopTable(TINY)
    snoop = Snoop(SnoopKind.CUR, 0, SECTOR, 0b1111)
    tag = sent(table, snoop)
    assert answered(table, tag, SECTOR, {2: S}) == (tag, snoop, {2: S}, False)
    assert [table.is_open(SECTOR, line) for line in range(4)] == [True, True, False, True]
    assert answered(table, tag, SECTOR, {3: I, 0: A}) == (tag, snoop, {3: I, 0: A}, False)
    assert table.tag_of(SECTOR) == tag
    assert answered(table, tag, SECTOR, {1: I})[3]
    assert table.tag_of(SECTOR) is None
    assert not any(table.is_open(SECTOR, line) for line in range(4))
    assert not list(table.owed())


SNOOP = Snoop(SnoopKind.DATA, 0, SECTOR, 0b0011)
REFUSED = {
    "a snoop that nobody began": lambda table: table.sent(note(SECTOR, snoop_aux(1, SNOOP))),
    "a BITag in use": lambda table: table.sent(note(SECTOR, snoop_aux(0, SNOOP))),
    "a BITag that there is not": lambda table: table.sent(note(SECTOR, snoop_aux(4, SNOOP))),
    "an answer to nothing": lambda table: answered(table, 1, SECTOR, {0: I}),
    "an answer of another sector": lambda table: answered(table, 0, SECTOR + 1, {0: I}),
    "an answer of a line that was not asked for": lambda table: answered(table, 0, SECTOR, {2: I}),
    "an answer of no line": lambda table: answered(table, 0, SECTOR, {}),
    "an answer that the snoop does not allow": lambda table: answered(table, 0, SECTOR, {0: A}),
    "a stale line": lambda table: answered(table, 0, SECTOR, {0: LineState.STALE}),
    "a state of a line that is not answered": lambda table: table.answered(
        note(SECTOR, answer_aux(0, {0: S}) | S << 18)
    ),
    "a line answered twice": lambda table: [answered(table, 0, SECTOR, {0: I}) for _ in range(2)],
    "a snoop that is late twice": lambda table: [table.timed_out(0) for _ in range(2)],
    "a late snoop that was not sent": lambda table: table.timed_out(
        table.launch(Snoop(SnoopKind.INV, 0, SECTOR + 1, 1), by_slot=True)
    ),
    "an answer to a snoop that was not sent": lambda table: answered(
        table, table.launch(Snoop(SnoopKind.INV, 0, SECTOR + 1, 1), by_slot=True), SECTOR + 1, {0: I}
    ),
    "a late snoop that there is not": lambda table: table.timed_out(9),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    table = SnoopTable(TINY)
    sent(table, SNOOP)
    with pytest.raises(Mismatch):
        REFUSED[case](table)


@pytest.mark.parametrize("field", ["head", "block", "key", "aux"])
def test_a_snoop_leaves_as_it_was_launched(field):
    table = SnoopTable(TINY)
    tag = table.launch(SNOOP, by_slot=True)
    record = note(SECTOR, snoop_aux(tag, SNOOP))
    with pytest.raises(Mismatch):
        table.sent(record | {field: record[field] ^ (1 << 13)})
    table.sent(record)


def test_what_is_owed():
    table = SnoopTable(TINY)
    tag = table.launch(SNOOP, by_slot=True)
    (owed,) = table.owed()
    assert owed == (0, 5, f"BI_SNOOP of BITag {tag}")
    table.sent(note(SECTOR, snoop_aux(tag, SNOOP)))
    (owed,) = table.owed()
    assert owed == (0, 5, f"BI_ANSWER of BITag {tag}")


@pytest.mark.parametrize("seed", [1, 2])
def test_places_are_found_and_freed_like_a_set(seed):
    print(f"seed {seed}")
    chance, config = random.Random(seed), preset("small")
    table, free, asked = SnoopTable(config), set(range(config.snoops)), {}
    for _ in range(3000):
        assert table.has_place == bool(free)
        if free and chance.random() < 0.55:
            sector, lines = chance.randrange(1 << config.sector_bits), chance.choice((1, 2, 4, 8, 3, 12, 15))
            if table.tag_of(sector) is not None:
                continue
            snoop, by_slot = Snoop(chance.choice(tuple(SnoopKind)), 0, sector, lines), chance.random() < 0.5
            tag = table.launch(snoop, by_slot=by_slot)
            assert tag == (min(free) if by_slot else max(free))
            free.discard(tag)
            asked[tag] = snoop, lines
            head, block, number = config.split_sector(sector)
            aux = tag | lines << 12 | snoop_opcode(snoop)[0] << 16
            table.sent({"head": head, "block": block, "key": number, "aux": aux})
        elif asked:
            tag = chance.choice(sorted(asked))
            snoop, left = asked[tag]
            lines = [line for line in range(4) if left >> line & 1 and chance.random() < 0.7]
            if not lines:
                continue
            states = {line: chance.choice(sorted(answer_states(snoop.kind))) for line in lines}
            head, block, number = config.split_sector(snoop.sector)
            aux = answer_aux(tag, states)
            *_, ended = table.answered({"head": head, "block": block, "key": number, "aux": aux})
            left &= ~sum(1 << line for line in lines)
            assert ended == (not left)
            asked[tag] = snoop, left
            if ended:
                del asked[tag]
                free.add(tag)
