"""The prefetch unit: what is fetched ahead of its read, and in which order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from kv_endpoint.golden.events.port import EngineKind, PrefetchDrop, PrefetchSource
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind, State
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.prefetch.descriptors import POSITION_BITS, DescriptorCourses
from kv_endpoint.hw.prefetch.lookup import PrefetchLookup
from kv_endpoint.hw.prefetch.queue import PrefetchQueue, waiting_block
from kv_endpoint.hw.prefetch.touches import PrefetchTouches
from kv_endpoint.hw.prefetch.window import PrefetchWindow

__all__ = ["PrefetchUnit"]

#: announced triggers that wait before the host's slots do: those of a hint line
_ANNOUNCED_SLACK = 16
#: clocks from a commit to the FIFO's level, and from that to `room`
_ROOM_CLOCKS = 3


class PrefetchUnit(wiring.Component):
    """Collects candidates of three sources and keeps those that wait, as `golden.prefetch.unit.Prefetcher` does.

    ```
    commit -> announced FIFO ----------------------------------------+
           -> windows -> touches -> neighbours -+                    v
           -> streams' touches                  +-> lookup: cold? -> asked -> matched -> noted -> a queue a source
                                      streams --+   (metadata table)
    ```

    A candidate is compared with all that wait, and noted: PREFETCH_QUEUED, and it waits, or PREFETCH_DROPPED. Up to one
    note a clock; an announced block is noted 5 clocks after its hint's commit at the earliest. No announced block is
    lost: `room` keeps hints back in time. Candidates of windows come at one in 4 clocks at most; those of streams at
    one in 9, since the next waits for the note of the last. A stream waits for room in its queue and drops nothing as
    FULL.

    Members
    -------
    commit : In(commit), now : In(step), policy : In(policy)
    decode : In(1)
        With each commit: the region of its head is in phase decode.
    streams : In(array of stream_layout)
        `base`, `length` and `stride` stand for a clock before the stream is enabled. The one block that is on its way
        when its stream, or all, are switched off is still noted, before any other of a stream.
    room : Out(1)
        Slots of the host may issue. Hints in flight, `pipeline_depth` clocks from issue to commit, have room always.
    table : Out(TableRead), table_free : In(1)
        A clock of `enable` counts if the table is free in it.
    notes : Out(stream of engine_note)
    lock : In(Hold)
        Granted once no candidate is on its way; until `request` falls nothing is queued, and `first` stands still.
    first : Out(struct valid, request)
        The prefetch whose turn it is: the oldest of the first source that has one.
    take : In(1)
        It leaves its queue; only while `lock` is granted.
    inspect_head : In(head), inspect_window : Out(8)
        A head's window, 1 clock later.
    positions : Out(array of 32)
        Blocks that each stream has asked for or passed over since it was enabled.

    Parameters
    ----------
    config : Config
    pipeline_depth : int
        Clocks from a slot's issue to its commit.
    """

    def __init__(self, *, config, pipeline_depth):
        if not isinstance(pipeline_depth, int) or pipeline_depth < 1:
            raise ValueError(f"pipeline_depth must be a positive integer, not {pipeline_depth!r}")
        self._config = config
        self._pipeline_depth = pipeline_depth
        request = layouts.prefetch_request(config)
        super().__init__(
            {
                "commit": In(layouts.commit(config)),
                "now": In(config.step_bits),
                "policy": In(layouts.policy_layout()),
                "decode": In(1),
                "streams": In(data.ArrayLayout(layouts.stream_layout(config), config.streams)),
                "room": Out(1),
                "table": Out(layouts.TableRead(config)),
                "table_free": In(1),
                "notes": Out(stream.Signature(layouts.engine_note(config))),
                "lock": In(layouts.Hold()),
                "first": Out(data.StructLayout({"valid": 1, "request": request})),
                "take": In(1),
                "inspect_head": In(config.head_bits),
                "inspect_window": Out(8),
                "positions": Out(data.ArrayLayout(POSITION_BITS, config.streams)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, commit = self._config, self.commit
        m.submodules.window = window = PrefetchWindow(config=config)
        m.submodules.touches = touches = PrefetchTouches(config=config)
        m.submodules.streams = streams = DescriptorCourses(config=config)
        m.submodules.lookup = lookup = PrefetchLookup(config=config)
        queues = []
        for source in PrefetchSource:
            queue = PrefetchQueue(config=config)
            m.submodules[f"queue_{source.name.lower()}"] = queue
            queues.append(queue)
        announced = self._announced(m)

        connect(m, touches.candidates, lookup.near)
        connect(m, streams.candidates, lookup.streams)
        connect(m, lookup.table, flipped(self.table))
        m.d.comb += [
            window.commit.eq(commit),
            window.now.eq(self.now),
            window.ask.eq(self.policy.prefetch_window & self.decode),
            window.inspect_head.eq(self.inspect_head),
            self.inspect_window.eq(window.inspect_window),
            touches.near_valid.eq(window.near_valid),
            touches.near.eq(window.near),
            streams.touch.eq(commit.valid & commit.touch),
            streams.index.eq(Cat(commit.slot.block, commit.slot.head)),
            streams.streams.eq(self.streams),
            streams.on.eq(self.policy.prefetch_streams),
            self.positions.eq(streams.positions),
            lookup.table_free.eq(self.table_free),
            lookup.streams_open.eq(~queues[PrefetchSource.STREAM].full),
        ]
        self._notes(m, queues, announced, lookup, streams)
        self._first(m, queues)
        return m

    def _announced(self, m):
        """The FIFO of announced blocks that hints have found cold."""
        config, commit = self._config, self.commit
        depth = _ANNOUNCED_SLACK + self._pipeline_depth + _ROOM_CLOCKS
        m.submodules.announced = announced = fifo.SyncFIFO(width=waiting_block(config).size, depth=depth)
        block = Signal(waiting_block(config))
        is_trigger = Signal()
        m.d.sync += [
            block.index.eq(Cat(commit.slot.block, commit.slot.head)),
            block.mode.eq(commit.slot.mode),
            is_trigger.eq(
                commit.valid
                & (commit.slot.kind == SlotKind.HINT)
                & (commit.outcome == Outcome.DONE)
                & (commit.before.state == State.COLD)
                & self.policy.prefetch_announced
            ),
            self.room.eq(announced.level <= _ANNOUNCED_SLACK),
        ]
        m.d.comb += [announced.w_data.eq(block), announced.w_en.eq(is_trigger)]
        return announced

    def _notes(self, m, queues, announced, lookup, streams):
        """From candidates to notes: three stages, which move together, and only when the note ahead is accepted."""
        config = self._config
        stage = data.StructLayout({"valid": 1, "block": waiting_block(config), "source": PrefetchSource})
        asked = Signal(stage)
        matched = Signal(stage)
        noted = Signal(stage)
        #: of `matched`: the entries that are the same block; of `noted`: there is one
        matches = Signal(len(queues) * config.prefetch_queue_depth + 1)
        is_duplicate = Signal()
        locked = Signal()
        may_enter = Signal()
        moves = Signal()
        do_note = Signal()
        do_push = Signal()
        is_full = Signal()
        m.d.comb += [
            may_enter.eq(~self.lock.request & ~locked),
            self.lock.granted.eq(self.lock.request & locked),
            do_note.eq(self.notes.valid & self.notes.ready),
            moves.eq(~noted.valid | do_note),
            announced.r_en.eq(moves & may_enter),
            lookup.cold.ready.eq(moves & may_enter & ~announced.r_rdy),
            streams.ended.eq(lookup.stream_passed | (do_note & (noted.source == PrefetchSource.STREAM))),
        ]
        # Nothing enters any more once the lock is asked for.
        with m.If(~self.lock.request):
            m.d.sync += locked.eq(0)
        with m.Elif(~asked.valid & ~matched.valid & ~noted.valid):
            m.d.sync += locked.eq(1)

        # What is pushed in the clock of a comparison is not among the entries yet.
        cold = lookup.cold.payload
        with m.If(moves):
            m.d.sync += [
                asked.valid.eq(may_enter & (announced.r_rdy | lookup.cold.valid)),
                asked.block.eq(announced.r_data),
                asked.source.eq(PrefetchSource.ANNOUNCED),
                matched.eq(asked),
                matches.eq(
                    Cat(*(queue.matches for queue in queues), do_push & (noted.block.index == asked.block.index))
                ),
                noted.eq(matched),
                is_duplicate.eq(matches.any() | (do_push & (noted.block.index == matched.block.index))),
            ]
            with m.If(~announced.r_rdy):
                m.d.sync += [
                    asked.block.index.eq(Cat(cold.block, cold.head)),
                    asked.block.mode.eq(cold.mode),
                    asked.source.eq(cold.source),
                ]

        with m.Switch(noted.source):
            for source, queue in zip(PrefetchSource, queues, strict=True):
                m.d.comb += [queue.sought.eq(asked.block.index), queue.block.eq(noted.block)]
                with m.Case(source):
                    m.d.comb += [is_full.eq(queue.full), queue.push.eq(do_push)]

        note = self.notes.payload
        is_dropped = is_duplicate | is_full
        reason = Mux(is_duplicate, PrefetchDrop.DUPLICATE, PrefetchDrop.FULL)
        m.d.comb += [
            do_push.eq(do_note & ~is_dropped),
            self.notes.valid.eq(noted.valid),
            note.kind.eq(Mux(is_dropped, EngineKind.PREFETCH_DROPPED, EngineKind.PREFETCH_QUEUED)),
            note.block.eq(noted.block.index),
            note.head.eq(noted.block.index >> config.block_bits),
            note.aux.eq(noted.source | Mux(is_dropped, reason << 8, 0)),
        ]

    def _first(self, m, queues):
        """The prefetch whose turn it is."""
        request = self.first.request
        for source, queue in reversed(list(zip(PrefetchSource, queues, strict=True))):
            with m.If(queue.first_valid):
                m.d.comb += [
                    self.first.valid.eq(1),
                    request.block.eq(queue.first.index),
                    request.head.eq(queue.first.index >> self._config.block_bits),
                    request.mode.eq(queue.first.mode),
                    request.source.eq(source),
                ]
            m.d.comb += queue.take.eq(self.take & self.first.valid & (request.source == source))
