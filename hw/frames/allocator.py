"""Frames: who holds how many, which one is free, quotas, pins, pool sizes. See `golden/frames/allocator.py`."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind, RefusalKind
from kv_endpoint.golden.frames.allocator import UNPINNED_FRAMES_MIN
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.frames.frame_pool import FramePool, count_bits, pool_state

__all__ = ["Allocator"]


class Allocator(wiring.Component):
    """Counts frames and pins from the commits, keeps the free frames, carries out the commands of the CSR block.

    Each mode has a pool (`hw.frames.frame_pool`); a head's frames come from the pool of its mode, which changes only
    while the head holds none and has no minimum. Pins are counted over both.

    Totals and free frames follow a commit after 1 clock; the numbers of its head, in RAM, are brought up to date by one
    access at a time, before any query is answered. So an answer that was asked for in a held pipeline is exact. After
    reset the RAM is cleared, a head a clock; queries and commands wait for it.

    PIN and UNPIN are answered when their slot has committed, QUOTA and POOL when their note was accepted, which is in a
    hold. A refusal is noted (REFUSAL, ERROR) and changes nothing. At the pin cap a PIN is refused whatever it names.

    Members
    -------
    commit : In(commit)
    modes, cached : In(heads)
        The mode of each head, and whether hosts may cache its lines; they change only while the pipeline is held.
    query : In(stream of head), availability : Out(stream)
        About 3 clocks.
    commands : In(stream), command_answers : Out(stream)
        One command at a time.
    engine_slots, notes : Out(stream), hold : Out(Hold)
    above_min : Out(heads)
        Heads that hold more frames than their minimum.
    has_minimum : Out(heads)
        Heads whose minimum is not 0.
    quotas_changed : Out(1)
        In the clock of a QUOTA or POOL note.
    inspect_head : In(head), inspect_held, inspect_minimum, inspect_maximum : Out(32)
        2 clocks later.
    held, free, pool_frames : Out(array by mode)
        Of each pool: frames held, free frames (of the pool, spare and reserve), the pool size register.
    pins : Out
        Pinned blocks.
    """

    def __init__(self, *, config):
        self._config = config
        by_mode = data.ArrayLayout(count_bits(config), len(Mode))
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "modes": In(config.heads),
                "cached": In(config.heads),
                "query": In(stream.Signature(config.head_bits)),
                "availability": Out(stream.Signature(layouts.availability(config))),
                "commands": In(stream.Signature(layouts.command(config))),
                "command_answers": Out(stream.Signature(layouts.command_answer())),
                "engine_slots": Out(layouts.slot_stream(config)),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "hold": Out(layouts.Hold()),
                "above_min": Out(config.heads),
                "has_minimum": Out(config.heads),
                "quotas_changed": Out(1),
                "inspect_head": In(config.head_bits),
                "inspect_held": Out(32),
                "inspect_minimum": Out(32),
                "inspect_maximum": Out(32),
                "held": Out(by_mode),
                "free": Out(by_mode),
                "pool_frames": Out(by_mode),
                "pins": Out(range(config.blocks + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        heads = range(config.heads)

        self._row = row = data.StructLayout(dict.fromkeys(("held", "minimum", "maximum", "pins"), count_bits(config)))
        m.submodules.rows = rows = Memory(shape=row, depth=config.heads, init=[])
        self._write = write = rows.write_port()
        self._read = rows.read_port(transparent_for=(write,))
        inspect = rows.read_port(transparent_for=(write,))

        update = self._watch(m)
        m.submodules.updates = updates = fifo.SyncFIFO(width=update.shape().size, depth=2 * config.demotion_slots + 4)
        m.d.comb += [
            updates.w_data.eq(update),
            updates.w_en.eq(update.held_up | update.held_down | update.pin_up | update.pin_down),
        ]
        self._settled = Signal()
        m.d.comb += self._settled.eq(~updates.w_en & ~updates.r_rdy & ~update.take & ~update.release)
        self._pools = pools = self._join_pools(m, update)
        query_mode = Signal()
        query_pool = Signal(pool_state(config))
        frame_known = Signal()
        m.d.comb += [
            query_pool.eq(_of(query_mode, [pool.state.as_value() for pool in pools])),
            frame_known.eq(_of(self._mode_of(self.query.payload), [pool.state.frame_known for pool in pools])),
        ]

        # One access to the rows at a time: clearing, updates of commits, queries, commands.
        cleared = Signal()
        clear_head = Signal(heads)
        current = Signal(update.shape())
        old = self._read.data
        new = Signal(row)
        #: the command wants the row of its head; it is in `_command_row` when `_command_done`
        self._command_wants = Signal()
        self._command_done = Signal()
        self._command_row = Signal(row)
        self._command = Signal(layouts.command(config))

        m.d.comb += new.eq(old)
        with m.FSM(name="rows"):
            with m.State("CLEAR"):
                m.d.comb += [write.en.eq(1), write.addr.eq(clear_head)]
                m.d.comb += write.data.maximum.eq(config.pool_frames_max)
                m.d.sync += clear_head.eq(clear_head + 1)
                with m.If(clear_head == config.heads - 1):
                    m.d.sync += cleared.eq(1)
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self._read.en.eq(1)
                with m.If(updates.r_rdy):
                    m.d.comb += [self._read.addr.eq(updates.r_data[: config.head_bits]), updates.r_en.eq(1)]
                    m.d.sync += current.eq(updates.r_data)
                    m.next = "UPDATE"
                with m.Elif(self._settled & self.query.valid & frame_known):
                    m.d.comb += self._read.addr.eq(self.query.payload)
                    m.d.sync += query_mode.eq(self._mode_of(self.query.payload))
                    m.next = "QUERY"
                with m.Elif(self._settled & self._command_wants):
                    m.d.comb += self._read.addr.eq(self._command.head)
                    m.next = "COMMAND"
            with m.State("UPDATE"):
                m.d.comb += [
                    new.held.eq(old.held + current.held_up - current.held_down),
                    new.pins.eq(old.pins + current.pin_up - current.pin_down),
                    write.en.eq(1),
                    write.addr.eq(current.head),
                    write.data.eq(new),
                ]
                m.d.sync += self.above_min.bit_select(current.head, 1).eq(new.held > old.minimum)
                m.next = "IDLE"
            with m.State("QUERY"):
                m.d.comb += self.query.ready.eq(1)
                m.d.sync += [
                    self.availability.payload.at_maximum.eq(old.held >= old.maximum),
                    self.availability.payload.pool_full.eq(query_pool.held >= query_pool.size),
                    self.availability.payload.for_read.eq(query_pool.free > config.reserve_frames),
                    self.availability.payload.for_write.eq(query_pool.free != 0),
                    self.availability.payload.frame.eq(query_pool.frame),
                    self.availability.valid.eq(1),
                ]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.availability.ready):
                    m.d.sync += self.availability.valid.eq(0)
                    m.next = "IDLE"
            with m.State("COMMAND"):
                m.d.comb += self._command_done.eq(1)
                m.d.sync += self._command_row.eq(old)
                m.next = "IDLE"
        self._commands(m)

        # The rows as the CSR block reads them
        m.d.comb += [inspect.addr.eq(self.inspect_head), inspect.en.eq(1)]
        m.d.sync += [
            self.inspect_held.eq(Mux(cleared, inspect.data.held, 0)),
            self.inspect_minimum.eq(Mux(cleared, inspect.data.minimum, 0)),
            self.inspect_maximum.eq(Mux(cleared, inspect.data.maximum, config.pool_frames_max)),
        ]
        return m

    def _watch(self, m):
        """What each commit changes, 1 clock later."""
        config, commit = self._config, self.commit
        kind = commit.slot.kind
        update = Signal(
            data.StructLayout(
                {
                    "head": config.head_bits, "held_up": 1, "held_down": 1, "pin_up": 1, "pin_down": 1,
                    "take": 1, "release": 1, "pinned": 1, "frame": config.frame_bits,
                }
            )
        )  # fmt: skip

        def holds(state):
            return (state == State.WARM) | (state == State.PROMOTING)

        done = commit.valid & (commit.outcome == Outcome.DONE)
        about_block = commit.valid & (kind != SlotKind.ANSWER)
        is_pin = kind.matches(SlotKind.PIN, SlotKind.UNPIN)
        m.d.sync += [
            update.head.eq(commit.slot.head),
            update.frame.eq(commit.before.frame),
            update.held_up.eq(about_block & ~holds(commit.before.state) & holds(commit.after.state)),
            update.held_down.eq(about_block & holds(commit.before.state) & ~holds(commit.after.state)),
            update.pin_up.eq(about_block & ~commit.before.pinned & commit.after.pinned),
            update.pin_down.eq(about_block & commit.before.pinned & ~commit.after.pinned),
            update.take.eq(done & kind.matches(SlotKind.PROMOTE, SlotKind.ALLOCATE)),
            update.release.eq(done & (kind == SlotKind.EVICT)),
            update.pinned.eq(commit.valid & is_pin),
        ]
        m.d.sync += self.pins.eq(self.pins + update.pin_up - update.pin_down)
        self._pin_committed = update.pinned
        return update

    def _mode_of(self, head):
        return self.modes.bit_select(head, 1)

    def _join_pools(self, m, update):
        """The pool of each mode; it follows the updates of its heads."""
        pools = []
        for mode in Mode:
            pool = FramePool(config=self._config)
            m.submodules[f"pool_{mode.name.lower()}"] = pool
            is_its = self._mode_of(update.head) == mode
            m.d.comb += [
                *(pool.change[what].eq(update[what] & is_its) for what in ("held_up", "held_down", "take", "release")),
                pool.change.frame.eq(update.frame),
                self.held[mode].eq(pool.state.held),
                self.free[mode].eq(pool.state.free),
                self.pool_frames[mode].eq(pool.state.size),
            ]
            pools.append(pool)
        return pools

    def _commands(self, m):
        """Commands, one at a time."""
        config = self._config
        command, kinds, row = self._command, layouts.CommandKind, self._command_row
        #: the pool that the command is about, and the sums of the minimums in each
        mode = Signal()
        minimums_of = [Signal(range(config.pool_frames_max + 1), name=f"minimums_{of.name.lower()}") for of in Mode]
        minimums = Signal(range(config.pool_frames_max + 1))
        pool_frames = Signal(count_bits(config))
        m.d.comb += [
            minimums.eq(_of(mode, minimums_of)),
            pool_frames.eq(_of(mode, [pool.state.size for pool in self._pools])),
            *(pool.size.eq(command.maximum) for pool in self._pools),
        ]
        reason = Signal(4)
        refused = Signal()
        new_minimums = Signal(34)
        # The comparisons of a command, one clock before they are combined
        beyond = Signal()
        bad_quota = Signal()
        bad_sum = Signal()
        bad_pool = Signal()
        uncachable_pool = Signal()
        pins_full = Signal()
        head_pins_full = Signal()

        # Regions change by register writes, of which this command is one: this is steady when it is looked at.
        has_cached = Signal()
        m.d.sync += has_cached.eq((self.cached & Mux(mode, self.modes, ~self.modes)).any())

        note = self.notes.payload
        with m.FSM(name="commands"):
            with m.State("IDLE"):
                m.d.comb += self.commands.ready.eq(1)
                m.d.sync += command.eq(self.commands.payload)
                with m.If(self.commands.valid):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += mode.eq(
                    Mux(command.kind == kinds.POOL, command.mode, self._mode_of(command.head[: config.head_bits]))
                )
                # Pins change by commands alone, so only what changes the rules for others needs a hold.
                with m.If((command.kind == kinds.QUOTA) | (command.kind == kinds.POOL)):
                    m.d.sync += self.hold.request.eq(1)
                    m.next = "HOLD"
                with m.Else():
                    m.next = "READ"
            with m.State("HOLD"):
                with m.If(self.hold.granted):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self._command_wants.eq(1)
                with m.If(self._command_done):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += [
                    beyond.eq(command.head >= config.heads),
                    bad_quota.eq(
                        (command.minimum > command.maximum)
                        | (command.maximum > config.pool_frames_max)
                        | (command.maximum < row.pins + UNPINNED_FRAMES_MIN)
                    ),
                    new_minimums.eq(minimums - row.minimum + command.minimum),
                    bad_pool.eq(
                        (command.maximum < config.pool_frames_min)
                        | (command.maximum > config.pool_frames_max)
                        | (command.maximum < minimums)
                    ),
                    uncachable_pool.eq((command.maximum < config.pool_frames_min_cached) & has_cached),
                    pins_full.eq(self.pins >= config.pin_cap),
                    head_pins_full.eq(row.pins + UNPINNED_FRAMES_MIN >= row.maximum),
                ]
                m.next = "COMPARE_SUM"
            with m.State("COMPARE_SUM"):
                m.d.sync += bad_sum.eq(new_minimums > pool_frames)
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += refused.eq(1)
                m.next = "REFUSE"
                with m.Switch(command.kind):
                    with m.Case(kinds.PIN, kinds.UNPIN):
                        with m.If(beyond | (command.block >= config.blocks_per_head)):
                            m.d.sync += reason.eq(RefusalKind.PIN_RANGE)
                        with m.Elif((command.kind == kinds.PIN) & pins_full):
                            m.d.sync += reason.eq(RefusalKind.PIN_CAP)
                        with m.Elif((command.kind == kinds.PIN) & head_pins_full):
                            m.d.sync += reason.eq(RefusalKind.PIN_QUOTA)
                        with m.Else():
                            m.d.sync += refused.eq(0)
                            m.next = "PIN"
                    with m.Case(kinds.QUOTA):
                        with m.If(beyond | bad_quota):
                            m.d.sync += reason.eq(RefusalKind.QUOTA_RANGE)
                        with m.Elif(bad_sum):
                            m.d.sync += reason.eq(RefusalKind.QUOTA_SUM)
                        with m.Else():
                            m.d.sync += refused.eq(0)
                            m.next = "CHANGE"
                    with m.Case(kinds.POOL):
                        with m.If(bad_pool):
                            m.d.sync += reason.eq(RefusalKind.POOL_SIZE)
                        with m.Elif(uncachable_pool):
                            m.d.sync += reason.eq(RefusalKind.POOL_CACHED)
                        with m.Else():
                            m.d.sync += refused.eq(0)
                            m.next = "CHANGE"
            with m.State("PIN"):
                slot = self.engine_slots.payload
                m.d.comb += [
                    slot.kind.eq(Mux(command.kind == kinds.PIN, SlotKind.PIN, SlotKind.UNPIN)),
                    slot.head.eq(command.head),
                    slot.block.eq(command.block),
                    self.engine_slots.valid.eq(1),
                ]
                with m.If(self.engine_slots.ready):
                    m.next = "PINNING"
            with m.State("PINNING"):
                with m.If(self._pin_committed):
                    m.next = "ANSWER"
            with m.State("CHANGE"):
                # The pipeline is held and the row is as it was read: nothing else writes rows now.
                is_pool = command.kind == kinds.POOL
                m.d.comb += self.notes.valid.eq(1)
                with m.If(is_pool):
                    m.d.comb += [note.kind.eq(EngineKind.POOL), note.key.eq(mode), note.aux.eq(command.maximum)]
                with m.Else():
                    m.d.comb += [
                        note.kind.eq(EngineKind.QUOTA),
                        note.head.eq(command.head),
                        note.key.eq(command.maximum),
                        note.aux.eq(command.minimum),
                    ]
                with m.If(self.notes.ready):
                    m.d.comb += self.quotas_changed.eq(1)
                    m.d.sync += self.hold.request.eq(0)
                    with m.If(is_pool):
                        m.d.comb += [pool.resize.eq(mode == of) for of, pool in enumerate(self._pools)]
                    with m.Else():
                        m.d.comb += [
                            self._write.en.eq(1),
                            self._write.addr.eq(command.head),
                            self._write.data.eq(row),
                            self._write.data.minimum.eq(command.minimum),
                            self._write.data.maximum.eq(command.maximum),
                        ]
                        m.d.sync += [
                            *(of.eq(Mux(mode == n, new_minimums, of)) for n, of in enumerate(minimums_of)),
                            self.has_minimum.bit_select(command.head[: config.head_bits], 1).eq(command.minimum != 0),
                            self.above_min.bit_select(command.head[: config.head_bits], 1).eq(
                                row.held > command.minimum
                            ),
                        ]
                    m.next = "ANSWER"
            with m.State("REFUSE"):
                m.d.comb += [note.kind.eq(EngineKind.REFUSAL), note.key.eq(reason), self.notes.valid.eq(1)]
                # Where head or block are out of range, `aux` alone has them.
                with m.If(~beyond & (command.kind != kinds.POOL)):
                    m.d.comb += note.head.eq(command.head)
                with m.If((reason == RefusalKind.PIN_CAP) | (reason == RefusalKind.PIN_QUOTA)):
                    m.d.comb += note.block.eq(command.block)
                with m.If((reason == RefusalKind.POOL_SIZE) | (reason == RefusalKind.POOL_CACHED)):
                    m.d.comb += note.block.eq(mode)
                with m.Switch(reason):
                    with m.Case(RefusalKind.QUOTA_RANGE, RefusalKind.POOL_SIZE, RefusalKind.POOL_CACHED):
                        m.d.comb += note.aux.eq(command.maximum)
                    with m.Case(RefusalKind.QUOTA_SUM):
                        m.d.comb += note.aux.eq(command.minimum)
                    with m.Default():
                        m.d.comb += note.aux.eq(Cat(command.block, command.head))
                with m.If(self.notes.ready):
                    m.d.sync += self.hold.request.eq(0)
                    m.next = "REPORT"
            with m.State("REPORT"):
                m.d.comb += [
                    note.kind.eq(EngineKind.ERROR),
                    note.key.eq(ErrorKind.REFUSED_COMMAND),
                    note.aux.eq(reason),
                    self.notes.valid.eq(1),
                ]
                with m.If(self.notes.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.command_answers.valid.eq(1),
                    self.command_answers.payload.refused.eq(refused),
                    self.command_answers.payload.reason.eq(Mux(refused, reason, 0)),
                ]
                with m.If(self.command_answers.ready):
                    m.next = "IDLE"


def _of(mode, values):
    """The one of `values`, one a mode, that belongs to `mode`."""
    return Mux(mode, values[Mode.MXINT8], values[Mode.EXACT])
