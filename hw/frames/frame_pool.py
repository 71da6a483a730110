"""The frames of one mode: how many are held, how many are free, and which is next. `golden.frames.allocator.Pool`."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["count_bits", "pool_change", "pool_state", "FramePool"]


def count_bits(config):
    """Width of a number of frames."""
    return config.bypass_base.bit_length()


def pool_change(config):
    """What happens to a pool in this clock.

    `held_up`, `held_down`: a block begins or ends to hold a frame. `take`: the next free frame is given out.
    `release`: `frame` is free again.
    """
    return data.StructLayout({"held_up": 1, "held_down": 1, "take": 1, "release": 1, "frame": config.frame_bits})


def pool_state(config):
    """A pool now.

    `size`: the pool size register. `held`: blocks that count. `free`: free frames of pool, spare and reserve. `frame`:
    the one that is given out next, where `frame_known`.
    """
    count = count_bits(config)
    return data.StructLayout(
        {"size": count, "held": count, "free": count, "frame": config.frame_bits, "frame_known": 1}
    )


class FramePool(wiring.Component):
    """Counts the frames of a pool and keeps the free ones, the longest-free returned one first, then those never used.

    `state` follows a change, and a new size, 1 clock later (`free` follows the size after 2); `frame_known` is low for
    some clocks where a frame was returned to a pool that had none.

    Members
    -------
    change : In(pool_change)
    resize : In(1), size : In
        A new value of the pool size register.
    state : Out(pool_state)
    """

    def __init__(self, *, config):
        self._config = config
        super().__init__(
            {
                "change": In(pool_change(config)),
                "resize": In(1),
                "size": In(count_bits(config)),
                "state": Out(pool_state(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, change = self._config, self.change

        size = Signal(count_bits(config), init=config.pool_frames_max)
        held = Signal(count_bits(config))
        m.d.sync += held.eq(held + change.held_up - change.held_down)
        with m.If(self.resize):
            m.d.sync += size.eq(self.size)

        # Frames with a block or on their way out, and how many there may be. A smaller pool may leave more in use.
        used = Signal(count_bits(config))
        capacity = Signal(count_bits(config), init=config.bypass_base)
        m.d.sync += [
            used.eq(used + change.take - change.release),
            capacity.eq(size + config.spare_frames + config.reserve_frames),
        ]

        m.submodules.returned = returned = fifo.SyncFIFOBuffered(width=config.frame_bits, depth=config.bypass_base)
        never_used = Signal(config.frame_bits)
        from_never_used = returned.level == 0
        m.d.comb += [
            returned.w_data.eq(change.frame),
            returned.w_en.eq(change.release),
            returned.r_en.eq(change.take & ~from_never_used),
        ]
        with m.If(change.take & from_never_used):
            m.d.sync += never_used.eq(never_used + 1)

        m.d.comb += [
            self.state.size.eq(size),
            self.state.held.eq(held),
            self.state.free.eq(Mux(capacity > used, capacity - used, 0)),
            self.state.frame.eq(Mux(from_never_used, never_used, returned.r_data)),
            self.state.frame_known.eq(from_never_used | returned.r_rdy),
        ]
        return m
