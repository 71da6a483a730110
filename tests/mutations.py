"""Mutations of the RTL: mistakes that the regression must notice, each with the tests that are to notice it."""

from dataclasses import dataclass

__all__ = ["MUTATIONS", "Mutation"]


@dataclass(frozen=True)
class Mutation:
    """One mistake: in `file`, the text `old`, which stands there once, becomes `new`.

    `tests` are pytest node ids; `why` says which rule is broken.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple
    why: str


MUTATIONS = (
    # Metadata pipeline
    Mutation(
        name="forwarding-removed",
        file="hw/metadata.py",
        old="return Mux(match, after, entry)",
        new="return entry",
        tests=("tests/test_metadata.py::test_commits_equal_the_golden_commit[2-0]",),
        why="a slot sees what the slots ahead of it made of its block",
    ),
    Mutation(
        name="dirty-bit-dropped",
        file="hw/metadata.py",
        old="after.dirty.eq(before.dirty | is_write),\n                            after.prefetched.eq(0),",
        new="after.dirty.eq(before.dirty),\n                            after.prefetched.eq(0),",
        tests=("tests/test_metadata.py::test_commits_equal_the_golden_commit[2-0]",),
        why="a write makes its block dirty",
    ),
    Mutation(
        name="decay-skipped",
        file="hw/metadata.py",
        old="fresh_ema.eq(Mux(at_now, before.ema, decay.output))",
        new="fresh_ema.eq(before.ema)",
        tests=("tests/test_metadata.py::test_commits_equal_the_golden_commit[2-0]",),
        why="an event brings the EMA to now",
    ),
    Mutation(
        name="second-hint-scores-again",
        file="hw/metadata.py",
        old="with m.If(announced):",
        new="with m.If(0):",
        tests=("tests/test_metadata.py::test_commits_equal_the_golden_commit[2-0]",),
        why="only the first hint of a step scores",
    ),
    Mutation(
        name="cancelled-demotion-completed",
        file="hw/metadata.py",
        old="becomes(State.DEMOTING, state=State.COLD, dirty=0)",
        new="m.d.comb += [after.state.eq(State.COLD), after.dirty.eq(0)]",
        tests=("tests/test_metadata.py::test_commits_equal_the_golden_commit[2-0]",),
        why="an access to a demoting block keeps its frame; the EVICT that follows is ignored",
    ),
    Mutation(
        name="nxm-read-completed",
        file="hw/metadata.py",
        old="m.d.comb += data_kind.eq(DataKind.NXM)",
        new="m.d.comb += data_kind.eq(DataKind.COMPLETE)",
        tests=(
            "tests/test_lockstep.py::test_reads_outside_every_region_get_no_completion_and_the_window_reads_as_zero",
        ),
        why="a read outside every region is answered by MemData-NXM, not by Cmp",
    ),
    # Scores
    Mutation(
        name="ema-rounding-changed",
        file="hw/score.py",
        old="round_even(Cat(lost, guarded >> halvings), 2)",
        new="(Cat(lost, guarded >> halvings) >> 2)",
        tests=("tests/test_score.py::test_rtl_decay_is_the_golden_one",),
        why="a decayed EMA is rounded once, to nearest even",
    ),
    Mutation(
        name="ema-round-half-up",
        file="hw/score.py",
        old="round_even(Cat(lost, guarded >> halvings), 2)",
        new="((Cat(lost, guarded >> halvings) + 2) >> 2)",
        tests=("tests/test_score.py::test_rtl_decay_is_the_golden_one",),
        why="ties of a decayed EMA go to the even number",
    ),
    Mutation(
        name="empty-ema-not-lowest",
        file="hw/score.py",
        old="with m.Elif(complement[EMA_BITS]):",
        new="with m.Elif(0):",
        tests=("tests/test_score.py::test_rtl_key_is_the_golden_one[0-29bit-1]",),
        why="a block whose EMA is 0 leaves before every other",
    ),
    # Victim engine
    Mutation(
        name="tie-break-reversed",
        file="hw/tournament.py",
        old="sibling_is_lower = own_position[0]",
        new="sibling_is_lower = ~own_position[0]",
        tests=("tests/test_tournament.py",),
        why="of equal key and step the lower head leaves",
    ),
    Mutation(
        name="tie-break-by-block-reversed",
        file="hw/rank.py",
        old="Cat(block, step, key[:-1], ~key[-1], C(0, 1))",
        new="Cat(~block, step, key[:-1], ~key[-1], C(0, 1))",
        tests=("tests/test_victim.py::test_ties_go_to_the_lowest_head_then_the_lowest_block[2]",),
        why="of equal key, step and head the lower block leaves",
    ),
    Mutation(
        name="protection-ignored",
        file="hw/sweep.py",
        old="examined.eligible.eq(examined.waived & ~protected)",
        new="examined.eligible.eq(examined.waived)",
        tests=(
            "tests/test_victim.py::test_hint_that_leaves_the_key_as_it_is_protects_until_the_touch_or_the_next_step",
        ),
        why="an announced block stays until it is touched",
    ),
    Mutation(
        name="protection-unnoticed",
        file="hw/rank.py",
        old="first.eligible.eq(first.warm_after & ~after.pinned & ~protected)",
        new="first.eligible.eq(first.warm_after & ~after.pinned)",
        tests=(
            "tests/test_victim.py::test_hint_that_leaves_the_key_as_it_is_protects_until_the_touch_or_the_next_step",
        ),
        why="a hint takes its block out of the queue's choice at once",
    ),
    Mutation(
        name="waiver-missing",
        file="hw/victim.py",
        old="with m.If(self.policy.protect):",
        new="with m.If(0):",
        tests=("tests/test_victim.py::test_announcement_is_waived_only_where_nothing_else_may_leave[0]",),
        why="where all are announced, the announcement is waived",
    ),
    Mutation(
        name="pin-ignored",
        file="hw/sweep.py",
        old="examined.waived.eq(examined.warm & ~entry.pinned & ~self.migrating)",
        new="examined.waived.eq(examined.warm & ~self.migrating)",
        tests=("tests/test_victim.py::test_announcement_is_waived_only_where_nothing_else_may_leave[0]",),
        why="a pinned block never leaves",
    ),
    Mutation(
        name="victim-in-migration",
        file="hw/victim.py",
        old="with m.If(sight.migrating & ~chosen.rank.none):",
        new="with m.If(0):",
        tests=("tests/test_victim_migration.py",),
        why="a block with an open miss or a demotion in progress is no victim",
    ),
    # Allocator
    Mutation(
        name="quota-ignored",
        file="hw/allocator.py",
        old="at_maximum.eq(old.held >= old.maximum)",
        new="at_maximum.eq(0)",
        tests=("tests/test_lockstep.py::test_quotas_hold_and_ports_may_stall",),
        why="a head at its maximum evicts its own",
    ),
    Mutation(
        name="minimum-ignored",
        file="hw/allocator.py",
        old="self.above_min.bit_select(current.head, 1).eq(new.held > old.minimum)",
        new="self.above_min.bit_select(current.head, 1).eq(new.held != 0)",
        tests=("tests/test_lockstep.py::test_quotas_hold_and_ports_may_stall",),
        why="a head at its minimum is not robbed",
    ),
    Mutation(
        name="reserve-ignored",
        file="hw/allocator.py",
        old="for_read.eq(self.free > config.reserve_frames)",
        new="for_read.eq(self.free != 0)",
        tests=("tests/test_allocator.py::test_the_last_frames_are_for_writes_then_there_are_none",),
        why="the last frames are for writes alone",
    ),
    Mutation(
        name="frame-handed-out-twice",
        file="hw/allocator.py",
        old="returned.r_en.eq(update.take & ~from_never_used)",
        new="returned.r_en.eq(0)",
        tests=("tests/test_allocator.py::test_counts_and_free_frames_follow_the_commits",),
        why="a free frame is given out once",
    ),
    Mutation(
        name="frame-of-cancelled-demotion-freed",
        file="hw/allocator.py",
        old="update.release.eq(done & (kind == SlotKind.EVICT))",
        new="update.release.eq(commit.valid & (kind == SlotKind.EVICT))",
        tests=("tests/test_migration.py::test_an_access_cancels_a_demotion_and_nothing_is_freed",),
        why="an ignored EVICT frees nothing",
    ),
    # Misses and bypass slots
    Mutation(
        name="sidecar-not-cleared",
        file="hw/misses.py",
        old='m.next = "CLEAR"',
        new='m.next = "PLACE"',
        tests=("tests/test_lockstep.py::test_a_new_block_reads_as_zeros_where_it_was_not_written",),
        why="a new block reads as zeros in a frame that another block had",
    ),
    Mutation(
        name="failed-page-not-poisoned",
        file="hw/misses.py",
        old='m.next = "POISON"',
        new='m.next = "ARRIVED"',
        tests=("tests/test_misses.py::test_a_failed_page_read_is_poison_until_written",),
        why="a page that could not be read is poison",
    ),
    Mutation(
        name="bypass-comparison-inverted",
        file="hw/misses.py",
        old="victim.own_key.as_signed() < victim.key.as_signed()",
        new="victim.own_key.as_signed() > victim.key.as_signed()",
        tests=("tests/test_misses.py::test_blocks_of_little_worth_are_read_through_bypass_slots_which_are_reused",),
        why="only a block worth less than the victim is read past the pool",
    ),
    Mutation(
        name="bypass-slot-reused-too-early",
        file="hw/bypass.py",
        old="idle.eq(~bound & ~used)",
        new="idle.eq(~bound)",
        tests=(
            "tests/test_misses.py::test_blocks_of_little_worth_are_read_through_bypass_slots_which_are_reused",
            "tests/test_misses.py::test_every_request_is_answered_and_every_decision_is_legal",
        ),
        why="a bypass slot takes no other page while reads of it are outstanding",
    ),
    Mutation(
        name="reads-take-the-writes-miss-slots",
        file="hw/misses.py",
        old="(self._rwd | (n < count - config.miss_slots_for_writes))",
        new="(self._rwd | (n < count))",
        tests=("tests/test_misses.py::test_a_read_that_can_get_nothing_delays_no_write",),
        why="reads that wait for a frame leave miss slots to writes",
    ),
    # Migration
    Mutation(
        name="dirty-page-not-written",
        file="hw/migration.py",
        old="Mux(dirty[sel], _Stage.WRITE, _Stage.END)",
        new="_Stage.END",
        tests=("tests/test_misses.py::test_a_write_to_a_cold_block_is_merged_into_its_page",),
        why="a dirty block leaves only when flash has its page",
    ),
    Mutation(
        name="failed-page-write-evicts",
        file="hw/migration.py",
        old="Mux(failed[sel], SlotKind.RESTORE, SlotKind.EVICT)",
        new="SlotKind.EVICT",
        tests=("tests/test_migration.py::test_a_block_whose_page_write_fails_stays_and_is_tried_again",),
        why="a block whose page write failed stays warm",
    ),
    Mutation(
        name="demotion-without-drain",
        file="hw/migration.py",
        old="with m.If(self.drain.granted):",
        new="with m.If(1):",
        tests=("tests/test_lockstep.py::test_a_frame_is_given_up_when_the_reads_under_way_have_ended",),
        why="a page is written when the datapath has finished what was under way",
    ),
    # Hints and steps
    Mutation(
        name="leap-cap-off-by-one",
        file="hw/hints.py",
        old="leap > self.leap_cap",
        new="leap >= self.leap_cap",
        tests=("tests/test_frontend.py::test_hint_lines_become_their_blocks_and_an_answer_and_move_the_step",),
        why="a header may advance the step by the leap cap itself",
    ),
    Mutation(
        name="step-without-hold",
        file="hw/hints.py",
        old="self.notes.valid.eq(self.hold.granted)",
        new="self.notes.valid.eq(1)",
        tests=("tests/test_frontend.py::test_hint_lines_become_their_blocks_and_an_answer_and_move_the_step",),
        why="the step moves only while the pipeline stands still",
    ),
    Mutation(
        name="poisoned-hint-obeyed",
        file="hw/hints.py",
        old="flags.any() | line.poison | Cat(bad).any()",
        new="flags.any() | Cat(bad).any()",
        tests=("tests/test_frontend.py::test_hint_lines_become_their_blocks_and_an_answer_and_move_the_step",),
        why="a poisoned hint line is malformed",
    ),
    # Datapath
    Mutation(
        name="read-poison-dropped",
        file="hw/responder.py",
        old="issued.poisoned | answer.failed, answer.poisoned",
        new="answer.failed, answer.poisoned",
        tests=("tests/test_datapath.py::test_poison_stays_until_a_full_clean_write",),
        why="a poisoned line is read with poison",
    ),
    Mutation(
        name="former-owners-bytes-readable",
        file="hw/datapath.py",
        old="memory.write.payload.strb.eq(contents.be | (~written).replicate(LINE_BYTES))",
        new="memory.write.payload.strb.eq(contents.be)",
        tests=(
            "tests/test_datapath.py::test_the_first_partial_write_zeros_the_other_bytes_and_a_later_one_keeps_them",
        ),
        why="the first write of a line leaves nothing of what lay there",
    ),
    Mutation(
        name="former-owners-line-readable",
        file="hw/datapath.py",
        old="written.eq(sidecar.row.written.bit_select(looked.op.line, 1))",
        new="written.eq(1)",
        tests=("tests/test_datapath.py::test_a_line_never_written_reads_zeros_in_a_reused_frame",),
        why="a line never written reads as zeros",
    ),
    Mutation(
        name="read-overtakes-write",
        file="hw/datapath.py",
        old="conflict.eq(writes.conflict | reads.conflict & head.op.rwd)",
        new="conflict.eq(reads.conflict & head.op.rwd)",
        tests=("tests/test_datapath.py::test_random_operations_answer_as_the_golden_model_says[few lines-reordering]",),
        why="a read waits for the write of its line",
    ),
    Mutation(
        name="write-completed-before-memory-has-it",
        file="hw/memory_port.py",
        old="        m.d.comb += self.returned.payload.data.eq(mem.rdata)\n",
        new="        m.d.comb += self.returned.payload.data.eq(mem.rdata)\n"
        "        m.submodules.posted = posted = SyncFIFO(width=address.size, depth=64)\n"
        "        early = address(posted.r_data)\n"
        "        m.d.comb += [\n"
        "            posted.w_en.eq(aw_fifo.w_en), posted.w_data.eq(aw), mem.bready.eq(1),\n"
        "            self.confirmed.valid.eq(posted.r_rdy), posted.r_en.eq(self.confirmed.ready),\n"
        "            self.confirmed.payload.id.eq(early.id[:-1]), self.confirmed.payload.sidecar.eq(early.id[-1]),\n"
        "            self.confirmed.payload.failed.eq(0),\n"
        "        ]\n",
        tests=("tests/test_datapath.py::test_random_operations_answer_as_the_golden_model_says[few lines-reordering]",),
        why="a write is completed when memory has confirmed it",
    ),
    # Events, errors, counters
    Mutation(
        name="event-dropped",
        file="hw/event_port.py",
        old="self.notes.ready.eq(engines.w_rdy)",
        new="self.notes.ready.eq(1)",
        tests=("tests/test_event_port.py::test_records_leave_in_order_with_one_sequence[0.9]",),
        why="a note waits for room; none is lost",
    ),
    Mutation(
        name="slot-record-dropped",
        file="hw/event_port.py",
        old="self.slot_room.eq(slots.level < depth - self._pipeline_depth - 1)",
        new="self.slot_room.eq(1)",
        tests=("tests/test_event_port.py::test_records_leave_in_order_with_one_sequence[0.9]",),
        why="the pipeline issues only what the port has room for",
    ),
    Mutation(
        name="engine-record-numbered-first",
        file="hw/event_port.py",
        old="numbered_note.sequence.eq(sequence + self.slot_valid)",
        new="numbered_note.sequence.eq(sequence)",
        tests=("tests/test_event_port.py::test_records_leave_in_order_with_one_sequence[0.0]",),
        why="of two records of one clock the slot's is the first",
    ),
    Mutation(
        name="sticky-error-lost",
        file="hw/csr.py",
        old="value.eq(set_now | (value & ~(applied[register.name] & part)))",
        new="value.eq((set_now | value) & ~(applied[register.name] & part))",
        tests=("tests/test_csr.py::test_an_error_in_the_clock_of_its_clearing_stays",),
        why="an error in the clock of its clearing stays",
    ),
    Mutation(
        name="error-count-lost",
        file="hw/error_notes.py",
        old="m.d.sync += waiting.eq(pulse)",
        new="m.d.sync += waiting.eq(0)",
        tests=("tests/test_error_notes.py",),
        why="an error in the clock of a note is counted in the next",
    ),
    Mutation(
        name="tracker-forgets-the-commit-ahead",
        file="hw/tracker.py",
        old="old.eq(Mux(ahead_is_same, new, update.data))",
        new="old.eq(update.data)",
        tests=("tests/test_tracker.py::test_counters_follow_the_golden_tracker_in_every_clock",),
        why="back-to-back commits of one head are all counted",
    ),
)
