"""A world around `hw.frames.residency.Residency`: pipeline, victim engine, prefetch unit, flash, datapath and host.

Every slot and every note goes through `golden.follow.follower.Follower`, which refuses what the rules do not allow;
besides, the data is checked end to end: each line read must hold what was written last.
"""

from collections import deque
from dataclasses import dataclass
from random import Random

from amaranth.hdl import ResetInserter, Signal

from kv_endpoint.golden.coherency.snoops import answer_aux, snoop_aux
from kv_endpoint.golden.common import line_access as coherency
from kv_endpoint.golden.common.config import SECTOR_LINES, Config, preset
from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy, policy_fields
from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop
from kv_endpoint.golden.follow.follower import Follower
from kv_endpoint.golden.frames.allocator import Action
from kv_endpoint.golden.pipeline.metadata import DataKind, Outcome, Slot, SlotKind, State
from kv_endpoint.hw.common.layouts import Domain, SidecarKind, page_tag_bits
from kv_endpoint.hw.frames.residency import Residency
from tests.support.simulation import fields_of, simulate

__all__ = ["Access", "ScarceConfig", "World", "random_accesses", "scarce", "with_accesses", "POISON"]

#: clocks from issue to commit
PIPELINE_STAGES = 7
#: clocks that the DUT may hold the pipeline, the longest answers of this world included
HOLD_LIMIT = 400
POISON = "poison"
GARBAGE = "garbage"


@dataclass(frozen=True)
class ScarceConfig(Config):
    """A build with fewer frames than blocks, so that frames, reserve and spare frames run out."""

    pool_blocks: int = 8

    @property
    def pool_frames_max(self):
        return self.pool_blocks


def scarce(**changes):
    """Preset `tiny` with frames for few blocks."""
    return ScarceConfig(**vars(preset("tiny")) | {"name": "scarce"} | changes)


def _plain(field):
    """A value of a dict as an initial value of a struct takes it."""
    return {name: _plain(value) for name, value in field.items()} if isinstance(field, dict) else int(field)


class Frame:
    """A frame of DDR5: lines written to it, and what the others read as."""

    def __init__(self, lines=None, rest=0):
        self.lines, self.rest = dict(lines or {}), rest

    def copy(self):
        return Frame(self.lines, self.rest)

    def read(self, line):
        return self.lines.get(line, self.rest)


@dataclass
class Access:
    """A request of the host. `barrier`: issued when all before are answered; `result`: the line, or how it ended.

    `access`: what it asks of the snoop filter, in a region that hosts may cache.
    """

    write: bool
    head: int
    block: int
    line: int
    value: int = 0
    barrier: bool = False
    access: coherency.Access = coherency.Access.PLAIN
    result: object = None

    @property
    def where(self):
        return self.head, self.block


class World:
    """Runs a list of accesses and commands against the DUT.

    Parameters
    ----------
    seed : int
        Of every random choice; printed when something fails.
    stall : float
        Probability that a port of the world makes the DUT wait, a clock.
    flash_latency : (int, int)
        Clocks of a page command, lowest and highest.
    fails : callable (write, page) -> bool
        Whether a page command fails.
    hints : dict of head: blocks, one head only
        What each step's hint line announces; else some blocks of some head.
    slow : int
        Clocks of a slow data operation, of which there is one in five.
    modes : sequence of Mode, one a head
        The default is mode exact for all. A frame is known here by its mode and number.
    cached : bool
        The host may cache every line. Snoops are answered at random clocks, and now and then one of a block is begun.
    """

    def __init__(
        self,
        config,
        *,
        seed,
        policy=None,
        stall=0.2,
        flash_latency=(5, 60),
        fails=None,
        refuses=None,
        hints=None,
        slow=10,
        modes=None,
        cached=False,
    ):
        self.config, self.seed = config, seed
        self.policy = Policy() if policy is None else policy
        self.rng = Random(seed)
        #: of its own, so that a run without prefetches is the same with and without this unit
        self._prefetch_rng = Random(seed)
        self.cached = cached
        self.stall = stall
        self.flash_latency = flash_latency
        self.fails = fails or (lambda write, page: False)
        #: whether memory refuses the sidecar line of a frame that is flushed
        self.refuses = refuses or (lambda frame: False)
        self.hints = hints
        self.slow = slow
        self.modes = [Mode.EXACT] * config.heads if modes is None else list(modes)
        self.dut = Residency(config=config)
        #: what each port was last set to: setting one makes the simulator settle everything again
        self._driven = {}
        self._restart()

    def _restart(self):
        """Everything as after reset."""
        config = self.config
        self.golden = Follower(config, policy=self.policy)
        self.golden.registers.modes[:] = self.modes
        #: frames whose sidecar line memory has refused
        self.refused = set()
        self.golden.registers.cached[:] = [self.cached] * config.heads
        #: blocks that the host may hold lines of; a held request is on its way again
        self._covered = set()
        self._retrying = False
        #: blocks are taken back from the host
        self.recalls = True
        self.clock = 0
        #: (kind, fields and clock) of the records, in order
        self.log = []
        # Pipeline
        self._host_slots = {False: deque(), True: deque()}
        self._in_flight = deque()
        self._engine_turn = False
        self._committed = False
        # Who holds it: the DUT, or the step to come
        self._held = self._granted = None
        self._held_since = 0
        self._steps = 0
        # Host
        self._free_ids = {False: deque(range(config.read_slots)), True: deque(range(config.write_slots))}
        self._active = {}
        self._tag = 0
        self.memory = {}
        #: accesses to go before those that wait
        self.urgent = deque()
        #: prefetches are queued, but none has its turn
        self.holds_back = False
        self._prefetch_locked = False
        #: blocks of which a page was lost
        self.lost = set()
        self._command_taken = False
        self.answers = []
        # Datapath and sidecar: operations in order, frames whose sidecar line is cached
        self.frames = {}
        self._ops = deque()
        self._op_wait = 0
        self._ops_pushed = self._ops_done = 0
        #: operations pushed before the frame's block was demoted
        self._demoted_at = {}
        self._drain_until = None
        self._sidecar = None
        self._sidecar_cached = set()
        # Flash
        self.flash = {}
        self._page_commands = {}
        # Victim engine: ended migrations it was told of, by head; the answer to come; blocks it finds nothing for
        self._ended = [0] * config.heads
        self._victim = None
        self._victim_taken = False
        self.denied = set()

    def _set(self, ctx, port, value):
        """Set a port, or all of a struct port from a dict, if it has another value."""
        if isinstance(value, dict):
            value = port.shape().const({name: _plain(field) for name, field in value.items()}).as_bits()
            port = port.as_value()
        if self._driven.get(id(port)) != (port, int(value)):
            self._driven[id(port)] = port, int(value)
            ctx.set(port, int(value))

    # Running ----------------------------------------------------------------------------------------------------------

    def run(self, accesses, *, commands=(), steps=0, limit=40000, script=None, outstanding=48, reset_after=None):
        """Issue the accesses in order, as the slots allow; fails if they are not all answered in `limit` clocks.

        `steps` are spread over the accesses, each with a hint line; `script(world)` is called every clock. With
        `reset_after` all is done for so many clocks first, then again from a reset on. Returns the accesses, answered.
        """
        print(f"seed {self.seed}")
        accesses, commands = list(accesses), list(commands)
        reset = Signal()

        async def bench(ctx):
            self._set(ctx, self.dut.policy, {name: getattr(self.policy, name) for name, _ in policy_fields()})
            self._set(ctx, self.dut.modes, sum(mode << head for head, mode in enumerate(self.modes)))
            if reset_after is not None:
                await self._serve(ctx, accesses, commands, steps, reset_after, script, outstanding)
                assert self.clock == reset_after, "nothing was under way at the reset"
                for port, _ in tuple(self._driven.values()):
                    if port is not self.dut.policy.as_value() and port is not self.dut.modes:
                        self._set(ctx, port, 0)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                self._restart()
            await self._serve(ctx, accesses, commands, steps, limit, script, outstanding)
            assert self.clock < limit, f"not answered after {limit} clocks: {self._state()}"
            await self._compare(ctx)

        simulate(ResetInserter(reset)(self.dut), bench)
        self.golden.finish()
        return accesses

    async def _serve(self, ctx, accesses, commands, steps, limit, script, outstanding):
        """Until all is answered and everything is at rest, or `limit` clocks have passed."""
        waiting, commands = deque(accesses), deque(commands)
        steps_at = [len(accesses) * (n + 1) // (steps + 1) for n in range(steps)]
        command = None
        quiet = 0
        while quiet < 20 and self.clock < limit:
            if steps_at and len(waiting) <= steps_at[-1]:
                steps_at.pop()
                self._steps += 1
            if script is not None:
                script(self)
            self._offer(waiting, outstanding)
            command = self._command(ctx, commands, command)
            self._commit(ctx)
            self._hold(ctx)
            self._snoop(ctx)
            self._issue(ctx)
            self._prefetches(ctx)
            self._note(ctx)
            self._victims(ctx)
            self._flash(ctx)
            self._datapath(ctx)
            busy = (
                waiting or commands or command or self._active or self._steps or self._in_flight or self._ops
                or self._page_commands or self.golden.misses.open or self.golden.migration.demotions
                or any(self._host_slots.values()) or self._prefetch_waits()
                or self.golden.coherent.snoops.outstanding or self.golden.coherent.held
            )  # fmt: skip
            quiet = 0 if busy else quiet + 1
            ended = ctx.get(self.dut.migration_ended)
            if ended.valid:
                self._ended[ended.head] += 1
            await ctx.tick()
            self.clock += 1

    async def _compare(self, ctx):
        """The DUT at rest against the golden state."""
        dut, allocator = self.dut, self.golden.allocator
        assert not ctx.get(dut.hold.request), "the hold is kept"
        assert not ctx.get(dut.drain.request), "a drain is asked for that nobody waits for"
        assert not ctx.get(dut.prefetch_lock.request), "the prefetch unit stays locked"
        for mode, pool in allocator.pools.items():
            assert ctx.get(dut.held[mode]) == pool.held
            assert ctx.get(dut.free[mode]) == pool.free_frames
            assert ctx.get(dut.pool_frames[mode]) == pool.size
        assert ctx.get(dut.pins) == sum(allocator.pins)
        assert ctx.get(dut.unwritable) == self.golden.migration.unwritable
        for head in range(self.config.heads):
            ends = (EngineKind.MISS_CLOSE, SlotKind.EVICT, SlotKind.RESTORE)
            left = [record for kind in ends for record in self.kinds(kind) if record["head"] == head]
            assert self._ended[head] == len(left), "a block left that the victim engine was not told of"
            self._set(ctx, dut.inspect_head, head)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.inspect_held) == allocator.held[head]
            assert ctx.get(dut.inspect_minimum) == allocator.minimum[head]
            assert ctx.get(dut.inspect_maximum) == allocator.maximum[head]

    def _state(self):
        return {
            "open": dict(self.golden.misses.open), "waiting": self.golden.misses.waiting,
            "demotions": self.golden.migration.demotions, "held": self._held, "flash": self._page_commands,
            "log": self.log[-12:],
        }  # fmt: skip

    def _ready(self):
        return self.rng.random() >= self.stall

    def request_step(self):
        """Move the step, with a hint line, as soon as the pipeline can be held."""
        self._steps += 1

    def kinds(self, kind):
        """The records of one `SlotKind` or `EngineKind`, in order."""
        return [fields for name, fields in self.log if name == kind.name]

    # Host -------------------------------------------------------------------------------------------------------------

    def _offer(self, waiting, outstanding):
        """New requests, unless one to the same line is under way and one of the two writes."""
        while (self.urgent or waiting) and len(self._active) < outstanding:
            source = self.urgent or waiting
            access = source[0]
            ids = self._free_ids[access.write]
            lines = [
                other for _, other in self._active.values() if (other.where, other.line) == (access.where, access.line)
            ]
            if access.barrier and self._active:
                return
            if not ids or any(other.write or access.write for other in lines) or self.rng.random() < 0.3:
                return
            source.popleft()
            self._tag = (self._tag + 1) & 0xFFFF
            number = ids.popleft()
            self._active[access.write, number] = (self._tag, access)
            kind = SlotKind.WRITE if access.write else SlotKind.READ
            slot = Slot(kind, access.write, self._tag, *access.where, access.line, access=access.access)
            self._host_slots[access.write].append((slot, number))

    def _answer(self, rwd, number, result):
        _, access = self._active.pop((rwd, number))
        self._free_ids[rwd].append(number)
        access.result = result
        place = (*access.where, access.line)
        if result in ("unwritable", "completed"):
            return
        if access.write:
            self.memory[place] = access.value
        elif access.where not in self.lost:
            assert result == self.memory.get(place, 0), (place, result, self.memory.get(place, 0))
        else:
            assert result in (POISON, self.memory.get(place, 0)), (place, result)

    def _command(self, ctx, commands, command):
        dut = self.dut
        if command is None and commands and self.rng.random() < 0.02:
            command = commands.popleft()
            self._set(ctx, dut.commands.payload, command)
            self._set(ctx, dut.commands.valid, 1)
            self._command_taken = False
        if command is not None:
            if not self._command_taken and ctx.get(dut.commands.ready):
                self._command_taken = True
            elif self._command_taken:
                self._set(ctx, dut.commands.valid, 0)
            self._set(ctx, dut.command_answers.ready, self._ready())
            if ctx.get(dut.command_answers.valid) and ctx.get(dut.command_answers.ready):
                answer = fields_of(ctx.get(dut.command_answers.payload))
                self.answers.append((command, answer["reason"] if answer["refused"] else None))
                return None
        return command

    # Pipeline ---------------------------------------------------------------------------------------------------------

    def _commit(self, ctx):
        dut = self.dut
        if self._committed:
            self._set(ctx, dut.commit, {})
            self._committed = False
        if not self._in_flight or self._in_flight[0][0] > self.clock:
            return
        _, slot, number = self._in_flight.popleft()
        if slot.retry:
            self._retrying = False
        if slot.kind == SlotKind.PROMOTE and slot.value:
            self._assert_demand_first()
        try:
            before, result = self.golden.slot(slot)
        except Mismatch as mismatch:
            raise AssertionError(f"{slot}: {mismatch.args}; {self._state()}") from mismatch
        record = self.golden.slot_record(slot, before, result)
        self.log.append((slot.kind.name, record | {"clock": self.clock}))
        committed = {
            "valid": 1,
            "slot": vars(slot) | {"id": number, "mode": self.modes[slot.head]},
            "before": vars(before),
            "after": vars(result.entry),
            "outcome": result.outcome,
            "touch": result.touch,
            "event": result.event,
        }
        self._set(ctx, dut.commit, committed)
        self._committed = True
        frame = self.modes[slot.head], slot.frame if slot.kind == SlotKind.BYPASS_READ else before.frame
        if result.data in (DataKind.READ, DataKind.WRITE):
            self._ops.append((result.data == DataKind.WRITE, slot.rwd, number, frame, slot.line))
            self._ops_pushed += 1
        elif slot.kind == SlotKind.DEMOTE:
            self._demoted_at[frame] = self._ops_pushed
        elif result.data == DataKind.ZEROS:
            self._answer(slot.rwd, number, 0)
        elif result.outcome == Outcome.UNWRITABLE:
            self._answer(slot.rwd, number, "unwritable")
        elif result.data == DataKind.COMPLETE and slot.kind != SlotKind.ANSWER:
            self._answer(slot.rwd, number, "completed")
        elif slot.kind == SlotKind.EVICT and result.outcome == Outcome.DONE:
            self.frames[frame] = Frame(rest=GARBAGE)

    def _assert_demand_first(self):
        """No miss that somebody waits for could take the frame that a prefetch takes now."""
        golden = self.golden
        for where, miss in golden.misses.open.items():
            if miss.bypass is None:
                frames = [decision for decision in golden.decisions(where) if decision.action == Action.FRAME]
                assert not frames, f"a prefetch goes before {where}: {self._state()}"

    def _hold(self, ctx):
        """Who holds the pipeline: the DUT, or whoever moves the step."""
        dut = self.dut
        idle = not self._in_flight
        if self._held is None:
            self._held_since = self.clock
            if self._steps and not self._host_slots[True] and self.rng.random() < 0.1:
                self._held = "step"
            elif ctx.get(dut.hold.request):
                self._held = "dut"
        elif self._held == "dut":
            self._granted = self._granted or (idle and "dut")
            assert self.clock - self._held_since < HOLD_LIMIT, f"held too long: {self._state()}"
            if not ctx.get(dut.hold.request):
                self._held = self._granted = None
        elif idle:
            self._step(ctx, self.golden.now + 1)
            self._steps -= 1
            self._held = None
        self._set(ctx, dut.hold.granted, self._granted == "dut")

    def _step(self, ctx, step):
        """A hint line of some head that moves the step; its blocks follow as slots."""
        if self.hints is None:
            head = self.rng.randrange(self.config.heads)
            blocks = self.rng.sample(range(self.config.blocks_per_head), 4)
        else:
            [(head, blocks)] = self.hints.items()
        self.golden.note(EngineKind.STEP, {"head": 0, "block": 0, "frame": 0, "key": 0, "aux": step})
        self._set(ctx, self.dut.now, step)
        self._tag = (self._tag + 1) & 0xFFFF
        for block in blocks:
            slot = Slot(SlotKind.HINT, True, self._tag, head, block, value=self.rng.randrange(1 << 16))
            self._host_slots[True].append((slot, 0))
        slot = Slot(SlotKind.ANSWER, True, self._tag, head, value=step & 0xFFFF, outcome=Outcome.HINT_DONE)
        self._host_slots[True].append((slot, 0))

    # Snoops -----------------------------------------------------------------------------------------------------------

    def _snoop(self, ctx):
        """What the snoop filter does beside the slots; nothing while the pipeline is held."""
        coherent, rng = self.golden.coherent, self.rng
        if self.cached and self._held is None:
            outstanding = coherent.snoops.outstanding
            if outstanding and rng.random() < 0.2:
                tag = rng.choice(sorted(outstanding))
                place = outstanding[tag]
                if place.sent:
                    lines = [line for line in range(SECTOR_LINES) if place.open >> line & 1]
                    states = [rng.choice(sorted(coherency.answer_states(place.snoop.kind))) for _ in lines]
                    aux = answer_aux(tag, dict(zip(lines, states, strict=True)))
                    self._bi_note(EngineKind.BI_ANSWER, place.snoop.sector, aux)
                else:
                    self._bi_note(EngineKind.BI_SNOOP, place.snoop.sector, snoop_aux(tag, place.snoop))
            elif self.recalls and coherent.covered and rng.random() < 0.05:
                head, block = rng.choice(sorted(coherent.covered))
                for local in range(coherency.SECTORS_PER_BLOCK):
                    sector = coherent.sector(head, block, local * SECTOR_LINES)
                    if coherent.snoops.has_place and coherent.filter.recall(sector).launched:
                        self._bi_note(EngineKind.BI_RECALL, sector, 0)
                        break
            if coherent.held.ready and not self._retrying and not self._host_slots[False]:
                slot = coherent.held.ready[0]
                [number] = [number for (rwd, number), (tag, _) in self._active.items() if not rwd and tag == slot.tag]
                self._host_slots[False].append((slot, number))
                self._retrying = True
        uncovered = self._covered - set(coherent.covered)
        self._covered = set(coherent.covered)
        self._set(ctx, self.dut.uncovered, bool(uncovered))

    def _bi_note(self, kind, sector, aux):
        head, block, local = self.config.split_sector(sector)
        self._follow_note(kind, {"head": head, "block": block, "frame": 0, "key": local, "aux": aux})

    def _issue(self, ctx):
        dut = self.dut
        self._set(ctx, dut.engine_slots.ready, 0)
        if not self._ready():
            return
        channel = next((rwd for rwd in (True, False) if self._host_slots[rwd]), None)
        host = channel is not None and self._held is None
        engine = ctx.get(dut.engine_slots.valid) and self._held in (None, "dut")
        if engine and not (host and not self._engine_turn):
            self._set(ctx, dut.engine_slots.ready, 1)
            payload = fields_of(ctx.get(dut.engine_slots.payload))
            number = payload.pop("id")
            mode = payload.pop("mode")
            payload |= {"kind": SlotKind(payload["kind"]), "rwd": bool(payload["rwd"])}
            payload["outcome"] = Outcome(payload["outcome"])
            payload["access"] = coherency.Access(payload["access"])
            payload["retry"] = coherency.Retry(payload["retry"])
            slot = Slot(**payload)
            # Pins do nothing but set a flag of an entry.
            assert mode == self.modes[slot.head] or slot.kind in (SlotKind.PIN, SlotKind.UNPIN)
            self._engine_turn = False
        elif host:
            slot, number = self._host_slots[channel].popleft()
            self._engine_turn = True
        else:
            return
        self._in_flight.append((self.clock + PIPELINE_STAGES, slot, number))

    def _note(self, ctx):
        dut = self.dut
        ready = self._ready()
        self._set(ctx, dut.notes.ready, ready)
        takes = False
        if ready and ctx.get(dut.notes.valid):
            note = fields_of(ctx.get(dut.notes.payload))
            if note["key"] >> self.config.key_bits - 1:
                note["key"] -= 1 << self.config.key_bits
            kind = EngineKind(note["kind"])
            takes = kind == EngineKind.MISS_OPEN and note["aux"] == 2
            takes |= kind == EngineKind.PREFETCH_DROPPED and note["aux"] >> 8 == PrefetchDrop.MISSED
            self._follow_note(kind, note)
        assert ctx.get(dut.prefetch_take) == takes
        assert not takes or self._prefetch_locked, "a prefetch is taken without a lock"

    def _follow_note(self, kind, note):
        self.log.append((kind.name, note | {"clock": self.clock}))
        try:
            self.golden.note(kind, note)
        except Mismatch as error:
            raise AssertionError(f"{kind.name} {note}: {error.args}; {self._state()}") from error

    # Prefetch unit ----------------------------------------------------------------------------------------------------

    def _prefetches(self, ctx):
        """Candidates are queued at random clocks, but not while the queue is locked."""
        dut, unit = self.dut, self.golden.prefetcher
        ready = self._prefetch_rng.random() >= self.stall
        if not ctx.get(dut.prefetch_lock.request):
            self._prefetch_locked = False
            if ready:
                self._ask_ahead(unit)
        elif ready:
            self._prefetch_locked = True
        self._set(ctx, dut.prefetch_lock.granted, self._prefetch_locked)
        first = None if self.holds_back else unit.first()
        request = {}
        if first is not None:
            (head, block), source = first
            request = {"head": head, "block": block, "source": source, "mode": self.modes[head]}
        self._set(ctx, dut.prefetch_first, {"valid": first is not None, "request": request})

    def _prefetch_waits(self):
        return self.golden.prefetcher.first() and self.policy.prefetch_depth and not self.holds_back

    def _ask_ahead(self, unit):
        candidate = unit.candidate(lambda where: self.golden.entry(*where))
        if candidate is None:
            return
        (head, block), source = candidate
        drop = unit.drop_reason(*candidate)
        note = {
            "head": head,
            "block": block,
            "frame": 0,
            "key": 0,
            "aux": source if drop is None else source | drop << 8,
        }
        self._follow_note(EngineKind.PREFETCH_QUEUED if drop is None else EngineKind.PREFETCH_DROPPED, note)

    # Victim engine ----------------------------------------------------------------------------------------------------

    def _victims(self, ctx):
        dut = self.dut
        self._set(ctx, dut.victim_request.ready, self._victim is None)
        if self._victim is None:
            if ctx.get(dut.victim_request.valid):
                assert self._granted == "dut", "a victim is asked for outside a hold"
                request = ctx.get(dut.victim_request.payload)
                self._victim = self.clock + self.rng.randrange(1, 30), self._find_victim(ctx, request)
        elif ctx.get(dut.victim_answer.valid):
            if self._victim_taken:
                self._set(ctx, dut.victim_answer.valid, 0)
                self._victim = None
        elif self.clock >= self._victim[0]:
            self._set(ctx, dut.victim_answer.payload, self._victim[1])
            self._set(ctx, dut.victim_answer.valid, 1)
        self._victim_taken = ctx.get(dut.victim_answer.valid) and ctx.get(dut.victim_answer.ready)

    def _find_victim(self, ctx, request):
        golden, config = self.golden, self.config
        domain = request.domain
        above = ctx.get(self.dut.above_min)
        for head in range(config.heads):
            assert above >> head & 1 == (golden.allocator.held[head] > golden.allocator.minimum[head])
        expected = {*golden.misses.open, *golden.migration.demotions}
        in_migration = set()
        for head, block in {*golden.table, *expected}:
            if golden.entry(head, block).state == State.WARM or (head, block) in expected:
                self._set(ctx, self.dut.migrating_index, head * config.blocks_per_head + block)
                if ctx.get(self.dut.migrating):
                    in_migration.add((head, block))
        assert in_migration == expected
        victim = golden._search.find(
            golden.allocator.heads_of(domain.value, request.head),
            now=golden.now,
            policy=self.policy,
            in_migration={*in_migration, *golden.coherent.covered},
            protect=self.policy.protect and domain != Domain.ANY,
        )
        if (request.head, request.block) in self.denied:
            victim = None
        own = golden.entry(request.head, request.block)
        answer = {"own_key": golden.key_of(own), "own_zero": own.ema == 0, "found": victim is not None}
        return answer | (vars(victim) if victim else {"waived": 0, "head": 0, "block": 0, "frame": 0, "key": 0})

    # Flash ------------------------------------------------------------------------------------------------------------

    def _flash(self, ctx):
        dut, config = self.dut, self.config
        ready = self._ready()
        self._set(ctx, dut.page_commands.ready, ready)
        if ready and ctx.get(dut.page_commands.valid):
            command = fields_of(ctx.get(dut.page_commands.payload))
            assert command["tag"] not in self._page_commands
            assert command["tag"] >> page_tag_bits(config) - 1 == command["write"]
            mode = self.modes[command["page"] // config.blocks_per_head]
            assert command["mode"] == mode
            cached = (mode, command["frame"]) in self._sidecar_cached
            refused = (mode, command["frame"]) in self.refused
            assert not command["write"] or not refused, "memory does not have its sidecar line"
            assert command["write"] or not cached, "its sidecar line would be stale"
            self._page_commands[command["tag"]] = self.clock + self.rng.randint(*self.flash_latency), command
        if ctx.get(dut.page_done.valid):
            # Taken at once by contract.
            assert ctx.get(dut.page_done.ready)
        self._set(ctx, dut.page_done.valid, 0)
        due = [tag for tag, (at, _) in self._page_commands.items() if at <= self.clock]
        if due and self._ready():
            tag = self.rng.choice(due)
            _, command = self._page_commands.pop(tag)
            failed = self.fails(bool(command["write"]), command["page"])
            self._move_page(command, failed)
            self._set(ctx, dut.page_done.payload, {"tag": tag, "failed": failed})
            self._set(ctx, dut.page_done.valid, 1)

    def _move_page(self, command, failed):
        page, frame = command["page"], (command["mode"], command["frame"])
        if command["write"]:
            self.flash[page] = Frame(rest=GARBAGE) if failed else self.frames[frame].copy()
        elif failed:
            self.lost.add(divmod(page, self.config.blocks_per_head))
            self.frames[frame] = Frame(rest=GARBAGE)
        else:
            self.frames[frame] = self.flash[page].copy()

    # Datapath and sidecar ---------------------------------------------------------------------------------------------

    def _datapath(self, ctx):
        dut = self.dut
        if self._ops:
            if self._op_wait:
                self._op_wait -= 1
            else:
                self._do(*self._ops.popleft())
                self._ops_done += 1
                self._op_wait = self.rng.choice((0, 0, 0, 1, self.slow))
        if not ctx.get(dut.drain.request):
            self._drain_until = None
        elif self._drain_until is None:
            self._drain_until = self._ops_pushed
        self._set(ctx, dut.drain.granted, self._drain_until is not None and self._ops_done >= self._drain_until)

        self._set(ctx, dut.sidecar_done, 0)
        ready = self._sidecar is None and self._ready()
        self._set(ctx, dut.sidecar_ops.ready, ready)
        if ready and ctx.get(dut.sidecar_ops.valid):
            op = ctx.get(dut.sidecar_ops.payload)
            frame = op.mode, op.frame
            if op.kind == SidecarKind.FLUSH:
                self._assert_drained(frame)
            self._sidecar = self.clock + self.rng.randrange(1, 12), op.kind, frame
        elif self._sidecar is not None and self.clock >= self._sidecar[0]:
            _, kind, frame = self._sidecar
            self._sidecar = None
            if kind == SidecarKind.FLUSH:
                self._sidecar_cached.discard(frame)
                refused = bool(self.refuses(frame))
                self._set(ctx, dut.sidecar_failed, refused)
                (self.refused.add if refused else self.refused.discard)(frame)
            else:
                self._sidecar_cached.add(frame)
                self.frames[frame] = Frame(rest=0 if kind == SidecarKind.CLEAR else POISON)
            self._set(ctx, dut.sidecar_done, 1)

    def _assert_drained(self, frame):
        """Nothing of what a frame was used for before it is given up is under way."""
        before = self._demoted_at.get(frame, self._ops_pushed)
        for number, (_, _, _, other, _) in enumerate(self._ops, self._ops_done):
            assert other != frame or number >= before, f"frame {frame} is given up while it is used: {self._state()}"

    def _do(self, write, rwd, number, frame, line):
        _, access = self._active[rwd, number]
        assert access.line == line and access.write == write
        self._sidecar_cached.add(frame)
        if write:
            self.frames[frame].lines[line] = access.value
            self._answer(rwd, number, "done")
        else:
            self._answer(rwd, number, self.frames[frame].read(line))


def random_accesses(rng, config, count, *, writes=0.4, heads=None, blocks=None, lines=3):
    """Reads and writes of random lines; values are unique."""
    return [
        Access(
            rng.random() < writes,
            rng.randrange(heads or config.heads),
            rng.randrange(blocks or config.blocks_per_head),
            rng.randrange(lines),
            value=number + 1,
        )
        for number in range(count)
    ]


def with_accesses(rng, accesses, *, caches=0.5):
    """Accesses of a host that may cache lines; of the reads a share `caches` ask for that."""
    kinds = list(coherency.Access)
    reads = [kind for kind in kinds if kind.caches]
    plain_reads = [coherency.Access.READ_CURRENT, coherency.Access.READ_INVALIDATE]
    writes = [kind for kind in kinds if kind.is_write]
    for access in accesses:
        access.access = rng.choice(writes if access.write else reads if rng.random() < caches else plain_reads)
    return accesses
